/**
 * An edit in the making: register puts collected against the present tree, and the steps that many
 * user operations share: moving, removing, materialising conflict copies. Rules 9 to 12 of the
 * README.
 */
import type { FileName, Hlc, InodeId } from '../types.ts'
import { firstName, isInodeAlive } from './contest.ts'
import { contentWinner } from './contents.ts'
import { conflictCopyId, inodeKind, LOST_FOUND } from './ids.ts'
import type { Content, Edit, Location, OpRef, Put, RegisterName, VersionId } from './interface.ts'
import type { Layer } from './layer.ts'
import { hasLiveLocation, location, locationWinner, winner } from './placement.ts'
import { versionOf, type Extra, type InodeRow, type Slot, type Value } from './records.ts'
import { encodeRegister, SEEN_COUNT_MAX, type RegisterValues } from './registers.ts'
import { extraName, opsOf } from './tree-reader.ts'

/** A place in a directory. */
export interface Place {
  readonly parent: InodeId
  readonly name: FileName
}

/** What a name stands for: everything that an operation on the name must apply to. */
export type Found =
  | { readonly type: 'directory'; readonly id: InodeId; readonly members: readonly InodeId[] }
  | {
      readonly type: 'record'
      /** The dirent record that is shown. */
      readonly record: InodeId
      /** The inode it names. */
      readonly inode: InodeId
      /** Records hidden behind it. */
      readonly hidden: readonly InodeId[]
    }
  | {
      readonly type: 'copy'
      readonly id: InodeId
      readonly inode: InodeId
      readonly version: VersionId
    }

/**
 * A base that holds nothing (no record has the number 0). It tells the fold that whoever deleted
 * this has not seen it, so that it is published before it goes: the history is to know it.
 */
const NOT_CANCELLED: OpRef = '#0'

/** What an entry of a slot stands for: its primary, or one of its extras. */
export function foundIn(layer: Layer, slot: Slot, extra: Extra | undefined): Found {
  if (extra?.reason === 'content') {
    return { type: 'copy', id: extra.claim, inode: extra.inode, version: extra.version }
  }
  const record = (extra?.claim ?? slot.primary) as InodeId
  const row = layer.inode(record) as InodeRow
  if (inodeKind(record) === 'directory') {
    return { type: 'directory', id: record, members: [record, ...row.merged] }
  }
  const hidden = slot.hidden.filter(({ into }) => into === record).map(({ claim }) => claim)
  return { type: 'record', record, inode: (row.target || record) as InodeId, hidden }
}

/** Collects the puts of one edit. The last put on a register counts. */
export class Draft {
  readonly hlc: Hlc
  readonly nowNs: bigint
  readonly #layer: Layer
  readonly #puts = new Map<string, Put>()

  constructor(layer: Layer, hlc: Hlc, nowNs: bigint) {
    this.#layer = layer
    this.hlc = hlc
    this.nowNs = nowNs
  }

