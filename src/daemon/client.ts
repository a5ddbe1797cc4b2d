/**
 * The other side of the control socket: what the command line and tests ask the daemon with. Cheap
 * to load: it imports no native code and nothing of the daemon but types.
 */
import net from 'node:net'
import { WormholeError, errorFromData, type ErrorData } from '../errors.ts'
import { systemClock, type Clock } from '../system.ts'
import {
  FrameReader,
  PROTOCOL_VERSION,
  cutPieces,
  decodeValue,
  encodeMessage,
  type ClientMessage,
  type Frame,
  type Progress,
} from './frames.ts'
import type { MethodName, MethodParams, MethodResult } from './methods.ts'
import { Allowance, Inbox, sendPiece } from './streams.ts'

/** How long connecting and the daemon's hello may take together. */
const CONNECT_MS_MAX = 5000

/** Options of every request. An abort cancels the request in the daemon too: `ABORTED`. */
export interface CallOptions {
  readonly signal?: AbortSignal
  onProgress?(progress: Progress): void
}

interface Pending {
  readonly inbox: Inbox
  readonly allowance: Allowance
  /** Whether the data pieces are for the caller, not parts of the result. */
  readonly isDownload: boolean
  /** The encoded result, once its first piece has arrived. */
  joined: Promise<Buffer> | undefined
  onProgress(progress: Progress): void
  resolve(result: unknown): void
  reject(error: Error): void
}

/** One connection to a daemon. Requests may run side by side. */
export class ControlClient {
  readonly #socket: net.Socket
  readonly #reader = new FrameReader()
  readonly #pending = new Map<number, Pending>()
  #nextId = 1
  #ended: Error | undefined
  #onHello: ((outcome: Error | undefined) => void) | undefined

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('data', (arrived: Buffer) => this.#receive(arrived))
    socket.on('error', (error: NodeJS.ErrnoException) => this.#end(connectionError(error)))
    socket.once('close', () => {
      this.#end(new WormholeError('DAEMON_NOT_RUNNING', 'the daemon ended before it answered'))
    })
  }

  /**
   * Connects and exchanges hellos. @throws `DAEMON_NOT_RUNNING` when nobody listens, `TIMEOUT`,
   * `UPGRADE_NEEDED` when the daemon speaks another protocol, `NOT_PERMITTED`.
   */
  static async connect(
    socketPath: string,
    version: string,
    clock: Clock = systemClock,
  ): Promise<ControlClient> {
    const client = new ControlClient(net.connect({ path: socketPath }))
    await new Promise<void>((resolve, reject) => {
      const timer = clock.setTimer(CONNECT_MS_MAX, () =>
        client.#end(new WormholeError('TIMEOUT', 'the daemon does not answer')),
      )
      client.#onHello = (failure) => {
        timer.cancel()
        client.#onHello = undefined
        if (!failure) return resolve()
        client.#socket.destroy()
        reject(failure)
      }
      client.#send({ hello: PROTOCOL_VERSION, version })
    })
    return client
  }

  /** Asks, and resolves with the answer. */
  call<M extends MethodName>(
    method: M,
    params: MethodParams<M>,
    options: CallOptions = {},
  ): Promise<MethodResult<M>> {
    return this.#start(method, params, options, false).result as Promise<MethodResult<M>>
  }

