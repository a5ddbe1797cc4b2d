/** FALLOCATE, LSEEK and COPY_FILE_RANGE: what works on ranges of open files. */
import { WormholeError } from '../../errors.ts'
import { ENOSYS, ENXIO } from '../errno.ts'
import { SEEK_DATA, SEEK_HOLE } from './protocol.ts'
import { Caller, type RequestBuffer } from './request.ts'
import type { Session } from './session.ts'

/** Longer requests are answered in part where the reply has 32 bits for the number of bytes. */
const COPY_LENGTH_MAX = 0x7ffff000

/** struct fuse_fallocate_in. */
export function fallocate(session: Session, request: RequestBuffer): void {
  const caller = new Caller(request, 0, false)
  const handle = session.checkHandle(session.files, request.u64(0))
  const offset = request.position(8)
  const length = request.position(16)
  const mode = request.u32(24)
  const result = session.fileSystem.fallocate(caller, handle, offset, length, mode)
  session.answer(request, result, (_, unique) => void session.replies.errno(unique, 0), caller)
}

/** struct fuse_lseek_in. The kernel asks for data and holes only. */
export function seek(session: Session, request: RequestBuffer): void {
  const { fileSystem } = session
  const caller = new Caller(request, 0, false)
  const handle = session.checkHandle(session.files, request.u64(0))
  const whence = request.u32(16)
  if (!fileSystem.seek) return void session.replies.errno(request.unique, ENOSYS)
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) {
    throw new WormholeError('BAD_ARGUMENT', `whence ${whence}`)
  }
  const what = whence === SEEK_DATA ? 'data' : 'hole'
  // Negative offsets are huge here: behind the end of every file, too.
  const result = fileSystem.seek(caller, handle, request.u64(8), what)
  session.answer(
    request,
    result,
    (_, unique, position) => {
      if (position === undefined) session.replies.errno(unique, ENXIO)
      else session.replies.position(unique, position)
    },
    caller,
  )
}

/** struct fuse_copy_file_range_in; the two operations differ in their replies. */
export function copyRange(
  session: Session,
  request: RequestBuffer,
  reply: { readonly has32Bits: boolean },
): void {
  const { fileSystem } = session
  const caller = new Caller(request, 0, false)
  const from = {
    handle: session.checkHandle(session.files, request.u64(0)),
    offset: request.position(8),
  }
  const to = {
    handle: session.checkHandle(session.files, request.u64(24)),
    offset: request.position(32),
  }
  if (!fileSystem.copyRange) return void session.replies.errno(request.unique, ENOSYS)
  const asked = request.u64(40)
  const length = reply.has32Bits ? Math.min(asked, COPY_LENGTH_MAX) : asked
  session.answer(
    request,
    fileSystem.copyRange(caller, from, to, length),
    (_, unique, count) => {
      if (reply.has32Bits) session.replies.size(unique, count)
      else session.replies.position(unique, count)
    },
    caller,
  )
}
