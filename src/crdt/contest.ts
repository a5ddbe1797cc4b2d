/**
 * Who is shown in a slot that more than one record or content claims. Rules 5 to 7 of README.md.
 */
import type { FileName, InodeId } from '../types.ts'
import { parseOp } from './change.ts'
import { contentLosers, contentWinner } from './contents.ts'
import { conflictCopyId, inodeKind } from './ids.ts'
import type { Content } from './interface.ts'
import type { Layer } from './layer.ts'
import { compareRanks, location, rankOf } from './placement.ts'
import {
  versionOf,
  type CopyOf,
  type Extra,
  type Hidden,
  type InodeRow,
  type Slot,
} from './records.ts'
import { defaultContent, isSameContent } from './registers.ts'
import type { ConflictStrategy } from './strategy.ts'

/** The outcome for one slot. Extras have no names yet. */
export interface Decision {
  readonly primary: InodeId | ''
  readonly extras: readonly Extra[]
  readonly hidden: readonly Hidden[]
  /** Every losing version that this slot is the place of, shown or not. */
  readonly copies: ReadonlyMap<InodeId, Omit<CopyOf, 'parent' | 'name'>>
}

/** A file, symlink or special file that claims the slot. */
interface Claimant {
  readonly record: InodeRow
  readonly inode: InodeRow
  readonly content: Content
}

/** The name of the device whose operation this is; conflict names show it. */
export function deviceNameOf(layer: Layer, op: string): string {
  if (op.startsWith('#')) return layer.ownDeviceName
  return layer.actorInfo(parseOp(op).actor)?.deviceName ?? 'unknown'
}

function claimants(layer: Layer, slot: Slot): Claimant[] {
  const found: Claimant[] = []
  for (const id of slot.claims) {
    if (inodeKind(id) === 'directory') continue
    const record = layer.inode(id) as InodeRow
    const inode = record.target === '' ? record : (layer.inode(record.target) ?? record)
    const kind = inodeKind(inode.id)
    const content =
      contentWinner(inode)?.data ??
      defaultContent(kind === 'link' ? 'file' : kind, location(record).value.data.hlc)
    found.push({ record, inode, content })
  }
  return found.sort((a, b) => compareRanks(rankOf(a.record), rankOf(b.record)))
}

/** The name of an inode that shows its conflict copies: the live one of least rank. */
export function firstName(layer: Layer, inode: InodeRow): InodeRow | undefined {
  let first: InodeRow | undefined
  for (const id of [inode.id, ...inode.links]) {
    const record = layer.inode(id)
    if (!record?.isAlive) continue
    if (!first || compareRanks(rankOf(record), rankOf(first)) < 0) first = record
  }
  return first
}

/** Whether some name of the inode lives. */
export function isInodeAlive(layer: Layer, id: InodeId): boolean {
  const row = layer.inode(id)
  if (!row) return false
  return row.isAlive || row.links.some((link) => layer.inode(link)?.isAlive)
}

/** Decides a slot. */
export function decideSlot(layer: Layer, slot: Slot, strategyOf: () => ConflictStrategy): Decision {
  const strategy = strategyOf()
  const hasDirectory = slot.primary !== '' && inodeKind(slot.primary) === 'directory'
  const files = claimants(layer, slot)
  if (strategy === 'last-writer-wins') files.reverse()
  const shown: { claim: InodeId; content: Content }[] = []
  const extras: Extra[] = []
  const hidden: Hidden[] = []
  for (const file of files) {
    const claim = file.record.id
    const twin = shown.find((other) => isSameContent(other.content, file.content))
    const beaten = strategy === 'last-writer-wins' ? shown[0] : undefined
    const into = twin ?? beaten
    if (into) {
      hidden.push({ claim, into: into.claim, isTwin: twin !== undefined })
      continue
    }
    if (hasDirectory || shown.length > 0) extras.push(nameExtra(layer, file))
    shown.push({ claim, content: file.content })
  }
  const copies = new Map<InodeId, Omit<CopyOf, 'parent' | 'name'>>()
  for (const { inode, record } of files) {
    const losers = contentLosers(inode)
    if (losers.length === 0 || firstName(layer, inode)?.id !== record.id) continue
    for (const value of losers) {
      const version = versionOf(value)
      const id = conflictCopyId(inode.id, version)
      copies.set(id, { inode: inode.id, version })
      if (strategy === 'last-writer-wins' || isInodeAlive(layer, id)) continue
      if (shown.some((other) => isSameContent(other.content, value.data))) continue
      shown.push({ claim: id, content: value.data })
      const deviceName = deviceNameOf(layer, value.op)
      const stamp = { hlc: value.data.hlc, deviceName, names: [] as FileName[] }
      extras.push({ claim: id, node: id, reason: 'content', inode: inode.id, version, ...stamp })
    }
  }
  const primary = hasDirectory ? slot.primary : (files[0]?.record.id ?? '')
  return { primary, extras, hidden, copies }
}

function nameExtra(layer: Layer, file: Claimant): Extra {
  const { value } = location(file.record)
  return {
    claim: file.record.id,
    node: file.inode.id,
    reason: 'name',
    inode: file.inode.id,
    version: '',
    hlc: value.data.hlc,
    deviceName: deviceNameOf(layer, value.op),
    names: [],
  }
}
