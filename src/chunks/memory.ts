/**
 * Sealed chunks in memory, for simulated devices and tests: complete, with the faults of a disk.
 * What was put survives `crash` only if a `sync` came after it.
 */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'
import { addressOf } from './codec.ts'
import type { SealedWriter } from './interface.ts'

/** A `SealedWriter` without a disk. */
export class MemoryStore implements SealedWriter {
  readonly #chunks = new Map<ChunkAddress, Buffer>()
  readonly #unsynced = new Set<ChunkAddress>()
  readonly #bytesMax: number
  #bytes = 0
  #isClosed = false

  /** @param options.bytesMax - beyond this `put` throws `DISK_FULL`. */
  constructor(options: { readonly bytesMax?: number } = {}) {
    this.#bytesMax = options.bytesMax ?? Infinity
  }

  has(address: ChunkAddress): boolean {
    return this.#chunks.has(address)
  }

  pin(address: ChunkAddress): boolean {
    return this.has(address)
  }

  getSync(address: ChunkAddress): Buffer | undefined {
    const sealed = this.#chunks.get(address)
    if (!sealed) return undefined
    if (addressOf(sealed) !== address) {
      this.remove(address)
      throw new WormholeError('CHUNK_CORRUPT', `chunk ${address} is damaged in this store`)
    }
    return Buffer.from(sealed)
  }

  async get(address: ChunkAddress): Promise<Buffer | undefined> {
    return this.getSync(address)
  }

  put(address: ChunkAddress, sealed: Uint8Array): void {
    if (addressOf(sealed) !== address) {
      throw new WormholeError('CHUNK_CORRUPT', `bytes given for chunk ${address} are not its own`)
    }
    this.putOwn(address, sealed)
  }

  putOwn(address: ChunkAddress, sealed: Uint8Array): boolean {
    if (this.#isClosed) throw new WormholeError('VOLUME_CLOSED', 'the chunk store is closed')
    if (this.#chunks.has(address)) return false
    if (this.#bytes + sealed.length > this.#bytesMax) {
      throw new WormholeError('DISK_FULL', `store of ${this.#bytesMax} bytes is full`)
    }
    this.#chunks.set(address, Buffer.from(sealed))
    this.#unsynced.add(address)
    this.#bytes += sealed.length
    return true
  }

  async sync(): Promise<void> {
    this.#unsynced.clear()
  }

  stats(): { chunkCount: number; bytes: number } {
    return { chunkCount: this.#chunks.size, bytes: this.#bytes }
  }

  async close(): Promise<void> {
    this.#isClosed = true
  }

  /** Forgets a chunk, as eviction or a lost pack would. */
  remove(address: ChunkAddress): void {
    const sealed = this.#chunks.get(address)
    if (!sealed) return
    this.#bytes -= sealed.length
    this.#chunks.delete(address)
    this.#unsynced.delete(address)
  }

  /** Power loss: forgets what no `sync` covered. */
  crash(): void {
    for (const address of [...this.#unsynced]) this.remove(address)
  }

  /** Flips one bit of a stored chunk. */
  corrupt(address: ChunkAddress, offset = 0): void {
    const sealed = this.#chunks.get(address)
    if (sealed) sealed[offset] = (sealed[offset] as number) ^ 1
  }
}
