/**
 * READDIR and READDIRPLUS: the file system gives a batch after an offset, as much of it as fits is
 * sent, and the kernel comes back with the offset of the last one.
 */
import type { DirectoryEntry, DirectoryEntryPlus } from '../interface.ts'
import { DIRENT_BYTES, ENTRY_OUT_BYTES } from './protocol.ts'
import { Caller, type RequestBuffer } from './request.ts'
import type { Session } from './session.ts'

/**
 * Mean padded size of a name that batches are cut for. Shorter names leave the reply not quite
 * full; longer ones make the rest of a batch be asked for again.
 */
const NAME_BYTES_MEAN = 16

/** READDIR: names, inode numbers and types. */
export function readDirectory(session: Session, request: RequestBuffer): void {
  const handle = session.checkHandle(session.directories, request.u64(0))
  const sizeMax = request.u32(16)
  const countMax = Math.max(1, Math.floor(sizeMax / (DIRENT_BYTES + NAME_BYTES_MEAN)))
  const result = session.fileSystem.readdir(handle, request.position(8), countMax)
  session.answer(request, result, (_, unique, items) => {
    replyEntries(session, unique, items, sizeMax)
  })
}

function replyEntries(
  session: Session,
  unique: number,
  items: readonly DirectoryEntry[],
  sizeMax: number,
): void {
  session.replies.beginEntries(sizeMax)
  for (const item of items) if (!session.replies.addEntry(item)) break
  session.replies.entries(unique)
}

/** READDIRPLUS: entries that count as looked up. */
export function readDirectoryPlus(session: Session, request: RequestBuffer): void {
  const handle = session.checkHandle(session.directories, request.u64(0))
  const sizeMax = request.u32(16)
  const itemBytes = ENTRY_OUT_BYTES + DIRENT_BYTES + NAME_BYTES_MEAN
  const countMax = Math.max(1, Math.floor(sizeMax / itemBytes))
  const caller = new Caller(request, 0, false)
  const { fileSystem } = session
  const offset = request.position(8)
  const result = fileSystem.readdirplus
    ? fileSystem.readdirplus(caller, handle, offset, countMax)
    : fileSystem.readdir(handle, offset, countMax)
  session.answer<readonly DirectoryEntryPlus[]>(
    request,
    result,
    (_, unique, items) => replyEntriesPlus(session, unique, items, sizeMax),
    caller,
  )
}

function replyEntriesPlus(
  session: Session,
  unique: number,
  items: readonly DirectoryEntryPlus[],
  sizeMax: number,
): void {
  const { replies } = session
  replies.beginEntries(sizeMax)
  let count = 0
  for (const item of items) {
    if (!replies.addEntryPlus(item, item.entry)) break
    count++
  }
  const wasSent = replies.entries(unique)
  items.forEach((item, index) => {
    if (item.entry) session.giveEntry(item.entry, wasSent && index < count)
  })
}
