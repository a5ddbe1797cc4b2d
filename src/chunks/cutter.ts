/**
 * Turns a stream of bytes into chunks: bytes are written into the window of a `Gear`, chunks come
 * out as views of it, to be hashed and sealed in place.
 */
import assert from 'node:assert/strict'
import {
  CHUNK_SIZE_BYTES_MAX,
  FIXED_BLOCK_BYTES,
  Gear,
  gearTable,
  GEAR_WINDOW_BYTES,
} from './gear.ts'

const WORD_BYTES = 8

/** How cuts are found: by content, or at multiples of 64 KiB. */
export type CutMode = 'content-defined' | 'fixed'

/** Windows kept for the next content; each takes 4 MiB. */
const IDLE_COUNT_MAX = 3

/** The gears of one volume on one thread; each is used by one content at a time. */
export class GearPool {
  readonly #table: Buffer
  readonly #idle: Gear[] = []

  /** @param dedup - the volume's secret for life. */
  constructor(dedup: Uint8Array) {
    this.#table = gearTable(dedup)
  }

  take(): Gear {
    return this.#idle.pop() ?? new Gear(this.#table)
  }

  giveBack(gear: Gear): void {
    if (this.#idle.length < IDLE_COUNT_MAX) this.#idle.push(gear)
  }
}

/**
 * Bytes to wait for after a search without a cut, so that many small writes do not search the same
 * bytes again and again.
 */
const SEARCH_STEP_BYTES = 64 * 1024

/** Cuts one content. Positions are offsets in that content. */
export class Cutter {
  readonly #gear: Gear
  readonly #mode: CutMode
  #start = 0
  #end = 0
  /** Pending bytes at which the next search is worth it. */
  #searchAt = 0
  #position: number

  /** @param position - offset in the content of the first byte that will be written. */
  constructor(gear: Gear, mode: CutMode, position = 0) {
    this.#gear = gear
    this.#mode = mode
    this.#position = position
  }

  /** End of the last chunk that came out. */
  get position(): number {
    return this.#position
  }

  /** Whether nothing more fits before `next` was called. */
  get isFull(): boolean {
    return this.#end - this.#start > GEAR_WINDOW_BYTES - WORD_BYTES
  }

  /** Drops what is not cut and goes on at another offset. */
  restart(position: number): void {
    this.#start = 0
    this.#end = 0
    this.#searchAt = 0
    this.#position = position
  }

  /**
   * Takes bytes, up to what fits; returns how many. At least one when `next` was called until it
   * gave nothing.
   */
  write(bytes: Uint8Array): number {
    const isShared = bytes.buffer instanceof SharedArrayBuffer
    const count = this.#room(bytes.length, isShared ? bytes.byteOffset : undefined)
    this.#gear.window.set(count === bytes.length ? bytes : bytes.subarray(0, count), this.#end)
    this.#end += count
    return count
  }

  /** As `write`, with up to `byteCount` zeros. */
  writeZeros(byteCount: number): number {
    const count = this.#room(byteCount)
    this.#gear.window.fill(0, this.#end, this.#end + count)
    this.#end += count
    return count
  }

  /**
   * How many of `wanted` bytes fit at `#end`. Shared memory is copied word by word, or seven times
   * as slowly where source and target lie differently in a word: `sourceAt` says how the source
   * lies, and what is pending moves accordingly.
   */
  #room(wanted: number, sourceAt?: number): number {
    const pending = this.#end - this.#start
    const isFull = this.#end + wanted + WORD_BYTES > GEAR_WINDOW_BYTES
    let start = isFull ? 0 : this.#start
    if (sourceAt !== undefined) start += (sourceAt - (start + pending)) & (WORD_BYTES - 1)
    if (start !== this.#start && start + pending <= GEAR_WINDOW_BYTES) {
      this.#gear.window.copyWithin(start, this.#start, this.#end)
      this.#start = start
      this.#end = start + pending
    }
    return Math.min(wanted, GEAR_WINDOW_BYTES - this.#end)
  }

  /**
   * The next chunk, or undefined when its end is not yet known. A view of the window, valid until
   * the next `write`.
   *
   * @param isEnd - whether nothing follows what was written.
   */
  next(isEnd: boolean): Buffer | undefined {
    const pending = this.#end - this.#start
    if (pending === 0 || (pending < this.#searchAt && !isEnd)) return undefined
    const length = this.#mode === 'fixed' ? this.#fixed(pending) : this.#cut(pending)
    if (length === pending && !isEnd && !this.#isFinal(length)) {
      if (this.#mode === 'content-defined') this.#searchAt = pending + SEARCH_STEP_BYTES
      return undefined
    }
    this.#searchAt = 0
    const chunk = this.#gear.window.subarray(this.#start, this.#start + length)
    this.#start += length
    this.#position += length
    assert(length > 0 && length <= CHUNK_SIZE_BYTES_MAX)
    return chunk
  }

  #fixed(pending: number): number {
    return Math.min(pending, FIXED_BLOCK_BYTES - (this.#position % FIXED_BLOCK_BYTES))
  }

  #cut(pending: number): number {
    return this.#gear.cut(this.#start, Math.min(pending, CHUNK_SIZE_BYTES_MAX))
  }

  /** Whether a chunk that takes all there is ends there whatever follows. */
  #isFinal(length: number): boolean {
    if (this.#mode === 'fixed') return (this.#position + length) % FIXED_BLOCK_BYTES === 0
    return length === CHUNK_SIZE_BYTES_MAX
  }
}
