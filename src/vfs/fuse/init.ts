/** INIT: agreeing with the kernel on version, sizes and features. */
import { WormholeError } from '../../errors.ts'
import {
  INIT_FLAG,
  INIT_FLAG2,
  INIT_OUT_BYTES,
  KERNEL_MAJOR,
  KERNEL_MINOR_MAX,
  KERNEL_MINOR_MIN,
  TRANSFER_BYTES_MAX,
} from './protocol.ts'
import type { RequestBuffer } from './request.ts'
import type { Session } from './session.ts'

/** Requests that the kernel sends without waiting (read-ahead). */
const BACKGROUND_MAX = 64
/** From here on the kernel considers the mount congested: three quarters of the maximum. */
const CONGESTION_THRESHOLD = 48
/** Timestamps are exact to one nanosecond. */
const TIME_GRANULARITY_NS = 1
const PAGES_MAX = TRANSFER_BYTES_MAX / 4096
/** EPROTO: what a kernel is told that is too old. */
const EPROTO = 71

/**
 * Asked for, if the kernel has it. Left out on purpose: WRITEBACK_CACHE (the kernel would ignore
 * sizes that change elsewhere), POSIX_LOCKS and FLOCK_LOCKS (the kernel keeps them), SPLICE
 * (not reachable from here), EXPLICIT_INVAL_DATA (a size that changes drops pages even if a
 * notification were missing), ASYNC_DIO (a direct read that waits could not even be killed).
 */
const WANTED =
  INIT_FLAG.ASYNC_READ |
  INIT_FLAG.ATOMIC_O_TRUNC |
  INIT_FLAG.BIG_WRITES |
  INIT_FLAG.PARALLEL_DIROPS |
  INIT_FLAG.MAX_PAGES |
  INIT_FLAG.CACHE_SYMLINKS |
  INIT_FLAG.HANDLE_KILLPRIV_V2 |
  INIT_FLAG.INIT_EXT

/** Handles struct fuse_init_in and answers struct fuse_init_out. */
export function negotiate(session: Session, request: RequestBuffer): void {
  const major = request.u32(0)
  const minor = request.u32(4)
  const { unique } = request
  if (major > KERNEL_MAJOR) {
    // The kernel sends another INIT in our version.
    session.replies.words(unique, [KERNEL_MAJOR, KERNEL_MINOR_MAX])
    return
  }
  if (major < KERNEL_MAJOR || minor < KERNEL_MINOR_MIN) {
    session.replies.errno(unique, EPROTO)
    const spoken = `${major}.${minor}`
    const needed = `${KERNEL_MAJOR}.${KERNEL_MINOR_MIN}`
    session.ready(
      new WormholeError(
        'MOUNT_UNAVAILABLE',
        `the kernel speaks FUSE ${spoken}; ${needed} (Linux 5.2) is needed`,
      ),
    )
    return
  }
  const offered = request.u32(12)
  const plus = session.fileSystem.readdirplus
    ? INIT_FLAG.DO_READDIRPLUS | INIT_FLAG.READDIRPLUS_AUTO
    : 0
  const flags = (WANTED | plus) & offered
  let flags2 = 0
  if (flags & INIT_FLAG.INIT_EXT) {
    request.body(20)
    flags2 = request.u32(16) & INIT_FLAG2.DIRECT_IO_ALLOW_MMAP
  }
  const reply: number[] = new Array(INIT_OUT_BYTES / 4).fill(0)
  reply[0] = KERNEL_MAJOR
  reply[1] = Math.min(minor, KERNEL_MINOR_MAX)
  reply[2] = Math.max(request.u32(8), TRANSFER_BYTES_MAX)
  reply[3] = flags
  reply[4] = BACKGROUND_MAX | (CONGESTION_THRESHOLD << 16)
  reply[5] = TRANSFER_BYTES_MAX
  reply[6] = TIME_GRANULARITY_NS
  reply[7] = PAGES_MAX
  reply[8] = flags2
  session.replies.words(unique, reply)
  session.ready(undefined)
}
