/**
 * Nodes: what the kernel knows by node id, each a version line of one inode.
 *
 * Normally an inode has one node, which shows what the tree shows (`current`). A node is detached
 * when the tree moves on under an open file (a remote version, an unlink, a rename over it): it
 * keeps the view it had, and a later lookup of the name makes a new node with the same `st_ino`.
 * (Two versions on one node would mix in the kernel's page cache: README.md, "Open files".)
 */
import { strict as assert } from 'node:assert'
import type { ContentRef, Edit, NodeView, OpRef } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { WormholeError } from '../errors.ts'
import type { FileName, InodeId } from '../types.ts'
import { attrOf, sizeOf, type Owner } from './attr.ts'
import type { Attr, EntryReply } from './interface.ts'
import { opsAfter, type OpenFile } from './open-file.ts'

/** The node id of the root directory, as the kernel wants it. */
export const ROOT_NODE_ID = 1

/** A name under which the kernel looked a node up. */
export interface NodePlace {
  readonly parent: Node
  readonly name: FileName
}

/** One node id. */
export class Node {
  readonly id: number
  readonly ino: number
  readonly kind: NodeView['kind']
  /** Changes only when a save-by-rename gives an open file to the inode it replaces. */
  inode: InodeId
  /** References the kernel holds. */
  lookups = 0
  /** Open directory handles. Files count theirs in `file`. */
  directoryHandles = 0
  /** Set while a file is open or has bytes that the tree does not have. */
  file: OpenFile | undefined
  /** What a detached node shows. */
  detached: NodeView | undefined
  /** Register values that the bytes of a detached node stand for. */
  detachedOps: readonly OpRef[] = []
  /** No name is left here: nothing written to it is published. */
  isUnlinked = false
  /** It has had no name yet (`O_TMPFILE`), and may get one. */
  isTemporary = false
  /** It has a `security.capability`, which goes with the first write. */
  hasCapability = false
  /** The kernel's pages are of an older version: the next open drops them. */
  isStale = false
  /** Version whose bytes the kernel may have cached. */
  version = ''
  /** Last local change of anything, ns since 1970; 0 when none is remembered. */
  ctimeNs = 0n
  /** The time of last access as a program has set it. */
  atimeNs: bigint | undefined
  /** Monotonic time of creation through this node table; for save-by-rename. */
  createdMs = -Infinity
  /** Names under which the kernel knows this node; almost always one. */
  readonly places: NodePlace[] = []
  /** The name it was last known by. */
  lastPlace: NodePlace | undefined
  /**
   * Of a directory: what the kernel believes its names to be, as far as it has positive entries.
   */
  children: Map<FileName, Node> | undefined
  /** Attributes to answer with; undefined when they must be computed. */
  attr: Attr | undefined
  /** Attributes the kernel was last given. */
  told: Attr | undefined
  /** Of an open file: the view before the tree changed. */
  lastView: NodeView | undefined

  constructor(options: { id: number; ino: number; inode: InodeId; kind: NodeView['kind'] }) {
    this.id = options.id
    this.ino = options.ino
    this.inode = options.inode
    this.kind = options.kind
  }
}

const DIGITS = new Uint8Array(128)
for (const [value, digit] of [
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_',
].entries()) {
  DIGITS[digit.charCodeAt(0)] = value
}

/** Numbers below this are kept free, so that no file looks like the root. */
const INO_MIN = 1024

/** The preferred `st_ino`: the last 53 bits of the id, which are random. */
export function inoOf(inode: InodeId): number {
  let value = (DIGITS[inode.charCodeAt(7)] as number) & 31
  for (let index = 8; index < 16; index++) {
    value = value * 64 + (DIGITS[inode.charCodeAt(index)] as number)
  }
  return value < INO_MIN ? value + INO_MIN : value
}

/** Contents up to this have no manifest, and so no holes. */
const SMALL_BYTES = 64 * 1024
/** Of files that nobody changes here, smaller ones are not asked for their holes at each `stat`. */
const LARGE_BYTES = 16 * 1024 * 1024
/** Contents whose holes are remembered. */
const HOLES_COUNT_MAX = 10_000

/** Bytes of a content that lie in holes; undefined where that would cost too much. */
export type HolesOf = (content: {
  readonly ref: ContentRef
  readonly sizeBytes: number
}) => number | undefined

