/** The index of a simulated machine: its process may die at any transaction, and it may be lost. */
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import type { FrozenRows, RowStore, RowWriter } from '../../src/crdt/rows.ts'
import type { MortalProcess } from './mortal-disk.ts'
import type { SeededRandom } from './sim-clock.ts'

/** What a power cut leaves of the index. */
export type IndexFate = 'kept' | 'older' | 'lost'

/** An index in the hands of one process, with a memory of what it was a while ago. */
export class MortalRows implements RowStore {
  readonly #rows: MemoryRowStore
  readonly #process: MortalProcess
  readonly #random: SeededRandom
  #older: { key: string; value: Buffer }[]

  constructor(rows: MemoryRowStore, process: MortalProcess, random: SeededRandom) {
    this.#rows = rows
    this.#process = process
    this.#random = random
    this.#older = rows.range('')
  }

  /** A new index as this one was at some commit. */
  older(): MemoryRowStore {
    const rows = new MemoryRowStore()
    rows.transaction((writer) => {
      for (const { key, value } of this.#older) writer.put(key, value)
    })
    return rows
  }

  hashName(name: string): string {
    return this.#rows.hashName(name)
  }

  get(key: string): Buffer | undefined {
    return this.#rows.get(key)
  }

  range(prefix: string, options?: { readonly after?: string; readonly countMax?: number }) {
    return this.#rows.range(prefix, options)
  }

  transaction<T>(run: (rows: RowWriter) => T): T {
    this.#process.step()
    const result = this.#rows.transaction(run)
    if (this.#random.below(8) === 0) this.#older = this.#rows.range('')
    this.#process.step()
    return result
  }

  freeze(): FrozenRows {
    return this.#rows.freeze()
  }

  refresh(): void {}

  close(): Promise<void> {
    return Promise.resolve()
  }
}
