/** The parts that the operations of the file system share. One thread owns all of it. */
import type { ContentStore } from '../chunks/interface.ts'
import type { Edit, NodeView } from '../crdt/interface.ts'
import type { AttributeChanges, Overlay } from '../crdt/overlay.ts'
import type { Clock } from '../system.ts'
import type { FileJournal } from './file-journal.ts'
import type { FolderRules } from './folder-rules.ts'
import type { Holds } from './holds.ts'
import type { RequestContext, VfsOptions } from './interface.ts'
import type { Node, NodeTable } from './nodes.ts'
import type { PolicyFiles } from './policy-files.ts'
import type { Publisher } from './publisher.ts'
import type { Writeback } from './writeback.ts'

/** What every operation needs. */
export interface Core {
  readonly overlay: Overlay
  readonly contents: ContentStore
  readonly clock: Clock
  readonly nodes: NodeTable
  readonly files: FileJournal
  readonly publisher: Publisher
  readonly writeback: Writeback
  readonly policies: PolicyFiles
  readonly rules: FolderRules
  readonly holds: Holds
  readonly options: VfsOptions
}

/** Several edits on the present tree as one; undefined when there is nothing to do. */
export function combineEdits(core: Core, edits: readonly (Edit | undefined)[]): Edit | undefined {
  const present = edits.filter((edit) => edit !== undefined && edit.puts.length > 0) as Edit[]
  return present.length <= 1 ? present[0] : core.overlay.combine(present)
}

/** Whether the caller may keep a set-group-ID bit: root may, and who is in that group. */
export function isInGroup(context: RequestContext, gid: number): boolean {
  if (context.uid === 0 || context.gid === gid) return true
  return context.groups?.().includes(gid) ?? false
}

/** Changes attributes in the tree; of a node that has left it, only here. */
export function changeAttributes(core: Core, node: Node, changes: AttributeChanges): void {
  const { nodes, overlay, publisher, clock } = core
  if (!node.isUnlinked) {
    const edit = overlay.setAttributes(node.inode, changes)
    if (edit.puts.length > 0) publisher.commit(edit)
  }
  if (node.detached) nodes.detach(node, withChanges(node.detached, changes))
  nodes.touch(node, clock.nowNs())
}

function withChanges(view: NodeView, changes: AttributeChanges): NodeView {
  const { mode, uid, gid, xattrs } = { ...view.attributes, ...changes }
  return {
    ...view,
    attributes: { ...view.attributes, mode, uid, gid, xattrs },
    mtimeNs: changes.mtimeNs ?? view.mtimeNs,
  }
}

/** The program that acts on behalf of the command line. */
export const LOCAL_CONTEXT: RequestContext = {
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  pid: process.pid,
  umask: 0,
  signal: () => new AbortController().signal,
}
