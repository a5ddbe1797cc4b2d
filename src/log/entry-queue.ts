/**
 * Which stored entry is to be applied next: the first unapplied one of a feed or branch whose
 * author is a member and whose frontier is satisfied.
 *
 * Nothing here decides what an entry is worth; it decides only when. Entries wait, without holding
 * up other feeds, while
 * - what their frontier names is not applied here yet (or does not exist);
 * - a change in them follows one that is not here, which no frontier of theirs names;
 * - they are on a branch whose beginning is not applied yet, or is missing;
 * - their author is not a member here yet: an entry of somebody who never becomes one is never
 *   applied and appears in no frontier, so that strangers cannot keep members apart;
 * - their author was revoked: what the revocation does not name waits until an entry that counts
 *   builds on it (`counted.ts`);
 * - a newer version wrote them, their key is not here, or the disk damaged them. Reported; their
 *   feed is stalled until the next start.
 */
import { errorToData, hasCode } from '../errors.ts'
import { feedDevice } from '../types.ts'
import type { DeviceId, FeedId, Frontier, VolumeId } from '../types.ts'
import { countedLengths, namedLength } from './counted.ts'
import { deltaBase, FRONTIER_EVERY, openEntry } from './entry.ts'
import { addOrigins, EMPTY_FRONTIER, frontierResolve } from './frontier.ts'
import type { Entry, EntryFrame, FeedStore, FeedTip, LogKeys, TreePart } from './interface.ts'
import type { MemberTable } from './membership.ts'

/** What comes next: an entry, or a frame that its author malformed and that counts as empty. */
export type NextEntry =
  | { readonly type: 'entry'; readonly entry: Entry }
  /** `frontier`: what the entry before had applied, which stays. */
  | { readonly type: 'malformed'; readonly frame: EntryFrame; readonly frontier: Frontier }

/** Ports of a queue. */
export interface EntryQueueOptions {
  readonly volume: VolumeId
  readonly keys: LogKeys
  readonly feeds: FeedStore
  /** Whether what the changes of an entry follow is here. */
  readonly tree: { isComplete(changes: TreePart['changes']): boolean }
  /** This device: what it has built on itself comes first. */
  readonly device?: DeviceId
  /** Who let this device in: until the log says so here, only what leads there is applied. */
  readonly guide?: DeviceId
  /** All that members wrote counts, although they were revoked since. */
  readonly isAllCounted?: boolean
  onProblem(problem: { code: string; message: string }): void
}

/** An opened entry that waits. */
interface Waiting {
  readonly entry: Entry
  /** What `tips` are added to. */
  readonly base: Frontier
  /** Whether `entry.frontier` has the names of this device. */
  isResolved: boolean
}

/** See the head of this file. */
export class EntryQueue {
  readonly #options: EntryQueueOptions
  /** Feeds whose next entry cannot be applied in this run, and why. */
  readonly #stalled = new Map<FeedId, string>()
  /** The opened next entry of each feed, while it waits. */
  readonly #waiting = new Map<FeedId, Waiting>()

  /** How often an entry was opened. */
  #opened = 0
  /** Feeds of which the index shows more than is held. */
  readonly #unproved = new Set<FeedId>()

  constructor(options: EntryQueueOptions) {
    this.#options = options
  }

  /** There are keys that were not there before. */
  keysArrived(): void {
    for (const [feed, code] of this.#stalled) {
      if (code === 'KEY_MISSING') this.#stalled.delete(feed)
    }
  }

  /** The state that entries were judged against is void. Stalled feeds stay so. */
  reset(): void {
    this.#waiting.clear()
  }

  /**
   * Of these feeds the index shows entries that are not here. What is behind them is applied only
   * once they are back: another branch may come instead.
   */
  expect(lost: readonly FeedId[]): void {
    for (const feed of lost) this.#unproved.add(feed)
  }

