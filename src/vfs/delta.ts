/**
 * What the kernel and the open files learn when the tree has moved on: after a group was committed,
 * own or remote, and after a publication that ended in a conflict.
 *
 * A file that is open here keeps its version on its node, and its names are invalidated, so that
 * the next lookup makes a new node (README.md, "Open files"). Everything else shows the new state
 * under the same node. What did not change in the eyes of the kernel is not notified.
 */
import type { NodeView, TreeDelta, VersionId } from '../crdt/interface.ts'
import type { FileName, InodeId } from '../types.ts'
import type { Core } from './core.ts'
import type { Files } from './files.ts'
import type { Attr, KernelNotifier } from './interface.ts'
import type { Names } from './names.ts'
import type { Node } from './nodes.ts'
import type { OpenFile } from './open-file.ts'

/** What the kernel forgets by itself when it writes, and asks for again. */
const CHANGING_FIELDS = ['sizeBytes', 'mtimeS', 'mtimeNs', 'ctimeS', 'ctimeNs'] as const
const LASTING_FIELDS = ['ino', 'mode', 'nlink', 'uid', 'gid', 'rdev'] as const

function isSame(a: Attr, b: Attr, fields: readonly (keyof Attr)[]): boolean {
  return fields.every((field) => a[field] === b[field])
}

/** Keeps nodes and kernel caches true to the tree. */
export class Reconciler {
  readonly #core: Core
  readonly #files: Files
  readonly #names: Names
  notifier: KernelNotifier | undefined

  constructor(core: Core, files: Files, names: Names) {
    this.#core = core
    this.#files = files
    this.#names = names
  }

  /** The overlay has been re-read: tells whoever must know. */
  apply(delta: TreeDelta): void {
    if (delta.isAnew) this.#forgetAll()
    for (const { id, version } of delta.nodes) this.inode(id, version)
    for (const { parent, name, id } of delta.dirents) this.#name(parent, name, id)
  }

  /** Nothing that the kernel believes is sure: it looks up every name again. */
  #forgetAll(): void {
    for (const node of this.#core.nodes.all()) {
      this.#invalidateNames(node)
      node.attr = undefined
    }
  }

  /**
   * Compares what a node shows with the tree. `version`: nothing is new but that; most are of files
   * written here, and need no look at the tree.
   */
  inode(id: InodeId, version?: VersionId): void {
    const node = this.#core.nodes.current(id)
    if (!node || (version !== undefined && version === (node.file ?? node).version)) return
    const view = this.#core.overlay.node(id)
    if (!view) this.#vanished(node)
    else if (node.file && node.file.version !== view.version) this.#moved(node, node.file, view)
    else this.#refresh(node, view)
  }

  /** The tree has no such inode any more: removed by another device. */
  #vanished(node: Node): void {
    const file = node.file
    this.#invalidateNames(node)
    const shown = file && this.#ownView(node, file, node.lastView)
    if (!shown) {
      // The id may come again, as that of a conflict copy does: nothing of now is true then.
      node.attr = undefined
      node.isStale = true
      return this.#core.nodes.release(node)
    }
    if (file.isDirty && !file.isDropped) {
      // Unpublished bytes outlive the removal: their publication brings the name back.
      this.#core.nodes.detach(node, shown)
      return
    }
    this.#names.abandon(node, shown)
    this.#core.writeback.dropped(file)
  }

  /** Another version than that of the open file is the tree's: the node keeps its own. */
  #moved(node: Node, file: OpenFile, view: NodeView): void {
    if (file.handles === 0 && !file.isDirty) {
      this.#files.releaseFile(node)
      this.#refresh(node, view)
      return
    }
    const shown = this.#ownView(node, file, node.lastView ?? view)
    if (!shown) return
    this.#core.nodes.detach(node, shown)
    this.#invalidateNames(node)
  }

  /** The view of the version that an open file is based on. */
  #ownView(node: Node, file: OpenFile, like: NodeView | undefined): NodeView | undefined {
    if (!like || like.content.kind !== 'file') return undefined
    const { ref, sizeBytes } = file.base
    return {
      ...like,
      id: node.inode,
      content: { ...like.content, ref, sizeBytes },
      version: file.version,
      mtimeNs: file.mtimeNs,
    }
  }

  /** After a publication: the node shows what was published, in the tree or beside it. */
  settled(file: OpenFile): void {
    const { nodes, overlay } = this.#core
    const node = nodes.get(file.nodeId)
    node.attr = undefined
    if (node.inode !== file.inode && !nodes.current(file.inode)) {
      node.detached = undefined
      nodes.rebind(node, file.inode)
    }
    const isShown = !node.isUnlinked && overlay.node(file.inode)?.version === file.version
    if (node.detached && !node.isUnlinked) {
      node.detached = this.#ownView(node, file, node.detached) ?? node.detached
      this.inode(file.inode)
    } else if (!node.isUnlinked && !isShown) {
      this.inode(file.inode)
    }
    this.#files.releaseFile(node)
    // Who has written often looks next: what the tree says of it is at hand now, not read. (Of
    // lists of chunks, not even that is asked.)
    const isSmall = file.base.ref.type !== 'manifest'
    if (isShown && isSmall && !node.file && !node.detached && node.lookups > 0) nodes.attr(node)
  }

  #refresh(node: Node, view: NodeView): void {
    const { nodes } = this.#core
    const { told, version } = node
    const wasKnown = node.attr !== undefined
    node.attr = undefined
    const attr = nodes.attr(node)
    const isDirectory = node.kind === 'directory'
    const hasContent = !isDirectory && !node.file && version !== '' && version !== view.version
    if (!told) return
    const isSameStill =
      isSame(told, attr, LASTING_FIELDS) && (!wasKnown || isSame(told, attr, CHANGING_FIELDS))
    if (isSameStill && !hasContent) return
    node.ctimeNs = 0n
    node.atimeNs = undefined
    node.attr = undefined
    nodes.attr(node)
    if (hasContent) {
      node.isStale = true
      this.notifier?.invalidateInode(node.id)
    } else {
      this.#invalidateAttributes(node)
    }
  }

  #invalidateAttributes(node: Node): void {
    if (this.notifier?.invalidateAttributes) this.notifier.invalidateAttributes(node.id)
    else this.notifier?.invalidateInode(node.id)
  }

  #invalidateNames(node: Node): void {
    for (const { parent, name } of [...node.places]) this.invalidateEntry(parent, name)
  }

  /** The kernel's entry of this name is not true any more. */
  invalidateEntry(parent: Node, name: FileName): void {
    this.#core.nodes.removePlace(parent, name)
    this.notifier?.invalidateEntry(parent.id, name)
  }

  /** A name appeared, vanished or points elsewhere; the kernel hears of it unless it knows. */
  #name(parentId: InodeId, name: FileName, id: InodeId | undefined): void {
    const { nodes, overlay } = this.#core
    const parent = nodes.current(parentId)
    if (!parent) return
    const believed = parent.children?.get(name)
    if (believed && id !== undefined && nodes.current(id) === believed) return
    const found = overlay.lookup(parentId, name)
    if (!found && !believed) return
    if (found && believed && nodes.current(found.id) === believed) return
    this.invalidateEntry(parent, name)
  }
}
