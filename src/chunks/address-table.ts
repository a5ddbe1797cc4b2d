/**
 * Where each chunk lies: an open-addressing table in shared memory, written by one thread and read
 * by any number of others without locks or messages.
 *
 * The memory only grows, in levels of S, S, 2S, 4S … slots: new chunks go to the newest level, and
 * a full level (70 %) is followed by one that doubles the whole. So nothing is ever rehashed or
 * moved, readers need no new handle, and there is never a second copy. A lookup probes from the
 * newest level down. S is chosen when the table is made, so that what is known then fits into one
 * level.
 *
 * Slot, 7 words of 4 bytes: the first 16 bytes of the address, pack, offset, length. Safety: all
 * but `length` is written before `length` is stored atomically, and never again; removing only
 * stores `REMOVED` there, and a chunk that comes back gets another slot. So a reader that has
 * loaded a length sees the pack and offset that belong to it. 16 bytes do not decide what is read:
 * every reader checks the whole digest.
 */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'

/** Where sealed bytes lie. */
export interface ChunkLocation {
  readonly pack: number
  /** Of the sealed bytes, not of their record. */
  readonly offset: number
  readonly length: number
}

const SLOT_COUNT_MIN = 4096
/** 33.5 million slots, 0.94 GB, 23 million chunks: 6 TB at the mean chunk size. */
const SLOT_COUNT_MAX = 2 ** 25
const SLOT_WORDS = 7
const HEADER_BYTES = 64
const PACK = 4
const OFFSET = 5
const LENGTH = 6
const REMOVED = -1
const LOAD_MAX = 0.7

/** Header words: how many levels there are, and S. */
const LEVEL_COUNT = 0
const FIRST_SLOTS = 1

/** Slots of all levels when there are `levelCount` of them. */
function slotCount(firstSlots: number, levelCount: number): number {
  return levelCount === 0 ? 0 : firstSlots * 2 ** (levelCount - 1)
}

function sizeBytes(slots: number): number {
  return HEADER_BYTES + slots * SLOT_WORDS * 4
}

/** Reads the table; from any thread. */
export class AddressTable {
  readonly buffer: SharedArrayBuffer
  protected readonly levels: Int32Array[] = []
  protected readonly header: Int32Array
  readonly #addressBytes = Buffer.alloc(32)
  /** The address of the last `parse`, as words. */
  protected readonly words: Int32Array

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.header = new Int32Array(buffer, 0, HEADER_BYTES / 4)
    this.words = new Int32Array(this.#addressBytes.buffer, this.#addressBytes.byteOffset, 8)
    this.refresh()
  }

  has(address: ChunkAddress): boolean {
    this.parse(address)
    return this.search(this.words, 0) !== undefined
  }

  /** Where the chunk is, undefined when it is not here. */
  find(address: ChunkAddress): ChunkLocation | undefined {
    this.parse(address)
    const found = this.search(this.words, 0)
    return found && locationAt(found.level, found.at)
  }

  protected parse(address: ChunkAddress): void {
    if (address.length !== 64 || this.#addressBytes.write(address, 'hex') !== 32) {
      throw new WormholeError('BAD_ARGUMENT', `not a chunk address: ${address.slice(0, 80)}`)
    }
  }

  /** The slot of the address at `source[from…]`, from the newest level down. */
  protected search(
    source: Int32Array,
    from: number,
  ): { level: Int32Array; at: number } | undefined {
    this.refresh()
    for (let index = this.levels.length - 1; index >= 0; index--) {
      const level = this.levels[index] as Int32Array
      const at = probe(level, source, from)
      if (at >= 0) return { level, at }
    }
    return undefined
  }

  /** Takes note of levels that the writer added. */
  protected refresh(): void {
    const count = Atomics.load(this.header, LEVEL_COUNT)
    const firstSlots = this.header[FIRST_SLOTS] as number
    while (this.levels.length < count) {
      const before = slotCount(firstSlots, this.levels.length)
      const slots = slotCount(firstSlots, this.levels.length + 1) - before
      this.levels.push(new Int32Array(this.buffer, sizeBytes(before), slots * SLOT_WORDS))
    }
  }
}

/** The word index of the live slot with this address, or -1. */
function probe(level: Int32Array, source: Int32Array, from: number): number {
  const mask = level.length / SLOT_WORDS - 1
  const first = source[from] as number
  for (let slot = first & mask; ; slot = (slot + 1) & mask) {
    const at = slot * SLOT_WORDS
    const length = Atomics.load(level, at + LENGTH)
    if (length === 0) return -1
    if (length !== REMOVED && level[at] === first && isSame(level, at, source, from)) return at
  }
}

function isSame(level: Int32Array, at: number, source: Int32Array, from: number): boolean {
  return (
    level[at] === source[from] &&
    level[at + 1] === source[from + 1] &&
    level[at + 2] === source[from + 2] &&
    level[at + 3] === source[from + 3]
  )
}

function locationAt(level: Int32Array, at: number): ChunkLocation | undefined {
  const length = Atomics.load(level, at + LENGTH)
  if (length === REMOVED) return undefined
  return { pack: level[at + PACK] as number, offset: (level[at + OFFSET] as number) >>> 0, length }
}

/** The table as its one writer has it. */
export class AddressTableWriter extends AddressTable {
  #newestCount = 0
  /** Live chunks and the sum of their sealed sizes. */
  chunkCount = 0
  bytes = 0

  /** @param expectedCount - chunks that are about to be inserted. */
  constructor(expectedCount = 0) {
    let slots = SLOT_COUNT_MIN
    while (slots * LOAD_MAX < expectedCount && slots < SLOT_COUNT_MAX) slots *= 2
    super(new SharedArrayBuffer(sizeBytes(slots), { maxByteLength: sizeBytes(SLOT_COUNT_MAX) }))
    this.header[FIRST_SLOTS] = slots
    Atomics.store(this.header, LEVEL_COUNT, 1)
    this.refresh()
  }

