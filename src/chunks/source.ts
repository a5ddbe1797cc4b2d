/**
 * Opened chunks: from RAM, from the sealed store, or (asynchronously) from other devices. One per
 * thread, because the buffers of its codec are reused.
 */
import { WormholeError, hasCode } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'
import { ByteCache } from './cache.ts'
import { CHUNK_OVERHEAD_BYTES, ChunkCodec, SEALED_SIZE_BYTES_MAX, type ChunkKind } from './codec.ts'
import type { ChunkFetcher, ChunkKeys, SealedStore } from './interface.ts'
import { decodeNode, type ManifestNode } from './manifest.ts'

/** How to wait for chunks that are not here. */
export interface FetchOptions {
  readonly priority?: 'foreground' | 'background' | undefined
  readonly signal?: AbortSignal | undefined
}

/** How to make a `ChunkSource`. */
export interface ChunkSourceOptions {
  readonly store: SealedStore
  readonly keys: ChunkKeys
  /** Gets what is not here; without it a missing chunk is `CHUNK_UNAVAILABLE`. */
  readonly fetcher?: ChunkFetcher | undefined
  /** RAM for opened chunks. Default 64 MiB. */
  readonly cacheBytesMax?: number | undefined
}

const CACHE_BYTES_MAX = 64 * 1024 * 1024
/** A decoded node entry takes about this much: hex address, size, array slots. */
const NODE_ENTRY_BYTES = 120
/** A part is opened alone when it is at most this part of its chunk. */
const PART_SHARE = 8
/** Attempts to use a fetched chunk before giving up: the disk may damage each. */
const FETCH_COUNT_MAX = 3

/** Opened chunks and manifest nodes by address. */
export class ChunkSource {
  readonly codec: ChunkCodec
  readonly #store: SealedStore
  readonly #fetcher: ChunkFetcher | undefined
  readonly #data: ByteCache<ChunkAddress, Buffer>
  readonly #nodes: ByteCache<ChunkAddress, ManifestNode>
  readonly #scratch = Buffer.allocUnsafeSlow(SEALED_SIZE_BYTES_MAX)
  readonly #cacheBytesMax: number
  /** Bytes of all chunks so far of which only a part was opened … */
  #partBytes = 0
  /** … and how many it had been when that was done to a chunk, oldest first. */
  readonly #parts = new Map<ChunkAddress, number>()
  /** Data chunks that another thread is opening. Never reject. */
  readonly #coming = new Map<ChunkAddress, Promise<void>>()

  constructor(options: ChunkSourceOptions) {
    const cacheBytesMax = options.cacheBytesMax ?? CACHE_BYTES_MAX
    this.codec = new ChunkCodec(options.keys)
    this.#store = options.store
    this.#fetcher = options.fetcher
    this.#cacheBytesMax = cacheBytesMax
    this.#data = new ByteCache(cacheBytesMax)
    this.#nodes = new ByteCache(cacheBytesMax / 4)
  }

  /**
   * The bytes of a data chunk if they are here. Shared with the cache: do not change them.
   *
   * @throws {WormholeError} `CHUNK_CORRUPT`, `FORMAT_UNSUPPORTED`, `KEY_MISSING`.
   */
  dataSync(address: ChunkAddress): Buffer | undefined {
    const cached = this.#data.get(address)
    if (cached) return cached
    const plain = this.#open('data', address)
    if (plain) this.#data.put(address, plain, plain.length)
    return plain
  }

  /**
   * Bytes `[from, to)` of a data chunk of `sizeBytes`, as `dataSync`. Little of a large chunk is
   * decrypted alone: that its digest is right says enough (README.md, "Parts").
   */
  partSync(
    address: ChunkAddress,
    sizeBytes: number,
    { from, to }: { readonly from: number; readonly to: number },
  ): Buffer | undefined {
    const cached = this.#data.get(address)
    if (cached) return cut(cached, sizeBytes, from, to)
    const sealed = this.#sealed(address)
    if (!sealed) return undefined
    const isPlain = sealed.length === sizeBytes + CHUNK_OVERHEAD_BYTES
    if (isPlain && (to - from) * PART_SHARE <= sizeBytes && !this.#wouldBeCached(address)) {
      const part = this.codec.openPart(sealed, from, to)
      if (part) {
        this.#notePart(address, sizeBytes)
        return part
      }
    }
    const plain = this.codec.open('data', sealed)
    this.#data.put(address, plain, plain.length)
    return cut(plain, sizeBytes, from, to)
  }

