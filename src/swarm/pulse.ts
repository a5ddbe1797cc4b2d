/** When a swarm looks at the clock: often while something is under way, else less often. */
import type { Clock, Timer } from '../system.ts'

/** Everything that needs time is looked at this often. */
const BUSY_MS = 250
/**
 * The same while all members are connected, nothing is fetched and no sign of life is awaited. What
 * is left to notice then takes seconds (pings, silence), and an idle daemon should sleep.
 */
const QUIET_MS = 500

/** See the head of this file. */
export class Pulse {
  readonly #clock: Clock
  readonly #beat: (nowMs: number) => boolean
  #timer: Timer | undefined
  #isQuiet = false

  /** @param beat - looks at everything; returns whether nothing is under way. */
  constructor(clock: Clock, beat: (nowMs: number) => boolean) {
    this.#clock = clock
    this.#beat = beat
  }

  start(): void {
    this.#timer = this.#clock.setTimer(this.#isQuiet ? QUIET_MS : BUSY_MS, () => {
      this.#isQuiet = this.#beat(this.#clock.monotonicMs())
      if (this.#timer) this.start()
    })
  }

  /** Something has begun: it is looked at more often again. */
  wake(): void {
    if (!this.#isQuiet || !this.#timer) return
    this.#isQuiet = false
    this.#timer.cancel()
    this.start()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
