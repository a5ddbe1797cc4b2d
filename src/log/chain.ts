/**
 * One feed, or one branch of it, as this device holds it: its runs in order. Between two runs may
 * be a gap: entries that were lost, or that are still to be fetched. Names: README.md.
 */
import { hasCode, WormholeError } from '../errors.ts'
import type { FeedHead, FeedId } from '../types.ts'
import { feedRoot } from '../types.ts'
import type { RunFile } from './run-file.ts'

const RUN_NAME = /^([0-9a-f]{64}\.(?:0|[1-9]\d{0,9})(?:~[0-9a-f]{32})?)(?:@(0|[1-9]\d{0,15}))?$/

/** The directory of a run. `isPlain`: the first run of a feed, written here or by its device. */
export function runName(chain: FeedId, start: number, isPlain: boolean): string {
  return isPlain ? chain : `${chain}@${start}`
}

/** The reverse; undefined for what is no run. */
export function parseRunName(
  name: string,
): { chain: FeedId; start: number; isPlain: boolean } | undefined {
  const match = RUN_NAME.exec(name)
  if (!match) return undefined
  const isPlain = match[2] === undefined
  const chain = match[1] as FeedId
  if (isPlain && feedRoot(chain) !== chain) return undefined
  return { chain, start: isPlain ? 0 : Number(match[2]), isPlain }
}

/** A run of a chain. */
export interface ChainRun {
  readonly directory: string
  readonly isPlain: boolean
  readonly file: RunFile
}

/** See the head of this file. */
export class FeedChain {
  readonly name: FeedId
  /** By position; never empty once the chain is known to the store. */
  readonly runs: ChainRun[] = []

  constructor(name: FeedId) {
    this.name = name
  }

  add(run: ChainRun): void {
    this.runs.push(run)
    this.runs.sort((a, b) => a.file.start - b.file.start)
  }

  get head(): FeedHead {
    return (this.runs.at(-1) as ChainRun).file.head
  }

  /** The run that holds a position. */
  runAt(seq: number): ChainRun | undefined {
    return this.runs.find(({ file }) => seq >= file.start && seq < file.head.length)
  }

  /** The lowest run that starts above a position. */
  runAbove(seq: number): ChainRun | undefined {
    return this.runs.find(({ file }) => file.start > seq)
  }

  /** Hash of the entry at a position held here. */
  hashOf(seq: number): string | undefined {
    const file = this.runAt(seq)?.file
    if (file === undefined) return undefined
    return seq === file.head.length - 1 ? file.head.hash : file.read(seq, 1)[0]?.hash
  }
}

/** Progress of `verifyChains`. */
export interface VerifyProgress {
  readonly feed: FeedId
  /** Entries of this feed or branch checked so far. */
  readonly checked: number
  readonly length: number
}

/**
 * Reads everything and checks checksums, signatures and chains, a segment per step. `onDamaged` is
 * told the directory of the run that is wrong.
 *
 * @throws {WormholeError} `FEED_CORRUPT` at the first thing that is wrong.
 */
export function* verifyChains(
  chains: Iterable<FeedChain>,
  onDamaged: (directory: string) => void,
): Generator<VerifyProgress> {
  for (const chain of chains) {
    let checked = 0
    for (const { file, directory } of chain.runs) {
      let lastHash = file.previousHash
      for (let at = 0; at < file.segmentCount; at++) {
        try {
          const result = file.verifySegment(at, lastHash)
          lastHash = result.lastHash
          checked += result.count
        } catch (error) {
          if (hasCode(error, 'FEED_CORRUPT')) onDamaged(directory)
          throw error
        }
        yield { feed: chain.name, checked, length: chain.head.length }
      }
    }
  }
}

/** What a store throws once a write or sync of it failed. */
export function broken(cause: unknown): WormholeError {
  return new WormholeError('WRITER_BROKEN', 'the feeds take no more entries after a failure', {
    cause,
  })
}

/** What a closed store throws. */
export function closed(): WormholeError {
  return new WormholeError('VOLUME_CLOSED', 'the feeds are closed')
}