/** All nodes the kernel, a handle or an unpublished file refers to. */
export class NodeTable {
  readonly #overlay: Overlay
  readonly #byId = new Map<number, Node>()
  readonly #current = new Map<InodeId, Node>()
  /** Who has an `st_ino`; a second inode with the same bits gets the next free number. */
  readonly #inoOwner = new Map<number, InodeId>()
  readonly #holesOf: HolesOf
  /** By address of the manifest. */
  readonly #holes = new Map<string, number>()
  #nextId = ROOT_NODE_ID + 1
  #owner: Owner | undefined

  constructor(overlay: Overlay, holesOf: HolesOf) {
    this.#overlay = overlay
    this.#holesOf = holesOf
    const root = new Node({ id: ROOT_NODE_ID, ino: 1, inode: overlay.root, kind: 'directory' })
    root.lookups = 1
    this.#byId.set(root.id, root)
    this.#current.set(root.inode, root)
    this.#inoOwner.set(root.ino, root.inode)
  }

  get size(): number {
    return this.#byId.size
  }

  /** @throws {WormholeError} `NOT_FOUND` for an id the kernel cannot have. */
  get(nodeId: number): Node {
    const node = this.#byId.get(nodeId)
    if (!node) throw new WormholeError('NOT_FOUND', `no node ${nodeId}`)
    return node
  }

  /** The node that shows what the tree shows of this inode, if there is one. */
  current(inode: InodeId): Node | undefined {
    return this.#current.get(inode)
  }

  /** The current node of an inode, made if there is none. Unreferenced until `refer`. */
  obtain(inode: InodeId, kind: NodeView['kind']): Node {
    const known = this.#current.get(inode)
    if (known) return known
    const node = this.#make(inode, kind)
    this.#current.set(inode, node)
    return node
  }

  /** A further node of an inode, detached from the start (recovered old versions). */
  obtainDetached(view: NodeView): Node {
    const node = this.#make(view.id, view.kind)
    node.detached = view
    return node
  }

