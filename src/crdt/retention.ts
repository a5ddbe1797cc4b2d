/**
 * How long versions stay in the history.
 *
 * A content that leaves its register becomes a row of the history, with the stamp of the write that
 * replaced it. A second row, ordered by time, says when to look at it: at first after a day, then
 * when the days are over that the policies above it grant. So forgetting costs what is due and
 * never a walk over the history, and a change of policy is seen when a row is looked at. What stays
 * for being among the newest of its file is looked at again each week.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { Hlc, InodeId } from '../types.ts'
import { isInodeAlive } from './contest.ts'
import type { Content } from './interface.ts'
import { TABLE, type Layer } from './layer.ts'
import { versionOf, type InodeRow, type Value } from './records.ts'
import { decodeRegister } from './registers.ts'
import { policiesOf } from './strategy.ts'

/** A day in the unit of stamps, microseconds. */
const DAY = 86_400_000_000
/** Pause before what only its rank keeps is looked at again. */
const RANK_PAUSE = 7 * DAY
/** Rows looked at in one `forgetHistory`. */
const ROWS_MAX = 1000
const STAMP_BYTES = 7
const INODE_CHARACTERS = 16

/** Days that the policies (nearest first) grant to a replaced version. Must be pure. */
export type HistoryDaysOf = (policies: readonly string[]) => number
/** How many of the newest replaced versions of a file they keep for longer. Must be pure. */
export type HistoryVersionsOf = (policies: readonly string[]) => number

/** What forgetting goes by. */
export interface ForgetOptions {
  readonly now: Hlc
  readonly daysOf: HistoryDaysOf
  /** Default: none. */
  readonly versionsOf?: HistoryVersionsOf
}

/** Remembers a content that left its register at `replaced`, the stamp of what took its place. */
export function keepVersion(layer: Layer, id: InodeId, value: Value<Content>, replaced: Hlc): void {
  const key = id + versionOf(value)
  const writer = new ByteWriter(64).varint(replaced).latin1(value.op).raw(value.bytes)
  layer.putRaw(TABLE.history + key, writer.finish())
  layer.putRaw(dueKey(replaced + DAY, key), Buffer.alloc(0))
}

/** A row of the history: when it was replaced, the op id, the encoded content. */
export function readVersion(
  inode: InodeId,
  row: Uint8Array,
): Pick<Value<Content>, 'op' | 'data' | 'bytes'> & { readonly replaced: Hlc } {
  const reader = new ByteReader(row, 'INDEX_CORRUPT')
  const replaced = reader.varint() as Hlc
  const op = reader.latin1()
  const bytes = reader.raw(reader.left)
  return { replaced, op, bytes, data: decodeRegister('C', inode, bytes) }
}

/**
 * Forgets versions whose days are over at `now`. Bounded work: returns whether there may be more to
 * do. Part of the next commit.
 */
export function forgetHistory(layer: Layer, options: ForgetOptions): boolean {
  const { now, daysOf, versionsOf = () => 0 } = options
  const ranks = new Ranks(layer)
  const due = layer.rawRange(TABLE.due, { countMax: ROWS_MAX })
  for (const { key } of due) {
    if (key > TABLE.due + stampCode(now + 1)) return false
    layer.putRaw(key, undefined)
    const version = key.slice(1 + STAMP_BYTES)
    const row = layer.raw(TABLE.history + version)
    if (!row) continue
    const inode = version.slice(0, INODE_CHARACTERS) as InodeId
    const { replaced } = readVersion(inode, row)
    const policies = policiesOf(layer, inode).map(({ policy }) => policy)
    const endsAt = replaced + daysOf(policies) * DAY
    const isNew = endsAt <= now && ranks.isAmongNewest(inode, version, versionsOf(policies))
    const lookAt = isNew ? now + RANK_PAUSE : endsAt
    if (lookAt > now) layer.putRaw(dueKey(lookAt, version), Buffer.alloc(0))
    else layer.putRaw(TABLE.history + version, undefined)
  }
  return due.length === ROWS_MAX
}

/** Which versions of a living file are its newest replaced ones: read once per file and pass. */
class Ranks {
  readonly #layer: Layer
  /** By file: places of its versions, the newest 0. */
  readonly #places = new Map<InodeId, ReadonlyMap<string, number>>()

  constructor(layer: Layer) {
    this.#layer = layer
  }

  isAmongNewest(inode: InodeId, version: string, count: number): boolean {
    if (count === 0 || !isInodeAlive(this.#layer, inode)) return false
    const places = this.#places.get(inode) ?? this.#sort(inode)
    this.#places.set(inode, places)
    return (places.get(version) ?? Infinity) < count
  }

  #sort(inode: InodeId): Map<string, number> {
    const rows = this.#layer.rawRange(TABLE.history + inode, { countMax: Infinity })
    const sorted = rows
      .map(({ key, value }) => ({ key: key.slice(1), ...readVersion(inode, value) }))
      .sort((a, b) => b.replaced - a.replaced || (a.key < b.key ? -1 : 1))
    return new Map(sorted.map(({ key }, place) => [key, place]))
  }
}

/**
 * When the last content of a deleted file is needed no more: the days of its folder after its last
 * name went. Undefined for what lives, and for what nobody deleted (its place is not known yet).
 */
export function neededUntil(layer: Layer, row: InodeRow, daysOf: HistoryDaysOf): Hlc | undefined {
  if (isInodeAlive(layer, row.id)) return undefined
  let last: Hlc | undefined
  for (const record of [row, ...row.links.map((id) => layer.inode(id) as InodeRow)]) {
    for (const { data } of record.L) {
      if (!data.isDeleted) return undefined
      if (last === undefined || data.hlc > last) last = data.hlc
    }
  }
  if (last === undefined) return undefined
  const policies = policiesOf(layer, row.id).map(({ policy }) => policy)
  return (last + daysOf(policies) * DAY) as Hlc
}

function dueKey(at: number, version: string): string {
  return TABLE.due + stampCode(at) + version
}

/** A stamp as characters that sort by time. */
function stampCode(stamp: number): string {
  const bytes = Buffer.allocUnsafe(STAMP_BYTES)
  bytes.writeUIntBE(Math.floor(stamp / 2 ** 32), 0, STAMP_BYTES - 4)
  bytes.writeUInt32BE(stamp % 2 ** 32, STAMP_BYTES - 4)
  return bytes.toString('latin1')
}
