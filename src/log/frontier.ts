/**
 * Frontiers as bytes, and the few questions asked of them. A frontier is written as the feeds that
 * advanced since another frontier, so that an entry pays only for what its author newly applied.
 *
 * In entries a frontier names branches by nothing but the hash of their newest entry; here each has
 * a name of this device's own (`FeedId`), and who reads an entry looks the names up.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { HASH_BYTES } from '../seal.ts'
import { branchId, feedDevice, feedGeneration, feedId, feedRoot } from '../types.ts'
import type { DeviceId, FeedHead, FeedId, Frontier } from '../types.ts'
import type { FeedStore, FeedTip } from './interface.ts'

/** Most feeds and branches in one frontier; bounds what it can make a reader allocate. */
export const FEED_COUNT_MAX = 4096
/** Largest generation number of a feed. */
export const GENERATION_MAX = 0x7fffffff
/** Bytes of a branch's name. */
const BRANCH_BYTES = 16

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

/** `previous` and what lies before `tips`, on feeds without branches. */
export function frontierMerge(previous: Frontier, tips: readonly FeedTip[]): Frontier {
  if (tips.length === 0) return previous
  const merged = new Map(previous)
  for (const { feed, length, hash } of tips) raise(merged, feed, { length, hash })
  return merged
}

/**
 * `previous` and what lies before `tips`, by the names that branches have here. Undefined when an
 * entry that is named is not here. What is behind a gap is taken for that of the chain around it.
 */
export function frontierResolve(
  previous: Frontier,
  tips: readonly FeedTip[],
  use: { readonly feeds: FeedStore; readonly applied: Frontier },
): Frontier | undefined {
  if (tips.length === 0) return previous
  const merged = new Map(previous)
  for (const tip of tips) {
    const feed = locate(tip, use)
    if (feed === undefined) return undefined
    raise(merged, feed, { length: tip.length, hash: tip.hash })
    addOrigins(merged, feed, use.feeds)
  }
  return merged
}

/** Adds what lies before the start of a branch. */
export function addOrigins(merged: Map<FeedId, FeedHead>, feed: FeedId, feeds: FeedStore): void {
  for (let at = feeds.origin(feed); at; at = feeds.origin(at.feed)) {
    const { length, hash } = at
    raise(merged, at.feed, { length, hash })
  }
}

function raise(merged: Map<FeedId, FeedHead>, feed: FeedId, head: FeedHead): void {
  if ((merged.get(feed)?.length ?? 0) < head.length) merged.set(feed, head)
}

function locate(
  tip: FeedTip,
  { feeds, applied }: { readonly feeds: FeedStore; readonly applied: Frontier },
): FeedId | undefined {
  const head = applied.get(tip.feed)
  if (head?.length === tip.length && head.hash === tip.hash) return tip.feed
  const held = feeds.locate(tip)
  if (held !== undefined) return held
  const isInGap = (feed: FeedId): boolean =>
    applied.has(feed) &&
    feeds.gaps(feed).some(({ from, to }) => from < tip.length && tip.length <= to)
  return feeds.branches(tip.feed).find(isInGap)
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

/** Count, then per head: feed, varint length, 32-byte hash of its newest entry. */
export function writeTips(writer: ByteWriter, frontier: Frontier): void {
  writer.varint(frontier.size)
  for (const [feed, head] of frontier) writeTip(writer, feed, head)
}

function writeTip(writer: ByteWriter, feed: FeedId, head: FeedHead): void {
  writeFeed(writer, feed)
  writer.varint(head.length).hex(head.hash)
}

/**
 * The reverse of `writeTips`; a feed with branches comes several times.
 * @throws {WormholeError} with the reader's code.
 */
export function readTips(reader: ByteReader): FeedTip[] {
  const count = reader.varint()
  if (count > FEED_COUNT_MAX) reader.fail(`frontier of ${count} feeds`)
  const tips: FeedTip[] = []
  for (let index = 0; index < count; index++) tips.push(readTip(reader))
  return tips
}

function readTip(reader: ByteReader): FeedTip {
  const feed = readFeed(reader)
  const length = reader.varint()
  if (length === 0) reader.fail('empty feed in a frontier')
  return { feed, length, hash: reader.hex(HASH_BYTES) }
}

/**
 * A frontier with the names of this device, for its own rows: the heads of feeds as `writeTips`
 * does; then, if there are any, the count of branches, and for each the 16 bytes of its name and
 * its head.
 */
export function writeFrontier(writer: ByteWriter, frontier: Frontier): void {
  const feeds = new Map<FeedId, FeedHead>()
  const branches = new Map<FeedId, FeedHead>()
  for (const [feed, head] of frontier) {
    if (feedRoot(feed) === feed) feeds.set(feed, head)
    else branches.set(feed, head)
  }
  writeTips(writer, feeds)
  if (branches.size === 0) return
  writer.varint(branches.size)
  for (const [branch, head] of branches) {
    writer.hex(branch.slice(-2 * BRANCH_BYTES))
    writeTip(writer, branch, head)
  }
}

/** The reverse of `writeFrontier`; reads to the end. @throws {WormholeError} as the reader. */
export function readFrontier(reader: ByteReader): Map<FeedId, FeedHead> {
  const frontier = new Map<FeedId, FeedHead>()
  for (const { feed, length, hash } of readTips(reader)) frontier.set(feed, { length, hash })
  if (reader.left === 0) return frontier
  const count = reader.varint()
  if (count === 0 || count > FEED_COUNT_MAX) reader.fail(`frontier of ${count} branches`)
  for (let index = 0; index < count; index++) {
    const name = reader.hex(BRANCH_BYTES)
    const { feed, length, hash } = readTip(reader)
    frontier.set(branchId(feed, name), { length, hash })
  }
  return frontier
}
