/**
 * Copy-on-write access to the decoded rows of the index. Reads come from the edits of this layer,
 * then from a bounded cache of decoded rows, then from the row store. Decoded rows are encoded only
 * by `flush`. The CRDT thread flushes a layer in one transaction, the file system thread never.
 *
 * Rows that `inode` and `slot` return are shared: never change them. `editInode` and `editSlot`
 * return the layer's own copy; its arrays are replaced, never changed.
 */
import { WormholeError } from '../errors.ts'
import type { ActorId, DeviceId, FileName, InodeId } from '../types.ts'
import type { ActorInfo } from './interface.ts'
import { location } from './placement.ts'
import {
  decodeInodeRow,
  decodeSlots,
  emptyInodeRow,
  emptySlot,
  encodeInodeRow,
  encodeSlots,
  isEmptyInodeRow,
  isEmptySlot,
  type ActorNumbers,
  type InodeRow,
  type Slot,
} from './records.ts'
import type { RowReader, RowWriter } from './rows.ts'

/** First characters of the keys. Table: README.md, "Index rows". */
export const TABLE = {
  actorByNumber: 'a',
  actorById: 'b',
  displaced: 'd',
  due: 'r',
  shardDelta: 'e',
  want: 'f',
  pastName: 'g',
  history: 'h',
  inode: 'i',
  meta: 'm',
  policy: 'p',
  slot: 's',
  shardState: 'u',
  shardSnapshot: 'v',
  waiting: 'w',
  contested: 'x',
} as const

/**
 * Decoded rows kept of what is not edited: a few pages of a listing, the rows of a group of edits.
 * Few, because rows that outlive a collection of new objects are copied by it (README.md,
 * "Measured").
 */
const CACHE_ROWS_MAX = 1024
/**
 * As many for who writes groups of up to 2,048 edits: each of their rows is asked for several
 * times, one register of all of them after the other.
 */
export const WRITER_ROWS_MAX = 4096
const FILE_COUNT_KEY = `${TABLE.meta}\0files`
const ACTOR_COUNT_KEY = `${TABLE.meta}\0actors`
const PARENT_AT = 1
const HASH_AT = 17

/** The directory and name hash of a slot key. */
export function splitSlotKey(key: string): { parent: InodeId; hash: string } {
  return { parent: key.slice(PARENT_AT, HASH_AT) as InodeId, hash: key.slice(HASH_AT) }
}

/** Rows in memory over rows in a store. */
export class Layer implements ActorNumbers {
  readonly #rows: RowReader & { hashName(name: string): string }
  readonly #inodes = new Map<InodeId, InodeRow>()
  readonly #slots = new Map<string, Slot[]>()
  readonly #raw = new Map<string, Uint8Array | undefined>()
  readonly #inodeCache = new Map<InodeId, InodeRow | undefined>()
  readonly #slotCache = new Map<string, readonly Slot[]>()
  readonly #actors = new Map<ActorId, ActorInfo & { readonly number: number }>()
  readonly #actorIds = new Map<number, ActorId>()

  /** Shown in conflict names for operations that are not published yet. */
  readonly ownDeviceName: string
  readonly #cacheRowsMax: number
  #lastSlot = { parent: '', name: '', key: '' }
  #fileCount: number | undefined
  #hasPolicy: boolean | undefined
  #isPolicyChanged = false
  /** Grows whenever a policy, or what lies above some directory, may be another one. */
  policyEpoch = 0

  constructor(
    rows: RowReader & { hashName(name: string): string },
    options: { readonly ownDeviceName?: string; readonly cacheRowsMax?: number } = {},
  ) {
    this.#rows = rows
    this.#cacheRowsMax = options.cacheRowsMax ?? CACHE_ROWS_MAX
    this.ownDeviceName = options.ownDeviceName ?? 'this-device'
  }

