/**
 * A whole file system in memory: the simplest thing that keeps every promise of `FileSystem`. It is
 * what mount tests serve, and a reference to compare other implementations with.
 *
 * Node ids start as inode numbers and are never reused. Nothing is allocated for holes. Names are
 * kept in order of creation, and listings go on by a number that grows, so they are stable under
 * change.
 */
import { WormholeError } from '../../src/errors.ts'
import type { FileName } from '../../src/types.ts'
import {
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  type Attr,
  type AttrChanges,
  type DirectoryEntry,
  type DirectoryEntryPlus,
  type EntryReply,
  type FileSystem,
  type OpenReply,
  type Reply,
  type RequestContext,
} from '../../src/vfs/interface.ts'
import { isDirectory, S_IFDIR, S_IFMT, type Node } from './memory-node.ts'
import { MemoryPages } from './memory-pages.ts'

const S_IFREG = 0o100000
const S_IFLNK = 0o120000
const S_ISUID = 0o4000
const S_ISGID = 0o2000
const S_IXGRP = 0o010
const O_EXCL = 0o200
const O_TRUNC = 0o1000
const FALLOCATE_KEEP_SIZE = 1
const NAME_BYTES_MAX = 255
const SECOND = 1_000_000_000n

function fail(code: ConstructorParameters<typeof WormholeError>[0], what: string): never {
  throw new WormholeError(code, what)
}

