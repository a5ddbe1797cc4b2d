/**
 * The shapes of the volume's tree: register values, edits, rows that readers see, and the ports
 * between the CRDT and the rest. Types only. Semantics and encodings: README.md of this folder.
 */
import type { ActorId, ChunkAddress, DeviceId, FileName, Hlc, InodeId } from '../types.ts'

/** What an inode id names; immutable, readable from the id itself (`inodeKind`). */
export type InodeKind = 'directory' | 'file' | 'symlink' | 'special' | 'link'

/** Where a file's bytes are: nothing (empty file), one chunk, or the root node of a manifest. */
export type ContentRef =
  | { readonly type: 'empty' }
  | { readonly type: 'chunk'; readonly address: ChunkAddress }
  | { readonly type: 'manifest'; readonly address: ChunkAddress }

/** Hex of 8 bytes: the keyless hash of an encoded `Content`. Names one version of one inode. */
export type VersionId = string

/** Value of register `L`: one name in the tree. */
export interface Location {
  readonly parent: InodeId
  readonly name: FileName
  /** Where it was before; the fallback when a cycle is broken. */
  readonly previous?: { readonly parent: InodeId; readonly name: FileName }
  readonly isDeleted: boolean
  /** On a tombstone of a file's name: the versions its author had seen. */
  readonly seen: readonly VersionId[]
  /** On a `link` dirent record: the inode it names. */
  readonly target?: InodeId
  readonly hlc: Hlc
}

/** Value of register `C`: what the inode holds. Times in ns since 1970, may be negative. */
export type Content =
  | {
      readonly kind: 'file'
      readonly ref: ContentRef
      readonly sizeBytes: number
      readonly mtimeNs: bigint
      readonly hlc: Hlc
      /** Stamp of the version this one was made from; 0 for none. */
      readonly baseHlc: Hlc
    }
  | { readonly kind: 'directory'; readonly mtimeNs: bigint; readonly hlc: Hlc }
  | {
      readonly kind: 'symlink'
      /** Target, one character per byte, 1 to 4095 bytes. */
      readonly target: string
      readonly mtimeNs: bigint
      readonly hlc: Hlc
    }
  | {
      readonly kind: 'special'
      /** The S_IFMT bits of a fifo, socket, character or block device. */
      readonly fileType: number
      readonly rdev: number
      readonly mtimeNs: bigint
      readonly hlc: Hlc
    }

/** Value of register `A`. Without one: mode 0644 (directory 0755, symlink 0777), owner 0:0. */
export interface Attributes {
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Extended attributes, names one character per byte. */
  readonly xattrs: ReadonlyMap<string, Buffer>
  /**
   * A modification time set without changing the content. Counts only while `version` is the
   * version shown, so a touch never conflicts with an edit.
   */
  readonly mtime?: { readonly version: VersionId; readonly ns: bigint }
  readonly hlc: Hlc
}

/** `L` location, `C` content, `A` attributes, `P` policy (canonical JSON text of a directory). */
export type RegisterName = 'L' | 'C' | 'A' | 'P'

/**
 * A value in a register: an Automerge operation id (`counter@actor`), or `#n` for the put of the
 * not yet published journal record number n.
 */
export type OpRef = string

/** One register write. `base` are the values it replaces; empty when there was none. */
export interface Put {
  readonly inode: InodeId
  readonly register: RegisterName
  /** The encoded value (`registers.ts`). */
  readonly value: Uint8Array
  readonly base: readonly OpRef[]
}

/** One user operation: all of its puts appear, or none. */
export interface Edit {
  /** Journal record number; 0 until the journal gave one. Grows by the order of operations. */
  readonly number: number
  /** Contents with this very stamp were written here; with another, their bytes are named only. */
  readonly hlc: Hlc
  readonly puts: readonly Put[]
}

/** One Automerge change of one shard, as carried in a log entry. */
export interface ShardChange {
  /** 0 to 4095. */
  readonly shard: number
  readonly change: Uint8Array
}

/**
 * What the user sees at one place. `id` is an inode, or the id that a conflict copy WILL have once
 * it is materialised, so that it stays the same afterwards.
 */
