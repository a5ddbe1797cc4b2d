/**
 * Garbage collection of chunks as its driver sees it. Types only. Steps, orders and why they lose
 * nothing: README.md, "Garbage collection".
 */
import type { ChunkAddress } from '../types.ts'

/** What a content is referenced by. A chunk counts for the first of them that named it. */
export const CHUNK_USES = ['tree', 'conflicts', 'history', 'local'] as const
/** One of them. */
export type ChunkUse = (typeof CHUNK_USES)[number]

/** Contents that must stay. */
export interface Roots {
  readonly use: ChunkUse
  /** Contents of one chunk. */
  readonly chunks: ChunkAddress[]
  /** Roots of manifests. */
  readonly manifests: ChunkAddress[]
}

/** How much. Bytes are those of sealed chunks. */
export interface Tally {
  chunks: number
  bytes: number
}

/** What a marked store looks like. */
export interface CollectionPlan {
  readonly used: Readonly<Record<ChunkUse, Tally>>
  /** Stored or named again since the collection began: kept, whoever references it. */
  readonly young: Tally
  /** Nothing references it. */
  readonly unused: Tally
  /**
   * Manifest nodes that were here and are damaged, or that this device cannot open: what lies below
   * them is unknown, so nothing may be freed.
   */
  readonly unknownNodes: number
}

/** What was done. */
export interface CollectionResult {
  readonly freed: Tally
  readonly packsRemoved: number
  /** Freed bytes whose space the disk did not take back: it punches no holes. */
  readonly bytesNotReturned: number
}

/** One collection at a time; the steps in this order. Every step keeps the store usable. */
export interface ChunkCollection {
  /** From now on whatever is stored or named again is kept. */
  begin(): Promise<void>
  mark(roots: readonly Roots[]): Promise<void>
  plan(): Promise<CollectionPlan>
  /**
   * Makes the next unused chunks absent for everybody, and keeps their bytes. Returns how many; 0
   * when there are no more.
   */
  condemn(): Promise<number>
  /**
   * Brings back what these contents need, and frees the rest of what was condemned: durably
   * forgotten first, then its bytes. @throws {WormholeError} `DISK_FULL` (nothing was freed),
   * `WRITER_BROKEN`, `IO_ERROR`.
   */
  free(roots: readonly Roots[]): Promise<void>
  /** Gives back what lies between chunks, and removes packs that hold none. */
  finish(): Promise<CollectionResult>
  /** Brings back what is condemned and not freed. Idempotent, after every step. */
  end(): Promise<void>
}
