/**
 * File contents in pieces between two threads: pulled by the reader, pushed by the writer, each
 * piece acknowledged before the next, so that neither side holds more than one.
 */
import { Buffer } from 'node:buffer'
import { WormholeError } from '../errors.ts'
import { Transferred } from '../rpc.ts'
import type { ContentRef } from '../crdt/interface.ts'
import type { PathApi, PathEntry } from '../vfs/interface.ts'

/** A stream that somebody else pushes into. */
class PushSource implements AsyncIterable<Uint8Array> {
  #piece: Uint8Array | undefined
  #isEnded = false
  #error: Error | undefined
  #wakeReader: (() => void) | undefined
  #wakeWriter: (() => void) | undefined

  /** Resolves when the piece has been taken. */
  async push(piece: Uint8Array): Promise<void> {
    if (this.#isEnded || this.#error) {
      throw this.#error ?? new WormholeError('BAD_HANDLE', 'this stream has ended')
    }
    this.#piece = piece
    const taken = new Promise<void>((resolve) => (this.#wakeWriter = resolve))
    this.#wakeReader?.()
    await taken
    if (this.#error) throw this.#error
  }

  end(): void {
    this.#isEnded = true
    this.#wakeReader?.()
  }

  /** Ends both sides with an error. */
  fail(error: Error): void {
    this.#error ??= error
    this.#wakeReader?.()
    this.#wakeWriter?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#error) throw this.#error
      const piece = this.#piece
      if (piece) {
        this.#piece = undefined
        yield piece
        this.#wakeWriter?.()
        continue
      }
      if (this.#isEnded) return
      await new Promise<void>((resolve) => (this.#wakeReader = resolve))
    }
  }
}

interface Reading {
  readonly pieces: AsyncIterator<Buffer>
  readonly abort: AbortController
}

interface Writing {
  readonly source: PushSource
  readonly result: Promise<PathEntry>
}

/** The paths of one volume for callers in another thread. */
export class FileStreams {
  readonly #paths: PathApi
  readonly #readings = new Map<number, Reading>()
  readonly #writings = new Map<number, Writing>()
  #nextId = 1

  constructor(paths: PathApi) {
    this.#paths = paths
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    stat: (args: { path: string; follow?: boolean }) =>
      this.#paths.stat(args.path, args.follow === undefined ? {} : { follow: args.follow }),
    list: (path: string) => this.#paths.list(path),
    makeDirectory: async (path: string) => {
      await this.#paths.makeDirectory(path)
    },
    remove: (args: { path: string; isRecursive: boolean }) =>
      this.#paths.remove(args.path, { isRecursive: args.isRecursive }),
    openRead: (args: { path: string; content?: { ref: ContentRef; sizeBytes: number } }) =>
      this.#openRead(args),
    readPiece: (id: number) => this.#readPiece(id),
    closeRead: (id: number) => this.#closeRead(id),
    openWrite: (args: { path: string; mode?: number }) => this.#openWrite(args),
    writePiece: (args: { id: number; bytes: Uint8Array }) =>
      this.#writing(args.id).source.push(args.bytes),
    finishWrite: (id: number) => this.#finishWrite(id),
    abortWrite: (id: number) => this.#abortWrite(id),
  }

  #openRead(args: { path: string; content?: { ref: ContentRef; sizeBytes: number } }): number {
    const abort = new AbortController()
    const pieces = this.#paths.readFile(args.path, {
      ...(args.content ? { content: args.content } : {}),
      signal: abort.signal,
    })
    const id = this.#nextId++
    this.#readings.set(id, { pieces: pieces[Symbol.asyncIterator](), abort })
    return id
  }

  async #readPiece(id: number): Promise<Transferred<Uint8Array> | undefined> {
    const reading = this.#readings.get(id)
    if (!reading) throw new WormholeError('BAD_HANDLE', 'this file is not open for reading')
    const { done, value } = await reading.pieces.next()
    if (done) {
      this.#readings.delete(id)
      return undefined
    }
    const bytes = new Uint8Array(value)
    return new Transferred(bytes, [bytes.buffer])
  }

  #closeRead(id: number): void {
    const reading = this.#readings.get(id)
    this.#readings.delete(id)
    reading?.abort.abort()
    void reading?.pieces.return?.()
  }

  #openWrite(args: { path: string; mode?: number }): number {
    const source = new PushSource()
    const options = args.mode === undefined ? {} : { mode: args.mode }
    const result = this.#paths.writeFile(args.path, source, options)
    result.catch((error: Error) => source.fail(error))
    const id = this.#nextId++
    this.#writings.set(id, { source, result })
    return id
  }

  #writing(id: number): Writing {
    const writing = this.#writings.get(id)
    if (!writing) throw new WormholeError('BAD_HANDLE', 'this file is not open for writing')
    return writing
  }

  async #finishWrite(id: number): Promise<PathEntry> {
    const { source, result } = this.#writing(id)
    source.end()
    try {
      return await result
    } finally {
      this.#writings.delete(id)
    }
  }

  #abortWrite(id: number): void {
    const writing = this.#writings.get(id)
    this.#writings.delete(id)
    writing?.source.fail(new WormholeError('ABORTED', 'the writer gave up'))
  }
}
