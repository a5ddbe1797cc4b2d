/**
 * Proves that an ordinary user mounts through fusermount3: the volume works for him and for nobody
 * else, ends cleanly, is repaired after a kill, and where the machine forbids it he is told why.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test, type TestContext } from 'node:test'
import type { StatusReport } from '../../../src/daemon/interface.ts'
import { runProgram } from '../../helpers/command.ts'
import {
  asUser,
  createDevices,
  mountsBelow,
  whyNoUserMount,
  type Device,
} from '../../helpers/process.ts'
import { atEnd } from '../../helpers/teardown.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const UID = 65534
const skip = whyNoUserMount(UID) ?? false

/** Gives /dev/fuse a mode until the end of the test. */
function setDeviceMode(t: TestContext, mode: number): void {
  const before = fs.statSync('/dev/fuse').mode & 0o7777
  atEnd(t, () => fs.chmodSync('/dev/fuse', before))
  fs.chmodSync('/dev/fuse', mode)
}

/** What a script prints that the user runs in the mount of a device. */
async function inMount(device: Device, script: string): Promise<string> {
  const words = [...asUser(UID), 'sh', '-ec', `cd "$0"; ${script}`, device.mountpoint]
  const { code, stdout, stderr } = await runProgram(words, device.env)
  assert.equal(code, 0, stderr)
  return stdout
}

test('an ordinary user mounts, works and unmounts', { skip }, async (t) => {
  setDeviceMode(t, 0o666)
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { uid: UID })
  await inMount(alice, 'mkdir d; echo hello > d/f; ln d/f g; chmod 600 d/f; mv d e')
  await syncAll([alice, bob])
  assert.equal(await inMount(bob, 'cat e/f g; stat -c "%a %u" e/f'), `hello\nhello\n600 ${UID}\n`)
  assert.throws(() => fs.readdirSync(alice.mountpoint), { code: 'EACCES' }, 'not even root')

  await alice.killDaemon()
  const dead = await runProgram([...asUser(UID), 'ls', alice.mountpoint], alice.env)
  assert.match(dead.stderr, /not connected|connection abort/)
  await alice.run(['up'])
  assert.equal(await inMount(alice, 'cat e/f'), 'hello\n')
  await alice.run(['unmount'])
  assert.deepEqual(mountsBelow(alice.home.replace(/home$/, '').replace(/\/$/, '')), [])

  await alice.run(['mount', alice.mountpoint])
  await alice.killDaemon()
  const { detached } = await alice.json<{ detached?: string[] }>(['down'])
  assert.deepEqual(detached, [alice.mountpoint])
  assert.deepEqual(fs.readdirSync(alice.mountpoint), [])
})

test('where only root may open the device he is told what to do', { skip }, async (t) => {
  setDeviceMode(t, 0o600)
  const { alice } = createDevices(t, ['alice'], { uid: UID })
  await alice.run(['init', '--device', 'alice'])
  const { stderr } = await alice.run(['mount', alice.mountpoint], { codes: [1] })
  assert.match(stderr, /MOUNT_UNAVAILABLE.*chmod 666 \/dev\/fuse/s)
  assert.deepEqual(fs.readdirSync(alice.mountpoint), [])
  const { volumes } = await alice.json<StatusReport>(['status'])
  assert.equal(volumes[0]?.mountpoint, undefined)
  const { stdout } = await alice.run(['doctor'], { codes: 'any' })
  assert.match(stdout, /\/dev\/fuse \(mode 0600, owner 0\) cannot be opened/)
})
