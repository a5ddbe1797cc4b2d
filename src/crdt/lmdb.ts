/**
 * The index on disk: LMDB with sealed rows.
 *
 * Each row is sealed with XChaCha20-Poly1305 under a random nonce, with its key as associated data:
 * LMDB serves flipped bytes silently, and a sealed row can neither be read, changed nor moved to
 * another key. Keys hold no clear names.
 *
 * One thread writes, in synchronous transactions; other threads of the process open the same
 * directory and see a commit after `refresh`. A commit is flushed to disk a little later: what a
 * power cut takes away is applied again from the log.
 */
import { open, type RootDatabase } from 'lmdb'
import { WormholeError, fromErrno } from '../errors.ts'
import { deriveKey, keyedHash, seal, unseal } from '../seal.ts'
import type { Random } from '../system.ts'
import type { RowStore, RowWriter } from './rows.ts'

const NAME_HASH_BYTES = 16
const NAME_KEY_BYTES = 8

/** Whether LMDB ran out of room, by the texts and numbers of lmdb.h and errno. */
function isFull(error: unknown): boolean {
  const text = error instanceof Error ? error.message : String(error)
  return /MDB_MAP_FULL|No space left|ENOSPC/.test(text)
}

class LmdbRowStore implements RowStore {
  readonly #rows: RootDatabase<Buffer, Buffer>
  readonly #rowKey: Uint8Array
  readonly #nameKey: Uint8Array
  readonly #random: Random
  readonly #isReadOnly: boolean

  constructor(
    rows: RootDatabase<Buffer, Buffer>,
    options: { key: Uint8Array; random: Random; isReadOnly: boolean },
  ) {
    this.#rows = rows
    this.#rowKey = deriveKey(options.key, 'index/rows')
    this.#nameKey = deriveKey(options.key, 'index/names')
    this.#random = options.random
    this.#isReadOnly = options.isReadOnly
  }

  hashName(name: string): string {
    const digest = keyedHash(this.#nameKey, NAME_HASH_BYTES, Buffer.from(name, 'latin1'))
    return digest.toString('latin1', 0, NAME_KEY_BYTES)
  }

  get(key: string): Buffer | undefined {
    const about = Buffer.from(key, 'latin1')
    const sealed = this.#rows.getBinaryFast(about)
    return sealed && unseal(this.#rowKey, sealed, about, 'INDEX_CORRUPT')
  }

  range(
    prefix: string,
    options: { readonly after?: string; readonly countMax?: number } = {},
  ): { readonly key: string; readonly value: Buffer }[] {
    const { after, countMax } = options
    const start = Buffer.from(after === undefined ? prefix : `${after}\0`, 'latin1')
    const found: { key: string; value: Buffer }[] = []
    for (const { key: about, value } of this.#rows.getRange({
      start,
      ...(countMax === undefined ? {} : { limit: countMax }),
    })) {
      const key = about.toString('latin1')
      if (!key.startsWith(prefix)) break
      found.push({ key, value: unseal(this.#rowKey, value, about, 'INDEX_CORRUPT') })
    }
    return found
  }

  transaction<T>(run: (rows: RowWriter) => T): T {
    if (this.#isReadOnly) throw new TypeError('this index was opened for reading')
    const writer: RowWriter = {
      get: (key) => this.get(key),
      range: (prefix, options) => this.range(prefix, options),
      put: (key, value) => {
        const about = Buffer.from(key, 'latin1')
        this.#rows.putSync(about, seal(this.#rowKey, value, about, this.#random))
      },
      remove: (key) => {
        this.#rows.removeSync(Buffer.from(key, 'latin1'))
      },
    }
    try {
      return this.#rows.transactionSync(() => run(writer))
    } catch (error) {
      if (error instanceof WormholeError) throw error
      if (isFull(error)) {
        throw new WormholeError('DISK_FULL', 'the index has no room to grow', { cause: error })
      }
      throw error
    }
  }

  refresh(): void {
    this.#rows.resetReadTxn()
  }

  async close(): Promise<void> {
    await this.#rows.close()
  }
}

/**
 * Opens (or makes) the index in `directory`.
 *
 * @param options.key - 32 bytes that never leave this device.
 * @param options.isReadOnly - for the threads that do not write: `transaction` is refused.
 * @throws {WormholeError} `INDEX_CORRUPT` when the file is no LMDB environment, `IO_ERROR`,
 *   `DISK_FULL`.
 */
export function openLmdbRowStore(options: {
  readonly directory: string
  readonly key: Uint8Array
  readonly random: Random
  readonly isReadOnly: boolean
}): RowStore {
  try {
    const rows = open<Buffer, Buffer>({
      path: options.directory,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
    })
    return new LmdbRowStore(rows, options)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    if (/MDB_INVALID|MDB_CORRUPTED|MDB_VERSION_MISMATCH/.test(text)) {
      const message = `the index in ${options.directory} is damaged: ${text}`
      throw new WormholeError('INDEX_CORRUPT', message, { cause: error })
    }
    throw fromErrno(error, `open the index in ${options.directory}`)
  }
}
