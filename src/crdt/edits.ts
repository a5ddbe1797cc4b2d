/**
 * User operations as edits: preconditions as POSIX has them, then the register puts. The tree is
 * not changed here. Permissions are checked elsewhere.
 */
import { WormholeError, type ErrorCode } from '../errors.ts'
import type { Random } from '../system.ts'
import type { FileName, Hlc, InodeId } from '../types.ts'
import { contentWinner } from './contents.ts'
import { Draft, foundIn, type Found, type Place } from './draft.ts'
import { inodeKind, inodeShard, LOST_FOUND, newInodeId, ROOT } from './ids.ts'
import type { Attributes, Content, ContentRef, Edit, NodeView, OpRef } from './interface.ts'
import type { Layer } from './layer.ts'
import { undelete } from './past.ts'
import { location, winner } from './placement.ts'
import { holdsAny, versionOf, type InodeRow } from './records.ts'
import {
  checkName,
  defaultAttributes,
  isLinkable,
  isSameContent,
  POLICY_BYTES_MAX,
  SYMLINK_TARGET_BYTES_MAX,
  XATTR_TOTAL_BYTES_MAX,
} from './registers.ts'
import { ShardChoice } from './shard-choice.ts'
import { opsOf, type LayerReader } from './tree-reader.ts'

/** Owner and permission of something new. */
export interface NewAttributes {
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Extended attributes, names one character per byte. */
  readonly xattrs?: ReadonlyMap<string, Buffer>
}

/** Attributes to change; absent ones stay. */
export interface AttributeChanges {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly xattrs?: ReadonlyMap<string, Buffer>
  readonly mtimeNs?: bigint
}

/** An edit that makes something, and the id of what it makes. */
export interface Created {
  readonly edit: Edit
  readonly id: InodeId
}

/** A content to put. */
export interface NewContent {
  readonly ref: ContentRef
  readonly sizeBytes: number
  /** Its bytes are those of another version: this device may yet have to fetch them. */
  readonly isNamed?: boolean
}

/** What the builders need besides the tree. */
export interface EditPorts {
  readonly random: Random
  readonly tick: () => Hlc
  readonly nowNs: () => bigint
}

function fail(code: ErrorCode, message: string): never {
  throw new WormholeError(code, message)
}

/** Builds edits against one layer. */
export class EditBuilder {
  readonly #layer: Layer
  readonly #reader: LayerReader
  readonly #ports: EditPorts
  readonly #shards: ShardChoice

  constructor(layer: Layer, reader: LayerReader, ports: EditPorts) {
    this.#layer = layer
    this.#reader = reader
    this.#ports = ports
    this.#shards = new ShardChoice(layer, ports.random)
  }

  #draft(): Draft {
    return new Draft(this.#layer, this.#ports.tick(), this.#ports.nowNs())
  }

