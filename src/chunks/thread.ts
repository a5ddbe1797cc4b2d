/** The store thread and its clients. (Signatures first; the body follows.) */
import type { MessagePort } from 'node:worker_threads'
import type { ChunkAddress } from '../types.ts'
import type { ChunkFetcher, ChunkKeys, ContentStore, SealedStore } from './interface.ts'
import type { ChunkKeysData } from './keys.ts'

/** The thread that owns the packs of one volume. */
export declare class StoreThread {
  /** Starts the thread and opens (recovers) the packs in `directory`. */
  static start(options: { directory: string; keys: ChunkKeysData }): Promise<StoreThread>
  /** A port for one more client; post it to the thread that will use it. */
  port(): MessagePort
  /** New key generations, after a rotation. */
  setKeys(keys: ChunkKeysData): void
  /** Syncs, closes the packs and ends the thread. */
  close(): Promise<void>
}

/** The store thread as other threads use it: reads locally, writes by message. */
export declare class StoreClient implements SealedStore {
  static connect(port: MessagePort): Promise<StoreClient>
  has: SealedStore['has']
  getSync: SealedStore['getSync']
  get: SealedStore['get']
  /** Stores bytes from a peer; the buffer is the store's from then on. */
  put(address: ChunkAddress, sealed: Uint8Array): Promise<void>
  sync(): Promise<void>
  stats(): Promise<{ chunkCount: number; bytes: number }>
  /** File contents; reads go to RAM and packs without a message, builds to the store thread. */
  contents(options: {
    keys: ChunkKeys
    fetcher?: ChunkFetcher | undefined
    cacheBytesMax?: number
  }): ContentStore
  close(): void
}
