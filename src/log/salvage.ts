/**
 * Taking a damaged run apart: what can be read becomes runs of its own, what cannot is a gap
 * between them, which peers fill.
 *
 * Order of writes: a note of what is being done (`salvage`), copies of the damaged segments
 * (`<run>.<file>.damaged`), the parts behind the first hole as runs of their own, and only then
 * they leave the run they came from, the last segment first; the note goes last. A process that
 * dies in between does all of it again at the next start: what it finds gives the same parts, or,
 * of those that were moved, fewer.
 *
 * Every entry in a segment that has damage must have its author's signature: behind a hole, what
 * looks like a frame may be part of another one. In the other segments the chain of hashes does.
 */
import { ByteWriter } from '../bytes.ts'
import { hasCode, WormholeError } from '../errors.ts'
import type { Disk, Random } from '../system.ts'
import { feedRoot, type FeedId, type VolumeId } from '../types.ts'
import { parseRunName, runName } from './chain.ts'
import { decodeEntryFields, entryHash, feedPrefix, verifyFrame } from './entry.ts'
import { FRAME_HEADER_BYTES } from './frame.ts'
import { writeFeed } from './frontier.ts'
import {
  encodeSegmentHeader,
  findMarks,
  keepAside,
  readSegmentHeader,
  SALT_BYTES,
  visitReadable,
  type Hole,
} from './segment-format.ts'

/** The file that names the run which is being taken apart. */
const INTENT = 'salvage'
const SEGMENT_NAME = /^(\d{16})\.seg$/

/** What damage took of a feed or branch. */
export interface FeedDamage {
  readonly feed: FeedId
  /** The damaged parts of files. */
  readonly places: readonly (Hole & { readonly path: string })[]
  /** Entries lost here: `from` up to, not including, `to`; undefined: to an unknown end. */
  readonly lost: readonly { readonly from: number; readonly to: number | undefined }[]
}

/** What a person should know of it. */
export function describeFeedDamage({ feed, places, lost }: FeedDamage): string {
  const where = places.map(({ path, from }) => `${path}, offset ${from}`)
  const which = lost.map(({ from, to }) =>
    to === undefined ? `from ${from} on` : to === from + 1 ? `${from}` : `${from} to ${to - 1}`,
  )
  const entries = which.length === 0 ? 'no entries' : `entries ${which.join(', ')}`
  const place = where.length === 0 ? '' : ` (${where.join('; ')})`
  return (
    `the log of ${feed.slice(0, 8)} was damaged on this disk${place}: ${entries} lost here; ` +
    'what peers have of them is fetched again'
  )
}

/** What taking a run apart needs. */
export interface SalvageOptions {
  readonly disk: Disk
  readonly random: Random
  /** The directory of all runs. */
  readonly directory: string
  readonly volume: VolumeId
}

/** An entry as it lies in a file. */
interface Found {
  readonly seq: number
  readonly previousHash: string
  readonly hash: string
  readonly frame: Buffer
}

/** One segment file, read. */
interface Segment {
  readonly path: string
  readonly bytes: Buffer
  readonly entries: Found[]
  readonly holes: Hole[]
}

/**
 * Takes the run in `<directory>/<name>` apart. Returns what is lost and the directories of the runs
 * that are there now; the run must be opened by nobody.
 *
 * @throws {WormholeError} `FORMAT_UNSUPPORTED`, `DISK_FULL`, `IO_ERROR`: it can be done again.
 */
