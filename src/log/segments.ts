/**
 * A row of append-only segment files in one directory: what feeds and the journal have in common.
 *
 * Owns headers, marks, rolling over, recovery after a crash, and shared `fdatasync`. What is in the
 * frames is its owner's business. Format: README.md. Invariants:
 *
 * - S1: every segment but the last is durable as a whole, and so is the header of the last.
 * - S2: a mark says how much of its own segment was durable when it was written.
 *
 * So a bad frame is a torn write only in the last segment, and only when no mark proves that it was
 * durable once. Everything else is damage, never cut off: it is refused, or, for an owner that can
 * go on without it (`onDamage`), kept aside as `<file>.damaged` while what can be read is used.
 */
import path from 'node:path'
import { WormholeError, type ErrorCode } from '../errors.ts'
import type { Clock, Disk, DiskFile, Random } from '../system.ts'
import { checkedFrameBytes } from './frame.ts'
import { Room } from './segment-room.ts'
import {
  encodeMark,
  encodeSegmentHeader,
  findMarks,
  keepAside,
  readSegmentHeader,
  SALT_BYTES,
  visitFrames,
  visitReadable,
} from './segment-format.ts'
import type { FrameVisitor, Hole, SegmentKind, SegmentRange } from './segment-format.ts'
import { SharedSync, type SyncRun } from './shared-sync.ts'

/** Part of a segment file that cannot be read; offsets in bytes. */
export interface SegmentDamage extends Hole {
  readonly path: string
}

/** One segment file. */
interface Segment {
  readonly first: number
  readonly path: string
  /** Bytes in it. */
  size: number
}

/** A sync of so much is a small one: it may run in this thread, and the next ones get room. */
const SMALL_SYNC_BYTES_MAX = 64 * 1024

/** How a row of segments is opened. */
export interface SegmentsOptions {
  readonly disk: Disk
  readonly random: Random
  readonly directory: string
  readonly kind: SegmentKind
  /** Goes into every header and must be the same when read. */
  readonly identity: Uint8Array
  /** A segment is closed before it would grow beyond this (unless by its only write). */
  readonly segmentBytesMax: number
  /** Code for anything that is neither right nor torn. */
  readonly corruptCode: ErrorCode
  /** Number of the first record when the directory is empty. */
  readonly first: number
  /**
   * Makes damage no error: it is told here, once per part of a file and visit, after a copy of the
   * file was kept as `<file>.damaged`. Readers are shown the frames around it. When the last
   * segment is damaged, the owner must `roll` before it writes (`isLastDamaged`).
   */
  readonly onDamage?: ((damage: SegmentDamage) => void) | undefined
  /** Zeros are written ahead of small records that are synced one by one. Default false. */
  readonly hasRoom?: boolean
  /** Times syncs: fast ones may then run in this thread (`sync`). */
  readonly clock?: Pick<Clock, 'monotonicMs'> | undefined
}

/** The row of segments. One owner, one thread. */
export class Segments {
  readonly #options: SegmentsOptions
  readonly #rows: Segment[] = []
  /** The last segment, open for writing, and its salt. */
  #file: DiskFile
  #salt: Buffer
  /** How much of the last segment is durable, and how much of that its marks say. */
  #durableBytes = 0
  #markedBytes = 0
  readonly #syncs: SharedSync
  readonly #room = new Room()
  #hasWritten = false
  #broken: Error | undefined
  #isClosed = false
  /** Bytes that recovery cut off at opening. */
  readonly cutBytes: number
  #isLastDamaged = false

