/**
 * The latest problems of a volume, for `status`: each once, newest last, bounded, forgotten after
 * a day.
 */
import type { Clock } from '../system.ts'

/** Something a person should know. */
export interface VolumeProblem {
  readonly code: string
  readonly message: string
  readonly path?: string
}

const COUNT_MAX = 50
const KEEP_MS = 24 * 3600 * 1000

/** See the head of this file. */
export class ProblemList {
  readonly #clock: Clock
  readonly #problems = new Map<string, { problem: VolumeProblem; atMs: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Adds a problem; the same text again only renews its time. */
  add(problem: VolumeProblem): void {
    const key = `${problem.code} ${problem.path ?? ''} ${problem.message}`
    this.#problems.delete(key)
    this.#problems.set(key, { problem, atMs: this.#clock.nowMs() })
    const oldest = this.#problems.keys().next().value
    if (this.#problems.size > COUNT_MAX && oldest !== undefined) this.#problems.delete(oldest)
  }

  /** Problems of the last day, oldest first. */
  list(): VolumeProblem[] {
    const sinceMs = this.#clock.nowMs() - KEEP_MS
    return [...this.#problems.values()]
      .filter(({ atMs }) => atMs >= sinceMs)
      .map(({ problem }) => problem)
  }
}
