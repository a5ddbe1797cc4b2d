/**
 * Room: zeros written behind the records of the last segment.
 *
 * Records that overwrite them change neither the size nor the blocks of the file, so that a sync is
 * a write of the bytes and not also one of the file system's own journal: half the time (measured
 * on ext4: 230 µs and 120 µs). Only who syncs small pieces gets it; a stream would write all bytes
 * twice. To a reader it is a torn tail.
 */
import { hasCode } from '../errors.ts'
import type { DiskFile } from '../system.ts'

/** So much at once: 60 writes of 4 KiB, and 0.1 ms for the zeros. */
const ROOM_BYTES = 256 * 1024
const ZEROS = new Uint8Array(ROOM_BYTES)

/** The room of the file that is being written. */
export class Room {
  /** Up to here the file is known to reach. */
  #end = 0
  #isWanted = false

  /** A new file. */
  reset(): void {
    this.#end = 0
    this.#isWanted = false
  }

  /** A small sync: others may follow. */
  want(): void {
    this.#isWanted = true
  }

  /**
   * Records have been written up to `to`: makes room behind them if it is used up and wanted, up to
   * `max`. A full disk has none.
   */
  make(file: DiskFile, to: number, max: number): void {
    if (to <= this.#end) return
    this.#end = to
    const bytes = Math.min(ROOM_BYTES, max - to)
    if (!this.#isWanted || bytes <= 0) return
    this.#isWanted = false
    try {
      file.writeSync(to, [ZEROS.subarray(0, bytes)])
      this.#end = to + bytes
    } catch (error) {
      if (!hasCode(error, 'DISK_FULL')) throw error
      file.truncateSync(to)
    }
  }

  /** The file ends at `to` from now on. */
  cut(file: DiskFile, to: number): void {
    if (this.#end > to) file.truncateSync(to)
    this.#end = to
  }
}
