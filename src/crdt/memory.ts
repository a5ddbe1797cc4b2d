/** The index in memory: for tests and the simulator. A transaction that throws leaves no trace. */
import type { FrozenRows, RowStore, RowWriter } from './rows.ts'

/** An index that lives as long as the object. Several readers may share it; nothing is copied. */
export class MemoryRowStore implements RowStore {
  readonly #rows = new Map<string, Buffer>()
  readonly #hashCharacters: number
  readonly #readers = new Set<MemoryReader>()
  #sorted: string[] | undefined

  /**
   * `hashCharacters`: how much of a name's hash is kept; a test passes 0 so that names collide.
   */
  constructor(options: { readonly hashCharacters?: number } = {}) {
    this.#hashCharacters = options.hashCharacters ?? 8
  }

  get rowCount(): number {
    return this.#rows.size
  }

  /** FNV-1a in two halves: no key, because nothing leaves memory. */
  hashName(name: string): string {
    let low = 0x811c9dc5
    let high = 0x1b873593
    for (let index = 0; index < name.length; index++) {
      low = Math.imul(low ^ name.charCodeAt(index), 0x01000193)
      high = Math.imul(high ^ low, 0x85ebca6b)
    }
    let text = ''
    for (const word of [low, high]) {
      for (let shift = 0; shift < 32; shift += 8)
        text += String.fromCharCode((word >>> shift) & 255)
    }
    return text.slice(0, this.#hashCharacters)
  }

  get(key: string): Buffer | undefined {
    return this.#rows.get(key)
  }

  range(
    prefix: string,
    options: { readonly after?: string; readonly countMax?: number } = {},
  ): { readonly key: string; readonly value: Buffer }[] {
    this.#sorted ??= [...this.#rows.keys()].sort()
    const found: { key: string; value: Buffer }[] = []
    const { after, countMax = Infinity } = options
    for (let at = this.#seek(after ?? prefix); at < this.#sorted.length; at++) {
      const key = this.#sorted[at] as string
      if (key === after) continue
      if (!key.startsWith(prefix) || found.length >= countMax) break
      found.push({ key, value: this.#rows.get(key) as Buffer })
    }
    return found
  }

  /** First position whose key is not below `key`. */
  #seek(key: string): number {
    const sorted = this.#sorted as string[]
    let low = 0
    let high = sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sorted[middle] as string) < key) low = middle + 1
      else high = middle
    }
    return low
  }

  transaction<T>(run: (rows: RowWriter) => T): T {
    const before = new Map<string, Buffer | undefined>()
    const note = (key: string): void => {
      if (!before.has(key)) before.set(key, this.#rows.get(key))
      this.#sorted = undefined
    }
    try {
      const result = run({
        get: (key) => this.get(key),
        range: (prefix, options) => this.range(prefix, options),
        put: (key, value) => {
          note(key)
          this.#rows.set(key, Buffer.from(value))
        },
        remove: (key) => {
          note(key)
          this.#rows.delete(key)
        },
      })
      for (const reader of this.#readers) reader.keep(before)
      return result
    } catch (error) {
      for (const [key, value] of before) {
        if (value) this.#rows.set(key, value)
        else this.#rows.delete(key)
      }
      throw error
    }
  }

  refresh(): void {
    // This side is the writer's: it always sees what was committed.
  }

  freeze(): FrozenRows {
    const reader = new MemoryReader(this)
    this.#readers.add(reader)
    return {
      get: (key) => reader.get(key),
      range: (prefix, options) => reader.range(prefix, options),
      release: () => void this.#readers.delete(reader),
    }
  }

  /** A reader with a snapshot that moves on only by `refresh`, as another thread has. */
  reader(): RowStore {
    const reader = new MemoryReader(this)
    this.#readers.add(reader)
    return reader
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** What a reader saw last: the shared map, and the old values of what has changed since. */
class MemoryReader implements RowStore {
  readonly #store: MemoryRowStore
  readonly #old = new Map<string, Buffer | undefined>()

  constructor(store: MemoryRowStore) {
    this.#store = store
  }

  /** Remembers values that a transaction has replaced. */
  keep(before: ReadonlyMap<string, Buffer | undefined>): void {
    for (const [key, value] of before) if (!this.#old.has(key)) this.#old.set(key, value)
  }

  hashName(name: string): string {
    return this.#store.hashName(name)
  }

  get(key: string): Buffer | undefined {
    return this.#old.has(key) ? this.#old.get(key) : this.#store.get(key)
  }

  range(
    prefix: string,
    options: { readonly after?: string; readonly countMax?: number } = {},
  ): { readonly key: string; readonly value: Buffer }[] {
    const { after, countMax = Infinity } = options
    const rows = new Map<string, Buffer | undefined>()
    const stored = this.#store.range(prefix, { ...options, countMax: countMax + this.#old.size })
    for (const { key, value } of stored) rows.set(key, value)
    for (const [key, value] of this.#old) {
      if (key.startsWith(prefix) && (after === undefined || key > after)) rows.set(key, value)
    }
    const found: { key: string; value: Buffer }[] = []
    for (const key of [...rows.keys()].sort()) {
      const value = rows.get(key)
      if (value && found.length < countMax) found.push({ key, value })
    }
    return found
  }

  freeze(): FrozenRows {
    throw new TypeError('a reader has a snapshot already')
  }

  transaction<T>(): T {
    throw new TypeError('a reader does not write')
  }

  refresh(): void {
    this.#old.clear()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
