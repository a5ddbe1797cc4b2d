/**
 * The file system as the kernel protocol (vfs/fuse/) sees it: operations by node id and handle.
 * Types only. POSIX promises of each call: README.md of this folder.
 *
 * Every operation may answer at once or with a promise. It fails by throwing (or rejecting with) a
 * `WormholeError`; `errno.ts` maps codes. Anything else thrown is a bug.
 */
import type { ContentStore } from '../chunks/interface.ts'
import type { ContentRef, Edit, VersionId } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import type { PolicyProblem } from '../policy/interface.ts'
import type { Clock, Random } from '../system.ts'
import type { FileName, InodeId, Role } from '../types.ts'

/** At once, or later. */
export type Reply<T> = T | Promise<T>

/** `struct fuse_attr` in plain numbers: seconds may be negative, nanoseconds 0 to 999,999,999. */
export interface Attr {
  ino: number
  sizeBytes: number
  /** 512-byte blocks. */
  blocks: number
  atimeS: number
  atimeNs: number
  mtimeS: number
  mtimeNs: number
  ctimeS: number
  ctimeNs: number
  /** Type and permission bits. */
  mode: number
  nlink: number
  uid: number
  gid: number
  rdev: number
}

/** A node the kernel now holds one more reference to (until `forget`). */
export interface EntryReply {
  /** Kernel node id: never reused for another version of an open file. */
  readonly nodeId: number
  readonly attr: Attr
}

/** An open file or directory. */
export interface OpenReply {
  readonly handle: number
  /** Pages of earlier opens are still right. */
  readonly keepCache: boolean
  /** `flush` has nothing to do: the kernel need not ask at each close(2). Linux 5.16. */
  readonly skipsFlush?: boolean
}

/** Who asks. `signal` aborts when the kernel sends INTERRUPT. */
export interface RequestContext {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly umask: number
  /**
   * A write, truncation or chown in this request clears set-user-ID, and set-group-ID if the group
   * may execute (the caller lacks CAP_FSETID). Absent means false.
   */
  readonly clearsSetId?: boolean
  /** Supplementary groups, read when asked for. Absent means none. */
  groups?(): readonly number[]
  signal(): AbortSignal
}

/** A name in a directory listing. */
export interface DirectoryEntry {
  readonly name: FileName
  readonly ino: number
  /** S_IFMT bits. */
  readonly type: number
  /** Offset to pass in order to go on after this entry. */
  readonly nextOffset: number
}

/** As `DirectoryEntry`, with the reference that a lookup of the name would give. */
export interface DirectoryEntryPlus extends DirectoryEntry {
  /** Absent for `.` and `..`, and where the kernel shall ask by itself. */
  readonly entry?: EntryReply
}

/** Attributes to change; absent ones stay. Times in ns since 1970. */
export interface AttrChanges {
  mode?: number
  uid?: number
  gid?: number
  sizeBytes?: number
  atimeNs?: bigint
  mtimeNs?: bigint
}

/** RENAME_NOREPLACE and RENAME_EXCHANGE of renameat2(2). */
export const RENAME_NOREPLACE = 1
export const RENAME_EXCHANGE = 2