  finish(): Edit {
    return { number: 0, hlc: this.hlc, puts: [...this.#puts.values()] }
  }

  /** Puts a value over `base`, by default over all values that the register has now. */
  put<R extends RegisterName>(
    inode: InodeId,
    register: R,
    value: RegisterValues[R],
    base?: readonly OpRef[],
  ): void {
    this.#putBytes(inode, register, encodeRegister(register, value), base)
  }

  #putBytes(
    inode: InodeId,
    register: RegisterName,
    value: Uint8Array,
    base: readonly OpRef[] = opsOf(this.#layer.inode(inode)?.[register] ?? []),
  ): void {
    this.#puts.set(register + inode, { inode, register, value, base })
  }

  /** The names in a directory have changed. */
  touch(directory: InodeId): void {
    this.put(directory, 'C', { kind: 'directory', mtimeNs: this.nowNs, hlc: this.hlc })
  }

  /** Moves everything that a name stands for. */
  move(found: Found, to: Place): void {
    if (found.type === 'copy') {
      this.materialise(found, to)
      this.clearLosers(found.inode, found.version)
      return
    }
    if (found.type === 'directory') {
      for (const id of found.members) this.#relocate(id, to)
      return
    }
    this.#relocate(found.record, to)
    for (const id of found.hidden) this.#bury(id)
  }

  #relocate(id: InodeId, to: Place): void {
    const row = this.#layer.inode(id) as InodeRow
    const from = location(row)
    const hasPrevious = inodeKind(id) === 'directory'
    const previous = { parent: from.parent, name: from.name }
    this.#putLocation(row, {
      ...to,
      ...(hasPrevious ? { previous } : {}),
      isDeleted: false,
      seen: [],
    })
  }

  /**
   * Says that what a name stands for stays where it is, so that it outlives a concurrent removal by
   * somebody who has not heard of this.
   */
  hold(found: Exclude<Found, { readonly type: 'copy' }>): void {
    for (const id of found.type === 'directory' ? found.members : [found.record]) {
      if (id === LOST_FOUND) continue
      const row = this.#layer.inode(id) as InodeRow
      const value = locationWinner(row)
      if (value) this.#putLocation(row, { ...value.data, isDeleted: false, seen: [] })
    }
  }

  #putLocation(
    row: InodeRow,
    where: Omit<Location, 'hlc' | 'target'>,
    base?: readonly OpRef[],
  ): void {
    const { parent, name, previous, isDeleted, seen } = where
    const value = {
      parent,
      name,
      ...(previous ? { previous } : {}),
      isDeleted,
      seen,
      ...(row.target === '' ? {} : { target: row.target }),
      hlc: this.hlc,
    }
    this.put(row.id, 'L', value, base)
  }

  /** Removes everything that a name stands for. Conflict copies beside it stay. */
  remove(found: Found): void {
    if (found.type === 'copy') {
      this.clearLosers(found.inode, found.version)
      return
    }
    if (found.type === 'directory') {
      for (const id of found.members) if (id !== LOST_FOUND) this.#entomb(id, [])
      return
    }
    this.#bury(found.record)
    for (const id of found.hidden) this.#bury(id)
  }

  /**
   * Tombstones a record. If that is the inode's last name, its shown losers become inodes of their
   * own first; otherwise they stay with the other names.
   */
  #bury(id: InodeId): void {
    if (this.#isLastName(id)) this.materialiseLosers(this.#inodeOf(id))
    this.discard(id)
  }

  #inodeOf(record: InodeId): InodeRow {
    const row = this.#layer.inode(record) as InodeRow
    return this.#layer.inode((row.target || record) as InodeId) ?? row
  }

  #isLastName(record: InodeId): boolean {
    const inode = this.#inodeOf(record)
    return ![inode.id, ...inode.links].some((id) => id !== record && this.#isLive(id))
  }

  /** Whether a record lives now and this edit has not tombstoned it. */
  #isLive(id: InodeId): boolean {
    return (this.#layer.inode(id)?.isAlive ?? false) && !this.#entombed.has(id)
  }

  readonly #entombed = new Set<InodeId>()

  #entomb(id: InodeId, seen: readonly VersionId[]): void {
    this.#entombed.add(id)
    const row = this.#layer.inode(id) as InodeRow
    const { parent, name } = location(row)
    const versions = [...new Set(seen)].slice(-SEEN_COUNT_MAX)
    const slot = this.#layer.slot(row.slotParent as InodeId, row.slotName as FileName)
    const isHidden = slot?.hidden.some(({ claim }) => claim === id) ?? false
    const base = isHidden ? [...opsOf(row.L), NOT_CANCELLED] : undefined
    this.#putLocation(row, { parent, name, isDeleted: true, seen: versions }, base)
  }

  /**
   * Tombstones a record. Whoever takes the last name has seen the content go, so the tombstone of
   * that covers all its versions; the tombstone of another name covers none: two people who each
   * remove one of two names have not deleted the content.
   */
  discard(id: InodeId): void {
    const seen = this.#isLastName(id) ? this.#inodeOf(id).C.map(versionOf) : []
    this.#entomb(id, seen)
  }

  /** Makes a conflict copy an inode of its own, at `to`. Does nothing if it is one already. */
  materialise(
    copy: { readonly inode: InodeId; readonly version: VersionId },
    to: Place,
    changed: { readonly content?: Content; readonly attributes?: RegisterValues['A'] } = {},
  ): void {
    const id = conflictCopyId(copy.inode, copy.version)
    const inode = this.#layer.inode(copy.inode) as InodeRow
    const value = inode.C.find((other) => versionOf(other) === copy.version)
    if (!value || isInodeAlive(this.#layer, id)) return
    this.put(id, 'L', { ...to, isDeleted: false, seen: [], hlc: this.hlc })
    if (changed.content) this.put(id, 'C', changed.content)
    else this.#putBytes(id, 'C', value.bytes)
    const attributes = winner(inode.A)
    if (changed.attributes) this.put(id, 'A', changed.attributes)
    else if (attributes) this.#putBytes(id, 'A', attributes.bytes)
  }

  /** Makes the shown losers of an inode inodes of their own, under the names they are shown by. */
  materialiseLosers(
    inode: InodeRow,
    isWanted: (value: Value<Content>) => boolean = () => true,
  ): void {
    for (const { extra, place } of shownLosers(this.#layer, inode)) {
      const value = inode.C.find((other) => versionOf(other) === extra.version)
      if (value && isWanted(value)) this.materialise(extra, place)
    }
  }

  /** Ends a content conflict: losers but `dropped` become inodes, the winner stands alone. */
  clearLosers(inode: InodeId, dropped: VersionId): void {
    const row = this.#layer.inode(inode) as InodeRow
    this.materialiseLosers(row, (value) => versionOf(value) !== dropped)
    this.keepContent(row, contentWinner(row) as Value<Content>)
  }

  /**
   * Puts one of the register's own values over all of them. An inode that lives only because that
   * version was unseen by a deletion gets its name back for good: the kept one may have been seen.
   */
  keepContent(row: InodeRow, value: Value<Content>): void {
    this.#putBytes(row.id, 'C', value.bytes)
    for (const id of [row.id, ...row.links]) {
      const record = this.#layer.inode(id)
      if (!record || !this.#isLive(id) || hasLiveLocation(record)) continue
      const { parent, name } = location(record)
      this.#putLocation(record, { parent, name, isDeleted: false, seen: [] })
    }
  }
}

/** Several edits as one. A register that two of them put keeps the base of the first. */
export function combineEdits(edits: readonly Edit[]): Edit {
  const puts = new Map<string, Put>()
  let hlc = 0
  for (const edit of edits) {
    hlc = Math.max(hlc, edit.hlc)
    for (const put of edit.puts) {
      const key = put.register + put.inode
      puts.set(key, { ...put, base: puts.get(key)?.base ?? put.base })
    }
  }
  return { number: 0, hlc: hlc as Hlc, puts: [...puts.values()] }
}

/** The losers of an inode that are shown as copies, and where. */
export function shownLosers(
  layer: Layer,
  inode: InodeRow,
): { readonly extra: Extra; readonly place: Place }[] {
  if (inode.C.length < 2) return []
  const first = firstName(layer, inode)
  if (!first) return []
  const parent = first.slotParent as InodeId
  const slot = layer.slot(parent, first.slotName as FileName)
  const mine = (slot?.extras ?? []).filter(
    (extra) => extra.reason === 'content' && extra.inode === inode.id,
  )
  return mine.map((extra) => ({ extra, place: { parent, name: extraName(extra) } }))
}
