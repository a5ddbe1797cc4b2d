/**
 * Comparing frontiers. Each device has names of its own for the branches of a feed that forked, so
 * heads are compared by hash, among the branches of one feed.
 */
import { feedRoot, type FeedHead, type FeedId, type Frontier } from '../types.ts'

/** A frontier that knows which branches each feed has. */
export class Heads {
  readonly #heads = new Map<FeedId, FeedHead>()
  readonly #names = new Map<FeedId, Set<FeedId>>()

  constructor(frontier: Frontier = new Map()) {
    for (const [name, head] of frontier) this.set(name, head)
  }

  get map(): Frontier {
    return this.#heads
  }

  get(name: FeedId): FeedHead | undefined {
    return this.#heads.get(name)
  }

  set(name: FeedId, head: FeedHead): void {
    const root = feedRoot(name)
    const names = this.#names.get(root) ?? new Set()
    this.#names.set(root, names.add(name))
    this.#heads.set(name, head)
  }

  delete(name: FeedId): void {
    this.#heads.delete(name)
    this.#names.get(feedRoot(name))?.delete(name)
  }

  clear(): void {
    this.#heads.clear()
    this.#names.clear()
  }

  /** Names of a feed's branches. */
  names(feed: FeedId): Iterable<FeedId> {
    return this.#names.get(feedRoot(feed)) ?? []
  }

  /** Whether a branch of the feed ends with this entry. */
  hasHead(feed: FeedId, { length, hash }: FeedHead): boolean {
    for (const name of this.names(feed)) {
      const head = this.#heads.get(name)
      if (head?.length === length && head.hash === hash) return true
    }
    return false
  }

  /** Length of the longest branch that is shorter than this; 0 when there is none. */
  lengthBelow(feed: FeedId, length: number): number {
    let longest = 0
    for (const name of this.names(feed)) {
      const own = this.#heads.get(name)?.length ?? 0
      if (own < length && own > longest) longest = own
    }
    return longest
  }

  /** Whether a branch of the feed is at least so long. */
  reaches(feed: FeedId, length: number): boolean {
    for (const name of this.names(feed)) {
      if ((this.#heads.get(name)?.length ?? 0) >= length) return true
    }
    return false
  }
}

/**
 * Whether who has `have` lacks nothing of `told`, as far as heads tell: a head that is neither
 * among them nor longer than all of them may lie within a longer branch, and is taken for that.
 */
export function coversFrontier(have: Heads, told: Frontier): boolean {
  for (const [name, head] of told) {
    if (have.hasHead(name, head)) continue
    if (!have.reaches(name, head.length + 1)) return false
  }
  return true
}
