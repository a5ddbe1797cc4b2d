/** Long work in short slices, so that others get their turn on the same thread. */
import type { Clock } from '../system.ts'

/** Longest slice. */
const WORK_MS = 4
/** Pause behind it: at most half a core. */
const REST_MS = 4

/** Tells when it is time for a pause. */
export class Pace {
  readonly #clock: Clock
  #startMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monotonicMs()
  }

  /** Whether the slice is over. */
  get isOver(): boolean {
    return this.#clock.monotonicMs() - this.#startMs >= WORK_MS
  }

  /** Lets others in. */
  async rest(): Promise<void> {
    await new Promise<void>((resolve) => void this.#clock.setTimer(REST_MS, resolve))
    this.#startMs = this.#clock.monotonicMs()
  }
}
