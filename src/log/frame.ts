/**
 * Frames: how a body of bytes lies in a segment file and crosses the wire. Length, checksum, body;
 * grammar in README.md.
 *
 * The checksum is CRC-32C (RFC 3720 appendix B.4, polynomial 0x1EDC6F41 reflected) over the length
 * field and the body. It finds torn writes and rot, not forgery: signatures and seals do that.
 */
import assert from 'node:assert/strict'

/** Bytes before the body: u32 length of the body, u32 CRC-32C, both little-endian. */
export const FRAME_HEADER_BYTES = 8
/** Longest body: bounds what one frame can make a reader hold. */
export const FRAME_BODY_BYTES_MAX = 8 * 1024 * 1024

const POLYNOMIAL_REFLECTED = 0x82f63b78

/** Eight tables of 256 ("slicing-by-8", Kounavis and Berry, 2005), one after the other. */
const TABLES = new Int32Array(8 * 256)
for (let byte = 0; byte < 256; byte++) {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL_REFLECTED : crc >>> 1
  TABLES[byte] = crc
}
for (let at = 256; at < TABLES.length; at++) {
  const before = TABLES[at - 256] as number
  TABLES[at] = (before >>> 8) ^ (TABLES[before & 0xff] as number)
}

/**
 * CRC-32C of `bytes[from, to)`, continuing `seed` (the checksum of what came before; 0 at first).
 */
export function crc32c(bytes: Uint8Array, from = 0, to = bytes.length, seed = 0): number {
  const tables = TABLES
  let crc = ~seed
  let at = from
  for (const end = to - 7; at < end; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    crc =
      tables[0x700 | (crc & 0xff)]! ^
      tables[0x600 | ((crc >>> 8) & 0xff)]! ^
      tables[0x500 | ((crc >>> 16) & 0xff)]! ^
      tables[0x400 | (crc >>> 24)]! ^
      tables[0x300 | bytes[at + 4]!]! ^
      tables[0x200 | bytes[at + 5]!]! ^
      tables[0x100 | bytes[at + 6]!]! ^
      tables[bytes[at + 7]!]!
  }
  for (; at < to; at++) crc = (crc >>> 8) ^ tables[(crc ^ bytes[at]!) & 0xff]!
  return ~crc >>> 0
}

/** Total size of a frame with this body. */
export function frameBytes(bodyLength: number): number {
  return FRAME_HEADER_BYTES + bodyLength
}

/**
 * The header of a frame whose body is the given parts, one after the other: write it and then the
 * parts. Fresh memory. The body must have 1 to `FRAME_BODY_BYTES_MAX` bytes.
 */
export function frameHeader(parts: readonly Uint8Array[]): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
  let length = 0
  for (const part of parts) length += part.length
  assert(length > 0 && length <= FRAME_BODY_BYTES_MAX, `frame body of ${length} bytes`)
  header.writeUInt32LE(length, 0)
  let crc = crc32c(header, 0, 4)
  for (const part of parts) crc = crc32c(part, 0, part.length, crc)
  header.writeUInt32LE(crc, 4)
  return header
}

/** A whole frame with this body. Fresh memory. */
export function encodeFrame(body: Uint8Array): Buffer {
  return Buffer.concat([frameHeader([body]), body])
}

/**
 * Size of the frame that its header at `at` announces, or 0 when the header is cut off or announces
 * an impossible length. Says nothing about the checksum.
 */
export function announcedFrameBytes(bytes: Buffer, at: number): number {
  if (at + FRAME_HEADER_BYTES > bytes.length) return 0
  const length = bytes.readUInt32LE(at)
  return length === 0 || length > FRAME_BODY_BYTES_MAX ? 0 : FRAME_HEADER_BYTES + length
}

/** Size of the frame at `at` when it is whole and its checksum is right; otherwise 0. */
export function checkedFrameBytes(bytes: Buffer, at: number): number {
  const size = announcedFrameBytes(bytes, at)
  if (size === 0 || at + size > bytes.length) return 0
  const crc = crc32c(bytes, at + FRAME_HEADER_BYTES, at + size, crc32c(bytes, at, at + 4))
  return crc === bytes.readUInt32LE(at + 4) ? size : 0
}

/**
 * The body of a frame that must fill `bytes` exactly; a view. Undefined when it does not, or when
 * the checksum is wrong.
 */
export function decodeFrame(bytes: Uint8Array): Buffer | undefined {
  const buffer = asBuffer(bytes)
  const size = checkedFrameBytes(buffer, 0)
  return size !== 0 && size === buffer.length ? buffer.subarray(FRAME_HEADER_BYTES) : undefined
}

/** The same memory as a `Buffer`. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
