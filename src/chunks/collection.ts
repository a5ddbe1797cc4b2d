/**
 * Garbage collection in the thread that owns the packs: marks what is referenced, takes the rest
 * out of the table some at a time, and frees what nobody needed after all.
 *
 * G1: a chunk is freed only if it was stored before `begin`, was not named by `pin` since, is not
 * marked by the roots of then, and is not needed by the roots that are told once it is absent.
 * Whoever relies on a chunk being here has named it before, or finds it absent. The whole argument:
 * README.md, "Garbage collection".
 */
import assert from 'node:assert/strict'
import type { DiskFile } from '../system.ts'
import type { ChunkAddress } from '../types.ts'
import type { ChunkLocation } from './address-table.ts'
import type {
  ChunkCollection,
  CollectionPlan,
  CollectionResult,
  Roots,
  Tally,
} from './collection-interface.ts'
import { Marks } from './marks.ts'
import { packName } from './pack-files.ts'
import type { PackParts, PackWriter } from './packs.ts'
import { Pace } from './pace.ts'
import { ChunkSource } from './source.ts'
import { Sweep, type Condemned } from './sweep.ts'
import type { ChunkKeys } from './interface.ts'
import type { Clock } from '../system.ts'

/** Chunks freed at a time: each time everybody is asked again what they need. */
const BATCH_CHUNKS = 4096
/** The first time: a full disk may have room to note so many, and then has more. */
const FIRST_CHUNKS = 32
/** Opened nodes kept while marking: each is mostly used once. */
const CACHE_BYTES_MAX = 1024 * 1024

/** Unused slots of one pack. */
interface PackWaste {
  readonly pack: number
  readonly slots: number[]
}

/** What one collection knows. */
interface Run {
  readonly parts: PackParts
  readonly marks: Marks
  readonly sweep: Sweep
  readonly pace: Pace
  readonly freed: Tally
  waste: PackWaste[]
  condemned: Map<ChunkAddress, Condemned>
  hasFreed: boolean
}

/** See the head of this file. */
export class PackCollection implements ChunkCollection {
  readonly #store: PackWriter
  readonly #keys: ChunkKeys
  readonly #clock: Clock
  #run: Run | undefined
  /** One step at a time: `end` waits for the one that runs. */
  #lane: Promise<unknown> = Promise.resolve()
  /** The first collection of a process also completes what an earlier one may have left. */
  #isFirst = true

  constructor(options: { store: PackWriter; keys: ChunkKeys; clock: Clock }) {
    this.#store = options.store
    this.#keys = options.keys
    this.#clock = options.clock
  }

  get #current(): Run {
    assert(this.#run, 'no collection is under way')
    return this.#run
  }

