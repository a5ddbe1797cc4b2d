/**
 * Proves who gets the next request looked for: one program that waits for each answer where cores
 * sleep in between, and nobody else; and what looking in vain costs at most.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { BusyPoll, LOOK_MS } from '../../../src/vfs/fuse/busy-poll.ts'

/** What it was like. */
interface Tally {
  readonly wallMs: number
  readonly lookedMs: number
  readonly lookedAfter: number
  readonly missed: number
}

/** Only grows, over all tests. */
let nowMs = 1000

/**
 * A program makes `count` requests; `gapMs` tells when the next one comes after an answer, by
 * whether it is looked for.
 */
function work(poll: BusyPoll, count: number, gapMs: (isLookedFor: boolean) => number): Tally {
  const startMs = nowMs
  let [lookedMs, lookedAfter, missed] = [0, 0, 0]
  for (let request = 0; request < count; request++) {
    poll.came(nowMs)
    nowMs += 0.01
    const untilMs = poll.answered(nowMs)
    if (untilMs > 0) lookedAfter++
    const gap = gapMs(untilMs > 0)
    if (untilMs > 0 && gap > untilMs - nowMs) {
      missed++
      lookedMs += untilMs - nowMs
      poll.missed(untilMs)
    } else if (untilMs > 0) {
      lookedMs += gap
    }
    nowMs += gap
  }
  return { wallMs: nowMs - startMs, lookedMs, lookedAfter, missed }
}

test('a program that waits on idle cores is looked for nearly always', () => {
  const { lookedAfter, missed } = work(new BusyPoll(), 20_000, (isSeen) => (isSeen ? 0.04 : 0.08))
  assert.ok(lookedAfter > 19_000, `${lookedAfter} of 20000`)
  assert.equal(missed, 0)
})

test('a request that comes late now and then does not end it', () => {
  let request = 0
  const { lookedAfter } = work(new BusyPoll(), 20_000, (isSeen) => {
    if (++request % 20 === 0) return 0.4
    return isSeen ? 0.04 : 0.08
  })
  assert.ok(lookedAfter > 18_000, `${lookedAfter} of 20000`)
})

test('nobody is looked for on busy cores, nor who thinks between requests', () => {
  for (const gap of [0.005, 0.03, 0.2, 1, 50]) {
    assert.equal(work(new BusyPoll(), 20_000, () => gap).lookedAfter, 0, `${gap} ms`)
  }
})

test('cores that become busy end it within a period', () => {
  const poll = new BusyPoll()
  work(poll, 100, (isSeen) => (isSeen ? 0.04 : 0.08))
  assert.ok(work(poll, 50_000, () => 0.02).lookedAfter <= 1024)
})

test('nobody is looked for long where others want the core', () => {
  let taken = 0
  const poll = new BusyPoll(() => taken)
  // It is taken every 100 requests, which is every 5 ms.
  let request = 0
  const { lookedAfter } = work(poll, 200_000, (isSeen) => {
    if (++request % 100 === 0) taken++
    return isSeen ? 0.04 : 0.08
  })
  assert.ok(lookedAfter < 20_000, `${lookedAfter} of 200000`)
  // They are gone.
  assert.ok(work(poll, 200_000, (isSeen) => (isSeen ? 0.04 : 0.08)).lookedAfter > 150_000)
})

test('looking in vain gets rare', () => {
  // Every request comes just when it is not looked for any more.
  const { lookedMs, wallMs, missed } = work(new BusyPoll(), 200_000, (isSeen) =>
    isSeen ? LOOK_MS * 1.1 : 0.08,
  )
  assert.ok(missed < 400, `${missed} times`)
  assert.ok(lookedMs < wallMs / 500, `${lookedMs} of ${wallMs} ms`)
})

test('a daemon that is asked now and then never looks', () => {
  const poll = new BusyPoll()
  let request = 0
  // A shell: 5 requests together, then a second of nothing.
  const { lookedMs } = work(poll, 5000, () => (++request % 5 === 0 ? 1000 : 0.08))
  assert.equal(lookedMs, 0)
  // And one that has been looked for: once per request, and soon not at all.
  work(poll, 100, (isSeen) => (isSeen ? 0.04 : 0.08))
  assert.ok(work(poll, 1000, () => 1000).lookedMs <= 33 * LOOK_MS)
})
