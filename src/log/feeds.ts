/**
 * All feeds of one volume on this device, in segment files: `FeedStore` on a `Disk`.
 *
 * Appends are grouped: whoever comes while a group is written and synced is part of the next group.
 * Frames become visible after `fdatasync` only, so nothing is announced that a power cut could take
 * (W2). A feed is a set of runs; where a frame belongs is decided by what it follows
 * (`run-plan.ts`).
 */
import path from 'node:path'
import { hasCode, WormholeError } from '../errors.ts'
import type { Disk, Random } from '../system.ts'
import type { DeviceId, FeedHead, FeedId, Frontier, VolumeId } from '../types.ts'
import { feedRoot } from '../types.ts'
import {
  broken,
  closed,
  FeedChain,
  parseRunName,
  runName,
  verifyChains,
  type ChainRun,
  type VerifyProgress,
} from './chain.ts'
import type { AppendOptions, EntryFrame, FeedGap, FeedStore, FeedTip } from './interface.ts'
import { FEED_SEGMENT_BYTES_MAX, NO_HASH, RunFile } from './run-file.ts'
import { RunPlan, type Addition } from './run-plan.ts'
import { salvageRun, setRunAside, unfinishedSalvage, type FeedDamage } from './salvage.ts'

/** What a store needs. */
export interface DiskFeedStoreOptions {
  readonly disk: Disk
  readonly random: Random
  /** Private directory, made if it is missing. */
  readonly directory: string
  readonly volume: VolumeId
  /** This device: what peers bring of its own feeds is kept apart from what was written here. */
  readonly device?: DeviceId
  /** Default `FEED_SEGMENT_BYTES_MAX`. */
  readonly segmentBytesMax?: number
  /**
   * Makes damage no error: what can be read is kept, what cannot becomes a gap, which is told here.
   * Without it damage is `FEED_CORRUPT`.
   */
  readonly onDamage?: (damage: FeedDamage) => void
}

/** One call of `append`. */
interface Request {
  readonly frames: readonly EntryFrame[]
  readonly options: AppendOptions
  resolve(): void
  reject(error: unknown): void
}

/** The feeds of one volume, a directory per run: see README.md. */
export class DiskFeedStore implements FeedStore {
  readonly #options: DiskFeedStoreOptions
  readonly #chains = new Map<FeedId, FeedChain>()
  /** The chains of each feed, branches included. */
  readonly #roots = new Map<FeedId, FeedChain[]>()
  readonly #plan: RunPlan
  /** Runs that are to be taken apart, and the feed or branch that they are of. */
  readonly #damaged = new Map<string, FeedId>()
  #frontier: Frontier = new Map()
  #queue: Request[] = []
  #running: Promise<void> | undefined
  #broken: unknown
  #isClosed = false

