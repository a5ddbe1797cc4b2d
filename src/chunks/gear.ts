/**
 * Content-defined cuts: FastCDC with a 64-bit gear hash in a small WebAssembly module.
 *
 * The gear table is secret and for the life of a volume, so that chunk sizes of known files are not
 * the same in every volume. (That hinders recognising files by their chunk sizes; it does not prove
 * it impossible.) Sizes, masks and the table derivation are a format: README.md, "Splitting".
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { deriveKey, keyedHash } from '../seal.ts'

/** Shortest chunk that is not the last of its run. */
export const CHUNK_SIZE_BYTES_MIN = 64 * 1024
/** Mean of the cuts on random data is a little above this. */
export const CHUNK_SIZE_BYTES_AVG = 256 * 1024
/** Longest plaintext of any chunk; bounds the memory of every reader. */
export const CHUNK_SIZE_BYTES_MAX = 1024 * 1024
/** Block size of files that are written at random offsets. */
export const FIXED_BLOCK_BYTES = 64 * 1024

/** Data bytes that a `Gear` holds: four longest chunks, so that moving the rest is seldom. */
export const GEAR_WINDOW_BYTES = 4 * CHUNK_SIZE_BYTES_MAX

const WINDOW_START = 64 * 1024
const GEAR_COUNT = 256

const module = new WebAssembly.Module(readFileSync(new URL('./gear.wasm', import.meta.url)))

/**
 * The 256 gears of a volume, 8 bytes each, little-endian: 32 BLAKE2b-512 digests of the bytes 0 to
 * 31, keyed with deriveKey(dedup, 'gear').
 */
export function gearTable(dedup: Uint8Array): Buffer {
  const key = deriveKey(dedup, 'gear')
  const digests: Buffer[] = []
  for (let index = 0; index < 32; index++) digests.push(keyedHash(key, 64, Buffer.of(index)))
  return Buffer.concat(digests)
}

/** One instance of the splitter with its own memory. Cheap to make, 4 MiB to keep. */
export class Gear {
  /** Where data must be to be cut. Plain memory: it may be hashed and sealed in place. */
  readonly window: Buffer
  readonly #cut: (start: number, length: number) => number

  constructor(table: Uint8Array) {
    assert.equal(table.length, GEAR_COUNT * 8)
    const { cut, memory } = new WebAssembly.Instance(module).exports as {
      cut: (start: number, length: number) => number
      memory: { readonly buffer: ArrayBuffer }
    }
    const gears = new BigUint64Array(memory.buffer, 0, 2 * GEAR_COUNT)
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
    for (let index = 0; index < GEAR_COUNT; index++) {
      const gear = view.getBigUint64(index * 8, true)
      gears[index] = gear
      gears[GEAR_COUNT + index] = gear << 1n
    }
    this.window = Buffer.from(memory.buffer, WINDOW_START, GEAR_WINDOW_BYTES)
    this.#cut = cut
  }

  /**
   * Length of the first chunk of `window[start, start + length)`. Less than `length`: a cut,
   * whatever follows. Equal to `length`: only a chunk if that is `CHUNK_SIZE_BYTES_MAX` or the
   * data ends there.
   */
  cut(start: number, length: number): number {
    return this.#cut(WINDOW_START + start, length)
  }
}
