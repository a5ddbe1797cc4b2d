/**
 * Checks the files of the log and the journal where they lie, beside the process that writes them:
 * reads only, a segment per step. What a writer is just adding is not yet durable, and no finding.
 */
import { ByteWriter } from '../bytes.ts'
import { hasCode } from '../errors.ts'
import type { CheckStep, Finding } from '../finding.ts'
import { unseal } from '../seal.ts'
import type { Disk } from '../system.ts'
import { feedRoot, type FeedId, type VolumeId } from '../types.ts'
import { parseRunName } from './chain.ts'
import { verifyFrame } from './entry.ts'
import { writeFeed } from './frontier.ts'
import { decodeRecord } from './journal.ts'
import {
  findMarks,
  readSegmentHeader,
  visitReadable,
  type Hole,
  type SegmentKind,
} from './segment-format.ts'

const SEGMENT_NAME = /^(\d{16})\.seg$/

/** The frames of one segment file, and what is no frame. */
interface ReadSegment {
  readonly path: string
  readonly first: number
  readonly bytes: number
  readonly frames: readonly { readonly frame: Buffer; readonly offset: number }[]
  readonly holes: readonly Hole[]
  readonly headerFault: string | undefined
}

/** Bytes of all segment files below `directory`, one level deep for the log. */
export function segmentBytes(disk: Disk, directory: string): number {
  let bytes = 0
  for (const name of disk.listSync(directory)) {
    const path = `${directory}/${name}`
    if (SEGMENT_NAME.test(name)) bytes += fileBytes(disk, path)
    else if (parseRunName(name)) bytes += segmentBytes(disk, path)
  }
  return bytes
}

function fileBytes(disk: Disk, path: string): number {
  const file = disk.openSync(path, { readOnly: true })
  const bytes = file.sizeSync()
  file.close()
  return bytes
}

function* readSegments(
  disk: Disk,
  directory: string,
  expected: { readonly kind: SegmentKind; readonly identity: Uint8Array },
): Generator<ReadSegment> {
  const names = disk.listSync(directory).filter((name) => SEGMENT_NAME.test(name))
  for (const [index, name] of names.entries()) {
    const path = `${directory}/${name}`
    // Trimmed meanwhile.
    const bytes = disk.readFileSync(path)
    if (bytes === undefined) continue
    const first = Number(name.slice(0, 16))
    const header = readHeader(disk, path, { ...expected, size: bytes.length, first })
    const isLast = index === names.length - 1
    let durableTo = bytes.length
    if (isLast && typeof header !== 'string') {
      durableTo = Math.max(0, ...findMarks(bytes, header.salt))
    }
    const frames: { frame: Buffer; offset: number }[] = []
    const visit = (frame: Buffer, offset: number): void => void frames.push({ frame, offset })
    const holes = visitReadable(bytes, { from: 0, durableTo }, visit)
    const headerFault = typeof header === 'string' ? header : undefined
    yield { path, first, bytes: bytes.length, frames, holes, headerFault }
  }
}

function readHeader(
  disk: Disk,
  path: string,
  expected: {
    readonly size: number
    readonly first: number
    readonly kind: SegmentKind
    readonly identity: Uint8Array
  },
): ReturnType<typeof readSegmentHeader> {
  const file = disk.openSync(path, { readOnly: true })
  try {
    return readSegmentHeader(file, { ...expected, corruptCode: 'FEED_CORRUPT' })
  } finally {
    file.close()
  }
}

/**
 * Checks every run of the log: headers, checksums, signatures, hash chains.
 * @throws {WormholeError} `IO_ERROR`, `FORMAT_UNSUPPORTED`.
 */
export function* checkLog(options: {
  readonly disk: Disk
  readonly directory: string
  readonly volume: VolumeId
}): Generator<CheckStep> {
  const { disk, directory } = options
  for (const name of disk.listSync(directory)) {
    const run = parseRunName(name)
    if (run) yield* checkRun({ ...options, ...run, place: `${directory}/${name}` })
  }
}

function* checkRun(options: {
  readonly disk: Disk
  readonly volume: VolumeId
  readonly place: string
  readonly chain: FeedId
  readonly start: number
}): Generator<CheckStep> {
  const { disk, volume, place, chain } = options
  const feed = feedRoot(chain)
  const identity = new ByteWriter().hex(volume)
  writeFeed(identity, chain)
  let seq = options.start
  let hash: string | undefined
  const expected = { kind: 'feed', identity: identity.finish() } as const
  for (const segment of readSegments(disk, place, expected)) {
    const findings: Finding[] = []
    const find = (message: string, offset: number, entry?: { from: number; to: number }): void => {
      const { path } = segment
      findings.push({ part: 'log', code: 'FEED_CORRUPT', message, path, offset, feed, ...entry })
    }
    if (segment.headerFault !== undefined) find(segment.headerFault, 0)
    for (const { from, to } of segment.holes) {
      if (from > 0 || segment.headerFault === undefined) {
        find(`${to - from} bytes that are no entry`, from)
      }
    }
    for (const { frame, offset } of segment.frames) {
      try {
        const entry = verifyFrame(frame, { volume, feed })
        if (entry.seq > seq) {
          find('entries are missing', offset, { from: seq, to: entry.seq - 1 })
        } else if (entry.seq < seq || (hash !== undefined && entry.previousHash !== hash)) {
          find(`entry ${entry.seq} breaks the chain`, offset, { from: entry.seq, to: entry.seq })
        }
        seq = entry.seq + 1
        hash = entry.hash
      } catch (error) {
        if (!hasCode(error, 'ENTRY_INVALID')) throw error
        find(error.message, offset)
      }
    }
    yield { bytes: segment.bytes, findings }
  }
}

/**
 * Checks the journal: headers, checksums, seals, numbers.
 * @throws {WormholeError} `IO_ERROR`, `FORMAT_UNSUPPORTED`.
 */
export function* checkJournal(options: {
  readonly disk: Disk
  readonly directory: string
  readonly key: Uint8Array
}): Generator<CheckStep> {
  const { disk, directory, key } = options
  let before = 0
  const expected = { kind: 'journal', identity: Buffer.alloc(0) } as const
  for (const segment of readSegments(disk, directory, expected)) {
    const findings: Finding[] = []
    const { path } = segment
    const find = (message: string, offset: number): void => {
      findings.push({ part: 'journal', code: 'JOURNAL_CORRUPT', message, path, offset })
    }
    if (segment.headerFault !== undefined) find(segment.headerFault, 0)
    for (const { from, to } of segment.holes) {
      if (from > 0 || segment.headerFault === undefined) {
        find(`${to - from} bytes that are no record, behind record ${before}`, from)
      }
    }
    for (const { frame, offset } of segment.frames) {
      try {
        const { number, head, sealed } = decodeRecord(frame)
        unseal(key, sealed, head, 'JOURNAL_CORRUPT')
        if (number <= before) find(`record ${number} behind ${before}`, offset)
        before = number
      } catch (error) {
        if (!hasCode(error, 'JOURNAL_CORRUPT')) throw error
        find(error.message, offset)
      }
    }
    yield { bytes: segment.bytes, findings }
  }
}
