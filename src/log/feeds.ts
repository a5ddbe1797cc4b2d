/**
 * All feeds of one volume on this device, in segment files: `FeedStore` on a `Disk`.
 *
 * Appends are grouped: whoever comes while a group is written and synced is part of the next group.
 * Frames become visible after `fdatasync` only, so nothing is announced that a power cut could take
 * (W2), and only the entry that continues a feed is ever written (W4).
 */
import path from 'node:path'
import { WormholeError } from '../errors.ts'
import type { Disk, Random } from '../system.ts'
import type { FeedHead, FeedId, Frontier, VolumeId } from '../types.ts'
import { FEED_SEGMENT_BYTES_MAX, FeedFile, NO_HASH } from './feed-file.ts'
import type { EntryFrame, FeedStore } from './interface.ts'

/** Progress of `verify`. */
export interface VerifyProgress {
  readonly feed: FeedId
  /** Entries of this feed checked so far. */
  readonly checked: number
  readonly length: number
}

/** What a store needs. */
export interface DiskFeedStoreOptions {
  readonly disk: Disk
  readonly random: Random
  /** Private directory, made if it is missing. */
  readonly directory: string
  readonly volume: VolumeId
  /** Default `FEED_SEGMENT_BYTES_MAX`. */
  readonly segmentBytesMax?: number
}

/** One call of `append`. */
interface Request {
  readonly frames: readonly EntryFrame[]
  resolve(): void
  reject(error: unknown): void
}

/** What one group adds to one feed. */
interface Addition {
  head: FeedHead
  readonly frames: EntryFrame[]
  readonly requests: Set<Request>
}

/** The feeds of one volume in `<directory>/<feed id>/<first seq>.seg`. */
export class DiskFeedStore implements FeedStore {
  readonly #options: DiskFeedStoreOptions
  readonly #files = new Map<FeedId, FeedFile>()
  #frontier: Frontier = new Map()
  #queue: Request[] = []
  #running: Promise<void> | undefined
  #broken: unknown
  #isClosed = false

  private constructor(options: DiskFeedStoreOptions) {
    this.#options = options
    const { disk, directory } = options
    disk.makeDirectorySync(directory)
    const names = disk.listSync(directory)
    if (names.length === 0) disk.syncDirectorySync(path.dirname(directory))
    for (const name of names) {
      if (!/^[0-9a-f]{64}\.(0|[1-9]\d{0,9})$/.test(name)) continue
      const feed = name as FeedId
      this.#files.set(feed, this.#openFile(feed))
    }
    this.#publish(this.#files.values())
  }

  /**
   * Opens the store: reads the last segment of each feed, cuts torn tails off, makes the rest
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
    for (const file of this.#files.values()) bytes += file.cutBytes
    return bytes
  }

  frontier(): Frontier {
    return this.#frontier
  }

  head(feed: FeedId): FeedHead | undefined {
    return this.#frontier.get(feed)
  }

  /**
   * Hash of the entry before position `length` (64 zeros before the first); undefined when the feed
   * is shorter. Compare it with a peer's or an entry's frontier to find a fork.
   */
  hashAt(feed: FeedId, length: number): string | undefined {
    const head = this.#frontier.get(feed)
    if (length === 0) return NO_HASH
    if (head === undefined || length > head.length) return undefined
    if (length === head.length) return head.hash
    return this.read(feed, length - 1, 1)[0]?.hash
  }

