/**
 * When to look for the next request instead of sleeping until it comes.
 *
 * A program that makes one small request after the other leaves the serving thread with nothing to
 * do between them. On a core that is idle the thread falls asleep each time, and waking it takes
 * 40 µs: as long as all the rest. Looking for the next request during that time costs no more CPU
 * than falling asleep and being woken, and halves the time of a request (README.md, "Transports").
 *
 * So it is done only where it helps: while nearly all requests come soon after the last answer, and
 * only where they come later without it than a switch of threads on a busy core takes. That is
 * measured anew all the time. It ends when the core is taken from this process meanwhile:
 * somebody else has work for it. Who has idle cores and a program that waits gets it, nobody else.
 */

/** So long the next request is looked for. */
export const LOOK_MS = 0.1
/** A request that comes later than this, without looking, is not that of one who waits. */
const GAP_MS_MAX = 0.15
/** Requests closer together than this find the thread awake, or on the program's own core. */
const GAP_MS_MIN = 0.045
/** One request in so many may come later, and be looked for in vain. */
const LATE_SHARE = 8
/** So many requests decide. */
const COUNT_MIN = 32
/** Rest after looking did not help; twice as long each time, up to the second. */
const REST_MS_MIN = 10
const REST_MS_MAX = 1000
/** After so many it is measured again what it is like without looking. */
const PERIOD = 1024
/** So often it is checked whether somebody else wants the core … */
const CHECK_EVERY = 64
/** … who then takes it from this process every few milliseconds; more rarely is nobody. */
const SWITCH_MS = 50

/** One reader of requests. Times are monotonic milliseconds. */
export class BusyPoll {
  readonly #switches: () => number
  /** What `#switches` said when looking began, and when that was. */
  #switchesBefore = 0
  #beganMs = 0
  #isLooking = false
  /** When the last request was answered. */
  #answeredMs = 0
  /** Requests since it was decided, those of them that were not late, and the time before these. */
  #count = 0
  #soonCount = 0
  #gapsMs = 0
  #missedCount = 0
  /** Nothing is measured before that. */
  #restsUntilMs = 0
  #restMs = REST_MS_MIN

  /** @param switches - how often the core was taken from this process so far. */
  constructor(switches: () => number = () => 0) {
    this.#switches = switches
  }

  /** A request has come. */
  came(nowMs: number): void {
    if (nowMs < this.#restsUntilMs) return
    this.#count++
    if (this.#isLooking) {
      if (this.#count % CHECK_EVERY === 0 && this.#isCrowded(nowMs)) this.#giveUp(nowMs)
      else if (this.#count >= PERIOD) {
        this.#restMs = REST_MS_MIN
        this.#begin(false, nowMs)
      }
      return
    }
    const gapMs = nowMs - this.#answeredMs
    if (gapMs <= GAP_MS_MAX) {
      this.#soonCount++
      this.#gapsMs += gapMs
    }
    if (this.#count < COUNT_MIN) return
    const lateCount = this.#count - this.#soonCount
    this.#begin(
      lateCount * LATE_SHARE <= this.#count && this.#gapsMs > this.#soonCount * GAP_MS_MIN,
      nowMs,
    )
  }

  /** It has been answered. Returns until when to look for the next one; 0: not at all. */
  answered(nowMs: number): number {
    this.#answeredMs = nowMs
    return this.#isLooking ? nowMs + LOOK_MS : 0
  }

  /** Nothing came until then. */
  missed(nowMs: number): void {
    this.#missedCount++
    if (this.#missedCount * LATE_SHARE <= Math.max(this.#count, COUNT_MIN)) return
    this.#giveUp(nowMs)
  }

  /** Others want the core: what looking takes from them is taken from this thread later. */
  #isCrowded(nowMs: number): boolean {
    const count = this.#switches() - this.#switchesBefore
    return count > (nowMs - this.#beganMs) / SWITCH_MS
  }

  #giveUp(nowMs: number): void {
    this.#restsUntilMs = nowMs + this.#restMs
    this.#restMs = Math.min(this.#restMs * 2, REST_MS_MAX)
    this.#begin(false, nowMs)
  }

  #begin(isLooking: boolean, nowMs: number): void {
    if (isLooking) this.#switchesBefore = this.#switches()
    this.#beganMs = nowMs
    this.#isLooking = isLooking
    this.#count = 0
    this.#soonCount = 0
    this.#gapsMs = 0
    this.#missedCount = 0
  }
}
