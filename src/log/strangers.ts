/**
 * How much is kept of feeds whose device is no member here. Its admission may be on the way in
 * another feed, or an entry that counts may build on what a revoked device wrote, so a little is
 * kept; more would let one member fill the disks of all others.
 */
import { WormholeError } from '../errors.ts'
import { feedDevice, feedRoot } from '../types.ts'
import type { FeedId } from '../types.ts'
import type { EntryFrame, FeedStore } from './interface.ts'
import type { MemberTable } from './membership.ts'

/** Bytes taken of such feeds in one process run, and how many of them are kept. */
const BYTES_MAX = 16 * 1024 * 1024
const COUNT_MAX = 32

/** Counts what was taken of strangers' feeds. */
export class Strangers {
  readonly #feeds: FeedStore
  #bytes = 0

  constructor(feeds: FeedStore) {
    this.#feeds = feeds
  }

  /**
   * Before frames of a feed are stored. `countedOf` tells how far the feed of a revoked device is
   * named by what counts: that much of it is taken in any case.
   * @throws {WormholeError} `NOT_A_MEMBER`.
   */
  admit(
    feed: FeedId,
    frames: readonly EntryFrame[],
    members: MemberTable,
    countedOf: (feed: FeedId) => number,
  ): void {
    const isStranger = (other: FeedId): boolean => !members.isMember(feedDevice(other))
    const hasGenesis = members.members().length > 0
    if (!hasGenesis || !isStranger(feed)) return
    const counted = members.isRevoked(feedDevice(feed)) ? countedOf(feedRoot(feed)) : 0
    for (const { seq, bytes } of frames) if (seq >= counted) this.#bytes += bytes.length
    const isKept = counted > 0 || this.#feeds.head(feed) !== undefined
    const count = isKept ? 0 : [...this.#feeds.frontier().keys()].filter(isStranger).length
    if (count < COUNT_MAX && this.#bytes <= BYTES_MAX) return
    if (frames.every(({ seq }) => seq < counted)) return
    throw new WormholeError('NOT_A_MEMBER', `feed ${feed} belongs to no member`)
  }
}
