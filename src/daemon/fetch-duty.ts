/**
 * Brings the contents that this device keeps and has not yet: works off the list of wants that the
 * crdt thread keeps in the index, from several peers at once, in the background.
 *
 * Order: chunks stored -> synced -> taken off the list. A device that dies in between asks again
 * and finds the chunks already here.
 *
 * The list also holds what this device does not keep (`cached` folders), so it may be as long as
 * the tree: it is walked whole at the start, when a policy has changed, when somebody waits for
 * everything, and every hour (a directory may have moved below another policy). In between only
 * what is new, and what was missing, is looked at.
 */
import { setMaxListeners } from 'node:events'
import type { ContentRef } from '../crdt/interface.ts'
import type { Want, WantsQuery } from '../crdt/wants.ts'
import { errorToData, hasCode } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import type { ChunkAddress, InodeId } from '../types.ts'

/** Contents worked on at once. */
const BATCH_COUNT = 256
/** Pause before what nobody had is asked for again, unless a peer appears sooner. */
const RETRY_MS = 15_000
/** Pause before the whole list is walked again, when it holds what this device does not keep. */
const WALK_MS = 3_600_000
/** Missing or new contents remembered; beyond that the whole list is walked instead. */
const KEYS_MAX = 20_000

/** What the duty needs. */
export interface FetchDutyPorts {
  readonly clock: Clock
  wants(query: WantsQuery): Promise<Want[]>
  fetched(keys: string[]): Promise<void>
  /** For each inode the size in bytes up to which this device keeps its content. */
  keptUpTo(inodes: InodeId[]): Promise<number[]>
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

/** A want that is being fetched. */
interface UnderWay {
  readonly want: Want
  /** Its chunks, once they are known, and those of them that were not here when last looked at. */
  chunkCount: number
  absent: readonly ChunkAddress[]
}

/** See the head of this file. */
export class FetchDuty {
  readonly #ports: FetchDutyPorts
  readonly #abort = new AbortController()
  #running: Promise<void> | undefined
  /** The whole list is to be walked. */
  #isWalkWanted = false
  /** What is missing by then is to be looked at again. */
  #isRetryWanted = false
  /** Keys that are to be looked at. */
  readonly #due = new Set<string>()
  /** What could not be had, with sizes; what is beyond `KEYS_MAX` is only counted. */
  readonly #left = new Map<string, number>()
  #beyond = { files: 0, bytes: 0 }
  /** What is being fetched, by key. */
  readonly #underWay = new Map<string, UnderWay>()
  readonly #watchers = new Set<(wants: readonly Want[]) => void>()
  /** Whether the list holds what this device does not keep. */
  #hasUnkept = false
  /** Something went wrong: waits for the retry, or for whoever asks next. */
  #failure: unknown
  #retry: Timer | undefined
  #walk: Timer | undefined

