/** Snapshots on the crdt thread: what main asks for, and when what was taken is checked. */
import type { RowStore } from '../crdt/rows.ts'
import type { TreeWriter } from '../crdt/writer.ts'
import type { FeedStore, LogKeys } from '../log/interface.ts'
import type { Identity } from '../log/keys.ts'
import { LOG_BYTES_MIN, SnapshotMaker } from '../snapshot/maker.ts'
import { SnapshotTaker } from '../snapshot/taker.ts'
import type { Clock, Disk, Random } from '../system.ts'
import type { FeedId } from '../types.ts'
import type { Volume } from '../volume.ts'
import type { ProblemEvent, VolumePaths } from './threads.ts'

/** What snapshots of one volume need. */
export interface SnapshotsOptions {
  /** Of the log, and of what is offered and taken. */
  readonly paths: Pick<VolumePaths, 'log' | 'snapshots'>
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  /** Default `LOG_BYTES_MIN`. */
  readonly logBytesMin?: number
  readonly identity: Identity
  readonly keys: LogKeys
  readonly feeds: FeedStore
  readonly rows: RowStore
  readonly tree: TreeWriter
  readonly volume: Volume
  onProblem(problem: ProblemEvent): void
  /** A snapshot was taken: there are contents to fetch. */
  onTaken(): void
}

/** See the head of this file. */
export class Snapshots {
  readonly #maker: SnapshotMaker
  readonly #taker: SnapshotTaker
  readonly #feeds: FeedStore
  readonly #onTaken: () => void

  constructor(options: SnapshotsOptions) {
    const { paths, identity, volume, disk } = options
    const { device, signing } = identity
    const shared = { ...options, device }
    this.#feeds = options.feeds
    this.#onTaken = () => options.onTaken()
    this.#maker = new SnapshotMaker({
      ...shared,
      volume: volume.id,
      signing,
      directory: `${paths.snapshots}/offered`,
      logBytesMin: options.logBytesMin ?? LOG_BYTES_MIN,
      logBytes: () => bytesBelow(disk, paths.log),
    })
    this.#taker = new SnapshotTaker({ ...shared, directory: `${paths.snapshots}/taken` })
  }

  /** Goes on with what an earlier run took. */
  async start(): Promise<void> {
    await this.#taker.restore()
    this.#taker.poke()
  }

  /** To be called when entries have arrived. */
  arrived(): void {
    this.#taker.poke()
  }

  /** What main calls. */
  readonly handlers = {
    isSnapshotWanted: () => this.#taker.isWanted(),
    offerSnapshot: () => this.#maker.offer(),
    readSnapshot: (range: { hash: string; offset: number; bytesMax: number }) =>
      this.#maker.read(range.hash, range.offset, range.bytesMax),
    beginSnapshot: (statement: Uint8Array) => this.#taker.begin(statement),
    putSnapshot: (part: { hash: string; bytes: Uint8Array }) =>
      this.#taker.put(part.hash, part.bytes),
    finishSnapshot: async () => {
      await this.#taker.finish()
      this.#onTaken()
    },
    gaps: () => {
      const found: { feed: FeedId; from: number; to: number }[] = []
      for (const feed of this.#feeds.frontier().keys()) {
        const [gap] = this.#feeds.gaps(feed)
        if (gap) found.push({ feed, from: gap.from, to: gap.to })
      }
      return found
    },
  }

  async close(): Promise<void> {
    await this.#maker.close()
    await this.#taker.close()
  }
}

/** Bytes of the files two levels below a directory: those of a log. */
function bytesBelow(disk: Disk, directory: string): number {
  let bytes = 0
  for (const run of disk.listSync(directory)) {
    for (const name of disk.listSync(`${directory}/${run}`)) {
      const file = disk.openSync(`${directory}/${run}/${name}`, { readOnly: true })
      bytes += file.sizeSync()
      file.close()
    }
  }
  return bytes
}
