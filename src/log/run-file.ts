/**
 * One run on disk: a contiguous chain of entries of one feed, from a first position to a head, in a
 * row of segments. `FeedStore` decides what is appended; this file keeps W4 (one entry per
 * position) by refusing anything but the next one.
 */
import assert from 'node:assert/strict'
import { ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { HASH_BYTES } from '../seal.ts'
import type { Disk, Random } from '../system.ts'
import type { FeedHead, FeedId, VolumeId } from '../types.ts'
import { decodeEntryFields, entryHash, feedPrefix, verifyFrame } from './entry.ts'
import type { EntryFields, FeedPrefix } from './entry.ts'
import { FRAME_HEADER_BYTES } from './frame.ts'
import { writeFeed } from './frontier.ts'
import type { EntryFrame } from './interface.ts'
import { Segments } from './segments.ts'

/** A segment is closed before it would grow beyond this. Bounds what opening a feed reads. */
export const FEED_SEGMENT_BYTES_MAX = 8 * 1024 * 1024

/** Hash of what comes before the first entry. */
export const NO_HASH = '0'.repeat(2 * HASH_BYTES)

/** Every so many entries the index keeps an offset: 4 bytes per 32 entries in memory. */
const INDEX_EVERY = 32
/** Read beyond what is asked for, because the index points a little before it. */
const READ_SLACK_BYTES = 8 * 1024

/** Offsets of some of the entries of one segment, and how many it has. */
class SparseOffsets {
  #offsets = new Uint32Array(64)
  count = 0

  add(offset: number): void {
    if (this.count % INDEX_EVERY === 0) {
      const at = this.count / INDEX_EVERY
      if (at === this.#offsets.length) {
        const grown = new Uint32Array(2 * at)
        grown.set(this.#offsets)
        this.#offsets = grown
      }
      this.#offsets[at] = offset
    }
    this.count++
  }

  /** An entry at or before the `nth` of the segment, and its offset. */
  before(nth: number): { nth: number; offset: number } {
    const at = Math.floor(nth / INDEX_EVERY)
    return { nth: at * INDEX_EVERY, offset: this.#offsets[at] as number }
  }
}

/** What a `RunFile` needs. */
export interface RunFileOptions {
  readonly disk: Disk
  readonly random: Random
  readonly directory: string
  readonly volume: VolumeId
  /** The feed, or the name of the branch. */
  readonly feed: FeedId
  readonly segmentBytesMax: number
  /** Position of the first entry. */
  readonly start: number
  /** What the first entry follows; read from it when it is there. */
  readonly previousHash: string
}

/** One run. What is written is in `written`; only the store's `commit` makes it `head`. */
export class RunFile {
  readonly feed: FeedId
  readonly start: number
  /** Hash of the entry before the first; `NO_HASH` at the start of the feed. */
  readonly previousHash: string
  readonly #volume: VolumeId
  readonly #prefix: FeedPrefix
  readonly #segments: Segments
  readonly #groupBytesMax: number
  /** By the number of a segment's first entry; the last segment's is always there. */
  readonly #indexes = new Map<number, SparseOffsets>()
  /** Where the last read began and ended: the next one begins at one of them, mostly. */
  readonly #recent: { at: number; offset: number; seq: number }[] = []
  /** Durable. */
  #head: FeedHead
  #written: FeedHead

  private constructor(options: RunFileOptions) {
    this.feed = options.feed
    this.start = options.start
    this.#volume = options.volume
    this.#groupBytesMax = options.segmentBytesMax / 2
    this.#prefix = feedPrefix(options.volume, options.feed)
    const identity = new ByteWriter().hex(options.volume)
    writeFeed(identity, options.feed)
    const frames: { frame: Buffer; offset: number }[] = []
    this.#segments = Segments.open(
      {
        ...options,
        kind: 'feed',
        identity: identity.finish(),
        corruptCode: 'FEED_CORRUPT',
        first: options.start,
      },
      (frame, offset) => void frames.push({ frame, offset }),
    )
    const last = this.#segments.count - 1
    if (this.#segments.first(0) !== options.start) {
      this.#segments.corruptAt(0, 0, 'the first segment is missing')
    }
    const chain = new Chain(this, last)
    for (const { frame, offset } of frames) chain.add(frame, offset)
    this.#indexes.set(this.#segments.first(last), chain.offsets)
    const hash =
      chain.offsets.count === 0 && last > 0 ? this.#load(last - 1).lastHash : chain.lastHash
    this.#head = { length: chain.nextSeq, hash: hash ?? options.previousHash }
    this.#written = this.#head
    const isAtStart = options.start === 0 || this.isEmpty
    const first = isAtStart ? undefined : this.read(options.start, 1)[0]
    this.previousHash = first?.previousHash ?? options.previousHash
  }

  /**
   * Opens or creates the run in `directory`; checks the chain of its last segment.
   * @throws {WormholeError} `FEED_CORRUPT`, `FORMAT_UNSUPPORTED`, `IO_ERROR`, `DISK_FULL`.
   */
  static open(options: RunFileOptions): RunFile {
    return new RunFile(options)
  }

  /** The durable head; what the first entry is to follow when there is none. */
  get head(): FeedHead {
    return this.#head
  }

  get isEmpty(): boolean {
    return this.#head.length === this.start
  }

  get segmentCount(): number {
    return this.#segments.count
  }

  /** Bytes that recovery cut off at opening. */
  get cutBytes(): number {
    return this.#segments.cutBytes
  }

  /** Writes frames that continue what is written. Not visible before `sync` and `commit`. */
  write(frames: readonly EntryFrame[]): void {
    let from = 0
    while (from < frames.length) {
      let bytes = 0
      let to = from
      while (to < frames.length) {
        const more = (frames[to] as EntryFrame).bytes.length
        if (to > from && bytes + more > this.#groupBytesMax) break
        bytes += more
        to++
      }
      this.#writeGroup(frames.slice(from, to), bytes)
      from = to
    }
  }

  #writeGroup(frames: readonly EntryFrame[], bytes: number): void {
    const first = frames[0] as EntryFrame
    const last = frames.at(-1) as EntryFrame
    const { length, hash } = this.#written
    assert(first.seq === length && first.previousHash === hash, 'entry does not continue the run')
    const parts = frames.map((frame) => frame.bytes)
    let offset = this.#segments.write(parts, bytes, first.seq)
    const segmentFirst = this.#segments.first(this.#segments.count - 1)
    let index = this.#indexes.get(segmentFirst)
    if (index === undefined) this.#indexes.set(segmentFirst, (index = new SparseOffsets()))
    for (const frame of frames) {
      index.add(offset)
      offset += frame.bytes.length
    }
    this.#written = { length: last.seq + 1, hash: last.hash }
  }

  /** Makes what was written durable. */
  sync(): Promise<void> {
    return this.#segments.sync()
  }

  /** Makes what is written and durable visible. */
  commit(): void {
    this.#head = this.#written
  }

  /** As `FeedStore.read`, within this run. */
  read(fromSeq: number, bytesMax: number): EntryFrame[] {
    if (fromSeq < this.start) return []
    const frames: EntryFrame[] = []
    let bytes = 0
    let seq = fromSeq
    while (seq < this.#head.length) {
      const at = this.#segments.find(seq)
      const start = this.#start(at, seq)
      let here = start.seq
      const wanted = seq
      const windowBytes = bytesMax - bytes + READ_SLACK_BYTES
      let isFull = false
      this.#segments.visit(at, { from: start.offset, windowBytes }, (frame, offset) => {
        if (here >= this.#head.length) return false
        if (here++ < wanted) return true
        isFull = frames.length > 0 && bytes + frame.length > bytesMax
        if (isFull) return false
        bytes += frame.length
        if (seq === fromSeq) this.#recent[0] = { at, offset, seq }
        frames.push(this.#decode(frame, { at, offset, seq }))
        seq++
        this.#recent[1] = { at, offset: offset + frame.length, seq }
        return bytes < bytesMax
      })
      if (isFull || bytes >= bytesMax) break
      if (seq === wanted) this.#segments.corruptAt(at, start.offset, `entry ${seq} is missing`)
    }
    return frames
  }

  /** Checks one segment: checksums, signatures, chain. Returns how many entries it has. */
  verifySegment(at: number, previousHash: string): { count: number; lastHash: string } {
    let lastHash = previousHash
    let seq = this.#segments.first(at)
    this.#segments.visit(at, { from: 0 }, (frame, offset) => {
      if (seq >= this.#head.length) return false
      let entry: EntryFrame
      try {
        entry = verifyFrame(frame, { volume: this.#volume, feed: this.feed })
      } catch (error) {
        return this.#segments.corruptAt(at, offset, 'an entry that does not verify', error)
      }
      if (entry.seq !== seq || entry.previousHash !== lastHash) {
        this.#segments.corruptAt(at, offset, `entry ${entry.seq} breaks the chain`)
      }
      lastHash = entry.hash
      seq++
      return true
    })
    const isLast = at === this.#segments.count - 1
    const next = isLast ? this.#head.length : this.#segments.first(at + 1)
    if (seq !== next) this.#segments.corruptAt(at, 0, `entries ${seq} to ${next - 1} are missing`)
    return { count: seq - this.#segments.first(at), lastHash }
  }

  /** The hash of a frame of this feed and its fields, found at a place. */
  hashFrame(frame: Buffer, at: number, offset: number): { fields: EntryFields; hash: string } {
    try {
      const fields = decodeEntryFields(frame.subarray(FRAME_HEADER_BYTES))
      return { fields, hash: entryHash(this.#prefix, fields).toString('hex') }
    } catch (error) {
      if (error instanceof WormholeError && error.code === 'FORMAT_UNSUPPORTED') throw error
      return this.#segments.corruptAt(at, offset, 'a frame that is no entry', error)
    }
  }

  /** Refuses an entry at a place. */
  corruptAt(at: number, offset: number, why: string): never {
    return this.#segments.corruptAt(at, offset, why)
  }

  firstOf(at: number): number {
    return this.#segments.first(at)
  }

  close(): Promise<void> {
    return this.#segments.close()
  }

  #decode(frame: Buffer, place: { at: number; offset: number; seq: number }): EntryFrame {
    const { fields, hash } = this.hashFrame(frame, place.at, place.offset)
    if (fields.seq !== place.seq) {
      this.#segments.corruptAt(place.at, place.offset, `entry ${fields.seq}, not ${place.seq}`)
    }
    const previousHash = fields.previousHash.toString('hex')
    return { feed: this.feed, seq: fields.seq, previousHash, hash, bytes: frame }
  }

  /** An entry at or before `seq` in a segment, and its offset. */
  #start(at: number, seq: number): { seq: number; offset: number } {
    const known = this.#recent.find((place) => place.at === at && place.seq === seq)
    if (known !== undefined) return known
    const first = this.#segments.first(at)
    const { nth, offset } = this.#index(at).before(seq - first)
    return { seq: first + nth, offset }
  }

  #index(at: number): SparseOffsets {
    return this.#indexes.get(this.#segments.first(at)) ?? this.#load(at).offsets
  }

  /** Reads an old segment, checks its chain and keeps where its entries are. */
  #load(at: number): Chain {
    const chain = new Chain(this, at)
    this.#segments.visit(at, { from: 0 }, (frame, offset) => chain.add(frame, offset))
    if (chain.nextSeq !== this.#segments.first(at + 1)) {
      this.#segments.corruptAt(at, 0, `entries behind ${chain.nextSeq - 1} are missing`)
    }
    this.#indexes.set(this.#segments.first(at), chain.offsets)
    return chain
  }
}

/** Follows the chain of hashes through one segment. */
class Chain {
  readonly #file: RunFile
  readonly #at: number
  readonly offsets = new SparseOffsets()
  nextSeq: number
  lastHash: string | undefined

  constructor(file: RunFile, at: number) {
    this.#file = file
    this.#at = at
    this.nextSeq = file.firstOf(at)
    this.lastHash = this.nextSeq === 0 ? NO_HASH : undefined
  }

  add(frame: Buffer, offset: number): void {
    const { fields, hash } = this.#file.hashFrame(frame, this.#at, offset)
    const previousHash = fields.previousHash.toString('hex')
    const isNext = fields.seq === this.nextSeq && (this.lastHash ?? previousHash) === previousHash
    if (!isNext) this.#file.corruptAt(this.#at, offset, `entry ${fields.seq} breaks the chain`)
    this.offsets.add(offset)
    this.nextSeq++
    this.lastHash = hash
  }
}
