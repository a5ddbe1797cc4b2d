/**
 * Calls and events over a message port between two threads. Both sides are equal: each may offer
 * methods, call the other's, and emit events.
 *
 * Messages (structured clone): `{call, method, args}`, `{abort}`, `{done, value}`,
 * `{failed, error}`, `{event, value}`; `call`, `abort`, `done` and `failed` carry the number of the
 * call. Errors cross as `ErrorData`, so that codes survive. Order is that of the port; calls run
 * concurrently when their handlers are asynchronous.
 */
import type { TransferListItem } from 'node:worker_threads'
import { errorFromData, errorToData, WormholeError, type ErrorData } from './errors.ts'

/** What `Rpc` needs of a `MessagePort` (a port of a `MessageChannel`, or `parentPort`). */
export interface MessagePortLike {
  postMessage(value: unknown, transfer?: readonly TransferListItem[]): void
  on(event: 'message' | 'messageerror' | 'close', listener: (value: unknown) => void): unknown
  close(): void
}

/** What a handler learns about its call. */
export interface CallContext {
  /** Fires when the caller gave up or the port closed. */
  readonly signal: AbortSignal
}

/** One method: takes what the caller sent, returns a cloneable value or a `Transferred` one. */
export type Handler = (args: any, context: CallContext) => unknown

/** The methods of one side, by name. */
export type Handlers = Readonly<Record<string, Handler>>

/** A result whose buffers move to the caller instead of being copied. */
export class Transferred<T> {
  readonly value: T
  readonly transfer: readonly TransferListItem[]

  constructor(value: T, transfer: readonly TransferListItem[]) {
    this.value = value
    this.transfer = transfer
  }
}

type Unwrapped<T> = T extends Transferred<infer Value> ? Value : T

/** What a caller receives from a method: awaited, and without the transfer list. */
export type CallResult<Method extends Handler> = Unwrapped<Awaited<ReturnType<Method>>>

/** How to make one call. */
export interface CallOptions {
  /** Buffers in `args` that move to the other thread; they are detached here. */
  readonly transfer?: readonly TransferListItem[]
  /** Ends the wait at once with `ABORTED` and tells the handler. */
  readonly signal?: AbortSignal | undefined
}

/** A call being answered. Its signal is made only when the handler looks at it. */
class Running implements CallContext {
  #isAborted = false
  #controller: AbortController | undefined

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#isAborted) this.#controller.abort()
    return this.#controller.signal
  }

  abort(): void {
    this.#isAborted = true
    this.#controller?.abort()
  }
}

interface Pending {
  resolve(value: unknown): void
  reject(error: Error): void
}

type Message =
  | { call: number; method: string; args: unknown }
  | { abort: number }
  | { done: number; value: unknown }
  | { failed: number; error: ErrorData }
  | { event: string; value: unknown }

/** One end of a port. `Remote` names the methods of the other end (`typeof handlers` there). */
export class Rpc<Remote extends Handlers = Handlers> {
  readonly #port: MessagePortLike
  readonly #handlers: Handlers
  readonly #pending = new Map<number, Pending>()
  readonly #running = new Map<number, Running>()
  readonly #listeners = new Map<string, Set<(value: never) => void>>()
  readonly #closeListeners = new Set<() => void>()
  #nextCall = 1
  #closed: Error | undefined

