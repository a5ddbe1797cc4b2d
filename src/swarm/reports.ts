/** Passing on what a person may want to know about peers, without repeating it. */
import type { Clock } from '../system.ts'
import type { SwarmReport } from './interface.ts'

/** Pause between two equal reports, and how many are remembered. */
const PAUSE_MS = 60_000
const REMEMBERED_MAX = 1000

/** Reports the same about the same device at most once a minute. */
export class Reporter {
  readonly #clock: Clock
  readonly #onReport: ((report: SwarmReport) => void) | undefined
  readonly #reportedMs = new Map<string, number>()

  constructor(clock: Clock, onReport: ((report: SwarmReport) => void) | undefined) {
    this.#clock = clock
    this.#onReport = onReport
  }

  report({ code, device, message }: SwarmReport): void {
    const nowMs = this.#clock.monotonicMs()
    const about = `${code} ${device}`
    if (nowMs - (this.#reportedMs.get(about) ?? -Infinity) < PAUSE_MS) return
    if (this.#reportedMs.size >= REMEMBERED_MAX) this.#reportedMs.clear()
    this.#reportedMs.set(about, nowMs)
    this.#onReport?.({ code, device, message })
  }
}
