/** What is wanted of the chunk exchange, and by whom. */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress, DeviceId } from '../types.ts'

/** Whether somebody waits for it. */
export type Priority = 'foreground' | 'background'

/** One chunk that is not here. */
export class Want {
  readonly address: ChunkAddress
  priority: Priority
  readonly jobs = new Set<FetchJob>()
  /** What devices said about it. */
  readonly knowledge = new Map<DeviceId, { readonly has: boolean; readonly sinceMs: number }>()
  /** Devices it is asked of now. */
  readonly sources = new Set<DeviceId>()
  /** Its bytes are here and being checked and stored. */
  isStoring = false
  /** Since when no connected device has it. */
  absentSinceMs: number | undefined

  constructor(address: ChunkAddress, priority: Priority) {
    this.address = address
    this.priority = priority
  }
}

/** One call of `fetch`. */
export class FetchJob {
  readonly priority: Priority
  /** What it still waits for. */
  readonly wants = new Set<Want>()
  /** When something last arrived for it. */
  progressMs: number
  #missing = 0
  #finish: ((error: Error | undefined) => void) | undefined

  constructor(priority: Priority, nowMs: number, finish: (error: Error | undefined) => void) {
    this.priority = priority
    this.progressMs = nowMs
    this.#finish = finish
  }

  /** A chunk is stored. */
  done(want: Want, nowMs: number): void {
    this.progressMs = nowMs
    this.#settle(want)
  }

  /** Nobody has a chunk. The job goes on with the others and fails at the end. */
  miss(want: Want, nowMs: number): void {
    this.progressMs = nowMs
    this.#missing++
    this.#settle(want)
  }

  #settle(want: Want): void {
    this.wants.delete(want)
    if (this.wants.size > 0) return
    this.finish(
      this.#missing === 0
        ? undefined
        : new WormholeError(
            'CHUNK_UNAVAILABLE',
            `no connected device has ${this.#missing} of the chunks`,
          ),
    )
  }

  /** Ends the job, once. */
  finish(error: Error | undefined): void {
    const finish = this.#finish
    this.#finish = undefined
    finish?.(error)
  }
}
