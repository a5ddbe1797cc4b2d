/**
 * The daemon's side of the control socket: a Unix socket in a private directory, many clients, many
 * requests at a time. Protocol: README.md.
 *
 * A client that breaks the protocol loses its connection, nothing else. When a connection ends, its
 * running requests are aborted.
 */
import fs from 'node:fs'
import net from 'node:net'
import { once } from 'node:events'
import path from 'node:path'
import { WormholeError, errorToData, fromErrno, hasCode } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import {
  FrameReader,
  PROTOCOL_VERSION,
  WINDOW_BYTES,
  cutPieces,
  encodeMessage,
  encodeValue,
  type Frame,
  type Hello,
  type ServerMessage,
} from './frames.ts'
import { claimRuntimeDirectory } from './holder.ts'
import type { HomeHandle } from './interface.ts'
import type { Logger } from './logging.ts'
import { runMethod, type Call } from './methods.ts'
import { Allowance, Inbox, sendPiece } from './streams.ts'
import { VERSION } from './version.ts'

/** Connections at one time; more are closed at once. */
const CONNECTION_COUNT_MAX = 64
/** Requests running at one time on one connection; more are answered `LIMIT_EXCEEDED`. */
const CALL_COUNT_MAX = 64
/** A client that has not said hello by then is closed. */
const HELLO_MS_MAX = 5000
/** How long running requests may take to end after `close` aborted them. */
const CLOSE_MS_MAX = 3000
/** A result up to this size travels in its message, a bigger one in pieces. */
const RESULT_BYTES_MAX = WINDOW_BYTES / 2

/** What the server needs. */
export interface ControlOptions {
  readonly socket: string
  readonly uid: number
  readonly home: HomeHandle
  readonly clock: Clock
  readonly logger: Logger
  /** Called once when a client asks the daemon to stop, after it was answered. */
  onStop(): void
}

/** A listening control socket. */
export interface ControlServer {
  /** Stops listening, aborts what runs, closes the connections. Idempotent. */
  close(): Promise<void>
}

/**
 * Listens at `socket`, whose directory is made or checked; a left-over socket file is replaced, so
 * the caller must hold the home's lock. @throws `NOT_PERMITTED`, `IO_ERROR`.
 */
export async function serveControl(options: ControlOptions): Promise<ControlServer> {
  claimRuntimeDirectory(path.dirname(options.socket), options.uid)
  fs.rmSync(options.socket, { force: true })
  const connections = new Set<Connection>()
  const server = net.createServer((socket) => {
    if (connections.size >= CONNECTION_COUNT_MAX) {
      socket.destroy()
      return
    }
    const connection = new Connection(socket, options)
    connections.add(connection)
    socket.once('close', () => connections.delete(connection))
  })
  try {
    server.listen({ path: options.socket })
    await once(server, 'listening')
    fs.chmodSync(options.socket, 0o600)
  } catch (error) {
    throw fromErrno(error, `listen at ${options.socket}`)
  }
  server.on('error', (error) => options.logger.error({ error: error.message }, 'control socket'))
  let closing: Promise<void> | undefined
  return {
    close() {
      closing ??= closeServer(server, connections, options.clock)
      return closing
    },
  }
}

async function closeServer(
  server: net.Server,
  connections: Set<Connection>,
  clock: Clock,
): Promise<void> {
  // Node removes the socket file itself.
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  await Promise.all([...connections].map((connection) => connection.stop(clock)))
  await closed
}

interface Running {
  readonly abort: AbortController
  readonly allowance: Allowance
  readonly inbox: Inbox
  readonly done: Promise<void>
}

class Connection {
  readonly #socket: net.Socket
  readonly #options: ControlOptions
  readonly #reader = new FrameReader()
  readonly #calls = new Map<number, Running>()
  #helloTimer: Timer | undefined
  #isGreeted = false
  #isBroken = false

