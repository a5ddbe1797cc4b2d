/**
 * One session: the channels of one authenticated link to a device, from the hello to the close.
 *
 * It owns the handshake of versions and signs of life; it knows nothing about logs or chunks. A
 * peer that breaks the protocol ends its session with a code and nothing else.
 */
import { WormholeError, type ErrorCode } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { DeviceId, VolumeId } from '../types.ts'
import { Channels, type Outgoing } from './channels.ts'
import type { Link } from './interface.ts'
import { VERSION_MAX, VERSION_MIN, type Message } from './wire.ts'

/** The hello must arrive within this time. */
const HELLO_MS_MAX = 8000
/**
 * After a network change some byte must arrive within this part of the longest silence. More than
 * the pause between two pings of the peer, because our own ping may wait behind bulk.
 */
const PROBE_PART = 1 / 2
/**
 * A link silent for this part of the longest silence may be dead: pings come three times as often.
 */
const SUSPECT_PART = 0.45
/** The same for a link that was asked for a sign of life: so long, or three round trips. */
const PROBE_MS_MIN = 750
/** Weight of a new round-trip time in the average. */
const RTT_WEIGHT = 0.25

/** What a session tells its owner. */
export interface SessionHandlers {
  /** Hello received and acceptable. */
  onReady(session: Session, addresses: readonly string[]): void
  /** Any message but hello, ping and pong. What it throws ends the session. */
  onMessage(session: Session, message: Message): void
  onDrain(session: Session): void
  onClose(session: Session, error: Error | undefined): void
}

/** A session over one link. */
export class Session {
  readonly link: Link
  readonly device: DeviceId
  readonly openedMs: number
  /** The process run of the peer; empty before its hello. */
  instance = ''
  /** Average round-trip time; undefined before the first answer. */
  rttMs: number | undefined
  isReady = false
  isWritable = true
  isClosed = false
  readonly #clock: Clock
  readonly #volume: VolumeId
  readonly #handlers: SessionHandlers
  readonly #silenceMsMax: number
  readonly #channels: Channels
  #silentMs = 0
  #seenBytes = 0
  #unsentMs = 0
  #lastTickMs: number
  #pingSentMs: number | undefined
  #pingToken = 0
  /** Since when a sign of life is asked for. */
  #probedMs: number | undefined

