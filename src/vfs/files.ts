/** Open files: opening, reading, writing, truncating, closing. POSIX promises: README.md. */
import { constants } from 'node:fs'
import type { NodeView } from '../crdt/interface.ts'
import { WormholeError } from '../errors.ts'
import { withoutSetId } from './attr.ts'
import { changeAttributes, isInGroup, type Core } from './core.ts'
import { tooLarge } from './folder-rules.ts'
import type { OpenReply, Reply, RequestContext } from './interface.ts'
import type { Node } from './nodes.ts'
import { OpenFile } from './open-file.ts'

const { O_RDONLY, O_TRUNC } = constants
const O_ACCMODE = 3
/** Flags of fallocate(2), from linux/falloc.h. */
const FALLOC_KEEP_SIZE = 1
const FALLOC_PUNCH_HOLE = 2
const FALLOC_ZERO_RANGE = 16
/** What fallocate can do, without FALLOC_KEEP_SIZE or with it. */
const FALLOC_MODES = new Set([
  0,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE,
  FALLOC_ZERO_RANGE,
  FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE,
])
/** Most bytes that one request copies: a program that copies more asks again. */
const COPY_BYTES_MAX = 16 * 1024 * 1024
/** Bytes read at once while copying. */
const COPY_STEP_BYTES = 1024 * 1024
/** A smaller file is copied faster than its chunks are looked for. */
const SHARE_BYTES_MIN = 64 * 1024

/** A place in an open file. */
export interface HandlePlace {
  readonly handle: number
  readonly offset: number
}

interface Handle {
  readonly node: Node
  readonly file: OpenFile
  readonly canWrite: boolean
}

/** Asks for the abort signal only when a read has to wait. */
class LazySignal {
  readonly #context: RequestContext

  constructor(context: RequestContext) {
    this.#context = context
  }

  get signal(): AbortSignal {
    return this.#context.signal()
  }
}

/** File handles and what is done with them. */
export class Files {
  readonly #core: Core
  readonly #handles = new Map<number, Handle>()
  #nextHandle = 1

  constructor(core: Core) {
    this.#core = core
  }

  /** The open file of a node, made if there is none. */
  openFile(node: Node, shown?: NodeView): OpenFile {
    if (node.file) return node.file
    const view = shown ?? this.#core.nodes.view(node)
    const content = view.content
    if (content.kind === 'directory') throw new WormholeError('IS_DIRECTORY', 'is a directory')
    if (content.kind !== 'file') throw new WormholeError('BAD_ARGUMENT', 'is not a regular file')
    const file = new OpenFile({
      nodeId: node.id,
      inode: node.inode,
      base: { ref: content.ref, sizeBytes: content.sizeBytes },
      ops: node.detached ? node.detachedOps : this.#core.overlay.contentBase(node.inode),
      version: view.version,
      mtimeNs: view.mtimeNs,
    })
    file.sizeBytesMax = this.#core.rules.fileSizeMax(view)
    file.isDropped = node.isUnlinked
    if (node.version !== '' && node.version !== view.version) node.isStale = true
    node.version = view.version
    node.file = file
    node.lastView = view
    return file
  }

  /** Lets go of an open file that is neither open nor ahead of the tree. */
  releaseFile(node: Node): void {
    const file = node.file
    if (!file || file.handles > 0 || (file.isDirty && !file.isDropped)) return
    this.#core.writeback.discard(file)
    node.version = file.version
    node.detachedOps = file.ops
    node.file = node.lastView = undefined
    node.attr = undefined
    this.#core.nodes.release(node)
  }

  open(context: RequestContext, node: Node, flags: number): OpenReply {
    const access = flags & O_ACCMODE
    const canWrite = access !== O_RDONLY
    const { nodes, rules } = this.#core
    const isChange = canWrite || (flags & O_TRUNC) !== 0
    const view = isChange || !node.file ? nodes.view(node) : undefined
    if (isChange && view) rules.checkChangeable(view)
    const file = this.openFile(node, view)
    // One that was opened before may have come under another policy, or another name.
    if (canWrite && view && file.handles > 0) file.sizeBytesMax = rules.fileSizeMax(view)
    file.handles++
    if (canWrite) file.writers++
    if (flags & O_TRUNC) this.#empty(context, node, file, canWrite)
    const handle = this.#nextHandle++
    this.#handles.set(handle, { node, file, canWrite })
    const keepCache = !node.isStale
    node.isStale = false
    return { handle, keepCache, skipsFlush: !canWrite }
  }

