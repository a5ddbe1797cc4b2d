/**
 * What other devices have changed since a frontier, read from their entries in the log: by record
 * (an inode, or one more name of one), not by entry. Lives on the crdt thread, works in slices.
 *
 * Nothing is noted while entries are applied: who asks pays for the entries since then, nobody else
 * pays anything. An entry that was refused is read too; who has the index sees that it took no
 * effect.
 */
import { decodeChange } from '../crdt/change.ts'
import { parsedOp } from '../crdt/check.ts'
import { inodeKind } from '../crdt/ids.ts'
import type { Attributes, Content, Location } from '../crdt/interface.ts'
import type { Place } from '../crdt/draft.ts'
import { hasCode } from '../errors.ts'
import { openEntry } from '../log/entry.ts'
import { EMPTY_FRONTIER } from '../log/frontier.ts'
import type { EntryFrame, FeedStore, LogKeys } from '../log/interface.ts'
import type { Clock } from '../system.ts'
import {
  feedDevice,
  type DeviceId,
  type FeedId,
  type Frontier,
  type Hlc,
  type InodeId,
  type VolumeId,
} from '../types.ts'

/** Longest time that other work of the thread waits, unless one entry takes longer. */
const SLICE_MS = 10
/** Bytes of entries read at once: some are read again when a slice ends between them. */
const READ_BYTES = 16 * 1024

/** What was done to one record. Stamps are the greatest of their kind. */
export interface LogChange {
  readonly record: InodeId
  /** Of the newest change, and who made it. */
  readonly hlc: Hlc
  readonly device: DeviceId
  /** It got its first place in that time. */
  readonly isNew: boolean
  /** When it was put somewhere. */
  readonly placed?: Hlc
  /** When its name was taken away. */
  readonly deleted?: Hlc
  readonly content?: Hlc
  readonly attributes?: Hlc
  /** Of a directory: where it was before it was first moved in that time, and when that was. */
  readonly movedFrom?: Place & { readonly hlc: Hlc }
}

/** Which changes: behind these lengths of feeds, from a place where a slice ended. */
export interface LogChangesQuery {
  readonly since: ReadonlyMap<FeedId, number>
  readonly at?: LogPlace
}

interface LogPlace {
  readonly feed: FeedId
  readonly seq: number
}

/** A slice of the answer; records may come again in later ones (`mergeChange`). */
export interface LogChangesSlice {
  readonly changes: readonly LogChange[]
  /** Every entry was there and could be read. */
  readonly isComplete: boolean
  readonly next?: LogPlace
}

/** What it needs. */
export interface LogChangesOptions {
  readonly volume: VolumeId
  readonly device: DeviceId
  readonly feeds: Pick<FeedStore, 'read' | 'origin'>
  readonly keys: LogKeys
  readonly clock: Clock
  /** What the tree shows. */
  readonly applied: () => Frontier
}

/** See the head of this file. */
export class LogChanges {
  readonly #options: LogChangesOptions

  constructor(options: LogChangesOptions) {
    this.#options = options
  }

  /** The next slice; at least one entry if there is one. */
  slice({ since, at }: LogChangesQuery): LogChangesSlice {
    const { device, clock, applied, feeds } = this.#options
    const endMs = clock.monotonicMs() + SLICE_MS
    const found = new Map<InodeId, LogChange>()
    const end = (isComplete: boolean, next?: LogPlace): LogChangesSlice => ({
      changes: [...found.values()],
      isComplete,
      ...(next ? { next } : {}),
    })
    let isComplete = true
    const frontier = applied()
    for (const feed of [...frontier.keys()].sort()) {
      if (feedDevice(feed) === device || (at && feed < at.feed)) continue
      const length = frontier.get(feed)?.length ?? 0
      const from = since.get(feed) ?? feeds.origin(feed)?.length ?? 0
      for (let seq = at?.feed === feed ? at.seq : from; seq < length;) {
        const frames = this.#read(feed, seq)
        if (frames[0]?.seq !== seq) isComplete = false
        if (frames.length === 0) break
        for (const frame of frames) {
          seq = frame.seq + 1
          if (frame.seq < length && !this.#take(frame, found)) isComplete = false
          if (clock.monotonicMs() >= endMs) return end(isComplete, { feed, seq })
        }
      }
    }
    return end(isComplete)
  }

  /** None where the log is damaged or not here yet. */
  #read(feed: FeedId, seq: number): EntryFrame[] {
    try {
      return this.#options.feeds.read(feed, seq, READ_BYTES)
    } catch (error) {
      if (hasCode(error, 'FEED_CORRUPT')) return []
      throw error
    }
  }

