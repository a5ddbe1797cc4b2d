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
import { changeAttributes, isInGroup, type Core } from './core.ts'
import type { Files } from './files.ts'
import type { Attr, AttrChanges, RequestContext } from './interface.ts'
import type { Node } from './nodes.ts'
import { isBarePrefix, isStoredName, totalBytes, withTime } from './private-attributes.ts'

/** Read only, never listed, so that `cp -a` does not copy them. */
const VIRTUAL_PREFIX = 'user.wormhole.'
const S_ISETID = 0o6000
const S_IWGRP = 0o020
const S_IWOTH = 0o002

/** The attribute operations. */
export class Attributes {
  readonly #core: Core
  readonly #files: Files

  constructor(core: Core, files: Files) {
    this.#core = core
    this.#files = files
  }

  setattr(context: RequestContext, node: Node, changes: AttrChanges): Attr {
    this.#core.rules.checkChangeable(this.#core.nodes.view(node))
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
    const atimeNs = changes.atimeNs === undefined ? undefined : storableTime(changes.atimeNs)
    if (atimeNs !== undefined) Object.assign(wanted, this.#accessed(node, atimeNs, mtimeNs))
    if (Object.keys(wanted).length > 0) changeAttributes(this.#core, node, wanted)
    return nodes.attr(node)
  }

  /**
   * A set time of last access. Readers are told that of the last change unless another was set, so
   * only one that differs is stored.
   */
  #accessed(node: Node, atimeNs: bigint, mtimeNs: bigint | undefined): AttributeChanges {
    const { nodes, clock } = this.#core
    const view = nodes.view(node)
    const shownNs = mtimeNs ?? (node.file?.isDirty ? node.file.mtimeNs : view.mtimeNs)
    const { xattrs: before } = view.attributes
    const xattrs = withTime(before, atimeNs === shownNs ? undefined : atimeNs)
    nodes.touch(node, clock.nowNs())
    node.atimeNs = atimeNs
    return xattrs === before || totalBytes(xattrs) > XATTR_TOTAL_BYTES_MAX ? {} : { xattrs }
  }

  #wanted(context: RequestContext, node: Node, changes: AttrChanges): AttributeChanges {
    const { nodes, clock } = this.#core
    if (Object.keys(changes).length === 0) return this.#unowned(context, node)
    const isOwned = changes.uid !== undefined || changes.gid !== undefined
    // Where everything belongs to one, giving it away is accepted and changes nothing.
    const { uid, gid } = nodes.owner ? {} : changes
    if (isOwned && nodes.owner) nodes.touch(node, clock.nowNs())
    let mode = changes.mode === undefined ? undefined : changes.mode & ~S_IFMT
    if (mode === undefined && isOwned && context.clearsSetId && node.kind !== 'directory') {
      const { attributes } = nodes.view(node)
      mode = withoutSetId(attributes.mode, () => isInGroup(context, attributes.gid))
    }
    return {
      ...(mode === undefined ? {} : { mode }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    }
  }

  /**
   * chown(2) to nobody else, and what the kernel asks for before some changes of the bytes: only
   * the set-user-ID bits go, and `ctime` moves. Nothing tells the two apart, so nobody is refused;
   * but who neither owns the file nor may write it takes nothing away.
   */
  #unowned(context: RequestContext, node: Node): AttributeChanges {
    const { nodes, clock } = this.#core
    const { attributes } = nodes.view(node)
    const { mode } = attributes
    const { uid, gid } = nodes.owner ?? attributes
    nodes.touch(node, clock.nowNs())
    if (node.kind === 'directory' || (mode & S_ISETID) === 0) return {}
    const isMember = isInGroup(context, gid)
    const mayWrite = (mode & S_IWOTH) !== 0 || (isMember && (mode & S_IWGRP) !== 0)
    if (context.uid !== 0 && context.uid !== uid && !mayWrite) return {}
    return { mode: withoutSetId(mode, () => isMember) }
  }

  getxattr(node: Node, name: string): Buffer | undefined {
    const view = this.#core.nodes.view(node)
    if (name.startsWith(VIRTUAL_PREFIX)) {
      const value = this.#virtual(node, view, name.slice(VIRTUAL_PREFIX.length))
      return value === undefined ? undefined : Buffer.from(value, 'utf8')
    }
    checkNamespace(name)
    return view.attributes.xattrs.get(name)
  }

  #virtual(node: Node, view: NodeView, name: string): string | undefined {
    const { options, contents } = this.#core
    if (name === 'id') return node.inode
    if (name === 'version') return node.file?.version ?? view.version
    if (name === 'device') return options.deviceOf?.(node.inode)
    if (name !== 'state') return undefined
    if (view.copyOf) return 'conflict'
    const content = view.content
    if (node.file?.isDirty || content.kind !== 'file') return 'local'
    return contents.presence(content)
  }

  setxattr(node: Node, name: string, value: Buffer, mode: 'any' | 'create' | 'replace'): void {
    this.#core.rules.checkChangeable(this.#core.nodes.view(node))
    checkXattrName(name)
    const before = this.#core.nodes.view(node).attributes.xattrs
    if (mode === 'create' && before.has(name)) {
      throw new WormholeError('ALREADY_EXISTS', `attribute ${name} exists`)
    }
    if (mode === 'replace' && !before.has(name)) throw noAttribute(name)
    const xattrs = new Map(before).set(name, Buffer.from(value))
    const bytes = totalBytes(xattrs)
    if (bytes > XATTR_TOTAL_BYTES_MAX) {
      throw new WormholeError('LIMIT_EXCEEDED', `extended attributes of ${bytes} bytes`)
    }
    changeAttributes(this.#core, node, { xattrs })
  }

  /** Names that the caller may know: `trusted.` ones are for root. */
  listxattr(context: RequestContext, node: Node): string[] {
    const names = [...this.#core.nodes.view(node).attributes.xattrs.keys()]
    const isRoot = context.uid === 0
    return names.filter((name) => isStoredName(name) && (isRoot || !name.startsWith('trusted.')))
  }

  removexattr(node: Node, name: string): void {
    this.#core.rules.checkChangeable(this.#core.nodes.view(node))
    checkXattrName(name)
    const xattrs = new Map(this.#core.nodes.view(node).attributes.xattrs)
    if (!xattrs.delete(name)) throw noAttribute(name)
    changeAttributes(this.#core, node, { xattrs })
  }
}

/** The nearest time that fits a register; Linux cuts times to what a file system holds, too. */
function storableTime(ns: bigint): bigint {
  if (ns < TIME_NS_MIN) return TIME_NS_MIN
  return ns > TIME_NS_MAX ? TIME_NS_MAX : ns
}

function unsupported(name: string): WormholeError {
  return new WormholeError('UNSUPPORTED', `attributes like ${name} are not supported`)
}

function checkNamespace(name: string): void {
  if (!isStoredName(name)) throw unsupported(name)
  if (isBarePrefix(name)) throw new WormholeError('BAD_ARGUMENT', `${name} is no whole name`)
}

function noAttribute(name: string): WormholeError {
  return new WormholeError('NO_ATTRIBUTE', `no attribute ${name}`)
}

function checkXattrName(name: string): void {
  if (name.startsWith(VIRTUAL_PREFIX)) {
    throw new WormholeError('NOT_PERMITTED', `${name} is read only`)
  }
  checkNamespace(name)
  if (name.length > XATTR_NAME_BYTES_MAX) {
    throw new WormholeError('OUT_OF_RANGE', `attribute name of ${name.length} bytes`)
  }
}