  #step<T>(run: () => Promise<T> | T): Promise<T> {
    const result = this.#lane.then(run)
    this.#lane = result.catch(() => undefined)
    return result
  }

  begin(): Promise<void> {
    return this.#step(() => this.#begin())
  }

  mark(roots: readonly Roots[]): Promise<void> {
    return this.#step(() => this.#current.marks.mark(roots))
  }

  plan(): Promise<CollectionPlan> {
    return this.#step(() => this.#plan())
  }

  condemn(): Promise<number> {
    return this.#step(() => this.#condemn())
  }

  free(roots: readonly Roots[]): Promise<void> {
    return this.#step(() => this.#free(roots))
  }

  finish(): Promise<CollectionResult> {
    return this.#step(() => this.#finish())
  }

  end(): Promise<void> {
    return this.#step(() => this.#end())
  }

  #begin(): void {
    this.#end()
    const pace = new Pace(this.#clock)
    const parts = this.#store.collect((slot) => marks.pin(slot))
    const nodes = new ChunkSource({
      store: this.#store,
      keys: this.#keys,
      cacheBytesMax: CACHE_BYTES_MAX,
    })
    const marks: Marks = new Marks({
      table: parts.table,
      pace,
      node: (address) => nodes.nodeSync(address),
      isLost: (address) => this.#store.isLost(address),
      onAbsent: (address) => this.#bringBack(address),
    })
    const sweep = new Sweep({ parts, sync: () => this.#store.sync(), pace })
    const freed = { chunks: 0, bytes: 0 }
    const [waste, condemned] = [[], new Map<ChunkAddress, Condemned>()]
    this.#run = { parts, marks, sweep, pace, freed, waste, condemned, hasFreed: false }
  }

  #bringBack(address: ChunkAddress): void {
    const { condemned, sweep } = this.#current
    const found = condemned.get(address)
    if (!found) return
    condemned.delete(address)
    sweep.restore(found)
  }

  async #plan(): Promise<CollectionPlan> {
    const run = this.#current
    const { marks, parts, pace } = run
    await marks.again()
    const young = { chunks: 0, bytes: 0 }
    const unused = { chunks: 0, bytes: 0 }
    const packs = new Map<number, number[]>()
    for (let slot = 0; slot < parts.table.slotCount; slot++) {
      if (slot % 1024 === 0 && pace.isOver) await pace.rest()
      const location = parts.table.locationIn(slot)
      if (!location || marks.isMarked(slot)) continue
      const isKept = marks.isPinned(slot) || isBehind(location, parts)
      const tally = isKept ? young : unused
      tally.chunks++
      tally.bytes += location.length
      if (isKept) continue
      const slots = packs.get(location.pack) ?? []
      packs.set(location.pack, slots)
      slots.push(slot)
    }
    run.waste = [...packs].sort(([a], [b]) => a - b).map(([pack, slots]) => ({ pack, slots }))
    return { used: marks.used, young, unused, unknownNodes: marks.unknownNodes }
  }

  async #condemn(): Promise<number> {
    const run = this.#current
    assert.equal(run.condemned.size, 0, 'free what was condemned first')
    assert.equal(run.marks.unknownNodes, 0, 'what is below an unknown node is unknown')
    const countMax = run.hasFreed ? BATCH_CHUNKS : FIRST_CHUNKS
    while (run.waste.length > 0 && run.condemned.size < countMax) {
      const { pack, slots } = run.waste[0] as PackWaste
      const some = slots.splice(-(countMax - run.condemned.size))
      if (slots.length === 0) run.waste.shift()
      const path = `${run.parts.directory}/${packName(pack)}`
      const file = run.parts.disk.openSync(path, { readOnly: true })
      try {
        await this.#condemnIn(file, some)
      } finally {
        file.close()
      }
    }
    return run.condemned.size
  }

  async #condemnIn(file: DiskFile, slots: readonly number[]): Promise<void> {
    const { marks, sweep, condemned, pace } = this.#current
    for (const slot of slots) {
      if (pace.isOver) await pace.rest()
      // Somebody may have named it since it was counted.
      if (marks.isPinned(slot) || marks.isMarked(slot)) continue
      const found = sweep.condemn(slot, file)
      if (found) condemned.set(found.address, found)
    }
  }

  async #free(roots: readonly Roots[]): Promise<void> {
    const run = this.#current
    await run.marks.mark(roots)
    await run.marks.again()
    if (run.marks.unknownNodes > 0) return this.#restoreAll()
    const batch = [...run.condemned.values()]
    // None of them can be brought back from here on; `free` does so itself when it fails.
    run.condemned.clear()
    await run.sweep.free(batch)
    run.hasFreed = true
    run.freed.chunks += batch.length
    for (const { location } of batch) run.freed.bytes += location.length
  }

  async #finish(): Promise<CollectionResult> {
    const { sweep, freed, marks } = this.#current
    this.#restoreAll()
    if (marks.unknownNodes === 0) {
      await sweep.finish(this.#isFirst)
      this.#isFirst = false
    }
    const { packsRemoved, bytesNotReturned } = sweep
    return { freed, packsRemoved, bytesNotReturned }
  }

  #end(): void {
    if (!this.#run) return
    this.#restoreAll()
    this.#store.collect(undefined)
    this.#run = undefined
  }

  #restoreAll(): void {
    const { condemned, sweep } = this.#current
    for (const each of condemned.values()) sweep.restore(each)
    condemned.clear()
  }
}

/** Whether a chunk was stored since the collection began. */
function isBehind(location: ChunkLocation, { position }: PackParts): boolean {
  if (location.pack !== position.pack) return location.pack > position.pack
  return location.offset >= position.offset
}
