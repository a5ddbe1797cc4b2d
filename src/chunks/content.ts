/** The content store in this thread. (Signatures first; the body follows.) */
import type { ChunkFetcher, ChunkKeys, ContentStore, SealedWriter } from './interface.ts'

/** How to make a `LocalContents`. */
export interface LocalContentsOptions {
  readonly store: SealedWriter
  readonly keys: ChunkKeys
  /** Gets what is not here; without it a missing chunk is `CHUNK_UNAVAILABLE`. */
  readonly fetcher?: ChunkFetcher | undefined
  /** RAM for decoded chunks. Default 64 MiB. */
  readonly cacheBytesMax?: number
}

/** A `ContentStore` over a store that this thread may write. */
export declare class LocalContents implements ContentStore {
  constructor(options: LocalContentsOptions)
  read: ContentStore['read']
  build: ContentStore['build']
  stream: ContentStore['stream']
  sync: ContentStore['sync']
  addresses: ContentStore['addresses']
}
