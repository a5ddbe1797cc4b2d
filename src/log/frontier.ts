/**
 * Frontiers as bytes, and the few questions asked of them. A frontier is written as the feeds that
 * advanced since another frontier, so that an entry pays only for what its author newly applied.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { HASH_BYTES } from '../seal.ts'
import { feedDevice, feedGeneration, feedId } from '../types.ts'
import type { DeviceId, FeedHead, FeedId, Frontier } from '../types.ts'

/** Most feeds in one volume; bounds what a frontier can make a reader allocate. */
export const FEED_COUNT_MAX = 4096
/** Largest generation number of a feed. */
export const GENERATION_MAX = 0x7fffffff

/** No feed has any entry. */
export const EMPTY_FRONTIER: Frontier = new Map()

/** The heads of `next` that are not the same in `previous`. */
export function frontierDelta(previous: Frontier, next: Frontier): Map<FeedId, FeedHead> {
  const delta = new Map<FeedId, FeedHead>()
  for (const [feed, head] of next) {
    const before = previous.get(feed)
    if (before?.length !== head.length || before.hash !== head.hash) delta.set(feed, head)
  }
  return delta
}

/**
 * `previous` with the heads of `delta` in place of its own; `previous` itself if there are none.
 */
export function frontierMerge(previous: Frontier, delta: Frontier): Frontier {
  if (delta.size === 0) return previous
  const merged = new Map(previous)
  for (const [feed, head] of delta) merged.set(feed, head)
  return merged
}

/** Whether position `seq` of `feed` lies before this frontier. */
export function frontierHas(frontier: Frontier, feed: FeedId, seq: number): boolean {
  return (frontier.get(feed)?.length ?? 0) > seq
}

/** Feed: 32 bytes of device key, varint generation. */
export function writeFeed(writer: ByteWriter, feed: FeedId): void {
  writer.hex(feedDevice(feed)).varint(feedGeneration(feed))
}

/** The reverse of `writeFeed`. @throws {WormholeError} with the reader's code. */
export function readFeed(reader: ByteReader): FeedId {
  const device = reader.hex(32) as DeviceId
  const generation = reader.varint()
  if (generation > GENERATION_MAX) reader.fail(`feed generation ${generation}`)
  return feedId(device, generation)
}

/** Count, then per feed: feed, varint length, 32-byte hash of its newest entry. */
export function writeFrontier(writer: ByteWriter, frontier: Frontier): void {
  writer.varint(frontier.size)
  for (const [feed, head] of frontier) {
    writeFeed(writer, feed)
    writer.varint(head.length).hex(head.hash)
  }
}

/** The reverse of `writeFrontier`. @throws {WormholeError} with the reader's code. */
export function readFrontier(reader: ByteReader): Map<FeedId, FeedHead> {
  const count = reader.varint()
  if (count > FEED_COUNT_MAX) reader.fail(`frontier of ${count} feeds`)
  const frontier = new Map<FeedId, FeedHead>()
  for (let index = 0; index < count; index++) {
    const feed = readFeed(reader)
    if (frontier.has(feed)) reader.fail('feed twice in one frontier')
    const length = reader.varint()
    if (length === 0) reader.fail('empty feed in a frontier')
    frontier.set(feed, { length, hash: reader.hex(HASH_BYTES) })
  }
  return frontier
}
