/**
 * The operations of the kernel protocol: one row each with its name, the fixed size of its body
 * (struct fuse_*_in, which the dispatcher checks), and how it becomes a call of the file system.
 *
 * Not offered, answered ENOSYS once so that the kernel falls back by itself: ACCESS (it checks
 * modes, `default_permissions`), IOCTL, POLL, BMAP, STATX, and locks (kept by the kernel).
 */
import { WormholeError } from '../../errors.ts'
import { ENODATA, ENOSYS, ERANGE } from '../errno.ts'
import {
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  type Attr,
  type AttrChanges,
  type EntryReply,
  type OpenReply,
} from '../interface.ts'
import { readDirectory, readDirectoryPlus } from './directory.ts'
import { negotiate } from './init.ts'
import { copyRange, fallocate, seek } from './ranges.ts'
import {
  FSYNC_DATA_ONLY,
  GETATTR_HANDLE,
  OPCODE,
  OPEN_APPEND,
  OPEN_KILL_SUIDGID,
  SETATTR_VALID,
  TRANSFER_BYTES_MAX,
  WRITE_KILL_SUIDGID,
  XATTR_CREATE,
  XATTR_REPLACE,
} from './protocol.ts'
import { Caller, type RequestBuffer } from './request.ts'
import type { Session } from './session.ts'

/** One row of the table. */
export interface Operation {
  readonly name: string
  /** Size of the fixed part of the body; names and data follow it. */
  readonly bodyBytes: number
  handle(session: Session, request: RequestBuffer): void
}

function replyDone(session: Session, unique: number): void {
  session.replies.errno(unique, 0)
}

function replyEntry(session: Session, unique: number, entry: EntryReply | undefined): void {
  if (entry === undefined) session.replies.noEntry(unique)
  else session.giveEntry(entry, session.replies.entry(unique, entry))
}

function replyAttributes(session: Session, unique: number, attr: Attr): void {
  session.replies.attributes(unique, attr)
}

function replyData(session: Session, unique: number, parts: readonly Buffer[]): void {
  session.replies.data(unique, parts)
}

function replyBytes(session: Session, unique: number, bytes: Buffer): void {
  session.replies.data(unique, [bytes])
}

function replySize(session: Session, unique: number, sizeBytes: number): void {
  session.replies.size(unique, sizeBytes)
}

function replyOpen(session: Session, unique: number, open: OpenReply): void {
  session.giveFile(open.handle, session.replies.open(unique, open))
}

function replyCreated(
  session: Session,
  unique: number,
  { entry, open }: { entry: EntryReply; open: OpenReply },
): void {
  const wasSent = session.replies.created(unique, entry, open)
  session.giveFile(open.handle, wasSent)
  session.giveEntry(entry, wasSent)
}

function replyDirectory(session: Session, unique: number, handle: number): void {
  session.giveDirectory(handle, session.replies.open(unique, { handle, keepCache: false }))
}

function setattr(session: Session, request: RequestBuffer): void {
  const valid = request.u32(0)
  const changes: AttrChanges = {}
  if (valid & SETATTR_VALID.MODE) changes.mode = request.u32(68) & 0o7777
  if (valid & SETATTR_VALID.UID) changes.uid = request.u32(76)
  if (valid & SETATTR_VALID.GID) changes.gid = request.u32(80)
  if (valid & SETATTR_VALID.SIZE) changes.sizeBytes = request.position(16)
  const isNow = valid & (SETATTR_VALID.ATIME_NOW | SETATTR_VALID.MTIME_NOW)
  const nowNs = isNow ? session.clock.nowNs() : 0n
  if (valid & SETATTR_VALID.ATIME) {
    changes.atimeNs = valid & SETATTR_VALID.ATIME_NOW ? nowNs : request.timeNs(32, 56)
  }
  if (valid & SETATTR_VALID.MTIME) {
    changes.mtimeNs = valid & SETATTR_VALID.MTIME_NOW ? nowNs : request.timeNs(40, 60)
  }
  const handle = valid & SETATTR_VALID.HANDLE ? request.u64(8) : undefined
  const caller = new Caller(request, 0, (valid & SETATTR_VALID.KILL_SUIDGID) !== 0)
  const result = session.fileSystem.setattr(caller, request.nodeId, changes, handle)
  session.answer(request, result, replyAttributes, caller)
}

