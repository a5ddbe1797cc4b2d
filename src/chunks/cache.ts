/** A least-recently-used cache with a budget in bytes. */
export class ByteCache<Key, Value> {
  readonly #bytesMax: number
  readonly #entries = new Map<Key, { readonly value: Value; readonly bytes: number }>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get(key: Key): Value | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.value
  }

  /** Whether it is here; does not count as use. */
  has(key: Key): boolean {
    return this.#entries.has(key)
  }

  /** Keeps a value that takes `bytes`; what was not used for longest makes room. */
  put(key: Key, value: Value, bytes: number): void {
    const known = this.#entries.get(key)
    if (known) {
      this.#entries.delete(key)
      this.#bytes -= known.bytes
    }
    if (bytes > this.#bytesMax) return
    this.#entries.set(key, { value, bytes })
    this.#bytes += bytes
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#bytesMax) break
      this.#entries.delete(oldest)
      this.#bytes -= entry.bytes
    }
  }
}