  constructor(ports: FetchDutyPorts) {
    this.#ports = ports
    // One listener for each fetch under way.
    setMaxListeners(0, this.#abort.signal)
  }

  /** What was found missing when it was last looked at. */
  get missing(): { files: number; bytes: number } {
    let { files, bytes } = this.#beyond
    files += this.#left.size + this.#underWay.size
    for (const sizeBytes of this.#left.values()) bytes += sizeBytes
    for (const { want } of this.#underWay.values()) bytes += want.sizeBytes
    return { files, bytes }
  }

  /** Why the last pass ended early, if it did: not for contents that nobody has. */
  get failure(): unknown {
    return this.#failure
  }

  /** About how many bytes of the contents that are being fetched have arrived, of those keys. */
  arrivedBytes(isAsked: (key: string) => boolean): number {
    let bytes = 0
    for (const [key, each] of this.#underWay) {
      if (each.chunkCount === 0 || !isAsked(key)) continue
      each.absent = each.absent.filter((address) => !this.#ports.has(address))
      bytes += each.want.sizeBytes * (1 - each.absent.length / each.chunkCount)
    }
    return Math.round(bytes)
  }

  /** How much is on the list that this device keeps: a walk over all of it. */
  async owed(): Promise<{ files: number; bytes: number }> {
    let files = 0
    let bytes = 0
    for await (const wants of this.#pages()) {
      for (const { sizeBytes } of await this.#kept(wants)) {
        files++
        bytes += sizeBytes
      }
    }
    return { files, bytes }
  }

  /** Tells what was fetched, until the returned function is called. */
  watch(onFetched: (wants: readonly Want[]) => void): () => void {
    this.#watchers.add(onFetched)
    return () => void this.#watchers.delete(onFetched)
  }

  /** Looks at the whole list. */
  poke(): void {
    this.#isWalkWanted = true
    this.#start()
  }

  /** Looks at wants that are new. */
  add(keys: readonly string[]): void {
    for (const key of keys) this.#due.add(key)
    if (this.#due.size > KEYS_MAX) this.#isWalkWanted = true
    // Where something new came from may be what was missing, too; many would cost too much.
    if (this.#left.size <= BATCH_COUNT) this.#isRetryWanted = true
    this.#start()
  }

  /**
   * Looks again at what was missing, and at what is being asked for in vain just now: there may be
   * a peer that has it.
   */
  retry(): void {
    if (this.#beyond.files > 0) this.#isWalkWanted = true
    this.#isRetryWanted = true
    this.#start()
  }

  get #isWanted(): boolean {
    if (this.#failure !== undefined || this.#abort.signal.aborted) return false
    return this.#isWalkWanted || this.#isRetryWanted || this.#due.size > 0
  }

  #start(): void {
    this.#failure = undefined
    this.#run()
  }

  #run(): void {
    if (!this.#isWanted) return
    this.#running ??= this.#loop().finally(() => {
      this.#running = undefined
      this.#run()
    })
  }

  /** Resolves when the running pass, and those asked for meanwhile, are over. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running
  }

  async close(): Promise<void> {
    this.#abort.abort()
    this.#retry?.cancel()
    this.#walk?.cancel()
    await this.idle()
  }

  async #loop(): Promise<void> {
    while (this.#isWanted) {
      this.#retry?.cancel()
      const isWalk = this.#isWalkWanted
      try {
        if (isWalk) await this.#walkAll()
        else await this.#workDue()
        if (this.missing.files > 0) this.#retryLater()
      } catch (error) {
        this.#failure = error
        if (isWalk) this.#isWalkWanted = true
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
    this.#retry = this.#ports.clock.setTimer(RETRY_MS, () => this.retry())
  }

  /** Once through the list; what cannot be had now stays on it. */
  async #walkAll(): Promise<void> {
    // Whoever asks from now on asks for what may lie behind this walk.
    this.#isWalkWanted = false
    this.#isRetryWanted = false
    this.#due.clear()
    this.#left.clear()
    this.#beyond = { files: 0, bytes: 0 }
    this.#hasUnkept = false
    for await (const wants of this.#pages()) await this.#work(wants)
    this.#walk?.cancel()
    if (!this.#hasUnkept) return
    this.#walk = this.#ports.clock.setTimer(WALK_MS, () => this.poke())
  }

  /** The whole list, a batch at a time. */
  async *#pages(): AsyncGenerator<readonly Want[]> {
    let isMore = true
    for (let after: string | undefined; isMore;) {
      const options = after === undefined ? {} : { after }
      const wants = await this.#ports.wants({ ...options, countMax: BATCH_COUNT })
      isMore = wants.length === BATCH_COUNT
      after = wants.at(-1)?.key
      if (wants.length > 0) yield wants
    }
  }

  /** Those whose contents this device keeps. */
  async #kept(wants: readonly Want[]): Promise<Want[]> {
    const bounds = await this.#ports.keptUpTo(wants.map(({ inode }) => inode))
    return wants.filter(({ sizeBytes }, index) => sizeBytes <= (bounds[index] ?? 0))
  }

  /** One batch of what is due; what is not on the list any more was replaced meanwhile. */
  async #workDue(): Promise<void> {
    if (this.#isRetryWanted) for (const key of this.#left.keys()) this.#due.add(key)
    this.#isRetryWanted = false
    if (this.#due.size === 0) return
    const keys = [...this.#due].slice(0, BATCH_COUNT)
    const wants = await this.#ports.wants({ keys })
    // One that is added again meanwhile is looked at again.
    for (const key of keys) this.#due.delete(key)
    for (const key of keys) this.#left.delete(key)
    try {
      await this.#work(wants)
    } catch (error) {
      for (const key of keys) this.#due.add(key)
      throw error
    }
  }

  /** Fetches one batch and notes what is still missing. */
  async #work(wants: readonly Want[]): Promise<void> {
    if (wants.length === 0) return
    const duties = await this.#kept(wants)
    if (duties.length < wants.length) this.#hasUnkept = true
    for (const want of duties) this.#underWay.set(want.key, { want, chunkCount: 0, absent: [] })
    try {
      for (const { key, sizeBytes } of await this.#fetchAll(duties)) this.#note(key, sizeBytes)
    } finally {
      this.#underWay.clear()
    }
  }

  #note(key: string, sizeBytes: number): void {
    if (this.#left.size < KEYS_MAX) {
      this.#left.set(key, sizeBytes)
      return
    }
    this.#beyond.files++
    this.#beyond.bytes += sizeBytes
  }

  /** Fetches contents; returns those that are still missing. */
  async #fetchAll(duties: readonly Want[]): Promise<Want[]> {
    const done: Want[] = []
    const left: Want[] = []
    await Promise.all(
      duties.map(async (want) => {
        if (await this.#bring(want)) done.push(want)
        else left.push(want)
      }),
    )
    if (done.length > 0) {
      await this.#ports.sync()
      await this.#ports.fetched(done.map(({ key }) => key))
      for (const onFetched of this.#watchers) onFetched(done)
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
      const addresses = await this.#ports.addresses({ ref, sizeBytes }, signal)
      return await this.#bringAll(addresses, this.#underWay.get(want.key))
    } catch (error) {
      if (hasCode(error, 'CHUNK_UNAVAILABLE') || hasCode(error, 'ABORTED')) return false
      throw error
    }
  }

  async #bringAll(addresses: readonly ChunkAddress[], underWay?: UnderWay): Promise<boolean> {
    const absent = addresses.filter((address) => !this.#ports.has(address))
    if (absent.length === 0) return true
    if (underWay) Object.assign(underWay, { chunkCount: addresses.length, absent })
    if (!this.#ports.hasPeers()) return false
    await this.#ports.fetch(absent, this.#abort.signal)
    return true
  }
}
