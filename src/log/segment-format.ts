/**
 * The bytes of segment files: headers, marks, and walking over frames. Format: README.md.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { hasCode, WormholeError, type ErrorCode } from '../errors.ts'
import type { Disk, DiskFile } from '../system.ts'
import { announcedFrameBytes, checkedFrameBytes, encodeFrame, FRAME_HEADER_BYTES } from './frame.ts'

/** Version of the segment format; in every header. */
export const SEGMENT_VERSION = 1
/** First byte of a header's body. */
export const HEADER_KIND = 0x48
/** First byte of a mark's body. Owners' bodies start with another byte. */
export const MARK_KIND = 0x00

/** First bytes of all bodies: of marks, of headers, and of entries and records of version 1. */
const KINDS: ReadonlySet<number> = new Set([MARK_KIND, 0x01, HEADER_KIND])

/** Bytes of a segment's salt. */
export const SALT_BYTES = 8
/** Offset of the salt in a mark's frame. */
const MARK_SALT_AT = FRAME_HEADER_BYTES + 1
/** Size of a mark's frame. */
const MARK_BYTES = MARK_SALT_AT + SALT_BYTES + 4
/** Reads of this size when frames are visited; longer frames are read alone. */
const WINDOW_BYTES_MAX = 1024 * 1024

/** What lies in a segment. */
export type SegmentKind = 'feed' | 'journal'

/** What a segment's header says. */
export interface SegmentHeader {
  readonly kind: SegmentKind
  /** What the owner put in to recognise its own files. */
  readonly identity: Uint8Array
  /** Number of the first record. */
  readonly first: number
  /** 8 random bytes that this segment's marks repeat, so that no record can look like a mark. */
  readonly salt: Uint8Array
}

/** The frame of a mark: so many bytes of this segment are durable. Fresh memory. */
export function encodeMark(salt: Uint8Array, durableBytes: number): Buffer {
  return encodeFrame(new ByteWriter(16).u8(MARK_KIND).raw(salt).u32(durableBytes).finish())
}

/** What a mark's body says, in bytes; its salt is not looked at. */
export function decodeMark(body: Buffer, code: ErrorCode): number {
  const reader = new ByteReader(body, code)
  if (reader.u8() !== MARK_KIND) reader.fail('no mark')
  reader.raw(SALT_BYTES)
  const durableBytes = reader.u32()
  reader.end()
  return durableBytes
}

/** What the marks with this salt say that lie anywhere in `bytes`, frames around them or not. */
export function* findMarks(bytes: Buffer, salt: Uint8Array): Generator<number> {
  for (let at = bytes.indexOf(salt); at !== -1; at = bytes.indexOf(salt, at + 1)) {
    if (at < MARK_SALT_AT || bytes[at - 1] !== MARK_KIND) continue
    if (checkedFrameBytes(bytes, at - MARK_SALT_AT) !== MARK_BYTES) continue
    yield bytes.readUInt32LE(at + SALT_BYTES)
  }
}

/** Where to visit a segment. */
export interface SegmentRange {
  /** Offset of a frame. */
  readonly from: number
  /** How much to read at once, if little is wanted; a longer frame is still read whole. */
  readonly windowBytes?: number
}

/** Sees the records of a segment in order. `frame` is a view of memory nobody else will write. */
export type FrameVisitor = (frame: Buffer, offset: number) => boolean | void

/** The frame of a header. Fresh memory. */
export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const body = new ByteWriter().u8(HEADER_KIND).u8(SEGMENT_VERSION).latin1(header.kind)
  body.bytes(header.identity).varint(header.first).raw(header.salt)
  return encodeFrame(body.finish())
}

/** The body of a header's frame. @throws {WormholeError} `code`, `FORMAT_UNSUPPORTED`. */
export function decodeSegmentHeader(body: Buffer, code: ErrorCode): SegmentHeader {
  const reader = new ByteReader(body, code)
  if (reader.u8() !== HEADER_KIND) reader.fail('no segment header')
  const version = reader.u8()
  if (version !== SEGMENT_VERSION) {
    throw new WormholeError('FORMAT_UNSUPPORTED', `segment of format version ${version}`)
  }
  const kind = reader.latin1(16)
  if (kind !== 'feed' && kind !== 'journal') return reader.fail('unknown kind of segment')
  const identity = reader.bytes(128)
  const first = reader.varint()
  const salt = reader.raw(SALT_BYTES)
  reader.end()
  return { kind, identity, first, salt }
}

/**
 * Reads the header of a segment file; what is wrong with it when it is not the one that is
 * expected.
 * @throws {WormholeError} `FORMAT_UNSUPPORTED`, `IO_ERROR`.
 */
