/**
 * Compact binary encoding shared by every format: little-endian integers, LEB128 varints (up to
 * 2^53 − 1), length-prefixed bytes and Latin-1 strings.
 *
 * Writing is total. Reading hostile bytes throws `WormholeError` `ENTRY_INVALID` (or the code given
 * to the reader) and never reads outside its buffer; strings and byte fields are bounded by what is
 * left in the buffer, so nothing is allocated on a peer's word alone.
 */
import { WormholeError, type ErrorCode } from './errors.ts'

/** Appends values to a growing buffer. */
export class ByteWriter {
  #buffer: Buffer
  #length = 0

  constructor(capacity = 128) {
    this.#buffer = Buffer.allocUnsafe(capacity)
  }

  get length(): number {
    return this.#length
  }

  #room(count: number): number {
    const at = this.#length
    if (at + count > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, at + count))
      this.#buffer.copy(grown, 0, 0, at)
      this.#buffer = grown
    }
    this.#length = at + count
    return at
  }

  u8(value: number): this {
    const at = this.#room(1)
    this.#buffer[at] = value
    return this
  }

  u32(value: number): this {
    const at = this.#room(4)
    this.#buffer.writeUInt32LE(value, at)
    return this
  }

  /** A non-negative safe integer in 1 to 8 bytes. */
  varint(value: number): this {
    if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER) || value % 1 !== 0) {
      throw new TypeError(`not a varint: ${value}`)
    }
    while (value >= 0x80) {
      this.u8((value % 0x80) | 0x80)
      value = Math.floor(value / 0x80)
    }
    return this.u8(value)
  }

  /** A signed 64-bit integer, 8 bytes. */
  i64(value: bigint): this {
    const at = this.#room(8)
    this.#buffer.writeBigInt64LE(value, at)
    return this
  }

  /** Bytes without a length. */
  raw(value: Uint8Array): this {
    const at = this.#room(value.length)
    this.#buffer.set(value, at)
    return this
  }

  /** Varint length, then the bytes. */
  bytes(value: Uint8Array): this {
    return this.varint(value.length).raw(value)
  }

  /** Varint length, then one byte per character (Latin-1). */
  latin1(value: string): this {
    this.varint(value.length)
    const at = this.#room(value.length)
    this.#buffer.write(value, at, 'latin1')
    return this
  }

  /** Bytes given as hex, without a length. */
  hex(value: string): this {
    const at = this.#room(value.length >>> 1)
    this.#buffer.write(value, at, 'hex')
    return this
  }

  /** Bytes given as base64url, without a length. */
  base64url(value: string): this {
    const at = this.#room((value.length * 3) >>> 2)
    this.#buffer.write(value, at, 'base64url')
    return this
  }

  /** The bytes so far. A view: do not write further while it is in use. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }
}

/** Reads what `ByteWriter` wrote; views into the given buffer, no copies. */
export class ByteReader {
  readonly #buffer: Buffer
  readonly #code: ErrorCode
  #at: number

  constructor(bytes: Uint8Array, code: ErrorCode = 'ENTRY_INVALID') {
    this.#buffer = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#code = code
    this.#at = 0
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.#buffer.length - this.#at
  }

  #take(count: number): number {
    const at = this.#at
    if (count > this.#buffer.length - at) this.fail('too short')
    this.#at = at + count
    return at
  }

  /** Refuses the input. */
  fail(why: string): never {
    throw new WormholeError(this.#code, `malformed bytes at offset ${this.#at}: ${why}`)
  }

  u8(): number {
    return this.#buffer[this.#take(1)] as number
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#take(4))
  }

  varint(): number {
    const first = this.#buffer[this.#at]
    if (first !== undefined && first < 0x80) {
      this.#at++
      return first
    }
    let value = 0
    let scale = 1
    for (let index = 0; index < 8; index++) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (byte === 0 && index > 0) this.fail('varint is not minimal')
        if (value > Number.MAX_SAFE_INTEGER) this.fail('varint over 2^53')
        return value
      }
      scale *= 0x80
    }
    return this.fail('varint too long')
  }

  i64(): bigint {
    return this.#buffer.readBigInt64LE(this.#take(8))
  }

  raw(count: number): Buffer {
    const at = this.#take(count)
    return this.#buffer.subarray(at, at + count)
  }

  bytes(lengthMax = 0x7fffffff): Buffer {
    return this.raw(this.#length(lengthMax))
  }

  #length(lengthMax: number): number {
    const length = this.varint()
    if (length > lengthMax) this.fail(`field of ${length} bytes, at most ${lengthMax} allowed`)
    return length
  }

  // Text is read from the buffer itself: a view of it would cost more than the text.

  latin1(lengthMax = 0x7fffffff): string {
    const at = this.#take(this.#length(lengthMax))
    return this.#buffer.toString('latin1', at, this.#at)
  }

  hex(count: number): string {
    const at = this.#take(count)
    return this.#buffer.toString('hex', at, this.#at)
  }

  base64url(count: number): string {
    const at = this.#take(count)
    return this.#buffer.toString('base64url', at, this.#at)
  }

  /** Refuses trailing bytes. */
  end(): void {
    if (this.left !== 0) this.fail(`${this.left} bytes too many`)
  }
}
