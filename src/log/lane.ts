/** One piece of work after the other, so that none sees another one half done. */
import { WormholeError } from '../errors.ts'

/** See the head of this file. */
export class Lane {
  #last: Promise<unknown> = Promise.resolve()
  #isClosed = false

  /** Runs when all before has ended. @throws {WormholeError} `VOLUME_CLOSED`, and as `work`. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => {
      if (this.#isClosed) throw new WormholeError('VOLUME_CLOSED', 'the volume is closed')
      return work()
    })
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Nothing more begins; resolves when what runs has ended. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#last
  }
}