  constructor(options: {
    link: Link
    volume: VolumeId
    clock: Clock
    silenceMsMax: number
    /** This process run. */
    instance: string
    /** Where this device listens, for the hello. */
    addresses: readonly string[]
    handlers: SessionHandlers
  }) {
    const { link, clock } = options
    this.link = link
    this.device = link.remoteKey as DeviceId
    this.#clock = clock
    this.#volume = options.volume
    this.#handlers = options.handlers
    this.#silenceMsMax = options.silenceMsMax
    this.openedMs = clock.monotonicMs()
    this.#lastTickMs = this.openedMs
    this.#channels = new Channels(link, {
      open: ['session', 'log', 'chunks'],
      hello: {
        type: 'hello',
        versionMin: VERSION_MIN,
        versionMax: VERSION_MAX,
        volume: options.volume,
        instance: options.instance,
        addresses: options.addresses,
      },
      handlers: {
        onMessage: (message) => this.#receive(message),
        onDrain: () => this.#drained(),
        onClose: (error) => this.#closed(error),
      },
    })
  }

  /**
   * Sends a message whatever waits before it; bulk should wait for `isWritable`. Returns
   * `isWritable`.
   */
  send(message: Outgoing): boolean {
    if (this.isClosed) return true
    this.#unsentMs = 0
    this.isWritable = this.#channels.send(message)
    return this.isWritable
  }

  /** Whether the link was silent for longer than pings allow: another one should be made. */
  get isSuspect(): boolean {
    if (this.link.receivedBytes !== this.#seenBytes) return false
    if (this.#silentMs > this.#silenceMsMax * SUSPECT_PART) return true
    const patienceMs = Math.max(PROBE_MS_MIN, 3 * (this.rttMs ?? 0))
    return this.#clock.monotonicMs() - (this.#probedMs ?? Infinity) > patienceMs
  }

  /** Whether a sign of life is asked for and has not come. */
  get isProbed(): boolean {
    return this.#probedMs !== undefined && this.link.receivedBytes === this.#seenBytes
  }

  /** Ends the session because of something the peer did. */
  fail(code: ErrorCode, message: string): void {
    this.close(new WormholeError(code, `${this.device.slice(0, 8)}: ${message}`))
  }

  /** Ends the session. Idempotent. */
  close(error?: Error): void {
    this.link.close(error)
  }

  /** Asks for a sign of life soon; without one the session ends. */
  probe(): void {
    this.#probedMs ??= this.#clock.monotonicMs()
    this.#ping()
  }

  /**
   * To be called a few times a second: keeps alive, notices silence. Time in which this process
   * itself did not run counts as one short step, so that a stall does not end every session.
   */
  tick(nowMs: number): void {
    const stepMs = Math.min(nowMs - this.#lastTickMs, 1000)
    this.#lastTickMs = nowMs
    const received = this.link.receivedBytes
    if (received === this.#seenBytes) this.#silentMs += stepMs
    else {
      this.#silentMs = 0
      this.#probedMs = undefined
    }
    this.#seenBytes = received
    this.#unsentMs += stepMs
    const isLate = nowMs - (this.#probedMs ?? Infinity) > this.#silenceMsMax * PROBE_PART
    if (this.#silentMs > this.#silenceMsMax || isLate) {
      this.fail('PEER_UNREACHABLE', 'silent')
    } else if (!this.isReady && nowMs - this.openedMs > HELLO_MS_MAX) {
      this.fail('PEER_MISBEHAVED', 'no hello')
    } else if (this.#unsentMs > this.#silenceMsMax / 3) {
      this.#ping()
    }
  }

  #ping(): void {
    this.#pingSentMs = this.#clock.monotonicMs()
    this.send({ type: 'ping', token: ++this.#pingToken })
  }

  #receive(message: Message): void {
    try {
      if (message.type === 'hello') this.#hello(message)
      else if (!this.isReady) throw new WormholeError('PEER_MISBEHAVED', 'no hello first')
      else if (message.type === 'ping') this.send({ type: 'pong', token: message.token })
      else if (message.type === 'pong') this.#pong(message.token)
      else this.#handlers.onMessage(this, message)
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      this.close(error)
    }
  }

  #hello(message: Extract<Message, { type: 'hello' }>): void {
    if (message.volume !== this.#volume) {
      throw new WormholeError('NOT_A_MEMBER', 'the peer serves another volume')
    }
    if (message.versionMin > VERSION_MAX || message.versionMax < VERSION_MIN) {
      throw new WormholeError(
        'UPGRADE_NEEDED',
        `the peer speaks protocol versions ${message.versionMin} to ${message.versionMax}, ` +
          `this device ${VERSION_MIN} to ${VERSION_MAX}`,
      )
    }
    this.isReady = true
    this.instance = message.instance
    this.#handlers.onReady(this, message.addresses)
    this.#ping()
  }

  #pong(token: number): void {
    if (token !== this.#pingToken || this.#pingSentMs === undefined) return
    const rttMs = this.#clock.monotonicMs() - this.#pingSentMs
    this.#pingSentMs = undefined
    this.rttMs = this.rttMs === undefined ? rttMs : this.rttMs + (rttMs - this.rttMs) * RTT_WEIGHT
  }

  #drained(): void {
    this.isWritable = true
    if (!this.isClosed) this.#handlers.onDrain(this)
  }

  #closed(error: Error | undefined): void {
    this.isClosed = true
    this.#handlers.onClose(this, error)
  }
}