  #isProved(feed: FeedId, applied: Frontier): boolean {
    if (!this.#unproved.has(feed)) return true
    const tip = applied.get(feed)
    if (tip && this.#options.feeds.locate({ feed, ...tip }) !== feed) return false
    this.#unproved.delete(feed)
    return true
  }

  /** Whether an entry by another device waits for one of this feed that is not here. */
  isNamed(feed: FeedId): boolean {
    for (const { entry, isResolved } of this.#waiting.values()) {
      if (isResolved || feedDevice(entry.feed) === feedDevice(feed)) continue
      if (entry.tips.some((tip) => tip.feed === feed && !this.#options.feeds.locate(tip)))
        return true
    }
    return false
  }

  /**
   * The next one, given what is applied; undefined when nothing can be. Changes nothing.
   * @throws {WormholeError} `FEED_CORRUPT`.
   */
  next(members: MemberTable, applied: Frontier): NextEntry | undefined {
    const { feeds, isAllCounted = false, device, guide } = this.#options
    const isNew = device !== undefined && guide !== undefined && !members.isMember(device)
    for (const feed of feeds.frontier().keys()) {
      const isFirst = feedDevice(feed) === (isNew ? guide : device)
      const next = isFirst && this.#pull(feed, members, applied, new Set())
      if (next) return next
    }
    if (isNew) return undefined
    /** Feeds of revoked devices: how far they count follows from what waits. */
    let aside: FeedId[] = []
    for (const feed of feeds.frontier().keys()) {
      const isRevoked = !isAllCounted && members.isRevoked(feedDevice(feed))
      if (isRevoked) aside.push(feed)
      const next = isRevoked ? undefined : this.#nextOf(feed, members, applied)
      if (next) return next
    }
    // What is opened may build on others, so this goes on until nothing more is.
    for (let isMore = aside.length > 0; isMore;) {
      const counted = this.counted(members)
      const opened = this.#opened
      for (const feed of aside) {
        const from = applied.get(feed)?.length ?? this.#start(feed, applied)
        if (from === undefined || from >= (counted.get(feed) ?? 0)) continue
        aside = aside.filter((other) => other !== feed)
        const next = this.#nextOf(feed, members, applied)
        if (next) return next
      }
      isMore = this.#opened > opened
    }
    return undefined
  }

  /**
   * The next one of a feed, or of what that waits for: nothing else is applied for its sake. So a
   * device whose index is made anew does not take what it had kept aside for something new, nor
   * does one that comes in later.
   */
  #pull(
    feed: FeedId,
    members: MemberTable,
    applied: Frontier,
    seen: Set<FeedId>,
  ): NextEntry | undefined {
    const { feeds } = this.#options
    if (seen.has(feed)) return undefined
    seen.add(feed)
    const next = this.#nextOf(feed, members, applied, true)
    if (next) return next
    const from = applied.get(feed)?.length ?? this.#start(feed, applied)
    const origin = from === undefined ? feeds.origin(feed) : undefined
    const waiting = this.#waiting.get(feed)
    const isWaiting = waiting !== undefined && waiting.entry.seq === from
    const tips = origin ? [origin] : isWaiting ? waiting.entry.tips : []
    for (const tip of tips) {
      const name = origin ? tip.feed : feeds.locate(tip)
      if (name === undefined || (applied.get(name)?.length ?? 0) >= tip.length) continue
      const pulled = this.#pull(name, members, applied, seen)
      if (pulled) return pulled
    }
    return undefined
  }

  /** How far the feeds of revoked devices count. */
  counted(members: MemberTable): ReadonlyMap<FeedId, number> {
    const waiting = [...this.#waiting.values()].map(({ entry }) => entry)
    return countedLengths({ members, feeds: this.#options.feeds, waiting })
  }

  /** How far a feed is named by what counts or waits. */
  named(feed: FeedId, members: MemberTable): number {
    const waiting = [...this.#waiting.values()].map(({ entry }) => entry)
    return namedLength(feed, { members, waiting })
  }

  /** `isPulled`: it is looked at before its author is known, to see what leads to that. */
  #nextOf(
    feed: FeedId,
    members: MemberTable,
    applied: Frontier,
    isPulled = false,
  ): NextEntry | undefined {
    const { feeds, volume } = this.#options
    if (this.#stalled.has(feed)) return undefined
    const from = applied.get(feed)?.length ?? this.#start(feed, applied)
    if (from === undefined || from >= (feeds.head(feed)?.length ?? 0)) return undefined
    if (!this.#isProved(feed, applied)) return undefined
    const known = this.#waiting.get(feed)
    const waiting = known?.entry.seq === from ? known : undefined
    const frame = waiting?.entry ?? this.#read(feed, from)
    if (!frame) return undefined
    const device = feedDevice(feed)
    const isKnown = members.isMember(device) || members.isRevoked(device)
    const isStrange = frame.hash !== volume && !isKnown
    if (isStrange && !isPulled) return undefined
    const next = waiting ?? this.#open(frame as EntryFrame, members, applied)
    if (next === undefined) return undefined
    if ('type' in next) return isStrange ? undefined : next
    const entry = this.#settle(next, members, applied)
    return entry && !isStrange ? { type: 'entry', entry } : undefined
  }

  /** Where a feed or branch of which nothing is applied begins; undefined while that is open. */
  #start(feed: FeedId, applied: Frontier): number | undefined {
    const { feeds } = this.#options
    if (feeds.branches(feed).some((other) => applied.has(other) && feeds.gaps(other).length > 0)) {
      return undefined
    }
    const origin = feeds.origin(feed)
    if (origin === undefined) return feeds.gaps(feed).some(({ from }) => from === 0) ? undefined : 0
    const isThere = (applied.get(origin.feed)?.length ?? 0) >= origin.length
    return isThere ? origin.length : undefined
  }

  /** The frame at a position; a damaged one holds up its feed alone, until a peer brings it. */
  #read(feed: FeedId, seq: number): EntryFrame | undefined {
    try {
      return this.#options.feeds.read(feed, seq, 1)[0]
    } catch (error) {
      if (!hasCode(error, 'FEED_CORRUPT')) throw error
      // A store that repairs itself has taken the damaged part away by now.
      const isStuck = isUnreadable(this.#options.feeds, feed, seq)
      if (isStuck) this.#stall(feed, error.code, error.message)
      return undefined
    }
  }

  #open(
    frame: EntryFrame,
    members: MemberTable,
    applied: Frontier,
  ): Waiting | NextEntry | undefined {
    const { volume, keys, feeds, onProblem } = this.#options
    const { feed, seq } = frame
    const origin = members.foldedLength(feed) === 0 ? feeds.origin(feed) : undefined
    const previousFrontier = origin ? this.#frontierAt(origin, applied) : members.frontierOf(feed)
    try {
      const entry = openEntry(frame, { volume, keys, previousFrontier })
      const base = new Map(deltaBase(seq, previousFrontier))
      addOrigins(base, feed, feeds)
      const waiting = { entry, base, isResolved: false }
      this.#waiting.set(feed, waiting)
      this.#opened++
      return waiting
    } catch (error) {
      if (hasCode(error, 'ENTRY_INVALID')) {
        const { code, message } = error
        onProblem({ code, message: `entry ${seq} of feed ${feed} does not open: ${message}` })
        return { type: 'malformed', frame, frontier: previousFrontier }
      }
      const { code, message } = errorToData(error)
      this.#stall(feed, code, `entry ${seq} of feed ${feed} does not open: ${message}`)
      return undefined
    }
  }

  /**
   * The frontier of an applied entry, and what lies before it in its own feed: what a branch that
   * starts behind it builds on. Opens the entries since the last one with a whole frontier.
   */
  #frontierAt({ feed, length }: FeedTip, applied: Frontier): Frontier {
    const { volume, keys, feeds } = this.#options
    let from = length - 1
    let frontier: Frontier = EMPTY_FRONTIER
    const open = (frame: EntryFrame): Frontier | undefined => {
      try {
        const entry = openEntry(frame, { volume, keys, previousFrontier: frontier })
        return frontierResolve(deltaBase(entry.seq, frontier), entry.tips, { feeds, applied })
      } catch (error) {
        if (hasCode(error, 'ENTRY_INVALID')) return undefined
        throw error
      }
    }
    for (;;) {
      from -= from % FRONTIER_EVERY
      const [first] = feeds.read(feed, from, 1)
      const whole = first && open(first)
      if (whole !== undefined) frontier = whole
      if (whole !== undefined || from === 0) break
      from -= 1
    }
    for (let seq = from + 1; seq < length; seq++) {
      const [frame] = feeds.read(feed, seq, 1)
      frontier = (frame && open(frame)) ?? frontier
    }
    const merged = new Map(frontier)
    merged.set(feed, { length, hash: feeds.read(feed, length - 1, 1)[0]?.hash ?? '' })
    addOrigins(merged, feed, feeds)
    return merged
  }

  #stall(feed: FeedId, code: string, message: string): void {
    this.#stalled.set(feed, code)
    this.#waiting.delete(feed)
    this.#options.onProblem({ code, message })
  }

  /** The entry with its frontier by the names of this device, once all that is in it is applied. */
  #settle(waiting: Waiting, members: MemberTable, applied: Frontier): Entry | undefined {
    if (!waiting.isResolved) {
      const { feeds } = this.#options
      const { tips } = waiting.entry
      const frontier = frontierResolve(waiting.base, tips, { feeds, applied })
      if (frontier === undefined) return undefined
      Object.assign(waiting, { entry: { ...waiting.entry, frontier }, isResolved: true })
    }
    const { entry } = waiting
    for (const [feed, head] of entry.frontier) {
      if ((applied.get(feed)?.length ?? 0) < head.length) return undefined
    }
    const verdict = members.check(entry)
    const changes = verdict.state === 'valid' ? entry.tree?.changes : undefined
    if (changes && !this.#options.tree.isComplete(changes)) return undefined
    if (verdict.state !== 'unknown') return entry
    this.#stall(entry.feed, 'UPGRADE_NEEDED', verdict.reason)
    return undefined
  }
}

/** Feeds that do not hold what a frontier says of them: entries were lost, or are others. */
export function findLost(feeds: FeedStore, frontier: Frontier): FeedId[] {
  const lost: FeedId[] = []
  for (const [feed, { length, hash }] of frontier) {
    const head = feeds.head(feed)
    const found = head?.length === length ? head : readable(feeds, feed, length - 1)
    if (found?.hash !== hash) lost.push(feed)
  }
  return lost
}

function isUnreadable(feeds: FeedStore, feed: FeedId, seq: number): boolean {
  try {
    feeds.read(feed, seq, 1)
    return false
  } catch (error) {
    if (hasCode(error, 'FEED_CORRUPT')) return true
    throw error
  }
}

/** The entry at a position; a damaged one is lost. */
function readable(feeds: FeedStore, feed: FeedId, seq: number): EntryFrame | undefined {
  try {
    return feeds.read(feed, seq, 1)[0]
  } catch (error) {
    if (hasCode(error, 'FEED_CORRUPT')) return undefined
    throw error
  }
}