  private constructor(options: SegmentsOptions, visit: FrameVisitor) {
    this.#options = options
    const { disk, directory, clock } = options
    const failed = (error: Error): void => void (this.#broken ??= error)
    this.#syncs = new SharedSync({ begin: () => this.#beginSync(), failed, clock })
    for (const name of disk.listSync(directory)) {
      const digits = /^(\d{16})\.seg$/.exec(name)?.[1]
      if (digits === undefined) continue
      this.#rows.push({ first: Number(digits), path: `${directory}/${name}`, size: 0 })
    }
    let cutBytes = this.#dropUnfinished()
    const last = this.#rows.at(-1)
    if (last === undefined) {
      this.#salt = Buffer.alloc(0)
      this.#file = this.#create(options.first)
    } else {
      this.#file = disk.openSync(last.path)
      try {
        last.size = this.#file.sizeSync()
        const salt = this.#saltOf(last)
        this.#salt = salt ?? Buffer.alloc(SALT_BYTES)
        if (salt === undefined) this.#visitDamaged(last, this.#file, 0, visit)
        else cutBytes += this.#recover(last, visit)
        this.#file.syncSync()
        this.#syncName(last)
      } catch (error) {
        this.#file.close()
        throw error
      }
      this.#durableBytes = last.size
    }
    this.cutBytes = cutBytes
  }

  /**
   * Opens or creates the row, cuts a torn tail off, and shows `visit` the records of the last
   * segment. Everything in it is durable afterwards.
   *
   * @throws {WormholeError} the corrupt code, `FORMAT_UNSUPPORTED`, `IO_ERROR`, `DISK_FULL`.
   */
  static open(options: SegmentsOptions, visit: FrameVisitor): Segments {
    return new Segments(options, visit)
  }

  /** Whether nothing may be written behind what the last segment holds. */
  get isLastDamaged(): boolean {
    return this.#isLastDamaged
  }

  /** How many segments there are; at least one. */
  get count(): number {
    return this.#rows.length
  }

  /** Number of the first record of a segment. */
  first(index: number): number {
    return (this.#rows[index] as Segment).first
  }

  /** The file of a segment. */
  path(index: number): string {
    return (this.#rows[index] as Segment).path
  }

  /** Index of the segment that holds record `number`, if any does. */
  find(number: number): number {
    let low = 0
    let high = this.#rows.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.first(middle) <= number) low = middle
      else high = middle - 1
    }
    return low
  }

  /** Bytes of the last segment. */
  get lastBytes(): number {
    return this.#last.size
  }

  /** Bytes written to the last segment that a power cut may still take. */
  get unsyncedBytes(): number {
    return this.#last.size - this.#durableBytes
  }

  get #last(): Segment {
    return this.#rows.at(-1) as Segment
  }

  /**
   * Writes one group behind everything else, in a new segment that starts with record `first` when
   * the last one is full. Survives this process when it returns, power loss after `sync`.
   *
   * @param bytes - Sum of the lengths of `parts`.
   * @returns where the first part lies in the last segment.
   * @throws {WormholeError} `DISK_FULL`: nothing was written, try again later; `IO_ERROR`, and
   *   `WRITER_BROKEN` ever after.
   */
  write(parts: readonly Uint8Array[], bytes: number, first: number): number {
    this.#checkUsable()
    const isEmpty = this.#last.first === first
    if (!isEmpty && this.#last.size + bytes > this.#options.segmentBytesMax) this.roll(first)
    const segment = this.#last
    const written: Uint8Array[] = []
    let at = segment.size
    if (this.#markedBytes < this.#durableBytes) {
      const mark = this.#encodeMark()
      written.push(mark)
      at += mark.length
    }
    for (const part of parts) written.push(part)
    this.#guard(() => this.#file.writeSync(segment.size, written))
    if (written.length > parts.length) this.#markedBytes = this.#durableBytes
    segment.size = at + bytes
    this.#hasWritten = true
    const { segmentBytesMax } = this.#options
    this.#guard(() => this.#room.make(this.#file, segment.size, segmentBytesMax))
    return at
  }

  /**
   * Starts a new segment whose first record is `first`; the old one becomes durable (S1). Blocks.
   */
  roll(first: number): void {
    this.#checkUsable()
    this.#mustSync(() => {
      this.#room.cut(this.#file, this.#last.size)
      this.#file.syncSync()
    })
    this.#durableBytes = this.#last.size
    this.#isLastDamaged = false
    const old = this.#file
    this.#file = this.#create(first)
    if (this.#syncs.running === undefined) old.close()
    else void this.#syncs.running.then(() => old.close())
  }

  /**
   * Makes everything written so far survive power loss. Callers that come while one `fdatasync`
   * runs share the next. With `isUrgent` it may block this thread, while syncs are fast.
   *
   * @throws {WormholeError} `IO_ERROR`, and `WRITER_BROKEN` ever after: nobody knows what a failed
   *   `fdatasync` left behind.
   */
  sync({ isUrgent = false } = {}): Promise<void> {
    if (this.#broken !== undefined) return Promise.reject(this.#brokenError())
    const bytes = this.unsyncedBytes
    if (bytes === 0) return Promise.resolve()
    const isSmall = bytes <= SMALL_SYNC_BYTES_MAX
    if (isSmall && this.#options.hasRoom) this.#room.want()
    return isSmall && isUrgent ? this.#syncs.hurry() : this.#syncs.join()
  }

  /** Starts a sync that nobody waits for; if it fails, the next call of anything is told. */
  syncSoon(): void {
    this.#syncs.start()
  }

  #beginSync(): SyncRun {
    this.#checkUsable()
    const segment = this.#last
    const bytes = segment.size
    const done = (): void => {
      if (segment === this.#last) this.#durableBytes = Math.max(this.#durableBytes, bytes)
    }
    return { file: this.#file, done }
  }

  /** Removes the segments that hold only records below `number`; never the last one. */
  removeBelow(number: number): void {
    let count = 0
    while (count + 1 < this.#rows.length && (this.#rows[count + 1] as Segment).first <= number) {
      this.#options.disk.removeSync((this.#rows[count] as Segment).path)
      count++
    }
    this.#rows.splice(0, count)
  }

  /**
   * Shows `visit` the records of one segment in a range, until it returns false (with `onDamage`:
   * until the end, when there is damage).
   *
   * @throws {WormholeError} the corrupt code: after opening, every frame must be right.
   */
  visit(index: number, range: SegmentRange, visit: FrameVisitor): void {
    const segment = this.#rows[index] as Segment
    const isLast = index === this.#rows.length - 1
    const file = isLast ? this.#file : this.#options.disk.openSync(segment.path, { readOnly: true })
    try {
      if (!isLast) segment.size = file.sizeSync()
      if (range.from === 0 && !isLast && this.#saltOf(segment, file) === undefined) {
        return this.#visitDamaged(segment, file, 0, visit)
      }
      const badAt = visitFrames(file, { ...range, to: segment.size }, visit)
      if (badAt === undefined) return
      if (this.#options.onDamage) return this.#visitDamaged(segment, file, badAt, visit)
      this.#corrupt(segment, badAt, 'a frame with a wrong checksum')
    } finally {
      if (!isLast) file.close()
    }
  }

  /** Refuses a record that is wrong inside an intact frame. */
  corruptAt(index: number, offset: number, why: string, cause?: unknown): never {
    return this.#corrupt(this.#rows[index] as Segment, offset, why, cause)
  }

  /** Waits for the running syncs and closes the file; syncs nothing itself. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#syncs.running
    if (this.#broken === undefined) {
      this.#broken = new WormholeError('VOLUME_CLOSED', `${this.#options.directory} is closed`)
      this.#room.cut(this.#file, this.#last.size)
      if (this.#hasWritten && this.unsyncedBytes === 0) {
        this.#file.writeSync(this.#last.size, [this.#encodeMark()])
      }
    }
    this.#file.close()
  }

  #corrupt(segment: Segment, offset: number, why: string, cause?: unknown): never {
    throw new WormholeError(
      this.#options.corruptCode,
      `${segment.path}, offset ${offset}: ${why}`,
      cause === undefined ? undefined : { cause },
    )
  }

  /**
   * A process that died between making a segment and syncing its name left one without records:
   * they are written only behind a durable name, so whatever has some has one.
   */
  #syncName(segment: Segment): void {
    const { disk, directory } = this.#options
    const headerBytes = this.#encodeHeader(segment.first, new Uint8Array(SALT_BYTES)).length
    if (segment.size > headerBytes) return
    disk.syncDirectorySync(directory)
    if (this.#rows.length === 1) disk.syncDirectorySync(path.dirname(directory))
  }

  /**
   * A last segment no longer than its header, and without a right one, was being created when the
   * power went: nothing was in it. Returns its size.
   */
  #dropUnfinished(): number {
    const last = this.#rows.at(-1)
    if (last === undefined) return 0
    const file = this.#options.disk.openSync(last.path, { readOnly: true })
    try {
      const size = file.sizeSync()
      const headerBytes = this.#encodeHeader(last.first, new Uint8Array(SALT_BYTES)).length
      const bytes = Buffer.alloc(Math.min(size, headerBytes))
      file.readSync(0, bytes)
      if (size > headerBytes || checkedFrameBytes(bytes, 0) !== 0) return 0
      this.#rows.pop()
      this.#options.disk.removeSync(last.path)
      return size
    } finally {
      file.close()
    }
  }

  #encodeHeader(first: number, salt: Uint8Array): Buffer {
    const { kind, identity } = this.#options
    return encodeSegmentHeader({ kind, identity, first, salt })
  }

  #encodeMark(): Buffer {
    return encodeMark(this.#salt, this.#durableBytes)
  }

  #create(first: number): DiskFile {
    const { disk, directory, random } = this.#options
    const segmentPath = `${directory}/${String(first).padStart(16, '0')}.seg`
    const salt = Buffer.from(random.bytes(SALT_BYTES))
    const header = this.#encodeHeader(first, salt)
    const file = this.#guard(() => {
      disk.makeDirectorySync(directory)
      return disk.openSync(segmentPath, { create: true })
    })
    try {
      this.#guard(() => {
        file.truncateSync(0)
        file.writeSync(0, [header])
      })
      this.#mustSync(() => {
        file.syncSync()
        disk.syncDirectorySync(directory)
        if (this.#rows.length === 0) disk.syncDirectorySync(path.dirname(directory))
      })
    } catch (error) {
      file.close()
      throw error
    }
    this.#salt = salt
    this.#room.reset()
    this.#rows.push({ first, path: segmentPath, size: header.length })
    this.#durableBytes = header.length
    this.#markedBytes = header.length
    return file
  }

  /** The salt of a segment; undefined when the header is damaged and that is no error. */
  #saltOf(segment: Segment, file: DiskFile = this.#file): Buffer | undefined {
    const { size, first } = segment
    const header = readSegmentHeader(file, { ...this.#options, size, first })
    if (typeof header !== 'string') return Buffer.from(header.salt)
    if (this.#options.onDamage) return undefined
    return this.#corrupt(segment, 0, header)
  }

  /**
   * Shows `visit` what can be read from the bad frame at `from` on, and tells the rest. Up to
   * `durableTo` all of it was durable once.
   */
  #visitDamaged(
    segment: Segment,
    file: DiskFile,
    from: number,
    visit: FrameVisitor,
    durableTo = segment.size,
  ): void {
    if (segment === this.#last) this.#isLastDamaged = true
    const bytes = Buffer.alloc(segment.size)
    file.readSync(0, bytes)
    keepAside(this.#options.disk, segment.path, bytes)
    const holes = visitReadable(bytes, { from, durableTo }, visit)
    for (const hole of holes) this.#options.onDamage?.({ path: segment.path, ...hole })
  }

  /** Visits the last segment and cuts off its torn tail; returns how many bytes that were. */
  #recover(segment: Segment, visit: FrameVisitor): number {
    const badAt = visitFrames(this.#file, { from: 0, to: segment.size }, visit)
    if (badAt === undefined) return 0
    const rest = Buffer.alloc(segment.size - badAt)
    this.#file.readSync(badAt, rest)
    let durableTo = 0
    for (const durableBytes of findMarks(rest, this.#salt)) {
      durableTo = Math.max(durableTo, durableBytes)
    }
    if (durableTo > badAt) {
      const why = 'a frame with a wrong checksum, and right ones behind it'
      if (!this.#options.onDamage) this.#corrupt(segment, badAt, why)
      this.#visitDamaged(segment, this.#file, badAt, visit, durableTo)
      return 0
    }
    this.#file.truncateSync(badAt)
    segment.size = badAt
    return rest.length
  }

  #brokenError(): Error {
    const cause = this.#broken
    if (cause instanceof WormholeError && cause.code === 'VOLUME_CLOSED') return cause
    return new WormholeError(
      'WRITER_BROKEN',
      `${this.#options.directory} takes no more writes after a failure; restart to recover`,
      { cause },
    )
  }

  #checkUsable(): void {
    if (this.#broken !== undefined) throw this.#brokenError()
  }

  /** Runs a write; a full disk leaves the last segment as it was, anything else breaks the row. */
  #guard<T>(write: () => T): T {
    try {
      return write()
    } catch (error) {
      if (error instanceof WormholeError && error.code === 'DISK_FULL') {
        this.#undo(error)
      } else {
        this.#broken = error as Error
      }
      throw error
    }
  }

  /** Runs a sync. Nobody knows what a failed one left behind: it breaks the row. */
  #mustSync(sync: () => void): void {
    try {
      sync()
    } catch (error) {
      this.#broken = error as Error
      throw error
    }
  }

  /** Frames that were written in part must not stay behind what the next write puts there. */
  #undo(cause: Error): void {
    const last = this.#rows.at(-1)
    if (last === undefined) return
    try {
      this.#file.truncateSync(last.size)
      this.#room.reset()
    } catch (error) {
      this.#broken = new AggregateError([cause, error], 'a failed write could not be undone')
    }
  }
}
