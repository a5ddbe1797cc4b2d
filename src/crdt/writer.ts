/**
 * The tree as the CRDT thread writes it: folding own edits into Automerge changes, checking and
 * applying foreign ones, and one index transaction for everything that follows from them.
 */
import type { ActorId, Hlc, InodeId } from '../types.ts'
import type {
  ActorInfo,
  ContentRef,
  Edit,
  ShardChange,
  TreeDelta,
  Verdict,
  VersionId,
} from './interface.ts'
import type { StrategyOf } from './overlay.ts'
import type { RowStore } from './rows.ts'

export interface TreeWriterOptions {
  readonly rows: RowStore
  /** Fresh for every process run; announced in the log before its first change. */
  readonly self: ActorInfo
  readonly strategyOf: StrategyOf
}

/** A content from another device that has yet to be fetched. */
export interface Want {
  /** Opaque; pass it to `fetched`. */
  readonly key: string
  readonly inode: InodeId
  readonly version: VersionId
  readonly ref: ContentRef
  readonly sizeBytes: number
}

/** What own edits became. */
export interface Folded {
  /** In the order of application; empty when nothing remained to be said. */
  readonly changes: readonly ShardChange[]
  /** Journal number up to which everything is now in the log once this is written. */
  readonly coveredTo: number
  /** Greatest stamp of the edits; 0 when there were none. */
  readonly hlc: Hlc
}

/**
 * Writes the tree. One thread owns it. Everything between two `commit`s is one unit: it becomes
 * visible and durable-with-the-index together, or `rollback` drops it.
 */
export declare class TreeWriter {
  constructor(options: TreeWriterOptions)
  /** Journal number up to which own edits are in the tree; 0 at first. */
  readonly coveredTo: number
  /**
   * Turns own edits into changes and applies them here. Edits already covered are skipped; what
   * cancels out is dropped; a put whose base no longer holds becomes a concurrent value.
   */
  fold(edits: readonly Edit[]): Folded
  /** Whether a foreign entry may be applied. Same answer on every device. Changes nothing. */
  check(changes: readonly ShardChange[], author: { readonly actors: ReadonlySet<ActorId> }): Verdict
  /** Applies a checked entry of another device (or an own one during recovery, `own` set). */
  apply(changes: readonly ShardChange[], own?: { readonly coveredTo: number }): void
  /** Writes everything since the last commit and `meta` in one transaction. */
  commit(meta: ReadonlyMap<string, Uint8Array>): TreeDelta
  /** Forgets everything since the last commit. */
  rollback(): void
  /** What a `commit` stored under this name. */
  meta(name: string): Buffer | undefined
  /** Makes an actor known (conflict names show its device). Idempotent; part of the next commit. */
  registerActor(info: ActorInfo): void
  /** Contents from other devices not fetched yet, oldest key first. */
  wants(options: { after?: string; countMax: number }): Want[]
  /** Takes wants off the list; part of the next commit. */
  fetched(keys: readonly string[]): void
}
