/**
 * The index of a pack directory on disk: a log of 48-byte entries in one file, so that opening does
 * not read the packs. It is never trusted blindly and never needed: entries have checksums, what
 * lies behind a bad one is cut, and what it does not list is found by walking the packs.
 * Format: README.md, "Index log".
 */
import { hasCode } from '../errors.ts'
import type { DiskFile } from '../system.ts'
import type { ChunkAddress } from '../types.ts'

/** Bytes of one entry of the index log. */
export const INDEX_ENTRY_BYTES = 48
const HEADER = Buffer.from('WHCINDEX1\n\0\0\0\0\0\0', 'latin1')
const ENTRY_WORDS = INDEX_ENTRY_BYTES / 4
const BLOCK_ENTRIES = 32 * 1024
const CHECKSUM_SEED = 0x57484331

/** The offset of a forgotten entry says why. */
export const FORGOTTEN = {
  /** Its bytes were damaged: what it named may still be here. */
  damaged: 0,
  /** Nothing referenced it. */
  freed: 1,
  /** No chunk: the pack is removed, whatever earlier entries say of it. */
  pack: 2,
} as const

/** One entry; the address is 8 words at `words[from…]`. A length of 0 means: forgotten. */
export type IndexVisitor = (
  words: Int32Array,
  from: number,
  location: { readonly pack: number; readonly offset: number; readonly length: number },
) => void

/** MurmurHash3 x86_32 (Appleby, 2011) of the 11 words before the checksum. */
function checksum(words: Int32Array, from: number): number {
  let hash = CHECKSUM_SEED
  for (let index = from; index < from + ENTRY_WORDS - 1; index++) {
    let word = Math.imul(words[index] as number, 0xcc9e2d51)
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593)
    hash ^= word
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0
  }
  hash ^= 44
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

/** The log file of one directory. */
export class IndexLog {
  readonly #file: DiskFile
  /** End of the good entries; 0 when there is no header yet. */
  #end = 0
  #pending = new Int32Array(ENTRY_WORDS * 64)
  #pendingCount = 0
  /** How many entries `write` has written. */
  writtenCount = 0

  constructor(file: DiskFile) {
    this.#file = file
  }

