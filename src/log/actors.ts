/**
 * Actor ids that belong to one feed.
 *
 * The first 10 bytes are the BLAKE2b digest of the feed's id (that of all its branches), the last 6
 * are random for each process run. So whose an actor is follows from the id alone and no order of
 * arrival decides it:
 * were actors claimed by whoever says so first, a member could claim another's with an old
 * frontier, and devices would disagree for ever about which changes are valid.
 */
import { hash } from '../seal.ts'
import type { Random } from '../system.ts'
import type { ActorId, FeedId } from '../types.ts'
import { feedRoot } from '../types.ts'

const FEED_BYTES = 10
const RUN_BYTES = 6

function prefixOf(feed: FeedId): string {
  return hash(Buffer.from(`wormhole/1/actor/${feedRoot(feed)}`, 'latin1')).toString(
    'hex',
    0,
    FEED_BYTES,
  )
}

/** A fresh actor of a feed, for one process run. */
export function createActor(feed: FeedId, random: Random): ActorId {
  return (prefixOf(feed) + Buffer.from(random.bytes(RUN_BYTES)).toString('hex')) as ActorId
}

/** Whether an actor may write in this feed. */
export function isActorOf(actor: ActorId, feed: FeedId): boolean {
  return actor.startsWith(prefixOf(feed))
}
