/** The serving side of log replication for one session: ranges of feeds, one after the other. */
import { WormholeError } from '../errors.ts'
import type { LogPort } from './interface.ts'
import type { Session } from './session.ts'
import { FRAMES_MAX, type Message } from './wire.ts'

type Want = Extract<Message, { type: 'want' }>

/** Ranges a peer may ask for at once. */
const WANTS_MAX = 64
/** Bytes sent in one answer (more only when a single entry is larger). */
const ANSWER_BYTES_MAX = 1024 * 1024

/** Serves log entries to one session. */
export class LogServer {
  readonly #session: Session
  readonly #log: LogPort
  readonly #wants: Want[] = []
  #isRunning = false
  #wake: (() => void) | undefined

  constructor(session: Session, log: LogPort) {
    this.#session = session
    this.#log = log
  }

  /** The peer asks for a range. @throws {WormholeError} `PEER_MISBEHAVED` for far too many. */
  want(want: Want): void {
    if (this.#wants.length >= WANTS_MAX) {
      throw new WormholeError('PEER_MISBEHAVED', 'asks for too many ranges at once')
    }
    this.#wants.push(want)
    if (!this.#isRunning) void this.#run()
  }

  /** The link takes more, or is closed. */
  wake(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  /** Never rejects for an operating error: what cannot be read is answered with nothing. */
  async #run(): Promise<void> {
    this.#isRunning = true
    for (let want = this.#wants.shift(); want; want = this.#wants.shift()) {
      const frames = await this.#read(want)
      if (!this.#session.isWritable) {
        await new Promise<void>((resolve) => (this.#wake = resolve))
      }
      if (this.#session.isClosed) break
      this.#session.send({ type: 'entries', id: want.id, frames })
    }
    this.#isRunning = false
  }

  async #read(want: Want): Promise<Uint8Array[]> {
    const bytesMax = Math.min(want.bytesMax, ANSWER_BYTES_MAX)
    try {
      const frames = await this.#log.read(want.feed, want.fromSeq, bytesMax)
      return frames.slice(0, FRAMES_MAX)
    } catch (error) {
      if (error instanceof WormholeError) return []
      throw error
    }
  }
}
