/**
 * `wormhole gc`: frees chunks that nothing references any more, beside everything else that goes
 * on. Asks the threads of a volume in an order in which nothing that is needed can be missed; the
 * argument is in `chunks/README.md`, "Garbage collection".
 *
 *   store  begin: what is stored or named again from here on stays
 *   fs     contents under way are waited for
 *   crdt   begin, then everything that the index of that moment references: marked
 *   fs, crdt   what they name now: marked
 *   store  the next unused chunks become absent
 *   fs, crdt   what they name now: comes back; the rest is freed. Again, until none is left
 */
import type {
  ChunkCollection,
  CollectionPlan,
  CollectionResult,
  Roots,
} from '../chunks/collection-interface.ts'
import { WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { OnProgress } from './frames.ts'
import type { LaterRoots, RootsBegun, RootsStep } from './gc-roots.ts'
import type { GcReport } from './interface.ts'
import { waitOrAbort } from './sync-run.ts'

/** Pause between two slices of the walk over the index: it takes at most half of a thread. */
const REST_MS = 5
/** How long contents under way are waited for. */
const HELD_MS_MAX = 60_000

/** What a collection needs of a volume. */
export interface GcPorts {
  readonly clock: Clock
  readonly collection: ChunkCollection
  readonly roots: {
    begin(): Promise<RootsBegun>
    next(): Promise<RootsStep>
    later(): Promise<LaterRoots>
    end(): Promise<void>
  }
  /** Resolves when contents that are under way now are named, or given up. */
  held(): Promise<void>
  /** Contents that only open files, unpublished edits and their like name. */
  references(): Promise<Roots[]>
}

/** What a run found, apart from its report. */
export interface GcOutcome {
  readonly report: Omit<GcReport, 'volume' | 'name'>
  /** When something that is still kept may go, ms since 1970; undefined when nothing waits. */
  readonly nextDueMs: number | undefined
}

/** Nothing can be freed now; the reason is for a person. */
class Obstacle extends Error {}

/** See the head of this file. @throws {WormholeError} `ABORTED`, and what the ports throw. */
export async function runGc(
  ports: GcPorts,
  options: { readonly isDryRun: boolean; readonly signal: AbortSignal },
  onProgress: OnProgress,
): Promise<GcOutcome> {
  const run = new Run(ports, options, onProgress)
  try {
    return await run.all()
  } finally {
    // Whatever failed: what is condemned comes back.
    await ports.collection.end()
    await ports.roots.end()
  }
}

class Run {
  readonly #ports: GcPorts
  readonly #isDryRun: boolean
  readonly #signal: AbortSignal
  readonly #onProgress: OnProgress
  #nextDueMs: number | undefined
  #plan: CollectionPlan | undefined
  #result: CollectionResult | undefined

  constructor(
    ports: GcPorts,
    options: { readonly isDryRun: boolean; readonly signal: AbortSignal },
    onProgress: OnProgress,
  ) {
    this.#ports = ports
    this.#isDryRun = options.isDryRun
    this.#signal = options.signal
    this.#onProgress = onProgress
  }

  async all(): Promise<GcOutcome> {
    const startMs = this.#ports.clock.monotonicMs()
    let postponed: string | undefined
    try {
      await this.#mark()
      if (!this.#isDryRun) await this.#sweep()
    } catch (error) {
      if (!(error instanceof Obstacle)) throw error
      postponed = error.message
    }
    const plan = this.#plan
    const nothing = { chunks: 0, bytes: 0 }
    const report = {
      isDryRun: this.#isDryRun,
      ...(postponed === undefined ? {} : { postponed }),
      referenced: plan?.used ?? {
        tree: nothing,
        conflicts: nothing,
        history: nothing,
        local: nothing,
      },
      young: plan?.young ?? nothing,
      unused: plan?.unused ?? nothing,
      freed: this.#result?.freed ?? nothing,
      packsRemoved: this.#result?.packsRemoved ?? 0,
      bytesNotReturned: this.#result?.bytesNotReturned ?? 0,
      seconds: (this.#ports.clock.monotonicMs() - startMs) / 1000,
    }
    return { report, nextDueMs: this.#nextDueMs }
  }

  async #mark(): Promise<void> {
    const { collection, roots } = this.#ports
    await collection.begin()
    const held = this.#ports.held()
    // Its failure is told when it is waited for.
    held.catch(() => undefined)
    const { obstacle } = await roots.begin()
    if (obstacle !== undefined) throw new Obstacle(obstacle)
    let count = 0
    for (;;) {
      this.#onProgress({ text: `marking (${count} contents)`, done: 0, total: 0 })
      const step = await roots.next()
      for (const { chunks, manifests } of step.roots) count += chunks.length + manifests.length
      await collection.mark(step.roots)
      if (step.isDone) {
        this.#nextDueMs = step.nextDueMs
        break
      }
      this.#checkSignal()
      await waitOrAbort(this.#ports.clock, REST_MS, this.#signal)
    }
    this.#checkSignal()
    await this.#wait(held)
    await collection.mark(await this.#named())
    this.#plan = await collection.plan()
    if (this.#plan.unknownNodes > 0) {
      throw new Obstacle('lists of chunks are damaged: run `wormhole verify --repair` first')
    }
  }

  #checkSignal(): void {
    if (this.#signal.aborted) throw new WormholeError('ABORTED', 'interrupted')
  }

  /** Waits for contents that were under way at the beginning. */
  async #wait(held: Promise<void>): Promise<void> {
    const late = waitOrAbort(this.#ports.clock, HELD_MS_MAX, this.#signal)
    // Whichever comes second is not waited for.
    late.catch(() => undefined)
    const isLate = await Promise.race([held.then(() => false), late.then(() => true)])
    if (isLate) throw new Obstacle('a file is being written that takes long')
  }

  /**
   * What is named now. The fs thread first: an edit that it does not name any more is committed by
   * then, and told by the crdt thread.
   */
  async #named(): Promise<Roots[]> {
    const named = await this.#ports.references()
    for (;;) {
      const { roots, isMore, obstacle } = await this.#ports.roots.later()
      if (obstacle !== undefined) throw new Obstacle(obstacle)
      named.push(...roots)
      if (!isMore) return named
    }
  }

  async #sweep(): Promise<void> {
    const { collection } = this.#ports
    const { unused } = this.#plan as CollectionPlan
    let done = 0
    try {
      for (;;) {
        this.#onProgress({ text: 'freeing', done, total: unused.chunks })
        this.#checkSignal()
        const count = await collection.condemn()
        if (count === 0) break
        await collection.free(await this.#named())
        done += count
      }
    } finally {
      // What is freed is said, whatever ended it.
      this.#result = await collection.finish()
    }
  }
}