export function salvageRun(
  options: SalvageOptions,
  name: string,
): { readonly damage: FeedDamage; readonly names: readonly string[] } {
  const { disk, directory } = options
  const run = parseRunName(name)
  if (run === undefined) throw new TypeError(`no run: ${name}`)
  const place = `${directory}/${name}`
  const files = disk.listSync(place).filter((file) => SEGMENT_NAME.test(file))
  disk.replaceFileSync(`${directory}/${INTENT}`, Buffer.from(name))
  const writer = new PartWriter(options, { ...run, name })
  const places: (Hole & { path: string })[] = []
  let isTailLost = false
  for (const [index, file] of files.entries()) {
    const path = `${place}/${file}`
    const segment = readSegment(options, run.chain, path, index === files.length - 1)
    writer.begin(file, segment.holes.length > 0)
    for (const entry of segment.entries) writer.add(entry)
    writer.flush()
    for (const hole of segment.holes) places.push({ path, ...hole })
    isTailLost = segment.holes.some(({ to }) => to === segment.bytes.length)
    if (segment.holes.length > 0) keepAside(disk, `${directory}/${name}.${file}`, segment.bytes)
  }
  const lost = writer.lost(isTailLost)
  for (const file of files.reverse()) {
    const prefix = writer.prefixes.get(file)
    if (prefix === undefined) disk.removeSync(`${place}/${file}`)
    else if (prefix !== 'whole') disk.replaceFileSync(`${place}/${file}`, prefix)
  }
  disk.syncDirectorySync(place)
  if (writer.prefixes.size === 0) disk.removeSync(place)
  disk.syncDirectorySync(directory)
  disk.removeSync(`${directory}/${INTENT}`)
  disk.syncDirectorySync(directory)
  const names = [...(writer.prefixes.size === 0 ? [] : [name]), ...writer.names]
  return { damage: { feed: run.chain, places, lost }, names }
}

/** Takes a run out of the log; its files are kept as `<run>.<file>.lost`. */
export function setRunAside(disk: Disk, directory: string, name: string): void {
  const place = `${directory}/${name}`
  for (const file of disk.listSync(place)) {
    const bytes = disk.readFileSync(`${place}/${file}`)
    if (bytes) disk.replaceFileSync(`${directory}/${name}.${file}.lost`, bytes)
  }
  disk.removeSync(place)
  disk.syncDirectorySync(directory)
}

/** The run that a process was taking apart when it died, if any: it must be done again. */
export function unfinishedSalvage(disk: Disk, directory: string): string | undefined {
  const name = disk.readFileSync(`${directory}/${INTENT}`)?.toString('latin1')
  return name !== undefined && parseRunName(name) ? name : undefined
}

function identityOf(volume: VolumeId, chain: FeedId): Buffer {
  const identity = new ByteWriter().hex(volume)
  writeFeed(identity, chain)
  return identity.finish()
}

/** Reads a segment for what is right in it. */
function readSegment(
  { disk, volume }: SalvageOptions,
  chain: FeedId,
  path: string,
  isLast: boolean,
): Segment {
  const bytes = disk.readFileSync(path) ?? Buffer.alloc(0)
  const frames: { frame: Buffer; offset: number }[] = []
  const from = isLast ? durableTo(disk, path, bytes, identityOf(volume, chain)) : bytes.length
  const visit = (frame: Buffer, offset: number): void => void frames.push({ frame, offset })
  const holes = visitReadable(bytes, { from: 0, durableTo: from }, visit)
  const entries: Found[] = []
  const isSuspect = holes.length > 0
  for (const { frame, offset } of frames) {
    const entry = readEntry(frame, { volume, chain, isSuspect })
    if (entry) entries.push(entry)
    else holes.push({ from: offset, to: offset + frame.length })
  }
  return { path, bytes, entries, holes }
}

/** How much of the last segment must be right; all of it when its header is not. */
function durableTo(disk: Disk, path: string, bytes: Buffer, identity: Uint8Array): number {
  const first = Number(/(\d{16})\.seg$/.exec(path)?.[1])
  const file = disk.openSync(path, { readOnly: true })
  try {
    const expected = { size: bytes.length, first, kind: 'feed', identity } as const
    const header = readSegmentHeader(file, { ...expected, corruptCode: 'FEED_CORRUPT' })
    if (typeof header === 'string') return bytes.length
    return Math.max(0, ...findMarks(bytes, header.salt))
  } finally {
    file.close()
  }
}

