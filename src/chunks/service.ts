/**
 * The store as its thread offers it to other threads: one set of methods per connected port. What
 * crosses and who owns which buffer: README.md, "Threads".
 */
import { errorToData, WormholeError, type ErrorData } from '../errors.ts'
import { Transferred } from '../rpc.ts'
import type { ChunkAddress } from '../types.ts'
import type { ChunkCollection } from './collection-interface.ts'
import { collectionMethods } from './collection-rpc.ts'
import type { BuildOptions, LocalContents } from './content.ts'
import type { BuiltContent, ContentStream } from './interface.ts'
import type { PackHandle, PackWriter } from './packs.ts'
import type { Scrub, ScrubReport } from './scrub.ts'

/** Builds whose extents travel in one buffer. */
export interface BuildRequest {
  readonly builds: readonly (Omit<BuildOptions, 'extents'> & {
    readonly offsets: readonly number[]
    /** Lengths in `bytes`, or the bytes themselves where their memory is shared. */
    readonly pieces: readonly (number | Uint8Array)[]
  })[]
  /** The bytes of all extents that are not shared, one after the other; moved, not copied. */
  readonly bytes: Uint8Array
}

/** Bytes of a stream; `batch` is moved here and moved back for reuse. */
export interface StreamPiece {
  readonly stream: number
  readonly batch: Uint8Array
  readonly length: number
}

/** What one client may call. Types are those of `storeMethods`. */
export type StoreMethods = ReturnType<typeof storeMethods>

/**
 * The methods for one client.
 *
 * @param onFetcher - called when the client offers to fetch chunks.
 */
export function storeMethods(options: {
  readonly store: PackWriter
  readonly contents: LocalContents
  readonly collection: ChunkCollection
  readonly scrub: Scrub
  readonly onFetcher: () => void
}) {
  const { store, contents } = options
  const streams = new Map<number, ContentStream>()
  const take = (stream: number): ContentStream => {
    const known = streams.get(stream)
    if (!known) throw new WormholeError('BAD_HANDLE', `no content stream ${stream}`)
    return known
  }
  return {
    hello: (): PackHandle => store.handle,
    offerFetch: (): void => options.onFetcher(),
    put: (args: { address: ChunkAddress; sealed: Uint8Array }): void =>
      store.put(args.address, args.sealed),
    check: (args: { address: ChunkAddress }): void => store.check(args.address),
    rewriteIndex: (): Promise<void> => store.rewriteIndex(),
    sync: (): Promise<void> => store.sync(),
    ...collectionMethods(options.collection),
    scrub: (
      args: { bytesMax: number },
      { signal }: { readonly signal: AbortSignal },
    ): Promise<ScrubReport> => options.scrub.run(args.bytesMax, signal),
    stats: (): { chunkCount: number; bytes: number } => store.stats(),
    /** The opened bytes of a data chunk: a second thread at work for whoever reads ahead. */
    open: ({ address }: { address: ChunkAddress }): Transferred<Uint8Array> => {
      const plain = contents.openForOther(address)
      return new Transferred(plain, [plain.buffer as ArrayBuffer])
    },
    /** Each fails for itself. */
    build: ({ builds, bytes }: BuildRequest): Promise<(BuiltContent | { error: ErrorData })[]> => {
      let at = 0
      const results = builds.map(({ base, sizeBytes, mode, offsets, pieces, holes = [] }) => {
        const extents = offsets.map((offset, index) => {
          const piece = pieces[index] as number | Uint8Array
          if (typeof piece !== 'number') return { offset, bytes: piece }
          return { offset, bytes: bytes.subarray(at, (at += piece)) }
        })
        return contents
          .build({ base, sizeBytes, mode, extents, holes })
          .catch((error: unknown) => ({ error: errorToData(error) }))
      })
      return Promise.all(results)
    },
    streamOpen: (args: { stream: number }): void => {
      streams.set(args.stream, contents.stream())
    },
    streamWrite: async (piece: StreamPiece): Promise<Transferred<Uint8Array>> => {
      await take(piece.stream).write(piece.batch.subarray(0, piece.length))
      return new Transferred(piece.batch, [piece.batch.buffer as ArrayBuffer])
    },
    streamFinish: (args: { stream: number }): Promise<BuiltContent> => {
      const stream = take(args.stream)
      streams.delete(args.stream)
      return stream.finish()
    },
    streamAbort: (args: { stream: number }): void => {
      streams.get(args.stream)?.abort()
      streams.delete(args.stream)
    },
    abortAllStreams: (): void => {
      for (const stream of streams.values()) stream.abort()
      streams.clear()
    },
  }
}