  constructor(socket: net.Socket, options: ControlOptions) {
    this.#socket = socket
    this.#options = options
    this.#helloTimer = options.clock.setTimer(HELLO_MS_MAX, () => socket.destroy())
    socket.on('data', (arrived: Buffer) => this.#receive(arrived))
    socket.on('error', (error) => options.logger.debug({ error: error.message }, 'control client'))
    socket.once('close', () => {
      this.#helloTimer?.cancel()
      this.#abortAll('the client left')
    })
  }

  /** Aborts what runs, lets it answer for a bounded time, and closes. */
  async stop(clock: Clock): Promise<void> {
    this.#abortAll('the daemon is stopping')
    const running = Promise.all([...this.#calls.values()].map(({ done }) => done))
    const bound = new Promise<void>((resolve) => clock.setTimer(CLOSE_MS_MAX, resolve))
    await Promise.race([running, bound])
    // Not events.once: that rejects when a client that left in a hurry resets the connection.
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()))
    this.#socket.end()
    const timer = clock.setTimer(CLOSE_MS_MAX, () => this.#socket.destroy())
    if (!this.#socket.closed) await closed
    timer.cancel()
  }

  #abortAll(why: string): void {
    const reason = new WormholeError('ABORTED', why)
    for (const call of this.#calls.values()) {
      call.abort.abort(reason)
      call.allowance.fail(reason)
      call.inbox.fail(reason)
    }
  }

  #receive(arrived: Buffer): void {
    if (this.#isBroken) return
    try {
      for (const frame of this.#reader.push(arrived)) this.#onFrame(frame)
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      this.#options.logger.warn({ code: error.code }, `control client dropped: ${error.message}`)
      this.#isBroken = true
      this.#send({ id: 0, error: errorToData(error) })
      this.#socket.destroySoon()
    }
  }

  #onFrame(frame: Frame): void {
    if (frame.kind === 'data') {
      this.#calls.get(frame.id)?.inbox.push(frame.bytes)
      return
    }
    const { id, method, params, cancel, end, more, hello } = frame.value
    if (!this.#isGreeted) return this.#greet(hello)
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 1 || id > 0xffffffff) {
      throw new WormholeError('ENTRY_INVALID', 'a control message without a valid id')
    }
    // What belongs to a request that has been answered meanwhile is late, not wrong.
    if (typeof method === 'string') this.#start(id, method, params)
    else if (cancel === true) this.#cancel(id)
    else if (end === true) this.#calls.get(id)?.inbox.end()
    else if (typeof more === 'number') this.#calls.get(id)?.allowance.grant(more)
    else throw new WormholeError('ENTRY_INVALID', 'a control message of an unknown kind')
  }

  #greet(hello: unknown): void {
    this.#helloTimer?.cancel()
    const ours: Hello = { hello: PROTOCOL_VERSION, version: VERSION, pid: process.pid }
    this.#socket.write(encodeMessage(ours))
    if (typeof hello !== 'number') {
      throw new WormholeError('ENTRY_INVALID', 'the first control message must be a hello')
    }
    if (hello !== PROTOCOL_VERSION) {
      throw new WormholeError(
        'UPGRADE_NEEDED',
        `the daemon speaks control protocol ${PROTOCOL_VERSION}, the client ${hello}`,
      )
    }
    this.#isGreeted = true
  }

  #cancel(id: number): void {
    const call = this.#calls.get(id)
    if (!call) return
    const reason = new WormholeError('ABORTED', 'the client cancelled')
    call.abort.abort(reason)
    call.allowance.fail(reason)
    call.inbox.fail(reason)
  }

  #start(id: number, name: string, params: unknown): void {
    if (this.#calls.has(id)) {
      throw new WormholeError('ENTRY_INVALID', `control request ${id} is running already`)
    }
    if (this.#calls.size >= CALL_COUNT_MAX) {
      const error = new WormholeError('LIMIT_EXCEEDED', `over ${CALL_COUNT_MAX} requests at a time`)
      this.#send({ id, error: errorToData(error) })
      return
    }
    const abort = new AbortController()
    const allowance = new Allowance()
    const inbox = new Inbox((count) => this.#send({ id, more: count }))
    let isStopAsked = false
    const call: Call = {
      home: this.#options.home,
      signal: abort.signal,
      input: inbox,
      progress: (progress) => {
        if (!this.#socket.writableNeedDrain) this.#send({ id, progress })
      },
      output: (bytes) => this.#sendData(id, allowance, bytes),
      stop: () => {
        isStopAsked = true
      },
    }
    const done = this.#run(id, name, params, call, allowance).then(() => {
      this.#calls.delete(id)
      if (isStopAsked) this.#options.onStop()
    })
    this.#calls.set(id, { abort, allowance, inbox, done })
  }

  /** Never rejects: whatever happens is the answer. */
  async #run(
    id: number,
    name: string,
    params: unknown,
    call: Call,
    allowance: Allowance,
  ): Promise<void> {
    try {
      const result = await runMethod(call, name, params)
      const encoded = encodeValue(result)
      if (encoded.length <= RESULT_BYTES_MAX) {
        this.#send({ id, result: encoded })
        return
      }
      for (const piece of cutPieces(encoded)) await this.#sendData(id, allowance, piece)
      this.#send({ id, isSplit: true })
    } catch (error) {
      this.#fail(id, name, error)
    }
  }

  #fail(id: number, name: string, error: unknown): void {
    const data = errorToData(error)
    if (data.code === 'BUG') {
      this.#options.logger.error({ method: name, stack: data.stack }, data.message)
    } else if (!hasCode(error, 'ABORTED')) {
      this.#options.logger.debug({ method: name, code: data.code }, 'control request failed')
    }
    this.#send({ id, error: data })
  }

  #send(message: ServerMessage): void {
    if (this.#socket.writable) this.#socket.write(encodeMessage(message))
  }

  async #sendData(id: number, allowance: Allowance, bytes: Uint8Array): Promise<void> {
    await allowance.take(bytes.length)
    if (!this.#socket.writable) throw new WormholeError('ABORTED', 'the client left')
    await sendPiece(this.#socket, id, bytes)
  }
}