  constructor(port: MessagePortLike, handlers: Handlers = {}) {
    this.#port = port
    this.#handlers = handlers
    port.on('message', (message) => this.#receive(message as Message))
    port.on('messageerror', (error) => this.#end(error as Error))
    port.on('close', () =>
      this.#end(new WormholeError('VOLUME_CLOSED', 'the other thread closed its port')),
    )
  }

  /**
   * Calls a method of the other side.
   *
   * @throws {WormholeError} what the method threw; `ABORTED`; `VOLUME_CLOSED` when the port is or
   *   becomes closed. A bug over there arrives as a plain `Error` with its stack.
   */
  call<Name extends keyof Remote & string>(
    method: Name,
    args?: Parameters<Remote[Name]>[0],
    options: CallOptions = {},
  ): Promise<CallResult<Remote[Name]>> {
    const { signal, transfer } = options
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(this.#closed)
      if (signal?.aborted) return reject(aborted(method))
      const call = this.#nextCall++
      const onAbort = (): void => {
        this.#pending.delete(call)
        this.#port.postMessage({ abort: call } satisfies Message)
        reject(aborted(method))
      }
      this.#port.postMessage({ call, method, args } satisfies Message, transfer)
      this.#pending.set(call, {
        resolve: (value) => {
          signal?.removeEventListener('abort', onAbort)
          resolve(value as CallResult<Remote[Name]>)
        },
        reject: (error) => {
          signal?.removeEventListener('abort', onAbort)
          reject(error)
        },
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Sends an event; nothing is known about its arrival. Does nothing once closed. */
  emit(event: string, value: unknown, transfer?: readonly TransferListItem[]): void {
    if (this.#closed) return
    this.#port.postMessage({ event, value } satisfies Message, transfer)
  }

  /** Listens to events of the other side; returns how to stop. */
  on<Value>(event: string, listener: (value: Value) => void): () => void {
    const listeners = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, listeners)
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  /** Calls `listener` once when the port closed, from either side. */
  onClose(listener: () => void): void {
    if (this.#closed) listener()
    else this.#closeListeners.add(listener)
  }

  /** Closes the port: pending calls fail with `VOLUME_CLOSED`, running handlers are aborted. */
  close(): void {
    if (this.#closed) return
    this.#end(new WormholeError('VOLUME_CLOSED', 'this port is closed'))
    this.#port.close()
  }

  #receive(message: Message): void {
    if ('call' in message) void this.#answer(message)
    else if ('done' in message) this.#take(message.done)?.resolve(message.value)
    else if ('failed' in message) this.#take(message.failed)?.reject(errorFromData(message.error))
    else if ('abort' in message) this.#running.get(message.abort)?.abort()
    else {
      for (const listener of this.#listeners.get(message.event) ?? []) {
        listener(message.value as never)
      }
    }
  }

  #take(call: number): Pending | undefined {
    const pending = this.#pending.get(call)
    this.#pending.delete(call)
    return pending
  }

  async #answer(message: { call: number; method: string; args: unknown }): Promise<void> {
    const { call, method, args } = message
    const running = new Running()
    this.#running.set(call, running)
    try {
      const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined
      if (!handler) throw new TypeError(`no such method: ${method}`)
      const result = await handler(args, running)
      const moved = result instanceof Transferred
      this.#reply(
        { done: call, value: moved ? result.value : result },
        moved ? result.transfer : [],
      )
    } catch (error) {
      this.#reply({ failed: call, error: errorToData(error) }, [])
    } finally {
      this.#running.delete(call)
    }
  }

  #reply(message: Message, transfer: readonly TransferListItem[]): void {
    if (!this.#closed) this.#port.postMessage(message, transfer)
  }

  #end(reason: Error): void {
    if (this.#closed) return
    this.#closed = reason
    for (const pending of this.#pending.values()) pending.reject(reason)
    this.#pending.clear()
    for (const running of this.#running.values()) running.abort()
    for (const listener of this.#closeListeners) listener()
  }
}

function aborted(method: string): WormholeError {
  return new WormholeError('ABORTED', `${method}: the caller gave up`)
}

/** Offers `handlers` on a port. The result may also call, emit and listen. */
export function serve<Remote extends Handlers = Handlers>(
  port: MessagePortLike,
  handlers: Handlers,
): Rpc<Remote> {
  return new Rpc<Remote>(port, handlers)
}

/** The calling end of a port: `connect<typeof handlers>(port).call('method', args)`. */
export function connect<Remote extends Handlers = Handlers>(port: MessagePortLike): Rpc<Remote> {
  return new Rpc<Remote>(port)
}