/** The file system. Node id 1 is the root. */
export interface FileSystem {
  /** Undefined when there is no such name: a negative entry. */
  lookup(context: RequestContext, parent: number, name: FileName): Reply<EntryReply | undefined>
  forget(nodeId: number, count: number): void
  getattr(nodeId: number, handle: number | undefined): Reply<Attr>
  setattr(
    context: RequestContext,
    nodeId: number,
    changes: AttrChanges,
    handle: number | undefined,
  ): Reply<Attr>
  readlink(nodeId: number): Reply<Buffer>
  symlink(
    context: RequestContext,
    parent: number,
    name: FileName,
    target: Buffer,
  ): Reply<EntryReply>
  mknod(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    rdev: number,
  ): Reply<EntryReply>
  mkdir(context: RequestContext, parent: number, name: FileName, mode: number): Reply<EntryReply>
  unlink(context: RequestContext, parent: number, name: FileName): Reply<void>
  rmdir(context: RequestContext, parent: number, name: FileName): Reply<void>
  rename(
    context: RequestContext,
    from: { parent: number; name: FileName },
    to: { parent: number; name: FileName },
    flags: number,
  ): Reply<void>
  link(context: RequestContext, nodeId: number, parent: number, name: FileName): Reply<EntryReply>
  /** `flags` are open(2)'s. */
  open(context: RequestContext, nodeId: number, flags: number): Reply<OpenReply>
  create(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    flags: number,
  ): Reply<{ entry: EntryReply; open: OpenReply }>
  /** Fewer bytes than asked only at the end of the file. */
  read(
    context: RequestContext,
    handle: number,
    offset: number,
    length: number,
  ): Reply<readonly Buffer[]>
  /** `bytes` is a view that is valid only until the call returns (not until its promise does). */
  write(
    context: RequestContext,
    handle: number,
    offset: number,
    bytes: Buffer,
    /** At the end of the file as it is now, wherever `offset` is. */
    isAppending?: boolean,
  ): Reply<number>
  flush(handle: number): Reply<void>
  release(handle: number): Reply<void>
  fsync(handle: number, isDataOnly: boolean): Reply<void>
  opendir(nodeId: number): Reply<number>
  /** Entries after `offset` (0: from the start), `.` and `..` included, at most `countMax`. */
  readdir(handle: number, offset: number, countMax: number): Reply<readonly DirectoryEntry[]>
  /**
   * As `readdir`, and as `lookup` of each name but `.` and `..`: the kernel holds one more
   * reference to each `entry`. The caller forgets those it does not pass on. Optional: without it
   * the kernel is offered no READDIRPLUS.
   */
  readdirplus?(
    context: RequestContext,
    handle: number,
    offset: number,
    countMax: number,
  ): Reply<readonly DirectoryEntryPlus[]>
  releasedir(handle: number): Reply<void>
  fsyncdir(handle: number): Reply<void>
  syncfs(): Reply<void>
  statfs(): Reply<{
    blockSizeBytes: number
    blocks: number
    blocksFree: number
    files: number
    filesFree: number
  }>
  /** Undefined: no such attribute. Names one character per byte. */
  getxattr(nodeId: number, name: string): Reply<Buffer | undefined>
  setxattr(
    context: RequestContext,
    nodeId: number,
    name: string,
    value: Buffer,
    mode: 'any' | 'create' | 'replace',
  ): Reply<void>
  listxattr(context: RequestContext, nodeId: number): Reply<string[]>
  removexattr(context: RequestContext, nodeId: number, name: string): Reply<void>
  /** `mode` as in fallocate(2): makes room, grows the file, makes a hole or zeros. */
  fallocate(
    context: RequestContext,
    handle: number,
    offset: number,
    length: number,
    mode: number,
  ): Reply<void>
  /**
   * Where data, or a hole, begins at or after `offset`; undefined when there is none. The end of
   * the file is a hole. Optional: without it the kernel takes all for data.
   */
  seek?(
    context: RequestContext,
    handle: number,
    offset: number,
    what: 'data' | 'hole',
  ): Reply<number | undefined>
  /** Copies bytes between open files; returns how many. Optional: programs then read and write. */
  copyRange?(
    context: RequestContext,
    from: { readonly handle: number; readonly offset: number },
    to: { readonly handle: number; readonly offset: number },
    length: number,
  ): Reply<number>
  /** A file without a name in a directory, opened; `link` may name it. Optional. */
  temporary?(
    context: RequestContext,
    parent: number,
    mode: number,
    flags: number,
  ): Reply<{ entry: EntryReply; open: OpenReply }>
}

/** Tells the kernel that something it may have cached has changed. Never blocks the caller. */
export interface KernelNotifier {
  /** Attributes and cached pages. */
  invalidateInode(nodeId: number): void
  /** Attributes only; without it `invalidateInode` is used, which costs the pages. */
  invalidateAttributes?(nodeId: number): void
  invalidateEntry(parentNodeId: number, name: FileName): void
}

/** A record of the local journal; structurally that of `log/interface.ts`. */
export interface JournalPortRecord {
  readonly number: number
  readonly type: number
  readonly bytes: Uint8Array
}

