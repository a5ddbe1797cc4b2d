/**
 * The table of addresses as a file, so that opening a store need not insert every chunk anew. A
 * shortcut beside the index log: never needed, never trusted. It says how much of the log it stands
 * for, and a digest covers all of it; with anything wrong it is ignored, and the log is read whole.
 * Format and orders: README.md, "Table file".
 */
import { hasCode } from '../errors.ts'
import type { Disk, DiskFile } from '../system.ts'
import { AddressTableWriter } from './address-table.ts'
import { blake3 } from './blake3.ts'
import { INDEX_ENTRY_BYTES } from './index-log.ts'

const NAME = 'table'
const MAGIC = Buffer.from('WHCTABLE1\n\0\0\0\0\0\0', 'latin1')
/** Magic, slots, used, chunks, count of ends, bytes u64, log u64, last entry of the log, zeros. */
const HEADER_BYTES = 112
const END_BYTES = 8
const DIGEST_BYTES = 32
const BLOCK_BYTES = 1024 * 1024

/** What a table stands for. */
export interface TableState {
  readonly table: AddressTableWriter
  /** Where the listed part of each pack ends. */
  readonly ends: ReadonlyMap<number, number>
  /** Bytes of the index log that it holds, up to the end of an entry. */
  readonly logBytes: number
}

/** Digests of the blocks of a file, as one. */
class BlockDigest {
  readonly #digests: Buffer[] = []

  add(block: Uint8Array): void {
    this.#digests.push(blake3(block))
  }

  finish(): Buffer {
    return blake3(Buffer.concat(this.#digests))
  }
}

/**
 * Writes the table, for a log whose last entry is `lastEntry`. Everything in it is durable, the
 * file itself need not be: a torn one is ignored. A table in several levels, and a full disk, leave
 * no file.
 */
export function writeTableFile(
  disk: Disk,
  directory: string,
  { table, ends, logBytes, lastEntry }: TableState & { readonly lastEntry: Uint8Array },
): void {
  const slots = table.soleLevel()
  if (!slots) return
  const head = Buffer.alloc(HEADER_BYTES + ends.size * END_BYTES)
  MAGIC.copy(head)
  head.writeUInt32LE(slots.count, 16)
  head.writeUInt32LE(slots.usedCount, 20)
  head.writeUInt32LE(table.chunkCount, 24)
  head.writeUInt32LE(ends.size, 28)
  head.writeBigUInt64LE(BigInt(table.bytes), 32)
  head.writeBigUInt64LE(BigInt(logBytes), 40)
  head.set(lastEntry, 48)
  let at = HEADER_BYTES
  for (const [pack, end] of ends) {
    head.writeUInt32LE(pack, at)
    head.writeUInt32LE(end, at + 4)
    at += END_BYTES
  }
  const path = `${directory}/${NAME}.new`
  disk.removeSync(path)
  const file = disk.openSync(path, { create: true })
  try {
    const digest = new BlockDigest()
    digest.add(head)
    file.writeSync(0, [head])
    const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, slots.bytes.length))
    for (let from = 0; from < slots.bytes.length; from += block.length) {
      const piece = block.subarray(0, Math.min(block.length, slots.bytes.length - from))
      piece.set(slots.bytes.subarray(from, from + piece.length))
      digest.add(piece)
      file.writeSync(at, [piece])
      at += piece.length
    }
    file.writeSync(at, [digest.finish()])
  } catch (error) {
    if (!hasCode(error, 'DISK_FULL')) throw error
    disk.removeSync(path)
    return
  } finally {
    file.close()
  }
  disk.renameSync(path, `${directory}/${NAME}`)
}

/** Forgets the file; durable when this returns. To be called before the log starts anew. */
export function removeTableFile(disk: Disk, directory: string): void {
  if (!disk.listSync(directory).includes(NAME)) return
  disk.removeSync(`${directory}/${NAME}`)
  disk.syncDirectorySync(directory)
}

/** The table of a directory, if there is a whole one that fits the log. */
export function readTableFile(
  disk: Disk,
  directory: string,
  log: DiskFile,
): TableState | undefined {
  if (!disk.listSync(directory).includes(NAME)) return undefined
  const file = disk.openSync(`${directory}/${NAME}`, { readOnly: true })
  try {
    return read(file, log)
  } catch (error) {
    // What cannot be read is not needed.
    if (!hasCode(error, 'IO_ERROR')) throw error
    return undefined
  } finally {
    file.close()
  }
}

function read(file: DiskFile, log: DiskFile): TableState | undefined {
  const size = file.sizeSync()
  const fixed = Buffer.alloc(HEADER_BYTES)
  if (file.readSync(0, fixed) < HEADER_BYTES || !fixed.subarray(0, 16).equals(MAGIC)) {
    return undefined
  }
  const count = fixed.readUInt32LE(16)
  const endCount = fixed.readUInt32LE(28)
  const logBytes = Number(fixed.readBigUInt64LE(40))
  const headBytes = HEADER_BYTES + endCount * END_BYTES
  const slotBytes = AddressTableWriter.levelBytes(count)
  if (slotBytes === undefined || size !== headBytes + slotBytes + DIGEST_BYTES) return undefined
  const lastEntry = Buffer.alloc(INDEX_ENTRY_BYTES)
  if (log.sizeSync() < logBytes || logBytes < INDEX_ENTRY_BYTES) return undefined
  log.readSync(logBytes - INDEX_ENTRY_BYTES, lastEntry)
  if (!lastEntry.equals(fixed.subarray(48, 48 + INDEX_ENTRY_BYTES))) return undefined

  const digest = new BlockDigest()
  const head = Buffer.alloc(headBytes)
  file.readSync(0, head)
  digest.add(head)
  const table = AddressTableWriter.withSlots(count)
  const slots = table.soleLevel()?.bytes as Uint8Array
  const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, slotBytes))
  for (let from = 0; from < slotBytes; from += block.length) {
    const piece = block.subarray(0, Math.min(block.length, slotBytes - from))
    if (file.readSync(headBytes + from, piece) < piece.length) return undefined
    digest.add(piece)
    slots.set(piece, from)
  }
  const told = Buffer.alloc(DIGEST_BYTES)
  file.readSync(headBytes + slotBytes, told)
  if (!told.equals(digest.finish())) return undefined

  table.filled({
    usedCount: head.readUInt32LE(20),
    chunkCount: head.readUInt32LE(24),
    bytes: Number(head.readBigUInt64LE(32)),
  })
  const ends = new Map<number, number>()
  for (let at = HEADER_BYTES; at < headBytes; at += END_BYTES) {
    ends.set(head.readUInt32LE(at), head.readUInt32LE(at + 4))
  }
  return { table, ends, logBytes }
}