  private constructor(options: DiskFeedStoreOptions) {
    this.#options = options
    const { disk, directory, device } = options
    disk.makeDirectorySync(directory)
    const names = disk.listSync(directory)
    if (names.length === 0) disk.syncDirectorySync(path.dirname(directory))
    const unfinished = options.onDamage && unfinishedSalvage(disk, directory)
    if (unfinished !== undefined) this.#salvage(unfinished)
    for (const name of disk.listSync(directory)) this.#openRun(name)
    for (const [, chains] of this.#roots) this.#join(chains)
    this.#publish(this.#chains.values())
    this.#plan = new RunPlan({
      device,
      chains: (feed) => this.#roots.get(feedRoot(feed)) ?? [],
      holder: (tip) => this.#holder(tip),
    })
  }

  /**
   * Opens the store: reads the last segment of each run, cuts torn tails off, makes the rest
   * durable.
   *
   * @throws {WormholeError} `FEED_CORRUPT` with path and offset, `FORMAT_UNSUPPORTED`, `IO_ERROR`.
   */
  static open(options: DiskFeedStoreOptions): DiskFeedStore {
    return new DiskFeedStore(options)
  }

  /** Bytes that recovery cut off at opening: the unsynced end of a crashed run. */
  get cutBytes(): number {
    let bytes = 0
    for (const { file } of this.#runs()) bytes += file.cutBytes
    return bytes
  }

  frontier(): Frontier {
    return this.#frontier
  }

  head(feed: FeedId): FeedHead | undefined {
    return this.#frontier.get(feed)
  }

  locate(tip: FeedTip): FeedId | undefined {
    return this.#holder(tip)?.name
  }

  branches(feed: FeedId): FeedId[] {
    return (this.#roots.get(feedRoot(feed)) ?? []).map(({ name }) => name)
  }

  origin(feed: FeedId): FeedTip | undefined {
    const first = this.#chains.get(feed)?.runs[0]
    if (first === undefined || first.file.start === 0) return undefined
    const holder = this.#below(feed, first)
    const { start, previousHash } = first.file
    return holder && { feed: holder.name, length: start, hash: previousHash }
  }

  gaps(feed: FeedId): FeedGap[] {
    const chain = this.#chains.get(feed)
    const gaps: FeedGap[] = []
    let end = 0
    for (const run of chain?.runs ?? []) {
      const { start, previousHash, head } = run.file
      if (start > 0 && this.#below(feed, run) === undefined) {
        gaps.push({ from: this.#filledTo(feed, end, start), to: start, previousHash })
      }
      end = head.length
    }
    return gaps
  }

  /** How far a gap is filled: what is fetched for it starts where it does. */
  #filledTo(feed: FeedId, from: number, to: number): number {
    let filled = from
    for (const { runs, head } of this.#roots.get(feedRoot(feed)) ?? []) {
      const isFilling = runs[0]?.file.start === from && head.length < to
      if (isFilling) filled = Math.max(filled, head.length)
    }
    return filled
  }

  isWrittenHere(feed: FeedId, seq: number): boolean {
    return this.#chains.get(feed)?.runAt(seq)?.isPlain ?? false
  }

  isWritable(feed: FeedId): boolean {
    const chains = this.#roots.get(feed) ?? []
    return chains.every((chain) => chain.name === feed && chain.runs.every((run) => run.isPlain))
  }

  append(frames: readonly EntryFrame[], options: AppendOptions = {}): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed())
    if (this.#broken !== undefined) return Promise.reject(broken(this.#broken))
    const done = new Promise<void>((resolve, reject) => {
      this.#queue.push({ frames, options, resolve, reject })
    })
    this.#running ??= this.#runQueue()
    return done
  }

  read(feed: FeedId, fromSeq: number, bytesMax: number): EntryFrame[] {
    if (this.#isClosed) throw closed()
    const chain = this.#chains.get(feed)
    return chain === undefined ? [] : this.#readUntil(chain, fromSeq, Infinity, bytesMax)
  }

  /**
   * Reads everything and checks checksums, signatures and chains, a segment per step.
   * @throws {WormholeError} `FEED_CORRUPT` at the first thing that is wrong.
   */
  verify(): Generator<VerifyProgress> {
    const isKept = this.#options.onDamage !== undefined
    return verifyChains(this.#chains.values(), (directory) => isKept && this.salvage(directory))
  }

  /** Waits for appends under way and closes the files. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#running
    const results = await Promise.allSettled([...this.#runs()].map(({ file }) => file.close()))
    const errors = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason] : [],
    )
    if (errors.length > 0) throw new AggregateError(errors, 'closing the feeds failed')
  }

  *#runs(): Generator<ChainRun> {
    for (const chain of this.#chains.values()) yield* chain.runs
  }

  /** Takes up a directory. One without entries was being made when the process died: it goes. */
  #openRun(name: string): void {
    const parsed = parseRunName(name)
    if (parsed === undefined) return
    const { chain, start, isPlain } = parsed
    if (this.#chains.get(chain)?.runs.some(({ directory }) => directory === name)) return
    let file: RunFile
    try {
      file = this.#openFile(name, { chain, start, previousHash: NO_HASH })
    } catch (error) {
      if (!hasCode(error, 'FEED_CORRUPT') || this.#options.onDamage === undefined) throw error
      for (const part of this.#salvage(name)) this.#openRun(part)
      return
    }
    if (!isPlain && file.isEmpty) {
      void file.close()
      this.#options.disk.removeSync(`${this.#options.directory}/${name}`)
      return
    }
    this.#take(chain, { directory: name, isPlain, file })
  }

  /** Damage that a check found: the run is taken apart as soon as nothing is written. */
  salvage(directory: string): void {
    const { chain } = parseRunName(directory) ?? {}
    if (chain === undefined || !this.#chains.has(chain)) return
    this.#damaged.set(directory, chain)
    if (this.#running === undefined) this.#repair()
  }

  /** Takes a damaged run apart; returns the directories that are there instead. */
  #salvage(name: string): readonly string[] {
    const { damage, names } = salvageRun(this.#options, name)
    this.#options.onDamage?.(damage)
    return names
  }

  /**
   * Damage in an old segment shows when it is read. The run is taken apart as soon as nothing is
   * being written; until then reading it fails.
   */
  #noteDamage(feed: FeedId, seq: number, error: unknown): void {
    if (!hasCode(error, 'FEED_CORRUPT') || this.#options.onDamage === undefined) return
    const run = this.#chains.get(feed)?.runAt(seq)
    if (run === undefined) return
    this.#damaged.set(run.directory, feed)
    if (this.#running === undefined) this.#repair()
  }

  #repair(): void {
    for (const [name, feed] of this.#damaged) {
      this.#damaged.delete(name)
      const chain = this.#chains.get(feed) as FeedChain
      const run = chain.runs.find(({ directory }) => directory === name)
      if (run === undefined) continue
      chain.runs.splice(chain.runs.indexOf(run), 1)
      void run.file.close()
      for (const part of this.#salvage(name)) this.#openRun(part)
      if (chain.runs.length === 0) this.#forget(chain)
    }
    this.#frontier = new Map()
    this.#publish(this.#chains.values())
  }

  setAside(feed: FeedId, from: number): void {
    const chain = this.#chains.get(feed)
    for (const run of chain?.runs.filter(({ file }) => file.start >= from && from > 0) ?? []) {
      chain?.runs.splice(chain.runs.indexOf(run), 1)
      void run.file.close()
      setRunAside(this.#options.disk, this.#options.directory, run.directory)
    }
    if (chain?.runs.length === 0) this.#forget(chain)
    this.#frontier = new Map()
    this.#publish(this.#chains.values())
  }

  #forget({ name }: FeedChain): void {
    const root = feedRoot(name)
    this.#chains.delete(name)
    const rest = (this.#roots.get(root) ?? []).filter((chain) => chain.name !== name)
    this.#roots.set(root, rest)
  }

  #openFile(
    name: string,
    run: { readonly chain: FeedId; readonly start: number; readonly previousHash: string },
  ): RunFile {
    const { chain, start, previousHash } = run
    const { disk, random, volume } = this.#options
    return RunFile.open({
      disk,
      random,
      volume,
      directory: `${this.#options.directory}/${name}`,
      feed: chain,
      start,
      previousHash,
      segmentBytesMax: this.#options.segmentBytesMax ?? FEED_SEGMENT_BYTES_MAX,
    })
  }

  #take(name: FeedId, run: ChainRun): void {
    let chain = this.#chains.get(name)
    if (chain === undefined) {
      chain = new FeedChain(name)
      this.#chains.set(name, chain)
      const root = feedRoot(name)
      this.#roots.set(root, [...(this.#roots.get(root) ?? []), chain])
    }
    chain.add(run)
  }

  /**
   * A chain that ends where the entry lies that a run of another one follows was missing there: the
   * two are one. Returns the names that are gone.
   */
  #join(chains: readonly FeedChain[]): FeedId[] {
    const gone: FeedId[] = []
    for (const chain of chains) {
      const lower = chains.find((other) => other !== chain && isMissing(chain, other.head))
      if (lower === undefined || gone.includes(chain.name)) continue
      const isRoot = lower.name === feedRoot(lower.name)
      const [kept, dropped] = isRoot ? [lower, chain] : [chain, lower]
      for (const run of dropped.runs) kept.add(run)
      this.#chains.delete(dropped.name)
      gone.push(dropped.name)
    }
    if (gone.length === 0) return gone
    const left = chains.filter(({ name }) => !gone.includes(name))
    this.#roots.set(feedRoot((left[0] as FeedChain).name), left)
    return [...gone, ...this.#join(left)]
  }

  #holder({ feed, length, hash }: FeedTip): FeedChain | undefined {
    if (length === 0) return undefined
    const chains = this.#roots.get(feedRoot(feed)) ?? []
    return chains.find((chain) => this.#hashOf(chain, length - 1) === hash)
  }

  #hashOf(chain: FeedChain, seq: number): string | undefined {
    try {
      return chain.hashOf(seq)
    } catch (error) {
      this.#noteDamage(chain.name, seq, error)
      throw error
    }
  }

  /** What holds the entry before a run: its own chain, or the one it branched from. */
  #below(feed: FeedId, { file }: ChainRun): FeedChain | undefined {
    return this.#holder({ feed, length: file.start, hash: file.previousHash })
  }

  #readUntil(chain: FeedChain, fromSeq: number, toSeq: number, bytesMax: number): EntryFrame[] {
    const frames: EntryFrame[] = []
    let bytes = 0
    let seq = fromSeq
    while (seq < Math.min(toSeq, chain.head.length) && (seq === fromSeq || bytes < bytesMax)) {
      const part = this.#readPart(chain, seq, bytesMax - bytes)
      for (const frame of part) {
        const isFull = frames.length > 0 && bytes + frame.bytes.length > bytesMax
        if (isFull || frame.seq >= toSeq) return frames
        bytes += frame.bytes.length
        frames.push(frame)
        seq++
      }
      if (part.length === 0) break
    }
    return frames
  }

  /** From one run, or, below the first or in a gap, from the chain that the run above follows. */
  #readPart(chain: FeedChain, seq: number, bytesMax: number): EntryFrame[] {
    const run = chain.runAt(seq)
    if (run !== undefined) {
      try {
        const frames = run.file.read(seq, bytesMax)
        // What was fetched for a gap had a name of its own until it met the rest.
        if (run.file.feed === chain.name) return frames
        return frames.map((frame) => ({ ...frame, feed: chain.name }))
      } catch (error) {
        this.#noteDamage(chain.name, seq, error)
        throw error
      }
    }
    const above = chain.runAbove(seq)
    const holder = above && this.#below(chain.name, above)
    if (above === undefined || holder === undefined || holder === chain) return []
    return this.#readUntil(holder, seq, above.file.start, bytesMax)
  }

  /** Shows new heads to readers. */
  #publish(chains: Iterable<FeedChain>, gone: readonly FeedId[] = []): void {
    const frontier = new Map(this.#frontier)
    for (const name of gone) frontier.delete(name)
    for (const chain of chains) if (chain.head.length > 0) frontier.set(chain.name, chain.head)
    this.#frontier = frontier
  }

  /** Never rejects: each request is told its own result. */
  async #runQueue(): Promise<void> {
    while (this.#queue.length > 0) {
      const requests = this.#queue
      this.#queue = []
      if (this.#broken !== undefined) {
        for (const request of requests) request.reject(broken(this.#broken))
        continue
      }
      const additions = new Map<string, Addition<Request>>()
      const accepted = new Set<Request>()
      const deferred: Request[] = []
      for (const request of requests) {
        try {
          if (this.#plan.add(request, request.frames, additions)) accepted.add(request)
          else deferred.push(request)
        } catch (error) {
          request.reject(error)
        }
      }
      this.#queue.unshift(...deferred)
      await this.#writeGroup(additions, accepted)
      if (this.#damaged.size > 0) this.#repair()
      for (const request of accepted) request.resolve()
    }
    this.#running = undefined
  }

  /**
   * Writes and syncs a group; rejects and takes out the requests that failed. What a full disk let
   * through of a large group is a whole number of entries: it stays, and becomes visible.
   */
  async #writeGroup(
    additions: ReadonlyMap<string, Addition<Request>>,
    accepted: Set<Request>,
  ): Promise<void> {
    const written: { file: RunFile; addition: Addition<Request> }[] = []
    for (const addition of additions.values()) {
      let file = addition.file
      try {
        file ??= this.#openFile(addition.directory, addition)
        file.write(addition.frames)
      } catch (error) {
        this.#fail(error, addition, accepted)
      }
      if (file !== undefined) written.push({ file, addition })
    }
    await Promise.all(
      written.map(async ({ file, addition }) => {
        try {
          await file.sync()
          file.commit()
        } catch (error) {
          this.#broken ??= error
          this.#fail(error, addition, accepted)
        }
      }),
    )
    const touched = new Set<FeedId>()
    for (const { file, addition } of written) {
      if (addition.file === undefined) this.#adopt(addition, file)
      touched.add(feedRoot(addition.chain))
    }
    const gone = [...touched].flatMap((root) => this.#join(this.#roots.get(root) ?? []))
    this.#publish(
      [...touched].flatMap((root) => this.#roots.get(root) ?? []),
      gone,
    )
  }

  /** A run that was made for a group becomes part of its chain, unless nothing got into it. */
  #adopt({ chain, directory }: Addition<Request>, file: RunFile): void {
    const isPlain = directory === runName(chain, 0, true)
    if (isPlain || !file.isEmpty) return this.#take(chain, { directory, isPlain, file })
    void file.close()
    try {
      this.#options.disk.removeSync(`${this.#options.directory}/${directory}`)
    } catch (error) {
      // It goes at the next start.
      this.#broken ??= error
    }
  }

  #fail(error: unknown, addition: Addition<Request>, accepted: Set<Request>): void {
    const isFull = error instanceof WormholeError && error.code === 'DISK_FULL'
    if (!isFull) this.#broken ??= error
    for (const request of addition.requests) {
      accepted.delete(request)
      request.reject(error)
    }
  }
}

/** Whether a run of the chain follows this entry, and nothing in the chain holds it. */
function isMissing(chain: FeedChain, { length, hash }: FeedHead): boolean {
  if (length === 0 || chain.runAt(length - 1) !== undefined) return false
  return chain.runs.some(({ file }) => file.start === length && file.previousHash === hash)
}
