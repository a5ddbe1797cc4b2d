/**
 * Reading requests from, and writing replies to, an open `/dev/fuse`. The only place that reads the
 * device. README.md, "Transports", has the measurements.
 *
 * The descriptor stays open until `close` is called, also after the connection has ended: another
 * thread writes notifications to the same number, which must never come to mean another file.
 */
import fs from 'node:fs'
import os from 'node:os'
import { WormholeError } from '../../errors.ts'
import { systemClock, type Clock } from '../../system.ts'
import { BusyPoll } from './busy-poll.ts'
import type { TransportKind } from './interface.ts'
import type { ReplyDevice } from './reply.ts'
import { RequestBuffer } from './request.ts'

/** What a transport does with what it reads. */
export interface TransportOptions {
  readonly descriptor: number
  readonly clock?: Pick<Clock, 'monotonicMs'>
  /** The first `length` bytes of `request` have come. They are handled when this returns. */
  onRequest(request: RequestBuffer, length: number): void
  /** The connection has ended: undefined after an unmount, else what broke. Called once, last. */
  onEnd(error: Error | undefined): void
}

/** A running reader of the device. */
export interface Transport {
  readonly kind: TransportKind
  /** Closes the device. Only after `onEnd`. */
  close(): Promise<void>
}

/** Replies to the device, until it is cut. */
export class FuseDevice implements ReplyDevice {
  readonly #descriptor: number
  readonly #onBug: (error: Error, operation: string) => void
  #isCut = false

  constructor(descriptor: number, onBug: (error: Error, operation: string) => void) {
    this.#descriptor = descriptor
    this.#onBug = onBug
  }

  /** From now on nothing is written. */
  cut(): void {
    this.#isCut = true
  }

