/**
 * Proves that a sync in which every device is equal still tells what arrived and was refused, and
 * how long a sync waits for contents. `runSync` with ports that answer at once, simulated time.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FetchDuty } from '../../../src/daemon/fetch-duty.ts'
import type { Progress } from '../../../src/daemon/frames.ts'
import { ProblemList, isRefusal } from '../../../src/daemon/problems.ts'
import { runSync } from '../../../src/daemon/sync-run.ts'
import type { DeviceId } from '../../../src/types.ts'
import { SimClock } from '../../helpers/sim-clock.ts'

const BOB = { device: 'b'.repeat(64) as DeviceId, name: 'bob', state: 'in-sync' as const }

function setUp(missing = { files: 0, bytes: 0 }) {
  const clock = new SimClock()
  const problems = new ProblemList(clock)
  const duty = {
    missing,
    poke: () => {},
    retry: () => {},
    idle: () => Promise.resolve(),
    owed: () => Promise.resolve(missing),
    arrivedBytes: () => 1,
    watch: () => () => {},
  }
  const ports = {
    clock,
    duty: duty as unknown as FetchDuty,
    drain: () => Promise.resolve(),
    peers: () => [],
    syncRound: () => Promise.resolve([BOB]),
    settled: () => Promise.resolve(),
    refused: () => problems.list().filter(isRefusal),
  }
  const { signal } = new AbortController()
  const shown: Progress[] = []
  const options = { timeoutMs: 5000, require: undefined, signal }
  return {
    clock,
    problems,
    shown,
    run: () =>
      clock.settle(
        runSync(ports, options, (one) => shown.push(one)),
        60_000,
      ),
  }
}

test('sync: refused entries are told beside "in sync"; other problems are not theirs', async () => {
  const { clock, problems, run } = setUp()
  assert.deepEqual((await run()).refused, [])
  problems.add({ code: 'ENTRY_INVALID', message: 'entry 7 is refused' })
  problems.add({ code: 'POLICY_INVALID', message: 'line 3' })
  const report = await run()
  assert.equal(report.isInSync, true)
  assert.deepEqual(report.refused, [{ code: 'ENTRY_INVALID', message: 'entry 7 is refused' }])
  await clock.run(25 * 3600 * 1000)
  assert.deepEqual((await run()).refused, [])
})

test('sync: contents that nobody sends end it at its timeout, not in sync', async () => {
  const { run, shown } = setUp({ files: 1, bytes: 3 })
  const report = await run()
  assert.deepEqual([report.isInSync, report.missing.files], [false, 1])
  assert.ok(report.seconds <= 6, `${report.seconds} s`)
  const last = { text: 'fetching', done: 1, total: 3, isBytes: true, sourceCount: 0 }
  assert.deepEqual(shown.at(-1), last)
})
