import type { Disk, Random } from '../system.ts'
import type { FeedHead, FeedId, Frontier, VolumeId } from '../types.ts'
import type { EntryFrame, FeedStore } from './interface.ts'

/** Progress of `verify`. */
export interface VerifyProgress {
  readonly feed: FeedId
  /** Entries of this feed checked so far. */
  readonly checked: number
  readonly length: number
}

/** The feeds of one volume in segment files under `directory`. */
export class DiskFeedStore implements FeedStore {
  static open(options: {
    readonly disk: Disk
    readonly random: Random
    readonly directory: string
    readonly volume: VolumeId
  }): DiskFeedStore {
    throw new Error(`${options}`)
  }
  frontier(): Frontier {
    throw new Error()
  }
  head(feed: FeedId): FeedHead | undefined {
    throw new Error(feed)
  }
  /** Hash of the entry before position `length`; undefined when that is not held. */
  hashAt(feed: FeedId, length: number): string | undefined {
    throw new Error(`${feed} ${length}`)
  }
  append(frames: readonly EntryFrame[]): Promise<void> {
    throw new Error(`${frames}`)
  }
  read(feed: FeedId, fromSeq: number, bytesMax: number): EntryFrame[] {
    throw new Error(`${feed} ${fromSeq} ${bytesMax}`)
  }
  verify(): Generator<VerifyProgress> {
    throw new Error()
  }
  close(): Promise<void> {
    throw new Error()
  }
}
