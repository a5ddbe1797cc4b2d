/**
 * How far the feeds of revoked devices count.
 *
 * What a revoked device wrote counts if a revocation names it, or if an entry that counts itself
 * builds on it. All other entries are kept aside: stored, passed on, listed, and applied by nobody.
 * Why that is the same everywhere: README.md, "Revocation".
 */
import { feedDevice } from '../types.ts'
import type { FeedHead, FeedId } from '../types.ts'
import { addOrigins } from './frontier.ts'
import type { Entry, FeedStore, FeedTip } from './interface.ts'
import type { MemberTable } from './membership.ts'

/**
 * Lengths up to which feeds and branches of revoked devices count; none where nothing beyond what
 * is applied does. `waiting`: entries that are opened and wait for their turn.
 */
export function countedLengths(about: {
  readonly members: MemberTable
  readonly feeds: FeedStore
  readonly waiting: readonly Entry[]
}): ReadonlyMap<FeedId, number> {
  const { members, feeds } = about
  const heads = new Map<FeedId, FeedHead>()
  const name = (tips: readonly FeedTip[]): void => {
    for (const tip of tips) {
      const { length, hash } = tip
      const feed = members.isRevoked(feedDevice(tip.feed)) ? feeds.locate(tip) : undefined
      if (feed === undefined) continue
      if ((heads.get(feed)?.length ?? 0) < length) heads.set(feed, { length, hash })
      addOrigins(heads, feed, feeds)
    }
  }
  for (const { heads: named } of members.revocations()) name(named)
  let aside: Entry[] = []
  for (const entry of about.waiting) {
    if (members.isRevoked(feedDevice(entry.feed))) aside.push(entry)
    else name(entry.tips)
  }
  for (let isMore = true; isMore;) {
    const counting = aside.filter(({ feed, seq }) => seq < (heads.get(feed)?.length ?? 0))
    for (const { tips } of counting) name(tips)
    aside = aside.filter((entry) => !counting.includes(entry))
    isMore = counting.length > 0
  }
  return new Map([...heads].map(([feed, { length }]) => [feed, length]))
}

/** How far a feed is named by what counts, whether it is here or not: that much of it is taken. */
export function namedLength(
  feed: FeedId,
  about: { readonly members: MemberTable; readonly waiting: readonly Entry[] },
): number {
  let longest = 0
  const name = (tips: readonly FeedTip[]): void => {
    for (const tip of tips) if (tip.feed === feed) longest = Math.max(longest, tip.length)
  }
  for (const { heads } of about.members.revocations()) name(heads)
  for (const { tips } of about.waiting) name(tips)
  return longest
}

/** Entries of one device that are kept aside. */
export interface AsideEntries {
  readonly feed: FeedId
  readonly count: number
}

/** What is kept aside of revoked devices: stored, and applied by nobody. */
export function entriesAside(
  members: MemberTable,
  stored: ReadonlyMap<FeedId, FeedHead>,
  applied: ReadonlyMap<FeedId, FeedHead>,
): AsideEntries[] {
  const found: AsideEntries[] = []
  for (const [feed, { length }] of stored) {
    if (!members.isRevoked(feedDevice(feed))) continue
    const count = length - (applied.get(feed)?.length ?? 0)
    if (count > 0) found.push({ feed, count })
  }
  return found
}
