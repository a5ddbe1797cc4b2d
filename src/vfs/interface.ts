/**
 * The file system as the kernel protocol (vfs/fuse/) sees it: operations by node id and handle.
 * Types only. POSIX promises of each call: README.md of this folder.
 *
 * Every operation may answer at once or with a promise. It fails by throwing (or rejecting with) a
 * `WormholeError`; `errno.ts` maps codes. Anything else thrown is a bug.
 */
import type { FileName } from '../types.ts'

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
}

/** Who asks. `signal` aborts when the kernel sends INTERRUPT. */
export interface RequestContext {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly umask: number
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
  link(
    context: RequestContext,
    nodeId: number,
    parent: number,
    name: FileName,
  ): Reply<EntryReply>
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
  write(context: RequestContext, handle: number, offset: number, bytes: Buffer): Reply<number>
  flush(handle: number): Reply<void>
  release(handle: number): Reply<void>
  fsync(handle: number, isDataOnly: boolean): Reply<void>
  opendir(nodeId: number): Reply<number>
  /** Entries after `offset` (0: from the start), `.` and `..` included, at most `countMax`. */
  readdir(handle: number, offset: number, countMax: number): Reply<readonly DirectoryEntry[]>
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
  listxattr(nodeId: number): Reply<string[]>
  removexattr(context: RequestContext, nodeId: number, name: string): Reply<void>
  /** Makes sure `[offset, offset + length)` can be written; grows the file unless `keepSize`. */
  fallocate(
    context: RequestContext,
    handle: number,
    offset: number,
    length: number,
    mode: number,
  ): Reply<void>
}

/** Tells the kernel that something it may have cached has changed. Never blocks the caller. */
export interface KernelNotifier {
  invalidateInode(nodeId: number): void
  invalidateEntry(parentNodeId: number, name: FileName): void
}
