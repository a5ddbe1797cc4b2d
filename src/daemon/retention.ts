/** Lets replaced versions leave the history, as `history.days` and `history.versions` say. */
import type { HistoryDaysOf, HistoryVersionsOf } from '../crdt/retention.ts'
import { hasCode } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import type { Hlc } from '../types.ts'
import type { Volume } from '../volume.ts'

const FIRST_MS = 60_000
const PAUSE_MS = 3_600_000
/** Between two portions, so that others get their turn. */
const BREATH_MS = 50

/** Looks every hour, in portions. */
export class Retention {
  readonly #volume: Volume
  readonly #clock: Clock
  readonly #daysOf: HistoryDaysOf
  readonly #versionsOf: HistoryVersionsOf
  #timer: Timer | undefined
  #isStopped = false

  constructor(options: {
    readonly volume: Volume
    readonly clock: Clock
    readonly daysOf: HistoryDaysOf
    readonly versionsOf: HistoryVersionsOf
  }) {
    this.#volume = options.volume
    this.#clock = options.clock
    this.#daysOf = options.daysOf
    this.#versionsOf = options.versionsOf
  }

  start(): void {
    this.#after(FIRST_MS)
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  #after(pauseMs: number): void {
    if (this.#isStopped) return
    this.#timer = this.#clock.setTimer(pauseMs, () => void this.#run())
  }

  /** Never rejects: what could not be forgotten now is due an hour later as well. */
  async #run(): Promise<void> {
    const now = (this.#clock.nowMs() * 1000) as Hlc
    try {
      const options = { now, daysOf: this.#daysOf, versionsOf: this.#versionsOf }
      const isMore = await this.#volume.tend((tree) => tree.forgetHistory(options))
      this.#after(isMore ? BREATH_MS : PAUSE_MS)
    } catch (error) {
      if (hasCode(error, 'VOLUME_CLOSED')) return
      this.#after(PAUSE_MS)
    }
  }
}
