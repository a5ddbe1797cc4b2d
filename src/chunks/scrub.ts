/**
 * Reads stored chunks again, a share at a time, so that rot is found while other devices still have
 * what it took. Goes by the index log, which lists chunks in the order in which they lie in the
 * packs, round and round. Where it begins is drawn: a device that is on for an hour a day gets
 * everywhere, too.
 *
 * A damaged chunk is forgotten as by any other reader, and counts as not here from then on. What
 * the kernel still has in memory is not read from the disk: rot in that is found later.
 */
import { hasCode } from '../errors.ts'
import type { Clock, Random } from '../system.ts'
import type { ChunkAddress } from '../types.ts'
import { SEALED_SIZE_BYTES_MAX } from './codec.ts'
import type { IndexLog } from './index-log.ts'
import { Pace } from './pace.ts'

/** Entries read at once: 12 KB. */
const ENTRY_COUNT = 256

/** What one share found. */
export interface ScrubReport {
  readonly chunks: number
  readonly bytes: number
  /** Chunks that were damaged, and are forgotten. */
  readonly damaged: number
  /** An entry of the index log is: what it lists behind that was not read. */
  readonly isIndexDamaged: boolean
}

/** What is read. */
export interface ScrubStore {
  readonly index: Pick<IndexLog, 'entryCount' | 'addresses'>
  /** @throws {WormholeError} `CHUNK_CORRUPT`; then the chunk is forgotten. */
  getSync(address: ChunkAddress, scratch: Buffer): Buffer | undefined
}

/** The round through one store. */
export class Scrub {
  readonly #store: ScrubStore
  readonly #clock: Clock
  readonly #random: Random
  /** The entry to go on with. */
  #at: number | undefined

  constructor(options: { store: ScrubStore; clock: Clock; random: Random }) {
    this.#store = options.store
    this.#clock = options.clock
    this.#random = options.random
  }

  /**
   * Reads about `bytesMax` of chunks, at most every chunk once. Pauses often. An abort ends it
   * early, without an error. @throws {WormholeError} `IO_ERROR`.
   */
  async run(bytesMax: number, signal: AbortSignal): Promise<ScrubReport> {
    const { index } = this.#store
    const entryCount = index.entryCount
    this.#at ??= Math.floor(entryCount * drawn(this.#random))
    const scratch = Buffer.allocUnsafeSlow(SEALED_SIZE_BYTES_MAX)
    const pace = new Pace(this.#clock)
    const report = { chunks: 0, bytes: 0, damaged: 0, isIndexDamaged: false }
    for (let seen = 0; seen < entryCount;) {
      if (this.#at >= index.entryCount) this.#at = 0
      const addresses = index.addresses(this.#at, Math.min(ENTRY_COUNT, entryCount - seen))
      if (addresses.length === 0) {
        report.isIndexDamaged = true
        this.#at = 0
        return report
      }
      for (const address of addresses) {
        if (signal.aborted || report.bytes >= bytesMax) return report
        if (address) this.#look(address, scratch, report)
        this.#at++
        seen++
        if (pace.isOver) await pace.rest()
      }
    }
    return report
  }

  #look(
    address: ChunkAddress,
    scratch: Buffer,
    report: { chunks: number; bytes: number; damaged: number },
  ): void {
    try {
      const sealed = this.#store.getSync(address, scratch)
      if (!sealed) return
      report.chunks++
      report.bytes += sealed.length
    } catch (error) {
      if (!hasCode(error, 'CHUNK_CORRUPT')) throw error
      report.damaged++
    }
  }
}

/** A number in [0, 1). */
function drawn(random: Random): number {
  return Buffer.from(random.bytes(4)).readUInt32LE(0) / 2 ** 32
}