export interface NodeView {
  readonly id: InodeId
  readonly kind: Exclude<InodeKind, 'link'>
  /** Canonical directory that shows it first, for `..` and paths; the root is its own parent. */
  readonly parent: InodeId
  /** Its name there; empty for the root. */
  readonly name: FileName
  readonly content: Content
  readonly version: VersionId
  readonly attributes: Attributes
  /** With `attributes.mtime` and merged directories taken into account. */
  readonly mtimeNs: bigint
  /** Live names; for a directory 2 + live subdirectories. */
  readonly nlink: number
  /** Set on a conflict copy that is not materialised yet. */
  readonly copyOf?: { readonly inode: InodeId; readonly version: VersionId }
}

/** One visible name. */
export interface DirentView {
  readonly name: FileName
  readonly id: InodeId
  readonly kind: NodeView['kind']
}

/** Read access to the visible tree: no network, no Automerge, no waiting. */
export interface TreeReader {
  readonly root: InodeId
  lookup(parent: InodeId, name: FileName): DirentView | undefined
  node(id: InodeId): NodeView | undefined
  /**
   * Visible names of a directory in a stable order (that of the index), after the cursor.
   * A name present during the whole walk is returned exactly once, whatever changes meanwhile.
   */
  list(
    parent: InodeId,
    options: { after?: string; countMax: number },
  ): {
    entries: DirentView[]
    /** Pass as `after`; undefined at the end. */
    next: string | undefined
  }
  /** Live inodes that are not directories, kept incrementally. */
  readonly fileCount: number
  /**
   * Canonical policy texts (`P`) from this directory up to the root, nearest first. Of what is
   * deleted: from where it was.
   */
  policies(id: InodeId): { directory: InodeId; policy: string }[]
}

/** A file version, for `history` and `cat --version`. */
export interface VersionView {
  readonly inode: InodeId
  readonly version: VersionId
  readonly content: Content
  readonly device: DeviceId | undefined
  readonly deviceName: string
  /** How it stands now: shown under the name, shown as a copy, or only in the history. */
  readonly state: 'current' | 'copy' | 'past'
}

/** One conflict that a user can act on. */
export interface ConflictView {
  /** Where the name is (or would be). */
  readonly parent: InodeId
  readonly name: FileName
  readonly kind: 'content' | 'name' | 'cycle'
  readonly versions: readonly (VersionView & { readonly shownAs: FileName | undefined })[]
}

/** An inode that is not what it was. */
export interface ChangedNode {
  readonly id: InodeId
  /** Whether the bytes differ. */
  readonly hasContent: boolean
  /** There when nothing but the content differs, and this is its only version. */
  readonly version?: VersionId
  /** Its name, if it was never given another by a link. Told with a content. */
  readonly name?: FileName
}

/** What a committed group changed for readers: enough to invalidate kernel caches. */
export interface TreeDelta {
  /** Inodes whose attributes or content differ. */
  readonly nodes: readonly ChangedNode[]
  /**
   * Names that appeared, vanished or point elsewhere, by canonical directory. `id`: what the name
   * leads to now (left out: maybe nothing), so that who knows that already need not look.
   */
  readonly dirents: readonly {
    readonly parent: InodeId
    readonly name: FileName
    readonly id?: InodeId
  }[]
  /** File contents that became visible or current from other devices: fetch duties. */
  readonly contents: readonly {
    /** That of the `Want`. */
    readonly key: string
    readonly inode: InodeId
    readonly ref: ContentRef
    readonly sizeBytes: number
  }[]
  /** Set when the tree was emptied, to be made anew: whatever was told before may be wrong. */
  readonly isAnew?: boolean
  /** Set when the policy of some directory is another one now. */
  readonly isPolicyChanged?: boolean
}

/** Who wrote under an actor id, as the log said when the actor was announced. */
export interface ActorInfo {
  readonly actor: ActorId
  readonly device: DeviceId
  readonly deviceName: string
}

/** Why an entry's changes are refused; the same on every device. */
export interface Verdict {
  readonly isValid: boolean
  readonly reason?: string
}
