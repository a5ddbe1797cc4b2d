/** Sealed chunks in append-only packs. (Signatures first; the body follows.) */
import type { Disk } from '../system.ts'
import type { SealedStore, SealedWriter } from './interface.ts'

/** What another thread needs to read the packs; may be posted. */
export interface PackHandle {
  readonly directory: string
  readonly table: SharedArrayBuffer
}

/** The one writer of a pack directory. */
export declare class PackWriter implements SealedWriter {
  static open(options: { disk: Disk; directory: string }): PackWriter
  readonly handle: PackHandle
  has: SealedStore['has']
  getSync: SealedStore['getSync']
  get: SealedStore['get']
  put: SealedWriter['put']
  sync: SealedWriter['sync']
  stats: SealedWriter['stats']
  close: SealedWriter['close']
}

/** Reads the packs of a writer in another thread, without messages. */
export declare class PackReader implements SealedStore {
  constructor(options: {
    disk: Disk
    handle: PackHandle
    /** Told when a chunk's digest was wrong; the writer should check and forget it. */
    onCorrupt?: (address: import('../types.ts').ChunkAddress) => void
  })
  has: SealedStore['has']
  getSync: SealedStore['getSync']
  get: SealedStore['get']
  close(): void
}
