/** Random bytes drawn in bulk: a call to the system's generator costs more than sealing a row. */
import type { Random } from '../system.ts'

const POOL_BYTES = 4096

/** Hands out each byte of the source once. */
export class RandomPool implements Random {
  readonly #source: Random
  #pool: Uint8Array = new Uint8Array(0)
  #at = 0

  constructor(source: Random) {
    this.#source = source
  }

  bytes(count: number): Uint8Array {
    if (count > POOL_BYTES / 8) return this.#source.bytes(count)
    if (this.#at + count > this.#pool.length) {
      this.#pool = this.#source.bytes(POOL_BYTES)
      this.#at = 0
    }
    this.#at += count
    return this.#pool.slice(this.#at - count, this.#at)
  }
}
