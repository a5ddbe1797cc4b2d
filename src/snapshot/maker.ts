/**
 * Making snapshots of this device's volume for newcomers, on request: in short steps beside
 * everything else, from a frozen view of the index, into files. The last one is kept while the log
 * has not grown much beyond it: who takes it has little more to fetch.
 */
import { hasDoubles } from '../crdt/shard-state.ts'
import { exportTree } from '../crdt/snapshot.ts'
import type { RowStore } from '../crdt/rows.ts'
import { WormholeError } from '../errors.ts'
import type { EntryFrame, FeedStore, LogKeys } from '../log/interface.ts'
import type { SigningKeys } from '../seal.ts'
import type { Clock, Disk, Random } from '../system.ts'
import { feedRoot, type DeviceId, type Frontier, type VolumeId } from '../types.ts'
import { encodeHeads, encodeSnapshotLog } from './log-part.ts'
import { Shelf, type PartBytes } from './shelf.ts'
import { readLogState } from './state.ts'
import { PartSeal, signStatement, verifyStatement } from './statement.ts'
import type { PartKind, SnapshotPart } from './statement.ts'

/** Longest step on the thread that applies and publishes. */
const SLICE_MS = 8
/** A smaller log is fetched whole: that takes a moment, and is proved as it comes. */
export const LOG_BYTES_MIN = 256 * 1024
/** A kept snapshot is offered while the log has at most so many more entries, in parts of all. */
const NEW_ENTRIES_MAX = 1 / 8
const HEADS_BYTES = 512 * 1024

/** What a maker needs. */
export interface SnapshotMakerOptions {
  readonly volume: VolumeId
  readonly device: DeviceId
  readonly signing: SigningKeys
  readonly keys: LogKeys
  readonly feeds: FeedStore
  readonly rows: RowStore
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  /** Private directory of what is offered; its own. */
  readonly directory: string
  /** Bytes of the whole log on disk. */
  logBytes(): number
  /** Default `LOG_BYTES_MIN`. */
  readonly logBytesMin?: number
}

/** See the head of this file. */
export class SnapshotMaker {
  readonly #options: SnapshotMakerOptions
  readonly #shelf: Shelf
  readonly #seal: PartSeal
  #running: Promise<Uint8Array | undefined> | undefined
  #isClosed = false

  constructor(options: SnapshotMakerOptions) {
    this.#options = options
    this.#shelf = new Shelf(options.disk, options.directory)
    this.#seal = new PartSeal(options.volume, options.keys)
  }

  /**
   * A signed statement for a newcomer; undefined when there is no snapshot worth it: the log is
   * small, or has branches, whose names differ from device to device, or an actor has a double.
   */
  offer(): Promise<Uint8Array | undefined> {
    this.#running ??= this.#offer().finally(() => (this.#running = undefined))
    return this.#running
  }

  /** Bytes of a part that was offered; undefined when it is not here any more. */
  read(hash: string, offset: number, bytesMax: number): PartBytes | undefined {
    return this.#shelf.read(hash, offset, bytesMax)
  }

  /** Stops what is running. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#running?.catch(() => undefined)
  }

  async #offer(): Promise<Uint8Array | undefined> {
    const { feeds, logBytesMin = LOG_BYTES_MIN } = this.#options
    const names = [...feeds.frontier().keys()]
    if (names.some((name) => feedRoot(name) !== name)) return undefined
    const kept = this.#kept()
    if (kept) return kept
    if (this.#options.logBytes() < logBytesMin || hasDoubles(this.#options.rows)) return undefined
    this.#shelf.clear()
    return this.#make()
  }

  /** What was made before, if it is new enough. */
  #kept(): Uint8Array | undefined {
    const bytes = this.#shelf.statement()
    if (bytes === undefined) return undefined
    try {
      const { frontier, keyGeneration } = verifyStatement(bytes, this.#options.volume)
      if (keyGeneration !== this.#seal.keyGeneration) return undefined
      const before = entryCount(frontier)
      const now = entryCount(this.#options.feeds.frontier())
      return now - before <= now * NEW_ENTRIES_MAX ? bytes : undefined
    } catch (error) {
      if (error instanceof WormholeError) return undefined
      throw error
    }
  }

  async #make(): Promise<Uint8Array | undefined> {
    const { rows, volume, device, clock, signing } = this.#options
    const frozen = rows.freeze()
    try {
      const { frontier, log } = readLogState(frozen)
      const parts = [this.#put('log', encodeSnapshotLog(log))]
      const steps = exportTree(frozen)
      for (let startMs = clock.monotonicMs(); ;) {
        const step = steps.next()
        if (step.done) break
        if (step.value) parts.push(this.#put('tree', step.value))
        if (clock.monotonicMs() - startMs < SLICE_MS) continue
        await new Promise<void>((resolve) => void clock.setTimer(0, resolve))
        if (this.#isClosed) return undefined
        startMs = clock.monotonicMs()
      }
      const heads = encodeHeads(this.#headFrames(frontier), HEADS_BYTES)
      for (const part of heads) parts.push(this.#put('heads', part))
      const { keyGeneration } = this.#seal
      const createdMs = clock.nowMs()
      const statement = signStatement(
        { volume, author: device, keyGeneration, createdMs, frontier, parts },
        signing,
      )
      this.#shelf.putStatement(statement)
      return statement
    } finally {
      frozen.release()
    }
  }

  #put(kind: PartKind, plain: Uint8Array): SnapshotPart {
    const { part, bytes } = this.#seal.seal(kind, plain, this.#options.random)
    this.#shelf.putPart(part.hash, bytes)
    return part
  }

  *#headFrames(frontier: Frontier): Generator<EntryFrame> {
    for (const [feed, { length }] of frontier) {
      const [frame] = this.#options.feeds.read(feed, length - 1, 1)
      if (!frame) throw new WormholeError('FEED_CORRUPT', `entry ${length - 1} of ${feed} is gone`)
      yield frame
    }
  }
}

/** Entries before a frontier. */
function entryCount(frontier: Frontier): number {
  let count = 0
  for (const { length } of frontier.values()) count += length
  return count
}
