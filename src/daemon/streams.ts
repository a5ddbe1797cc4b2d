/**
 * The two ends of one byte stream inside a control connection. The receiver grants the sender what
 * its consumer has taken, so neither side ever holds more than `WINDOW_BYTES` of a stream, and one
 * slow stream does not stop the others of its connection.
 */
import type { Socket } from 'node:net'
import { WormholeError } from '../errors.ts'
import { WINDOW_BYTES, dataHeader } from './frames.ts'

/** Grants are told in steps of this size, not for every piece. */
const GRANT_BYTES = WINDOW_BYTES / 4

/** The sender's allowance. */
export class Allowance {
  #left = WINDOW_BYTES
  #failure: Error | undefined
  #wake: (() => void) | undefined

  /** Waits until `count` (at most a window) bytes may be sent, and uses them up. */
  async take(count: number): Promise<void> {
    while (this.#left < count && this.#failure === undefined) {
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    if (this.#failure !== undefined) throw this.#failure
    this.#left -= count
  }

  /** The receiver took `count` bytes. @throws `ENTRY_INVALID` for a grant it could not give. */
  grant(count: number): void {
    if (!Number.isInteger(count) || count < 1 || this.#left + count > WINDOW_BYTES) {
      throw new WormholeError('ENTRY_INVALID', 'the control stream grants more than was sent')
    }
    this.#left += count
    this.#wake?.()
  }

  /** Ends every present and later wait with `error`. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#wake?.()
  }
}

/** What arrived of a stream and waits for its one consumer. */
export class Inbox implements AsyncIterable<Uint8Array> {
  readonly #grant: (count: number) => void
  #pieces: Uint8Array[] = []
  #held = 0
  #owed = 0
  #isEnded = false
  #failure: Error | undefined
  #wake: (() => void) | undefined

  /** `grant` tells the sender how many more bytes it may send. */
  constructor(grant: (count: number) => void) {
    this.#grant = grant
  }

  /** Takes a piece from the connection. @throws `ENTRY_INVALID` beyond the window or the end. */
  push(bytes: Uint8Array): void {
    if (this.#isEnded) throw new WormholeError('ENTRY_INVALID', 'control data after its end')
    this.#held += bytes.length
    if (this.#held + this.#owed > WINDOW_BYTES) {
      throw new WormholeError('ENTRY_INVALID', 'the control stream ignores its window')
    }
    this.#pieces.push(bytes)
    this.#wake?.()
  }

  /** No more pieces will come. */
  end(): void {
    this.#isEnded = true
    this.#wake?.()
  }

  /** Ends the consumer's iteration with `error`, at once. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#pieces = []
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      const piece = this.#pieces.shift()
      if (piece !== undefined) {
        this.#consume(piece.length)
        yield piece
      } else if (this.#isEnded) {
        return
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    }
  }

  #consume(count: number): void {
    this.#held -= count
    this.#owed += count
    if (this.#owed < GRANT_BYTES || this.#isEnded) return
    const owed = this.#owed
    this.#owed = 0
    this.#grant(owed)
  }
}

/**
 * Writes one data piece (at most `PIECE_BYTES_MAX`, allowed beforehand) and waits until the socket
 * wants more, or is closed. `bytes` must not change afterwards.
 */
export async function sendPiece(socket: Socket, id: number, bytes: Uint8Array): Promise<void> {
  socket.cork()
  socket.write(dataHeader(id, bytes.length))
  const isRoomy = socket.write(bytes)
  socket.uncork()
  if (isRoomy || socket.destroyed) return
  await new Promise<void>((resolve) => {
    const settle = (): void => {
      socket.off('drain', settle)
      socket.off('close', settle)
      resolve()
    }
    socket.once('drain', settle)
    socket.once('close', settle)
  })
}
