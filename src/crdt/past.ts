/**
 * What a directory held at a time in the past, as far as tombstones and the history tell, and
 * bringing it back.
 *
 * A tombstone keeps the place it was deleted from and its stamp, so what was deleted since is
 * known; where something was before it was renamed is not. So a rename is never undone: what lives
 * elsewhere stays there.
 */
import type { FileName, Hlc, InodeId } from '../types.ts'
import { isInodeAlive } from './contest.ts'
import { contentWinner, nodeKind } from './contents.ts'
import type { Draft, Place } from './draft.ts'
import { versionsOf, type IsOver } from './history.ts'
import { inodeKind } from './ids.ts'
import type { Content, NodeView, VersionView } from './interface.ts'
import { TABLE, type Layer } from './layer.ts'
import { hasLiveLocation, locationWinner } from './placement.ts'
import type { InodeRow } from './records.ts'
import { isSameContent } from './registers.ts'

/** A name that was deleted from a directory. */
export interface DeletedName {
  readonly name: FileName
  /** The dirent record, which `undelete` takes. */
  readonly record: InodeId
  readonly inode: InodeId
  readonly kind: NodeView['kind']
  readonly deletedAt: Hlc
  /** The inode still has a name somewhere else. */
  readonly isAlive: boolean
}

/** The names that have been deleted from a directory, living or deleted itself, by name. */
export function deletedNames(layer: Layer, directory: InodeId): DeletedName[] {
  const found: DeletedName[] = []
  for (const member of [directory, ...(layer.inode(directory)?.merged ?? [])]) {
    const prefix = TABLE.pastName + member
    for (const { key, value } of layer.rawRange(prefix, { countMax: Infinity })) {
      const name = Buffer.from(value).toString('latin1') as FileName
      const entry = deletedName(layer, { parent: member, name }, key)
      if (entry) found.push(entry)
    }
  }
  return found.sort((a, b) =>
    a.name === b.name ? b.deletedAt - a.deletedAt : a.name < b.name ? -1 : 1,
  )
}

function deletedName(layer: Layer, place: Place, key: string): DeletedName | undefined {
  const record = key.slice(-place.parent.length) as InodeId
  const row = layer.inode(record)
  const value = row && locationWinner(row)
  if (!row || !value?.data.isDeleted || hasLiveLocation(row)) return undefined
  // It may have been renamed before it was deleted, or live for a version nobody has seen.
  if (value.data.parent !== place.parent || value.data.name !== place.name || row.isAlive)
    return undefined
  const inode = layer.inode((row.target || record) as InodeId)
  if (!inode) return undefined
  return {
    name: place.name,
    record,
    inode: inode.id,
    kind: nodeKind(inode),
    deletedAt: value.data.hlc,
    isAlive: inodeKind(inode.id) !== 'directory' && isInodeAlive(layer, inode.id),
  }
}

/** How a record stands now: an inode, or one more name of one. */
export interface RecordView {
  readonly isAlive: boolean
  /** Where it is, or was last. */
  readonly place: Place
  /** Greatest stamp of a value in its registers; 0 without one. */
  readonly stamps: { readonly L: Hlc; readonly C: Hlc; readonly A: Hlc }
  /** Its location was put anew where it had been before: brought back, renamed back, or settled. */
  readonly isBack: boolean
}

/** How a record stands; undefined when nothing here speaks of it, or it has no place. */
export function recordView(layer: Layer, record: InodeId): RecordView | undefined {
  const row = layer.inode(record)
  const last = row && locationWinner(row)?.data
  if (!row || !last) return undefined
  const { isAlive } = row
  const place = isAlive
    ? { parent: row.slotParent as InodeId, name: row.slotName as FileName }
    : { parent: last.parent, name: last.name }
  const key = TABLE.pastName + layer.slotKey(last.parent, last.name).slice(1) + record
  const stamps = { L: newest(row.L), C: newest(row.C), A: newest(row.A) }
  return { isAlive, place, stamps, isBack: isAlive && layer.raw(key) !== undefined }
}

function newest(values: readonly { readonly data: { readonly hlc: Hlc } }[]): Hlc {
  let hlc = 0 as Hlc
  for (const { data } of values) if (data.hlc > hlc) hlc = data.hlc
  return hlc
}

/** The version that a file had at a time: the newest that is no younger. */
export function versionAt(
  layer: Layer,
  inode: InodeId,
  at: Hlc,
  isOver: IsOver,
): VersionView | undefined {
  let best: VersionView | undefined
  for (const version of versionsOf(layer, inode, isOver)) {
    const { hlc } = version.content
    if (hlc <= at && (best === undefined || hlc > best.content.hlc)) best = version
  }
  return best
}

/**
 * Puts a deleted record back at a place whose name is free, with its attributes. `content` replaces
 * what it held last.
 */
export function undelete(
  draft: Draft,
  layer: Layer,
  what: { readonly record: InodeId; readonly to: Place; readonly content?: Content },
): void {
  const { record, to, content } = what
  const row = layer.inode(record) as InodeRow
  const { hlc } = draft
  const target = row.target === '' ? {} : { target: row.target }
  draft.put(record, 'L', { ...to, isDeleted: false, seen: [], ...target, hlc })
  const inode = layer.inode((row.target || record) as InodeId) as InodeRow
  const last = contentWinner(inode)?.data
  if (content && last && !isSameContent(content, last)) {
    draft.materialiseLosers(inode)
    const base = content.kind === 'file' ? { baseHlc: last.hlc } : {}
    draft.put(inode.id, 'C', { ...content, ...base, hlc })
  }
  draft.touch(to.parent)
}
