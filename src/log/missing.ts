/** Which entries the log lacks: between those it holds, and those that the index shows beyond. */
import type { Finding } from '../finding.ts'
import { feedRoot, type FeedId, type Frontier } from '../types.ts'
import { findLost } from './entry-queue.ts'
import type { FeedStore } from './interface.ts'

/**
 * One finding for each range. `applied`: what the index shows. `isFilling`: gaps are no loss, older
 * entries are still being fetched.
 */
export function missingEntries(
  feeds: FeedStore,
  applied: Frontier,
  { isFilling }: { readonly isFilling: boolean },
): Finding[] {
  const found: Finding[] = []
  const add = (feed: FeedId, from: number, to: number): void => {
    const which = from === to ? `entry ${from} is` : `entries ${from} to ${to} are`
    const message = `the log of ${feed.slice(0, 8)} has lost something: ${which} not here`
    found.push({ part: 'log', code: 'FEED_CORRUPT', message, feed: feedRoot(feed), from, to })
  }
  for (const feed of isFilling ? [] : feeds.frontier().keys()) {
    for (const { from, to } of feeds.gaps(feed)) add(feed, from, to - 1)
  }
  for (const feed of findLost(feeds, applied)) {
    const held = feeds.head(feed)?.length ?? 0
    const shown = applied.get(feed)?.length ?? 0
    const isInGap = feeds.gaps(feed).some(({ from, to }) => shown > from && shown <= to)
    if (!isInGap) add(feed, Math.min(held, shown - 1), shown - 1)
  }
  return found
}
