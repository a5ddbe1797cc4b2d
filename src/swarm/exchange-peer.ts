/**
 * One connected device as a source of chunks: what it was asked, how fast it is, and how much may
 * be in flight to it. Its window follows throughput times (round trip + a quarter second), so that
 * a fast peer is kept busy and a slow one never sits on more than it delivers in about a second.
 */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress, DeviceId } from '../types.ts'
import type { Outgoing } from './channels.ts'
import type { Priority } from './chunk-wants.ts'

/** A device that chunks may be asked of, by its best link. */
export interface ChunkPeer {
  readonly device: DeviceId
  send(message: Outgoing): void
  /** Grows while anything arrives, parts of a chunk included. */
  receivedBytes(): number
  rttMs(): number | undefined
}

const WINDOW_BYTES_MIN = 1024 * 1024
const WINDOW_BYTES_MAX = 32 * 1024 * 1024
/** In the background a window is filled up again once it is down to this part. */
const REFILL_PART = 0.75
/** Sealed size of a chunk before any was seen. */
const CHUNK_BYTES_GUESS = 256 * 1024
/** Throughput assumed before it is measured. */
const RATE_GUESS = 4 * 1024 * 1024
/** Shortest span over which throughput is measured. */
const RATE_MS_MIN = 100
/** Fewer bytes than this say more about the round trip than about throughput. */
const RATE_BYTES_MIN = 128 * 1024
const RATE_WEIGHT = 0.3
/** No byte for so long while somebody waits: ask elsewhere. Twice as long otherwise. */
const STALL_MS = 3000
/** Fewer bytes than this are pings, not progress. */
const STALL_BYTES = 4096

interface Flight {
  readonly askedMs: number
  readonly priority: Priority
}

/** See the file header. */
export class ExchangePeer {
  readonly device: DeviceId
  #link: ChunkPeer
  readonly #flights = new Map<ChunkAddress, Flight>()
  readonly #asks = new Map<number, (has: readonly boolean[] | undefined) => void>()
  readonly #askSizes = new Map<number, number>()
  #nextAsk = 1
  #meanBytes = CHUNK_BYTES_GUESS
  #rate: number | undefined
  /** The span being measured: only time in which something was in flight. */
  #spanStartMs: number
  #spanBytes = 0
  #seenBytes: number
  #seenMs: number

  constructor(link: ChunkPeer, nowMs: number) {
    this.device = link.device
    this.#link = link
    this.#spanStartMs = nowMs
    this.#seenBytes = link.receivedBytes()
    this.#seenMs = nowMs
  }

  /** From now on the device is asked by another link. */
  relink(link: ChunkPeer): void {
    this.#link = link
    this.#seenBytes = link.receivedBytes()
  }

  /** Bytes per second; undefined before any was measured. */
  get measuredRate(): number | undefined {
    return this.#rate
  }

  get isAsking(): boolean {
    return this.#asks.size > 0
  }

  /** Asks which chunks it has; `undefined` when it goes away. */
  ask(
    addresses: readonly ChunkAddress[],
    answer: (has: readonly boolean[] | undefined) => void,
  ): void {
    const id = this.#nextAsk++
    this.#asks.set(id, answer)
    this.#askSizes.set(id, addresses.length)
    this.#link.send({ type: 'ask', id, addresses })
  }

  /** @throws {WormholeError} `PEER_MISBEHAVED` when the answer does not fit the question. */
  onHave(id: number, has: readonly boolean[]): void {
    const answer = this.#asks.get(id)
    if (!answer) return
    if (this.#askSizes.get(id) !== has.length) {
      throw new WormholeError('PEER_MISBEHAVED', 'answer of another size than the question')
    }
    this.#asks.delete(id)
    this.#askSizes.delete(id)
    answer(has)
  }

  /** Whether the window takes a chunk more than what is in flight and `extra` others. */
  hasRoom(extra: number): boolean {
    return (this.#flights.size + extra) * this.#meanBytes < this.#windowBytes()
  }

  /** Whether so much of the window is free that asking pays: one message for many chunks. */
  isHungry(): boolean {
    return this.#flights.size * this.#meanBytes <= this.#windowBytes() * REFILL_PART
  }

  #windowBytes(): number {
    const rttMs = this.#link.rttMs() ?? 50
    const wanted = ((this.#rate ?? RATE_GUESS) * (rttMs + 250)) / 1000
    return Math.min(WINDOW_BYTES_MAX, Math.max(WINDOW_BYTES_MIN, wanted))
  }

  /** How long one more chunk would take. */
  expectedMs(): number {
    const bytes = (this.#flights.size + 1) * this.#meanBytes
    return (this.#link.rttMs() ?? 50) + (bytes / (this.#rate ?? RATE_GUESS)) * 1000
  }

  /** Asks for chunks. */
  request(priority: Priority, addresses: readonly ChunkAddress[], nowMs: number): void {
    if (this.#flights.size === 0) {
      this.#spanStartMs = nowMs
      this.#spanBytes = 0
      this.#seenMs = nowMs
      this.#seenBytes = this.#link.receivedBytes()
    }
    for (const address of addresses) this.#flights.set(address, { askedMs: nowMs, priority })
    this.get(priority, addresses)
  }

  /** Sends the request (again, with another priority). */
  get(priority: Priority, addresses: readonly ChunkAddress[]): void {
    this.#link.send({ type: 'get', priority, addresses })
  }

  /** It need not send a chunk any more. */
  cancel(address: ChunkAddress): void {
    if (this.#flights.delete(address)) this.#link.send({ type: 'cancel', addresses: [address] })
  }

  /** A request is answered. False when there was none. */
  finish(address: ChunkAddress): boolean {
    return this.#flights.delete(address)
  }

  /** A chunk arrived. */
  arrived(address: ChunkAddress, sizeBytes: number, nowMs: number): void {
    this.#flights.delete(address)
    this.#meanBytes += (sizeBytes - this.#meanBytes) * 0.1
    this.#spanBytes += sizeBytes
    const spanMs = nowMs - this.#spanStartMs
    const isIdle = this.#flights.size === 0
    if (spanMs < RATE_MS_MIN && !(isIdle && spanMs > 0)) return
    if (this.#spanBytes < RATE_BYTES_MIN) return
    const rate = (this.#spanBytes * 1000) / spanMs
    this.#rate = this.#rate === undefined ? rate : this.#rate + (rate - this.#rate) * RATE_WEIGHT
    this.#spanStartMs = nowMs
    this.#spanBytes = 0
  }

  /** When a chunk was asked for. */
  askedMs(address: ChunkAddress): number | undefined {
    return this.#flights.get(address)?.askedMs
  }

  /** Whether requests are open and nothing has arrived for too long. */
  isStalled(nowMs: number): boolean {
    const received = this.#link.receivedBytes()
    if (received - this.#seenBytes > STALL_BYTES || this.#flights.size === 0) {
      this.#seenBytes = received
      this.#seenMs = nowMs
      return false
    }
    let isAwaited = false
    for (const flight of this.#flights.values()) isAwaited ||= flight.priority === 'foreground'
    return nowMs - this.#seenMs > (isAwaited ? STALL_MS : 2 * STALL_MS)
  }

  /** Forgets all open requests; returns what they were for. */
  release(): ChunkAddress[] {
    const addresses = [...this.#flights.keys()]
    this.#flights.clear()
    return addresses
  }

  /** The link is gone: open questions get no answer. */
  dropAsks(): void {
    for (const answer of this.#asks.values()) answer(undefined)
    this.#asks.clear()
    this.#askSizes.clear()
  }
}
