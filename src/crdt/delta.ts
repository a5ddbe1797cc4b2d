/** What an uncommitted layer changes for readers, compared with what is committed. */
import type { FileName, InodeId } from '../types.ts'
import { conflictCopyId, inodeKind } from './ids.ts'
import type { ChangedNode, TreeDelta } from './interface.ts'
import { splitSlotKey, type Layer } from './layer.ts'
import { emptyInodeRow, versionOf, type InodeRow, type Slot } from './records.ts'
import { visibleIn, type SlotRows } from './tree-reader.ts'

/**
 * Inodes and names that differ. New inodes are not listed: nobody can have cached them. (The id of
 * a conflict copy goes and comes again; who has cached it hears when it goes.) `isAnew`: the tree
 * is made a second time, and they are listed, too.
 */
export function deltaOf(layer: Layer, isAnew = false): Pick<TreeDelta, 'nodes' | 'dirents'> {
  return { nodes: changedNodes(layer, isAnew), dirents: changedNames(layer) }
}

function changedNodes(layer: Layer, isAnew: boolean): ChangedNode[] {
  const nodes = new Map<InodeId, ChangedNode>()
  const add = (node: ChangedNode): void => {
    const other = nodes.get(node.id)
    // What differs in two ways is looked at as a whole.
    const hasContent = node.hasContent || other?.hasContent === true
    nodes.set(node.id, other ? { id: node.id, hasContent } : node)
  }
  for (const row of layer.editedInodes()) {
    const before = layer.committedInode(row.id) ?? (isAnew ? emptyInodeRow(row.id) : undefined)
    if (!before) continue
    const id = inodeKind(row.id) === 'link' ? row.target || before.target : row.id
    if (id === '' || !hasChanged(before, row)) continue
    const hasContent = before.C !== row.C && inodeKind(id) !== 'directory'
    add({ id, hasContent, ...(hasContent && id === row.id ? contentOf(before, row) : {}) })
    if (row.canonical !== '') add({ id: row.canonical, hasContent: false })
    if (before.A !== row.A) for (const copy of copiesOf(row)) add({ id: copy, hasContent: false })
  }
  return [...nodes.values()]
}

/** What can be told of a content without a look at the rest of the tree. */
function contentOf(before: InodeRow, row: InodeRow): Partial<ChangedNode> {
  const [only] = row.C
  const isAlone = row.C.length === 1 && only !== undefined && !hasOtherChange(before, row)
  return {
    ...(isAlone ? { version: versionOf(only) } : {}),
    ...(row.links.length === 0 && row.slotName !== '' ? { name: row.slotName } : {}),
  }
}

/** The ids of losing versions, which show the attributes of their inode. */
function copiesOf({ id, C }: InodeRow): InodeId[] {
  return C.length < 2 ? [] : C.map((value) => conflictCopyId(id, versionOf(value)))
}

function hasChanged(before: InodeRow, row: InodeRow): boolean {
  return before.C !== row.C || hasOtherChange(before, row)
}

/** Whether more than the content differs. */
function hasOtherChange(before: InodeRow, row: InodeRow): boolean {
  return (
    before.A !== row.A ||
    before.isAlive !== row.isAlive ||
    (before.copyOf === undefined) !== (row.copyOf === undefined) ||
    before.links !== row.links ||
    before.slotParent !== row.slotParent ||
    before.subdirectories !== row.subdirectories ||
    before.merged !== row.merged ||
    before.canonical !== row.canonical
  )
}

function changedNames(layer: Layer): TreeDelta['dirents'][number][] {
  const committed: SlotRows = {
    inode: (id) => layer.committedInode(id),
    slot: (parent, name) =>
      layer.committedSlots(layer.slotKey(parent, name)).find((slot) => slot.name === name),
  }
  const dirents: TreeDelta['dirents'][number][] = []
  for (const key of layer.editedSlotKeys()) {
    const { parent } = splitSlotKey(key)
    const before = layer.committedSlots(key)
    const now = layer.slotsAt(key)
    const names = new Set([...before, ...now].map((slot) => slot.name))
    for (const name of names) {
      const old = find(before, name)
      const next = find(now, name)
      const oldId = old && visibleIn(committed, parent, old)?.id
      const nextId = next && visibleIn(layer, parent, next)?.id
      if (oldId === nextId) continue
      dirents.push(nextId === undefined ? { parent, name } : { parent, name, id: nextId })
    }
  }
  return dirents
}

function find(slots: readonly Slot[], name: FileName): Slot | undefined {
  return slots.find((slot) => slot.name === name)
}