function readEntry(
  frame: Buffer,
  options: { readonly volume: VolumeId; readonly chain: FeedId; readonly isSuspect: boolean },
): Found | undefined {
  const { volume, isSuspect } = options
  const feed = feedRoot(options.chain)
  try {
    if (isSuspect) return { ...verifyFrame(frame, { volume, feed }), frame }
    const fields = decodeEntryFields(frame.subarray(FRAME_HEADER_BYTES))
    const hash = entryHash(feedPrefix(volume, feed), fields).toString('hex')
    const { seq, previousHash } = fields
    return { seq, previousHash: previousHash.toString('hex'), hash, frame }
  } catch (error) {
    if (hasCode(error, 'FORMAT_UNSUPPORTED') || !(error instanceof WormholeError)) throw error
    return undefined
  }
}

/** Sorts entries into contiguous parts; writes all but the first as runs of their own. */
class PartWriter {
  readonly #options: SalvageOptions
  readonly #run: { readonly chain: FeedId; readonly start: number; readonly name: string }
  readonly #lost: { from: number; to: number | undefined }[] = []
  /** What the files of the run keep: the part before the first hole. */
  readonly prefixes = new Map<string, Buffer | 'whole'>()
  /** Directories of the other parts. */
  readonly names: string[] = []
  #isBehindHole = false
  #next: number
  #lastHash: string | undefined
  #pending: Found[] = []
  #file = ''
  #isDamaged = false

  constructor(
    options: SalvageOptions,
    run: { readonly chain: FeedId; readonly start: number; readonly name: string },
  ) {
    this.#options = options
    this.#run = run
    this.#next = run.start
  }

  /** The entries that follow are from this file. */
  begin(file: string, isDamaged: boolean): void {
    this.#file = file
    this.#isDamaged = isDamaged
  }

  /** Takes the next entry that was found; one that lies below the last is not of this run. */
  add(entry: Found): void {
    const isNext = entry.seq === this.#next
    if (isNext && (this.#lastHash === undefined || entry.previousHash === this.#lastHash)) {
      this.#push(entry)
    } else if (entry.seq > this.#next) {
      this.#isDamaged = true
      this.flush()
      this.#lost.push({ from: this.#next, to: entry.seq })
      this.#isBehindHole = true
      this.names.push(runName(this.#run.chain, entry.seq, false))
      this.#push(entry)
    }
  }

  #push(entry: Found): void {
    this.#pending.push(entry)
    this.#next = entry.seq + 1
    this.#lastHash = entry.hash
  }

  /** Writes what was added from the file: one segment, durable. */
  flush(): void {
    const [first] = this.#pending
    if (first === undefined) return
    if (!this.#isBehindHole && !this.#isDamaged) {
      this.prefixes.set(this.#file, 'whole')
      this.#pending = []
      return
    }
    const { disk, random, directory, volume } = this.#options
    const header = encodeSegmentHeader({
      kind: 'feed',
      identity: identityOf(volume, this.#run.chain),
      first: first.seq,
      salt: random.bytes(SALT_BYTES),
    })
    const bytes = Buffer.concat([header, ...this.#pending.map(({ frame }) => frame)])
    this.#pending = []
    if (!this.#isBehindHole) {
      this.prefixes.set(this.#file, bytes)
      return
    }
    const place = `${directory}/${this.names.at(-1)}`
    disk.makeDirectorySync(place)
    disk.replaceFileSync(`${place}/${String(first.seq).padStart(16, '0')}.seg`, bytes)
  }

  /** Ranges that no part holds. */
  lost(isTailLost: boolean): FeedDamage['lost'] {
    if (isTailLost) this.#lost.push({ from: this.#next, to: undefined })
    return this.#lost
  }
}