export function readSegmentHeader(
  file: DiskFile,
  expected: {
    readonly size: number
    readonly first: number
    readonly kind: SegmentKind
    readonly identity: Uint8Array
    readonly corruptCode: ErrorCode
  },
): SegmentHeader | string {
  const bytes = Buffer.alloc(Math.min(expected.size, 512))
  file.readSync(0, bytes)
  const size = checkedFrameBytes(bytes, 0)
  if (size === 0) return 'the header has a wrong checksum'
  let header: SegmentHeader
  try {
    header = decodeSegmentHeader(bytes.subarray(FRAME_HEADER_BYTES, size), expected.corruptCode)
  } catch (error) {
    if (hasCode(error, expected.corruptCode)) return error.message
    throw error
  }
  const isOurs =
    header.kind === expected.kind && Buffer.compare(header.identity, expected.identity) === 0
  if (isOurs && header.first === expected.first) return header
  return 'the header belongs to another file'
}

/** Keeps a copy of a damaged file beside it, for a person; the first one stays. */
export function keepAside(disk: Disk, path: string, bytes: Uint8Array): void {
  const aside = `${path}.damaged`
  if (disk.readFileSync(aside) === undefined) disk.replaceFileSync(aside, bytes)
}

/**
 * Shows `visit` every record frame in a range of a file, marks and headers left out. Returns the
 * offset of the first frame that is not whole or not right; undefined when there is none.
 */
export function visitFrames(
  file: DiskFile,
  range: SegmentRange & { readonly to: number },
  visit: FrameVisitor,
): number | undefined {
  let at = range.from
  const windowBytesUsual = Math.min(range.windowBytes ?? WINDOW_BYTES_MAX, WINDOW_BYTES_MAX)
  let windowBytes = windowBytesUsual
  while (at < range.to) {
    const window = Buffer.allocUnsafe(Math.min(windowBytes, range.to - at))
    if (file.readSync(at, window) < window.length) return at
    let used = 0
    for (;;) {
      const announced = announcedFrameBytes(window, used)
      if (announced === 0 || used + announced > window.length) break
      if (checkedFrameBytes(window, used) === 0) return at + used
      const kind = window[used + FRAME_HEADER_BYTES]
      const isRecord = kind !== MARK_KIND && kind !== HEADER_KIND
      const frame = window.subarray(used, used + announced)
      if (isRecord && visit(frame, at + used) === false) return undefined
      used += announced
    }
    if (used === 0) {
      const announced = announcedFrameBytes(window, 0)
      if (announced === 0 || at + announced > range.to) return at
      windowBytes = announced
    } else {
      windowBytes = windowBytesUsual
    }
    at += used
  }
  return undefined
}

/** A part of a segment whose frames cannot be read; offsets in the file. */
export interface Hole {
  readonly from: number
  readonly to: number
}

/**
 * Shows `visit` the record frames that can still be read in a damaged segment, from offset `from`
 * on, and returns what lies between them. Up to `durableTo` every byte that is no frame is damage;
 * behind it the first bad frame ends the file, as a torn tail. A frame found behind damage may be
 * anybody's bytes: who reads it must check its seal or signature.
 */
export function visitReadable(
  bytes: Buffer,
  range: { readonly from: number; readonly durableTo: number },
  visit: (frame: Buffer, offset: number) => void,
): Hole[] {
  const holes: Hole[] = []
  let at = range.from
  while (at < bytes.length) {
    const size = checkedFrameBytes(bytes, at)
    if (size === 0) {
      if (at >= range.durableTo) break
      const next = findFrame(bytes, at)
      holes.push({ from: at, to: next })
      at = next
      continue
    }
    const kind = bytes[at + FRAME_HEADER_BYTES]
    if (kind !== MARK_KIND && kind !== HEADER_KIND) visit(bytes.subarray(at, at + size), at)
    at += size
  }
  return holes
}

/** Where the next whole frame behind a bad one begins; the end of the bytes if there is none. */
function findFrame(bytes: Buffer, badAt: number): number {
  const announced = announcedFrameBytes(bytes, badAt)
  const expected = badAt + announced
  if (announced > 0 && checkedFrameBytes(bytes, expected) > 0) return expected
  for (let at = badAt + 1; at < bytes.length; at++) {
    // Cheap tests first: most offsets announce an impossible length or no known kind.
    const size = announcedFrameBytes(bytes, at)
    if (size === 0 || at + size > bytes.length) continue
    if (!KINDS.has(bytes[at + FRAME_HEADER_BYTES] as number)) continue
    if (checkedFrameBytes(bytes, at) > 0) return at
  }
  return bytes.length
}