  /** `O_TRUNC`: what is cut belongs to the writer, whose close publishes the whole. */
  #empty(context: RequestContext, node: Node, file: OpenFile, canWrite: boolean): void {
    try {
      if (canWrite) this.#core.writeback.reopened(file)
      this.truncate(context, node, 0)
    } catch (error) {
      file.handles--
      if (canWrite) file.writers--
      this.releaseFile(node)
      throw error
    }
  }

  #handle(handle: number): Handle {
    const found = this.#handles.get(handle)
    if (!found) throw new WormholeError('BAD_HANDLE', `no open file ${handle}`)
    return found
  }

  read(
    context: RequestContext,
    handle: number,
    offset: number,
    length: number,
  ): Reply<readonly Buffer[]> {
    const { file } = this.#handle(handle)
    return file.read(this.#core.contents, offset, length, new LazySignal(context))
  }

  write(
    context: RequestContext,
    handle: number,
    offset: number,
    bytes: Buffer,
    isAppending = false,
  ): Reply<number> {
    const { node, file } = this.#writable(handle)
    const at = isAppending ? file.sizeBytes : offset
    // The last byte that a file may have is written, those behind it are not.
    const count = Math.min(bytes.length, roomAt(file, at))
    if (count === 0 && bytes.length > 0) throw tooLarge(file.sizeBytesMax)
    const wait = this.writeBytes(node, file, at, bytes.subarray(0, count))
    this.#dropPrivileges(context, node, context.clearsSetId === true)
    return wait ? wait.then(() => count) : count
  }

  #writable(handle: number): Handle {
    const found = this.#handle(handle)
    if (!found.canWrite) throw new WormholeError('BAD_HANDLE', 'not open for writing')
    return found
  }

  /** Copies bytes into a file. A promise when memory is short. */
  writeBytes(
    node: Node,
    file: OpenFile,
    offset: number,
    bytes: Uint8Array,
  ): Promise<void> | undefined {
    const { writeback, files, nodes, clock } = this.#core
    writeback.checkRoom(file)
    const nowNs = clock.nowNs()
    file.write(offset, bytes, nowNs)
    files.noteWrite(file)
    nodes.touch(node, nowNs)
    return writeback.changed(file)
  }

  /** What a change of the bytes takes away: set-user-ID bits, and capabilities from anybody. */
  #dropPrivileges(context: RequestContext, node: Node, clearsSetId: boolean): void {
    if (!clearsSetId && !node.hasCapability) return
    const { attributes } = this.#core.nodes.view(node)
    const { mode } = attributes
    const { gid } = this.#core.nodes.owner ?? attributes
    const cleared = clearsSetId ? withoutSetId(mode, () => isInGroup(context, gid)) : mode
    const xattrs = new Map(attributes.xattrs)
    const hadCapability = xattrs.delete('security.capability')
    if (cleared === mode && !hadCapability) return
    node.hasCapability = false
    changeAttributes(this.#core, node, { mode: cleared, xattrs })
  }

  /** Cuts or grows a file. Published at the close of its handle, or soon when it has none. */
  truncate(context: RequestContext, node: Node, sizeBytes: number): void {
    const { files, writeback, nodes, clock } = this.#core
    const file = this.openFile(node)
    if (sizeBytes > file.sizeBytes && sizeBytes > file.sizeBytesMax) {
      if (file.handles === 0) this.releaseFile(node)
      throw tooLarge(file.sizeBytesMax)
    }
    const nowNs = clock.nowNs()
    file.truncate(sizeBytes, nowNs)
    files.appendState(file)
    nodes.touch(node, nowNs)
    void writeback.changed(file)
    if (file.writers === 0) writeback.closed(file)
    this.#dropPrivileges(context, node, context.clearsSetId === true)
    if (file.handles === 0) this.releaseFile(node)
  }

  /** Each close(2): what was written survives the death of the daemon. */
  flush(handle: number): void {
    const { canWrite } = this.#handle(handle)
    if (canWrite) this.#core.files.flush()
  }

  release(handle: number): void {
    const { node, file, canWrite } = this.#handle(handle)
    this.#handles.delete(handle)
    file.handles--
    if (canWrite) {
      file.writers--
      this.#core.writeback.closed(file)
    }
    this.releaseFile(node)
  }

  /** W3: resolves when bytes and names are durable; publication goes its own way. */
  async fsync(handle: number): Promise<void> {
    const { file } = this.#handle(handle)
    await this.#core.files.sync({ isUrgent: true })
    this.#core.writeback.synced(file)
  }

  fallocate(
    context: RequestContext,
    handle: number,
    range: { readonly offset: number; readonly length: number },
    mode: number,
  ): void {
    const { node, file } = this.#writable(handle)
    if (!FALLOC_MODES.has(mode)) {
      throw new WormholeError('UNSUPPORTED', `fallocate mode ${mode} is not supported`)
    }
    const { nodes, clock, options } = this.#core
    const end = range.offset + range.length
    const isPunch = (mode & FALLOC_PUNCH_HOLE) !== 0
    const isGrown = !isPunch && end > Math.max(file.sizeBytes, file.sizeBytesMax)
    if (end > Number.MAX_SAFE_INTEGER || isGrown) throw tooLarge(file.sizeBytesMax)
    if (!isPunch && end - file.sizeBytes > options.space().freeBytes) {
      throw new WormholeError('DISK_FULL', 'not enough space to allocate')
    }
    this.#dropPrivileges(context, node, context.uid !== 0)
    if (isPunch || mode & FALLOC_ZERO_RANGE) this.#punch(node, file, range)
    if ((mode & FALLOC_KEEP_SIZE) === 0 && end > file.sizeBytes) this.truncate(context, node, end)
    else nodes.touch(node, clock.nowNs())
  }

  /** Makes a range zeros that take no space; what lies behind the size is nothing already. */
  #punch(
    node: Node,
    file: OpenFile,
    range: { readonly offset: number; readonly length: number },
  ): void {
    const { files, writeback, nodes, clock } = this.#core
    const length = Math.min(range.length, file.sizeBytes - range.offset)
    if (length <= 0) return
    const nowNs = clock.nowNs()
    files.appendHole(file, { offset: range.offset, length }, nowNs)
    file.punch(range.offset, length, nowNs)
    nodes.touch(node, nowNs)
    void writeback.changed(file)
  }

  /** Where data, or a hole, begins at or after `offset`; undefined behind the last of it. */
  seek(
    context: RequestContext,
    handle: number,
    offset: number,
    what: 'data' | 'hole',
  ): Reply<number | undefined> {
    const { file } = this.#handle(handle)
    if (offset >= file.sizeBytes) return undefined
    return file.seek(this.#core.contents, offset, what, new LazySignal(context))
  }

  /** Copies bytes and holes; fewer than asked at the end of the file, or when it is very much. */
  async copyRange(
    context: RequestContext,
    from: HandlePlace,
    to: HandlePlace,
    length: number,
  ): Promise<number> {
    const source = this.#handle(from.handle)
    const target = this.#writable(to.handle)
    this.#dropPrivileges(context, target.node, context.uid !== 0)
    if (this.#share(source, target, { from, to, length })) {
      return source.file.sizeBytes
    }
    const left = source.file.sizeBytes - from.offset
    const room = roomAt(target.file, to.offset)
    if (left > 0 && room === 0 && length > 0) throw tooLarge(target.file.sizeBytesMax)
    const wanted = Math.min(length, left, room, COPY_BYTES_MAX)
    const signal = new LazySignal(context)
    let done = 0
    while (done < wanted) {
      const step = await this.#copyStep(source.file, target, signal, {
        from: from.offset + done,
        to: to.offset + done,
        length: wanted - done,
      })
      if (step === 0) break
      done += step
    }
    return Math.max(done, 0)
  }

  /** Copies one hole, or some data; 0 at the end of the file. */
  async #copyStep(
    source: OpenFile,
    target: Handle,
    signal: LazySignal,
    step: { readonly from: number; readonly to: number; readonly length: number },
  ): Promise<number> {
    const { contents } = this.#core
    const { from, to } = step
    const end = Math.min(from + step.length, source.sizeBytes)
    if (end <= from) return 0
    const data = Math.min((await source.seek(contents, from, 'data', signal)) ?? end, end)
    if (data > from) {
      this.#zero(target, to, data - from)
      return data - from
    }
    const hole = (await source.seek(contents, from, 'hole', signal)) ?? end
    const length = Math.min(hole - from, end - from, COPY_STEP_BYTES)
    const bytes = await source.readCopy(contents, from, length, signal)
    await this.writeBytes(target.node, target.file, to, bytes)
    return bytes.length
  }

  /** Zeros at a place, which may lie at or behind the end. */
  #zero({ node, file }: Handle, offset: number, length: number): void {
    const { files, writeback, nodes, clock } = this.#core
    this.#punch(node, file, { offset, length })
    if (offset + length <= file.sizeBytes) return
    const nowNs = clock.nowNs()
    file.truncate(offset + length, nowNs)
    files.appendState(file)
    nodes.touch(node, nowNs)
    void writeback.changed(file)
  }

  /**
   * A whole file copied into an empty one shares its content. Only when all of it is on this
   * device, so that the copy is kept where the original may not be.
   */
  #share(
    { file: source }: Handle,
    { node, file }: Handle,
    what: { readonly from: HandlePlace; readonly to: HandlePlace; readonly length: number },
  ): boolean {
    const { contents, files, writeback, nodes, clock } = this.#core
    const { base } = source
    const isAsked = what.from.offset === 0 && what.to.offset === 0
    if (!isAsked || what.length < base.sizeBytes || base.sizeBytes < SHARE_BYTES_MIN) return false
    if (base.sizeBytes > file.sizeBytesMax) return false
    if (!source.isWhole || file.sizeBytes > 0 || file.isFrozen) return false
    if (contents.presence(base) !== 'local') return false
    const nowNs = clock.nowNs()
    file.adopt(base, nowNs)
    files.appendAdopted(file, base)
    nodes.touch(node, nowNs)
    void writeback.changed(file)
    return true
  }

  /** Closes every handle (the kernel session is over). */
  releaseAll(): void {
    for (const handle of [...this.#handles.keys()]) this.release(handle)
  }
}

/** Bytes that may be written from an offset on. */
function roomAt(file: OpenFile, offset: number): number {
  return Math.max(0, Math.max(file.sizeBytes, file.sizeBytesMax) - offset)
}
