/** Versions of a file: what its register holds, and what has left it (`history` rows). */
import type { InodeId } from '../types.ts'
import { isInodeAlive } from './contest.ts'
import { copyNameOf, versionView } from './conflicts.ts'
import { contentWinner } from './contents.ts'
import type { Place } from './draft.ts'
import { conflictCopyId, inodeKind } from './ids.ts'
import type { VersionView } from './interface.ts'
import { TABLE, type Layer } from './layer.ts'
import { versionOf, type InodeRow } from './records.ts'
import { readVersion } from './retention.ts'
import type { LayerReader } from './tree-reader.ts'

/** Inodes that have or had a name: shown ones, hidden ones, and those that left it. */
function inodesAt(layer: Layer, reader: LayerReader, place: Place): Set<InodeId> {
  const inodes = new Set<InodeId>()
  const add = (record: InodeId): void => {
    const id = (layer.inode(record)?.target || record) as InodeId
    if (inodeKind(id) !== 'directory' && inodeKind(id) !== 'link') inodes.add(id)
  }
  const slot = layer.slot(place.parent, place.name)
  for (const claim of slot?.claims ?? []) add(claim)
  const extra = slot && reader.extraAt(place.parent, slot)
  if (extra) add(extra.inode)
  const key = TABLE.pastName + layer.slotKey(place.parent, place.name).slice(1)
  for (const row of layer.rawRange(key, { countMax: Infinity })) {
    const name = Buffer.from(row.value).toString('latin1')
    if (name === place.name) add(row.key.slice(key.length) as InodeId)
  }
  return inodes
}

/** Whether what a deleted file held last is needed no more, and may be gone. */
export type IsOver = (row: InodeRow) => boolean

/** Versions of an inode: those it holds, and those that left it. */
export function versionsOf(layer: Layer, inode: InodeId, isOver: IsOver): VersionView[] {
  const row = layer.inode(inode)
  const found = new Map<string, VersionView>()
  const shown = row && isInodeAlive(layer, inode) ? contentWinner(row) : undefined
  for (const value of row && !isOver(row) ? row.C : []) {
    const version = versionOf(value)
    const isCopy = copyNameOf(layer, row as InodeRow, conflictCopyId(inode, version)) !== undefined
    const isCurrent = shown !== undefined && versionOf(shown) === version
    const state = isCurrent ? 'current' : isCopy ? 'copy' : 'past'
    found.set(version, versionView(layer, inode, value, state))
  }
  const prefix = TABLE.history + inode
  for (const { key, value } of layer.rawRange(prefix, { countMax: Infinity })) {
    const version = key.slice(prefix.length)
    if (!found.has(version))
      found.set(version, versionView(layer, inode, readVersion(inode, value), 'past'))
  }
  return [...found.values()]
}

/** Versions that this name or inode has had, newest first. */
export function historyOf(
  layer: Layer,
  reader: LayerReader,
  what: Place | { readonly inode: InodeId },
  isOver: IsOver,
): VersionView[] {
  const inodes = 'inode' in what ? [what.inode] : inodesAt(layer, reader, what)
  const versions: VersionView[] = []
  for (const inode of inodes) versions.push(...versionsOf(layer, inode, isOver))
  return versions.sort((a, b) => b.content.hlc - a.content.hlc || (a.version < b.version ? -1 : 1))
}
