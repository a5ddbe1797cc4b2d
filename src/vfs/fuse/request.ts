/**
 * A buffer for requests of the kernel, and their decoding. Every access is checked against the
 * length of the request: malformed bytes throw `BAD_ARGUMENT` and nothing outside the request is
 * used.
 */
import { WormholeError } from '../../errors.ts'
import type { FileName } from '../../types.ts'
import type { RequestContext } from '../interface.ts'
import { groupsOf } from './groups.ts'
import { HIGH, IN_HEADER_BYTES, REQUEST_BYTES_MAX } from './protocol.ts'

/** Who asks, and the way to tell the file system that the answer is no longer wanted. */
export class Caller implements RequestContext {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly umask: number
  readonly clearsSetId: boolean
  #controller: AbortController | undefined
  #isAborted = false

  constructor(request: RequestBuffer, umask: number, clearsSetId: boolean) {
    this.uid = request.uid
    this.gid = request.gid
    this.pid = request.pid
    this.umask = umask
    this.clearsSetId = clearsSetId
  }

  groups(): readonly number[] {
    return groupsOf(this.pid)
  }

  signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#isAborted) this.#controller.abort(interrupted())
    return this.#controller.signal
  }

  /** The kernel does not wait any more; says so also to who asks for the signal later. */
  abort(): void {
    this.#isAborted = true
    this.#controller?.abort(interrupted())
  }
}

function interrupted(): WormholeError {
  return new WormholeError('ABORTED', 'the caller was interrupted')
}

/** One outstanding read of the device: bytes, and after `load` the request that they are. */
export class RequestBuffer {
  /** Where the transport puts the request. Reused: nothing may keep a view of it. */
  readonly bytes: Buffer
  readonly #words: Uint32Array
  #length = 0
  #cursor = 0

  constructor(capacityBytes = REQUEST_BYTES_MAX) {
    this.bytes = Buffer.allocUnsafeSlow(capacityBytes)
    this.#words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, capacityBytes >>> 2)
  }

  /**
   * Takes the first `length` bytes as a request. False if they are none: too short for a header or
   * of another length than they say. Such bytes cannot be answered either.
   */
  load(length: number): boolean {
    this.#length = length
    this.#cursor = length
    return length >= IN_HEADER_BYTES && length <= this.bytes.length && this.#words[0] === length
  }

  get opcode(): number {
    return this.#words[1] as number
  }

  get unique(): number {
    return this.#u64(8)
  }

  get nodeId(): number {
    return this.#u64(16)
  }

  get uid(): number {
    return this.#words[6] as number
  }

  get gid(): number {
    return this.#words[7] as number
  }

  get pid(): number {
    return this.#words[8] as number
  }

  /** Requires a body of `sizeBytes` at least, and puts the cursor behind it. */
  body(sizeBytes: number): void {
    if (this.#length < IN_HEADER_BYTES + sizeBytes) this.#fail()
    this.#cursor = IN_HEADER_BYTES + sizeBytes
  }

  /** The 32-bit word at byte `offset` of the body that `body` has checked. */
  u32(offset: number): number {
    return this.#words[(IN_HEADER_BYTES + offset) >>> 2] as number
  }

  /** A 64-bit word of the body. Values over 2^53 lose their low bits: only for ids and handles. */
  u64(offset: number): number {
    return this.#u64(IN_HEADER_BYTES + offset)
  }

  /** An offset or size of a file. @throws {WormholeError} `FILE_TOO_LARGE` over 2^53 − 1. */
  position(offset: number): number {
    const value = this.u64(offset)
    if (value > Number.MAX_SAFE_INTEGER) {
      throw new WormholeError('FILE_TOO_LARGE', 'offsets end at 2^53 - 1')
    }
    return value
  }

  /** Nanoseconds since 1970 from seconds (signed, 64 bits) and nanoseconds (32 bits). */
  timeNs(secondsOffset: number, nanosecondsOffset: number): bigint {
    const low = BigInt(this.u32(secondsOffset))
    const high = BigInt(this.u32(secondsOffset + 4) | 0)
    return ((high << 32n) + low) * 1_000_000_000n + BigInt(this.u32(nanosecondsOffset))
  }

  /** The next NUL-terminated string, one character per byte. */
  text(): string {
    const end = this.#end()
    const text = this.bytes.toString('latin1', this.#cursor, end)
    this.#cursor = end + 1
    return text
  }

  /** The next NUL-terminated string as the name of an entry. The kernel has checked its form. */
  name(): FileName {
    return this.text() as FileName
  }

  /** The next NUL-terminated string as bytes of its own. */
  textBytes(): Buffer {
    const end = this.#end()
    const copy = Buffer.from(this.bytes.subarray(this.#cursor, end))
    this.#cursor = end + 1
    return copy
  }

  /** The next `count` bytes: a view, valid until the request has been handled. */
  data(count: number): Buffer {
    const from = this.#cursor
    if (count > this.#length - from) this.#fail()
    this.#cursor = from + count
    return this.bytes.subarray(from, from + count)
  }

  #end(): number {
    const end = this.bytes.indexOf(0, this.#cursor)
    if (end < 0 || end >= this.#length) this.#fail()
    return end
  }

  #u64(at: number): number {
    const word = at >>> 2
    return (this.#words[word] as number) + (this.#words[word + 1] as number) * HIGH
  }

  #fail(): never {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `request ${this.opcode} of ${this.#length} bytes is cut`,
    )
  }
}
