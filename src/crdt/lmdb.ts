/** The index on disk: LMDB with sealed rows. */
import type { Random } from '../system.ts'
import type { RowStore } from './rows.ts'

/** Opens (or makes) the index file in `directory`. `key`: 32 bytes. */
export declare function openLmdbRowStore(options: {
  readonly directory: string
  readonly key: Uint8Array
  readonly random: Random
  readonly isReadOnly: boolean
}): RowStore
