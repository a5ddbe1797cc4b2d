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
async function run(missing: Missing, answer: (peer: DeviceId, now: Missing) => Missing[]) {
  const clock = new SimClock()
  const asked: { readonly peer: DeviceId; readonly from: number }[] = []
  let gaps = [missing]
  let answering: DeviceId = BOB
  const backfill: Backfill = new Backfill({
    clock,
    gaps: () => Promise.resolve(gaps),
    receive: () => {
      gaps = answer(answering, gaps[0] as Missing)
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