function rename(session: Session, request: RequestBuffer, flags: number): void {
  if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
    throw new WormholeError('BAD_ARGUMENT', `rename flags ${flags} are not supported`)
  }
  const caller = new Caller(request, 0, false)
  const from = { parent: request.nodeId, name: request.name() }
  const to = { parent: request.u64(0), name: request.name() }
  session.answer(request, session.fileSystem.rename(caller, from, to, flags), replyDone, caller)
}

function read(session: Session, request: RequestBuffer): void {
  const caller = new Caller(request, 0, false)
  const handle = session.checkHandle(session.files, request.u64(0))
  const length = Math.min(request.u32(16), TRANSFER_BYTES_MAX)
  const result = session.fileSystem.read(caller, handle, request.position(8), length)
  session.answer(request, result, replyData, caller)
}

function write(session: Session, request: RequestBuffer): void {
  const caller = new Caller(request, 0, (request.u32(20) & WRITE_KILL_SUIDGID) !== 0)
  const handle = session.checkHandle(session.files, request.u64(0))
  const bytes = request.data(request.u32(16))
  const isAppending = (request.u32(32) & OPEN_APPEND) !== 0
  const result = session.fileSystem.write(caller, handle, request.position(8), bytes, isAppending)
  session.answer(request, result, replySize, caller)
}

/** An attribute value or list: only its size if the caller offers no room. */
function answerValue(
  session: Session,
  request: RequestBuffer,
  result: Buffer | undefined | Promise<Buffer | undefined>,
): void {
  const roomBytes = request.u32(0)
  session.answer(request, result, (_, unique, value) => {
    if (value === undefined) session.replies.errno(unique, ENODATA)
    else if (roomBytes === 0) session.replies.size(unique, value.length)
    else if (value.length > roomBytes) session.replies.errno(unique, ERANGE)
    else session.replies.data(unique, [value])
  })
}

/** Attribute names, each ended by NUL. */
function joinNames(names: readonly string[]): Buffer {
  return Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1')
}

function setxattr(session: Session, request: RequestBuffer): void {
  const flags = request.u32(4)
  const name = request.text()
  const value = Buffer.from(request.data(request.u32(0)))
  const mode = flags & XATTR_CREATE ? 'create' : flags & XATTR_REPLACE ? 'replace' : 'any'
  const caller = new Caller(request, 0, false)
  const result = session.fileSystem.setxattr(caller, request.nodeId, name, value, mode)
  session.answer(request, result, replyDone, caller)
}

function forgetMany(session: Session, request: RequestBuffer): void {
  const count = request.u32(0)
  request.body(8 + count * 16)
  for (let index = 0; index < count; index++) {
    session.forget(request.u64(8 + index * 16), request.u64(16 + index * 16))
  }
}

function release(session: Session, request: RequestBuffer): void {
  const handle = session.checkHandle(session.files, request.u64(0))
  session.files.delete(handle)
  session.answer(request, session.fileSystem.release(handle), replyDone)
}

function releasedir(session: Session, request: RequestBuffer): void {
  const handle = session.checkHandle(session.directories, request.u64(0))
  session.directories.delete(handle)
  session.answer(request, session.fileSystem.releasedir(handle), replyDone)
}

