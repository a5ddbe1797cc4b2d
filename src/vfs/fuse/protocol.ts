/**
 * Numbers of the FUSE kernel protocol, as in include/uapi/linux/fuse.h of Linux 6.18 (protocol
 * 7.45); spoken from 7.31 (Linux 5.2) on. Names follow the header without the `FUSE_` prefix.
 *
 * All integers are in the byte order of the machine. Words of 64 bits are read as two of 32, low
 * one first, so this works on little-endian machines only.
 */
import assert from 'node:assert/strict'
import os from 'node:os'

assert(os.endianness() === 'LE', 'the FUSE structures are read as little-endian')

/** The major version; a newer kernel falls back to it. */
export const KERNEL_MAJOR = 7
/** The newest minor version that this code knows. */
export const KERNEL_MINOR_MAX = 45
/** Linux 5.2. Older kernels lack what is relied upon (`MAX_PAGES`, `CACHE_SYMLINKS`). */
export const KERNEL_MINOR_MIN = 31

/** The node id of the root directory. */
export const ROOT_NODE_ID = 1

/** enum fuse_opcode, those that are answered with more than ENOSYS. */
export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  COPY_FILE_RANGE_64: 53,
} as const

/** struct fuse_init_in.flags. */
export const INIT_FLAG = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  HANDLE_KILLPRIV_V2: 1 << 28,
  INIT_EXT: 1 << 30,
} as const

/** struct fuse_init_in.flags2 (bits 32 and up of the flags). */
export const INIT_FLAG2 = { DIRECT_IO_ALLOW_MMAP: 1 << 4 } as const

/** struct fuse_setattr_in.valid. */
export const SETATTR_VALID = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  HANDLE: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  KILL_SUIDGID: 1 << 11,
} as const

/** struct fuse_getattr_in.getattr_flags: `fh` is valid. */
export const GETATTR_HANDLE = 1 << 0
/** struct fuse_open_in.open_flags and fuse_create_in.open_flags. */
export const OPEN_KILL_SUIDGID = 1 << 0
/** struct fuse_write_in.write_flags. */
export const WRITE_KILL_SUIDGID = 1 << 2
/** struct fuse_fsync_in.fsync_flags. */
export const FSYNC_DATA_ONLY = 1 << 0
/** struct fuse_open_out.open_flags: pages of earlier opens stay. */
export const OPEN_KEEP_CACHE = 1 << 1
/** close(2) is not told (FOPEN_NOFLUSH). */
export const OPEN_NO_FLUSH = 1 << 5

/** O_APPEND of open(2), as in struct fuse_write_in.flags: what the handle says at the moment. */
export const OPEN_APPEND = 0o2000
/** lseek(2). */
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

/** setxattr(2) flags. */
export const XATTR_CREATE = 1
export const XATTR_REPLACE = 2

/** enum fuse_notify_code. */
export const NOTIFY_INVAL_INODE = 2
export const NOTIFY_INVAL_ENTRY = 3

/** struct fuse_in_header. */
export const IN_HEADER_BYTES = 40
/** struct fuse_out_header. */
export const OUT_HEADER_BYTES = 16
/** struct fuse_entry_out. */
export const ENTRY_OUT_BYTES = 128
/** struct fuse_attr_out. */
export const ATTR_OUT_BYTES = 104
/** struct fuse_open_out. */
export const OPEN_OUT_BYTES = 16
/** struct fuse_init_out from 7.23 on. */
export const INIT_OUT_BYTES = 64
/** struct fuse_kstatfs. */
export const STATFS_OUT_BYTES = 80
/** struct fuse_dirent without its name. */
export const DIRENT_BYTES = 24

/** One WRITE or READ carries at most this: 256 pages, the kernel's limit by default. */
export const TRANSFER_BYTES_MAX = 1 << 20
/** What a read of the device must offer: the longest WRITE with its headers, one page of slack. */
export const REQUEST_BYTES_MAX = TRANSFER_BYTES_MAX + 4096
/** Longest name, in bytes. */
export const NAME_BYTES_MAX = 255

/** 2^32: the weight of the high word. */
export const HIGH = 4294967296