  write(reply: Buffer, lengthBytes: number): boolean {
    if (this.#isCut) return false
    try {
      fs.writeSync(this.#descriptor, reply, 0, lengthBytes)
      return true
    } catch (error) {
      return this.#failed(error)
    }
  }

  writeParts(parts: readonly Buffer[]): boolean {
    if (this.#isCut) return false
    try {
      fs.writevSync(this.#descriptor, parts)
      return true
    } catch (error) {
      return this.#failed(error)
    }
  }

  /** ENOENT: the request was aborted. ENODEV: unmounted. Anything else is an encoding bug. */
  #failed(error: unknown): false {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'ENODEV') {
      this.#onBug(error instanceof Error ? error : new Error(String(error)), 'reply')
    }
    return false
  }
}

/** The errno text of a read that failed because the mount is gone. */
const UNMOUNTED = 'ENODEV'
/** Nothing was read; the next one may succeed. */
const PASSING = new Set(['EINTR', 'EAGAIN', 'ENOENT'])

/** The parts of Node's stream bindings that reading a descriptor on the event loop takes. */
interface StreamBindings {
  Pipe: new (type: number) => PipeHandle
  socketType: number
  state: Int32Array
  readBytesIndex: number
}

interface PipeHandle {
  onread: (() => void) | undefined
  open(descriptor: number): number
  useUserBuffer(buffer: Uint8Array): void
  readStart(): number
  close(done: () => void): void
}

/**
 * Node's `pipe_wrap` and `stream_wrap` through `process.binding`, which is deprecated (DEP0111)
 * without a successor: no public API polls a character device. Undefined where it is not available;
 * the warning that `--pending-deprecation` would give is not shown, since `pool` takes over by
 * itself.
 */
function streamBindings(): StreamBindings | undefined {
  const host = process as unknown as {
    binding?: (name: string) => Record<string, unknown>
    noDeprecation?: boolean
  }
  const before = host.noDeprecation
  try {
    host.noDeprecation = true
    const pipe = host.binding?.('pipe_wrap') as
      { Pipe?: StreamBindings['Pipe']; constants?: { SOCKET?: number } } | undefined
    const stream = host.binding?.('stream_wrap') as
      { streamBaseState?: Int32Array; kReadBytesOrError?: number } | undefined
    const socketType = pipe?.constants?.SOCKET
    const readBytesIndex = stream?.kReadBytesOrError
    if (!pipe?.Pipe || !stream?.streamBaseState) return undefined
    if (socketType === undefined || readBytesIndex === undefined) return undefined
    return { Pipe: pipe.Pipe, socketType, state: stream.streamBaseState, readBytesIndex }
  } catch (error) {
    // `No such module`, or the permission model forbids it: this runtime has no such binding.
    if (error instanceof Error) return undefined
    throw error
  } finally {
    if (before === undefined) delete host.noDeprecation
    else host.noDeprecation = before
  }
}

/**
 * Starts reading. Without `kind`: `epoll` where the runtime offers it, else `pool`.
 * @throws {WormholeError} `MOUNT_UNAVAILABLE` if `epoll` is demanded and not offered.
 */
export function startTransport(options: TransportOptions, kind?: TransportKind): Transport {
  if (kind === 'pool') return startPool(options)
  const bindings = streamBindings()
  if (bindings) return startEpoll(options, bindings)
  if (kind === undefined) return startPool(options)
  throw new WormholeError('MOUNT_UNAVAILABLE', 'this Node.js cannot poll /dev/fuse; use "pool"')
}

/**
 * libuv polls the descriptor; requests are read and answered on the loop, one after the other.
 * While an immediate waits the loop polls without sleeping.
 */
function startEpoll(options: TransportOptions, bindings: StreamBindings): Transport {
  const { Pipe, socketType, state, readBytesIndex } = bindings
  const { clock = systemClock } = options
  const busyPoll = new BusyPoll(() => process.resourceUsage().involuntaryContextSwitches)
  let lookUntilMs = 0
  let isLooking = false
  const look = (): void => {
    const nowMs = clock.monotonicMs()
    if (nowMs < lookUntilMs) return void setImmediate(look)
    isLooking = false
    if (lookUntilMs > 0) busyPoll.missed(nowMs)
  }
  const request = new RequestBuffer()
  const handle = new Pipe(socketType)
  const check = (result: number, what: string): void => {
    if (result < 0) throw new WormholeError('MOUNT_FAILED', `${what} /dev/fuse: error ${result}`)
  }
  check(handle.open(options.descriptor), 'poll')
  handle.onread = () => {
    const length = state[readBytesIndex] as number
    if (length > 0) {
      busyPoll.came(clock.monotonicMs())
      options.onRequest(request, length)
      lookUntilMs = busyPoll.answered(clock.monotonicMs())
      if (lookUntilMs === 0 || isLooking) return
      isLooking = true
      setImmediate(look)
      return
    }
    // EAGAIN, as uv_read_cb tells it: the caller was killed, and the request is gone before it is
    // read. The end of a file would be UV_EOF, and the device has none.
    if (length === 0) return
    handle.onread = () => undefined
    const code = errnoName(length)
    options.onEnd(code === UNMOUNTED ? undefined : new Error(`read of /dev/fuse failed: ${code}`))
  }
  handle.useUserBuffer(request.bytes)
  check(handle.readStart(), 'read')
  return { kind: 'epoll', close: () => new Promise((resolve) => handle.close(resolve)) }
}

/** The name of a negative libuv error number. */
function errnoName(errno: number): string {
  const numbers = new Map(Object.entries(os.constants.errno).map(([name, value]) => [value, name]))
  return numbers.get(-errno) ?? `error ${errno}`
}

/**
 * Blocking reads in libuv's thread pool. Fewer than the pool has threads: each occupies one for
 * good, and with none left every other file, DNS and crypto call of the process would hang.
 */
function startPool(options: TransportOptions): Transport {
  const poolSize = Number(process.env['UV_THREADPOOL_SIZE']) || 4
  let running = poolSize > 3 ? 2 : 1
  let failure: Error | undefined
  const next = (request: RequestBuffer): void => {
    fs.read(options.descriptor, request.bytes, 0, request.bytes.length, null, (error, length) => {
      if (!error) options.onRequest(request, length)
      if (!error || PASSING.has(error.code ?? '')) {
        next(request)
        return
      }
      if (error.code !== UNMOUNTED) failure ??= error
      running -= 1
      if (running === 0) options.onEnd(failure)
    })
  }
  for (let index = running; index > 0; index--) next(new RequestBuffer())
  return {
    kind: 'pool',
    close: () =>
      new Promise((resolve, reject) => {
        fs.close(options.descriptor, (error) => (error ? reject(error) : resolve()))
      }),
  }
}
