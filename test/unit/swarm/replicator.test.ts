/**
 * Proves when a peer is asked for the next entries of a feed: at once after progress, however that
 * became known here, and after a pause when an answer brought none. The state machine alone.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Replicator, type Effect } from '../../../src/swarm/replicator.ts'
import { feedId, type DeviceId, type FeedHead, type FeedId } from '../../../src/types.ts'

const ALICE = 'a'.repeat(64) as DeviceId
const BOB = 'b'.repeat(64) as DeviceId
const FEED = feedId(ALICE, 0)
const FRAME = new Uint8Array(10)

function headAt(length: number): FeedHead {
  return { length, hash: String(length).padStart(64, '0') } as FeedHead
}

function frontierAt(length: number): ReadonlyMap<FeedId, FeedHead> {
  return new Map([[FEED, headAt(length)]])
}

/** The numbers of the requests among these. */
function asked(effects: readonly Effect[]): number[] {
  return effects.flatMap((effect) =>
    effect.type === 'send' && effect.message.type === 'want' ? [effect.message.id] : [],
  )
}

/** Bob, who has asked alice for the first of her three entries and stores it. */
function storing(): Replicator {
  const bob = new Replicator(BOB, new Map())
  bob.onConnect(ALICE)
  const [id = 0] = asked(bob.onFrontier(ALICE, frontierAt(3), 0))
  const effects = bob.onEntries(ALICE, { id, frames: [FRAME] }, 5)
  assert.deepEqual(
    effects.map(({ type }) => type),
    ['store'],
  )
  return bob
}

test('what was stored is progress, also when it was known before the store returned', () => {
  const bob = storing()
  bob.onOwnHead(FEED, headAt(1), 6)
  bob.onHead(ALICE, FEED, headAt(4), 6)
  const effects = bob.onStored(ALICE, FEED, { frontier: frontierAt(1) }, 7)
  assert.equal(asked(effects).length, 1, 'the rest is asked for at once')
})

test('an answer that brought nothing costs its sender a pause', () => {
  const bob = storing()
  const effects = bob.onStored(ALICE, FEED, { frontier: new Map() }, 7)
  assert.deepEqual(asked(effects), [])
  assert.deepEqual(asked(bob.onTick(100)), [])
  assert.equal(asked(bob.onTick(1000)).length, 1)
})
