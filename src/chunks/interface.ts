/**
 * The shapes of the chunk pipeline: sealed chunks by address, and file contents over them.
 * Types only. Formats and orders: README.md of this folder.
 */
import type { ChunkAddress } from '../types.ts'

/** Where a file's bytes are; structurally the same as the tree's `ContentRef`. */
export type ContentRef =
  | { readonly type: 'empty' }
  | { readonly type: 'chunk'; readonly address: ChunkAddress }
  | { readonly type: 'manifest'; readonly address: ChunkAddress }

/** Secrets of one volume that chunks need. All 32 bytes. */
export interface ChunkKeys {
  /** For life: seeds the gear table and keys the chunk ids (dedup). */
  readonly dedup: Uint8Array
  readonly currentGeneration: number
  /** Content keys of a key generation; undefined when not held. */
  content(generation: number): Uint8Array | undefined
}

/** Sealed chunks on this device. Reading is possible from any thread, writing from one. */
export interface SealedStore {
  has(address: ChunkAddress): boolean
  /**
   * The sealed bytes, digest checked after the read (R1). Undefined when absent. With `scratch` the
   * result may be a view of it; otherwise it is fresh memory.
   * @throws {WormholeError} `CHUNK_CORRUPT`: the store forgets the chunk, so that it is refetched.
   */
  getSync(address: ChunkAddress, scratch?: Buffer): Buffer | undefined
  get(address: ChunkAddress): Promise<Buffer | undefined>
}

/** The writing side of a `SealedStore`. */
export interface SealedWriter extends SealedStore {
  /**
   * Stores a chunk after checking that `address` is its digest. Idempotent. Survives this process
   * when it returns, power loss once `sync` resolved. @throws {WormholeError} `CHUNK_CORRUPT`,
   * `DISK_FULL`.
   */
  put(address: ChunkAddress, sealed: Uint8Array): void
  /**
   * As `put`, for bytes whose digest the caller computed itself a moment ago: not checked again.
   * Returns whether the chunk is new.
   */
  putOwn(address: ChunkAddress, sealed: Uint8Array): boolean
  /**
   * As `has`, for whoever is about to name a chunk without storing it: a collection that is under
   * way keeps it.
   */
  pin(address: ChunkAddress): boolean
  /** One `fdatasync` for everything put so far, shared by all who wait. */
  sync(): Promise<void>
  stats(): { chunkCount: number; bytes: number }
  close(): Promise<void>
}

/** Gets chunks that are not here. Implemented by the swarm. */
export interface ChunkFetcher {
  /**
   * Resolves when every address is in the local store.
   * @throws {WormholeError} `CHUNK_UNAVAILABLE` when nobody reachable has one in time, `ABORTED`.
   */
  fetch(
    addresses: readonly ChunkAddress[],
    options: { priority: 'foreground' | 'background'; signal?: AbortSignal },
  ): Promise<void>
}

/** A byte range of a file that was written here and is not in any chunk yet. */
export interface DirtyExtent {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** A range of a file, in bytes. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/** A finished content. */
export interface BuiltContent {
  readonly ref: ContentRef
  readonly sizeBytes: number
  /** Sealed bytes that were not in the store before. */
  readonly newBytes: number
}

/** A content being written front to back, chunk by chunk, without holding it in memory. */
export interface ContentStream {
  /** Takes the next bytes; resolves when more are welcome. The buffer may be reused afterwards. */
  write(bytes: Uint8Array): Promise<void>
  finish(): Promise<BuiltContent>
  abort(): void
}

/** How much of a content is here: all of it, some, or nothing but, at the most, its lists. */
export type Presence = 'local' | 'partial' | 'remote'

/** File contents over chunks: what the file system and the command line use. */
export interface ContentStore {
  /**
   * Bytes `[offset, offset + length)` of a content, clipped to its size. Returns at once when all
   * of it is in RAM or in the local store, otherwise a promise that fetches (foreground). Never
   * zeros in place of missing data. The buffers are views that the caller must not change.
   *
   * @throws {WormholeError} `CHUNK_UNAVAILABLE`, `CHUNK_CORRUPT`, `ABORTED`.
   */
  read(
    content: { readonly ref: ContentRef; readonly sizeBytes: number },
    range: { readonly offset: number; readonly length: number },
    options?: { readonly signal?: AbortSignal },
  ): Buffer[] | Promise<Buffer[]>
  /**
   * The content that results from `base`, with `holes` punched into it, cut or grown (with zeros)
   * to `sizeBytes`, with the extents written over it in order. Rechunks only around what changed.
   * Chunks are stored, not yet synced. `mode` `fixed` (64 KiB blocks) is for files written at
   * random offsets.
   */
  build(options: {
    readonly base: { readonly ref: ContentRef; readonly sizeBytes: number } | undefined
    readonly sizeBytes: number
    readonly extents: readonly DirtyExtent[]
    readonly holes?: readonly ByteRange[]
    readonly mode: 'content-defined' | 'fixed'
  }): Promise<BuiltContent>
  /** How much of a content is on this device. Waits for nothing; a lookup per chunk. */
  presence(content: { readonly ref: ContentRef; readonly sizeBytes: number }): Presence
  /**
   * Where data, or a hole, begins at or after `offset`; the size of the content when nowhere. At
   * once when the manifest is here, otherwise a promise that fetches it (foreground).
   *
   * @throws {WormholeError} `CHUNK_UNAVAILABLE`, `CHUNK_CORRUPT`, `ABORTED`.
   */
  seek(
    content: { readonly ref: ContentRef; readonly sizeBytes: number },
    offset: number,
    what: 'data' | 'hole',
    options?: { readonly signal?: AbortSignal },
  ): number | Promise<number>
  /**
   * Bytes of a content that lie in holes, as far as that is cheap to say: undefined where the
   * manifest is not here, or is large.
   */
  holeBytes(content: { readonly ref: ContentRef; readonly sizeBytes: number }): number | undefined
  /** A new content from front to back. */
  stream(): ContentStream
  /** Everything built so far survives power loss (W1: before anything names it). */
  sync(): Promise<void>
  /** Addresses of the whole content, manifest nodes first; fetches manifest nodes it lacks. */
  addresses(
    content: { readonly ref: ContentRef; readonly sizeBytes: number },
    options?: { readonly signal?: AbortSignal; readonly priority?: 'foreground' | 'background' },
  ): Promise<ChunkAddress[]>
}
