/**
 * The local journal in segment files: sealed, numbered records (`Journal` on a `Disk`).
 *
 * Appending seals into memory; `flush` is one write for everything appended since the last one;
 * `sync` is one `fdatasync` for all who wait (W3). Numbers only grow, also over restarts: the
 * header of the newest segment keeps the next one when everything else was trimmed. Format:
 * README.md.
 */
import assert from 'node:assert/strict'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { hasCode, WormholeError } from '../errors.ts'
import { seal, SEAL_OVERHEAD_BYTES, unseal } from '../seal.ts'
import type { Clock, Disk, Random } from '../system.ts'
import { FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES, frameHeader } from './frame.ts'
import type { Journal, JournalRecord } from './interface.ts'
import { Segments } from './segments.ts'

/** A segment is closed before it would grow beyond this. */
export const JOURNAL_SEGMENT_BYTES_MAX = 16 * 1024 * 1024
/** First byte of a record's body: the version of the record format. */
export const RECORD_VERSION = 1
/** Longest record: what one frame holds, less head and seal. */
export const RECORD_BYTES_MAX = FRAME_BODY_BYTES_MAX - SEAL_OVERHEAD_BYTES - 16

/** Size of the frame of an empty record. */
const RECORD_FRAME_BYTES_MIN = FRAME_HEADER_BYTES + 3 + SEAL_OVERHEAD_BYTES

/** Appending flushes by itself at this much. Bounds memory. */
const PENDING_BYTES_MAX = 4 * 1024 * 1024
/** Flushing starts a sync by itself at this much, so that rolling over has little left to sync. */
const UNSYNCED_BYTES_MAX = 4 * 1024 * 1024
/** Once everything is trimmed, a segment larger than this is replaced by an empty one. */
const DEAD_BYTES_MAX = 1024 * 1024
/** Frames up to this size are gathered in one buffer before they are written. */
const GATHER_FRAME_BYTES_MAX = 16 * 1024
const GATHER_BYTES = 256 * 1024
/** Random nonce bytes are drawn for this many records at a time: a draw costs 2 µs. */
const NONCE_POOL_BYTES = 24 * 128

/** What a journal needs. */
export interface DiskJournalOptions {
  readonly disk: Disk
  readonly random: Random
  /** Private directory, made if it is missing. */
  readonly directory: string
  /** 32 bytes; never leaves this device. */
  readonly key: Uint8Array
  /**
   * Numbers below this are never given. Pass 1 + the greatest number that an own entry covers: a
   * power cut may have taken records that were published already. Default 1.
   */
  readonly numberMin?: number
  /** Default `JOURNAL_SEGMENT_BYTES_MAX`. */
  readonly segmentBytesMax?: number
  /**
   * Makes damage no error: what can be read is used, the damaged file is kept as `<file>.damaged`,
   * and each loss is told here, while opening or replaying. Without it damage is `JOURNAL_CORRUPT`.
   */
  readonly onDamage?: ((damage: JournalDamage) => void) | undefined
  /** Times syncs, so that urgent ones block this thread when that is faster. Default: never. */
  readonly clock?: Pick<Clock, 'monotonicMs'>
}

/** What damage took of a journal. */
export interface JournalDamage {
  /** A part of a file that is no record. */
  readonly place?: { readonly path: string; readonly from: number; readonly to: number }
  /** Numbers of records that are lost, both included; only those from `numberMin` on. */
  readonly numbers?: { readonly from: number; readonly to: number }
}

/** What a person should know of it. */
export function describeDamage({ place, numbers }: JournalDamage): string {
  if (numbers) {
    const { from, to } = numbers
    const which = from === to ? `record ${from}` : `records ${from} to ${to}`
    return `the journal lost ${which}: edits of this device that were not published yet are gone`
  }
  const where = place ? `${place.path}, offset ${place.from} to ${place.to}` : 'the journal'
  return `${where}: damaged; the rest is used, the file as it was is kept beside it (.damaged)`
}

/** The journal of one volume in `<directory>/<first number>.seg`. */
export class DiskJournal implements Journal {
  readonly #key: Uint8Array
  readonly #nonces: Random
  readonly #segments: Segments
  readonly #numberMin: number
  readonly #onDamage: ((damage: JournalDamage) => void) | undefined
  /** Places that were told: replay comes by those of the last segment again. */
  readonly #told = new Set<string>()
  #nextNumber: number
  readonly #counts = new Uint32Array(256)
  /** Appended, not yet written: whole frames, small ones gathered. */
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  #pendingFirst = 0
  #gather = Buffer.allocUnsafeSlow(GATHER_BYTES)
  #gatherFrom = 0
  #gatherTo = 0