  append(frames: readonly EntryFrame[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed())
    if (this.#broken !== undefined) return Promise.reject(broken(this.#broken))
    const done = new Promise<void>((resolve, reject) => {
      this.#queue.push({ frames, resolve, reject })
    })
    this.#running ??= this.#runQueue()
    return done
  }

  read(feed: FeedId, fromSeq: number, bytesMax: number): EntryFrame[] {
    if (this.#isClosed) throw closed()
    return this.#files.get(feed)?.read(fromSeq, bytesMax) ?? []
  }

  /**
   * Reads everything and checks checksums, signatures and chains, a segment per step.
   * @throws {WormholeError} `FEED_CORRUPT` at the first thing that is wrong.
   */
  *verify(): Generator<VerifyProgress> {
    for (const [feed, file] of this.#files) {
      let lastHash = NO_HASH
      let checked = 0
      for (let at = 0; at < file.segmentCount; at++) {
        const result = file.verifySegment(at, lastHash)
        lastHash = result.lastHash
        checked += result.count
        yield { feed, checked, length: file.head.length }
      }
    }
  }

  /** Waits for appends under way and closes the files. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#running
    const results = await Promise.allSettled([...this.#files.values()].map((file) => file.close()))
    const errors = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason] : [],
    )
    if (errors.length > 0) throw new AggregateError(errors, 'closing the feeds failed')
  }

  #openFile(feed: FeedId): FeedFile {
    const directory = `${this.#options.directory}/${feed}`
    const segmentBytesMax = this.#options.segmentBytesMax ?? FEED_SEGMENT_BYTES_MAX
    return FeedFile.open({ ...this.#options, directory, feed, segmentBytesMax })
  }

  /** Shows new heads to readers. */
  #publish(files: Iterable<FeedFile>): void {
    const frontier = new Map(this.#frontier)
    for (const file of files) if (file.head.length > 0) frontier.set(file.feed, file.head)
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
      const additions = new Map<FeedId, Addition>()
      const accepted = new Set(requests.filter((request) => this.#plan(request, additions)))
      await this.#writeGroup(additions, accepted)
      for (const request of accepted) request.resolve()
    }
    this.#running = undefined
  }

  /** Takes a request into the group, or rejects it alone. */
  #plan(request: Request, additions: Map<FeedId, Addition>): boolean {
    const heads = new Map<FeedId, FeedHead>()
    const fresh: EntryFrame[] = []
    try {
      for (const frame of request.frames) {
        const head = heads.get(frame.feed) ?? this.#plannedHead(frame.feed, additions)
        if (frame.seq < head.length) {
          this.#checkHeld(frame, additions, fresh)
          continue
        }
        if (frame.seq > head.length) refuse(frame, `${head.length} entries are held`)
        if (frame.previousHash !== head.hash) refuse(frame, 'it follows another entry: a fork')
        heads.set(frame.feed, { length: frame.seq + 1, hash: frame.hash })
        fresh.push(frame)
      }
    } catch (error) {
      request.reject(error)
      return false
    }
    for (const frame of fresh) {
      const addition = additions.get(frame.feed) ?? {
        head: { length: 0, hash: NO_HASH },
        frames: [],
        requests: new Set(),
      }
      additions.set(frame.feed, addition)
      addition.head = { length: frame.seq + 1, hash: frame.hash }
      addition.frames.push(frame)
      addition.requests.add(request)
    }
    return true
  }

  #plannedHead(feed: FeedId, additions: ReadonlyMap<FeedId, Addition>): FeedHead {
    return additions.get(feed)?.head ?? this.#frontier.get(feed) ?? { length: 0, hash: NO_HASH }
  }

  /** A frame at a position that is taken must be the one that is there. */
  #checkHeld(
    frame: EntryFrame,
    additions: ReadonlyMap<FeedId, Addition>,
    fresh: readonly EntryFrame[],
  ): void {
    const isSame = (other: EntryFrame): boolean =>
      other.feed === frame.feed && other.seq === frame.seq
    const planned = additions.get(frame.feed)?.frames.find(isSame) ?? fresh.find(isSame)
    const hash = planned?.hash ?? this.read(frame.feed, frame.seq, 1)[0]?.hash
    if (hash !== frame.hash) refuse(frame, 'another entry is held at its position: a fork')
  }

  /**
   * Writes and syncs a group; rejects and takes out the requests that failed. What a full disk let
   * through of a large group is a whole number of entries: it stays, and becomes visible.
   */
  async #writeGroup(additions: Map<FeedId, Addition>, accepted: Set<Request>): Promise<void> {
    const written: { file: FeedFile; addition: Addition }[] = []
    for (const [feed, addition] of additions) {
      let file = this.#files.get(feed)
      try {
        file ??= this.#createFile(feed)
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
    this.#publish(written.map(({ file }) => file))
  }

  #createFile(feed: FeedId): FeedFile {
    const file = this.#openFile(feed)
    this.#files.set(feed, file)
    return file
  }

  #fail(error: unknown, addition: Addition, accepted: Set<Request>): void {
    const isFull = error instanceof WormholeError && error.code === 'DISK_FULL'
    if (!isFull) this.#broken ??= error
    for (const request of addition.requests) {
      accepted.delete(request)
      request.reject(error)
    }
  }
}

function refuse(frame: EntryFrame, why: string): never {
  throw new WormholeError('ENTRY_INVALID', `entry ${frame.seq} of feed ${frame.feed}: ${why}`)
}

function broken(cause: unknown): WormholeError {
  return new WormholeError('WRITER_BROKEN', 'the feeds take no more entries after a failure', {
    cause,
  })
}

function closed(): WormholeError {
  return new WormholeError('VOLUME_CLOSED', 'the feeds are closed')
}
