/**
 * What happened in a run: a running hash of everything, and the newest lines for people. Two runs
 * of one seed must give the same hash.
 */
import { createHash } from 'node:crypto'

/** Lines kept for the report of a failure. */
const LINES_MAX = 400

/** The trace of one run. */
export class Trace {
  readonly #hash = createHash('sha256')
  readonly #nowMs: () => number
  readonly #print: ((line: string) => void) | undefined
  #lines: string[] = []
  #count = 0

  /** `print` is given every line as it comes. */
  constructor(nowMs: () => number, print?: (line: string) => void) {
    this.#nowMs = nowMs
    this.#print = print
  }

  /** Something that a person wants to read. */
  add(line: string): void {
    const text = `${this.#nowMs().toFixed(1).padStart(10)} ${line}`
    this.#hash.update(text).update('\n')
    this.#print?.(text)
    this.#lines.push(text)
    if (this.#lines.length > 2 * LINES_MAX) this.#lines = this.#lines.slice(-LINES_MAX)
  }

  /** Something that is only part of the hash: there are many of these. */
  note(what: string): void {
    this.#count++
    this.#hash.update(what)
  }

  /** The newest lines, oldest first. */
  tail(): string[] {
    return this.#lines.slice(-LINES_MAX)
  }

  /** The hash of everything so far, and how much that was. */
  digest(): string {
    const hash = this.#hash.copy().digest('hex').slice(0, 32)
    return `${hash}-${this.#count}`
  }
}
