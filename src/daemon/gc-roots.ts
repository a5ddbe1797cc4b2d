/**
 * What the log and the index of a volume reference, for a garbage collection: first everything, as
 * of one moment, a slice at a time; later what has changed since. Lives on the crdt thread.
 *
 * Order: changes are noted from `begin` on, and the index is frozen after that. So a content that
 * is in the tree at any time from then until `later` is either in the frozen rows or told by
 * `later`.
 */
import type { Roots } from '../chunks/collection-interface.ts'
import { ContentRoots, type NeededContent } from '../crdt/content-roots.ts'
import type { HistoryDaysOf } from '../crdt/retention.ts'
import type { FrozenRows, RowStore } from '../crdt/rows.ts'
import type { TreeWriter } from '../crdt/writer.ts'
import { readUnproved } from '../snapshot/state.ts'
import type { Clock } from '../system.ts'
import { feedDevice, type Hlc } from '../types.ts'
import type { Volume } from '../volume.ts'

/** Longest step on the thread that applies and publishes. */
const SLICE_MS = 4
/** Looks at whether everything that arrived is applied. */
const SETTLE_COUNT = 5
/** Changed inodes looked at in one step. */
const CHANGED_COUNT = 256

/** What `later` tells. */
export interface LaterRoots {
  readonly roots: Roots[]
  /** There is more: ask again. */
  readonly isMore: boolean
  /** Why nothing may be freed; see `GcRoots.obstacle`. */
  readonly obstacle?: string
}

/** How `begin` went. */
export interface RootsBegun {
  readonly obstacle?: string
}

/** A step of the walk. */
export interface RootsStep {
  readonly roots: Roots[]
  readonly isDone: boolean
  /** At the end: when something that is deleted and still kept is needed no more, ms since 1970. */
  readonly nextDueMs?: number
}

/** Ports of `GcRoots`. */
export interface GcRootsOptions {
  readonly rows: RowStore
  readonly tree: TreeWriter
  readonly volume: Volume
  readonly clock: Clock
  readonly daysOf: HistoryDaysOf
}

/** See the head of this file. */
export class GcRoots {
  readonly #options: GcRootsOptions
  #frozen: FrozenRows | undefined
  #contents: ContentRoots | undefined
  #steps: Generator<NeededContent[]> | undefined

  constructor(options: GcRootsOptions) {
    this.#options = options
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    gcBegin: () => this.begin(),
    gcNext: () => this.next(),
    gcLater: () => this.later(),
    gcEnd: () => this.end(),
  }

  /** Starts to note changes, and freezes the index. */
  async begin(): Promise<RootsBegun> {
    this.end()
    const { rows, tree } = this.#options
    tree.watch.start()
    const obstacle = await this.#lastingObstacle()
    if (obstacle !== undefined) {
      this.end()
      return { obstacle }
    }
    this.#frozen = rows.freeze()
    this.#contents = this.#rootsOf(this.#frozen)
    this.#steps = this.#contents.walk()
    return {}
  }

  #rootsOf(reader: Pick<RowStore, 'get' | 'range'>): ContentRoots {
    const { rows, clock, daysOf } = this.#options
    return new ContentRoots({
      rows: {
        get: (key) => reader.get(key),
        range: (prefix, options) => reader.range(prefix, options),
        hashName: (name) => rows.hashName(name),
      },
      now: (clock.nowMs() * 1000) as Hlc,
      daysOf,
    })
  }

  /** What arrives just now is no obstacle: it is applied in a moment. */
  async #lastingObstacle(): Promise<string | undefined> {
    for (let count = 1; ; count++) {
      await this.#options.volume.settled()
      const obstacle = this.obstacle()
      if (obstacle === undefined || count === SETTLE_COUNT) return obstacle
    }
  }

  /**
   * Why the index does not show everything that this device may be the only one to have; undefined
   * when it does. Entries that wait here, lost entries, a tree that another device vouches for: in
   * all of them contents may be named that nobody sees yet.
   */
  obstacle(): string | undefined {
    const { volume, tree } = this.#options
    if (tree.watch.isBroken) return 'too much changed meanwhile'
    if (volume.role() === undefined) return 'the log of the volume has not arrived'
    if (readUnproved((name) => tree.meta(name))) return 'the log behind a snapshot has not arrived'
    if (volume.missingEntries().length > 0) return 'entries of the log are missing'
    const applied = volume.appliedFrontier()
    for (const [feed, { length }] of volume.frontier()) {
      if (!volume.members.isMember(feedDevice(feed))) continue
      if (applied.get(feed)?.length !== length) return 'entries of the log wait for others'
    }
    return undefined
  }

  /** The next contents of the frozen index, for a few milliseconds. */
  next(): RootsStep {
    const { clock } = this.#options
    if (!this.#steps) return { roots: [], isDone: true }
    const endMs = clock.monotonicMs() + SLICE_MS
    const found: NeededContent[] = []
    do {
      const step = this.#steps.next()
      if (step.done) {
        const { nextDue } = this.#contents as ContentRoots
        this.#release()
        const due = nextDue === undefined ? {} : { nextDueMs: nextDue / 1000 }
        return { roots: byUse(found), isDone: true, ...due }
      }
      for (const content of step.value) found.push(content)
    } while (clock.monotonicMs() < endMs)
    return { roots: byUse(found), isDone: false }
  }

  /** Contents of what was committed since `begin` and was not told yet. */
  async later(): Promise<LaterRoots> {
    const { rows, tree } = this.#options
    const obstacle = await this.#lastingObstacle()
    if (obstacle !== undefined) return { roots: [], isMore: false, obstacle }
    const inodes = tree.watch.take(CHANGED_COUNT)
    const contents = this.#rootsOf(rows)
    const found: NeededContent[] = []
    for (const inode of inodes) for (const content of contents.of(inode)) found.push(content)
    return { roots: byUse(found), isMore: inodes.length === CHANGED_COUNT }
  }

  #release(): void {
    this.#frozen?.release()
    this.#frozen = this.#steps = undefined
  }

  end(): void {
    this.#release()
    this.#options.tree.watch.stop()
  }
}

/** Contents as the store wants them. */
export function byUse(
  contents: Iterable<{ use: Roots['use']; ref: NeededContent['ref'] }>,
): Roots[] {
  const uses = new Map<Roots['use'], Roots>()
  for (const { use, ref } of contents) {
    if (ref.type === 'empty') continue
    const roots = uses.get(use) ?? { use, chunks: [], manifests: [] }
    uses.set(use, roots)
    if (ref.type === 'chunk') roots.chunks.push(ref.address)
    else roots.manifests.push(ref.address)
  }
  return [...uses.values()]
}
