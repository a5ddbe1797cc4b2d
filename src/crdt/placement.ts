/**
 * Where records are: candidates of a location register, ranks, and breaking cycles.
 *
 * Placement depends on location registers alone, never on liveness, so it is one confluent process:
 * every record starts at its first candidate whose parent is known; while directories form a cycle,
 * the member with the greatest rank goes on to its next candidate, at last to `lost+found`. Cycles
 * of a functional graph are disjoint and leaving one does not alter another, so the order in which
 * they are broken does not matter (law V2 in README.md).
 */
import type { FileName, Hlc, InodeId } from '../types.ts'
import { inodeKind, LOST_FOUND, ROOT } from './ids.ts'
import type { Location } from './interface.ts'
import type { InodeRow, Value } from './records.ts'

/** A place where a record may be. */
export interface Candidate {
  readonly parent: InodeId
  readonly name: FileName
  /** The value it comes from: its stamp and op rank the candidate. */
  readonly value: Value<Location>
}

/**
 * What ranks concurrent things: stamp, then id, then op id text. The id comes first because the
 * puts of one edit share a stamp, and their op ids are not known before they are published.
 */
export interface Rank {
  readonly hlc: Hlc
  readonly op: string
  readonly id: InodeId
}

const LOST_FOUND_NAME = 'lost+found' as FileName
const LOST_FOUND_VALUE: Value<Location> = {
  op: '',
  fromNumber: 0,
  toNumber: 0,
  bytes: new Uint8Array(0),
  data: { parent: ROOT, name: LOST_FOUND_NAME, isDeleted: true, seen: [], hlc: 0 as Hlc },
}
const LOST_FOUND_CANDIDATES: readonly Candidate[] = [
  { parent: ROOT, name: LOST_FOUND_NAME, value: LOST_FOUND_VALUE },
]

/** Orders ranks, least first. */
export function compareRanks(a: Rank, b: Rank): number {
  if (a.hlc !== b.hlc) return a.hlc - b.hlc
  if (a.id !== b.id) return a.id < b.id ? -1 : 1
  return a.op === b.op ? 0 : a.op < b.op ? -1 : 1
}

/** Orders values of one register: greatest stamp, then op, first. */
export function byRank<T extends { readonly hlc: Hlc }>(a: Value<T>, b: Value<T>): number {
  return b.data.hlc - a.data.hlc || (a.op === b.op ? 0 : a.op < b.op ? 1 : -1)
}

/** The value that counts: the one of greatest rank; undefined when there is none. */
export function winner<T extends { readonly hlc: Hlc }>(
  values: readonly Value<T>[],
): Value<T> | undefined {
  let best = values[0]
  for (let index = 1; index < values.length; index++) {
    const value = values[index] as Value<T>
    if (byRank(value, best as Value<T>) < 0) best = value
  }
  return best
}

/** Location values in the order in which they count: live ones before tombstones, then by rank. */
function inOrder(values: readonly Value<Location>[]): readonly Value<Location>[] {
  if (values.length < 2) return values
  return [...values].sort(
    (a, b) => Number(a.data.isDeleted) - Number(b.data.isDeleted) || byRank(a, b),
  )
}

/** The location value that counts; undefined when the record has none. */
export function locationWinner(row: InodeRow): Value<Location> | undefined {
  return inOrder(row.L)[0]
}

/** Whether some value of `L` is no tombstone. */
export function hasLiveLocation(row: InodeRow): boolean {
  for (const value of row.L) if (!value.data.isDeleted) return true
  return false
}

/** All places a record may be, best first: its values by rank, then where those were before. */
export function candidates(row: InodeRow): readonly Candidate[] {
  if (row.id === LOST_FOUND) return LOST_FOUND_CANDIDATES
  const values = inOrder(row.L)
  const found: Candidate[] = []
  for (const value of values) {
    found.push({ parent: value.data.parent, name: value.data.name, value })
  }
  for (const value of values) {
    if (value.data.previous) found.push({ ...value.data.previous, value })
  }
  return found
}

/** Where the record is placed: a candidate, or `lost+found` when they are used up. */
export function location(row: InodeRow): Candidate {
  if (row.place === 0 && row.L.length === 1) {
    const value = row.L[0] as Value<Location>
    return { parent: value.data.parent, name: value.data.name, value }
  }
  const all = candidates(row)
  const chosen = all[row.place]
  if (chosen) return chosen
  const first = all[0] as Candidate
  return { parent: LOST_FOUND, name: first.name, value: first.value }
}

/** What ranks a record in its slot and in a cycle: the value that it is placed by. */
export function rankOf(row: InodeRow): Rank {
  const { value } = location(row)
  return { hlc: value.data.hlc, op: value.op, id: row.id }
}

/** Read access that placement needs. */
export interface PlacementRows {
  inode(id: InodeId): InodeRow | undefined
}

/** Whether something may be placed in `parent`: a directory that is known. */
export function isKnownDirectory(rows: PlacementRows, parent: InodeId): boolean {
  if (parent === ROOT || parent === LOST_FOUND) return true
  if (inodeKind(parent) !== 'directory') return false
  return (rows.inode(parent)?.L.length ?? 0) > 0
}

/**
 * The first candidate at or after `from` whose parent is known; their count when there is none.
 * Parents that are directories but unknown are reported to `missing`.
 */
export function nextPlace(
  rows: PlacementRows,
  row: InodeRow,
  from: number,
  missing: (parent: InodeId) => void,
): number {
  const all = candidates(row)
  for (let place = from; place < all.length; place++) {
    const { parent } = all[place] as Candidate
    if (isKnownDirectory(rows, parent)) return place
    if (inodeKind(parent) === 'directory') missing(parent)
  }
  return all.length
}

/**
 * The cycle that the chain of parents from `start` runs into; undefined when it ends at the top.
 */
export function findCycle(rows: PlacementRows, start: InodeId): InodeRow[] | undefined {
  const path: InodeRow[] = []
  const seen = new Map<InodeId, number>()
  let id = start
  for (;;) {
    if (id === ROOT || id === LOST_FOUND) return undefined
    const at = seen.get(id)
    if (at !== undefined) return path.slice(at)
    const row = rows.inode(id)
    if (!row || row.L.length === 0) return undefined
    seen.set(id, path.length)
    path.push(row)
    id = location(row).parent
  }
}

/** The member of a cycle that has to go: the one whose location ranks greatest. */
export function latestMember(cycle: readonly InodeRow[]): InodeRow {
  let latest = cycle[0] as InodeRow
  for (const row of cycle) if (compareRanks(rankOf(row), rankOf(latest)) > 0) latest = row
  return latest
}