  /** Bytes of a level of `slots`; undefined when there can be none of that size. */
  static levelBytes(slots: number): number | undefined {
    const isSize = slots >= SLOT_COUNT_MIN && slots <= SLOT_COUNT_MAX && (slots & (slots - 1)) === 0
    return isSize ? slots * SLOT_WORDS * 4 : undefined
  }

  /** A table whose only level has so many slots, to be filled from outside. */
  static withSlots(slots: number): AddressTableWriter {
    return new AddressTableWriter(Math.floor(slots * LOAD_MAX))
  }

  /** The slots as bytes, and how many of them were ever used; undefined with several levels. */
  soleLevel(): { count: number; usedCount: number; bytes: Uint8Array } | undefined {
    const level = this.levels[0] as Int32Array
    if (this.levels.length > 1) return undefined
    return {
      count: level.length / SLOT_WORDS,
      usedCount: this.#newestCount,
      bytes: new Uint8Array(level.buffer, level.byteOffset, level.byteLength),
    }
  }

  /** The only level was filled from outside, before anybody reads it. */
  filled(counts: { usedCount: number; chunkCount: number; bytes: number }): void {
    this.#newestCount = counts.usedCount
    this.chunkCount = counts.chunkCount
    this.bytes = counts.bytes
  }

  /**
   * Adds a chunk, in the place of an older record of the same address if there is one. The address
   * is the 8 words at `source[from…]`.
   */
  insert(source: Int32Array, from: number, location: ChunkLocation): void {
    const level = this.#levelWithRoom()
    if (this.levels.length > 1) this.removeWords(source, from)
    const mask = level.length / SLOT_WORDS - 1
    const first = source[from] as number
    let at = (first & mask) * SLOT_WORDS
    while (level[at + LENGTH] !== 0) {
      if (level[at] === first && isSame(level, at, source, from)) this.#remove(level, at)
      at += SLOT_WORDS
      if (at === level.length) at = 0
    }
    for (let index = 0; index < PACK; index++) level[at + index] = source[from + index] as number
    level[at + PACK] = location.pack
    level[at + OFFSET] = location.offset
    Atomics.store(level, at + LENGTH, location.length)
    this.#newestCount++
    this.chunkCount++
    this.bytes += location.length
  }

  /** The words of an address, valid until the next call of any method. */
  wordsOf(address: ChunkAddress): Int32Array {
    this.parse(address)
    return this.words
  }

  /** Forgets a chunk; false when it was not here. */
  removeWords(source: Int32Array, from: number): boolean {
    const found = this.search(source, from)
    if (found) this.#remove(found.level, found.at)
    return found !== undefined
  }

  /** Slots of all levels. A chunk keeps its slot while it is here; new levels come behind. */
  get slotCount(): number {
    return slotCount(this.header[FIRST_SLOTS] as number, this.levels.length)
  }

  /** The slot of a chunk; -1 when it is not here. */
  slotOf(address: ChunkAddress): number {
    this.parse(address)
    const found = this.search(this.words, 0)
    if (!found) return -1
    const before = slotCount(this.header[FIRST_SLOTS] as number, this.levels.indexOf(found.level))
    return before + found.at / SLOT_WORDS
  }

  #placeOf(slot: number): { level: Int32Array; at: number } {
    let first = 0
    for (const level of this.levels) {
      const count = level.length / SLOT_WORDS
      if (slot < first + count) return { level, at: (slot - first) * SLOT_WORDS }
      first += count
    }
    throw new RangeError(`no slot ${slot}`)
  }

  /** Where the chunk of a slot lies; undefined when the slot holds none. */
  locationIn(slot: number): ChunkLocation | undefined {
    const { level, at } = this.#placeOf(slot)
    return level[at + LENGTH] === 0 ? undefined : locationAt(level, at)
  }

  /** Whether the slot's chunk has an address that begins with the first 16 of these bytes. */
  isIn(slot: number, words: Int32Array): boolean {
    const { level, at } = this.#placeOf(slot)
    return isSame(level, at, words, 0)
  }

  /** Forgets the chunk of a slot. */
  removeSlot(slot: number): void {
    const { level, at } = this.#placeOf(slot)
    this.#remove(level, at)
  }

  /** Takes `removeSlot` back: what the slot says is as it was, but for the length. */
  restoreSlot(slot: number, length: number): void {
    const { level, at } = this.#placeOf(slot)
    this.bytes += length
    this.chunkCount++
    Atomics.store(level, at + LENGTH, length)
  }

  #remove(level: Int32Array, at: number): void {
    const length = level[at + LENGTH] as number
    if (length === REMOVED) return
    this.bytes -= length
    this.chunkCount--
    Atomics.store(level, at + LENGTH, REMOVED)
  }

  #levelWithRoom(): Int32Array {
    const newest = this.levels.at(-1) as Int32Array
    if (this.#newestCount < (newest.length / SLOT_WORDS) * LOAD_MAX) return newest
    const slots = slotCount(this.header[FIRST_SLOTS] as number, this.levels.length + 1)
    if (slots > SLOT_COUNT_MAX) {
      throw new WormholeError('LIMIT_EXCEEDED', `more than ${this.chunkCount} chunks on one device`)
    }
    this.buffer.grow(sizeBytes(slots))
    Atomics.store(this.header, LEVEL_COUNT, this.levels.length + 1)
    this.refresh()
    this.#newestCount = 0
    return this.levels.at(-1) as Int32Array
  }
}