  /** The canonical id of a directory that exists. */
  #directory(id: InodeId): InodeId {
    const row = inodeKind(id) === 'directory' ? this.#layer.inode(id) : undefined
    if (row?.isAlive && row.canonical === '') return id
    const node = this.#reader.node(id)
    if (!node) return fail('NOT_FOUND', 'the directory does not exist')
    if (node.kind !== 'directory') return fail('NOT_A_DIRECTORY', 'not a directory')
    return node.id
  }

  #node(id: InodeId): NodeView {
    return this.#reader.node(id) ?? fail('NOT_FOUND', 'the inode does not exist')
  }

  #find(parent: InodeId, name: FileName): Found | undefined {
    const slot = this.#layer.slot(parent, name)
    if (!slot) return undefined
    if (slot.primary !== '') return foundIn(this.#layer, slot, undefined)
    const extra = this.#reader.extraAt(parent, slot)
    const source = extra && this.#layer.slot(parent, extra.source)
    return source && foundIn(this.#layer, source, extra)
  }

  #checkFree(parent: InodeId, name: FileName): void {
    checkName(name)
    if (this.#reader.lookup(parent, name)) fail('ALREADY_EXISTS', 'the name is taken')
  }

  #create(place: Place, options: NewAttributes, content: (draft: Draft) => Content): Created {
    const parent = this.#directory(place.parent)
    this.#checkFree(parent, place.name)
    const draft = this.#draft()
    const value = content(draft)
    const shards = this.#shards
    const isDirectory = value.kind === 'directory'
    const shard = isDirectory ? shards.forDirectory(parent) : shards.forFile(parent)
    const id = newInodeId(value.kind, shard, this.#ports.random)
    const { hlc } = draft
    draft.put(id, 'L', { parent, name: place.name, isDeleted: false, seen: [], hlc })
    draft.put(id, 'C', value)
    const usual = defaultAttributes(value.kind)
    const { mode, uid, gid, xattrs = usual.xattrs } = options
    checkXattrs(xattrs)
    if (mode !== usual.mode || uid !== 0 || gid !== 0 || xattrs.size > 0) {
      draft.put(id, 'A', { mode, uid, gid, xattrs, hlc })
    }
    draft.touch(parent)
    return { edit: draft.finish(), id }
  }

  createFile(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & {
      readonly content?: NewContent
      readonly mtimeNs?: bigint
    },
  ): Created {
    const { ref, sizeBytes, isNamed } = options.content ?? { ref: { type: 'empty' }, sizeBytes: 0 }
    const { edit, id } = this.#create({ parent, name }, options, ({ hlc, nowNs }) => {
      const mtimeNs = options.mtimeNs ?? nowNs
      return { kind: 'file', ref, sizeBytes, mtimeNs, hlc, baseHlc: 0 as Hlc }
    })
    return { edit: isNamed ? this.#naming(edit) : edit, id }
  }

  /** Stamped later than its contents: their bytes are not of its writing. */
  #naming(edit: Edit): Edit {
    return { ...edit, hlc: this.#ports.tick() }
  }

  mkdir(parent: InodeId, name: FileName, options: NewAttributes): Created {
    return this.#create({ parent, name }, options, ({ hlc, nowNs }) => {
      return { kind: 'directory', mtimeNs: nowNs, hlc }
    })
  }

  symlink(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & { readonly target: string },
  ): Created {
    const { target } = options
    if (target.length === 0 || target.includes('\0')) fail('BAD_ARGUMENT', 'malformed target')
    if (target.length > SYMLINK_TARGET_BYTES_MAX) fail('NAME_TOO_LONG', 'target over 4095 bytes')
    return this.#create({ parent, name }, options, ({ hlc, nowNs }) => {
      return { kind: 'symlink', target, mtimeNs: nowNs, hlc }
    })
  }

  special(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & { readonly fileType: number; readonly rdev: number },
  ): Created {
    const { fileType, rdev } = options
    return this.#create({ parent, name }, options, ({ hlc, nowNs }) => {
      return { kind: 'special', fileType, rdev, mtimeNs: nowNs, hlc }
    })
  }

  link(inode: InodeId, parent: InodeId, name: FileName): Edit {
    const node = this.#node(inode)
    const directory = this.#directory(parent)
    if (!isLinkable(node.kind)) fail('NOT_PERMITTED', 'no hard links to directories')
    this.#checkFree(directory, name)
    const draft = this.#draft()
    if (node.copyOf) {
      draft.materialise(node.copyOf, node)
      draft.clearLosers(node.copyOf.inode, node.copyOf.version)
    }
    const id = newInodeId('link', inodeShard(node.id), this.#ports.random)
    const target = node.id
    const { hlc } = draft
    draft.put(id, 'L', { parent: directory, name, isDeleted: false, seen: [], target, hlc })
    draft.touch(directory)
    return draft.finish()
  }

  unlink(parent: InodeId, name: FileName): Edit {
    const directory = this.#directory(parent)
    const found = this.#find(directory, name)
    if (!found) return fail('NOT_FOUND', 'no such name')
    if (found.type === 'directory') fail('IS_DIRECTORY', 'the name is a directory')
    const draft = this.#draft()
    draft.remove(found)
    draft.touch(directory)
    return draft.finish()
  }

  rmdir(parent: InodeId, name: FileName): Edit {
    const directory = this.#directory(parent)
    const found = this.#find(directory, name)
    if (!found) return fail('NOT_FOUND', 'no such name')
    if (found.type !== 'directory') return fail('NOT_A_DIRECTORY', 'the name is no directory')
    this.#checkEmpty(found.id)
    const draft = this.#draft()
    draft.remove(found)
    draft.touch(directory)
    return draft.finish()
  }

  #checkEmpty(directory: InodeId): void {
    if (!this.#reader.isEmpty(directory)) fail('NOT_EMPTY', 'the directory is not empty')
  }

  rename(from: Place, to: Place, flag: 'replace' | 'noreplace' | 'exchange'): Edit {
    checkName(to.name)
    const source = { parent: this.#directory(from.parent), name: from.name }
    const target = { parent: this.#directory(to.parent), name: to.name }
    const found = this.#find(source.parent, source.name)
    if (!found) return fail('NOT_FOUND', 'no such name')
    const victim = this.#find(target.parent, target.name)
    if (flag === 'noreplace' && victim) fail('ALREADY_EXISTS', 'the name is taken')
    if (flag === 'exchange' && !victim) fail('NOT_FOUND', 'nothing to exchange with')
    const draft = this.#draft()
    if (victim && isSameInode(found, victim)) return draft.finish()
    this.#checkMove(found, target.parent)
    if (flag === 'exchange' && victim) {
      this.#checkMove(victim, source.parent)
      draft.move(victim, source)
    } else if (victim) {
      if (found.type === 'directory' && victim.type !== 'directory') {
        fail('NOT_A_DIRECTORY', 'a directory over something else')
      }
      if (found.type !== 'directory' && victim.type === 'directory') {
        fail('IS_DIRECTORY', 'something over a directory')
      }
      if (victim.type === 'directory') this.#checkEmpty(victim.id)
      draft.remove(victim)
    }
    draft.move(found, target)
    draft.touch(source.parent)
    draft.touch(target.parent)
    return draft.finish()
  }

  /** A directory cannot go into itself or below, and `lost+found` stays where it is. */
  #checkMove(found: Found, parent: InodeId): void {
    if (found.type !== 'directory') return
    if (found.members.includes(LOST_FOUND)) fail('NOT_PERMITTED', 'lost+found cannot be renamed')
    for (let id = parent; id !== ROOT; id = this.#node(id).parent) {
      if (id === found.id) fail('BAD_ARGUMENT', 'a directory cannot be moved into itself')
    }
  }

  setContent(
    inode: InodeId,
    content: NewContent & { readonly mtimeNs: bigint; readonly base?: readonly OpRef[] },
  ): Edit {
    const node = this.#node(inode)
    if (node.kind === 'directory') fail('IS_DIRECTORY', 'a directory has no content')
    if (node.content.kind !== 'file') return fail('BAD_ARGUMENT', 'not a regular file')
    const { ref, sizeBytes, mtimeNs, isNamed } = content
    const draft = this.#draft()
    const { hlc } = draft
    const value: Content = { kind: 'file', ref, sizeBytes, mtimeNs, hlc, baseHlc: node.content.hlc }
    if (isSameContent(value, node.content)) return this.setAttributes(inode, { mtimeNs })
    if (node.copyOf) {
      draft.materialise(node.copyOf, node, { content: value })
      draft.clearLosers(node.copyOf.inode, node.copyOf.version)
      // It may hold parts of what the copy was, and that is on no list under this inode.
      return this.#naming(draft.finish())
    }
    const row = this.#layer.inode(node.id) as InodeRow
    const base = content.base ?? opsOf(row.C)
    draft.materialiseLosers(row, (loser) => holdsAny(base, loser))
    draft.put(row.id, 'C', value, base)
    for (const record of [row.id, ...row.links]) this.#discardHidden(draft, record)
    return isNamed ? this.#naming(draft.finish()) : draft.finish()
  }

  /** What was hidden behind a file has been overwritten together with it. */
  #discardHidden(draft: Draft, record: InodeId): void {
    const row = this.#layer.inode(record)
    if (!row?.isAlive) return
    const slot = this.#layer.slot(row.slotParent as InodeId, row.slotName as FileName)
    for (const { claim, into } of slot?.hidden ?? []) {
      const hidden = this.#layer.inode(claim) as InodeRow
      // Another name of the same inode is no twin: it shows the new content.
      const isOther = (hidden.target || claim) !== (row.target || record)
      if (into === record && isOther) draft.discard(claim)
    }
  }

  setAttributes(inode: InodeId, changes: AttributeChanges): Edit {
    const node = this.#node(inode)
    const draft = this.#draft()
    const value = changedAttributes(node, changes, draft.hlc)
    if (!value) return draft.finish()
    checkXattrs(value.xattrs)
    if (node.copyOf) {
      draft.materialise(node.copyOf, node, { attributes: value })
      draft.clearLosers(node.copyOf.inode, node.copyOf.version)
      return draft.finish()
    }
    const members = [node.id, ...(this.#layer.inode(node.id)?.merged ?? [])]
    for (const id of members) draft.put(id, 'A', value)
    return draft.finish()
  }

  setPolicy(directory: InodeId, policy: string): Edit {
    const id = this.#directory(directory)
    if (Buffer.byteLength(policy, 'utf8') > POLICY_BYTES_MAX) {
      fail('LIMIT_EXCEEDED', `policy over ${POLICY_BYTES_MAX} bytes`)
    }
    const draft = this.#draft()
    for (const member of [id, ...(this.#layer.inode(id)?.merged ?? [])]) {
      const now = winner(this.#layer.inode(member)?.P ?? [])?.data.text ?? ''
      if (now !== policy) draft.put(member, 'P', { text: policy, hlc: draft.hlc })
    }
    return draft.finish()
  }

  undelete(record: InodeId, to: Place, content?: Content): Edit {
    const place = { parent: this.#directory(to.parent), name: to.name }
    this.#checkFree(place.parent, place.name)
    if (this.#layer.inode(record)?.isAlive !== false) fail('ALREADY_EXISTS', 'it is not deleted')
    const draft = this.#draft()
    undelete(draft, this.#layer, { record, to: place, ...(content ? { content } : {}) })
    return this.#naming(draft.finish())
  }

  /** Ends the conflict at a name. Versions are numbered as in `ConflictView.versions`. */
  resolve(parent: InodeId, name: FileName, keep: number | 'both'): Edit {
    const directory = this.#directory(parent)
    const slot = this.#layer.slot(directory, name)
    const draft = this.#draft()
    if (slot?.primary && inodeKind(slot.primary) === 'directory') {
      if (this.#settleCycle(draft, slot.primary)) return draft.finish()
    }
    if (!slot || slot.primary === '' || slot.extras.length === 0) {
      return fail('NOT_FOUND', 'no conflict at this name')
    }
    const entries = [
      foundIn(this.#layer, slot, undefined),
      ...slot.extras.map((extra) => foundIn(this.#layer, slot, extra)),
    ]
    if (keep === 'both') {
      this.#hold(draft, entries[0] as Found, entries)
      for (const [index, extra] of slot.extras.entries()) {
        const shown = extra.names.at(-1) as FileName
        draft.move(entries[index + 1] as Found, { parent: directory, name: shown })
      }
    } else {
      this.#keepOne(draft, entries, keep)
    }
    draft.touch(directory)
    return draft.finish()
  }

  #keepOne(draft: Draft, entries: readonly Found[], keep: number): void {
    const kept = entries[keep]
    if (!kept) return fail('OUT_OF_RANGE', `there is no version ${keep}`)
    for (const entry of entries) {
      if (entry === kept) continue
      if (entry.type === 'directory') {
        this.#checkEmpty(entry.id)
        draft.remove(entry)
      }
      const isKept = entry.type === 'record' && kept.type === 'copy' && entry.inode === kept.inode
      if (entry.type === 'record' && !isKept) {
        for (const id of [entry.record, ...entry.hidden]) draft.discard(id)
      }
    }
    this.#hold(draft, kept, entries)
    if (kept.type === 'directory') return
    const row = this.#layer.inode(kept.inode) as InodeRow
    const value =
      kept.type === 'copy'
        ? row.C.find((other) => versionOf(other) === kept.version)
        : contentWinner(row)
    if (value && row.C.length > 1) draft.keepContent(row, value)
  }

  /** Where another device may keep what this one removes, both stay instead of neither. */
  #hold(draft: Draft, kept: Found, entries: readonly Found[]): void {
    const holder = entries.find((entry) =>
      kept.type === 'copy' ? entry.type === 'record' && entry.inode === kept.inode : entry === kept,
    )
    const isAlone = entries.every((entry) => entry === holder || entry.type === 'copy')
    if (holder && holder.type !== 'copy' && !isAlone) draft.hold(holder)
  }

  /** A directory that a cycle has displaced stays where it is shown. */
  #settleCycle(draft: Draft, id: InodeId): boolean {
    const row = this.#layer.inode(id) as InodeRow
    if (row.place === 0 || row.L.length === 0) return false
    const { parent, name } = location(row)
    draft.put(id, 'L', { parent, name, isDeleted: false, seen: [], hlc: draft.hlc })
    return true
  }
}

function isSameInode(a: Found, b: Found): boolean {
  if (a.type === 'directory' || b.type === 'directory') {
    return a.type === b.type && a.type === 'directory' && b.type === 'directory' && a.id === b.id
  }
  if (a.type === 'copy' || b.type === 'copy') {
    return a.type === 'copy' && b.type === 'copy' && a.id === b.id
  }
  return a.inode === b.inode
}

function checkXattrs(xattrs: ReadonlyMap<string, Buffer>): void {
  let totalBytes = 0
  for (const [name, value] of xattrs) totalBytes += name.length + value.length
  if (totalBytes > XATTR_TOTAL_BYTES_MAX) fail('LIMIT_EXCEEDED', 'extended attributes over 64 KiB')
}

/** The new attributes; undefined when nothing changes. */
function changedAttributes(
  node: NodeView,
  changes: AttributeChanges,
  hlc: Hlc,
): Attributes | undefined {
  const now = node.attributes
  const { mode = now.mode, uid = now.uid, gid = now.gid, xattrs = now.xattrs } = changes
  const ns = changes.mtimeNs ?? node.mtimeNs
  const isSame =
    mode === now.mode &&
    uid === now.uid &&
    gid === now.gid &&
    ns === node.mtimeNs &&
    isSameXattrs(xattrs, now.xattrs)
  if (isSame) return undefined
  const hasOwnTime = ns !== node.content.mtimeNs
  const mtime = hasOwnTime ? { mtime: { version: node.version, ns } } : {}
  return { mode, uid, gid, xattrs, ...mtime, hlc }
}

function isSameXattrs(a: ReadonlyMap<string, Buffer>, b: ReadonlyMap<string, Buffer>): boolean {
  if (a === b) return true
  if (a.size !== b.size) return false
  for (const [name, value] of a) {
    const other = b.get(name)
    if (!other?.equals(value)) return false
  }
  return true
}
