/**
 * The index on disk: LMDB with sealed rows.
 *
 * A row is sealed under its key (XChaCha20-Poly1305, random nonce, the row key as associated data),
 * so a row cannot be moved and a flipped bit is caught, which LMDB itself serves silently. Its own
 * encryption is not used: it made look-ups 10 times slower (measured: 34 µs against 3.3 µs). Keys
 * hold ids and keyed name hashes only.
 *
 * Writes are synchronous transactions: LMDB's asynchronous puts are not visible to their own thread
 * before they commit. A reader keeps one snapshot until `refresh`, so that what it reads belongs
 * together. A commit is durable when it returns (strace: `fdatasync` of the pages, then 128 bytes
 * of the meta page through a descriptor with O_DSYNC; pages in use are never overwritten), so a
 * power cut leaves the file as after this commit or the one before.
 */
import { open, type RootDatabase, type Transaction } from 'lmdb'
import { systemDisk } from '../disk.ts'
import { fromErrno, hasCode, WormholeError } from '../errors.ts'
import type { CheckStep, Finding } from '../finding.ts'
import { deriveKey, keyedHash, NONCE_BYTES, seal, unsealParts } from '../seal.ts'
import type { Random } from '../system.ts'
import { RandomPool } from './random-pool.ts'
import type { FrozenRows, RowStore, RowWriter } from './rows.ts'

/** A name's hash is cut to 8 bytes; two names that share it share a row. */
const NAME_HASH_BYTES = 8
const NAME_HASH_BYTES_MIN = 16
/** Name hashes kept: a name is looked up far more often than it is new. */
const NAMES_CACHED_MAX = 10_000
/** With less free space a failed write is one for lack of it: LMDB writes 64 pages at a time. */
const FULL_BYTES = 1024 * 1024
/** Two meta pages of 4 KiB; what is in them. */
const META_BYTES = 8192
const META_FLAG = 8
const META_MAGIC = 0xbeefc0de
const META_VERSION = 2

/** Bytes of rows in one step of a check. */
const CHECK_STEP_BYTES = 1024 * 1024

/** Where an index is and how it is opened. */
export interface LmdbOptions {
  /** Directory of the index; made if it is missing. */
  readonly directory: string
  /** 32 bytes. */
  readonly key: Uint8Array
  readonly random: Random
  /** A reader: `transaction` is refused, reads keep a snapshot until `refresh`. */
  readonly isReadOnly: boolean
}

/**
 * Opens (or makes) the index in `directory`.
 *
 * @throws {WormholeError} `INDEX_CORRUPT` when the file is no LMDB environment, `IO_ERROR`,
 *   `NOT_PERMITTED`, `DISK_FULL`.
 */
export function openLmdbRowStore(options: LmdbOptions): RowStore {
  return new LmdbRowStore(options)
}

/**
 * Checks every row of the index in `directory`, beside those who use it: its seal, that it is found
 * by its key, and that as many can be reached as there are. LMDB itself checks nothing: a damaged
 * page may end the process that reads it, so do this in one that may die.
 */
export function* checkLmdbRows(options: Omit<LmdbOptions, 'isReadOnly'>): Generator<CheckStep> {
  const store = new LmdbRowStore({ ...options, isReadOnly: true })
  try {
    yield* store.check(`${options.directory}/data.mdb`)
  } finally {
    void store.close()
  }
}

/**
 * LMDB ends the process when the file does not begin as it should (seen: 8 KiB of zeros, which is
 * what a power cut may leave of a new index). So its first meta page (mdb.c: MDB_page, MDB_meta) is
 * looked at before.
 */
function checkHeader(directory: string): void {
  const path = `${directory}/data.mdb`
  if (!systemDisk.listSync(directory).includes('data.mdb')) return
  const file = systemDisk.openSync(path, { readOnly: true })
  try {
    const size = file.sizeSync()
    const head = Buffer.alloc(32)
    file.readSync(0, head)
    const isMeta = (head.readUInt16LE(18) & META_FLAG) !== 0
    const isOurs = head.readUInt32LE(24) === META_MAGIC && head.readUInt16LE(28) === META_VERSION
    if (size === 0 || (size >= META_BYTES && isMeta && isOurs)) return
    throw new WormholeError('INDEX_CORRUPT', `${path} is no index: its first page is damaged`)
  } finally {
    file.close()
  }
}

function binary(key: string): Buffer {
  return Buffer.from(key, 'latin1')
}

/** The first key after all keys that start with `prefix`. */
function endOf(prefix: string): Buffer {
  return Buffer.concat([binary(prefix), Buffer.alloc(64 - prefix.length, 255)])
}

