/** The kernel's view: node ids and handles in front of the operations. */
import { constants } from 'node:fs'
import { hasCode, WormholeError } from '../errors.ts'
import type { FileName } from '../types.ts'
import type { Attributes } from './attributes.ts'
import type { Core } from './core.ts'
import type { Directories } from './directories.ts'
import type { Files, HandlePlace } from './files.ts'
import type {
  Attr,
  AttrChanges,
  DirectoryEntry,
  DirectoryEntryPlus,
  EntryReply,
  FileSystem,
  OpenReply,
  Reply,
  RequestContext,
} from './interface.ts'
import type { Names } from './names.ts'
import type { Node } from './nodes.ts'

const BLOCK_SIZE_BYTES = 4096
/** The volume has no limit on files: a number that programs accept. */
const FILES_FREE = 2 ** 32

/** The parts that `VfsFileSystem` puts together. */
export interface FileSystemParts {
  readonly core: Core
  readonly files: Files
  readonly names: Names
  readonly attributes: Attributes
  readonly directories: Directories
}

/** `FileSystem` over the parts. */
export class VfsFileSystem implements FileSystem {
  readonly #core: Core
  readonly #files: Files
  readonly #names: Names
  readonly #attributes: Attributes
  readonly #directories: Directories

  constructor(parts: FileSystemParts) {
    this.#core = parts.core
    this.#files = parts.files
    this.#names = parts.names
    this.#attributes = parts.attributes
    this.#directories = parts.directories
  }

