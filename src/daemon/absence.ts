/**
 * When this device was last without any other, and what it had of the log then: from that follows
 * what changed while it was away. Lives on the main thread.
 *
 * Written when the last connected device goes, and when the first one comes, never in between. A
 * process that died while it was connected received nothing afterwards: what its log holds at the
 * next start is what it held then. A machine that slept while it was connected has been away since
 * it fell asleep, which the two clocks tell: the monotonic one stands still meanwhile.
 *
 * A gap of less than a minute (a restart, another access point) is no absence: the one before stays
 * the last.
 */
import { errorToData, hasCode } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { FeedId } from '../types.ts'
import type { ProblemEvent } from './threads.ts'

/** Shorter gaps do not count. */
const ABSENCE_MS = 60_000

/** Lengths of feeds. */
export type FeedLengths = readonly (readonly [FeedId, number])[]

/** What was had of the log when the last device went, and when that was. */
interface Leaving {
  readonly had: FeedLengths
  readonly fromMs: number
}

/** What `volume.json` keeps of it, under `absence`. Times in ms since 1970. */
export interface AbsenceState {
  /** When a device was first connected again. */
  readonly connectedMs: number
  /** Nobody has been connected since; absent while somebody is. */
  readonly now?: Leaving
  /** The last absence that is over. */
  readonly last?: Leaving & { readonly toMs: number }
}

/** What it needs of its volume. */
export interface AbsencePorts {
  readonly clock: Clock
  /** What is had of the log when this is called, although it answers later. */
  lengths(): Promise<FeedLengths>
  /** When the newest entry that is here was written. */
  newestMs(): Promise<number>
  save(state: AbsenceState): void
  onProblem(problem: ProblemEvent): void
}

/** Whether something read from a file is a state. */
export function isAbsenceState(value: unknown): value is AbsenceState {
  if (typeof value !== 'object' || value === null) return false
  const { connectedMs, now, last } = value as Record<string, unknown>
  const isEnded = (leaving: unknown): boolean =>
    isLeaving(leaving) && isTime((leaving as Record<string, unknown>)['toMs'])
  return (
    isTime(connectedMs) &&
    (now === undefined || isLeaving(now)) &&
    (last === undefined || isEnded(last))
  )
}

function isLeaving(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { had, fromMs } = value as Record<string, unknown>
  const isLength = (item: unknown): boolean =>
    Array.isArray(item) &&
    item.length === 2 &&
    typeof item[0] === 'string' &&
    Number.isSafeInteger(item[1]) &&
    (item[1] as number) >= 0
  return isTime(fromMs) && Array.isArray(had) && had.every(isLength)
}

function isTime(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value)
}

/** See the head of this file. */
export class Absence {
  readonly #ports: AbsencePorts
  #state: AbsenceState | undefined
  #isConnected = false
  /** What the wall clock is ahead of the monotonic one. */
  #offsetMs: number
  /** Events in their order; never rejects. */
  #chain = Promise.resolve()

  /** @param state - as it was saved last; undefined before anybody was ever connected. */
  constructor(state: AbsenceState | undefined, ports: AbsencePorts) {
    this.#ports = ports
    this.#state = state
    this.#offsetMs = this.#measure()
    if (state && !state.now) this.#recover(state)
  }

  /** What is known; undefined before anybody was ever connected. */
  async state(): Promise<AbsenceState | undefined> {
    await this.#chain
    return this.#state
  }

  /** A device said hello, and nothing that it sends now has been taken yet. */
  connected(): void {
    const nowMs = this.#ports.clock.nowMs()
    const sleptMs = this.#sleptMs()
    if (this.#isConnected && sleptMs >= ABSENCE_MS) this.#leave(nowMs - sleptMs)
    if (this.#isConnected) return
    this.#isConnected = true
    this.#then(() => {
      const { now: left, last } = this.#state ?? {}
      const isLong = left && (nowMs - left.fromMs >= ABSENCE_MS || nowMs < left.fromMs)
      const ended = isLong ? { ...left, toMs: nowMs } : last
      this.#save({ connectedMs: nowMs, ...(ended ? { last: ended } : {}) })
    })
  }

  /** The last device is gone. */
  alone(): void {
    const { clock } = this.#ports
    if (this.#isConnected) this.#leave(clock.nowMs() - this.#sleptMs())
  }

  /** Resolves when everything that happened is saved. */
  async close(): Promise<void> {
    await this.#chain
  }

  /** The process died while somebody was connected, and could not say so. */
  #recover(state: AbsenceState): void {
    const asked = Promise.all([this.#ports.lengths(), this.#ports.newestMs()])
    this.#then(async () => {
      const [had, newestMs] = await asked
      this.#save({ ...state, now: { had, fromMs: Math.max(state.connectedMs, newestMs) } })
    }, asked)
  }

  #leave(fromMs: number): void {
    this.#isConnected = false
    // Asked for now: what arrives from the next device comes after it.
    const asked = this.#ports.lengths()
    this.#then(async () => {
      const { connectedMs = fromMs, ...rest } = this.#state ?? {}
      const now = { had: await asked, fromMs: Math.max(connectedMs, fromMs) }
      this.#save({ ...rest, connectedMs, now })
    }, asked)
  }

  /** What cannot be written down now is found out at the next start. */
  #then(step: () => Promise<void> | void, asked?: Promise<unknown>): void {
    // It may fail before it is its turn.
    asked?.catch(() => undefined)
    this.#chain = this.#chain.then(step).catch((error: unknown) => {
      if (hasCode(error, 'VOLUME_CLOSED')) return
      const { code, message } = errorToData(error)
      this.#ports.onProblem({ code, message: `cannot note who is connected: ${message}` })
    })
  }

  #save(state: AbsenceState): void {
    this.#state = state
    this.#ports.save(state)
  }

  /** How long the machine slept since this was asked last. */
  #sleptMs(): number {
    const offsetMs = this.#measure()
    const sleptMs = Math.max(0, offsetMs - this.#offsetMs)
    this.#offsetMs = offsetMs
    return sleptMs
  }

  #measure(): number {
    return this.#ports.clock.nowMs() - this.#ports.clock.monotonicMs()
  }
}
