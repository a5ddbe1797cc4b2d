/**
 * Sealed chunks in append-only packs. One thread writes (`PackWriter`), any thread reads
 * (`PackReader`), without messages: the table of addresses is shared memory.
 *
 * W1: `sync` makes the packs durable first, then lets the index log name them; the log is never
 * trusted for bytes that were not durable. R1: every read checks the digest. A chunk that fails is
 * forgotten, so that it can be fetched again. A failed `fdatasync` breaks the writer for good: what
 * the kernel then still has in memory is unknown.
 */
import path from 'node:path'
import { hasCode, WormholeError } from '../errors.ts'
import type { Disk, DiskFile } from '../system.ts'
import type { ChunkAddress } from '../types.ts'
import { AddressTable, AddressTableWriter, type ChunkLocation } from './address-table.ts'
import { blake3Hex } from './blake3.ts'
import { SEALED_SIZE_BYTES_MAX } from './codec.ts'
import { FORGOTTEN, IndexLog } from './index-log.ts'
import type { SealedStore, SealedWriter } from './interface.ts'
import {
  encodeRecordHeader,
  listPacks,
  PACK_SIZE_BYTES_MAX,
  packName,
  PackFiles,
  RECORD_HEADER_BYTES,
  walkPack,
} from './pack-files.ts'
import { createPack, recover, wordsOf, type Recovered } from './pack-recovery.ts'
import { removeTableFile, writeTableFile } from './table-file.ts'

/**
 * After so many bytes without a `sync` one is started: dirty memory stays bounded, a full pack
 * rarely has to be waited for (measured: longest `put` 13 ms instead of 63), and little has to be
 * walked after a crash.
 */
const BACKGROUND_SYNC_BYTES = 32 * 1024 * 1024
/**
 * The table is kept as a file when the log has grown by so many entries, and by a quarter, since:
 * reading fewer takes 15 ms.
 */
const TABLE_ENTRIES_MIN = 32 * 1024

/** What another thread needs to read the packs; may be posted. */
export interface PackHandle {
  readonly directory: string
  readonly table: SharedArrayBuffer
}

/** Told when a chunk's digest was wrong. */
export type CorruptListener = (address: ChunkAddress) => void

/** Reads the packs of a writer, in its thread or another one. */
export class PackReader implements SealedStore {
  readonly #table: AddressTable
  readonly #files: PackFiles
  readonly #onCorrupt: CorruptListener

  /** @param options.onCorrupt - should make the writer `check` the chunk. */
  constructor(options: { disk: Disk; handle: PackHandle; onCorrupt?: CorruptListener }) {
    this.#table = new AddressTable(options.handle.table)
    this.#files = new PackFiles(options.disk, options.handle.directory)
    this.#onCorrupt = options.onCorrupt ?? (() => {})
  }

  has(address: ChunkAddress): boolean {
    return this.#table.has(address)
  }

  getSync(address: ChunkAddress, scratch?: Buffer): Buffer | undefined {
    for (;;) {
      const location = this.#table.find(address)
      if (!location) return undefined
      const { pack, offset, length } = location
      const hasRoom = scratch && scratch.length >= length
      const sealed = hasRoom ? scratch.subarray(0, length) : Buffer.allocUnsafe(length)
      let failure: unknown
      try {
        const count = this.#files.readSync(pack, offset, sealed)
        if (isRight(address, sealed, count)) return sealed
      } catch (error) {
        failure = error
      }
      this.#noteFailure(address, location, failure)
    }
  }

  async get(address: ChunkAddress): Promise<Buffer | undefined> {
    for (;;) {
      const location = this.#table.find(address)
      if (!location) return undefined
      const sealed = Buffer.allocUnsafe(location.length)
      let failure: unknown
      try {
        const count = await this.#files.read(location.pack, location.offset, sealed)
        if (isRight(address, sealed, count)) return sealed
      } catch (error) {
        failure = error
      }
      this.#noteFailure(address, location, failure)
    }
  }