  /** Returns whether the entry could be read; one that its author malformed says nothing. */
  #take(frame: EntryFrame, found: Map<InodeId, LogChange>): boolean {
    const { volume, keys } = this.#options
    const device = feedDevice(frame.feed)
    try {
      const entry = openEntry(frame, { volume, keys, previousFrontier: EMPTY_FRONTIER })
      if (entry.hasSealedTree && !entry.tree) return false
      for (const { change } of entry.tree?.changes ?? []) {
        for (const op of decodeChange(change).ops) {
          const { register, inode, data } = parsedOp(op)
          const isFirst = op.predecessors.length === 0
          const made = changeOf(device, inode, register, data, isFirst)
          if (!made) continue
          const known = found.get(inode)
          found.set(inode, known ? mergeChange(known, made) : made)
        }
      }
      return true
    } catch (error) {
      if (hasCode(error, 'ENTRY_INVALID')) return true
      if (hasCode(error, 'KEY_MISSING') || hasCode(error, 'FORMAT_UNSUPPORTED')) return false
      throw error
    }
  }
}

/** What one register write is to a person; undefined for what nobody did by itself. */
function changeOf(
  device: DeviceId,
  record: InodeId,
  register: string,
  data: object,
  isFirst: boolean,
): LogChange | undefined {
  if (register === 'L') return placeOf(device, record, data as Location, isFirst)
  const { hlc } = data as Content | Attributes
  const made = { record, device, hlc, isNew: false }
  if (register === 'A') return { ...made, attributes: hlc }
  // The content of a directory is the time of its last change.
  return register === 'C' && inodeKind(record) !== 'directory'
    ? { ...made, content: hlc }
    : undefined
}

function placeOf(
  device: DeviceId,
  record: InodeId,
  { hlc, isDeleted, previous }: Location,
  isFirst: boolean,
): LogChange {
  const made = { record, device, hlc, isNew: isFirst && !isDeleted }
  if (isDeleted) return { ...made, deleted: hlc }
  return { ...made, placed: hlc, ...(previous ? { movedFrom: { ...previous, hlc } } : {}) }
}

/** Both changes of one record. */
export function mergeChange(a: LogChange, b: LogChange): LogChange {
  const newer = b.hlc > a.hlc ? b : a
  const movedFrom = earlier(a.movedFrom, b.movedFrom)
  return {
    record: a.record,
    hlc: newer.hlc,
    device: newer.device,
    isNew: a.isNew || b.isNew,
    ...greatest('placed', a, b),
    ...greatest('deleted', a, b),
    ...greatest('content', a, b),
    ...greatest('attributes', a, b),
    ...(movedFrom ? { movedFrom } : {}),
  }
}

function earlier<T extends { readonly hlc: Hlc }>(a: T | undefined, b: T | undefined) {
  return a && b ? (b.hlc < a.hlc ? b : a) : (a ?? b)
}

function greatest(
  key: 'placed' | 'deleted' | 'content' | 'attributes',
  a: LogChange,
  b: LogChange,
): Partial<LogChange> {
  const stamp = Math.max(a[key] ?? -1, b[key] ?? -1)
  return stamp < 0 ? {} : { [key]: stamp as Hlc }
}
