/**
 * One `fdatasync` for all who wait: callers that come while one runs share the next.
 *
 * Usually it runs in another thread. Handing it over and back wakes two threads: 100 µs, as long as
 * a good disk takes for the sync itself, and a time slice each on a busy machine. So who is waited
 * for gets a sync in its own thread as long as those are fast. A slow one ends that until
 * `FAST_COUNT_MIN` in a row were fast again: a disk that takes its time holds this thread up for
 * one sync in so many at most.
 */
import type { Clock, DiskFile } from '../system.ts'

/** A sync is fast below this. */
const FAST_MS_MAX = 1
/** So many fast ones in a row let the next one run here. */
const FAST_COUNT_MIN = 8

/** What one sync is about. */
export interface SyncRun {
  readonly file: DiskFile
  /** It is durable. */
  done(): void
}

/** How to make a `SharedSync`. */
export interface SharedSyncOptions {
  /** A sync starts now: it covers what has been written. Throws when there can be none. */
  readonly begin: () => SyncRun
  /** Nobody knows what a failed sync left behind. */
  readonly failed: (error: Error) => void
  /** Without it every sync runs in another thread. */
  readonly clock?: Pick<Clock, 'monotonicMs'> | undefined
}

/** One caller. */
interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

/** The syncs of one row of files. */
export class SharedSync {
  readonly #options: SharedSyncOptions
  #running: Promise<void> | undefined
  /** Who waits for the next one. */
  #waiting: Waiter[] = []
  #fastCount = 0

  constructor(options: SharedSyncOptions) {
    this.#options = options
  }

  /** The syncs under way; never rejects. */
  get running(): Promise<void> | undefined {
    return this.#running
  }

  /** Resolves when everything written so far is durable. Rejects with what `begin` or it threw. */
  join(): Promise<void> {
    const done = new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    this.#running ??= this.#runWhileWaiting()
    return done
  }

  /** As `join`, in this thread when that is faster. */
  hurry(): Promise<void> {
    if (this.#running !== undefined || this.#fastCount < FAST_COUNT_MIN) return this.join()
    try {
      const { file, done } = this.#options.begin()
      const startMs = this.#nowMs()
      file.syncSync()
      this.#took(this.#nowMs() - startMs)
      done()
      return Promise.resolve()
    } catch (error) {
      this.#options.failed(error as Error)
      return Promise.reject(error)
    }
  }

  /** Starts one that nobody waits for. */
  start(): void {
    this.#waiting.push({ resolve() {}, reject() {} })
    this.#running ??= this.#runWhileWaiting()
  }

  async #runWhileWaiting(): Promise<void> {
    while (this.#waiting.length > 0) {
      const waiters = this.#waiting
      this.#waiting = []
      try {
        const { file, done } = this.#options.begin()
        const startMs = this.#nowMs()
        await file.sync()
        this.#took(this.#nowMs() - startMs)
        done()
        for (const waiter of waiters) waiter.resolve()
      } catch (error) {
        this.#options.failed(error as Error)
        for (const waiter of waiters) waiter.reject(error)
      }
    }
    this.#running = undefined
  }

  #nowMs(): number {
    return this.#options.clock?.monotonicMs() ?? 0
  }

  #took(ms: number): void {
    const isFast = this.#options.clock !== undefined && ms < FAST_MS_MAX
    this.#fastCount = isFast ? this.#fastCount + 1 : 0
  }
}