  /** Asks with a stream of bytes. The pieces are read as fast as the daemon takes them. */
  async upload<M extends MethodName>(
    method: M,
    params: MethodParams<M>,
    pieces: AsyncIterable<Uint8Array>,
    options: CallOptions = {},
  ): Promise<MethodResult<M>> {
    const { id, pending, result } = this.#start(method, params, options, false)
    const sent = this.#sendAll(id, pending.allowance, pieces)
    // The daemon's answer counts; a source that fails cancels the request. Once the answer is
    // there, nobody waits for the rest of the source.
    const failed = sent.then(
      () => new Promise<never>(() => {}),
      (error: unknown) => {
        if (this.#pending.delete(id)) this.#send({ id, cancel: true })
        throw error
      },
    )
    try {
      return (await Promise.race([result, failed])) as MethodResult<M>
    } finally {
      pending.allowance.fail(new WormholeError('ABORTED', 'the upload has ended'))
    }
  }

  /** Asks for a stream of bytes. Leaving the iteration early cancels the request. */
  async *download<M extends MethodName>(
    method: M,
    params: MethodParams<M>,
    options: CallOptions = {},
  ): AsyncGenerator<Uint8Array> {
    const { id, pending, result } = this.#start(method, params, options, true)
    result.then(
      () => pending.inbox.end(),
      (error: Error) => pending.inbox.fail(error),
    )
    try {
      yield* pending.inbox
    } finally {
      if (this.#pending.delete(id)) this.#send({ id, cancel: true })
    }
  }

  /** Ends the connection; what still runs is cancelled. Idempotent. */
  close(): void {
    this.#end(new WormholeError('ABORTED', 'the control connection was closed'))
    this.#socket.destroySoon()
  }

  #start(
    method: MethodName,
    params: unknown,
    options: CallOptions,
    isDownload: boolean,
  ): { id: number; pending: Pending; result: Promise<unknown> } {
    const id = this.#nextId++
    const { signal } = options
    let resolve!: (result: unknown) => void
    let reject!: (error: Error) => void
    const result = new Promise<unknown>((onResult, onError) => {
      resolve = onResult
      reject = onError
    })
    const onAbort = (): void => {
      if (!this.#pending.delete(id)) return
      this.#send({ id, cancel: true })
      settle(new WormholeError('ABORTED', 'interrupted', { cause: signal?.reason }))
    }
    const settle = (error: Error | undefined, answer?: unknown): void => {
      signal?.removeEventListener('abort', onAbort)
      if (error) pending.allowance.fail(error)
      if (error) reject(error)
      else resolve(answer)
    }
    const pending: Pending = {
      inbox: new Inbox((count) => this.#send({ id, more: count })),
      allowance: new Allowance(),
      isDownload,
      onProgress: (progress) => options.onProgress?.(progress),
      joined: undefined,
      resolve: (answer) => settle(undefined, answer),
      reject: (error) => settle(error),
    }
    if (this.#ended) settle(this.#ended)
    else {
      this.#pending.set(id, pending)
      this.#send({ id, method, params })
      if (signal?.aborted) onAbort()
      else signal?.addEventListener('abort', onAbort, { once: true })
    }
    return { id, pending, result }
  }

  async #sendAll(
    id: number,
    allowance: Allowance,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    for await (const bytes of pieces) {
      for (const piece of cutPieces(bytes)) {
        await allowance.take(piece.length)
        if (!this.#pending.has(id)) return
        await sendPiece(this.#socket, id, piece)
      }
    }
    if (this.#pending.has(id)) this.#send({ id, end: true })
  }

  #send(message: ClientMessage | { hello: number; version: string }): void {
    if (this.#socket.writable) this.#socket.write(encodeMessage(message))
  }

  #receive(arrived: Buffer): void {
    try {
      for (const frame of this.#reader.push(arrived)) this.#onFrame(frame)
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      this.#end(error)
      this.#socket.destroy()
    }
  }

  #onFrame(frame: Frame): void {
    if (frame.kind === 'data') {
      this.#onData(frame.id, frame.bytes)
      return
    }
    const { id, result, error, progress, more, isSplit, hello } = frame.value
    if (typeof hello === 'number') return this.#greet(hello)
    if (id === 0) throw errorFromData(error as ErrorData)
    const pending = this.#pending.get(Number(id))
    if (!pending) return
    if (progress !== undefined) pending.onProgress(progress as Progress)
    else if (typeof more === 'number') pending.allowance.grant(more)
    else this.#answer(Number(id), pending, { result, error, isSplit })
  }

  #onData(id: number, bytes: Buffer): void {
    const pending = this.#pending.get(id)
    if (!pending) return
    if (!pending.isDownload) pending.joined ??= joinPieces(pending.inbox)
    pending.inbox.push(bytes)
  }

  #answer(
    id: number,
    pending: Pending,
    answer: { result: unknown; error: unknown; isSplit: unknown },
  ): void {
    this.#pending.delete(id)
    if (answer.error !== undefined) pending.reject(errorFromData(answer.error as ErrorData))
    else if (answer.isSplit === true) {
      pending.inbox.end()
      pending.joined?.then((bytes) => pending.resolve(decodeValue(bytes))).catch(pending.reject)
    } else pending.resolve(decodeValue(answer.result as Uint8Array))
  }

  #greet(hello: number): void {
    const failure =
      hello === PROTOCOL_VERSION
        ? undefined
        : new WormholeError(
            'UPGRADE_NEEDED',
            `the daemon speaks control protocol ${hello}, this program ${PROTOCOL_VERSION}`,
          )
    this.#onHello?.(failure)
  }

  #end(error: Error): void {
    this.#ended ??= error
    this.#onHello?.(error)
    for (const pending of this.#pending.values()) pending.reject(error)
    this.#pending.clear()
  }
}

async function joinPieces(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const piece of pieces) parts.push(piece)
  return Buffer.concat(parts)
}

function connectionError(error: NodeJS.ErrnoException): WormholeError {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    return new WormholeError('DAEMON_NOT_RUNNING', 'the daemon is not running', { cause: error })
  }
  if (error.code === 'EACCES') {
    return new WormholeError('NOT_PERMITTED', `the control socket: ${error.message}`, {
      cause: error,
    })
  }
  return new WormholeError('DAEMON_NOT_RUNNING', `the daemon is gone: ${error.message}`, {
    cause: error,
  })
}
