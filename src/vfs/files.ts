/** Open files: opening, reading, writing, truncating, closing. POSIX promises: README.md. */
import { constants } from 'node:fs'
import { WormholeError } from '../errors.ts'
import { withoutSetId } from './attr.ts'
import { checkWritable, type Core } from './core.ts'
import type { OpenReply, Reply, RequestContext } from './interface.ts'
import type { Node } from './nodes.ts'
import { OpenFile } from './open-file.ts'

const { O_RDONLY, O_APPEND, O_TRUNC } = constants
const O_ACCMODE = 3
/** FALLOC_FL_KEEP_SIZE of linux/falloc.h. */
const FALLOC_KEEP_SIZE = 1

interface Handle {
  readonly node: Node
  readonly file: OpenFile
  readonly canWrite: boolean
  readonly isAppending: boolean
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
  openFile(node: Node): OpenFile {
    if (node.file) return node.file
    const view = this.#core.nodes.view(node)
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
    if (canWrite || flags & O_TRUNC) checkWritable(this.#core)
    const file = this.openFile(node)
    file.handles++
    if (canWrite) file.writers++
    if (flags & O_TRUNC) this.#empty(context, node, file, canWrite)
    const handle = this.#nextHandle++
    const isAppending = (flags & O_APPEND) !== 0
    this.#handles.set(handle, { node, file, canWrite, isAppending })
    const keepCache = !node.isStale
    node.isStale = false
    return { handle, keepCache }
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

  write(context: RequestContext, handle: number, offset: number, bytes: Buffer): Reply<number> {
    const { node, file, canWrite, isAppending } = this.#handle(handle)
    if (!canWrite) throw new WormholeError('BAD_HANDLE', 'not open for writing')
    const wait = this.writeBytes(node, file, isAppending ? file.sizeBytes : offset, bytes)
    if (context.clearsSetId) this.#clearSetId(node)
    return wait ? wait.then(() => bytes.length) : bytes.length
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

  #clearSetId(node: Node): void {
    const { nodes, overlay, publisher, clock } = this.#core
    const { mode } = nodes.view(node).attributes
    const cleared = withoutSetId(mode)
    if (cleared === mode || node.detached) return
    publisher.commit(overlay.setAttributes(node.inode, { mode: cleared }))
    nodes.touch(node, clock.nowNs())
  }

  /** Cuts or grows a file. Published at the close of its handle, or soon when it has none. */
  truncate(context: RequestContext, node: Node, sizeBytes: number): void {
    const { files, writeback, nodes, clock } = this.#core
    const file = this.openFile(node)
    const nowNs = clock.nowNs()
    file.truncate(sizeBytes, nowNs)
    files.appendState(file)
    nodes.touch(node, nowNs)
    void writeback.changed(file)
    if (file.writers === 0) writeback.closed(file)
    if (context.clearsSetId) this.#clearSetId(node)
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
    await this.#core.files.sync()
    this.#core.writeback.synced(file)
  }

  fallocate(
    context: RequestContext,
    handle: number,
    range: { readonly offset: number; readonly length: number },
    mode: number,
  ): void {
    const { node, file, canWrite } = this.#handle(handle)
    if (!canWrite) throw new WormholeError('BAD_HANDLE', 'not open for writing')
    if ((mode & ~FALLOC_KEEP_SIZE) !== 0) {
      throw new WormholeError('UNSUPPORTED', `fallocate mode ${mode} is not supported`)
    }
    const end = range.offset + range.length
    if (end - file.sizeBytes > this.#core.options.space().freeBytes) {
      throw new WormholeError('DISK_FULL', 'not enough space to allocate')
    }
    if (mode === 0 && end > file.sizeBytes) this.truncate(context, node, end)
  }

  /** Closes every handle (the kernel session is over). */
  releaseAll(): void {
    for (const handle of [...this.#handles.keys()]) this.release(handle)
  }
}