/**
 * Values as they lie in LMDB's own buffer, which the next read uses again: only its `length` is
 * that of the row. Fresh buffers for key, value, ciphertext and plain text were half of a listing.
 */
const SHARED_VALUES = { encode: (row: Buffer) => row, decode: (row: Buffer) => row }

/** Keys are given as bytes, which sealing needs too, and come back as strings. */
const KEYS = {
  writeKey(key: Buffer | string, target: Buffer, start: number): number {
    if (typeof key === 'string') return start + target.write(key, start, 'latin1')
    target.set(key, start)
    return start + key.length
  },
  readKey: (source: Buffer, start: number, end: number) => source.toString('latin1', start, end),
}

/** As LMDB's binding is with `KEYS`; its types know one type of key. */
interface Rows extends Omit<RootDatabase<Buffer, Buffer>, 'getBinaryFast' | 'getRange'> {
  getBinaryFast(key: Buffer, options: { transaction?: Transaction }): Buffer | undefined
  getRange(options: {
    start?: Buffer
    end?: Buffer
    exclusiveStart?: boolean
    limit?: number
    transaction?: Transaction
  }): Iterable<{ key: string; value: Buffer }>
}

/** Parts of a buffer that is used again and again, made once for each length. */
class SharedParts {
  #source: Uint8Array | undefined
  #parts: Uint8Array[] = []

  /** The `length` bytes at `start`, which is the same in every call. */
  of(source: Uint8Array, start: number, length: number): Uint8Array {
    if (source !== this.#source) {
      this.#source = source
      this.#parts = []
    }
    return (this.#parts[length] ??= new Uint8Array(
      source.buffer,
      source.byteOffset + start,
      length,
    ))
  }
}

class LmdbRowStore implements RowStore {
  readonly #database: Rows
  readonly #rowKey: Buffer
  readonly #nameKey: Buffer
  readonly #directory: string
  readonly #random: Random
  readonly #isReadOnly: boolean
  readonly #names = new Map<string, string>()
  readonly #scratchKeys: Buffer[] = []
  readonly #sealedParts = new SharedParts()
  #snapshot: Transaction | undefined
  #isOpen = true