  /** The last good entry, when there is one. */
  lastEntry(): Buffer | undefined {
    if (this.#end < HEADER.length + INDEX_ENTRY_BYTES) return undefined
    const entry = Buffer.alloc(INDEX_ENTRY_BYTES)
    this.#file.readSync(this.#end - INDEX_ENTRY_BYTES, entry)
    return entry
  }

  /** Entries that the file can hold at most; an upper bound before `load`. */
  entryCountMax(): number {
    return Math.max(0, Math.floor((this.#file.sizeSync() - HEADER.length) / INDEX_ENTRY_BYTES))
  }

  /** The file, to read it. */
  get file(): DiskFile {
    return this.#file
  }

  /** End of the good entries. */
  get sizeBytes(): number {
    return this.#end
  }

  /** How many good entries there are. */
  get entryCount(): number {
    return Math.max(0, (this.#end - HEADER.length) / INDEX_ENTRY_BYTES)
  }

  /** Visits every good entry in order, from the one at `start` on, then cuts what follows. */
  load(visit: IndexVisitor, start = HEADER.length): void {
    const badAt = IndexLog.scan(this.#file, visit, start)
    this.#end = badAt ?? this.#file.sizeSync()
    if (badAt !== undefined) this.#cut()
  }

  /**
   * Visits the good entries of a log file, and changes nothing. Returns where the first bad one is,
   * or what the last write left in part; undefined when there is none.
   */
  static scan(file: DiskFile, visit: IndexVisitor, start = HEADER.length): number | undefined {
    const size = file.sizeSync()
    if (size === 0) return undefined
    const header = Buffer.alloc(HEADER.length)
    file.readSync(0, header)
    if (!header.equals(HEADER)) return 0
    let end = start
    const block = new Int32Array(BLOCK_ENTRIES * ENTRY_WORDS)
    const bytes = new Uint8Array(block.buffer)
    let isGood = true
    while (isGood && end < size) {
      const count = Math.floor(file.readSync(end, bytes) / INDEX_ENTRY_BYTES)
      let index = 0
      for (; index < count; index++) {
        const from = index * ENTRY_WORDS
        if (checksum(block, from) !== block[from + 11]) break
        visit(block, from, {
          pack: block[from + 8] as number,
          offset: block[from + 9] as number,
          length: block[from + 10] as number,
        })
      }
      end += index * INDEX_ENTRY_BYTES
      isGood = index === BLOCK_ENTRIES
    }
    return end < size ? end : undefined
  }

  /**
   * What the entries from number `from` on say, at most `countMax`: the chunk that was stored then,
   * undefined where one was forgotten. Ends before an entry that is damaged.
   */
  addresses(from: number, countMax: number): (ChunkAddress | undefined)[] {
    const want = Math.max(0, Math.min(countMax, this.entryCount - from))
    const block = new Int32Array(want * ENTRY_WORDS)
    this.#file.readSync(HEADER.length + from * INDEX_ENTRY_BYTES, new Uint8Array(block.buffer))
    const addresses: (ChunkAddress | undefined)[] = []
    for (let at = 0; at < block.length; at += ENTRY_WORDS) {
      if (checksum(block, at) !== block[at + 11]) break
      const address = Buffer.from(block.buffer, at * 4, 32).toString('hex') as ChunkAddress
      addresses.push(block[at + 10] === 0 ? undefined : address)
    }
    return addresses
  }

  /** Starts anew: an empty log. */
  clear(): void {
    this.#end = 0
    this.#cut()
  }

  /** Durable at once: old entries must not come back behind new ones. */
  #cut(): void {
    this.#file.truncateSync(this.#end)
    this.#file.syncSync()
  }

  /** Notes an entry, to be written by `write` once its bytes are durable. */
  add(
    words: Int32Array,
    from: number,
    location: { readonly pack: number; readonly offset: number; readonly length: number },
  ): void {
    const at = this.#pendingCount * ENTRY_WORDS
    if (at === this.#pending.length) {
      const grown = new Int32Array(this.#pending.length * 2)
      grown.set(this.#pending)
      this.#pending = grown
    }
    const entry = this.#pending
    for (let index = 0; index < 8; index++) entry[at + index] = words[from + index] as number
    entry[at + 8] = location.pack
    entry[at + 9] = location.offset
    entry[at + 10] = location.length
    entry[at + 11] = checksum(entry, at)
    this.#pendingCount++
  }

  /** How many entries wait for `write`. */
  get pendingCount(): number {
    return this.#pendingCount
  }

  /**
   * Writes the `count` oldest waiting entries. On a full disk they stay waiting, which loses
   * nothing: what the log does not list is found by walking.
   *
   * @throws {WormholeError} `IO_ERROR`.
   */
  write(count: number): void {
    if (count === 0) return
    const words = this.#pending.subarray(0, count * ENTRY_WORDS)
    const bytes = new Uint8Array(words.buffer, 0, words.byteLength)
    try {
      this.#file.writeSync(this.#end, this.#end === 0 ? [HEADER, bytes] : [bytes])
    } catch (error) {
      if (hasCode(error, 'DISK_FULL')) return
      throw error
    }
    this.#end = Math.max(this.#end, HEADER.length) + bytes.length
    this.#pending.copyWithin(0, count * ENTRY_WORDS, this.#pendingCount * ENTRY_WORDS)
    this.#pendingCount -= count
    this.writtenCount += count
  }

  /** What `write` has written survives a power cut. */
  sync(): Promise<void> {
    return this.#file.sync()
  }

  close(): void {
    this.#file.close()
  }
}
