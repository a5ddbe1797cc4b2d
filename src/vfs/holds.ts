/**
 * Contents under way: made of chunks that are stored, and named by nothing yet that could be asked.
 * From the first chunk to the edit (or the base of an open file) that names the content, the work
 * is a hold. A collection waits for those that began before it; what later ones store or name again
 * is young.
 */

/** Work that makes contents. */
export class Holds {
  readonly #running = new Set<Promise<void>>()

  /** Runs work that ends by naming what it made, or by giving it up. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const result = work()
    const ended = result.then(
      () => undefined,
      () => undefined,
    )
    this.#running.add(ended)
    void ended.finally(() => this.#running.delete(ended))
    return result
  }

  /** Resolves when all that runs now has ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#running)
  }
}
