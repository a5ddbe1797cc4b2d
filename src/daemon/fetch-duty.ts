/**
 * Brings the contents that this device keeps and has not yet: works off the list of wants that the
 * crdt thread keeps in the index, from several peers at once, in the background.
 *
 * Order: chunks stored -> synced -> taken off the list. A device that dies in between asks again
 * and finds the chunks already here.
 */
import { setMaxListeners } from 'node:events'
import type { ContentRef } from '../crdt/interface.ts'
import type { Want } from '../crdt/writer.ts'
import { errorToData, hasCode } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import type { ChunkAddress, InodeId } from '../types.ts'

/** Contents worked on at once. */
const BATCH_COUNT = 256
/** Pause before what nobody had is asked for again, unless a peer appears sooner. */
const RETRY_MS = 15_000

/** What the duty needs. */
export interface FetchDutyPorts {
  readonly clock: Clock
  wants(options: { after?: string; countMax: number }): Promise<Want[]>
  fetched(keys: string[]): Promise<void>
  /** For each inode whether this device keeps its content. */
  keeps(inodes: InodeId[]): Promise<boolean[]>
  has(address: ChunkAddress): boolean
  fetch(addresses: readonly ChunkAddress[], signal: AbortSignal): Promise<void>
  /** All addresses of a content; fetches the manifest nodes that are missing. */
  addresses(
    content: { ref: ContentRef; sizeBytes: number },
    signal: AbortSignal,
  ): Promise<ChunkAddress[]>
  sync(): Promise<void>
  hasPeers(): boolean
  onProblem(problem: { code: string; message: string }): void
}

/** See the head of this file. */
export class FetchDuty {
  readonly #ports: FetchDutyPorts
  readonly #abort = new AbortController()
  #running: Promise<void> | undefined
  #isWanted = false
  #retry: Timer | undefined
  #missing = { files: 0, bytes: 0 }

  constructor(ports: FetchDutyPorts) {
    this.#ports = ports
    // One listener for each fetch under way.
    setMaxListeners(0, this.#abort.signal)
  }

  /** What was found missing in the last pass and has not arrived since. */
  get missing(): { files: number; bytes: number } {
    return { ...this.#missing }
  }

  /** There may be something to do: new wants, or a peer that has what nobody had before. */
  poke(): void {
    if (this.#abort.signal.aborted) return
    this.#isWanted = true
    this.#running ??= this.#loop().finally(() => {
      this.#running = undefined
      if (this.#isWanted) this.poke()
    })
  }

  /** Resolves when the running pass, and those asked for meanwhile, are over. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running
  }

  async close(): Promise<void> {
    this.#isWanted = false
    this.#abort.abort()
    this.#retry?.cancel()
    await this.idle()
  }

  async #loop(): Promise<void> {
    while (this.#isWanted && !this.#abort.signal.aborted) {
      this.#isWanted = false
      this.#retry?.cancel()
      try {
        await this.#pass()
      } catch (error) {
        if (hasCode(error, 'VOLUME_CLOSED') || this.#abort.signal.aborted) return
        const { code, message } = errorToData(error)
        this.#ports.onProblem({ code, message: `cannot fetch file contents: ${message}` })
        this.#retryLater()
        return
      }
    }
  }

  #retryLater(): void {
    this.#retry?.cancel()
    this.#retry = this.#ports.clock.setTimer(RETRY_MS, () => this.poke())
  }

  /** Once through the list; what cannot be had now stays on it. */
  async #pass(): Promise<void> {
    const missing = { files: 0, bytes: 0 }
    let after: string | undefined
    for (;;) {
      const options = after === undefined ? {} : { after }
      const wants = await this.#ports.wants({ ...options, countMax: BATCH_COUNT })
      if (wants.length === 0) break
      after = wants[wants.length - 1]?.key
      const left = await this.#work(wants)
      for (const want of left) {
        missing.files++
        missing.bytes += want.sizeBytes
      }
      this.#missing = missing
      if (wants.length < BATCH_COUNT) break
    }
    this.#missing = missing
    if (missing.files > 0) this.#retryLater()
  }

  /** Fetches one batch; returns what is still missing. */
  async #work(wants: readonly Want[]): Promise<Want[]> {
    const keeps = await this.#ports.keeps(wants.map(({ inode }) => inode))
    const duties = wants.filter((_, index) => keeps[index])
    this.#missing = {
      files: duties.length,
      bytes: duties.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    }
    const done: string[] = []
    const left: Want[] = []
    await Promise.all(
      duties.map(async (want) => {
        if (await this.#bring(want)) done.push(want.key)
        else left.push(want)
      }),
    )
    if (done.length > 0) {
      await this.#ports.sync()
      await this.#ports.fetched(done)
    }
    return left
  }

  /** Whether the whole content is here now. */
  async #bring(want: Want): Promise<boolean> {
    const { ref, sizeBytes } = want
    const { signal } = this.#abort
    try {
      if (ref.type === 'chunk') return await this.#bringAll([ref.address])
      if (ref.type === 'empty') return true
      if (!this.#ports.has(ref.address) && !this.#ports.hasPeers()) return false
      return await this.#bringAll(await this.#ports.addresses({ ref, sizeBytes }, signal))
    } catch (error) {
      if (hasCode(error, 'CHUNK_UNAVAILABLE') || hasCode(error, 'ABORTED')) return false
      throw error
    }
  }

  async #bringAll(addresses: readonly ChunkAddress[]): Promise<boolean> {
    const absent = addresses.filter((address) => !this.#ports.has(address))
    if (absent.length === 0) return true
    if (!this.#ports.hasPeers()) return false
    await this.#ports.fetch(absent, this.#abort.signal)
    return true
  }
}
