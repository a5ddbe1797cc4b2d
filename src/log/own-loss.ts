/**
 * Entries of this device that its log has lost, and that nobody else is known to have.
 *
 * What others have written shows what they had applied: an own entry below that is held by somebody
 * and comes back. One above it may exist nowhere any more. Then everything that this device goes on
 * to write would wait for it, on all other devices, for ever.
 */
import { WormholeError } from '../errors.ts'
import { feedDevice, feedRoot, type DeviceId, type FeedId, type Frontier } from '../types.ts'
import { findLost, type EntryQueue } from './entry-queue.ts'
import type { FeedStore } from './interface.ts'
import type { MemberTable } from './membership.ts'
import type { OwnFeed } from './own-feed.ts'

/** Where this device's log ends to be of use. */
export interface OwnLoss {
  readonly feed: FeedId
  /** The first entry that is lost, and one more than the last. */
  readonly from: number
  readonly to: number
  /** Whether another device has applied all of them. */
  readonly isHeldElsewhere: boolean
  /** Whether members were let in by entries that are lost or lie behind lost ones. */
  readonly hasMembers: boolean
}

/** The losses in own feeds, at most one each. `applied`: what the index shows. */
function ownLosses(options: {
  readonly feeds: FeedStore
  readonly applied: Frontier
  readonly members: MemberTable
  readonly device: DeviceId
}): OwnLoss[] {
  const { feeds, applied, members, device } = options
  const losses: OwnLoss[] = []
  for (const [feed, { length }] of applied) {
    if (feedDevice(feed) !== device) continue
    const gaps = feeds.gaps(feed).filter(({ from }) => from < length)
    const head = feeds.head(feed)?.length ?? 0
    const from = Math.min(gaps[0]?.from ?? length, head)
    if (from >= length) continue
    const to = head < length ? length : Math.min(length, gaps.at(-1)?.to ?? length)
    const isIn = ({ admittedBy }: { admittedBy: { feed: FeedId; seq: number } }): boolean =>
      feedRoot(admittedBy.feed) === feedRoot(feed) && admittedBy.seq >= from
    losses.push({
      feed,
      from,
      to,
      isHeldElsewhere: appliedByOthers(feed, options) >= to,
      hasMembers: members.members().some(isIn),
    })
  }
  return losses
}

/** The greatest length of a feed that an entry by another device builds on. */
function appliedByOthers(
  feed: FeedId,
  { applied, members, device }: { applied: Frontier; members: MemberTable; device: DeviceId },
): number {
  let greatest = 0
  for (const other of applied.keys()) {
    if (feedDevice(other) === device) continue
    greatest = Math.max(greatest, members.frontierOf(other).get(feed)?.length ?? 0)
  }
  return greatest
}

/** What is to be done about entries that an index shows and the log lost. */
export interface LossVerdict {
  /** Feeds that are to be awaited from peers. */
  readonly lost: readonly FeedId[]
  /** Own feeds that nothing more is written to. */
  readonly retired: readonly FeedId[]
  /** Own entries that nobody has: they are to be said anew. */
  readonly gone: { readonly feed: FeedId; readonly from: number } | undefined
}

/** Judges all losses. `missing`: every entry that the log lacks, with older ones. */
export function judgeLosses(
  options: Parameters<typeof ownLosses>[0],
  missing: readonly { readonly feed?: FeedId }[],
): LossVerdict {
  const { feeds, applied, device } = options
  const losses = ownLosses(options)
  // What others have said must be here in full: else there is nothing to say it anew upon.
  const isRest = missing.every(({ feed }) => feed !== undefined && feedDevice(feed) === device)
  return {
    lost: findLost(feeds, applied),
    retired: losses.map(({ feed }) => feedRoot(feed)),
    gone: losses.find((loss) => !loss.isHeldElsewhere && !loss.hasMembers && isRest),
  }
}

/**
 * Waits for what was lost, or gives it up. Returns whether anything was.
 * @throws {WormholeError} `LOG_LOST` when it is to be said anew.
 */
export function settleLosses(
  { lost, retired, gone }: LossVerdict,
  about: { readonly feeds: FeedStore; readonly own: OwnFeed; readonly queue: EntryQueue },
): boolean {
  if (lost.length + retired.length === 0) return false
  about.queue.expect(lost)
  for (const feed of retired) about.own.retire(feed)
  if (gone === undefined) return true
  about.feeds.setAside(gone.feed, gone.from)
  const message = `own entries from ${gone.from} on are lost, and nobody is known to have them`
  throw new WormholeError('LOG_LOST', message)
}
