/** Listing conflicts: from the table of contested slots, never by walking the volume. */
import type { DeviceId, FileName, InodeId } from '../types.ts'
import { parseOp } from './change.ts'
import { contentWinner, nodeKind } from './contents.ts'
import { deviceNameOf } from './contest.ts'
import { inodeKind } from './ids.ts'
import type { Content, ConflictView, VersionView } from './interface.ts'
import { splitSlotKey, TABLE, type Layer } from './layer.ts'
import { location } from './placement.ts'
import { versionOf, type InodeRow, type Slot, type Value } from './records.ts'
import { defaultContent, encodeRegister, versionId } from './registers.ts'
import { extraName, type LayerReader } from './tree-reader.ts'
import { displacedDirectories } from './view.ts'

/** A version as people see it. */
export function versionView(
  layer: Layer,
  inode: InodeId,
  value: Pick<Value<Content>, 'op' | 'data' | 'bytes'>,
  state: VersionView['state'],
): VersionView {
  return {
    inode,
    version: versionOf(value as Value<Content>),
    content: value.data,
    device: deviceOf(layer, value.op),
    deviceName: deviceNameOf(layer, value.op),
    state,
  }
}

function deviceOf(layer: Layer, op: string): DeviceId | undefined {
  return op.startsWith('#') ? undefined : layer.actorInfo(parseOp(op).actor)?.device
}

/** The version that a live inode shows; a made-up one where `C` was never written. */
export function shownVersion(layer: Layer, row: InodeRow): VersionView {
  const value = contentWinner(row)
  if (value) return versionView(layer, row.id, value, 'current')
  const hlc = row.L.length > 0 ? location(row).value.data.hlc : 0
  const content = defaultContent(nodeKind(row), hlc as Content['hlc'])
  return {
    inode: row.id,
    version: versionId(encodeRegister('C', content)),
    content,
    device: undefined,
    deviceName: 'unknown',
    state: 'current',
  }
}

function slotConflict(layer: Layer, parent: InodeId, slot: Slot): ConflictView | undefined {
  if (slot.extras.length === 0 || slot.primary === '') return undefined
  const record = layer.inode(slot.primary) as InodeRow
  const inode = layer.inode((record.target || record.id) as InodeId) as InodeRow
  const versions: ConflictView['versions'][number][] = [
    { ...shownVersion(layer, inode), shownAs: slot.name },
  ]
  for (const extra of slot.extras) {
    const row = layer.inode(extra.inode) as InodeRow
    const value = row.C.find((other) => versionOf(other) === extra.version)
    const version = value ? versionView(layer, row.id, value, 'copy') : shownVersion(layer, row)
    versions.push({ ...version, shownAs: extraName(extra) })
  }
  const kind = slot.extras.every(({ reason }) => reason === 'content') ? 'content' : 'name'
  return { parent, name: slot.name, kind, versions }
}

/** Directories that stand elsewhere than they were moved to, because of a cycle. */
function cycleConflicts(layer: Layer, reader: LayerReader): ConflictView[] {
  const found: ConflictView[] = []
  for (const id of displacedDirectories(layer)) {
    const node = reader.node(id)
    if (!node || inodeKind(id) !== 'directory') continue
    const version = { ...shownVersion(layer, layer.inode(id) as InodeRow), shownAs: node.name }
    found.push({ parent: node.parent, name: node.name, kind: 'cycle', versions: [version] })
  }
  return found
}

/** A page of conflicts; broken cycles come with the first page. */
export function listConflicts(
  layer: Layer,
  reader: LayerReader,
  options: { readonly after?: string; readonly countMax: number },
): { conflicts: ConflictView[]; next: string | undefined } {
  const { after, countMax } = options
  const conflicts = after === undefined ? cycleConflicts(layer, reader) : []
  const rows = layer.rawRange(TABLE.contested, {
    countMax,
    ...(after === undefined ? {} : { after: TABLE.contested + after }),
  })
  for (const { key } of rows) {
    const slotKey = TABLE.slot + key.slice(1)
    for (const slot of layer.slotsAt(slotKey)) {
      const view = slotConflict(layer, splitSlotKey(slotKey).parent, slot)
      if (view) conflicts.push(view)
    }
  }
  return { conflicts, next: rows.length < countMax ? undefined : rows.at(-1)?.key.slice(1) }
}

/** The name that a conflict copy of this version is shown under; undefined when it is not shown. */
export function copyNameOf(layer: Layer, row: InodeRow, copy: InodeId): FileName | undefined {
  const place = layer.inode(copy)?.copyOf
  if (!place || place.inode !== row.id) return undefined
  const extra = layer.slot(place.parent, place.name)?.extras.find(({ claim }) => claim === copy)
  return extra && extraName(extra)
}
