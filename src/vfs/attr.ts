/** `struct stat` in plain numbers from what the tree and an open file say. */
import type { NodeView } from '../crdt/interface.ts'
import { decodeTime } from './private-attributes.ts'
import type { Attr } from './interface.ts'

/** File type bits of `st_mode` (inode(7)), and the mask that selects them. */
export const S_IFMT = 0o170000
/** Regular file. */
export const S_IFREG = 0o100000
/** Directory. */
export const S_IFDIR = 0o040000
/** Symbolic link. */
export const S_IFLNK = 0o120000
/** Set-user-ID. */
export const S_ISUID = 0o4000
/** Set-group-ID. */
export const S_ISGID = 0o2000
const S_IXGRP = 0o010

/** Unit of `st_blocks`. */
const BLOCK_SIZE_BYTES = 512

const NS_PER_S = 1_000_000_000n

/** Size and time of a file that has changes the tree does not have. */
export interface FileState {
  readonly sizeBytes: number
  readonly mtimeNs: bigint
}

/** What is known of a node beside its view. */
export interface NodeState {
  readonly ino: number
  /** 0: nothing was changed here since the node was made. */
  readonly ctimeNs: bigint
  /** A time that a program has set; undefined when none is remembered. */
  readonly atimeNs: bigint | undefined
  /** Bytes that take space. */
  readonly allocatedBytes: number
  readonly file: FileState | undefined
  /** Who owns everything, whatever the tree says. */
  readonly owner: Owner | undefined
}

/** A user and a group. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** Splits ns since 1970 into whole seconds (rounded down) and the rest. */
export function splitNs(ns: bigint): { seconds: number; nanoseconds: number } {
  let seconds = Number(ns / NS_PER_S)
  let nanoseconds = Number(ns % NS_PER_S)
  if (nanoseconds < 0) {
    seconds -= 1
    nanoseconds += 1_000_000_000
  }
  return { seconds, nanoseconds }
}

/** The S_IFMT bits of what a node is. */
export function fileTypeOf(view: NodeView): number {
  if (view.kind === 'directory') return S_IFDIR
  if (view.kind === 'file') return S_IFREG
  if (view.kind === 'symlink') return S_IFLNK
  return view.content.kind === 'special' ? view.content.fileType : S_IFREG
}

/** The size of what a node is. */
export function sizeOf(view: NodeView): number {
  const content = view.content
  if (content.kind === 'file') return content.sizeBytes
  return content.kind === 'symlink' ? content.target.length : 0
}

/**
 * `st_ctime` of what was not changed here: the stamp of the newest register. A stamp is ms × 1000
 * plus a counter, so it serves as µs.
 */
function remoteCtimeNs(view: NodeView): bigint {
  return BigInt(Math.max(view.content.hlc, view.attributes.hlc)) * 1000n
}

/** The attributes of a node. */
export function attrOf(view: NodeView, state: NodeState): Attr {
  const { ino, ctimeNs, allocatedBytes, file } = state
  const owner = state.owner ?? view.attributes
  const sizeBytes = file ? file.sizeBytes : sizeOf(view)
  const mtime = splitNs(file ? file.mtimeNs : view.mtimeNs)
  const ctime = splitNs(ctimeNs === 0n ? remoteCtimeNs(view) : ctimeNs)
  const atimeNs = state.atimeNs ?? decodeTime(view.attributes.xattrs)
  const atime = atimeNs === undefined ? mtime : splitNs(atimeNs)
  return {
    ino,
    sizeBytes,
    blocks: Math.ceil(allocatedBytes / BLOCK_SIZE_BYTES),
    atimeS: atime.seconds,
    atimeNs: atime.nanoseconds,
    mtimeS: mtime.seconds,
    mtimeNs: mtime.nanoseconds,
    ctimeS: ctime.seconds,
    ctimeNs: ctime.nanoseconds,
    mode: fileTypeOf(view) | view.attributes.mode,
    nlink: view.nlink,
    uid: owner.uid,
    gid: owner.gid,
    rdev: view.content.kind === 'special' ? view.content.rdev : 0,
  }
}

/**
 * Permission bits after a write, truncation or chown by somebody without CAP_FSETID. Set-group-ID
 * without execution by the group stays for members of the group.
 */
export function withoutSetId(mode: number, isInGroup: () => boolean): number {
  const keepsGroup = (mode & S_ISGID) !== 0 && (mode & S_IXGRP) === 0 && isInGroup()
  return mode & ~S_ISUID & (keepsGroup ? -1 : ~S_ISGID)
}