/** The local journal as the file system needs it; `log`'s `Journal` has this shape. */
export interface JournalPort {
  /** Adds a record; copies `bytes`. Survives the process once `flush` ran. */
  append(type: number, bytes: Uint8Array): number
  flush(): void
  /** `flush`, then durable against power loss. `isUrgent`: a program waits for it. */
  sync(options?: { readonly isUrgent?: boolean }): Promise<void>
  /** Forgets records below `number`. */
  trim(number: number): void
  /** Records still held, oldest first, at opening. */
  replay(): Iterable<JournalPortRecord>
  /**
   * Greater than `VfsOptions.coveredTo` at opening: records may be lost after their publication,
   * and their numbers must not be given again.
   */
  readonly nextNumber: number
  close(): Promise<void>
}

/** Puts edits into the volume's log and index. Implemented by the volume (another thread). */
export interface Committer {
  /**
   * Publishes edits in their order. Resolves when the entry is durable and the index holds it;
   * `coveredTo` is then the greatest journal number that is covered. Calling again with edits that
   * are covered already is harmless.
   *
   * @throws {WormholeError} `DISK_FULL`, `WRITER_BROKEN`, …: nothing was published; may be retried.
   */
  submit(edits: readonly Edit[]): Promise<{ readonly coveredTo: number }>
}

/** What needs a person, as it came up. */
export interface Problem {
  readonly code: string
  readonly message: string
  /** Text path from the root of the volume, where one is known. */
  readonly path?: string
}

/** Reads the text of a policy file; `policy/` implements it. */
export type PolicyOf = (
  text: Buffer,
) => { readonly policy: string } | { readonly problems: readonly PolicyProblem[] }

/** Whom files belong to: the numbers in the tree, or all to who mounted. */
export type OwnerChoice = 'numeric' | 'mounter'

/** Everything a `Vfs` is made of. */
export interface VfsOptions {
  readonly overlay: Overlay
  readonly journal: JournalPort
  readonly committer: Committer
  readonly contents: ContentStore
  readonly clock: Clock
  readonly random: Random
  /** This device's role now; readers get `READ_ONLY` for every change. */
  readonly role: () => Role
  /** Greatest own journal number that the index covers: older edits are not replayed. */
  readonly coveredTo: number
  readonly policyOf: PolicyOf
  /** How many requests the kernel has made so far; default none. */
  readonly requestCount?: () => number
  /** Free and total bytes of the disk that holds the chunks. */
  readonly space: () => { readonly freeBytes: number; readonly totalBytes: number }
  /** Told about failed publications and broken policy files; never throws. */
  readonly onProblem: (problem: Problem) => void
  /** Name of the device that wrote a version, for `user.wormhole.device`. */
  readonly deviceOf?: (inode: InodeId) => string | undefined
}

/** A name in the tree for the command line. Paths are text, `/` first, UTF-8. */
export interface PathEntry {
  readonly name: string
  readonly path: string
  readonly type: 'directory' | 'file' | 'symlink' | 'special'
  readonly sizeBytes: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
  readonly inode: InodeId
  readonly version: VersionId
  readonly target?: string
}

/** Access by path, without a mount, on the same open files as the kernel. */
export interface PathApi {
  /** Symlinks inside the volume are followed, except in the last part unless `follow`. */
  stat(path: string, options?: { readonly follow?: boolean }): PathEntry
  /** The entries of a directory, sorted by name. */
  list(path: string): PathEntry[]
  /** A file's bytes in pieces of at most 1 MiB; `content` reads another version of it. */
  readFile(
    path: string,
    options?: {
      readonly content?: { readonly ref: ContentRef; readonly sizeBytes: number }
      readonly signal?: AbortSignal
    },
  ): AsyncIterable<Buffer>
  /** Creates or replaces a file: whole or not at all; published when it resolves. */
  writeFile(
    path: string,
    pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options?: { readonly mode?: number },
  ): Promise<PathEntry>
  /** Makes one directory; published when it resolves. */
  makeDirectory(path: string): Promise<PathEntry>
  /** Removes a name, with everything below it when `isRecursive`; published when it resolves. */
  remove(path: string, options?: { readonly isRecursive?: boolean }): Promise<void>
}