  #node(nodeId: number): Node {
    return this.#core.nodes.get(nodeId)
  }

  lookup(_context: RequestContext, parent: number, name: FileName): EntryReply | undefined {
    return this.#names.lookup(this.#node(parent), name)
  }

  forget(nodeId: number, count: number): void {
    this.#core.nodes.forget(nodeId, count)
  }

  getattr(nodeId: number): Attr {
    return this.#core.nodes.attr(this.#node(nodeId))
  }

  setattr(context: RequestContext, nodeId: number, changes: AttrChanges): Attr {
    return this.#attributes.setattr(context, this.#node(nodeId), changes)
  }

  readlink(nodeId: number): Buffer {
    const { content } = this.#core.nodes.view(this.#node(nodeId))
    if (content.kind !== 'symlink') throw new WormholeError('BAD_ARGUMENT', 'is no symlink')
    return Buffer.from(content.target, 'latin1')
  }

  symlink(context: RequestContext, parent: number, name: FileName, target: Buffer): EntryReply {
    return this.#names.symlink(context, this.#node(parent), name, target)
  }

  mknod(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    rdev: number,
  ): EntryReply {
    return this.#names.mknod(context, this.#node(parent), name, mode, rdev)
  }

  mkdir(context: RequestContext, parent: number, name: FileName, mode: number): EntryReply {
    return this.#names.mkdir(context, this.#node(parent), name, mode)
  }

  unlink(_context: RequestContext, parent: number, name: FileName): void {
    this.#names.unlink(this.#node(parent), name)
  }

  rmdir(_context: RequestContext, parent: number, name: FileName): void {
    this.#names.rmdir(this.#node(parent), name)
  }

  rename(
    _context: RequestContext,
    from: { parent: number; name: FileName },
    to: { parent: number; name: FileName },
    flags: number,
  ): Reply<void> {
    return this.#names.rename(
      { parent: this.#node(from.parent), name: from.name },
      { parent: this.#node(to.parent), name: to.name },
      flags,
    )
  }

  link(
    _context: RequestContext,
    nodeId: number,
    parent: number,
    name: FileName,
  ): Reply<EntryReply> {
    return this.#names.link(this.#node(nodeId), this.#node(parent), name)
  }

  open(context: RequestContext, nodeId: number, flags: number): OpenReply {
    return this.#files.open(context, this.#node(nodeId), flags)
  }

  create(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    flags: number,
  ): { entry: EntryReply; open: OpenReply } {
    const directory = this.#node(parent)
    try {
      const { node, entry } = this.#names.createFile(context, directory, name, mode)
      return { entry, open: this.#files.open(context, node, flags & ~constants.O_TRUNC) }
    } catch (error) {
      if (!hasCode(error, 'ALREADY_EXISTS') || flags & constants.O_EXCL) throw error
    }
    // Another device made it between the kernel's lookup and now.
    const entry = this.#names.lookup(directory, name)
    if (!entry) throw new WormholeError('NOT_FOUND', 'the file is gone again')
    try {
      return { entry, open: this.#files.open(context, this.#node(entry.nodeId), flags) }
    } catch (error) {
      this.forget(entry.nodeId, 1)
      throw error
    }
  }

  read(
    context: RequestContext,
    handle: number,
    offset: number,
    length: number,
  ): Reply<readonly Buffer[]> {
    return this.#files.read(context, handle, offset, length)
  }

  write(
    context: RequestContext,
    handle: number,
    offset: number,
    bytes: Buffer,
    isAppending?: boolean,
  ): Reply<number> {
    return this.#files.write(context, handle, offset, bytes, isAppending)
  }

  flush(handle: number): void {
    this.#files.flush(handle)
  }

  release(handle: number): void {
    this.#files.release(handle)
  }

  fsync(handle: number): Promise<void> {
    return this.#files.fsync(handle)
  }

  opendir(nodeId: number): number {
    return this.#directories.opendir(this.#node(nodeId))
  }

  readdir(handle: number, offset: number, countMax: number): readonly DirectoryEntry[] {
    return this.#directories.readdir(handle, offset, countMax)
  }

  readdirplus(
    _context: RequestContext,
    handle: number,
    offset: number,
    countMax: number,
  ): readonly DirectoryEntryPlus[] {
    return this.#directories.readdirplus(handle, offset, countMax)
  }

  releasedir(handle: number): void {
    this.#directories.releasedir(handle)
  }

  fsyncdir(): Promise<void> {
    return this.#core.files.sync({ isUrgent: true })
  }

  syncfs(): Promise<void> {
    return this.#core.files.sync()
  }

  statfs(): ReturnType<FileSystem['statfs']> {
    const { freeBytes, totalBytes } = this.#core.options.space()
    return {
      blockSizeBytes: BLOCK_SIZE_BYTES,
      blocks: Math.floor(totalBytes / BLOCK_SIZE_BYTES),
      blocksFree: Math.floor(freeBytes / BLOCK_SIZE_BYTES),
      files: this.#core.overlay.fileCount + FILES_FREE,
      filesFree: FILES_FREE,
    }
  }

  getxattr(nodeId: number, name: string): Buffer | undefined {
    return this.#attributes.getxattr(this.#node(nodeId), name)
  }

  setxattr(
    _context: RequestContext,
    nodeId: number,
    name: string,
    value: Buffer,
    mode: 'any' | 'create' | 'replace',
  ): void {
    this.#attributes.setxattr(this.#node(nodeId), name, value, mode)
  }

  listxattr(context: RequestContext, nodeId: number): string[] {
    return this.#attributes.listxattr(context, this.#node(nodeId))
  }

  removexattr(_context: RequestContext, nodeId: number, name: string): void {
    this.#attributes.removexattr(this.#node(nodeId), name)
  }

  fallocate(
    context: RequestContext,
    handle: number,
    offset: number,
    length: number,
    mode: number,
  ): void {
    this.#files.fallocate(context, handle, { offset, length }, mode)
  }

  seek(
    context: RequestContext,
    handle: number,
    offset: number,
    what: 'data' | 'hole',
  ): Reply<number | undefined> {
    return this.#files.seek(context, handle, offset, what)
  }

  copyRange(
    context: RequestContext,
    from: HandlePlace,
    to: HandlePlace,
    length: number,
  ): Promise<number> {
    return this.#files.copyRange(context, from, to, length)
  }

  temporary(
    context: RequestContext,
    parent: number,
    mode: number,
    flags: number,
  ): { entry: EntryReply; open: OpenReply } {
    const { node, entry } = this.#names.temporary(context, this.#node(parent), mode)
    return { entry, open: this.#files.open(context, node, flags & ~constants.O_TRUNC) }
  }
}
