/** Notices that this device's networks are others than before. */

/** How often interfaces are compared: asking for them is most of what an idle daemon does. */
const LOOK_MS = 1000

/** See the head of this file. */
export class NetworkWatch {
  readonly #fingerprint: () => string
  #last: string
  #lookedMs = 0

  /** `fingerprint`: anything that differs after a network change. */
  constructor(fingerprint: () => string) {
    this.#fingerprint = fingerprint
    this.#last = fingerprint()
  }

  /** To be called often; whether something has changed. */
  isChanged(nowMs: number): boolean {
    if (nowMs - this.#lookedMs < LOOK_MS) return false
    this.#lookedMs = nowMs
    const before = this.#last
    this.#last = this.#fingerprint()
    return this.#last !== before
  }
}
