/**
 * Taking a snapshot from a peer, on a device that has nothing yet: asks one peer after the other
 * for a statement, fetches the parts that are not here, and hands them to the volume. While this
 * runs no entries are fetched. Whatever fails, the log is fetched instead.
 */
import { errorToData, WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { DeviceId } from '../types.ts'
import type { Outgoing } from './channels.ts'
import type { SnapshotPort, SwarmReport } from './interface.ts'
import { SNAPSHOT_BYTES_MAX, type Message } from './wire.ts'

/** The part that stands for the statement. */
export const STATEMENT_PART = '0'.repeat(64)
/** A peer may have to make the snapshot first. */
const STATEMENT_MS_MAX = 60_000
const ANSWER_MS_MAX = 20_000
/** How long a device without anything waits for somebody to ask. */
const ALONE_MS_MAX = 5000
/** Answers under way, of one part. */
const WINDOW = 4
/** Largest object that is put together in memory. */
const OBJECT_BYTES_MAX = 48 * 1024 * 1024

/** What a newcomer needs. */
export interface NewcomerOptions {
  readonly port: SnapshotPort
  readonly clock: Clock
  send(to: DeviceId, message: Outgoing): void
  /** The log may be fetched from now on. `hasTaken`: behind a snapshot. */
  onDone(hasTaken: boolean): void
  onReport(report: SwarmReport): void
}

type Answer = Extract<Message, { type: 'snapshot' }>

interface Request {
  readonly peer: DeviceId
  resolve(answer: Answer): void
  reject(error: Error): void
}

/** See the head of this file. */
export class Newcomer {
  readonly #options: NewcomerOptions
  readonly #requests = new Map<number, Request>()
  readonly #waiting: DeviceId[] = []
  readonly #connected = new Set<DeviceId>()
  #nextId = 1
  #isRunning = false
  #isDone = false
  #aloneSinceMs: number | undefined

  constructor(options: NewcomerOptions) {
    this.#options = options
  }

  /** Whether no entries are to be fetched now. */
  get isHolding(): boolean {
    return !this.#isDone
  }

  /** Finds out whether a snapshot is wanted. */
  async start(): Promise<void> {
    const isWanted = await this.#options.port.isWanted().catch(() => false)
    if (!isWanted) this.#done(false)
    this.#aloneSinceMs = this.#options.clock.monotonicMs()
  }

  connected(peer: DeviceId): void {
    this.#connected.add(peer)
    if (this.#isDone) return
    this.#waiting.push(peer)
    if (!this.#isRunning) void this.#run()
  }

  disconnected(peer: DeviceId): void {
    this.#connected.delete(peer)
    for (const [id, request] of this.#requests) {
      if (request.peer !== peer) continue
      this.#requests.delete(id)
      request.reject(new WormholeError('PEER_UNREACHABLE', 'the peer is gone'))
    }
  }

  /** An answer; one that nobody waits for is ignored. */
  onAnswer(peer: DeviceId, answer: Answer): void {
    const request = this.#requests.get(answer.id)
    if (request?.peer !== peer) return
    this.#requests.delete(answer.id)
    request.resolve(answer)
  }

  /** To be called a few times a second. */
  tick(nowMs: number): void {
    if (this.#isDone || this.#isRunning || this.#aloneSinceMs === undefined) return
    if (nowMs - this.#aloneSinceMs > ALONE_MS_MAX) this.#done(false)
  }

  close(): void {
    this.#isDone = true
    for (const peer of [...this.#connected]) this.disconnected(peer)
  }

  #done(hasTaken: boolean): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#options.onDone(hasTaken)
  }

  /** Never rejects for an operating error. */
  async #run(): Promise<void> {
    this.#isRunning = true
    for (let peer = this.#waiting.shift(); peer && !this.#isDone; peer = this.#waiting.shift()) {
      try {
        this.#done(await this.#takeFrom(peer))
      } catch (error) {
        const { code, message } = errorToData(error)
        if (code === 'BUG') throw error
        const told = `no snapshot from this device: ${message}`
        this.#options.onReport({ code, device: peer, message: told })
        if (code !== 'PEER_UNREACHABLE') this.#done(false)
      }
    }
    this.#isRunning = false
    this.#aloneSinceMs = this.#options.clock.monotonicMs()
  }

  /** Returns whether there was one. */
  async #takeFrom(peer: DeviceId): Promise<boolean> {
    const { port } = this.#options
    const statement = await this.#fetch(peer, STATEMENT_PART, STATEMENT_MS_MAX)
    if (statement === undefined) return false
    for (const { hash, sizeBytes } of await port.begin(statement)) {
      const bytes = await this.#fetch(peer, hash, ANSWER_MS_MAX, sizeBytes)
      if (bytes === undefined) throw new WormholeError('PEER_UNREACHABLE', 'it has it no more')
      await port.put(hash, bytes)
    }
    await port.finish()
    return true
  }

  /** A whole object; undefined when the peer has none. */
  async #fetch(
    peer: DeviceId,
    hash: string,
    timeoutMs: number,
    sizeBytes?: number,
  ): Promise<Buffer | undefined> {
    const first = await this.#ask(peer, hash, 0, timeoutMs)
    const size = first.sizeBytes
    if (size === 0) return undefined
    if (size > OBJECT_BYTES_MAX || (sizeBytes !== undefined && size !== sizeBytes)) {
      throw new WormholeError('SNAPSHOT_INVALID', `an object of ${size} bytes`)
    }
    const whole = Buffer.alloc(size)
    const take = ({ bytes }: Answer, offset: number): void => {
      if (bytes.length !== Math.min(SNAPSHOT_BYTES_MAX, size - offset)) {
        throw new WormholeError('SNAPSHOT_INVALID', 'an answer of another size than asked for')
      }
      whole.set(bytes, offset)
    }
    take(first, 0)
    let next = SNAPSHOT_BYTES_MAX
    const fetchNext = async (): Promise<void> => {
      while (next < size) {
        const offset = next
        next += SNAPSHOT_BYTES_MAX
        take(await this.#ask(peer, hash, offset, ANSWER_MS_MAX), offset)
      }
    }
    await Promise.all(Array.from({ length: WINDOW }, fetchNext))
    return whole
  }

  #ask(peer: DeviceId, hash: string, offset: number, timeoutMs: number): Promise<Answer> {
    const id = this.#nextId++
    return new Promise<Answer>((resolve, reject) => {
      if (!this.#connected.has(peer)) {
        return reject(new WormholeError('PEER_UNREACHABLE', 'the peer is gone'))
      }
      const timer = this.#options.clock.setTimer(timeoutMs, () => {
        this.#requests.delete(id)
        reject(new WormholeError('PEER_UNREACHABLE', 'no answer in time'))
      })
      this.#requests.set(id, {
        peer,
        resolve: (answer) => {
          timer.cancel()
          resolve(answer)
        },
        reject: (error) => {
          timer.cancel()
          reject(error)
        },
      })
      this.#options.send(peer, { type: 'snapshot-want', id, hash, offset })
    })
  }
}

/**
 * The serving side: the answer to one question. Never rejects for an operating error: what cannot
 * be given is answered with nothing.
 */
export async function answerSnapshot(
  port: SnapshotPort | undefined,
  { id, hash, offset }: Extract<Message, { type: 'snapshot-want' }>,
): Promise<Extract<Outgoing, { type: 'snapshot' }>> {
  const none = { type: 'snapshot', id, sizeBytes: 0, bytes: Buffer.alloc(0) } as const
  if (!port) return none
  try {
    if (hash !== STATEMENT_PART) {
      const found = await port.read(hash, offset, SNAPSHOT_BYTES_MAX)
      return found ? { ...none, ...found } : none
    }
    const statement = await port.offer()
    if (!statement) return none
    const bytes = statement.subarray(offset, offset + SNAPSHOT_BYTES_MAX)
    return { ...none, sizeBytes: statement.length, bytes }
  } catch (error) {
    if (error instanceof WormholeError) return none
    throw error
  }
}
