/**
 * The files of packs: names, record format, reading, and walking a pack whose records no index
 * lists. Format and orders: README.md, "Pack".
 */
import { WormholeError } from '../errors.ts'
import type { Disk, DiskFile } from '../system.ts'
import { blake3 } from './blake3.ts'
import { SEALED_SIZE_BYTES_MAX } from './codec.ts'

/** Magic, length, address. */
export const RECORD_HEADER_BYTES = 40
/** A pack is closed when the next record would make it longer. */
export const PACK_SIZE_BYTES_MAX = 128 * 1024 * 1024

const MAGIC = Buffer.from('WHC1', 'latin1')
const NAME = /^pack-(\d{8})$/
/** Descriptors kept open per thread: 16 GiB of packs. */
const OPEN_FILE_COUNT_MAX = 128

/** The file name of a pack. */
export function packName(pack: number): string {
  return `pack-${String(pack).padStart(8, '0')}`
}

/** The numbers of the packs in a directory, ascending. */
export function listPacks(disk: Disk, directory: string): number[] {
  const packs: number[] = []
  for (const name of disk.listSync(directory)) {
    const match = NAME.exec(name)
    if (match) packs.push(Number(match[1]))
  }
  return packs.sort((a, b) => a - b)
}

/** Writes a record header into `header` (40 bytes). */
export function encodeRecordHeader(header: Buffer, length: number, address: Uint8Array): void {
  MAGIC.copy(header)
  header.writeUInt32LE(length, 4)
  header.set(address, 8)
}

/** What the record at `at` says; undefined when there is none. */
export function readRecordHeader(
  file: DiskFile,
  at: number,
): { readonly length: number; readonly address: Buffer } | undefined {
  const header = Buffer.alloc(RECORD_HEADER_BYTES)
  if (file.readSync(at, header) < header.length || header.indexOf(MAGIC) !== 0) return undefined
  return { length: header.readUInt32LE(4), address: header.subarray(8) }
}

/** One record that a walk found. */
export interface WalkedRecord {
  /** 32 bytes; a view, valid until the next record. */
  readonly address: Buffer
  /** Of the sealed bytes. */
  readonly offset: number
  readonly length: number
}

/**
 * Yields the records of a pack from `start` on. A record that cannot be right is skipped: the walk
 * goes on at the next magic whose record is whole, so damage costs what it hit and nothing behind
 * it.
 *
 * @param isChecked - whether the digest decides what is right; otherwise magic and length do,
 * except
 *   behind damage.
 */
export function* walkPack(
  file: DiskFile,
  start: number,
  isChecked: boolean,
): Generator<WalkedRecord> {
  const end = file.sizeSync()
  const header = Buffer.alloc(RECORD_HEADER_BYTES)
  let isBehindDamage = false
  let at = start
  while (at + RECORD_HEADER_BYTES < end) {
    file.readSync(at, header)
    const length = header.readUInt32LE(4)
    const offset = at + RECORD_HEADER_BYTES
    const isPlausible =
      header.indexOf(MAGIC) === 0 &&
      length > 0 &&
      length <= SEALED_SIZE_BYTES_MAX &&
      offset + length <= end
    const address = header.subarray(8)
    if (isPlausible && (!(isChecked || isBehindDamage) || isWhole(file, offset, length, address))) {
      isBehindDamage = false
      yield { address, offset, length }
      at = offset + length
    } else {
      isBehindDamage = true
      at = findMagic(file, at + 1, end)
    }
  }
}

function isWhole(file: DiskFile, offset: number, length: number, address: Buffer): boolean {
  const sealed = Buffer.allocUnsafe(length)
  return file.readSync(offset, sealed) === length && blake3(sealed).equals(address)
}

/** The offset of the next magic at or after `from`, `end` when there is none. */
function findMagic(file: DiskFile, from: number, end: number): number {
  const block = Buffer.allocUnsafe(64 * 1024)
  for (let at = from; at < end; at += block.length - MAGIC.length + 1) {
    const count = file.readSync(at, block)
    const found = block.subarray(0, count).indexOf(MAGIC)
    if (found >= 0) return at + found
  }
  return end
}

/** Opens packs for reading and keeps the most recent ones open. */
export class PackFiles {
  readonly #disk: Disk
  readonly #directory: string
  readonly #files = new Map<number, { file: DiskFile; useCount: number }>()
  #isClosed = false

  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.#directory = directory
  }

  /** Reads sealed bytes; returns how many there were. */
  readSync(pack: number, offset: number, into: Buffer): number {
    return this.#open(pack).file.readSync(offset, into)
  }

  /** As `readSync`, without blocking. The file stays open meanwhile. */
  async read(pack: number, offset: number, into: Buffer): Promise<number> {
    const entry = this.#open(pack)
    entry.useCount++
    try {
      return await entry.file.read(offset, into)
    } finally {
      entry.useCount--
      if (this.#isClosed) this.close()
    }
  }

  #open(pack: number): { file: DiskFile; useCount: number } {
    if (this.#isClosed) throw new WormholeError('VOLUME_CLOSED', 'the chunk store is closed')
    const known = this.#files.get(pack)
    if (known) {
      if (this.#files.size > OPEN_FILE_COUNT_MAX / 2) {
        this.#files.delete(pack)
        this.#files.set(pack, known)
      }
      return known
    }
    const path = `${this.#directory}/${packName(pack)}`
    const entry = { file: this.#disk.openSync(path, { readOnly: true }), useCount: 0 }
    this.#files.set(pack, entry)
    if (this.#files.size > OPEN_FILE_COUNT_MAX) this.#closeOldest()
    return entry
  }

  #closeOldest(): void {
    for (const [pack, entry] of this.#files) {
      if (entry.useCount > 0) continue
      this.#files.delete(pack)
      entry.file.close()
      return
    }
  }

  /** Closes every file that is not being read, and the others as soon as they are read. */
  close(): void {
    this.#isClosed = true
    for (const [pack, { file, useCount }] of this.#files) {
      if (useCount > 0) continue
      this.#files.delete(pack)
      file.close()
    }
  }
}
