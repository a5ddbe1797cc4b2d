/**
 * Proves with real daemons that a device which joins a volume with a long log takes a snapshot,
 * fetches the log behind it, and then stands in for the device it came from: one that lags and one
 * that joins get everything from it once the first is gone.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { CreatedReport } from '../../../src/daemon/interface.ts'
import { createDevices, waitFor, whyNoMount, type Device } from '../../helpers/process.ts'

const skip = whyNoMount() ?? false
const DIRECTORIES = 30
const FILES = 140

/** Something in the directory of a device's only volume. */
function volumePath(device: Device, ...names: string[]): string {
  const [volume] = fs.readdirSync(path.join(device.home, 'volumes'))
  return path.join(device.home, 'volumes', volume as string, ...names)
}

/** Whether the device has a snapshot that it offers, or that it took and has not yet proved. */
function has(device: Device, which: 'offered' | 'taken'): boolean {
  return fs.existsSync(volumePath(device, 'snapshots', which, 'statement'))
}

function names(device: Device, directory: string): string[] {
  return fs.readdirSync(device.path(directory)).sort()
}

test('a newcomer takes a snapshot and stands in for its source', { skip }, async (t) => {
  const { alice, bob, carol } = createDevices(t, ['alice', 'bob', 'carol'])
  const mount = (device: Device): string[] => ['--mount', device.mountpoint]
  const { invite } = await alice.json<CreatedReport>([
    ...['init', '--name', 'test', '--device', 'alice', ...mount(alice)],
  ])
  const join = (device: Device, name: string): Promise<unknown> =>
    device.run(['join', invite as string, '--device', name, ...mount(device)])
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    fs.mkdirSync(alice.path(`d${directory}`))
    for (let file = 0; file < FILES; file++) {
      fs.writeFileSync(alice.path(`d${directory}`, `file-${file}.txt`), `${directory} ${file}\n`)
    }
  }
  await alice.run(['sync', '--wait', '--timeout', '5'], { codes: 'any' })

  await join(bob, 'bob')
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    assert.deepEqual(names(bob, `d${directory}`), names(alice, `d${directory}`))
  }
  assert.ok(has(alice, 'offered'))
  fs.writeFileSync(bob.path('d0', 'from-bob'), 'bob\n')
  await waitFor(() => fs.existsSync(alice.path('d0', 'from-bob')), { what: 'bob writes' })
  await waitFor(() => !has(bob, 'taken'), { timeoutMs: 60_000, what: 'the log is there' })
  await bob.run(['sync', '--wait', '--timeout', '60'])
  assert.deepEqual((await bob.status()).volumes[0]?.problems, [])

  // Carol knows bob, and lags behind what alice writes after that.
  await join(carol, 'carol')
  await carol.run(['sync', '--wait', '--timeout', '60'])
  await carol.run(['down'])
  fs.writeFileSync(alice.path('d1', 'later'), 'later\n')
  await waitFor(() => fs.existsSync(bob.path('d1', 'later')), { what: 'bob has it' })
  await alice.run(['down'])
  await carol.run(['up'])
  await waitFor(() => fs.existsSync(carol.path('d1', 'later')), {
    timeoutMs: 30_000,
    what: 'carol has everything from bob',
  })
  assert.deepEqual(names(carol, 'd0'), names(bob, 'd0'))

  // Alice has burnt, and bob's index too: everything follows from the log that bob has fetched.
  const before = names(bob, 'd1')
  await bob.run(['down'])
  fs.rmSync(volumePath(bob, 'index'), { recursive: true })
  await bob.run(['up'])
  assert.deepEqual(names(bob, 'd1'), before)
  assert.equal(fs.readFileSync(bob.path('d7', 'file-3.txt'), 'utf8'), '7 3\n')
})
