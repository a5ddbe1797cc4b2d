/**
 * Encoding of replies into one reused buffer, and writing them to the device at once. A reply is
 * one write(2): struct fuse_out_header, then the body. No allocation except for large reads.
 */
import type { Attr, EntryReply, OpenReply } from '../interface.ts'
import type { CacheTimes } from './interface.ts'
import {
  ATTR_OUT_BYTES,
  DIRENT_BYTES,
  ENTRY_OUT_BYTES,
  HIGH,
  NAME_BYTES_MAX,
  OPEN_KEEP_CACHE,
  OPEN_NO_FLUSH,
  OPEN_OUT_BYTES,
  OUT_HEADER_BYTES,
  STATFS_OUT_BYTES,
  TRANSFER_BYTES_MAX,
} from './protocol.ts'

/** Where replies go. */
export interface ReplyDevice {
  /**
   * Writes the first `lengthBytes` of `reply`.
   * @returns false if nobody waits for it: the request was aborted, or the mount is gone.
   */
  write(reply: Buffer, lengthBytes: number): boolean
  /** As `write`, from several buffers. */
  writeParts(parts: readonly Buffer[]): boolean
}

/** Reads up to this are copied behind the header; longer ones are gathered by the kernel. */
const COPY_BYTES_MAX = 16 * 1024
const NO_BYTES = Buffer.alloc(0)
/** Preferred size of transfers, shown as st_blksize. */
const BLOCK_SIZE_BYTES = 4096
/** The first word of the body. */
const BODY = OUT_HEADER_BYTES >>> 2

/** Encodes and writes replies. Each method returns what `ReplyDevice.write` says. */
export class ReplyWriter {
  readonly #device: ReplyDevice
  readonly #times: CacheTimes
  readonly #bytes = Buffer.allocUnsafeSlow(OUT_HEADER_BYTES + TRANSFER_BYTES_MAX)
  readonly #words = new Uint32Array(this.#bytes.buffer, this.#bytes.byteOffset)
  readonly #header = Buffer.allocUnsafeSlow(OUT_HEADER_BYTES)
  readonly #headerWords = new Uint32Array(this.#header.buffer, this.#header.byteOffset)
  /** End of the directory entries so far. */
  #entriesEnd = OUT_HEADER_BYTES
  #entriesMax = 0

  constructor(device: ReplyDevice, times: CacheTimes) {
    this.#device = device
    this.#times = times
  }

  /** Refuses a request with an errno, or with 0 says that it is done. */
  errno(unique: number, errno: number): boolean {
    const words = this.#words
    words[0] = OUT_HEADER_BYTES
    words[1] = -errno
    words[2] = unique
    words[3] = unique / HIGH
    return this.#device.write(this.#bytes, OUT_HEADER_BYTES)
  }

  /** The node behind a name. */
  entry(unique: number, entry: EntryReply): boolean {
    this.#putEntry(BODY, entry)
    return this.#send(unique, ENTRY_OUT_BYTES)
  }

  /**
   * There is no such name, and the kernel may remember it: struct fuse_entry_out with node id
   * 0.
   */
  noEntry(unique: number): boolean {
    this.#words.fill(0, BODY, BODY + (ENTRY_OUT_BYTES >>> 2))
    this.#words[BODY + 4] = this.#times.negativeS
    return this.#send(unique, ENTRY_OUT_BYTES)
  }

  /** struct fuse_attr_out. */
  attributes(unique: number, attr: Attr): boolean {
    const words = this.#words
    words[BODY] = this.#times.attributesS
    words[BODY + 1] = 0
    words[BODY + 2] = 0
    words[BODY + 3] = 0
    this.#putAttr(BODY + 4, attr)
    return this.#send(unique, ATTR_OUT_BYTES)
  }

  /** An open file or directory. */
  open(unique: number, open: OpenReply): boolean {
    this.#putOpen(BODY, open)
    return this.#send(unique, OPEN_OUT_BYTES)
  }

  /** A created file: struct fuse_entry_out, then struct fuse_open_out. */
  created(unique: number, entry: EntryReply, open: OpenReply): boolean {
    this.#putEntry(BODY, entry)
    this.#putOpen(BODY + (ENTRY_OUT_BYTES >>> 2), open)
    return this.#send(unique, ENTRY_OUT_BYTES + OPEN_OUT_BYTES)
  }

  /** A size: struct fuse_write_out and struct fuse_getxattr_out. */
  size(unique: number, sizeBytes: number): boolean {
    this.#words[BODY] = sizeBytes
    this.#words[BODY + 1] = 0
    return this.#send(unique, 8)
  }

  /** A place in a file, or a long size: struct fuse_lseek_out, struct fuse_copy_file_range_out. */
  position(unique: number, position: number): boolean {
    this.#put64(BODY, position)
    return this.#send(unique, 8)
  }

