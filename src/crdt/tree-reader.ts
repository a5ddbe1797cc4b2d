/** Reading the visible tree from a layer of rows: the `TreeReader` of every thread. */
import type { FileName, Hlc, InodeId } from '../types.ts'
import { firstName } from './contest.ts'
import { contentWinner, nodeKind } from './contents.ts'
import { inodeKind, ROOT } from './ids.ts'
import type { Attributes, Content, DirentView, NodeView, TreeReader } from './interface.ts'
import type { Layer } from './layer.ts'
import { location, winner } from './placement.ts'
import { versionOf, type Extra, type InodeRow, type Slot, type Value } from './records.ts'
import { defaultAttributes, defaultContent, encodeRegister, versionId } from './registers.ts'
import { policiesAbove, policiesOf } from './strategy.ts'

const EPOCH = 0 as Hlc
const NO_NAME = '' as FileName
const ROOT_CONTENT = defaultContent('directory', EPOCH)

/** The name a conflict copy or a loser of a name is shown under. */
export function extraName(extra: Extra): FileName {
  return extra.names.at(-1) as FileName
}

/** The rows that say what a name shows. */
export interface SlotRows {
  inode(id: InodeId): InodeRow | undefined
  slot(parent: InodeId, name: FileName): Slot | undefined
}

/** An extra and the slot it comes from. */
export type ShownExtra = Extra & { readonly source: FileName }

function extraIn(rows: SlotRows, parent: InodeId, slot: Slot): ShownExtra | undefined {
  if (slot.claims.length > 0) return undefined
  for (const want of slot.wants) {
    const source = rows.slot(parent, want.source)
    const extra = source?.extras.find(({ claim }) => claim === want.claim)
    if (extra && extraName(extra) === slot.name) return { ...extra, source: want.source }
  }
  return undefined
}

/** What a slot shows under its own name. */
export function visibleIn(rows: SlotRows, parent: InodeId, slot: Slot): DirentView | undefined {
  if (slot.primary !== '') {
    const kind = inodeKind(slot.primary)
    if (kind !== 'link') return { name: slot.name, id: slot.primary, kind }
    const id = rows.inode(slot.primary)?.target as InodeId
    return { name: slot.name, id, kind: nodeKind({ id }) }
  }
  const extra = extraIn(rows, parent, slot)
  return extra && { name: slot.name, id: extra.node, kind: nodeKind({ id: extra.node }) }
}

/** Slots looked through at a time, once the first few had too little to show. */
const SLOTS_PER_STEP = 1024

/** The visible tree of a layer. */
export class LayerReader implements TreeReader {
  readonly root = ROOT
  readonly #layer: Layer

  constructor(layer: Layer) {
    this.#layer = layer
  }

  get fileCount(): number {
    return this.#layer.fileCount
  }

  lookup(parent: InodeId, name: FileName): DirentView | undefined {
    const slot = this.#layer.slot(parent, name)
    return slot && this.#dirent(parent, slot)
  }

  #dirent(parent: InodeId, slot: Slot): DirentView | undefined {
    return visibleIn(this.#layer, parent, slot)
  }