  /**
   * What was read is not the chunk. It may have been freed, or stored anew, since it was looked up:
   * then it is looked up again. Otherwise it is damaged: also when its pack is missing, or does not
   * read there.
   */
  #noteFailure(address: ChunkAddress, read: ChunkLocation, failure: unknown): void {
    if (failure !== undefined && !hasCode(failure, 'IO_ERROR')) throw failure
    const now = this.#table.find(address)
    if (now?.pack !== read.pack || now.offset !== read.offset) return
    this.#onCorrupt(address)
    const why = failure instanceof Error ? failure.message : 'is damaged on this disk'
    const options = failure === undefined ? {} : { cause: failure }
    throw new WormholeError('CHUNK_CORRUPT', `chunk ${address}: ${why}`, options)
  }

  close(): void {
    this.#files.close()
  }
}

function isRight(address: ChunkAddress, sealed: Buffer, count: number): boolean {
  return count === sealed.length && blake3Hex(sealed) === address
}

/** What `sweep.ts` works on. */
export interface PackParts {
  readonly disk: Disk
  readonly directory: string
  readonly table: AddressTableWriter
  readonly index: IndexLog
  /** Where the records of older packs end. */
  readonly ends: Map<number, number>
  /** What is stored from now on lies at or behind this. */
  readonly position: { readonly pack: number; readonly offset: number }
}

/** The one writer of a pack directory. It holds no lock: that is the owner's. */
export class PackWriter implements SealedWriter {
  readonly handle: PackHandle
  readonly #disk: Disk
  readonly #table: AddressTableWriter
  readonly #index: IndexLog
  readonly #reader: PackReader
  readonly #header = Buffer.alloc(RECORD_HEADER_BYTES)
  readonly #packSizeBytesMax: number
  readonly #tableEntriesMin: number
  /** Entries of the log that the table file stands for. */
  #keptEntries: number
  /** Where the records of each pack end, but for the current one. */
  readonly #ends: Map<number, number>
  #pack: number
  #file: DiskFile
  #end: number
  /** Packs with bytes that no finished `sync` covers, oldest first. The last is the current one. */
  #unsynced = new Map<number, DiskFile>()
  /** Those that the running `sync` is at. */
  #syncing = new Map<number, DiskFile>()
  #unsyncedBytes = 0
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #broken: WormholeError | undefined
  #onPin: ((slot: number) => void) | undefined
  readonly #lost: Set<ChunkAddress>

  /**
   * Opens (and when needed recovers) the packs of a directory, which is made when missing.
   *
   * @throws {WormholeError} `IO_ERROR`, `LIMIT_EXCEEDED`.
   */
  static open(options: {
    readonly disk: Disk
    readonly directory: string
    /** For tests. */
    readonly packSizeBytesMax?: number
    readonly tableEntriesMin?: number
  }): PackWriter {
    const { disk, directory } = options
    disk.makeDirectorySync(directory)
    disk.syncDirectorySync(path.dirname(directory))
    const index = new IndexLog(disk.openSync(`${directory}/index`, { create: true }))
    return new PackWriter(options, index, recover(disk, directory, index))
  }

