/**
 * The latest problems of a volume, for `status`: each once, newest last, bounded, forgotten after
 * a day.
 */
import type { ErrorCode } from '../errors.ts'
import type { Clock } from '../system.ts'

/** Something a person should know. */
export interface VolumeProblem {
  readonly code: string
  readonly message: string
  readonly path?: string
}

/** Codes of what arrived and was not taken into the tree. */
const REFUSALS: readonly string[] = [
  'ENTRY_INVALID',
  'FEED_CORRUPT',
  'FORMAT_UNSUPPORTED',
  'UPGRADE_NEEDED',
] satisfies ErrorCode[]

/** Whether a problem means that the tree lacks something that others may have. */
export function isRefusal({ code }: VolumeProblem): boolean {
  return REFUSALS.includes(code)
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
