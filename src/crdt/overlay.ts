/**
 * The tree as the file system thread sees it: the index plus its own unpublished edits.
 */
import type { Random } from '../system.ts'
import type { FileName, Hlc, InodeId } from '../types.ts'
import type {
  ConflictView,
  ContentRef,
  DirentView,
  Edit,
  NodeView,
  OpRef,
  TreeReader,
  VersionView,
} from './interface.ts'
import type { RowStore } from './rows.ts'

export type { ConflictStrategy, StrategyOf } from './strategy.ts'
import type { StrategyOf } from './strategy.ts'

/** Owner and permission of something new. */
export interface NewAttributes {
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Extended attributes, names one character per byte. */
  readonly xattrs?: ReadonlyMap<string, Buffer>
}

/** Attributes to change; absent ones stay. */
export interface AttributeChanges {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly xattrs?: ReadonlyMap<string, Buffer>
  readonly mtimeNs?: bigint
}

/** An edit that makes something, and the id of what it makes. */
export interface Created {
  readonly edit: Edit
  readonly id: InodeId
}

export interface OverlayOptions {
  readonly rows: RowStore
  readonly random: Random
  /** A new hybrid stamp. */
  readonly tick: () => Hlc
  readonly nowNs: () => bigint
  readonly strategyOf: StrategyOf
}

/** A place in a directory. */
export interface Place {
  readonly parent: InodeId
  readonly name: FileName
}

/**
 * Index plus pending edits. The builders (`createFile` … `resolve`) only make an `Edit`, number 0:
 * give it a journal number, then `apply` it. They throw `NOT_FOUND`, `ALREADY_EXISTS`, `NOT_EMPTY`,
 * `NOT_A_DIRECTORY`, `IS_DIRECTORY`, `NAME_INVALID`, `NAME_TOO_LONG`, `BAD_ARGUMENT`,
 * `NOT_PERMITTED`, `LIMIT_EXCEEDED`.
 */
export declare class Overlay implements TreeReader {
  constructor(options: OverlayOptions)
  readonly root: InodeId
  readonly fileCount: number
  lookup(parent: InodeId, name: FileName): DirentView | undefined
  node(id: InodeId): NodeView | undefined
  list(
    parent: InodeId,
    options: { after?: string; countMax: number },
  ): { entries: DirentView[]; next: string | undefined }
  policies(id: InodeId): { directory: InodeId; policy: string }[]

  /** Makes a numbered edit part of the tree. Numbers must grow. */
  apply(edit: Edit): void
  /** The index has changed (own or remote commit): re-reads it, drops edits up to the number. */
  cover(upToNumber: number): void
  /** Edits not yet covered, in order. */
  pending(): readonly Edit[]

  /** The register values a new content of this inode would replace: keep them while it is open. */
  contentBase(inode: InodeId): readonly OpRef[]

  createFile(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & {
      readonly content?: { readonly ref: ContentRef; readonly sizeBytes: number }
      readonly mtimeNs?: bigint
    },
  ): Created
  mkdir(parent: InodeId, name: FileName, options: NewAttributes): Created
  symlink(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & { readonly target: string },
  ): Created
  special(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & { readonly fileType: number; readonly rdev: number },
  ): Created
  /** A further hard link. */
  link(inode: InodeId, parent: InodeId, name: FileName): Edit
  unlink(parent: InodeId, name: FileName): Edit
  rmdir(parent: InodeId, name: FileName): Edit
  rename(from: Place, to: Place, flag: 'replace' | 'noreplace' | 'exchange'): Edit
  /**
   * New content of a file. `base` is what `contentBase` said when the file was opened (default: now);
   * what arrived since becomes a conflict, never lost.
   */
  setContent(
    inode: InodeId,
    content: {
      readonly ref: ContentRef
      readonly sizeBytes: number
      readonly mtimeNs: bigint
      readonly base?: readonly OpRef[]
    },
  ): Edit
  /** chmod, chown, setxattr and touch (`mtimeNs`). */
  setAttributes(inode: InodeId, changes: AttributeChanges): Edit
  /** The canonical text of a directory's policy; empty removes it. */
  setPolicy(directory: InodeId, policy: string): Edit
  /** Several edits, each made on the present tree, as one that appears whole or not at all. */
  combine(edits: readonly Edit[]): Edit

  /** Conflicts a user can act on, after the cursor, at most `countMax`. */
  conflicts(options: { after?: string; countMax: number }): {
    conflicts: ConflictView[]
    next: string | undefined
  }
  /** Keeps version number `keep` (index in `ConflictView.versions`) alone, or all under own names. */
  resolve(parent: InodeId, name: FileName, keep: number | 'both'): Edit
  /** Versions that this name or inode has had, newest first. */
  history(what: Place | { readonly inode: InodeId }): VersionView[]
}