  /** Whether a chunk of which a part was opened would still be here, had it been opened whole. */
  #wouldBeCached(address: ChunkAddress): boolean {
    const at = this.#parts.get(address)
    return at !== undefined && this.#partBytes - at < this.#cacheBytesMax
  }

  #notePart(address: ChunkAddress, sizeBytes: number): void {
    this.#parts.delete(address)
    this.#parts.set(address, this.#partBytes)
    this.#partBytes += sizeBytes
    for (const [oldest, at] of this.#parts) {
      if (this.#partBytes - at < this.#cacheBytesMax) break
      this.#parts.delete(oldest)
    }
  }

  /** As `dataSync`, for a manifest node. */
  nodeSync(address: ChunkAddress): ManifestNode | undefined {
    const cached = this.#nodes.get(address)
    if (cached) return cached
    const plain = this.#open('node', address)
    if (!plain) return undefined
    const node = decodeNode(plain)
    this.#nodes.put(address, node, node.entryCount * NODE_ENTRY_BYTES)
    return node
  }

  /** The bytes of a data chunk, fetched when they are not here. Shared with the cache. */
  async data(address: ChunkAddress, options?: FetchOptions): Promise<Buffer> {
    return this.dataSync(address) ?? this.#fetched(address, options, () => this.dataSync(address))
  }

  /** As `data`, for a manifest node. */
  async node(address: ChunkAddress, options?: FetchOptions): Promise<ManifestNode> {
    return this.nodeSync(address) ?? this.#fetched(address, options, () => this.nodeSync(address))
  }

  /** Whether a data chunk is in the store, and neither in memory nor on its way there. */
  isOnlyStored(address: ChunkAddress): boolean {
    return !this.#data.has(address) && !this.#coming.has(address) && this.#store.has(address)
  }

  /** A data chunk is being opened elsewhere; who needs it waits. Should that fail, it opens it. */
  expect(address: ChunkAddress, opening: Promise<Buffer>): void {
    const done = opening.then(
      (plain) => {
        this.#data.put(address, plain, plain.length)
        this.#coming.delete(address)
      },
      () => void this.#coming.delete(address),
    )
    this.#coming.set(address, done)
  }

  /** Whether to wait (with `fetch`) for a data chunk that another thread is opening. */
  isComing(address: ChunkAddress): boolean {
    return this.#coming.has(address)
  }

  /** Opens a data chunk for another thread: memory of its own, that nobody here keeps. */
  openForOther(address: ChunkAddress): Uint8Array {
    const plain = this.#open('data', address)
    if (!plain) throw new WormholeError('CHUNK_UNAVAILABLE', `chunk ${address} is not here`)
    // What the decompressor or the pool of small buffers owns cannot move.
    const isOwn = !this.codec.isCompressed && plain.buffer.byteLength === plain.length
    return isOwn ? plain : new Uint8Array(plain)
  }

  has(address: ChunkAddress): boolean {
    return this.#store.has(address)
  }

  /** Resolves when all of them are in the store. @throws {WormholeError} `CHUNK_UNAVAILABLE`, … */
  async fetch(addresses: readonly ChunkAddress[], options: FetchOptions = {}): Promise<void> {
    const { priority = 'foreground', signal } = options
    if (signal?.aborted) throw new WormholeError('ABORTED', 'the reader gave up')
    const absent = new Set<ChunkAddress>()
    for (const address of addresses) {
      const coming = this.#coming.get(address)
      if (coming) await coming
      else absent.add(address)
    }
    if (absent.size === 0) return
    if (!this.#fetcher) {
      throw new WormholeError('CHUNK_UNAVAILABLE', `chunk ${addresses[0]} is not on this device`)
    }
    await this.#fetcher.fetch([...absent], signal ? { priority, signal } : { priority })
  }

  /**
   * Fetches a chunk and uses it. A damaged disk may lose it again: bounded.
   */
  async #fetched<T>(
    address: ChunkAddress,
    options: FetchOptions | undefined,
    attempt: () => T | undefined,
  ): Promise<T> {
    for (let count = 0; count < FETCH_COUNT_MAX; count++) {
      await this.fetch([address], options)
      const found = attempt()
      if (found !== undefined) return found
    }
    throw new WormholeError('CHUNK_UNAVAILABLE', `chunk ${address} was fetched and is not here`)
  }

  #open(kind: ChunkKind, address: ChunkAddress): Buffer | undefined {
    const sealed = this.#sealed(address)
    return sealed && this.codec.open(kind, sealed)
  }

  /** Sealed bytes with the right digest, valid until the next call. */
  #sealed(address: ChunkAddress): Buffer | undefined {
    try {
      return this.#store.getSync(address, this.#scratch)
    } catch (error) {
      // The store has forgotten the damaged chunk: from here on it is one that is missing.
      if (this.#fetcher && hasCode(error, 'CHUNK_CORRUPT')) return undefined
      throw error
    }
  }
}

/** Bytes of an opened chunk, which must be as long as whoever names it says. */
function cut(plain: Buffer, sizeBytes: number, from: number, to: number): Buffer {
  if (plain.length === sizeBytes) return plain.subarray(from, to)
  const message = `content of ${plain.length} bytes where ${sizeBytes} are named`
  throw new WormholeError('CHUNK_CORRUPT', message)
}
