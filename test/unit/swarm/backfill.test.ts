/**
 * Proves whom a device asks for entries that it lacks, and how often: one range at a time, and
 * nobody again and again whose answer does not help. Ports are plain functions, time is simulated.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Backfill, type Missing } from '../../../src/swarm/backfill.ts'
import { feedId, type DeviceId } from '../../../src/types.ts'
import { SimClock } from '../../helpers/sim-clock.ts'

const [ALICE, BOB, CAROL] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [
  DeviceId,
  DeviceId,
  DeviceId,
]
const FEED = feedId(ALICE, 0)
const FRAMES = [Buffer.from('an entry')]

/** Lets a backfill ask for 20 s. `answer` says what a peer's entries leave missing. */
async function run(
  missing: Missing,
  answer: (peer: DeviceId, now: Missing, from: number) => Missing[] | 'detached',
) {
  const clock = new SimClock()
  const asked: { readonly peer: DeviceId; readonly from: number }[] = []
  let gaps = [missing]
  let answering: DeviceId = BOB
  const backfill: Backfill = new Backfill({
    clock,
    gaps: () => Promise.resolve(gaps),
    receive: () => {
      const left = answer(answering, gaps[0] as Missing, asked.at(-1)?.from as number)
      if (left === 'detached') return Promise.resolve(left)
      gaps = left
      return Promise.resolve('stored')
    },
    peers: () => [BOB, CAROL],
    isBusy: () => false,
    send: (peer, message) => {
      assert.ok(message.type === 'want')
      asked.push({ peer, from: message.fromSeq })
      clock.setTimer(1, () => {
        answering = peer
        backfill.onEntries(peer, message.id, FRAMES)
      })
    },
  })
  for (let tick = 0; tick < 100; tick++) {
    backfill.tick(clock.monotonicMs())
    await clock.run(200)
  }
  return asked
}

test('a range is asked for at once where the one before ends', async () => {
  const asked = await run({ feed: FEED, from: 0, to: 3 }, (_, { from, to }) =>
    from + 1 < to ? [{ feed: FEED, from: from + 1, to }] : [],
  )
  assert.deepEqual(
    asked.map(({ peer, from }) => [peer, from]),
    [0, 1, 2].map((from) => [BOB, from]),
  )
})

test('who answers with another branch is not asked again at once, another peer is', async () => {
  const asked = await run({ feed: FEED, from: 0, to: 3 }, (peer, now) =>
    peer === CAROL ? [] : [now],
  )
  assert.deepEqual(
    asked.map(({ peer }) => peer),
    [BOB, CAROL],
  )
})

test('what fills a gap so far is of another branch: earlier entries are asked for', async () => {
  // Entries up to 12 are here, and from 9 on they are not those that entry 15 follows.
  const missing = { feed: FEED, from: 13, to: 15 }
  let held = 9
  const asked = await run(missing, (_, now, from) => {
    if (from > held) return 'detached'
    held = Math.max(held, from + 1)
    return held === now.to ? [] : [now]
  })
  assert.deepEqual(
    asked.map(({ peer, from }) => [peer, from]),
    [13, 12, 10, 6, 7, 8, 9, 10, 11, 12, 13, 14].map((from) => [BOB, from]),
  )
})

test('who has nothing that follows what is here is left alone for a while', async () => {
  const asked = await run({ feed: FEED, from: 3, to: 5 }, () => 'detached')
  assert.deepEqual(
    asked.map(({ peer, from }) => [peer, from]),
    [BOB, CAROL].flatMap((peer) => [3, 2, 0].map((from) => [peer, from])),
  )
})

test('who goes back and forth is left alone, too', async () => {
  const asked = await run({ feed: FEED, from: 3, to: 9 }, (_, now, from) =>
    from === 0 ? [now] : 'detached',
  )
  assert.deepEqual(
    asked.map(({ peer, from }) => [peer, from]),
    [BOB, CAROL].flatMap((peer) => [3, 2, 0, 1].map((from) => [peer, from])),
  )
})