/** Rows by opcode; row 0 stands for everything that has none. */
const TABLE: Record<number, Operation> = {
  0: {
    name: 'UNKNOWN',
    bodyBytes: 0,
    handle: (session, request) => void session.replies.errno(request.unique, ENOSYS),
  },
  [OPCODE.LOOKUP]: {
    name: 'LOOKUP',
    bodyBytes: 0,
    handle(session, request) {
      const caller = new Caller(request, 0, false)
      const result = session.fileSystem.lookup(caller, request.nodeId, request.name())
      session.answer(request, result, replyEntry, caller)
    },
  },
  [OPCODE.FORGET]: {
    name: 'FORGET',
    bodyBytes: 8,
    handle: (session, request) => session.forget(request.nodeId, request.u64(0)),
  },
  [OPCODE.BATCH_FORGET]: { name: 'BATCH_FORGET', bodyBytes: 8, handle: forgetMany },
  [OPCODE.GETATTR]: {
    name: 'GETATTR',
    bodyBytes: 16,
    handle(session, request) {
      const handle = request.u32(0) & GETATTR_HANDLE ? request.u64(8) : undefined
      const result = session.fileSystem.getattr(request.nodeId, handle)
      session.answer(request, result, replyAttributes)
    },
  },
  [OPCODE.SETATTR]: { name: 'SETATTR', bodyBytes: 88, handle: setattr },
  [OPCODE.READLINK]: {
    name: 'READLINK',
    bodyBytes: 0,
    handle(session, request) {
      session.answer(request, session.fileSystem.readlink(request.nodeId), replyBytes)
    },
  },
  [OPCODE.SYMLINK]: {
    name: 'SYMLINK',
    bodyBytes: 0,
    handle(session, request) {
      const caller = new Caller(request, 0, false)
      const name = request.name()
      const target = request.textBytes()
      const result = session.fileSystem.symlink(caller, request.nodeId, name, target)
      session.answer(request, result, replyEntry, caller)
    },
  },
  [OPCODE.MKNOD]: {
    name: 'MKNOD',
    bodyBytes: 16,
    handle(session, request) {
      const caller = new Caller(request, request.u32(8), false)
      const mode = request.u32(0)
      const rdev = request.u32(4)
      const name = request.name()
      const result = session.fileSystem.mknod(caller, request.nodeId, name, mode, rdev)
      session.answer(request, result, replyEntry, caller)
    },
  },
  [OPCODE.MKDIR]: {
    name: 'MKDIR',
    bodyBytes: 8,
    handle(session, request) {
      const caller = new Caller(request, request.u32(4), false)
      const name = request.name()
      const result = session.fileSystem.mkdir(caller, request.nodeId, name, request.u32(0))
      session.answer(request, result, replyEntry, caller)
    },
  },
  [OPCODE.UNLINK]: {
    name: 'UNLINK',
    bodyBytes: 0,
    handle(session, request) {
      const caller = new Caller(request, 0, false)
      const result = session.fileSystem.unlink(caller, request.nodeId, request.name())
      session.answer(request, result, replyDone, caller)
    },
  },
  [OPCODE.RMDIR]: {
    name: 'RMDIR',
    bodyBytes: 0,
    handle(session, request) {
      const caller = new Caller(request, 0, false)
      const result = session.fileSystem.rmdir(caller, request.nodeId, request.name())
      session.answer(request, result, replyDone, caller)
    },
  },
  [OPCODE.RENAME]: {
    name: 'RENAME',
    bodyBytes: 8,
    handle: (session, request) => rename(session, request, 0),
  },
  [OPCODE.RENAME2]: {
    name: 'RENAME2',
    bodyBytes: 16,
    handle: (session, request) => rename(session, request, request.u32(8)),
  },
  [OPCODE.LINK]: {
    name: 'LINK',
    bodyBytes: 8,
    handle(session, request) {
      const caller = new Caller(request, 0, false)
      const name = request.name()
      const result = session.fileSystem.link(caller, request.u64(0), request.nodeId, name)
      session.answer(request, result, replyEntry, caller)
    },
  },
  [OPCODE.OPEN]: {
    name: 'OPEN',
    bodyBytes: 8,
    handle(session, request) {
      const caller = new Caller(request, 0, (request.u32(4) & OPEN_KILL_SUIDGID) !== 0)
      const result = session.fileSystem.open(caller, request.nodeId, request.u32(0))
      session.answer(request, result, replyOpen, caller)
    },
  },
  [OPCODE.CREATE]: {
    name: 'CREATE',
    bodyBytes: 16,
    handle(session, request) {
      const clearsSetId = (request.u32(12) & OPEN_KILL_SUIDGID) !== 0
      const caller = new Caller(request, request.u32(8), clearsSetId)
      const flags = request.u32(0)
      const mode = request.u32(4)
      const name = request.name()
      const result = session.fileSystem.create(caller, request.nodeId, name, mode, flags)
      session.answer(request, result, replyCreated, caller)
    },
  },
  [OPCODE.READ]: { name: 'READ', bodyBytes: 40, handle: read },
  [OPCODE.WRITE]: { name: 'WRITE', bodyBytes: 40, handle: write },
  [OPCODE.FLUSH]: {
    name: 'FLUSH',
    bodyBytes: 24,
    handle(session, request) {
      const handle = session.checkHandle(session.files, request.u64(0))
      session.answer(request, session.fileSystem.flush(handle), replyDone)
    },
  },
  [OPCODE.RELEASE]: { name: 'RELEASE', bodyBytes: 24, handle: release },
  [OPCODE.FSYNC]: {
    name: 'FSYNC',
    bodyBytes: 16,
    handle(session, request) {
      const handle = session.checkHandle(session.files, request.u64(0))
      const isDataOnly = (request.u32(8) & FSYNC_DATA_ONLY) !== 0
      session.answer(request, session.fileSystem.fsync(handle, isDataOnly), replyDone)
    },
  },
  [OPCODE.OPENDIR]: {
    name: 'OPENDIR',
    bodyBytes: 8,
    handle(session, request) {
      session.answer(request, session.fileSystem.opendir(request.nodeId), replyDirectory)
    },
  },
  [OPCODE.READDIR]: { name: 'READDIR', bodyBytes: 40, handle: readDirectory },
  [OPCODE.READDIRPLUS]: { name: 'READDIRPLUS', bodyBytes: 40, handle: readDirectoryPlus },
  [OPCODE.RELEASEDIR]: { name: 'RELEASEDIR', bodyBytes: 24, handle: releasedir },
  [OPCODE.FSYNCDIR]: {
    name: 'FSYNCDIR',
    bodyBytes: 16,
    handle(session, request) {
      const handle = session.checkHandle(session.directories, request.u64(0))
      session.answer(request, session.fileSystem.fsyncdir(handle), replyDone)
    },
  },
  [OPCODE.SYNCFS]: {
    name: 'SYNCFS',
    bodyBytes: 8,
    handle: (session, request) => session.answer(request, session.fileSystem.syncfs(), replyDone),
  },
  [OPCODE.STATFS]: {
    name: 'STATFS',
    bodyBytes: 0,
    handle(session, request) {
      session.answer(request, session.fileSystem.statfs(), (_, unique, space) => {
        session.replies.space(unique, space)
      })
    },
  },
  [OPCODE.GETXATTR]: {
    name: 'GETXATTR',
    bodyBytes: 8,
    handle(session, request) {
      answerValue(session, request, session.fileSystem.getxattr(request.nodeId, request.text()))
    },
  },
  [OPCODE.LISTXATTR]: {
    name: 'LISTXATTR',
    bodyBytes: 8,
    handle(session, request) {
      const caller = new Caller(request, 0, false)
      const names = session.fileSystem.listxattr(caller, request.nodeId)
      answerValue(
        session,
        request,
        names instanceof Promise ? names.then(joinNames) : joinNames(names),
      )
    },
  },
  [OPCODE.SETXATTR]: { name: 'SETXATTR', bodyBytes: 8, handle: setxattr },
  [OPCODE.REMOVEXATTR]: {
    name: 'REMOVEXATTR',
    bodyBytes: 0,
    handle(session, request) {
      const caller = new Caller(request, 0, false)
      const result = session.fileSystem.removexattr(caller, request.nodeId, request.text())
      session.answer(request, result, replyDone, caller)
    },
  },
  [OPCODE.FALLOCATE]: { name: 'FALLOCATE', bodyBytes: 32, handle: fallocate },
  [OPCODE.LSEEK]: { name: 'LSEEK', bodyBytes: 24, handle: seek },
  [OPCODE.COPY_FILE_RANGE]: {
    name: 'COPY_FILE_RANGE',
    bodyBytes: 56,
    handle: (session, request) => copyRange(session, request, { has32Bits: true }),
  },
  [OPCODE.COPY_FILE_RANGE_64]: {
    name: 'COPY_FILE_RANGE_64',
    bodyBytes: 56,
    handle: (session, request) => copyRange(session, request, { has32Bits: false }),
  },
  [OPCODE.TMPFILE]: {
    name: 'TMPFILE',
    bodyBytes: 16,
    handle(session, request) {
      const { fileSystem } = session
      const caller = new Caller(request, request.u32(8), false)
      const flags = request.u32(0)
      if (!fileSystem.temporary) return void session.replies.errno(request.unique, ENOSYS)
      const result = fileSystem.temporary(caller, request.nodeId, request.u32(4), flags)
      session.answer(request, result, replyCreated, caller)
    },
  },
  [OPCODE.INIT]: { name: 'INIT', bodyBytes: 16, handle: negotiate },
  [OPCODE.INTERRUPT]: {
    name: 'INTERRUPT',
    bodyBytes: 8,
    handle: (session, request) => session.interrupt(request.unique, request.u64(0)),
  },
  [OPCODE.DESTROY]: {
    name: 'DESTROY',
    bodyBytes: 0,
    handle: (session, request) => replyDone(session, request.unique),
  },
  // Only sent after NOTIFY_RETRIEVE, which is never used.
  [OPCODE.NOTIFY_REPLY]: { name: 'NOTIFY_REPLY', bodyBytes: 0, handle: () => undefined },
}

/** The table as an array, for lookup by opcode on the hot path. */
export const OPERATIONS: ReadonlyArray<Operation | undefined> = Array.from(
  { length: Math.max(...Object.keys(TABLE).map(Number)) + 1 },
  (_, opcode) => TABLE[opcode],
)
