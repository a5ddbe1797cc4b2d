/**
 * Proves that a home that was copied while it was down, and one that was restored from a backup,
 * keep everything that each of them wrote, on all devices, and that all of them say so. Real
 * daemons; the copies meet only what the third device passes on.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '../../helpers/cli.ts'
import { createDevices, waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const OPTIONS = { isMounted: false }

async function put(device: Device, scratch: string, target: string, text: string): Promise<void> {
  const file = path.join(scratch, 'file')
  fs.writeFileSync(file, text)
  await device.run(['put', file, target])
}

async function namesOf(device: Device): Promise<string[]> {
  const files = await device.json<{ name: string }[]>(['ls', '/'])
  return files.map(({ name }) => name).sort()
}

async function problemsOf(device: Device): Promise<string> {
  return (await device.run(['status', '--json'])).stdout
}

async function showsAll(devices: readonly Device[], names: readonly string[]): Promise<void> {
  for (const device of devices) {
    await waitFor(async () => (await namesOf(device)).join() === [...names].sort().join(), {
      timeoutMs: 60_000,
      what: `${device.name} shows ${names.join()}`,
    })
    await waitFor(async () => (await problemsOf(device)).includes('FEED_FORKED'), {
      timeoutMs: 30_000,
      what: `${device.name} says that bob wrote in two places`,
    })
  }
}

test('two copies of a home run at once, and both write', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], OPTIONS)
  const scratch = temporaryDirectory(t)
  await put(bob, scratch, '/before', 'before')
  await syncAll([alice, bob])
  await bob.run(['down'])
  const { copy } = createDevices(t, ['copy'], { env: { WORMHOLE_BIND: '127.0.0.2' } })
  fs.cpSync(bob.home, copy.home, { recursive: true })
  await alice.run(['down'])
  const names = ['before']
  for (const device of [bob, copy]) {
    await device.run(['up'])
    await put(device, scratch, `/by ${device.name}`, device.name)
    names.push(`by ${device.name}`)
  }
  await alice.run(['up'])
  await showsAll([alice, bob, copy], names)
  for (const device of [alice, bob, copy]) {
    await put(device, scratch, `/later by ${device.name}`, device.name)
    names.push(`later by ${device.name}`)
  }
  await showsAll([alice, bob, copy], names)
  for (const device of [alice, bob, copy]) {
    for (const other of ['bob', 'copy']) {
      const target = path.join(scratch, `${device.name} ${other}`)
      await device.run(['get', `/later by ${other}`, target])
      assert.equal(fs.readFileSync(target, 'utf8'), other)
    }
  }
  await waitFor(async () => (await problemsOf(alice)).includes('runs in two places'), {
    timeoutMs: 30_000,
    what: 'alice says that bob runs in two places',
  })
})

test('a home restored from an old backup writes alone, then meets the others', async (t) => {
  const devices = await createVolumeOfDevices(t, ['alice', 'bob', 'carol'], OPTIONS)
  const { alice, bob, carol } = devices
  const scratch = temporaryDirectory(t)
  await put(bob, scratch, '/before', 'before')
  await syncAll([alice, bob, carol])
  await bob.run(['down'])
  const backup = path.join(scratch, 'backup')
  fs.cpSync(bob.home, backup, { recursive: true })
  await bob.run(['up'])
  await put(bob, scratch, '/after the backup', 'after')
  await syncAll([alice, bob, carol])
  for (const device of [alice, bob, carol]) await device.run(['down'])
  fs.rmSync(bob.home, { recursive: true })
  fs.cpSync(backup, bob.home, { recursive: true })
  await bob.run(['up'])
  await put(bob, scratch, '/written alone', 'alone')
  await carol.run(['up'])
  await alice.run(['up'])
  const names = ['before', 'after the backup', 'written alone']
  await showsAll([alice, bob, carol], names)
  await put(bob, scratch, '/later', 'later')
  await showsAll([alice, bob, carol], [...names, 'later'])
})
