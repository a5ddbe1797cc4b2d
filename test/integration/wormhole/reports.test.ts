/**
 * Proves that what is reported of policy files is true at that moment, on every device, and that
 * commands work where the directory is gone. Real daemons without mounts.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type {
  ExplainReport,
  PolicyCheckReport,
  StatusReport,
} from '../../../src/daemon/interface.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'
import type { Device } from '../../helpers/process.ts'
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

test('what holds is explained with file and line, on every device', async (t) => {
  const options = { isMounted: false }
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], options)
  const scratch = temporaryDirectory(t)
  await alice.run(['mkdir', '/docs'])
  await put(alice, scratch, '/.wormhole.toml', '# ours\nhistory.days = 7\n')
  await put(alice, scratch, '/docs/.wormhole.toml', '\n[conflicts]\n\nstrategy = "copies"\n')
  await put(alice, scratch, '/docs/f', 'text')
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    const { values } = await device.json<ExplainReport>(['policy', 'explain', '/docs/f'])
    const found = values.map(({ key, value, from, line }) => [key, value, from, line])
    for (const expected of [
      ['conflicts.strategy', 'copies', '/docs/.wormhole.toml', 4],
      ['local.keep', 'always', 'default', undefined],
      ['history.days', 7, '/.wormhole.toml', 2],
    ]) {
      assert.deepEqual(
        found.find(([key]) => key === expected[0]),
        expected,
      )
    }
  }
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
