/** Which entries the log lacks: between those it holds, and those that the index shows beyond. */
import type { Finding } from '../finding.ts'
import { feedRoot, type FeedId, type Frontier } from '../types.ts'
import { findLost } from './entry-queue.ts'
import type { FeedStore } from './interface.ts'

/** One finding for each range. `applied`: what the index shows. */
export function missingEntries(feeds: FeedStore, applied: Frontier): Finding[] {
  const found: Finding[] = []
  const add = (feed: FeedId, from: number, to: number): void => {
    const which = from === to ? `entry ${from}` : `entries ${from} to ${to}`
    const message = `${which} of feed ${feed.slice(0, 8)} are not on this device`
    found.push({ part: 'log', code: 'FEED_CORRUPT', message, feed: feedRoot(feed), from, to })
  }
  for (const feed of feeds.frontier().keys()) {
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
