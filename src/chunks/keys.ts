/** Chunk keys as plain data, so that they can be given to another thread. */
import type { ChunkKeys } from './interface.ts'

/** `ChunkKeys` as plain data. The arrays are not copied: do not change them. */
export interface ChunkKeysData {
  readonly dedup: Uint8Array
  readonly currentGeneration: number
  /** Content keys by key generation. */
  readonly contents: ReadonlyMap<number, Uint8Array>
}

/** `ChunkKeys` that can be replaced after a rotation; the dedup key stays for life. */
export class ChunkKeyRing implements ChunkKeys {
  readonly dedup: Uint8Array
  #data: ChunkKeysData

  constructor(data: ChunkKeysData) {
    this.dedup = data.dedup
    this.#data = data
  }

  get currentGeneration(): number {
    return this.#data.currentGeneration
  }

  content(generation: number): Uint8Array | undefined {
    return this.#data.contents.get(generation)
  }

  /** Takes the keys of a later state of the volume. */
  update(data: ChunkKeysData): void {
    this.#data = data
  }
}
