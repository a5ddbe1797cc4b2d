/** The index in memory: for tests and the simulator. */
import type { RowStore, RowWriter } from './rows.ts'

interface MemoryRows extends RowStore {
  readonly rowCount: number
}

export declare class MemoryRowStore implements MemoryRows {
  constructor()
  readonly rowCount: number
  hashName(name: string): string
  get(key: string): Buffer | undefined
  range(
    prefix: string,
    options?: { readonly after?: string; readonly countMax?: number },
  ): { readonly key: string; readonly value: Buffer }[]
  transaction<T>(run: (rows: RowWriter) => T): T
  refresh(): void
  close(): Promise<void>
}
