/**
 * The serving side of chunk exchange for one session: answers what the peer asked for, foreground
 * before background, one chunk at a time and only while the link takes more, so that heads and
 * pings never wait behind more than one chunk of ours.
 */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'
import type { ChunkPort } from './interface.ts'
import type { Session } from './session.ts'
import { ADDRESSES_MAX } from './wire.ts'

/** Chunks a peer may have asked for and not received. */
export const QUEUED_CHUNKS_MAX = 4 * ADDRESSES_MAX

/** Serves chunks to one session. */
export class ChunkServer {
  readonly #session: Session
  readonly #chunks: ChunkPort
  /** In order of arrival. */
  readonly #foreground = new Set<ChunkAddress>()
  readonly #background = new Set<ChunkAddress>()
  #isRunning = false
  #wake: (() => void) | undefined

  constructor(session: Session, chunks: ChunkPort) {
    this.#session = session
    this.#chunks = chunks
  }

  /** The peer asks for chunks. @throws {WormholeError} `PEER_MISBEHAVED` for far too many. */
  get(priority: 'foreground' | 'background', addresses: readonly ChunkAddress[]): void {
    const queue = priority === 'foreground' ? this.#foreground : this.#background
    for (const address of addresses) {
      queue.add(address)
      if (priority === 'foreground') this.#background.delete(address)
    }
    if (this.#foreground.size + this.#background.size > QUEUED_CHUNKS_MAX) {
      throw new WormholeError('PEER_MISBEHAVED', 'asks for too many chunks at once')
    }
    if (!this.#isRunning) void this.#run()
  }

  /** The peer got them elsewhere. */
  cancel(addresses: readonly ChunkAddress[]): void {
    for (const address of addresses) {
      this.#foreground.delete(address)
      this.#background.delete(address)
    }
  }

  /** The link takes more, or is closed. */
  wake(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  #next(): ChunkAddress | undefined {
    for (const queue of [this.#foreground, this.#background]) {
      for (const address of queue) {
        queue.delete(address)
        return address
      }
    }
    return undefined
  }

  /** Reads one chunk ahead of what is being sent. Never rejects. */
  async #run(): Promise<void> {
    this.#isRunning = true
    let ahead = this.#read()
    while (ahead) {
      const { address, bytes } = await ahead
      if (this.#session.isClosed) break
      if (!this.#session.isWritable) {
        await new Promise<void>((resolve) => (this.#wake = resolve))
        if (this.#session.isClosed) break
      }
      ahead = this.#read()
      if (bytes) this.#session.send({ type: 'chunk', address, sealed: bytes })
      else this.#session.send({ type: 'lacking', addresses: [address] })
      ahead ??= this.#read()
    }
    this.#isRunning = false
  }

  #read(): Promise<{ address: ChunkAddress; bytes: Uint8Array | undefined }> | undefined {
    const address = this.#next()
    if (address === undefined) return undefined
    return this.#chunks.read(address).then(
      (bytes) => ({ address, bytes }),
      (error: unknown) => {
        // A chunk that rotted here is one we do not have; the store has taken note of it.
        if (error instanceof WormholeError) return { address, bytes: undefined }
        throw error
      },
    )
  }
}