  private constructor(options: DiskJournalOptions) {
    this.#key = options.key
    this.#nonces = pooled(options.random)
    this.#numberMin = options.numberMin ?? 1
    this.#onDamage = options.onDamage
    let last = 0
    let lastOffset = 0
    let lostBytes = 0
    this.#segments = Segments.open(
      {
        ...options,
        kind: 'journal',
        identity: Buffer.alloc(0),
        segmentBytesMax: options.segmentBytesMax ?? JOURNAL_SEGMENT_BYTES_MAX,
        corruptCode: 'JOURNAL_CORRUPT',
        hasRoom: true,
        first: this.#numberMin,
        onDamage:
          this.#onDamage &&
          ((place) => {
            if (place.from > lastOffset) lostBytes += place.to - place.from
            this.#tell(place)
          }),
      },
      (frame, offset) => {
        last = Math.max(last, this.#numberOf(frame))
        lastOffset = offset
      },
    )
    const first = this.#segments.first(this.#segments.count - 1)
    this.#nextNumber = Math.max(first, last + 1, this.#numberMin)
    if (!this.#segments.isLastDamaged) return
    // Behind all numbers that may have been given, and a file name that is free.
    this.#nextNumber += 1 + Math.ceil(lostBytes / RECORD_FRAME_BYTES_MIN)
    this.#segments.roll(this.#nextNumber)
  }

  /** The number of a record; 0 for what only looks like one, when that is no error. */
  #numberOf(frame: Buffer): number {
    try {
      return decodeRecord(frame).number
    } catch (error) {
      if (this.#onDamage && hasCode(error, 'JOURNAL_CORRUPT')) return 0
      throw error
    }
  }

  #tell(place: { path: string; from: number; to: number }): void {
    const key = `${place.path} ${place.from}`
    if (this.#told.has(key)) return
    this.#told.add(key)
    this.#onDamage?.({ place })
  }

  /**
   * Opens or creates the journal and cuts a torn tail off. What is left is durable.
   * @throws {WormholeError} `JOURNAL_CORRUPT` with path and offset, `FORMAT_UNSUPPORTED`,
   *   `IO_ERROR`, `DISK_FULL`.
   */
  static open(options: DiskJournalOptions): DiskJournal {
    return new DiskJournal(options)
  }

  get nextNumber(): number {
    return this.#nextNumber
  }

  /** Bytes that recovery cut off at opening: the unsynced end of a crashed run. */
  get cutBytes(): number {
    return this.#segments.cutBytes
  }

  /**
   * As `Journal.append`; `type` is 0 to 255, `bytes` at most `RECORD_BYTES_MAX` and copied.
   * @throws {WormholeError} what `flush` throws, when much is pending; the record is not added
   * then.
   */
  append(type: number, bytes: Uint8Array): number {
    assert(type >= 0 && type <= 255 && bytes.length <= RECORD_BYTES_MAX, 'journal record')
    if (this.#pendingBytes >= PENDING_BYTES_MAX) this.flush()
    const number = this.#nextNumber
    const head = encodeRecordHead(number, type)
    const sealed = seal(this.#key, bytes, head, this.#nonces)
    const parts = [head, sealed]
    parts.unshift(frameHeader(parts))
    if (this.#pendingBytes === 0) this.#pendingFirst = number
    this.#addPending(parts)
    this.#nextNumber = number + 1
    this.#counts[type]!++
    return number
  }

  /** Records of a type appended since the start. */
  appended(type: number): number {
    return this.#counts[type] as number
  }

  #addPending(parts: readonly Buffer[]): void {
    let bytes = 0
    for (const part of parts) bytes += part.length
    this.#pendingBytes += bytes
    if (bytes > GATHER_FRAME_BYTES_MAX) {
      this.#closeGather()
      this.#pending.push(...parts)
      return
    }
    if (this.#gatherTo + bytes > this.#gather.length) {
      this.#closeGather()
      this.#gather = Buffer.allocUnsafeSlow(GATHER_BYTES)
      this.#gatherFrom = 0
      this.#gatherTo = 0
    }
    for (const part of parts) {
      this.#gather.set(part, this.#gatherTo)
      this.#gatherTo += part.length
    }
  }

  #closeGather(): void {
    if (this.#gatherTo === this.#gatherFrom) return
    this.#pending.push(this.#gather.subarray(this.#gatherFrom, this.#gatherTo))
    this.#gatherFrom = this.#gatherTo
  }

  /**
   * As `Journal.flush`. @throws {WormholeError} `DISK_FULL`: nothing was written and everything is
   * kept, try again later; `IO_ERROR`, and `WRITER_BROKEN` ever after.
   */
  flush(): void {
    if (this.#pendingBytes === 0) return
    this.#closeGather()
    this.#segments.write(this.#pending, this.#pendingBytes, this.#pendingFirst)
    this.#pending = []
    this.#pendingBytes = 0
    this.#gatherFrom = 0
    this.#gatherTo = 0
    if (this.#segments.unsyncedBytes >= UNSYNCED_BYTES_MAX) this.#segments.syncSoon()
  }

  /** As `Journal.sync`. @throws {WormholeError} what `flush` throws. */
  async sync(options?: { readonly isUrgent?: boolean }): Promise<void> {
    this.flush()
    await this.#segments.sync(options)
  }

  /**
   * As `Journal.trim`. Segments are removed only while the header of the newest one, which keeps
   * the next number, is durable; it always is (S1).
   */
  trim(number: number): void {
    assert(number <= this.#nextNumber, `trim ${number} beyond ${this.#nextNumber}`)
    const isAllDead = number === this.#nextNumber && this.#pendingBytes === 0
    if (isAllDead && this.#segments.lastBytes > DEAD_BYTES_MAX) this.#segments.roll(number)
    this.#segments.removeBelow(number)
  }

  /**
   * As `Journal.replay`: what was flushed, read segment by segment. A record below the last `trim`
   * may still be among them. With `onDamage` numbers may be missing in between, which it is told.
   *
   * @throws {WormholeError} `JOURNAL_CORRUPT` with path and offset, unless there is `onDamage`.
   */
  *replay(): Generator<JournalRecord> {
    let before = 0
    for (let index = 0; index < this.#segments.count; index++) {
      const records: { frame: Buffer; offset: number }[] = []
      this.#segments.visit(index, { from: 0 }, (frame, offset) => {
        records.push({ frame, offset })
      })
      for (const { frame, offset } of records) {
        const record = this.#open(frame, before, { index, offset })
        if (record === undefined) continue
        this.#tellGap(before, record.number)
        before = record.number
        yield record
      }
    }
    if (this.#told.size > 0) this.#tellGap(before, this.#nextNumber)
  }

  /** Opens a record; undefined for a bad one, when that is no error. */
  #open(
    frame: Buffer,
    before: number,
    { index, offset }: { index: number; offset: number },
  ): JournalRecord | undefined {
    try {
      const { number, type, head, sealed } = decodeRecord(frame)
      const bytes = unseal(this.#key, sealed, head, 'JOURNAL_CORRUPT')
      if (number > before) return { number, type, bytes }
      if (!this.#onDamage) {
        this.#segments.corruptAt(index, offset, `record ${number} behind ${before}`)
      }
    } catch (error) {
      if (hasCode(error, 'FORMAT_UNSUPPORTED')) throw error
      const why = 'a record that does not open'
      if (!this.#onDamage) this.#segments.corruptAt(index, offset, why, error)
    }
    const path = this.#segments.path(index)
    this.#tell({ path, from: offset, to: offset + frame.length })
    return undefined
  }

  /** Numbers jump at a start, but only over such as were published before it. */
  #tellGap(before: number, next: number): void {
    const from = Math.max(before + 1, this.#numberMin)
    const isFirst = before === 0 && this.#told.size === 0
    if (this.#onDamage && from < next && !isFirst) {
      this.#onDamage({ numbers: { from, to: next - 1 } })
    }
  }

  /** Flushes, syncs and closes. Idempotent. @throws {WormholeError} what `sync` throws. */
  async close(): Promise<void> {
    try {
      if (this.#pendingBytes > 0 || this.#segments.unsyncedBytes > 0) await this.sync()
    } finally {
      await this.#segments.close()
    }
  }
}

/** Version, number, type: in clear, and the associated data of the seal. */
function encodeRecordHead(number: number, type: number): Buffer {
  return new ByteWriter(12).u8(RECORD_VERSION).varint(number).u8(type).finish()
}

/** The parts of a record's frame, unopened; views. @throws {WormholeError} `JOURNAL_CORRUPT`. */
export function decodeRecord(frame: Buffer): {
  number: number
  type: number
  head: Buffer
  sealed: Buffer
} {
  const body = frame.subarray(FRAME_HEADER_BYTES)
  const reader = new ByteReader(body, 'JOURNAL_CORRUPT')
  const version = reader.u8()
  if (version !== RECORD_VERSION) {
    throw new WormholeError('FORMAT_UNSUPPORTED', `journal record of format version ${version}`)
  }
  const number = reader.varint()
  const type = reader.u8()
  const head = body.subarray(0, body.length - reader.left)
  return { number, type, head, sealed: reader.raw(reader.left) }
}

/** Draws nonces for many records at once. No byte is handed out twice. */
function pooled(random: Random): Random {
  let pool: Uint8Array = new Uint8Array(0)
  let at = 0
  return {
    bytes(count) {
      if (at + count > pool.length) {
        pool = random.bytes(Math.max(count, NONCE_POOL_BYTES))
        at = 0
      }
      at += count
      return pool.subarray(at - count, at)
    },
  }
}