  /** Bytes of a file, a link or an attribute. They are written before this returns. */
  data(unique: number, parts: readonly Buffer[]): boolean {
    let total = 0
    for (const part of parts) total += part.length
    if (total <= COPY_BYTES_MAX) {
      let at = OUT_HEADER_BYTES
      for (const part of parts) at += part.copy(this.#bytes, at)
      return this.#send(unique, total)
    }
    const words = this.#headerWords
    words[0] = OUT_HEADER_BYTES + total
    words[1] = 0
    words[2] = unique
    words[3] = unique / HIGH
    return this.#device.writeParts([this.#header, ...parts])
  }

  /** The end of a directory, or an empty value. */
  nothing(unique: number): boolean {
    return this.data(unique, [NO_BYTES])
  }

  /** struct fuse_statfs_out. */
  space(
    unique: number,
    space: {
      blockSizeBytes: number
      blocks: number
      blocksFree: number
      files: number
      filesFree: number
    },
  ): boolean {
    const words = this.#words
    words.fill(0, BODY, BODY + (STATFS_OUT_BYTES >>> 2))
    this.#put64(BODY, space.blocks)
    this.#put64(BODY + 2, space.blocksFree)
    this.#put64(BODY + 4, space.blocksFree)
    this.#put64(BODY + 6, space.files)
    this.#put64(BODY + 8, space.filesFree)
    words[BODY + 10] = space.blockSizeBytes
    words[BODY + 11] = NAME_BYTES_MAX
    words[BODY + 12] = space.blockSizeBytes
    return this.#send(unique, STATFS_OUT_BYTES)
  }

  /** 32-bit words as they are (INIT). */
  words(unique: number, words: readonly number[]): boolean {
    this.#words.set(words, BODY)
    return this.#send(unique, words.length * 4)
  }

  /** Begins a directory listing of at most `sizeMax` bytes. */
  beginEntries(sizeMax: number): void {
    this.#entriesEnd = OUT_HEADER_BYTES
    this.#entriesMax = OUT_HEADER_BYTES + Math.min(sizeMax, TRANSFER_BYTES_MAX)
  }

  /** Adds a struct fuse_dirent. @returns false if it does not fit. */
  addEntry(item: { name: string; ino: number; type: number; nextOffset: number }): boolean {
    const at = this.#entriesEnd
    const sizeBytes = direntBytes(item.name)
    if (at + sizeBytes > this.#entriesMax) return false
    this.#putDirent(at, item, sizeBytes)
    return true
  }

  /**
   * Adds a struct fuse_direntplus. Without `entry` its node id is 0: the kernel learns the name
   * only. @returns false if it does not fit.
   */
  addEntryPlus(
    item: { name: string; ino: number; type: number; nextOffset: number },
    entry: EntryReply | undefined,
  ): boolean {
    const at = this.#entriesEnd
    const sizeBytes = direntBytes(item.name)
    if (at + ENTRY_OUT_BYTES + sizeBytes > this.#entriesMax) return false
    const word = at >>> 2
    if (entry) this.#putEntry(word, entry)
    else this.#words.fill(0, word, word + (ENTRY_OUT_BYTES >>> 2))
    this.#putDirent(at + ENTRY_OUT_BYTES, item, sizeBytes)
    return true
  }

  /** Sends the entries added since `beginEntries`; none means the end of the directory. */
  entries(unique: number): boolean {
    return this.#send(unique, this.#entriesEnd - OUT_HEADER_BYTES)
  }

  #send(unique: number, bodyBytes: number): boolean {
    const words = this.#words
    words[0] = OUT_HEADER_BYTES + bodyBytes
    words[1] = 0
    words[2] = unique
    words[3] = unique / HIGH
    return this.#device.write(this.#bytes, OUT_HEADER_BYTES + bodyBytes)
  }

  #put64(word: number, value: number): void {
    this.#words[word] = value
    this.#words[word + 1] = Math.floor(value / HIGH)
  }

  #putEntry(word: number, entry: EntryReply): void {
    const words = this.#words
    this.#put64(word, entry.nodeId)
    words[word + 2] = 0
    words[word + 3] = 0
    words[word + 4] = this.#times.entryS
    words[word + 5] = 0
    words[word + 6] = this.#times.attributesS
    words[word + 7] = 0
    words[word + 8] = 0
    words[word + 9] = 0
    this.#putAttr(word + 10, entry.attr)
  }

  /** struct fuse_attr. A typed array takes values modulo 2^32, negative seconds included. */
  #putAttr(word: number, attr: Attr): void {
    const words = this.#words
    this.#put64(word, attr.ino)
    this.#put64(word + 2, attr.sizeBytes)
    this.#put64(word + 4, attr.blocks)
    this.#put64(word + 6, attr.atimeS)
    this.#put64(word + 8, attr.mtimeS)
    this.#put64(word + 10, attr.ctimeS)
    words[word + 12] = attr.atimeNs
    words[word + 13] = attr.mtimeNs
    words[word + 14] = attr.ctimeNs
    words[word + 15] = attr.mode
    words[word + 16] = attr.nlink
    words[word + 17] = attr.uid
    words[word + 18] = attr.gid
    words[word + 19] = attr.rdev
    words[word + 20] = BLOCK_SIZE_BYTES
    words[word + 21] = 0
  }

  #putOpen(word: number, open: OpenReply): void {
    this.#put64(word, open.handle)
    const keep = open.keepCache ? OPEN_KEEP_CACHE : 0
    this.#words[word + 2] = keep | (open.skipsFlush ? OPEN_NO_FLUSH : 0)
    this.#words[word + 3] = 0
  }

  #putDirent(
    at: number,
    item: { name: string; ino: number; type: number; nextOffset: number },
    sizeBytes: number,
  ): void {
    const words = this.#words
    const word = at >>> 2
    const end = at + sizeBytes
    words[(end >>> 2) - 2] = 0
    words[(end >>> 2) - 1] = 0
    this.#put64(word, item.ino)
    this.#put64(word + 2, item.nextOffset)
    words[word + 4] = item.name.length
    words[word + 5] = item.type >>> 12
    this.#bytes.write(item.name, at + DIRENT_BYTES, 'latin1')
    this.#entriesEnd = end
  }
}

/** Size of a struct fuse_dirent with this name, padded to 8 bytes. */
function direntBytes(name: string): number {
  return (DIRENT_BYTES + name.length + 7) & ~7
}
