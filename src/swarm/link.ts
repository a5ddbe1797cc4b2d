/**
 * What every `Link` shares: one close notification, the limit of a message, and the framing of
 * messages on a byte stream (u32 little-endian length, then the bytes).
 */
import assert from 'node:assert'
import { WormholeError } from '../errors.ts'
import type { Link, Route } from './interface.ts'

/**
 * Largest message. The largest thing that crosses a link is one log entry (8 MiB) with a small
 * header; a sealed chunk is about 1 MiB.
 */
export const MESSAGE_BYTES_MAX = 8 * 1024 * 1024 + 64 * 1024

/** Bytes of a frame's length. */
export const FRAME_HEADER_BYTES = 4

/** The close-once half of a link; adapters add sending and feed `deliver`. */
export abstract class BaseLink implements Link {
  readonly remoteKey: string
  readonly route: Route
  readonly isInitiator: boolean
  readonly remoteAddress: string
  onMessage: (message: Buffer) => void = () => {}
  onDrain: () => void = () => {}
  onClose: (error: Error | undefined) => void = () => {}
  #isClosed = false

  constructor(about: Pick<Link, 'remoteKey' | 'route' | 'isInitiator' | 'remoteAddress'>) {
    this.remoteKey = about.remoteKey
    this.route = about.route
    this.isInitiator = about.isInitiator
    this.remoteAddress = about.remoteAddress
  }

  abstract readonly receivedBytes: number
  abstract readonly sentBytes: number
  abstract send(parts: readonly Uint8Array[]): boolean
  abstract close(error?: Error): void

  protected get isClosed(): boolean {
    return this.#isClosed
  }

  /** Marks the link closed and tells its user, once and later. True the first time. */
  protected finish(error: Error | undefined): boolean {
    if (this.#isClosed) return false
    this.#isClosed = true
    queueMicrotask(() => this.onClose(error))
    return true
  }

  /** Hands over one message; none after the link is closed. */
  protected deliver(message: Buffer): void {
    if (!this.#isClosed) this.onMessage(message)
  }

  /** The length of a message given in parts; a message over the limit is a bug of the sender. */
  protected lengthOf(parts: readonly Uint8Array[]): number {
    let length = 0
    for (const part of parts) length += part.length
    assert(length <= MESSAGE_BYTES_MAX, `message of ${length} bytes`)
    return length
  }
}

/** Memory given to a message before its bytes have arrived; larger ones grow as they come. */
const ADVANCE_BYTES_MAX = 2 * 1024 * 1024

/**
 * Cuts a byte stream into messages. A message that lies within one piece is a view of it; others
 * are copied together as they arrive, so that pieces need not be kept.
 */
export class FrameSplitter {
  readonly #onMessage: (message: Buffer) => void
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES)
  #headerBytes = 0
  /** Length of the message being collected; undefined while its header is. */
  #wanted: number | undefined
  /** Its first bytes, if it did not come in one piece. */
  #body: Buffer | undefined
  #bodyBytes = 0

  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage
  }

  /** Takes the next bytes. @throws {WormholeError} `PEER_MISBEHAVED` for a message too long. */
  push(piece: Buffer): void {
    let at = 0
    while (at < piece.length) {
      if (this.#wanted === undefined) at = this.#readHeader(piece, at)
      else at = this.#readBody(piece, at, this.#wanted)
    }
  }

  #readHeader(piece: Buffer, at: number): number {
    const end = Math.min(piece.length, at + FRAME_HEADER_BYTES - this.#headerBytes)
    piece.copy(this.#header, this.#headerBytes, at, end)
    this.#headerBytes += end - at
    if (this.#headerBytes < FRAME_HEADER_BYTES) return end
    this.#headerBytes = 0
    const length = this.#header.readUInt32LE(0)
    if (length > MESSAGE_BYTES_MAX) {
      throw new WormholeError('PEER_MISBEHAVED', `message of ${length} bytes announced`)
    }
    if (length === 0) this.#onMessage(Buffer.alloc(0))
    else this.#wanted = length
    return end
  }

  #readBody(piece: Buffer, at: number, wanted: number): number {
    const end = Math.min(piece.length, at + wanted - this.#bodyBytes)
    if (this.#bodyBytes === 0 && end - at === wanted) {
      this.#wanted = undefined
      this.#onMessage(piece.subarray(at, end))
      return end
    }
    this.#reserve(this.#bodyBytes + end - at, wanted)
    piece.copy(this.#body as Buffer, this.#bodyBytes, at, end)
    this.#bodyBytes += end - at
    if (this.#bodyBytes === wanted) {
      const message = this.#body as Buffer
      this.#body = undefined
      this.#bodyBytes = 0
      this.#wanted = undefined
      this.#onMessage(message)
    }
    return end
  }

  /** Makes room for `needed` bytes of a message of `wanted`. */
  #reserve(needed: number, wanted: number): void {
    if (this.#body && this.#body.length >= needed) return
    const size = Math.min(wanted, Math.max(ADVANCE_BYTES_MAX, needed * 2))
    const grown = Buffer.allocUnsafeSlow(size)
    this.#body?.copy(grown, 0, 0, this.#bodyBytes)
    this.#body = grown
  }
}

/** The header of a message of `length` bytes. */
export function frameHeader(length: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
  header.writeUInt32LE(length, 0)
  return header
}

/** Splits `host:port` (IPv6 hosts in brackets). Undefined when it is not one. */
export function splitAddress(address: string): { host: string; port: number } | undefined {
  const at = address.lastIndexOf(':')
  const port = Number(address.slice(at + 1))
  if (at < 1 || !Number.isInteger(port) || port < 1 || port > 65535) return undefined
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1')
  return host.length > 0 ? { host, port } : undefined
}

/** `host:port`, IPv6 hosts in brackets; IPv4 in IPv6 as IPv4. */
export function joinAddress(host: string, port: number): string {
  const plain = host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host
  return plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`
}