  constructor(options: LmdbOptions) {
    this.#rowKey = deriveKey(options.key, 'index/rows')
    this.#nameKey = deriveKey(options.key, 'index/names')
    this.#directory = options.directory
    this.#random = new RandomPool(options.random)
    this.#isReadOnly = options.isReadOnly
    checkHeader(options.directory)
    try {
      this.#database = open<Buffer, Buffer>({
        path: options.directory,
        noSubdir: false,
        encoding: 'binary',
        encoder: SHARED_VALUES,
        keyEncoder: KEYS,
      }) as unknown as Rows
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      if (/MDB_INVALID|MDB_CORRUPTED|MDB_VERSION_MISMATCH/.test(text)) {
        const message = `the index in ${options.directory} is damaged: ${text}`
        throw new WormholeError('INDEX_CORRUPT', message, { cause: error })
      }
      throw fromErrno(error, `open the index in ${options.directory}`)
    }
  }

  hashName(name: string): string {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    const digest = keyedHash(this.#nameKey, NAME_HASH_BYTES_MIN, binary(name))
    const hash = digest.toString('latin1', 0, NAME_HASH_BYTES)
    if (this.#names.size >= NAMES_CACHED_MAX) this.#names.clear()
    this.#names.set(name, hash)
    return hash
  }

  /** Options that make a read use the reader's snapshot. */
  #reading(): { transaction?: Transaction } {
    if (!this.#isReadOnly) return {}
    this.#snapshot ??= this.#database.useReadTransaction()
    return { transaction: this.#snapshot }
  }

  get(key: string): Buffer | undefined {
    return this.#get(key, this.#reading())
  }

  #get(key: string, reading: { transaction?: Transaction }): Buffer | undefined {
    const about = this.#scratchKey(key)
    const sealed = this.#database.getBinaryFast(about, reading)
    return sealed && this.#unseal(sealed, about)
  }

  /** Opens a row that lies in LMDB's buffer. The result is fresh memory. */
  #unseal(row: Buffer, about: Buffer): Buffer {
    const sealedBytes = Math.max(0, row.length - NONCE_BYTES)
    const sealed = this.#sealedParts.of(row, NONCE_BYTES, sealedBytes)
    return unsealParts(this.#rowKey, row, sealed, about, 'INDEX_CORRUPT')
  }

  /** The key as bytes, until the next call: reads are many, and keys have few lengths. */
  #scratchKey(key: string): Buffer {
    const { length } = key
    const scratch = (this.#scratchKeys[length] ??= Buffer.allocUnsafeSlow(length))
    scratch.write(key, 0, 'latin1')
    return scratch
  }

  range(
    prefix: string,
    options: { readonly after?: string; readonly countMax?: number } = {},
  ): { readonly key: string; readonly value: Buffer }[] {
    return this.#range(prefix, options, this.#reading())
  }

  #range(
    prefix: string,
    options: { readonly after?: string; readonly countMax?: number },
    reading: { transaction?: Transaction },
  ): { readonly key: string; readonly value: Buffer }[] {
    const { after, countMax = Infinity } = options
    const found: { key: string; value: Buffer }[] = []
    const rows = this.#database.getRange({
      start: binary(after ?? prefix),
      end: endOf(prefix),
      exclusiveStart: after !== undefined,
      ...(countMax === Infinity ? {} : { limit: countMax }),
      ...reading,
    })
    for (const { key, value } of rows) {
      found.push({ key, value: this.#unseal(value, this.#scratchKey(key)) })
    }
    return found
  }

  freeze(): FrozenRows {
    this.#database.resetReadTxn()
    const transaction = this.#database.useReadTransaction()
    let isHeld = true
    return {
      get: (key) => this.#get(key, { transaction }),
      range: (prefix, options = {}) => this.#range(prefix, options, { transaction }),
      release: () => {
        if (isHeld) transaction.done()
        isHeld = false
      },
    }
  }

  /** As `checkLmdbRows`. */
  *check(path: string): Generator<CheckStep> {
    // The writer may commit between these: the count of the snapshot is one of them, or between.
    const before = this.#entryCount()
    const transaction = this.#database.useReadTransaction()
    const after = this.#entryCount()
    let count = 0
    let bytes = 0
    let findings: Finding[] = []
    try {
      for (const { key, value } of this.#database.getRange({ transaction })) {
        const fault = this.#faultOf(key, value, transaction)
        if (fault) findings.push({ part: 'index', code: 'INDEX_CORRUPT', message: fault, path })
        count++
        bytes += key.length + value.length
        if (bytes < CHECK_STEP_BYTES) continue
        yield { bytes, findings }
        bytes = 0
        findings = []
      }
      if (count < Math.min(before, after) || count > Math.max(before, after)) {
        const message = `${after} rows are told, ${count} can be reached`
        findings.push({ part: 'index', code: 'INDEX_CORRUPT', message, path })
      }
      yield { bytes, findings }
    } finally {
      transaction.done()
    }
  }

  #entryCount(): number {
    return (this.#database.getStats() as { entryCount: number }).entryCount
  }

  #faultOf(key: string, value: Buffer, transaction: Transaction): string | undefined {
    const about = binary(key)
    const row = Buffer.from(value.subarray(0, value.length))
    try {
      this.#unseal(value, about)
    } catch (error) {
      if (hasCode(error, 'INDEX_CORRUPT')) return `row ${about.toString('hex')} does not open`
      throw error
    }
    const found = this.#database.getBinaryFast(about, { transaction })
    if (found && row.equals(found.subarray(0, found.length))) return undefined
    return `row ${about.toString('hex')} is not found by its key`
  }

  transaction<T>(run: (rows: RowWriter) => T): T {
    if (this.#isReadOnly) throw new TypeError('a reader does not write')
    const writer: RowWriter = {
      get: (key) => this.get(key),
      range: (prefix, options) => this.range(prefix, options),
      put: (key, value) => {
        const about = binary(key)
        this.#database.putSync(about, seal(this.#rowKey, value, about, this.#random))
      },
      remove: (key) => {
        this.#database.removeSync(binary(key))
      },
    }
    try {
      return this.#database.transactionSync(() => run(writer))
    } catch (error) {
      throw this.#named(error)
    }
  }

  /** LMDB's own failures become operating errors; what `run` threw stays as it is. */
  #named(error: unknown): unknown {
    const text = error instanceof Error ? error.message : ''
    if (/MDB_MAP_FULL|No space left/.test(text)) {
      return new WormholeError('DISK_FULL', `write the index: ${text}`, { cause: error })
    }
    if (/Input\/output/.test(text) && this.#isDiskFull()) {
      return new WormholeError('DISK_FULL', 'write the index: no space left', { cause: error })
    }
    if (/MDB_|Input\/output/.test(text)) {
      return new WormholeError('IO_ERROR', `write the index: ${text}`, { cause: error })
    }
    return error
  }

  /** LMDB says EIO of a write that had room for a part of it. */
  #isDiskFull(): boolean {
    return systemDisk.spaceSync(this.#directory).freeBytes < FULL_BYTES
  }

  refresh(): void {
    this.#snapshot?.done()
    this.#snapshot = undefined
    this.#database.resetReadTxn()
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#snapshot?.done()
    this.#snapshot = undefined
    await this.#database.close()
  }
}
