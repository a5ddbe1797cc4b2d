/**
 * Which stored entry is to be applied next: the first unapplied one of a feed whose author is a
 * member and whose frontier is satisfied.
 *
 * Nothing here decides what an entry is worth; it decides only when. Entries wait, without holding
 * up other feeds, while
 * - their frontier names what is not applied here yet (or does not exist);
 * - their author is not a member here yet: an entry of somebody who never becomes one is never
 *   applied and appears in no frontier, so that strangers cannot keep members apart;
 * - their frontier names another branch of a feed than the one held here (a fork): what they build
 *   on would never be understood. Reported; their feed is stalled;
 * - a newer version wrote them, their key is not here, or the disk damaged them. Reported; their
 *   feed is stalled until the next start.
 */
import { errorToData, hasCode } from '../errors.ts'
import { feedDevice } from '../types.ts'
import type { FeedHead, FeedId, Frontier, VolumeId } from '../types.ts'
import { openEntry } from './entry.ts'
import { frontierDelta } from './frontier.ts'
import type { Entry, EntryFrame, FeedStore, LogKeys } from './interface.ts'
import type { MemberTable } from './membership.ts'

/** What comes next: an entry, or a frame that its author malformed and that counts as empty. */
export type NextEntry =
  | { readonly type: 'entry'; readonly entry: Entry }
  | { readonly type: 'malformed'; readonly frame: EntryFrame }

/** Ports of a queue. */
export interface EntryQueueOptions {
  readonly volume: VolumeId
  readonly keys: LogKeys
  readonly feeds: FeedStore
  onProblem(problem: { code: string; message: string }): void
}

/** See the head of this file. */
export class EntryQueue {
  readonly #options: EntryQueueOptions
  /** Feeds whose next entry cannot be applied in this run. */
  readonly #stalled = new Set<FeedId>()
  /** The opened next entry of each feed, while it waits. */
  readonly #waiting = new Map<FeedId, Entry>()
  /** How much of the frontier of a waiting entry was compared with the branches held here. */
  readonly #compared = new Map<FeedId, string>()

  constructor(options: EntryQueueOptions) {
    this.#options = options
  }

  /** The state that entries were judged against is void. Stalled feeds stay so. */
  reset(): void {
    this.#waiting.clear()
    this.#compared.clear()
  }

  /**
   * The next one, given what is applied; undefined when nothing can be. Changes nothing.
   * @throws {WormholeError} `FEED_CORRUPT`.
   */
  next(members: MemberTable, applied: Frontier): NextEntry | undefined {
    const { feeds, volume } = this.#options
    for (const [feed, head] of feeds.frontier()) {
      const from = applied.get(feed)?.length ?? 0
      if (from >= head.length || this.#stalled.has(feed)) continue
      const known = this.#waiting.get(feed)
      const entry = known?.seq === from ? known : undefined
      const frame = entry ?? this.#read(feed, from)
      if (!frame) continue
      if (frame.hash !== volume && !members.isMember(feedDevice(feed))) continue
      const next = entry
        ? ({ type: 'entry', entry } as const)
        : this.#open(frame as EntryFrame, members)
      if (next?.type === 'malformed') return next
      if (next && this.#isReady(next.entry, members, applied)) return next
    }
    return undefined
  }

  /** The frame at a position; a damaged one stalls its feed alone. */
  #read(feed: FeedId, seq: number): EntryFrame | undefined {
    try {
      return this.#options.feeds.read(feed, seq, 1)[0]
    } catch (error) {
      if (!hasCode(error, 'FEED_CORRUPT')) throw error
      this.#stall(feed, error.code, error.message)
      return undefined
    }
  }

  #open(frame: EntryFrame, members: MemberTable): NextEntry | undefined {
    const { volume, keys, onProblem } = this.#options
    const { feed } = frame
    try {
      const entry = openEntry(frame, { volume, keys, previousFrontier: members.frontierOf(feed) })
      this.#waiting.set(feed, entry)
      return { type: 'entry', entry }
    } catch (error) {
      if (hasCode(error, 'ENTRY_INVALID')) {
        const { code, message } = error
        onProblem({ code, message: `entry ${frame.seq} of feed ${feed} does not open: ${message}` })
        return { type: 'malformed', frame }
      }
      const { code, message } = errorToData(error)
      this.#stall(feed, code, `entry ${frame.seq} of feed ${feed} does not open: ${message}`)
      return undefined
    }
  }

  #stall(feed: FeedId, code: string, message: string): void {
    this.#stalled.add(feed)
    this.#waiting.delete(feed)
    this.#options.onProblem({ code, message })
  }

  #isReady(entry: Entry, members: MemberTable, applied: Frontier): boolean {
    for (const [feed, head] of entry.frontier) {
      if ((applied.get(feed)?.length ?? 0) < head.length) return false
    }
    const forked = this.#otherBranch(entry, members, applied)
    if (forked !== undefined) {
      const device = feedDevice(entry.feed).slice(0, 8)
      this.#stall(
        entry.feed,
        'ENTRY_INVALID',
        `feed ${forked} has two branches (a home was restored or cloned and then wrote): ` +
          `what device ${device} wrote on the other branch waits`,
      )
      return false
    }
    const verdict = members.check(entry)
    if (verdict.state !== 'unknown') return true
    this.#stall(entry.feed, 'UPGRADE_NEEDED', verdict.reason)
    return false
  }

  /** A feed of which the author has applied another branch than the one held here. */
  #otherBranch(entry: Entry, members: MemberTable, applied: Frontier): FeedId | undefined {
    if (this.#compared.get(entry.feed) === entry.hash) return undefined
    for (const [feed, head] of frontierDelta(members.frontierOf(entry.feed), entry.frontier)) {
      if (this.#hashAt(feed, head.length, applied) !== head.hash) return feed
    }
    this.#compared.set(entry.feed, entry.hash)
    return undefined
  }

  #hashAt(feed: FeedId, length: number, applied: Frontier): string | undefined {
    const head = applied.get(feed) as FeedHead
    if (head.length === length) return head.hash
    return this.#options.feeds.read(feed, length - 1, 1)[0]?.hash
  }
}

/** Feeds that do not hold what a frontier says of them: entries were lost, or are others. */
export function findLost(feeds: FeedStore, frontier: Frontier): FeedId[] {
  const lost: FeedId[] = []
  for (const [feed, { length, hash }] of frontier) {
    const head = feeds.head(feed)
    const found = head?.length === length ? head : feeds.read(feed, length - 1, 1)[0]
    if (found?.hash !== hash) lost.push(feed)
  }
  return lost
}
