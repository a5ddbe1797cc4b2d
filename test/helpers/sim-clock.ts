/** A `Clock` whose time only passes when a test says so, and seeded chance. */
import type { Clock, Random, Timer } from '../../src/system.ts'

/** Simulated time, from 1 hour after 2026-01-01. */
export class SimClock implements Clock {
  #nowMs = 0
  #count = 0
  readonly #timers = new Map<number, { atMs: number; fire: () => void }>()

  nowMs(): number {
    return Date.UTC(2026, 0, 1, 1) + Math.floor(this.#nowMs)
  }

  nowNs(): bigint {
    return BigInt(this.nowMs()) * 1_000_000n
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const id = this.#count++
    this.#timers.set(id, { atMs: this.#nowMs + Math.max(0, delayMs), fire })
    return { cancel: () => this.#timers.delete(id) }
  }

  /** Lets promises settle, then fires what is due at the next instant; returns that instant. */
  async step(untilMs = Infinity): Promise<number> {
    await new Promise((resolve) => setImmediate(resolve))
    let next: { id: number; atMs: number; fire: () => void } | undefined
    for (const [id, timer] of this.#timers) {
      if (!next || timer.atMs < next.atMs) next = { id, ...timer }
    }
    if (!next || next.atMs > untilMs) {
      if (untilMs !== Infinity) this.#nowMs = untilMs
      return this.#nowMs
    }
    this.#nowMs = Math.max(this.#nowMs, next.atMs)
    this.#timers.delete(next.id)
    next.fire()
    return this.#nowMs
  }

  /** Lets `durationMs` pass. */
  async run(durationMs: number): Promise<void> {
    const endMs = this.#nowMs + durationMs
    while ((await this.step(endMs)) < endMs);
    await new Promise((resolve) => setImmediate(resolve))
  }

  /** Lets time pass until `condition` holds, at most `limitMs`. @throws Error at the limit. */
  async until(condition: () => boolean, limitMs: number, what: string): Promise<void> {
    const endMs = this.#nowMs + limitMs
    while (!condition()) {
      if ((await this.step(endMs)) >= endMs && !condition()) {
        throw new Error(`after ${limitMs} simulated ms still not: ${what}`)
      }
    }
  }

  /** Lets time pass until a promise settles. */
  async settle<T>(promise: Promise<T>, limitMs: number): Promise<T> {
    let isSettled = false
    const done = (): void => {
      isSettled = true
    }
    promise.then(done, done)
    await this.until(() => isSettled, limitMs, 'the promise settled')
    return promise
  }
}

/** Numbers from a seed (mulberry32). Not for secrets. */
export class SeededRandom implements Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A number from 0 up to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer from 0 up to `bound`. */
  below(bound: number): number {
    return Math.floor(this.next() * bound)
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256))
  }
}