  /** The extra that is shown under the name of this slot, which nothing claims outright. */
  extraAt(parent: InodeId, slot: Slot): ShownExtra | undefined {
    return extraIn(this.#layer, parent, slot)
  }

  node(id: InodeId): NodeView | undefined {
    const row = this.#layer.inode(id)
    if (id !== ROOT && !row) return undefined
    if (inodeKind(id) === 'link') return undefined
    if (inodeKind(id) === 'directory') return this.#directory(id, row)
    return this.#file(row as InodeRow)
  }

  #directory(id: InodeId, row: InodeRow | undefined): NodeView | undefined {
    if (id !== ROOT && !row?.isAlive) return undefined
    if (row && row.canonical !== '') return this.node(row.canonical)
    const members = [row, ...(row?.merged ?? []).map((other) => this.#layer.inode(other))]
    let content: Content = ROOT_CONTENT
    let version = ''
    let mtimeNs = -(2n ** 63n)
    for (const member of members) {
      for (const value of member?.C ?? []) {
        if (value.data.mtimeNs > mtimeNs) {
          mtimeNs = value.data.mtimeNs
          content = value.data
          version = versionOf(value)
        }
      }
    }
    if (version === '') {
      const hlc = row && row.L.length > 0 ? location(row).value.data.hlc : EPOCH
      content = defaultContent('directory', hlc)
      mtimeNs = content.mtimeNs
      version = versionId(encodeRegister('C', content))
    }
    const attributes = (row && winner(row.A)?.data) ?? defaultAttributes('directory')
    if (attributes.mtime?.version === version) mtimeNs = attributes.mtime.ns
    return {
      id,
      kind: 'directory',
      parent: id === ROOT ? ROOT : (row?.slotParent as InodeId),
      name: id === ROOT ? NO_NAME : (row?.slotName as FileName),
      content,
      version,
      attributes,
      mtimeNs,
      nlink: 2 + (row?.subdirectories ?? 0),
    }
  }

  #file(row: InodeRow): NodeView | undefined {
    const first = firstName(this.#layer, row)
    if (!first) return row.copyOf && this.#copy(row)
    const value = contentWinner(row)
    const kind = nodeKind(row)
    const content = value?.data ?? defaultContent(kind, location(first).value.data.hlc)
    const version = value ? versionOf(value) : versionId(encodeRegister('C', content))
    const attributes = winner(row.A)?.data ?? defaultAttributes(kind)
    let nlink = row.isAlive ? 1 : 0
    for (const link of row.links) if (this.#layer.inode(link)?.isAlive) nlink++
    return {
      id: row.id,
      kind,
      parent: first.slotParent as InodeId,
      name: this.#shownName(first),
      content,
      version,
      attributes,
      mtimeNs: shownTime(content, version, attributes),
      nlink,
    }
  }

  /** The name that a live record is shown under; that of its twin when it is hidden. */
  #shownName(record: InodeRow): FileName {
    const name = record.slotName as FileName
    const slot = this.#layer.slot(record.slotParent as InodeId, name)
    if (!slot || slot.primary === record.id) return name
    const into = slot.hidden.find(({ claim }) => claim === record.id)?.into
    const extra = slot.extras.find(({ claim }) => claim === (into ?? record.id))
    return extra ? extraName(extra) : name
  }

  #copy(row: InodeRow): NodeView | undefined {
    const copy = row.copyOf
    if (!copy) return undefined
    const slot = this.#layer.slot(copy.parent, copy.name)
    const extra = slot?.extras.find(({ claim }) => claim === row.id)
    const inode = this.#layer.inode(copy.inode)
    const value = inode?.C.find((other) => versionOf(other) === copy.version)
    if (!extra || !inode || !value) return undefined
    const kind = nodeKind(row)
    const attributes = winner(inode.A)?.data ?? defaultAttributes(kind)
    return {
      id: row.id,
      kind,
      parent: copy.parent,
      name: extraName(extra),
      content: value.data,
      version: copy.version,
      attributes,
      mtimeNs: shownTime(value.data, copy.version, attributes),
      nlink: 1,
      copyOf: { inode: copy.inode, version: copy.version },
    }
  }

  /** Whether a (canonical) directory shows nothing. Most that are asked for have no live child. */
  isEmpty(directory: InodeId): boolean {
    const members = [directory, ...(this.#layer.inode(directory)?.merged ?? [])]
    if (members.every((id) => (this.#layer.inode(id)?.liveChildren ?? 0) === 0)) return true
    return this.list(directory, { countMax: 1 }).entries.length === 0
  }

  list(
    parent: InodeId,
    options: { after?: string; countMax: number },
  ): { entries: DirentView[]; next: string | undefined } {
    const { countMax } = options
    const entries: DirentView[] = []
    // The cursor is the last name given out; the key of its slot says where that is in the order.
    for (const dirent of this.#direntsAfter(parent, options.after as FileName, countMax + 1)) {
      if (entries.length === countMax) return { entries, next: entries.at(-1)?.name }
      entries.push(dirent)
    }
    return { entries, next: undefined }
  }

  /** What is shown after a name; rows are read `pageCount` at a time at first. */
  *#direntsAfter(
    parent: InodeId,
    after: FileName | undefined,
    pageCount: number,
  ): Generator<DirentView> {
    let key = after === undefined ? undefined : this.#layer.slotKey(parent, after)
    const sharing = key === undefined ? [] : this.#layer.slotsAt(key)
    yield* this.#direntsOf(
      parent,
      sharing.filter(({ name }) => name > (after as FileName)),
    )
    // What was removed and not published leaves empty slots: the more of them, the longer steps.
    let countMax = pageCount
    do {
      const { rows, next } = this.#layer.slotPage(parent, { after: key, countMax })
      for (const slots of rows) yield* this.#direntsOf(parent, slots)
      key = next
      countMax = Math.max(countMax, SLOTS_PER_STEP)
    } while (key !== undefined)
  }

  *#direntsOf(parent: InodeId, slots: readonly Slot[]): Generator<DirentView> {
    for (const slot of slots) {
      const dirent = this.#dirent(parent, slot)
      if (dirent) yield dirent
    }
  }

  /** The canonical directories in which an inode has a live name. */
  parents(id: InodeId): InodeId[] {
    const row = this.#layer.inode(id)
    const found: InodeId[] = []
    for (const record of [id, ...(row?.links ?? [])]) {
      const named = record === id ? row : this.#layer.inode(record)
      if (named?.isAlive && named.slotParent !== '') found.push(named.slotParent)
    }
    return found
  }

  policies(id: InodeId): { directory: InodeId; policy: string }[] {
    const node = this.node(id)
    if (!node) return policiesOf(this.#layer, id)
    return policiesAbove(this.#layer, node.kind === 'directory' ? node.id : node.parent)
  }
}

/** With a time set later than the content, if that is the content shown. */
function shownTime(content: Content, version: string, attributes: Attributes): bigint {
  return attributes.mtime?.version === version ? attributes.mtime.ns : content.mtimeNs
}

/** The values that a put on this register would overwrite. */
export function opsOf(values: readonly Value<unknown>[]): string[] {
  return values.map((value) => value.op)
}
