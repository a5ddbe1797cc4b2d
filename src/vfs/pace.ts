/**
 * Whether programs are at work on the mount. What a burst of them leaves behind (files to build,
 * edits to publish) can wait until they pause: it would only slow them, much of it is removed again
 * before it is published, and the more is done together, the less each costs.
 */
import type { Clock } from '../system.ts'

/** So many requests of the kernel per millisecond are work: a shell's listing is none. */
const BUSY_PER_MS = 0.5

/** Longest time that a burst puts its own publication off. */
export const BUSY_MS_MAX = 2000

/** The rate of requests since the last look. */
export class Pace {
  readonly #clock: Clock
  readonly #requestCount: () => number
  #markMs = 0
  #markCount = 0

  /** @param requestCount - how many requests the kernel has made so far. */
  constructor(clock: Clock, requestCount: () => number) {
    this.#clock = clock
    this.#requestCount = requestCount
  }

  /** Looks from now on. */
  mark(): void {
    this.#markMs = this.#clock.monotonicMs()
    this.#markCount = this.#requestCount()
  }

  /** Whether requests have been coming since the last mark; marks. */
  isBusy(): boolean {
    const [ms, count] = [this.#markMs, this.#markCount]
    this.mark()
    return this.#markCount - count > (this.#markMs - ms) * BUSY_PER_MS
  }
}
