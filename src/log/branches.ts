/**
 * Feeds that forked: how many branches of one are taken, and what people are told.
 *
 * A branch costs a directory, an open file and a name, so a hostile member may not make any number
 * of them. What another member has applied must be taken all the same, else that member's entries
 * would wait for ever: so the bound is on what this device takes without need.
 */
import { WormholeError } from '../errors.ts'
import type { FeedId } from '../types.ts'
import { feedDevice, feedRoot } from '../types.ts'
import type { EntryFrame, FeedStore } from './interface.ts'
import type { MemberTable } from './membership.ts'

/** Branches of one feed that are taken before somebody else builds on them. */
export const BRANCHES_MAX = 16

/** Ports of `Branches`. */
export interface BranchesOptions {
  readonly feeds: FeedStore
  /** Says whether an entry by another device waits for one of a feed that is not here. */
  readonly queue: { isNamed(feed: FeedId): boolean }
  onProblem(problem: { code: string; message: string }): void
}

/** See the head of this file. */
export class Branches {
  readonly #options: BranchesOptions
  readonly #told = new Set<FeedId>()

  constructor(options: BranchesOptions) {
    this.#options = options
  }

  /**
   * Before frames of a feed are stored: whether what the first one follows is here. If not, whoever
   * gave them is asked for earlier ones.
   * @throws {WormholeError} `LIMIT_EXCEEDED`.
   */
  admit(feed: FeedId, frames: readonly EntryFrame[]): boolean {
    const { feeds, queue } = this.#options
    const [first] = frames
    if (first === undefined || this.#isAtEnd(feed, first)) return true
    const follows = { feed, length: first.seq, hash: first.previousHash }
    if (first.seq > 0 && feeds.locate(follows) === undefined) return false
    const count = feeds.branches(feed).length
    if (count < BRANCHES_MAX || queue.isNamed(feed)) return true
    const isHeld = ({ seq, hash }: EntryFrame): boolean =>
      feeds.locate({ feed, length: seq + 1, hash }) !== undefined
    if (frames.every(isHeld)) return true
    throw new WormholeError('LIMIT_EXCEEDED', `feed ${feed} has ${count} branches already`)
  }

  #isAtEnd(feed: FeedId, { seq, previousHash }: EntryFrame): boolean {
    const { feeds } = this.#options
    return feeds.branches(feed).some((name) => {
      const head = feeds.head(name)
      return head?.length === seq && head.hash === previousHash
    })
  }

  /** Tells of feeds that have branches; each once in a process run. */
  tell(members: MemberTable): void {
    const { feeds, onProblem } = this.#options
    for (const name of feeds.frontier().keys()) {
      const root = feedRoot(name)
      const member = members.member(feedDevice(root))
      if (name === root || member === undefined || this.#told.has(root)) continue
      // It may be what is being fetched for a gap.
      if (feeds.branches(root).some((other) => feeds.gaps(other).length > 0)) continue
      this.#told.add(root)
      const message =
        `device ${member.name} wrote in two places under one identity: its home was copied, or ` +
        'restored from a backup. Both branches are kept, nothing is lost; of two running copies ' +
        'one needs a home of its own (`wormhole join`)'
      onProblem({ code: 'FEED_FORKED', message })
    }
  }
}
