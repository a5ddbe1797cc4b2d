/**
 * File contents over a store that this thread may write: the whole of `ContentStore` in one thread.
 * Chunks are stored before the manifest that names them; `sync` makes all of them durable (W1).
 */
import assert from 'node:assert/strict'
import { WormholeError } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'
import { BaseContent } from './base.ts'
import { mergeExtents, mergeRanges, Rebuild } from './build.ts'
import { Cutter, GearPool, type CutMode } from './cutter.ts'
import { CHUNK_SIZE_BYTES_MIN, type Gear } from './gear.ts'
import type {
  BuiltContent,
  ByteRange,
  ChunkFetcher,
  ChunkKeys,
  ContentStore,
  ContentStream,
  DirtyExtent,
  Presence,
  SealedWriter,
} from './interface.ts'
import { ManifestBuilder } from './manifest.ts'
import { ContentReader, type Content } from './reader.ts'
import { ChunkSink, DedupCache } from './sealing.ts'
import { ChunkSource, type FetchOptions } from './source.ts'

/** How to make a `LocalContents`. */
export interface LocalContentsOptions {
  readonly store: SealedWriter
  readonly keys: ChunkKeys
  /** Gets what is not here; without it a missing chunk is `CHUNK_UNAVAILABLE`. */
  readonly fetcher?: ChunkFetcher | undefined
  /** RAM for opened chunks. Default 64 MiB. */
  readonly cacheBytesMax?: number | undefined
}

/** What the result of a write is made of. */
export interface BuildOptions {
  readonly base: Content | undefined
  readonly sizeBytes: number
  readonly extents: readonly DirtyExtent[]
  readonly holes?: readonly ByteRange[]
  readonly mode: CutMode
}

/** A `ContentStore` in this thread. Writing is one volume's and one thread's business. */
export class LocalContents implements ContentStore {
  readonly #store: SealedWriter
  readonly #source: ChunkSource
  readonly #reader: ContentReader
  readonly #gears: GearPool
  readonly #dedup = new DedupCache()

  constructor(options: LocalContentsOptions) {
    this.#store = options.store
    this.#source = new ChunkSource(options)
    this.#reader = new ContentReader(this.#source)
    this.#gears = new GearPool(options.keys.dedup)
  }

  read(
    content: Content,
    range: { readonly offset: number; readonly length: number },
    options?: { readonly signal?: AbortSignal },
  ): Buffer[] | Promise<Buffer[]> {
    return this.#reader.read(content, range, options)
  }

  /** As `ChunkSource.openForOther`. */
  openForOther(address: ChunkAddress): Uint8Array {
    return this.#source.openForOther(address)
  }

  addresses(content: Content, options?: FetchOptions): Promise<ChunkAddress[]> {
    return this.#reader.addresses(content, options)
  }

  seek(
    content: Content,
    offset: number,
    what: 'data' | 'hole',
    options?: { readonly signal?: AbortSignal },
  ): number | Promise<number> {
    return this.#reader.seek(content, offset, what, options)
  }

  presence(content: Content): Presence {
    return this.#reader.presence(content)
  }

  holeBytes(content: Content): number | undefined {
    return this.#reader.holeBytes(content)
  }

  async build(options: BuildOptions): Promise<BuiltContent> {
    const { base, sizeBytes, mode } = options
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
      throw new WormholeError('OUT_OF_RANGE', `content of ${sizeBytes} bytes`)
    }
    const extents = mergeExtents(options.extents, sizeBytes)
    if (sizeBytes === 0) return { ref: { type: 'empty' }, sizeBytes, newBytes: 0 }
    const holes = mergeRanges(options.holes ?? [], Math.min(sizeBytes, base?.sizeBytes ?? 0))
    const isSame = extents.length === 0 && holes.length === 0
    if (base && isSame && base.sizeBytes === sizeBytes) {
      return { ref: base.ref, sizeBytes, newBytes: 0 }
    }
    const sink = this.#sink()
    const first = extents[0]
    if (sizeBytes <= CHUNK_SIZE_BYTES_MIN && first?.bytes.length === sizeBytes) {
      const address = sink.putData(asBuffer(first.bytes))
      return { ref: { type: 'chunk', address }, sizeBytes, newBytes: sink.newBytes }
    }
    const manifest = new ManifestBuilder((plain) => sink.putNode(plain))
    const opened = await BaseContent.open(this.#source, base)
    const gear = this.#gears.take()
    try {
      const changes = [first, holes[0]].flatMap((change) => change?.offset ?? [])
      const start = Math.min(...changes, sizeBytes, opened.sizeBytes)
      const isFixed = mode === 'fixed' || (await opened.isFixedAt(start))
      const cutter = new Cutter(gear, isFixed ? 'fixed' : 'content-defined')
      await new Rebuild({ base: opened, sizeBytes, extents, holes, cutter, sink, manifest }).run()
    } finally {
      this.#gears.giveBack(gear)
    }
    assert.equal(manifest.sizeBytes, sizeBytes)
    return { ref: manifest.finish(), sizeBytes, newBytes: sink.newBytes }
  }

  stream(): ContentStream {
    return new LocalStream(this.#sink(), this.#gears)
  }

  sync(): Promise<void> {
    return this.#store.sync()
  }

  #sink(): ChunkSink {
    return new ChunkSink({ codec: this.#source.codec, store: this.#store, dedup: this.#dedup })
  }
}

/** A content from front to back; holds one window of 4 MiB until `finish` or `abort`. */
class LocalStream implements ContentStream {
  readonly #sink: ChunkSink
  readonly #gears: GearPool
  readonly #manifest: ManifestBuilder
  #gear: Gear | undefined
  readonly #cutter: Cutter

  constructor(sink: ChunkSink, gears: GearPool) {
    this.#sink = sink
    this.#gears = gears
    this.#manifest = new ManifestBuilder((plain) => sink.putNode(plain))
    this.#gear = gears.take()
    this.#cutter = new Cutter(this.#gear, 'content-defined')
  }

  async write(bytes: Uint8Array): Promise<void> {
    assert(this.#gear, 'write after the end of a content stream')
    for (let at = 0; at < bytes.length;) {
      at += this.#cutter.write(bytes.subarray(at))
      if (this.#cutter.isFull) this.#store(false)
    }
  }

  async finish(): Promise<BuiltContent> {
    assert(this.#gear, 'finish after the end of a content stream')
    this.#store(true)
    this.abort()
    const { sizeBytes } = this.#manifest
    return { ref: this.#manifest.finish(), sizeBytes, newBytes: this.#sink.newBytes }
  }

  abort(): void {
    if (this.#gear) this.#gears.giveBack(this.#gear)
    this.#gear = undefined
  }

  #store(isEnd: boolean): void {
    for (let plain = this.#cutter.next(isEnd); plain; plain = this.#cutter.next(isEnd)) {
      this.#manifest.pushChunk(this.#sink.putData(plain), plain.length)
    }
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
