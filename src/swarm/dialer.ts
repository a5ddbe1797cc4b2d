/**
 * Keeps trying to reach the members that are not connected: every known address at once, again and
 * again with a short pause, because a link that comes back elsewhere is not announced to us.
 */
import { WormholeError } from '../errors.ts'
import type { Clock, Random } from '../system.ts'
import type { DeviceId } from '../types.ts'
import type { AddressBook } from './address-book.ts'
import type { Transport } from './interface.ts'

const PAUSE_MS_MIN = 250
/** An attempt that takes longer is given up. */
const ATTEMPT_MS_MAX = 4000
/** With many absent members each is tried less often: this much pause per absent member. */
const PAUSE_MS_PER_ABSENT = 100
/** Members without any link are also sought where no address is needed, this often. */
const SEARCH_MS = 20_000
/** How long a device that broke the protocol, or speaks another version of it, is not dialled. */
const HOLD_MS = 30_000
/** The device with the higher key gives the other this head start, to avoid crossing dials. */
const HEAD_START_MS = 300

interface Target {
  /** Not before this time; undefined until an address is known. */
  nextMs: number | undefined
  /** A device that misbehaved is left alone until then, unless somebody asks for it. */
  heldUntilMs: number
  nextSearchMs: number
  pauseMs: number
  attempt: Promise<boolean> | undefined
  abort: AbortController | undefined
}

/** Dials members over the transports of one swarm. */
export class Dialer {
  readonly #self: DeviceId
  readonly #clock: Clock
  readonly #random: Random
  readonly #book: AddressBook
  readonly #transports: readonly Transport[]
  readonly #pauseMsMax: number
  readonly #targets = new Map<DeviceId, Target>()
  #isClosed = false

  constructor(options: {
    self: DeviceId
    clock: Clock
    random: Random
    book: AddressBook
    transports: readonly Transport[]
    pauseMsMax: number
  }) {
    this.#self = options.self
    this.#clock = options.clock
    this.#random = options.random
    this.#book = options.book
    this.#transports = options.transports
    this.#pauseMsMax = options.pauseMsMax
  }

  /**
   * To be called a few times a second with the members that have no direct link; `isAlone`: none
   * of another kind either.
   */
  tick(absent: readonly { device: DeviceId; isAlone: boolean }[], nowMs: number): void {
    const wanted = new Set(absent.map(({ device }) => device))
    for (const [device, target] of this.#targets) {
      if (wanted.has(device) || target.attempt || nowMs < target.heldUntilMs) continue
      this.#targets.delete(device)
    }
    const pauseMsMax = Math.max(this.#pauseMsMax, absent.length * PAUSE_MS_PER_ABSENT)
    for (const { device, isAlone } of absent) {
      const target = this.#target(device, nowMs)
      const isSearch = isAlone && nowMs >= target.nextSearchMs
      if (target.attempt || nowMs < target.heldUntilMs) continue
      if (this.#book.of(device).length > 0) {
        target.nextMs ??= nowMs + (this.#self > device ? HEAD_START_MS : 0)
      }
      if (!isSearch && nowMs < (target.nextMs ?? Infinity)) continue
      if (isSearch) target.nextSearchMs = nowMs + SEARCH_MS
      const jitter = 0.75 + ((this.#random.bytes(1)[0] as number) / 256) * 0.25
      target.nextMs = nowMs + target.pauseMs * jitter
      target.pauseMs = Math.min(pauseMsMax, target.pauseMs * 2)
      void this.#attempt(device, target, isSearch)
    }
  }

  /** Tries all of these soon, as if for the first time. */
  hurry(): void {
    this.#targets.forEach((target) => {
      target.nextMs = target.nextMs === undefined ? undefined : 0
      target.heldUntilMs = -Infinity
      target.pauseMs = PAUSE_MS_MIN
    })
  }

  /** A device broke the protocol: it is not dialled for a while. */
  holdOff(device: DeviceId): void {
    const nowMs = this.#clock.monotonicMs()
    this.#target(device, nowMs).heldUntilMs = nowMs + HOLD_MS
  }

  /** One attempt now over every transport; joins one that is under way. Never rejects. */
  dialNow(device: DeviceId): Promise<boolean> {
    return this.#attempt(device, this.#target(device, this.#clock.monotonicMs()), true)
  }

  #target(device: DeviceId, nowMs: number): Target {
    let target = this.#targets.get(device)
    if (!target) {
      target = {
        nextMs: undefined,
        heldUntilMs: -Infinity,
        nextSearchMs: nowMs + SEARCH_MS / 4,
        pauseMs: PAUSE_MS_MIN,
        attempt: undefined,
        abort: undefined,
      }
      this.#targets.set(device, target)
    }
    return target
  }

  /** True when a link was made. `isThorough`: over transports that need no address, too. */
  async #attempt(device: DeviceId, target: Target, isThorough: boolean): Promise<boolean> {
    if (this.#isClosed) return false
    if (target.attempt) {
      const hasLink = await target.attempt
      if (hasLink || !isThorough) return hasLink
    }
    const abort = new AbortController()
    const timer = this.#clock.setTimer(ATTEMPT_MS_MAX, () => abort.abort())
    target.abort = abort
    const attempt = this.#dialAll(device, isThorough, abort.signal)
    target.attempt = attempt
    const hasLink = await attempt
    timer.cancel()
    // The addresses that have not answered yet need not any more.
    abort.abort()
    if (target.attempt === attempt) {
      target.attempt = undefined
      target.abort = undefined
    }
    return hasLink
  }

  async #dialAll(device: DeviceId, isThorough: boolean, signal: AbortSignal): Promise<boolean> {
    const dials = this.#transports.flatMap((transport): Promise<void>[] => {
      if (transport.route === 'tls') {
        return this.#book
          .of(device)
          .map((address) => transport.dial({ key: device, address }, { signal }))
      }
      return isThorough ? [transport.dial({ key: device }, { signal })] : []
    })
    try {
      await Promise.any(dials)
      return true
    } catch (error) {
      const causes = error instanceof AggregateError ? error.errors : [error]
      const bug = causes.find((each) => !(each instanceof WormholeError))
      if (bug) throw bug
      return false
    }
  }

  /** Gives up what is under way. */
  close(): void {
    this.#isClosed = true
    for (const target of this.#targets.values()) target.abort?.abort()
  }
}
