/**
 * Proves that what the commands report is true at that moment: problems of policy files, the
 * outcome of resolving a conflict, histories, and who was asked. Real daemons without mounts.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type {
  ConflictReport,
  PolicyCheckReport,
  StatusReport,
} from '../../../src/daemon/interface.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

async function put(device: Device, scratch: string, target: string, text: string): Promise<void> {
  const file = path.join(scratch, 'file')
  fs.writeFileSync(file, text)
  await device.run(['put', file, target])
}

async function problems(device: Device): Promise<string[]> {
  const { volumes } = await device.json<StatusReport>(['status'])
  return (volumes[0]?.problems ?? []).map(({ code, message }) => `${code}: ${message}`)
}

const MISTAKE =
  'POLICY_INVALID: /docs/.wormhole.toml:2:12: conflicts.strategy may not be "newest". ' +
  'Allowed: "copies", "last-writer-wins"'

test('a mistake in a policy file is reported everywhere, until it is mended', async (t) => {
  const options = { isMounted: false }
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], options)
  const scratch = temporaryDirectory(t)
  const check = async (device: Device, at: string): Promise<PolicyCheckReport> =>
    JSON.parse((await device.run(['policy', 'check', at, '--json'], { codes: 'any' })).stdout)
  await alice.run(['mkdir', '/docs'])
  const file = '/docs/.wormhole.toml'
  await put(alice, scratch, file, '[conflicts]\nstrategy = "newest"\n')
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    assert.deepEqual(await problems(device), [MISTAKE])
    assert.equal((await check(device, '/')).problems[0]?.file, file, 'found below the path')
    assert.equal((await check(device, '/docs')).isValid, false)
  }
  await alice.run(['down'])
  await alice.run(['up'])
  assert.deepEqual(await problems(alice), [MISTAKE], 'known after a restart')
  await put(bob, scratch, file, '[conflicts]\nstrategy = "last-writer-wins"\n')
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    assert.deepEqual(await problems(device), [])
    assert.equal((await check(device, '/')).isValid, true)
  }
})

test('resolving reports what is left, history knows what never was', async (t) => {
  const options = { isMounted: false }
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], options)
  const scratch = temporaryDirectory(t)
  for (const name of ['/content', '/other']) await put(alice, scratch, name, 'base')
  await syncAll([alice, bob])
  for (const [device, other] of [
    [alice, bob],
    [bob, alice],
  ] as const) {
    await other.run(['down'])
    for (const name of ['/content', '/other']) {
      await put(device, scratch, name, `by ${device === alice ? 'alice' : 'bob'}`)
    }
    const lonely = await device.run(['sync'])
    assert.match(lonely.stdout, /^No other device answered after /)
    await device.run(['down'])
    await other.run(['up'])
  }
  await bob.run(['up'])
  await syncAll([alice, bob])
  const list = await alice.json<ConflictReport[]>(['conflicts'])
  assert.deepEqual(list.map(({ path: at }) => at).sort(), ['/content', '/other'])
  const kept = await alice.run(['conflicts', 'resolve', '/content', '--keep', '2'])
  assert.equal(kept.stdout, 'Resolved.\n')
  assert.equal(await bob.json(['conflicts', 'resolve', '/other', '--keep', 'both']), null)
  await syncAll([alice, bob])
  await waitFor(async () => (await bob.json<unknown[]>(['conflicts'])).length === 0, {
    timeoutMs: 10_000,
    what: 'no conflict is left',
  })
  const missing = await alice.run(['history', '/never'], { codes: 'any' })
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, /NOT_FOUND/)
})

test('a command works in a directory that is gone', (t) => {
  const directory = path.join(temporaryDirectory(t), 'gone')
  fs.mkdirSync(directory)
  const program = fileURLToPath(new URL('../../../bin/wormhole.js', import.meta.url))
  const script = 'cd "$1" && rmdir "$1" && exec "$2" "$3" status'
  const child = spawnSync('sh', ['-c', script, 'sh', directory, process.execPath, program], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, WORMHOLE_HOME: directory },
  })
  assert.match(child.stderr, /^wormhole: DAEMON_NOT_RUNNING/)
  assert.equal(child.status, 1)
})
