/**
 * The port to the index: an ordered map of bytes with synchronous transactions, which many threads
 * read and one writes. Adapters: `memory.ts` (tests, simulator) and `lmdb.ts` (sealed rows).
 *
 * Keys are Latin-1 strings, one character per byte, 1 to 64 bytes, ordered by byte. Keys hold no
 * clear names: a name enters a key only through `hashName`.
 */

/** Read access to the last committed state. */
export interface RowReader {
  /** The value; fresh memory that the caller may keep. Undefined when absent. */
  get(key: string): Buffer | undefined
  /** Rows whose key starts with `prefix`, in key order, after the key `after`. */
  range(
    prefix: string,
    options?: { readonly after?: string; readonly countMax?: number },
  ): { readonly key: string; readonly value: Buffer }[]
}

/** Write access inside one transaction. Reads see its own writes. */
export interface RowWriter extends RowReader {
  put(key: string, value: Uint8Array): void
  remove(key: string): void
}

/** The rows as they were at one moment, for as long as they are needed. */
export interface FrozenRows extends RowReader {
  /** To be called soon: what is replaced meanwhile takes room until then. Idempotent. */
  release(): void
}

/** An index. */
export interface RowStore extends RowReader {
  /** 8 Latin-1 characters: the keyed hash of a name. Two names may share one. */
  hashName(name: string): string
  /**
   * Runs `run` in one transaction: all of its writes become visible together when this returns, or
   * none if it throws. @throws {WormholeError} `DISK_FULL`, `IO_ERROR`, `INDEX_CORRUPT`.
   */
  transaction<T>(run: (rows: RowWriter) => T): T
  /** The last committed state; it stays as it is whatever is written. Not within a transaction. */
  freeze(): FrozenRows
  /** Makes reads of this thread see what another thread has committed. */
  refresh(): void
  close(): Promise<void>
}