  /** Live inodes that are not directories. */
  get fileCount(): number {
    this.#fileCount ??= Number(
      Buffer.from(this.raw(FILE_COUNT_KEY) ?? []).toString('latin1') || '0',
    )
    return this.#fileCount
  }

  set fileCount(count: number) {
    this.#fileCount = count
  }

  /** Whether some directory has a policy. */
  get hasPolicy(): boolean {
    this.#hasPolicy ??= this.rawRange(TABLE.policy, { countMax: 1 }).length > 0
    return this.#hasPolicy
  }

  /** Whether an edit of this layer has put a policy. */
  get isPolicyChanged(): boolean {
    return this.#isPolicyChanged
  }

  /** A policy was put: ask the rows again. */
  forgetPolicies(): void {
    this.#hasPolicy = undefined
    this.#isPolicyChanged = true
  }

  slotKey(parent: InodeId, name: string): string {
    // One operation asks for the same place again and again.
    const last = this.#lastSlot
    if (last.name === name && last.parent === parent) return last.key
    const key = TABLE.slot + parent + this.#rows.hashName(name)
    this.#lastSlot = { parent, name, key }
    return key
  }

  inode(id: InodeId): InodeRow | undefined {
    return this.#inodes.get(id) ?? this.committedInode(id)
  }

  /** The row as it is in the store, without the edits of this layer. */
  committedInode(id: InodeId): InodeRow | undefined {
    const cached = this.#inodeCache.get(id)
    if (cached !== undefined || this.#inodeCache.has(id)) return cached
    const bytes = this.#rows.get(TABLE.inode + id)
    const row = bytes && decodeInodeRow(id, bytes, this, location)
    if (this.#inodeCache.size >= this.#cacheRowsMax) this.#inodeCache.clear()
    this.#inodeCache.set(id, row)
    return row
  }

  /**
   * The rows of all inodes and dirent records, `countMax` at a time, `CACHE_ROWS_MAX` at most. They
   * are at hand until the next page is asked for.
   */
  *inodePages(countMax: number): Generator<InodeRow[]> {
    let after: string | undefined
    do {
      const from = after === undefined ? {} : { after }
      const stored = this.#rows.range(TABLE.inode, { countMax, ...from })
      if (this.#inodeCache.size + stored.length > this.#cacheRowsMax) this.#inodeCache.clear()
      const page: InodeRow[] = []
      for (const { key, value } of stored) {
        const id = key.slice(TABLE.inode.length) as InodeId
        const row =
          this.#inodes.get(id) ??
          this.#inodeCache.get(id) ??
          decodeInodeRow(id, value, this, location)
        if (!this.#inodes.has(id)) this.#inodeCache.set(id, row)
        page.push(row)
      }
      yield page
      after = stored.length === countMax ? stored.at(-1)?.key : undefined
    } while (after !== undefined)
  }

  /** The layer's own copy of a row; an empty one when there was none. */
  editInode(id: InodeId): InodeRow {
    const edited = this.#inodes.get(id)
    if (edited) return edited
    const base = this.committedInode(id)
    const row = base ? { ...base } : emptyInodeRow(id)
    this.#inodes.set(id, row)
    return row
  }

  slot(parent: InodeId, name: FileName): Slot | undefined {
    return findSlot(this.slotsAt(this.slotKey(parent, name)), name)
  }

  /** All slots of one name hash, sorted by name. */
  slotsAt(key: string): readonly Slot[] {
    return this.#slots.get(key) ?? this.committedSlots(key)
  }

  committedSlots(key: string): readonly Slot[] {
    const cached = this.#slotCache.get(key)
    if (cached) return cached
    const bytes = this.#rows.get(key)
    const slots = bytes ? decodeSlots(bytes) : []
    if (this.#slotCache.size >= this.#cacheRowsMax) this.#slotCache.clear()
    this.#slotCache.set(key, slots)
    return slots
  }

  /** The layer's own copy of a slot; an empty one when there was none. */
  editSlot(parent: InodeId, name: FileName): Slot {
    const key = this.slotKey(parent, name)
    let slots = this.#slots.get(key)
    if (!slots) {
      slots = this.committedSlots(key).map((slot) => ({ ...slot }))
      this.#slots.set(key, slots)
    }
    const found = findSlot(slots, name)
    if (found) return found
    const slot = emptySlot(name)
    slots.push(slot)
    if (slots.length > 1) slots.sort((a, b) => (a.name < b.name ? -1 : 1))
    return slot
  }

  /**
   * The slots of a directory, those of one name hash together, in the order of their keys after
   * `after`: at most `countMax` rows of the store. `next` is the key to go on after. Slots may be
   * empty. Rows that are only listed do not enter the cache.
   */
  slotPage(
    parent: InodeId,
    options: { readonly after?: string | undefined; readonly countMax: number },
  ): { rows: (readonly Slot[])[]; next: string | undefined } {
    const prefix = TABLE.slot + parent
    const { after, countMax } = options
    const from = after === undefined ? {} : { after }
    const stored = this.#rows.range(prefix, { countMax, ...from })
    const next = stored.length === countMax ? stored.at(-1)?.key : undefined
    if (this.#slots.size === 0) {
      return { rows: stored.map(({ value }) => decodeSlots(value)), next }
    }
    const rows = new Map<string, readonly Slot[]>()
    for (const { key, value } of stored) rows.set(key, decodeSlots(value))
    for (const [key, slots] of this.#slots) {
      const isAfter = after === undefined || key > after
      const isInPage = isAfter && (next === undefined || key <= next)
      if (isInPage && key.startsWith(prefix)) rows.set(key, slots)
    }
    const keys = [...rows.keys()].sort()
    return { rows: keys.map((key) => rows.get(key) as readonly Slot[]), next }
  }

  raw(key: string): Uint8Array | undefined {
    return this.#raw.has(key) ? this.#raw.get(key) : this.#rows.get(key)
  }

  putRaw(key: string, value: Uint8Array | undefined): void {
    this.#raw.set(key, value)
  }

  /** Raw rows by prefix, in order, those of this layer included. */
  rawRange(
    prefix: string,
    options: { readonly after?: string; readonly countMax: number },
  ): { key: string; value: Uint8Array }[] {
    const edited = [...this.#raw].filter(
      ([key]) => key.startsWith(prefix) && (options.after === undefined || key > options.after),
    )
    // Removed rows of the store are skipped below: ask for as many more.
    const stored = this.#rows.range(prefix, {
      ...options,
      countMax: options.countMax + edited.length,
    })
    const merged = new Map<string, Uint8Array | undefined>()
    for (const { key, value } of stored) merged.set(key, value)
    for (const [key, value] of edited) merged.set(key, value)
    const found: { key: string; value: Uint8Array }[] = []
    for (const key of [...merged.keys()].sort()) {
      const value = merged.get(key)
      if (value && found.length < options.countMax) found.push({ key, value })
    }
    return found
  }

  /** Makes an actor known; it keeps its number for ever. */
  addActor(info: ActorInfo): void {
    if (this.actorInfo(info.actor)) return
    const number = Number(Buffer.from(this.raw(ACTOR_COUNT_KEY) ?? []).toString('latin1') || '1')
    const text = JSON.stringify([number, info.actor, info.device, info.deviceName])
    this.putRaw(ACTOR_COUNT_KEY, Buffer.from(String(number + 1), 'latin1'))
    this.putRaw(TABLE.actorById + info.actor, Buffer.from(text, 'utf8'))
    this.putRaw(TABLE.actorByNumber + number, Buffer.from(info.actor, 'latin1'))
  }

  /** Who an actor is; undefined for one never announced. */
  actorInfo(actor: ActorId): (ActorInfo & { readonly number: number }) | undefined {
    const known = this.#actors.get(actor)
    if (known) return known
    const bytes = this.raw(TABLE.actorById + actor)
    if (!bytes) return undefined
    const [number, , device, deviceName] = JSON.parse(Buffer.from(bytes).toString('utf8')) as [
      number,
      ActorId,
      DeviceId,
      string,
    ]
    const info = { number, actor, device, deviceName }
    this.#actors.set(actor, info)
    return info
  }

  numberOf(actor: ActorId): number {
    const info = this.actorInfo(actor)
    if (!info) throw new WormholeError('ENTRY_INVALID', `actor ${actor} was never announced`)
    return info.number
  }

  actorOf(number: number): ActorId {
    const known = this.#actorIds.get(number)
    if (known) return known
    const bytes = this.raw(TABLE.actorByNumber + number)
    if (!bytes) throw new WormholeError('INDEX_CORRUPT', `no actor has the number ${number}`)
    const actor = Buffer.from(bytes).toString('latin1') as ActorId
    this.#actorIds.set(number, actor)
    return actor
  }

  editedInodes(): Iterable<InodeRow> {
    return this.#inodes.values()
  }

  editedSlotKeys(): Iterable<string> {
    return this.#slots.keys()
  }

  /** Writes all edits. The layer keeps them until `settled` or `discard`. */
  flush(rows: RowWriter): void {
    const files = this.#fileCount
    if (files !== undefined) rows.put(FILE_COUNT_KEY, Buffer.from(String(files), 'latin1'))
    for (const [key, value] of this.#raw) {
      if (value) rows.put(key, value)
      else rows.remove(key)
    }
    for (const [id, row] of this.#inodes) {
      if (isEmptyInodeRow(row)) rows.remove(TABLE.inode + id)
      else rows.put(TABLE.inode + id, encodeInodeRow(row, this))
    }
    for (const [key, slots] of this.#slots) {
      const kept = slots.filter((slot) => !isEmptySlot(slot))
      if (kept.length === 0) rows.remove(key)
      else rows.put(key, encodeSlots(kept))
    }
  }

  /** The edits are in the store now: they become cached rows. */
  settled(): void {
    for (const [id, row] of this.#inodes) {
      if (this.#inodeCache.size >= this.#cacheRowsMax) this.#inodeCache.clear()
      this.#inodeCache.set(id, isEmptyInodeRow(row) ? undefined : row)
    }
    for (const [key, slots] of this.#slots) {
      if (this.#slotCache.size >= this.#cacheRowsMax) this.#slotCache.clear()
      this.#slotCache.set(
        key,
        slots.filter((slot) => !isEmptySlot(slot)),
      )
    }
    this.#clearEdits()
  }

  /** Forgets the edits; with `andCache` also everything read from the store. */
  discard(options: { readonly andCache: boolean }): void {
    this.#clearEdits()
    // Numbers given in this layer may be given anew.
    this.#actors.clear()
    this.#actorIds.clear()
    this.#fileCount = undefined
    this.#hasPolicy = undefined
    this.policyEpoch++
    if (!options.andCache) return
    this.#inodeCache.clear()
    this.#slotCache.clear()
  }

  #clearEdits(): void {
    this.#isPolicyChanged = false
    this.#inodes.clear()
    this.#slots.clear()
    this.#raw.clear()
  }
}

function findSlot(slots: readonly Slot[], name: FileName): Slot | undefined {
  for (const slot of slots) if (slot.name === name) return slot
  return undefined
}
