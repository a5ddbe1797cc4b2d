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

/**
 * Cuts a byte stream into messages. A message that lies within one piece is a view of it; others
 * are joined once. Memory grows only with bytes that have arrived, never on a peer's word.
 */
export class FrameSplitter {
  readonly #onMessage: (message: Buffer) => void
  #pieces: Buffer[] = []
  #held = 0
  /** Length of the message being collected; undefined while its header is. */
  #wanted: number | undefined

  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage
  }

  /** Takes the next bytes. @throws {WormholeError} `PEER_MISBEHAVED` for a message too long. */
  push(piece: Buffer): void {
    this.#pieces.push(piece)
    this.#held += piece.length
    for (;;) {
      if (this.#wanted === undefined) {
        if (this.#held < FRAME_HEADER_BYTES) return
        const length = this.#take(FRAME_HEADER_BYTES).readUInt32LE(0)
        if (length > MESSAGE_BYTES_MAX) {
          throw new WormholeError('PEER_MISBEHAVED', `message of ${length} bytes announced`)
        }
        this.#wanted = length
      }
      if (this.#held < this.#wanted) return
      const message = this.#take(this.#wanted)
      this.#wanted = undefined
      this.#onMessage(message)
    }
  }

  /** The first `count` of the bytes held; `count` is at most `#held`. */
  #take(count: number): Buffer {
    this.#held -= count
    const first = this.#pieces[0]
    if (count === 0 || first === undefined) return Buffer.alloc(0)
    if (first.length >= count) {
      if (first.length === count) this.#pieces.shift()
      else this.#pieces[0] = first.subarray(count)
      return first.subarray(0, count)
    }
    const joined = Buffer.allocUnsafe(count)
    let at = 0
    let used = 0
    for (const piece of this.#pieces) {
      const part = Math.min(piece.length, count - at)
      piece.copy(joined, at, 0, part)
      at += part
      if (part < piece.length) {
        this.#pieces[used] = piece.subarray(part)
        break
      }
      used++
      if (at === count) break
    }
    this.#pieces.splice(0, used)
    return joined
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