/** See the top of the file. Methods are as `FileSystem` describes them. */
export class MemoryFileSystem implements FileSystem {
  readonly nodes = new Map<number, Node>()
  readonly handles = new Map<number, Node>()
  readonly directoryHandles = new Map<number, Node>()
  readonly #nowMs: () => number
  #nextId = 1
  #nextHandle = 1
  #nextPosition = 3

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
    const root = this.#make(undefined, S_IFDIR | 0o755, 0, 0, 0)
    root.lookups = 1
    root.attr.nlink = 2
  }

  /** The node of this id. @throws {WormholeError} `NOT_FOUND`. */
  node(nodeId: number): Node {
    return this.nodes.get(nodeId) ?? fail('NOT_FOUND', `no node ${nodeId}`)
  }

  lookup(_: RequestContext, parent: number, name: FileName): Reply<EntryReply | undefined> {
    if (name.length > NAME_BYTES_MAX) fail('NAME_TOO_LONG', 'a name has at most 255 bytes')
    const dirent = this.#directory(parent).children.get(name)
    return dirent && this.#give(dirent.node)
  }

  forget(nodeId: number, count: number): void {
    const node = this.node(nodeId)
    node.lookups -= count
    if (node.lookups < 0) throw new Error(`node ${nodeId} was forgotten too often`)
    this.#collect(node)
  }

  getattr(nodeId: number): Reply<Attr> {
    return this.node(nodeId).attr
  }

  setattr(context: RequestContext, nodeId: number, changes: AttrChanges): Reply<Attr> {
    const node = this.node(nodeId)
    const { attr } = node
    if (changes.sizeBytes !== undefined) this.#resize(node, changes.sizeBytes)
    if (changes.mode !== undefined) attr.mode = (attr.mode & S_IFMT) | (changes.mode & 0o7777)
    if (changes.uid !== undefined) attr.uid = changes.uid
    if (changes.gid !== undefined) attr.gid = changes.gid
    if (context.clearsSetId) this.#clearSetId(node)
    this.#touch(node, false)
    const { atimeNs, mtimeNs } = changes
    if (atimeNs !== undefined) [attr.atimeS, attr.atimeNs] = splitTime(atimeNs)
    if (mtimeNs !== undefined) [attr.mtimeS, attr.mtimeNs] = splitTime(mtimeNs)
    return attr
  }

  readlink(nodeId: number): Reply<Buffer> {
    return this.node(nodeId).target
  }

  symlink(
    context: RequestContext,
    parent: number,
    name: FileName,
    target: Buffer,
  ): Reply<EntryReply> {
    const node = this.#create(context, parent, name, S_IFLNK | 0o777, 0)
    node.target = target
    node.attr.sizeBytes = target.length
    return this.#give(node)
  }

  mknod(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    rdev: number,
  ): Reply<EntryReply> {
    return this.#give(this.#create(context, parent, name, mode, rdev))
  }

  mkdir(context: RequestContext, parent: number, name: FileName, mode: number): Reply<EntryReply> {
    return this.#give(this.#create(context, parent, name, S_IFDIR | (mode & 0o7777), 0))
  }

  unlink(_: RequestContext, parent: number, name: FileName): Reply<void> {
    const directory = this.#directory(parent)
    const { node } = directory.children.get(name) ?? fail('NOT_FOUND', 'no such name')
    if (isDirectory(node)) fail('IS_DIRECTORY', 'use rmdir')
    directory.children.delete(name)
    this.#touch(directory, true)
    this.#drop(node)
  }

  rmdir(_: RequestContext, parent: number, name: FileName): Reply<void> {
    const directory = this.#directory(parent)
    const { node } = directory.children.get(name) ?? fail('NOT_FOUND', 'no such name')
    if (!isDirectory(node)) fail('NOT_A_DIRECTORY', 'use unlink')
    if (node.children.size > 0) fail('NOT_EMPTY', 'it has entries')
    directory.children.delete(name)
    directory.attr.nlink -= 1
    node.attr.nlink -= 1
    this.#touch(directory, true)
    this.#drop(node)
  }

  rename(
    _: RequestContext,
    from: { parent: number; name: FileName },
    to: { parent: number; name: FileName },
    flags: number,
  ): Reply<void> {
    const source = this.#directory(from.parent)
    const target = this.#directory(to.parent)
    const { node } = source.children.get(from.name) ?? fail('NOT_FOUND', 'no such name')
    const other = target.children.get(to.name)?.node
    if (flags & RENAME_EXCHANGE) {
      if (!other) fail('NOT_FOUND', 'nothing to exchange with')
      this.#place(source, from.name, other)
      this.#place(target, to.name, node)
      return
    }
    if (other === node) return
    if (other) {
      if (flags & RENAME_NOREPLACE) fail('ALREADY_EXISTS', 'the name is taken')
      if (isDirectory(node) && !isDirectory(other)) fail('NOT_A_DIRECTORY', 'the target is a file')
      if (isDirectory(other)) {
        if (!isDirectory(node)) fail('IS_DIRECTORY', 'the target is a directory')
        if (other.children.size > 0) fail('NOT_EMPTY', 'the target has entries')
      }
    }
    source.children.delete(from.name)
    this.#touch(source, true)
    this.#place(target, to.name, node)
    if (!other) return
    if (isDirectory(other)) {
      other.attr.nlink -= 1
      target.attr.nlink -= 1
    }
    this.#drop(other)
  }

  link(_: RequestContext, nodeId: number, parent: number, name: FileName): Reply<EntryReply> {
    const node = this.node(nodeId)
    const directory = this.#directory(parent)
    if (directory.children.has(name)) fail('ALREADY_EXISTS', 'the name is taken')
    directory.children.set(name, { node, position: this.#nextPosition++ })
    node.attr.nlink += 1
    this.#touch(node, false)
    this.#touch(directory, true)
    return this.#give(node)
  }

  open(context: RequestContext, nodeId: number, flags: number): Reply<OpenReply> {
    const node = this.node(nodeId)
    if (flags & O_TRUNC) {
      this.#resize(node, 0)
      if (context.clearsSetId) this.#clearSetId(node)
    }
    return this.#open(node)
  }

  create(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    flags: number,
  ): Reply<{ entry: EntryReply; open: OpenReply }> {
    const existing = this.#directory(parent).children.get(name)?.node
    if (existing && flags & O_EXCL) fail('ALREADY_EXISTS', 'the name is taken')
    if (existing && flags & O_TRUNC) this.#resize(existing, 0)
    const node = existing ?? this.#create(context, parent, name, S_IFREG | (mode & 0o7777), 0)
    return { entry: this.#give(node), open: this.#open(node) }
  }

  read(
    _: RequestContext,
    handle: number,
    offset: number,
    length: number,
  ): Reply<readonly Buffer[]> {
    const node = this.#file(handle)
    return node.pages.read(offset, Math.min(offset + length, node.attr.sizeBytes))
  }

  write(context: RequestContext, handle: number, offset: number, bytes: Buffer): Reply<number> {
    const node = this.#file(handle)
    const end = offset + bytes.length
    if (end > Number.MAX_SAFE_INTEGER) fail('FILE_TOO_LARGE', 'files end at 2^53 - 1')
    node.pages.write(offset, bytes)
    if (end > node.attr.sizeBytes) this.#setSize(node, end)
    if (context.clearsSetId) this.#clearSetId(node)
    this.#touch(node, true)
    return bytes.length
  }

  flush(handle: number): Reply<void> {
    this.#file(handle)
  }

  release(handle: number): Reply<void> {
    const node = this.#file(handle)
    this.handles.delete(handle)
    node.opens -= 1
    this.#collect(node)
  }

  fsync(handle: number): Reply<void> {
    this.#file(handle)
  }

  opendir(nodeId: number): Reply<number> {
    const node = this.#directory(nodeId)
    const handle = this.#nextHandle++
    this.directoryHandles.set(handle, node)
    node.opens += 1
    return handle
  }

  readdir(handle: number, offset: number, countMax: number): Reply<readonly DirectoryEntry[]> {
    return this.#list(handle, offset, countMax)
  }

  readdirplus(
    _: RequestContext,
    handle: number,
    offset: number,
    countMax: number,
  ): Reply<readonly DirectoryEntryPlus[]> {
    const { children } = this.directoryHandles.get(handle) ?? fail('BAD_HANDLE', 'not open')
    return this.#list(handle, offset, countMax).map((item) => {
      const node = children.get(item.name)?.node
      return node ? { ...item, entry: this.#give(node) } : item
    })
  }

  releasedir(handle: number): Reply<void> {
    const node = this.directoryHandles.get(handle) ?? fail('BAD_HANDLE', 'not open')
    this.directoryHandles.delete(handle)
    node.opens -= 1
    this.#collect(node)
  }

  fsyncdir(handle: number): Reply<void> {
    if (!this.directoryHandles.has(handle)) fail('BAD_HANDLE', 'not open')
  }

  syncfs(): Reply<void> {}

  statfs(): ReturnType<FileSystem['statfs']> {
    return { blockSizeBytes: 4096, blocks: 1 << 28, blocksFree: 1 << 27, files: 1, filesFree: 1e6 }
  }

  getxattr(nodeId: number, name: string): Reply<Buffer | undefined> {
    return this.node(nodeId).attributes.get(name)
  }

  setxattr(
    _: RequestContext,
    nodeId: number,
    name: string,
    value: Buffer,
    mode: 'any' | 'create' | 'replace',
  ): Reply<void> {
    const node = this.node(nodeId)
    const isThere = node.attributes.has(name)
    if (name.startsWith('system.')) fail('UNSUPPORTED', 'no access control lists')
    if (mode === 'create' && isThere) fail('ALREADY_EXISTS', 'the attribute exists')
    if (mode === 'replace' && !isThere) fail('NO_ATTRIBUTE', 'there is no such attribute')
    node.attributes.set(name, value)
    this.#touch(node, false)
  }

  listxattr(_: RequestContext, nodeId: number): Reply<string[]> {
    return [...this.node(nodeId).attributes.keys()]
  }

  removexattr(_: RequestContext, nodeId: number, name: string): Reply<void> {
    const node = this.node(nodeId)
    if (!node.attributes.delete(name)) fail('NO_ATTRIBUTE', 'there is no such attribute')
    this.#touch(node, false)
  }

  fallocate(
    _: RequestContext,
    handle: number,
    offset: number,
    length: number,
    mode: number,
  ): Reply<void> {
    const node = this.#file(handle)
    if (mode & ~FALLOCATE_KEEP_SIZE) fail('UNSUPPORTED', `fallocate mode ${mode}`)
    const isGrowing = !(mode & FALLOCATE_KEEP_SIZE) && offset + length > node.attr.sizeBytes
    if (isGrowing) this.#resize(node, offset + length)
  }

  #directory(nodeId: number): Node {
    const node = this.node(nodeId)
    return isDirectory(node) ? node : fail('NOT_A_DIRECTORY', `node ${nodeId} is a file`)
  }

  #file(handle: number): Node {
    return this.handles.get(handle) ?? fail('BAD_HANDLE', `no open handle ${handle}`)
  }

  #open(node: Node): OpenReply {
    const handle = this.#nextHandle++
    this.handles.set(handle, node)
    node.opens += 1
    return { handle, keepCache: true }
  }

  #give(node: Node): EntryReply {
    node.lookups += 1
    return { nodeId: node.nodeId, attr: node.attr }
  }

  #make(parent: Node | undefined, mode: number, uid: number, gid: number, rdev: number): Node {
    const nodeId = this.#nextId++
    const times = { atimeS: 0, atimeNs: 0, mtimeS: 0, mtimeNs: 0, ctimeS: 0, ctimeNs: 0 }
    const attr = { ino: nodeId, sizeBytes: 0, blocks: 0, ...times, mode, nlink: 0, uid, gid, rdev }
    const node: Partial<Node> = {
      nodeId,
      attr,
      children: new Map(),
      pages: new MemoryPages(),
      target: Buffer.alloc(0),
      attributes: new Map(),
      lookups: 0,
      opens: 0,
    }
    const whole = node as Node
    whole.parent = parent ?? whole
    this.#touch(whole, true)
    attr.atimeS = attr.mtimeS
    attr.atimeNs = attr.mtimeNs
    this.nodes.set(nodeId, whole)
    return whole
  }

  #create(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    rdev: number,
  ): Node {
    const directory = this.#directory(parent)
    if (name.length > NAME_BYTES_MAX) fail('NAME_TOO_LONG', 'a name has at most 255 bytes')
    if (directory.children.has(name)) fail('ALREADY_EXISTS', 'the name is taken')
    const inherits = directory.attr.mode & S_ISGID
    const isNewDirectory = (mode & S_IFMT) === S_IFDIR
    const node = this.#make(
      directory,
      inherits && isNewDirectory ? mode | S_ISGID : mode,
      context.uid,
      inherits ? directory.attr.gid : context.gid,
      rdev,
    )
    node.attr.nlink = isNewDirectory ? 2 : 1
    if (isNewDirectory) directory.attr.nlink += 1
    directory.children.set(name, { node, position: this.#nextPosition++ })
    this.#touch(directory, true)
    return node
  }

  /** Puts `node` under a name, where it may have been elsewhere before. */
  #place(directory: Node, name: FileName, node: Node): void {
    directory.children.delete(name)
    directory.children.set(name, { node, position: this.#nextPosition++ })
    if (isDirectory(node) && node.parent !== directory) {
      node.parent.attr.nlink -= 1
      directory.attr.nlink += 1
    }
    node.parent = directory
    this.#touch(node, false)
    this.#touch(directory, true)
  }

  #drop(node: Node): void {
    node.attr.nlink -= 1
    this.#touch(node, false)
    this.#collect(node)
  }

  #collect(node: Node): void {
    if (node.attr.nlink <= 0 && node.lookups === 0 && node.opens === 0) {
      this.nodes.delete(node.nodeId)
    }
  }

  #list(handle: number, offset: number, countMax: number): DirectoryEntry[] {
    const node = this.directoryHandles.get(handle) ?? fail('BAD_HANDLE', 'not open')
    const items: DirectoryEntry[] = []
    const add = (name: string, of: Node, nextOffset: number): void => {
      if (nextOffset <= offset) return
      const { ino, mode } = of.attr
      items.push({ name: name as FileName, ino, type: mode & S_IFMT, nextOffset })
    }
    add('.', node, 1)
    add('..', node.parent, 2)
    for (const [name, dirent] of node.children) {
      if (items.length >= countMax) break
      add(name, dirent.node, dirent.position)
    }
    return items.slice(0, countMax)
  }

  #setSize(node: Node, sizeBytes: number): void {
    node.attr.sizeBytes = sizeBytes
    node.attr.blocks = Math.ceil(sizeBytes / 512)
  }

  #resize(node: Node, sizeBytes: number): void {
    if (isDirectory(node)) fail('IS_DIRECTORY', 'directories have no size')
    if (sizeBytes < node.attr.sizeBytes) node.pages.truncate(sizeBytes)
    this.#setSize(node, sizeBytes)
    this.#touch(node, true)
  }

  #clearSetId(node: Node): void {
    const { attr } = node
    if (isDirectory(node)) return
    attr.mode &= ~(attr.mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID)
  }

  #touch(node: Node, isContent: boolean): void {
    const nowMs = this.#nowMs()
    const { attr } = node
    attr.ctimeS = Math.floor(nowMs / 1000)
    attr.ctimeNs = (nowMs % 1000) * 1_000_000
    if (!isContent) return
    attr.mtimeS = attr.ctimeS
    attr.mtimeNs = attr.ctimeNs
  }
}

/** Seconds (negative before 1970) and nanoseconds (never negative). */
function splitTime(timeNs: bigint): [seconds: number, nanoseconds: number] {
  const nanoseconds = ((timeNs % SECOND) + SECOND) % SECOND
  return [Number((timeNs - nanoseconds) / SECOND), Number(nanoseconds)]
}
