/**
 * Snapshots on disk: a directory with the statement and one file per part, named by its hash. Not
 * synced: a part is checked against its name whenever it is read, and can be had again.
 */
import type { Disk } from '../system.ts'

const STATEMENT = 'statement'

/** A range of a part. */
export interface PartBytes {
  /** Of the whole part. */
  readonly sizeBytes: number
  readonly bytes: Buffer
}

/** One snapshot in one directory. */
export class Shelf {
  readonly #disk: Disk
  readonly #directory: string

  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.#directory = directory
  }

  /** The signed statement; undefined when there is none. */
  statement(): Buffer | undefined {
    return this.#disk.readFileSync(`${this.#directory}/${STATEMENT}`)
  }

  /** Durable: a snapshot is known by it. */
  putStatement(bytes: Uint8Array): void {
    this.#disk.makeDirectorySync(this.#directory)
    this.#disk.replaceFileSync(`${this.#directory}/${STATEMENT}`, bytes)
  }

  putPart(hash: string, bytes: Uint8Array): void {
    this.#disk.makeDirectorySync(this.#directory)
    const file = this.#disk.openSync(`${this.#directory}/${hash}`, { create: true })
    try {
      file.truncateSync(0)
      file.writeSync(0, [bytes])
    } finally {
      file.close()
    }
  }

  /** A whole part, not checked; undefined when it is not here. */
  part(hash: string): Buffer | undefined {
    return this.#disk.readFileSync(`${this.#directory}/${hash}`)
  }

  /** Some bytes of a part, for a peer, and its size; undefined when it is not here. */
  read(hash: string, offset: number, bytesMax: number): PartBytes | undefined {
    if (!this.#disk.listSync(this.#directory).includes(hash)) return undefined
    const file = this.#disk.openSync(`${this.#directory}/${hash}`, { readOnly: true })
    try {
      const sizeBytes = file.sizeSync()
      const bytes = Buffer.allocUnsafe(Math.min(bytesMax, Math.max(0, sizeBytes - offset)))
      return { sizeBytes, bytes: bytes.subarray(0, file.readSync(offset, bytes)) }
    } finally {
      file.close()
    }
  }

  clear(): void {
    this.#disk.removeSync(this.#directory)
  }
}