  #make(inode: InodeId, kind: NodeView['kind']): Node {
    const node = new Node({ id: this.#nextId++, ino: this.ino(inode), inode, kind })
    this.#byId.set(node.id, node)
    this.#inoOwner.set(node.ino, inode)
    return node
  }

  /** The `st_ino` that this inode has, or would get. */
  ino(inode: InodeId): number {
    const current = this.#current.get(inode)
    if (current) return current.ino
    let ino = inoOf(inode)
    for (;;) {
      const owner = this.#inoOwner.get(ino)
      if (owner === undefined || owner === inode) return ino
      ino = ino === Number.MAX_SAFE_INTEGER ? INO_MIN : ino + 1
    }
  }

  /** Counts one more kernel reference and answers a lookup. */
  refer(node: Node): EntryReply {
    const attr = this.attr(node)
    node.lookups++
    return { nodeId: node.id, attr }
  }

  forget(nodeId: number, count: number): void {
    const node = this.#byId.get(nodeId)
    if (!node || nodeId === ROOT_NODE_ID) return
    node.lookups = Math.max(0, node.lookups - count)
    this.release(node)
  }

  all(): Node[] {
    return [...this.#byId.values()]
  }

  /** Contents that open files lie on, and those that only detached nodes show. */
  *contents(): Generator<ContentRef> {
    for (const { file, detached } of this.#byId.values()) {
      if (file) yield file.base.ref
      if (detached?.content.kind === 'file') yield detached.content.ref
    }
  }

  /** Drops a node that nobody refers to any more. */
  release(node: Node): void {
    if (node.lookups > 0 || node.directoryHandles > 0 || node.file) return
    if (node.id === ROOT_NODE_ID || !this.#byId.delete(node.id)) return
    for (const { parent, name } of [...node.places]) this.removePlace(parent, name)
    for (const name of [...(node.children?.keys() ?? [])]) this.removePlace(node, name)
    const current = this.#current.get(node.inode)
    if (current === node) this.#current.delete(node.inode)
    if (!current || current === node) this.#inoOwner.delete(node.ino)
  }

  /** Who owns everything from now on; undefined: whom the tree says. */
  set owner(owner: Owner | undefined) {
    this.#owner = owner
    for (const node of this.#byId.values()) node.attr = undefined
  }

  get owner(): Owner | undefined {
    return this.#owner
  }

  /** What a node shows. @throws {WormholeError} `NOT_FOUND` when it is gone from the tree. */
  view(node: Node): NodeView {
    const view = node.detached ?? this.#overlay.node(node.inode)
    if (!view) throw new WormholeError('NOT_FOUND', `${node.inode} is gone`)
    return view
  }

  /** `stat` of a node; the object stays the same until something changes. */
  attr(node: Node): Attr {
    if (node.attr) return node.attr
    const view = this.view(node)
    if (!node.file) node.version = view.version
    else node.lastView = view
    const isAhead = node.file && (node.file.isDirty || node.file.version !== view.version)
    const state = isAhead ? node.file : undefined
    const { xattrs } = view.attributes
    node.hasCapability = xattrs.size > 0 && xattrs.has('security.capability')
    node.attr = node.told = attrOf(view, {
      ino: node.ino,
      ctimeNs: node.ctimeNs,
      atimeNs: node.atimeNs,
      allocatedBytes: this.#allocatedBytes(node, view, state),
      file: state,
      owner: this.#owner,
    })
    return node.attr
  }

  #allocatedBytes(node: Node, view: NodeView, file: OpenFile | undefined): number {
    if (file) return file.allocatedBytes(this.#holeBytes(node, file.base))
    const { content } = view
    const sizeBytes = sizeOf(view)
    return content.kind === 'file' ? sizeBytes - this.#holeBytes(node, content) : sizeBytes
  }

  #holeBytes(node: Node, content: Parameters<HolesOf>[0]): number {
    const { ref, sizeBytes } = content
    if (ref.type !== 'manifest' || sizeBytes <= SMALL_BYTES) return 0
    const known = this.#holes.get(ref.address)
    if (known !== undefined) return known
    if (!node.file && node.ctimeNs === 0n && sizeBytes < LARGE_BYTES) return 0
    const found = this.#holesOf(content)
    if (found === undefined) return 0
    if (this.#holes.size >= HOLES_COUNT_MAX) this.#holes.clear()
    this.#holes.set(ref.address, found)
    return found
  }

  /** The kernel now knows `node` by this name, and nothing else. */
  addPlace(parent: Node, name: FileName, node: Node): void {
    parent.children ??= new Map()
    const before = parent.children.get(name)
    if (before === node) return
    if (before) this.removePlace(parent, name)
    parent.children.set(name, node)
    node.lastPlace = { parent, name }
    node.places.push(node.lastPlace)
  }

  /** The kernel has no entry of this name any more. */
  removePlace(parent: Node, name: FileName): void {
    const node = parent.children?.get(name)
    if (!node) return
    parent.children?.delete(name)
    const index = node.places.findIndex((place) => place.parent === parent && place.name === name)
    node.places.splice(index, 1)
  }

  /** An own edit is in the tree: what open files lie on follows it. */
  follow(edit: Edit): void {
    for (const { inode, register } of edit.puts) {
      const file = register === 'C' ? this.#current.get(inode)?.file : undefined
      if (file) file.ops = opsAfter(edit, file)
    }
  }

  /** Notes a local change: `ctime` moves, attributes are computed anew. */
  touch(node: Node, nowNs: bigint): void {
    node.ctimeNs = nowNs
    node.attr = undefined
  }

  /** Lets a node keep `view` while the tree goes on without it. */
  detach(node: Node, view: NodeView): void {
    node.detached = view
    node.attr = undefined
    if (this.#current.get(node.inode) === node) this.#current.delete(node.inode)
  }

  /** Save-by-rename: the node and its handles now are another inode, whose own node is detached. It
   * keeps its `st_ino`: the kernel has that in its caches, and programs expect it of a rename. */
  rebind(node: Node, inode: InodeId): void {
    assert(!this.#current.has(inode), 'the old node of the inode must be detached first')
    if (this.#current.get(node.inode) === node) this.#current.delete(node.inode)
    node.inode = inode
    node.attr = undefined
    this.#inoOwner.set(node.ino, inode)
    this.#current.set(inode, node)
  }
}
