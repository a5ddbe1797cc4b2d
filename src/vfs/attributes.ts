/** Attributes and extended attributes. POSIX promises: README.md. */
import type { NodeView } from '../crdt/interface.ts'
import type { AttributeChanges } from '../crdt/overlay.ts'
import {
  TIME_NS_MAX,
  TIME_NS_MIN,
  XATTR_NAME_BYTES_MAX,
  XATTR_TOTAL_BYTES_MAX,
} from '../crdt/registers.ts'
import { WormholeError } from '../errors.ts'
import { S_IFMT, withoutSetId } from './attr.ts'
import { checkWritable, type Core } from './core.ts'
import type { Files } from './files.ts'
import type { Attr, AttrChanges, RequestContext } from './interface.ts'
import type { Node } from './nodes.ts'

/** Read only, never listed, so that `cp -a` does not copy them. */
const VIRTUAL_PREFIX = 'user.wormhole.'
const STORED_PREFIXES = ['user.', 'trusted.', 'security.']

/** The attribute operations. */
export class Attributes {
  readonly #core: Core
  readonly #files: Files

  constructor(core: Core, files: Files) {
    this.#core = core
    this.#files = files
  }

  setattr(context: RequestContext, node: Node, changes: AttrChanges): Attr {
    checkWritable(this.#core)
    const { nodes } = this.#core
    if (changes.sizeBytes !== undefined) {
      this.#files.truncate(context, node, changes.sizeBytes)
    }
    const wanted = this.#wanted(context, node, changes)
    const mtimeNs = changes.mtimeNs === undefined ? undefined : storableTime(changes.mtimeNs)
    if (mtimeNs !== undefined && node.file?.isDirty) {
      node.file.setMtime(mtimeNs)
      this.#core.files.appendState(node.file)
      nodes.touch(node, this.#core.clock.nowNs())
    } else if (mtimeNs !== undefined) {
      Object.assign(wanted, { mtimeNs })
    }
    if (Object.keys(wanted).length > 0) this.#change(node, wanted)
    return nodes.attr(node)
  }

  #wanted(context: RequestContext, node: Node, changes: AttrChanges): AttributeChanges {
    const { uid, gid } = changes
    const isOwned = uid !== undefined || gid !== undefined
    let mode = changes.mode === undefined ? undefined : changes.mode & ~S_IFMT
    if (mode === undefined && isOwned && context.clearsSetId && node.kind === 'file') {
      mode = withoutSetId(this.#core.nodes.view(node).attributes.mode)
    }
    return {
      ...(mode === undefined ? {} : { mode }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    }
  }

  /** Changes attributes in the tree; of a node that has left it, only here. */
  #change(node: Node, changes: AttributeChanges): void {
    const { nodes, overlay, publisher, clock } = this.#core
    if (!node.isUnlinked) {
      const edit = overlay.setAttributes(node.inode, changes)
      if (edit.puts.length > 0) publisher.commit(edit)
    }
    if (node.detached) nodes.detach(node, withChanges(node.detached, changes))
    nodes.touch(node, clock.nowNs())
  }

  getxattr(node: Node, name: string): Buffer | undefined {
    const view = this.#core.nodes.view(node)
    if (name.startsWith(VIRTUAL_PREFIX)) {
      const value = this.#virtual(node, view, name.slice(VIRTUAL_PREFIX.length))
      return value === undefined ? undefined : Buffer.from(value, 'utf8')
    }
    if (name.startsWith('system.')) throw unsupported(name)
    return view.attributes.xattrs.get(name)
  }

  #virtual(node: Node, view: NodeView, name: string): string | undefined {
    const { options } = this.#core
    if (name === 'id') return node.inode
    if (name === 'version') return node.file?.version ?? view.version
    if (name === 'device') return options.deviceOf?.(node.inode)
    if (name !== 'state') return undefined
    if (view.copyOf) return 'conflict'
    const content = view.content
    if (node.file?.isDirty || content.kind !== 'file') return 'local'
    return options.stateOf?.(content.ref) ?? 'local'
  }

  setxattr(node: Node, name: string, value: Buffer, mode: 'any' | 'create' | 'replace'): void {
    checkWritable(this.#core)
    checkXattrName(name)
    const before = this.#core.nodes.view(node).attributes.xattrs
    if (mode === 'create' && before.has(name)) {
      throw new WormholeError('ALREADY_EXISTS', `attribute ${name} exists`)
    }
    if (mode === 'replace' && !before.has(name)) throw noAttribute(name)
    const xattrs = new Map(before).set(name, Buffer.from(value))
    let totalBytes = 0
    for (const [key, bytes] of xattrs) totalBytes += key.length + bytes.length
    if (totalBytes > XATTR_TOTAL_BYTES_MAX) {
      throw new WormholeError('LIMIT_EXCEEDED', `extended attributes of ${totalBytes} bytes`)
    }
    this.#change(node, { xattrs })
  }

  listxattr(node: Node): string[] {
    return [...this.#core.nodes.view(node).attributes.xattrs.keys()]
  }

  removexattr(node: Node, name: string): void {
    checkWritable(this.#core)
    checkXattrName(name)
    const xattrs = new Map(this.#core.nodes.view(node).attributes.xattrs)
    if (!xattrs.delete(name)) throw noAttribute(name)
    this.#change(node, { xattrs })
  }
}

/** The nearest time that fits a register; Linux cuts times to what a file system holds, too. */
function storableTime(ns: bigint): bigint {
  if (ns < TIME_NS_MIN) return TIME_NS_MIN
  return ns > TIME_NS_MAX ? TIME_NS_MAX : ns
}

function withChanges(view: NodeView, changes: AttributeChanges): NodeView {
  const { mode, uid, gid, xattrs } = { ...view.attributes, ...changes }
  return {
    ...view,
    attributes: { ...view.attributes, mode, uid, gid, xattrs },
    mtimeNs: changes.mtimeNs ?? view.mtimeNs,
  }
}

function unsupported(name: string): WormholeError {
  return new WormholeError('UNSUPPORTED', `attributes like ${name} are not supported`)
}

function noAttribute(name: string): WormholeError {
  return new WormholeError('NO_ATTRIBUTE', `no attribute ${name}`)
}

function checkXattrName(name: string): void {
  if (name.startsWith(VIRTUAL_PREFIX)) {
    throw new WormholeError('NOT_PERMITTED', `${name} is read only`)
  }
  if (!STORED_PREFIXES.some((prefix) => name.startsWith(prefix))) throw unsupported(name)
  if (name.length > XATTR_NAME_BYTES_MAX) {
    throw new WormholeError('OUT_OF_RANGE', `attribute name of ${name.length} bytes`)
  }
}
