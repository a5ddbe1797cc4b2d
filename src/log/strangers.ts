/**
 * How much is kept of feeds whose device is no member here. Its admission may be on the way in
 * another feed, so a little is kept; more would let one member fill the disks of all others.
 */
import { WormholeError } from '../errors.ts'
import { feedDevice } from '../types.ts'
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

  /** Before frames of a feed are stored. @throws {WormholeError} `NOT_A_MEMBER`. */
  admit(feed: FeedId, frames: readonly EntryFrame[], members: MemberTable): void {
    const isStranger = (other: FeedId): boolean => !members.isMember(feedDevice(other))
    const hasGenesis = members.members().length > 0
    if (!hasGenesis || !isStranger(feed)) return
    for (const frame of frames) this.#bytes += frame.bytes.length
    const isNew = this.#feeds.head(feed) === undefined
    const count = isNew ? [...this.#feeds.frontier().keys()].filter(isStranger).length : 0
    if (count < COUNT_MAX && this.#bytes <= BYTES_MAX) return
    throw new WormholeError('NOT_A_MEMBER', `feed ${feed} belongs to no member`)
  }
}
