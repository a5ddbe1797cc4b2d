/**
 * Proves that resolving tells what is left of a conflict, that a sync nobody answers says so, and
 * that the history of what never was is an error. Two daemons that never run at the same time.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { ConflictReport } from '../../../src/daemon/interface.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

async function put(device: Device, scratch: string, target: string, text: string): Promise<void> {
  const file = path.join(scratch, 'file')
  fs.writeFileSync(file, text)
  await device.run(['put', file, target])
}

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
    if (device === alice) await put(alice, scratch, '/n', 'a file')
    else {
      await bob.run(['mkdir', '/n'])
      await put(bob, scratch, '/n/in', 'in a directory')
    }
    const lonely = await device.run(['sync'])
    assert.match(lonely.stdout, /^No other device answered after /)
    await device.run(['down'])
    await other.run(['up'])
  }
  await bob.run(['up'])
  await syncAll([alice, bob])
  const list = await alice.json<ConflictReport[]>(['conflicts'])
  assert.deepEqual(list.map(({ path: at }) => at).sort(), ['/content', '/n', '/other'])
  const full = await alice.run(['conflicts', 'resolve', '/n', '--keep', '2'], { codes: 'any' })
  assert.equal(full.code, 1)
  assert.match(full.stderr, /^wormhole: NOT_EMPTY: the directory \/n is not empty/)
  await alice.run(['conflicts', 'resolve', '/n', '--keep', '1'])
  const kept = await alice.run(['conflicts', 'resolve', '/content', '--keep', '2'])
  assert.match(kept.stdout, /^Resolved.\n.*wormhole history \/content\n$/)
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
