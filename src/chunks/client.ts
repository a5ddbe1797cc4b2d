/**
 * File contents in a thread that does not own the store: reads come from RAM and from the packs
 * without a message, builds and streams go to the store thread.
 */
import { errorFromData } from '../errors.ts'
import type { Rpc } from '../rpc.ts'
import type { ChunkAddress } from '../types.ts'
import type { BuildOptions } from './content.ts'
import type { BuiltContent, ContentStore, ContentStream, Presence } from './interface.ts'
import { ContentReader, type Content } from './reader.ts'
import type { StoreMethods } from './service.ts'
import { ReadAhead } from './read-ahead.ts'
import { ChunkSource, type ChunkSourceOptions, type FetchOptions } from './source.ts'

/** Bytes that a stream gathers before it sends them. */
const BATCH_BYTES = 1024 * 1024
/** Batches on their way; bounds the memory of a stream to 5 MiB on each side. */
const BATCH_COUNT_MAX = 4

/** Bytes of builds from which they are not gathered any further. */
const GATHERED_BYTES_MAX = 4 * 1024 * 1024

/** A build that is about to be sent. */
interface WaitingBuild {
  readonly options: BuildOptions
  resolve(content: BuiltContent): void
  reject(error: unknown): void
}

/**
 * A `ContentStore` whose writing half is in another thread. Builds that are asked for in one turn
 * travel in one message and one buffer: small files cost what is in them, not a message each.
 */
export class RemoteContents implements ContentStore {
  readonly #rpc: Rpc<StoreMethods>
  readonly #source: ChunkSource
  readonly #reader: ContentReader
  readonly #ahead: ReadAhead
  #nextStream = 1
  #waiting: WaitingBuild[] = []
  #waitingBytes = 0

  constructor(rpc: Rpc<StoreMethods>, options: ChunkSourceOptions) {
    this.#rpc = rpc
    this.#source = new ChunkSource(options)
    this.#reader = new ContentReader(this.#source)
    this.#ahead = new ReadAhead(rpc, this.#source, this.#reader)
  }

  read(
    content: Content,
    range: { readonly offset: number; readonly length: number },
    options?: { readonly signal?: AbortSignal },
  ): Buffer[] | Promise<Buffer[]> {
    this.#ahead.reading(content, range)
    return this.#reader.read(content, range, options)
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

  build(options: BuildOptions): Promise<BuiltContent> {
    return new Promise((resolve, reject) => {
      const build = { options, resolve, reject }
      // One with a base may have to wait for the network: no other one waits with it.
      if (options.base) return this.#send([build])
      if (this.#waiting.length === 0) queueMicrotask(() => this.#sendWaiting())
      this.#waiting.push(build)
      this.#waitingBytes += bytesOf(build)
      if (this.#waitingBytes >= GATHERED_BYTES_MAX) this.#sendWaiting()
    })
  }

  #sendWaiting(): void {
    const waiting = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    if (waiting.length > 0) this.#send(waiting)
  }

  #send(waiting: readonly WaitingBuild[]): void {
    let byteCount = 0
    for (const build of waiting) byteCount += bytesOf(build)
    const gathered = new Uint8Array(new ArrayBuffer(byteCount))
    let at = 0
    const builds = waiting.map(({ options: { base, sizeBytes, mode, extents, holes = [] } }) => {
      const offsets = extents.map(({ offset }) => offset)
      const pieces = extents.map(({ bytes }) => {
        if (isShared(bytes)) return bytes
        gathered.set(bytes, at)
        at += bytes.length
        return bytes.length
      })
      return { base, sizeBytes, mode, offsets, pieces, holes: [...holes] }
    })
    const request = { builds, bytes: gathered }
    this.#rpc.call('build', request, { transfer: [gathered.buffer] }).then(
      (results) => {
        for (const [index, { resolve, reject }] of waiting.entries()) {
          const result = results[index] as (typeof results)[number]
          if ('error' in result) reject(errorFromData(result.error))
          else resolve(result)
        }
      },
      (error: unknown) => {
        for (const { reject } of waiting) reject(error)
      },
    )
  }

  stream(): ContentStream {
    return new RemoteStream(this.#rpc, this.#nextStream++)
  }

  sync(): Promise<void> {
    return this.#rpc.call('sync', undefined)
  }
}

/** Whether the store thread can read the bytes where they are. */
function isShared({ buffer }: Uint8Array): boolean {
  return buffer instanceof SharedArrayBuffer
}

/** Bytes that have to travel. */
function bytesOf({ options }: WaitingBuild): number {
  let count = 0
  for (const { bytes } of options.extents) if (!isShared(bytes)) count += bytes.length
  return count
}

class RemoteStream implements ContentStream {
  readonly #rpc: Rpc<StoreMethods>
  readonly #stream: number
  readonly #inFlight = new Set<Promise<void>>()
  readonly #idle: Uint8Array<ArrayBuffer>[] = []
  #batch = new Uint8Array(BATCH_BYTES)
  #length = 0
  #failure: { readonly error: unknown } | undefined

  constructor(rpc: Rpc<StoreMethods>, stream: number) {
    this.#rpc = rpc
    this.#stream = stream
    this.#track(rpc.call('streamOpen', { stream }))
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#throwIfFailed()
    for (let at = 0; at < bytes.length;) {
      const count = Math.min(bytes.length - at, BATCH_BYTES - this.#length)
      this.#batch.set(bytes.subarray(at, at + count), this.#length)
      this.#length += count
      at += count
      if (this.#length === BATCH_BYTES) this.#send()
    }
    while (this.#inFlight.size >= BATCH_COUNT_MAX) await Promise.race(this.#inFlight)
    this.#throwIfFailed()
  }

  async finish(): Promise<BuiltContent> {
    if (this.#length > 0) this.#send()
    await Promise.all(this.#inFlight)
    this.#throwIfFailed()
    return this.#rpc.call('streamFinish', { stream: this.#stream })
  }

  abort(): void {
    this.#track(this.#rpc.call('streamAbort', { stream: this.#stream }))
  }

  #send(): void {
    const piece = { stream: this.#stream, batch: this.#batch, length: this.#length }
    const call = this.#rpc.call('streamWrite', piece, { transfer: [this.#batch.buffer] })
    this.#track(call.then((batch) => void this.#idle.push(batch as Uint8Array<ArrayBuffer>)))
    this.#batch = this.#idle.pop() ?? new Uint8Array(BATCH_BYTES)
    this.#length = 0
  }

  /** Remembers the first failure for the next `write` or `finish`. */
  #track(call: Promise<void>): void {
    const done = call
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#inFlight.delete(done))
    this.#inFlight.add(done)
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }
}
