/**
 * Proves what `pin`, `unpin`, `pins` and `status --since-offline` ask, print and return, what an
 * interrupted `pin` says, and how its progress reads. Command lines run in this process against a
 * fake home.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPace, formatDuration } from '../../../src/cli/pace.ts'
import type { ChangeReport, PinRunReport } from '../../../src/daemon/offline-interface.ts'
import { serveFakeHome } from '../../helpers/cli.ts'

test('pin says what is here, what nobody has, and what the background brings', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  const { pins } = volume
  assert.match((await wormhole(['pins'])).stdout, /^Nothing is pinned/)
  const done = await wormhole(['pin', '/jobs'])
  assert.deepEqual(done, {
    code: 0,
    stdout: '/jobs: available offline (2 files, 4 KiB in 1.5 s)\n',
    stderr: '',
  })
  pins.unavailable = Array.from({ length: 12 }, (_, index) => ({ path: `/jobs/${index}`, size: 2 }))
  const partly = await wormhole(['pin', '/jobs'])
  assert.equal(partly.code, 1)
  assert.match(
    partly.stdout,
    /not complete .*no connected device has 12 files, 24 B:\n {2}\/jobs\/0/,
  )
  assert.match(partly.stdout, /and 2 more\nIt stays pinned/)
  const json = await wormhole(['pin', '/jobs', '--json'])
  const report = JSON.parse(json.stdout) as PinRunReport
  assert.deepEqual([json.code, report.isAvailable, report.volume], [1, false, 'photos'])
  assert.equal(report.unavailable.length, 12)
  const later = await wormhole(['pin', '/jobs', '--no-wait'])
  assert.deepEqual(later, {
    code: 0,
    stdout: '/jobs: pinned; 12 files, 24 B to fetch in the background\n',
    stderr: '',
  })
  assert.deepEqual(pins.pinned, ['/jobs', '/jobs', '/jobs', '/jobs'])
  assert.match((await wormhole(['pins'])).stdout, /\/jobs +not complete +12 files, 0 B/)
  const ended = await wormhole(['unpin', '/jobs'])
  assert.match(ended.stdout, /^\/jobs: not pinned any more; .*pin of \/\. Nothing is freed/)
  assert.equal((await wormhole(['unpin', '/other'])).code, 1)
})

test('an interrupted pin stays, and says so', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const { pins } = home.list[0] as (typeof home.list)[0]
  pins.isEndless = true
  const abort = new AbortController()
  const waiting = wormhole(['pin', '/jobs'], { signal: abort.signal })
  while (pins.waitCount === 0) await new Promise((resolve) => setImmediate(resolve))
  abort.abort()
  const outcome = await waiting
  assert.deepEqual([outcome.code, outcome.stdout], [130, ''])
  assert.match(
    outcome.stderr,
    /^wormhole: \/jobs stays pinned.*`wormhole unpin`.*\n.*interrupted\n$/,
  )
})

test('what changed meanwhile is counted, the newest shown, all with --all', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  assert.match((await wormhole(['status', '--since-offline'])).stdout, /Nothing was changed/)
  const change = (index: number): ChangeReport => ({
    path: `/file${index}`,
    kind: 'changed',
    type: 'file',
    device: 'bob',
    deviceId: 'b',
    time: '2026-11-20T14:03:22.000Z',
  })
  volume.changes = Array.from({ length: 60 }, (_, index) => change(index))
  const moved = { ...change(0), path: '/to', from: '/from', hasNewContent: true as const }
  volume.changes.unshift({ ...moved, kind: 'renamed', type: 'directory' })
  const text = (await wormhole(['status', '--since-offline'])).stdout
  assert.match(text, /since: 60 changed, 1 renamed\./)
  assert.match(text, /renamed, changed +\/to\/ \(was \/from\/\) +bob/)
  assert.match(text, /11 older ones are not shown/)
  assert.doesNotMatch(text, /file59/)
  const all = (await wormhole(['status', '--since-offline', '--all'])).stdout
  assert.match(all, /file59/)
  const [report] = JSON.parse((await wormhole(['status', '--since-offline', '--json'])).stdout)
  assert.deepEqual([report.name, report.changes.length, report.counts.changed], ['photos', 50, 60])
  assert.equal((await wormhole(['status', '--all'])).code, 2)
})

test('progress tells amount, rate and what is left', () => {
  const MIB = 1024 * 1024
  let nowMs = 0
  let sourceCount = 0
  const pace = createPace(() => nowMs)
  const at = (ms: number, done: number): string => {
    nowMs = ms
    return pace({ text: 'fetching', done, total: 100 * MIB, isBytes: true, sourceCount }).text
  }
  assert.equal(at(0, 0), 'fetching 0 B of 100 MiB')
  assert.equal(at(2000, 4 * MIB), 'fetching 4 MiB of 100 MiB, 2 MiB/s, 48 s left')
  // Only what came lately counts.
  for (let ms = 3000; ms <= 30_000; ms += 1000) at(ms, 4 * MIB + (ms - 2000) * 1024)
  assert.match(
    at(30_000, 4 * MIB + 28_000 * 1024),
    /, 1000 KiB\/s, 71 s left|1000 KiB\/s, 2 min left/,
  )
  sourceCount = 2
  assert.match(at(31_000, 90 * MIB), /\/s from 2 devices, \d+ s left$/)
  assert.deepEqual(pace({ text: 'looking', done: 0, total: 0 }).text, 'looking')
  assert.deepEqual(pace({ text: 'freeing', done: 1, total: 2 }).text, 'freeing', 'no bytes')
  assert.deepEqual([0.2, 59, 61, 3600, 7500].map(formatDuration), [
    '1 s',
    '59 s',
    '2 min',
    '1 h',
    '2 h 5 min',
  ])
})
