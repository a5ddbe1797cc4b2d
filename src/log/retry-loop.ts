/**
 * Work that is asked for again and again: done by one loop at a time, once more when it was asked
 * for meanwhile, and tried again after a growing pause when it failed.
 */
import type { Clock, Timer } from '../system.ts'

/** Pause before what failed is tried again. */
const RETRY_MS_MIN = 1000
const RETRY_MS_MAX = 60_000

/** Ports of a `RetryLoop`. */
export interface RetryLoopOptions {
  readonly clock: Clock
  /** All that can be done now. */
  run(): Promise<void>
  onFailed(error: unknown): void
}

/** See the head of this file. */
export class RetryLoop {
  readonly #options: RetryLoopOptions
  #running: Promise<void> | undefined
  #isWanted = false
  #retry: Timer | undefined
  #retryMs = RETRY_MS_MIN
  #isClosed = false

  constructor(options: RetryLoopOptions) {
    this.#options = options
  }

  /** Runs soon, and once more if it is running. */
  request(): void {
    this.#isWanted = true
    if (this.#running || this.#isClosed) return
    this.#running = this.#loop().finally(() => {
      this.#running = undefined
      if (this.#isWanted) this.request()
    })
  }

  /** Resolves when nothing that was asked for is left to do, or it waits for the next try. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running
  }

  /** Starts nothing more; resolves when what runs has ended. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#isWanted = false
    this.#retry?.cancel()
    await this.settled()
  }

  /** Never rejects. */
  async #loop(): Promise<void> {
    while (this.#isWanted && !this.#isClosed) {
      this.#isWanted = false
      try {
        await this.#options.run()
        this.#retryMs = RETRY_MS_MIN
      } catch (error) {
        if (!this.#isClosed) this.#tryLater(error)
        return
      }
    }
  }

  #tryLater(error: unknown): void {
    this.#options.onFailed(error)
    this.#retry?.cancel()
    this.#retry = this.#options.clock.setTimer(this.#retryMs, () => this.request())
    this.#retryMs = Math.min(RETRY_MS_MAX, this.#retryMs * 2)
  }
}
