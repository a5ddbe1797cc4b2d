/**
 * Frames of the control socket. Grammar and limits: README.md, "Control protocol".
 *
 * A reader never allocates on the sender's word alone: a frame's length is checked against
 * `FRAME_BYTES_MAX` before its bytes are awaited.
 */
import { decode, encode } from '@msgpack/msgpack'
import { WormholeError, type ErrorData } from '../errors.ts'

/** Version of the protocol, told in both hellos. */
export const PROTOCOL_VERSION = 1
/** Largest body of a frame: a data piece with its header, or a message. */
export const FRAME_BYTES_MAX = 1024 * 1024
/** Largest piece of a stream. Four fill a window. */
export const PIECE_BYTES_MAX = 256 * 1024
/** How much of one stream may be on its way. Bounds the memory of a stream on either side. */
export const WINDOW_BYTES = 4 * PIECE_BYTES_MAX

const KIND_MESSAGE = 0
const KIND_DATA = 1
/** Length (u32) and kind (u8). */
const HEADER_BYTES = 5
const DATA_HEADER_BYTES = HEADER_BYTES + 4

/** What progress of a call looks like. `total` 0: unknown. */
export interface Progress {
  readonly text: string
  readonly done: number
  readonly total: number
  /** `done` and `total` are bytes. */
  readonly isBytes?: boolean
  /** Devices that sent something since the progress before. */
  readonly sourceCount?: number
}

/** Called a few times a second. */
export type OnProgress = (progress: Progress) => void

/** The first message of each side. */
export interface Hello {
  readonly hello: number
  readonly version: string
  /** From the daemon. */
  readonly pid?: number
}

/** What a client sends after its hello. */
export type ClientMessage =
  | { readonly id: number; readonly method: string; readonly params: unknown }
  | { readonly id: number; readonly cancel: true }
  | { readonly id: number; readonly end: true }
  | { readonly id: number; readonly more: number }

/**
 * What the daemon sends after its hello. `result` is an encoded value; `isSplit`: the encoded
 * result is what the data pieces join to.
 */
export type ServerMessage =
  | { readonly id: number; readonly result: Uint8Array }
  | { readonly id: number; readonly isSplit: true }
  | { readonly id: number; readonly error: ErrorData }
  | { readonly id: number; readonly progress: Progress }
  | { readonly id: number; readonly more: number }

/** One received frame. `bytes` is a view into memory that nobody else uses. */
export type Frame =
  | { readonly kind: 'message'; readonly value: Record<string, unknown> }
  | { readonly kind: 'data'; readonly id: number; readonly bytes: Buffer }

/** Encodes a value alone, without a frame. Undefined fields are left out. */
export function encodeValue(value: unknown): Uint8Array {
  return encode(value, { ignoreUndefined: true })
}

/** The reverse of `encodeValue`. @throws `ENTRY_INVALID`. */
export function decodeValue(bytes: Uint8Array): unknown {
  try {
    return decode(bytes)
  } catch (error) {
    throw new WormholeError('ENTRY_INVALID', 'the control message is not msgpack', { cause: error })
  }
}

/** One message as a frame. @throws `LIMIT_EXCEEDED` when it does not fit. */
export function encodeMessage(message: Hello | ClientMessage | ServerMessage): Buffer {
  const body = encodeValue(message)
  if (body.length + 1 > FRAME_BYTES_MAX) {
    throw new WormholeError(
      'LIMIT_EXCEEDED',
      `a control message of ${body.length} bytes is too big`,
    )
  }
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length)
  frame.writeUInt32LE(body.length + 1, 0)
  frame[4] = KIND_MESSAGE
  frame.set(body, HEADER_BYTES)
  return frame
}

/** What precedes the bytes of a data piece, 1 to `PIECE_BYTES_MAX` of them. */
export function dataHeader(id: number, lengthBytes: number): Buffer {
  const header = Buffer.allocUnsafe(DATA_HEADER_BYTES)
  header.writeUInt32LE(lengthBytes + DATA_HEADER_BYTES - 4, 0)
  header[4] = KIND_DATA
  header.writeUInt32LE(id, HEADER_BYTES)
  return header
}

/** Cuts bytes into pieces that fit a frame; views, no copies. */
export function* cutPieces(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES_MAX) {
    yield bytes.subarray(at, at + PIECE_BYTES_MAX)
  }
}

/** Puts frames together from a byte stream cut anywhere. */
export class FrameReader {
  #parts: Buffer[] = []
  #held = 0

  /** Takes what arrived and returns the frames that are complete. @throws `ENTRY_INVALID`. */
  push(arrived: Buffer): Frame[] {
    this.#parts.push(arrived)
    this.#held += arrived.length
    const frames: Frame[] = []
    for (;;) {
      const lengthBytes = this.#peekLength()
      if (lengthBytes === undefined || this.#held < 4 + lengthBytes) return frames
      const whole = this.#take(4 + lengthBytes)
      frames.push(parseFrame(whole.subarray(4)))
    }
  }

  #peekLength(): number | undefined {
    if (this.#held < 4) return undefined
    if ((this.#parts[0] as Buffer).length < 4) this.#parts = [Buffer.concat(this.#parts)]
    const lengthBytes = (this.#parts[0] as Buffer).readUInt32LE(0)
    if (lengthBytes < 2 || lengthBytes > FRAME_BYTES_MAX) {
      throw new WormholeError(
        'ENTRY_INVALID',
        `a control frame of ${lengthBytes} bytes; 2 to ${FRAME_BYTES_MAX} are allowed`,
      )
    }
    return lengthBytes
  }

  #take(count: number): Buffer {
    const first = this.#parts[0] as Buffer
    const joined = first.length >= count ? first : Buffer.concat(this.#parts)
    const rest = joined.subarray(count)
    if (joined === first) this.#parts.shift()
    else this.#parts = []
    if (rest.length > 0) this.#parts.unshift(rest)
    this.#held -= count
    return joined.subarray(0, count)
  }
}

function parseFrame(body: Buffer): Frame {
  if (body[0] === KIND_DATA && body.length > 5) {
    const bytes = body.subarray(5)
    if (bytes.length > PIECE_BYTES_MAX) {
      throw new WormholeError('ENTRY_INVALID', `a data piece of ${bytes.length} bytes is too big`)
    }
    return { kind: 'data', id: body.readUInt32LE(1), bytes }
  }
  if (body[0] !== KIND_MESSAGE) {
    throw new WormholeError('ENTRY_INVALID', `a control frame of unknown kind ${body[0]}`)
  }
  const value = decodeValue(body.subarray(1))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new WormholeError('ENTRY_INVALID', 'a control message must be a map')
  }
  return { kind: 'message', value: value as Record<string, unknown> }
}
