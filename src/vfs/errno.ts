/**
 * The one table from error codes to errno, for the kernel. Numbers are Linux's
 * (include/uapi/asm-generic/errno-base.h and errno.h).
 */
import { WormholeError, type ErrorCode } from '../errors.ts'

const EPERM = 1
const ENOENT = 2
const EINTR = 4
const E2BIG = 7
const EBADF = 9
const EACCES = 13
const EBUSY = 16
const EEXIST = 17
const ENODEV = 19
const ENOTDIR = 20
const EISDIR = 21
const EINVAL = 22
const EFBIG = 27
const ENOSPC = 28
const EROFS = 30
const ENAMETOOLONG = 36
const ENOTEMPTY = 39
const EOPNOTSUPP = 95
const ENOTCONN = 107
const ETIMEDOUT = 110
const EHOSTUNREACH = 113
const EUCLEAN = 117
const ENOKEY = 126

/** Input/output error: what a bug becomes. */
export const EIO = 5
/** Not implemented: the kernel remembers it and falls back where it can. */
export const ENOSYS = 38
/** The answer to "is there an attribute of this name": no. */
export const ENODATA = 61
/** The value does not fit in the buffer that was offered. */
export const ERANGE = 34
/** There is no data, or no hole, from there on. */
export const ENXIO = 6
/** The request must be asked again. */
export const EAGAIN = 11

/** What the kernel is told for each code. Data that no reachable device holds is `EIO`. */
export const ERRNO: Record<ErrorCode, number> = {
  ABORTED: EINTR,
  ALREADY_EXISTS: EEXIST,
  BAD_ARGUMENT: EINVAL,
  BAD_HANDLE: EBADF,
  CHUNK_CORRUPT: EIO,
  CHUNK_UNAVAILABLE: EIO,
  DAEMON_NOT_RUNNING: ENOTCONN,
  DAEMON_RUNNING: EBUSY,
  DISK_FULL: ENOSPC,
  ENTRY_INVALID: EUCLEAN,
  FEED_CORRUPT: EUCLEAN,
  FEED_FORKED: EIO,
  FILE_TOO_LARGE: EFBIG,
  FORMAT_UNSUPPORTED: EOPNOTSUPP,
  HOME_LOCKED: EBUSY,
  INDEX_CORRUPT: EUCLEAN,
  INVITE_EXPIRED: EACCES,
  INVITE_INVALID: EACCES,
  INVITE_USED_UP: EACCES,
  IO_ERROR: EIO,
  IS_DIRECTORY: EISDIR,
  JOURNAL_CORRUPT: EUCLEAN,
  KEY_MISSING: ENOKEY,
  LIMIT_EXCEEDED: ENOSPC,
  LOG_LOST: EIO,
  MOUNT_FAILED: ENODEV,
  MOUNT_UNAVAILABLE: ENODEV,
  NAME_INVALID: EINVAL,
  NAME_TOO_LONG: ENAMETOOLONG,
  NO_ATTRIBUTE: ENODATA,
  NOT_A_DIRECTORY: ENOTDIR,
  NOT_A_MEMBER: EACCES,
  NOT_EMPTY: ENOTEMPTY,
  NOT_FOUND: ENOENT,
  NOT_PERMITTED: EPERM,
  OUT_OF_RANGE: E2BIG,
  PEER_MISBEHAVED: EIO,
  PEER_UNREACHABLE: EHOSTUNREACH,
  POLICY_INVALID: EINVAL,
  READ_ONLY: EROFS,
  REVOKED: EROFS,
  SNAPSHOT_INVALID: EIO,
  TIMEOUT: ETIMEDOUT,
  UNSUPPORTED: EOPNOTSUPP,
  UPGRADE_NEEDED: EOPNOTSUPP,
  VOLUME_CLOSED: ENOTCONN,
  WRITER_BROKEN: EIO,
}

/** The errno (positive) of anything thrown; `EIO` for what is no `WormholeError`. */
export function errnoOf(error: unknown): number {
  return error instanceof WormholeError ? ERRNO[error.code] : EIO
}