  private constructor(
    options: Parameters<typeof PackWriter.open>[0],
    index: IndexLog,
    recovered: Recovered,
  ) {
    this.#disk = options.disk
    this.#packSizeBytesMax = options.packSizeBytesMax ?? PACK_SIZE_BYTES_MAX
    this.#tableEntriesMin = options.tableEntriesMin ?? TABLE_ENTRIES_MIN
    this.#index = index
    this.#table = recovered.table
    this.#ends = recovered.ends
    this.#keptEntries = recovered.keptEntries
    this.#pack = recovered.pack
    this.#file = recovered.file
    this.#end = recovered.end
    this.#lost = recovered.lost
    this.handle = { directory: options.directory, table: recovered.table.buffer }
    this.#reader = new PackReader({
      disk: options.disk,
      handle: this.handle,
      onCorrupt: (address) => this.#forget(address),
    })
  }

  /** What is durable, in the order in which it was stored; for `scrub.ts`. */
  get index(): IndexLog {
    return this.#index
  }

  has(address: ChunkAddress): boolean {
    return this.#table.has(address)
  }

  getSync(address: ChunkAddress, scratch?: Buffer): Buffer | undefined {
    return this.#reader.getSync(address, scratch)
  }

  get(address: ChunkAddress): Promise<Buffer | undefined> {
    return this.#reader.get(address)
  }

  put(address: ChunkAddress, sealed: Uint8Array): void {
    if (this.pin(address)) return
    if (blake3Hex(sealed) !== address) {
      throw new WormholeError('CHUNK_CORRUPT', `bytes given for chunk ${address} are not its own`)
    }
    this.putOwn(address, sealed)
  }

  putOwn(address: ChunkAddress, sealed: Uint8Array): boolean {
    if (this.#broken) throw this.#broken
    if (sealed.length === 0 || sealed.length > SEALED_SIZE_BYTES_MAX) {
      throw new WormholeError('OUT_OF_RANGE', `sealed chunk of ${sealed.length} bytes`)
    }
    const words = this.#table.wordsOf(address)
    if (this.pin(address)) return false
    const recordBytes = RECORD_HEADER_BYTES + sealed.length
    if (this.#end > 0 && this.#end + recordBytes > this.#packSizeBytesMax) this.#startPack()

    const addressBytes = new Uint8Array(words.buffer, words.byteOffset, 32)
    encodeRecordHeader(this.#header, sealed.length, addressBytes)
    // A failed write leaves a torn record that the next one overwrites.
    this.#file.writeSync(this.#end, [this.#header, sealed])
    this.#unsynced.set(this.#pack, this.#file)
    const location: ChunkLocation = {
      pack: this.#pack,
      offset: this.#end + RECORD_HEADER_BYTES,
      length: sealed.length,
    }
    this.#end += recordBytes
    this.#table.insert(words, 0, location)
    this.#index.add(words, 0, location)
    if (this.#lost.size > 0) this.#lost.delete(address)
    this.#unsyncedBytes += recordBytes
    if (this.#unsyncedBytes > BACKGROUND_SYNC_BYTES && !this.#running && !this.#next) {
      this.#startSync().catch((error: unknown) => this.#breakWith(error))
    }
    return true
  }

  pin(address: ChunkAddress): boolean {
    if (!this.#onPin) return this.#table.has(address)
    const slot = this.#table.slotOf(address)
    if (slot >= 0) this.#onPin(slot)
    return slot >= 0
  }

  /** Whether the chunk was here, was damaged, and has not come back. */
  isLost(address: ChunkAddress): boolean {
    return this.#lost.has(address)
  }

  /**
   * For a collection: what it works on. `onPin` hears of the slots of chunks that are named again,
   * until the next call.
   */
  collect(onPin: ((slot: number) => void) | undefined): PackParts {
    this.#onPin = onPin
    const position = { pack: this.#pack, offset: this.#end }
    const { directory } = this.handle
    const [disk, table, index, ends] = [this.#disk, this.#table, this.#index, this.#ends]
    return { disk, directory, table, index, ends, position }
  }

  /** Reads a chunk that a reader found damaged, and forgets it if that is so. */
  check(address: ChunkAddress): void {
    try {
      this.#reader.getSync(address)
    } catch (error) {
      if (!(error instanceof WormholeError && error.code === 'CHUNK_CORRUPT')) throw error
    }
  }

  /**
   * Writes the index log anew from the packs, after damage to it. What was forgotten stays so.
   * Takes a read per chunk. @throws {WormholeError} `IO_ERROR`, `WRITER_BROKEN`.
   */
  async rewriteIndex(): Promise<void> {
    await this.sync()
    removeTableFile(this.#disk, this.handle.directory)
    this.#keptEntries = 0
    this.#index.clear()
    for (const pack of listPacks(this.#disk, this.handle.directory)) {
      const path = `${this.handle.directory}/${packName(pack)}`
      const file = this.#disk.openSync(path, { readOnly: true })
      for (const { address, offset, length } of walkPack(file, 0, false)) {
        const words = wordsOf(address)
        const known = this.#table.find(address.toString('hex') as ChunkAddress)
        if (known?.pack !== pack || known.offset !== offset || known.length !== length) continue
        this.#index.add(words, 0, known)
      }
      file.close()
      this.#index.write(this.#index.pendingCount)
    }
    for (const address of this.#lost) this.#noteLost(address)
    this.#index.write(this.#index.pendingCount)
  }

  #forget(address: ChunkAddress): void {
    const words = this.#table.wordsOf(address)
    if (!this.#table.removeWords(words, 0)) return
    this.#lost.add(address)
    this.#noteLost(address)
  }

  #noteLost(address: ChunkAddress): void {
    const entry = { pack: this.#pack, offset: FORGOTTEN.damaged, length: 0 }
    this.#index.add(this.#table.wordsOf(address), 0, entry)
  }

  /** Recovery relies on at most the two newest packs holding bytes that are not durable. */
  #startPack(): void {
    this.#syncOlderPacks()
    const file = createPack(this.#disk, this.handle.directory, this.#pack + 1)
    const isBusy = this.#unsynced.has(this.#pack) || this.#syncing.has(this.#pack)
    if (!isBusy) this.#file.close()
    this.#ends.set(this.#pack, this.#end)
    this.#pack++
    this.#file = file
    this.#end = 0
  }

  #syncOlderPacks(): void {
    try {
      for (const [pack, file] of [...this.#syncing, ...this.#unsynced]) {
        if (pack !== this.#pack) file.syncSync()
      }
    } catch (error) {
      throw this.#breakWith(error)
    }
  }

  sync(): Promise<void> {
    if (this.#broken) return Promise.reject(this.#broken)
    if (this.#next) return this.#next
    if (this.#running) {
      this.#next = this.#running.then(() => this.#startSync())
      return this.#next
    }
    if (this.#unsynced.size === 0 && this.#index.pendingCount === 0) return Promise.resolve()
    return this.#startSync()
  }

  #startSync(): Promise<void> {
    this.#next = undefined
    this.#running = this.#syncNow().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #syncNow(): Promise<void> {
    const files = this.#unsynced
    const entryCount = this.#index.pendingCount
    this.#syncing = files
    this.#unsynced = new Map()
    this.#unsyncedBytes = 0
    try {
      for (const file of files.values()) await file.sync()
    } catch (error) {
      throw this.#breakWith(error)
    } finally {
      this.#syncing = new Map()
    }
    for (const [pack, file] of files) {
      if (pack !== this.#pack && !this.#unsynced.has(pack)) file.close()
    }
    this.#index.write(entryCount)
  }

  #breakWith(cause: unknown): WormholeError {
    this.#broken ??= new WormholeError('WRITER_BROKEN', 'a sync of the chunk store failed', {
      cause,
    })
    return this.#broken
  }

  /** Everything is durable and listed: what would be read at the next start is kept as a file. */
  #keepTable(): void {
    const lastEntry = this.#index.lastEntry()
    const added = this.#index.entryCount - this.#keptEntries
    if (added < Math.max(this.#tableEntriesMin, this.#keptEntries / 4)) return
    // Only the log tells what was damaged.
    if (this.#lost.size > 0) return
    // On a full disk the log lacks entries, which are found by walking: not with a table.
    if (!lastEntry || this.#index.pendingCount > 0) return
    const ends = new Map(this.#ends).set(this.#pack, this.#end)
    const logBytes = this.#index.sizeBytes
    const { directory } = this.handle
    writeTableFile(this.#disk, directory, { table: this.#table, ends, logBytes, lastEntry })
  }

  stats(): { chunkCount: number; bytes: number } {
    return { chunkCount: this.#table.chunkCount, bytes: this.#table.bytes }
  }

  async close(): Promise<void> {
    if (this.#broken?.code === 'VOLUME_CLOSED') return
    try {
      await this.sync()
      // What a collection has made absent for a moment must not be kept so.
      if (!this.#onPin) this.#keepTable()
    } finally {
      this.#broken = new WormholeError('VOLUME_CLOSED', 'the chunk store is closed')
      this.#file.close()
      this.#reader.close()
      this.#index.close()
    }
  }
}
