/**
 * Access by path, without a mount, on the same nodes and open files as the kernel. Paths are UTF-8
 * text outside and bytes inside. Every change is published before its promise resolves.
 */
import type { DirentView, NodeView } from '../crdt/interface.ts'
import { WormholeError } from '../errors.ts'
import { nameFromText, nameToText, type FileName, type InodeId } from '../types.ts'
import { combineEdits, LOCAL_CONTEXT, type Core } from './core.ts'
import type { Reconciler } from './delta.ts'
import type { Files } from './files.ts'
import { tooLarge } from './folder-rules.ts'
import type { PathApi, PathEntry } from './interface.ts'
import type { Names } from './names.ts'
import type { Base } from './open-file.ts'

/** As many as Linux follows (path_resolution(7)). */
const SYMLINKS_MAX = 40
const READ_BYTES = 1024 * 1024
const LIST_COUNT = 1024
const FILE_MODE = 0o644
const DIRECTORY_MODE = 0o755

interface Resolved {
  readonly view: NodeView
  /** Path with all symlinks resolved; `''` for the root. */
  readonly path: string
}

interface Slot {
  readonly directory: Resolved
  readonly name: FileName
}

/** `PathApi` on the parts of a `Vfs`. */
export class Paths implements PathApi {
  readonly #core: Core
  readonly #files: Files
  readonly #names: Names
  readonly #reconciler: Reconciler

  constructor(parts: { core: Core; files: Files; names: Names; reconciler: Reconciler }) {
    this.#core = parts.core
    this.#files = parts.files
    this.#names = parts.names
    this.#reconciler = parts.reconciler
  }

  #view(id: InodeId, path: string): NodeView {
    const view = this.#core.overlay.node(id)
    if (!view) throw new WormholeError('NOT_FOUND', `${path || '/'} does not exist`)
    return view
  }

  #resolve(path: string, follow: boolean): Resolved {
    const { overlay } = this.#core
    const todo = splitPath(path).reverse()
    const trail: Resolved[] = [{ view: this.#view(overlay.root, '/'), path: '' }]
    for (let linkCount = 0; ;) {
      const part = todo.pop()
      const here = trail[trail.length - 1] as Resolved
      if (part === undefined) return here
      if (part === '..') {
        if (trail.length > 1) trail.pop()
        continue
      }
      const at = `${here.path}/${part}`
      checkDirectory(here)
      const found = overlay.lookup(here.view.id, nameFromText(part))
      if (!found) throw new WormholeError('NOT_FOUND', `${at} does not exist`)
      const view = this.#view(found.id, at)
      if (view.content.kind !== 'symlink' || (todo.length === 0 && !follow)) {
        trail.push({ view, path: at })
        continue
      }
      if (++linkCount > SYMLINKS_MAX) {
        throw new WormholeError('LIMIT_EXCEEDED', `${at}: more than ${SYMLINKS_MAX} symlinks`)
      }
      const target = nameToText(view.content.target)
      if (target.startsWith('/')) {
        throw new WormholeError('BAD_ARGUMENT', `${at} leads out of the volume, to ${target}`)
      }
      todo.push(...splitPath(target).reverse())
    }
  }

  /** The directory and last name of a path that may not exist yet. */
  #slot(path: string): Slot {
    const parts = splitPath(path)
    const last = parts.pop()
    if (last === undefined || last === '..') {
      throw new WormholeError('BAD_ARGUMENT', `${path} has no file name`)
    }
    const directory = this.#resolve(parts.join('/'), true)
    checkDirectory(directory)
    return { directory, name: nameFromText(last) }
  }

  #entry(view: NodeView, path: string): PathEntry {
    const file = this.#core.nodes.current(view.id)?.file
    const content = view.content
    const dirty = file?.isDirty ? file : undefined
    const stored = content.kind === 'file' ? content.sizeBytes : 0
    return {
      name: path.slice(path.lastIndexOf('/') + 1),
      path: path === '' ? '/' : path,
      type: view.kind,
      sizeBytes: dirty?.sizeBytes ?? stored,
      mode: view.attributes.mode,
      uid: view.attributes.uid,
      gid: view.attributes.gid,
      mtimeNs: dirty?.mtimeNs ?? view.mtimeNs,
      inode: view.id,
      version: file?.version ?? view.version,
      ...(content.kind === 'symlink' ? { target: nameToText(content.target) } : {}),
    }
  }

  stat(path: string, options: { readonly follow?: boolean } = {}): PathEntry {
    const found = this.#resolve(path, options.follow ?? false)
    return this.#entry(found.view, found.path)
  }

  list(path: string): PathEntry[] {
    const directory = this.#resolve(path, true)
    checkDirectory(directory)
    const entries: PathEntry[] = []
    for (const { id, name } of this.#dirents(directory.view.id)) {
      const view = this.#core.overlay.node(id)
      if (view) entries.push(this.#entry(view, `${directory.path}/${nameToText(name)}`))
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  }

  *#dirents(directory: InodeId): Generator<DirentView> {
    let after: string | undefined
    do {
      const page = this.#core.overlay.list(directory, {
        ...(after === undefined ? {} : { after }),
        countMax: LIST_COUNT,
      })
      yield* page.entries
      after = page.next
    } while (after !== undefined)
  }

  async *readFile(
    path: string,
    options: { readonly content?: Base; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<Buffer> {
    const { nodes, contents } = this.#core
    const signal = options.signal ? { signal: options.signal } : {}
    const { content } = options
    if (content) {
      for (let offset = 0; offset < content.sizeBytes; offset += READ_BYTES) {
        yield* await contents.read(content, { offset, length: READ_BYTES }, signal)
      }
      return
    }
    const { view } = this.#resolve(path, true)
    if (view.kind === 'directory') {
      throw new WormholeError('IS_DIRECTORY', `${path} is a directory`)
    }
    const node = nodes.obtain(view.id, view.kind)
    const file = this.#files.openFile(node)
    file.handles++
    try {
      for (let offset = 0; offset < file.sizeBytes; offset += READ_BYTES) {
        yield await file.readCopy(contents, offset, READ_BYTES, signal)
      }
    } finally {
      file.handles--
      this.#files.releaseFile(node)
    }
  }

  async writeFile(
    path: string,
    pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options: { readonly mode?: number } = {},
  ): Promise<PathEntry> {
    const { directory } = this.#target(path)
    const { holds, publisher, rules } = this.#core
    rules.checkWritable(directory.view.id)
    const { id, slot } = await holds.during(() => this.#write(path, pieces, options))
    await publisher.publish()
    const at = `${slot.directory.path}/${nameToText(slot.name)}`
    return this.#entry(this.#view(id, at), at)
  }

  /** Makes a content and the edit that names it. */
  async #write(
    path: string,
    pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options: { readonly mode?: number },
  ): Promise<{ id: InodeId; slot: Slot }> {
    const { contents, clock, policies, rules } = this.#core
    const { directory, name } = this.#target(path)
    const sizeBytesMax = rules.fileSizeMax({ parent: directory.view.id, name })
    const stream = contents.stream()
    let base: Base
    let sizeBytes = 0
    try {
      for await (const piece of pieces) {
        sizeBytes += piece.length
        if (sizeBytes > sizeBytesMax) throw tooLarge(sizeBytesMax)
        await stream.write(piece)
      }
      base = await stream.finish()
    } catch (error) {
      stream.abort()
      throw error
    }
    await contents.sync()
    const isPolicy = policies.isPolicyFile(this.#slot(path).name)
    const text = isPolicy ? await policies.textOf(base) : undefined
    const slot = this.#target(path)
    const policy = isPolicy ? policies.edit(slot.directory.view.id, text) : undefined
    const how = { mode: options.mode, mtimeNs: clock.nowNs(), policy }
    return { id: this.#put(slot, base, how), slot }
  }

  #lookup(slot: Slot): DirentView | undefined {
    return this.#core.overlay.lookup(slot.directory.view.id, slot.name)
  }

  /** The slot of a path whose last part may be a symlink to a file. */
  #target(path: string): Slot {
    const slot = this.#slot(path)
    const found = this.#lookup(slot)
    if (found?.kind !== 'symlink') {
      checkNotDirectory(found, path)
      return slot
    }
    const resolved = this.#resolve(path, true)
    return this.#slot(resolved.path)
  }

  /** Makes `base` the content of a name, new or not, by one edit. */
  #put(
    slot: Slot,
    base: Base,
    how: {
      readonly mode: number | undefined
      readonly mtimeNs: bigint
      readonly policy: ReturnType<Core['policies']['edit']>
    },
  ): InodeId {
    const { overlay, publisher } = this.#core
    const { mode, mtimeNs, policy } = how
    const parent = slot.directory.view.id
    const found = this.#lookup(slot)
    let id = found?.id
    if (id === undefined) {
      const { uid, gid } = LOCAL_CONTEXT
      const made = overlay.createFile(parent, slot.name, {
        mode: mode ?? FILE_MODE,
        uid,
        gid,
        content: base,
        mtimeNs,
      })
      id = made.id
      publisher.commit(combineEdits(this.#core, [made.edit, policy]) ?? made.edit)
    } else {
      const edit = combineEdits(this.#core, [
        overlay.setContent(id, { ...base, mtimeNs }),
        mode === undefined ? undefined : overlay.setAttributes(id, { mode }),
        policy,
      ])
      if (edit) publisher.commit(edit)
    }
    this.#reconciler.apply({ nodes: [{ id, hasContent: true }], dirents: [], contents: [] })
    this.#announce(parent, slot.name)
    return id
  }

  /** The kernel does not know of this change: it is told as of a remote one. */
  #announce(parent: InodeId, name: FileName): void {
    this.#reconciler.apply({
      nodes: [{ id: parent, hasContent: false }],
      dirents: [{ parent, name }],
      contents: [],
    })
  }

  async makeDirectory(path: string): Promise<PathEntry> {
    const slot = this.#slot(path)
    const { overlay, publisher, rules } = this.#core
    rules.checkWritable(slot.directory.view.id)
    const { uid, gid } = LOCAL_CONTEXT
    const parent = slot.directory.view.id
    const { edit, id } = overlay.mkdir(parent, slot.name, { mode: DIRECTORY_MODE, uid, gid })
    publisher.commit(edit)
    this.#announce(parent, slot.name)
    await publisher.publish()
    const at = `${slot.directory.path}/${nameToText(slot.name)}`
    return this.#entry(this.#view(id, at), at)
  }

  async remove(path: string, options: { readonly isRecursive?: boolean } = {}): Promise<void> {
    const slot = this.#slot(path)
    this.#core.rules.checkWritable(slot.directory.view.id)
    const found = this.#lookup(slot)
    if (!found) throw new WormholeError('NOT_FOUND', `${path} does not exist`)
    this.#remove(slot.directory.view.id, found, options.isRecursive ?? false)
    await this.#core.publisher.publish()
  }

  #remove(parent: InodeId, dirent: DirentView, isRecursive: boolean): void {
    const { nodes } = this.#core
    const isDirectory = dirent.kind === 'directory'
    if (isDirectory && isRecursive) {
      for (const child of [...this.#dirents(dirent.id)]) this.#remove(dirent.id, child, true)
    }
    const node = nodes.obtain(parent, 'directory')
    const isKnown = node.children?.has(dirent.name) ?? false
    if (isDirectory) this.#names.rmdir(node, dirent.name)
    else this.#names.unlink(node, dirent.name)
    if (isKnown) this.#reconciler.invalidateEntry(node, dirent.name)
    this.#announce(parent, dirent.name)
    nodes.release(node)
  }
}

function splitPath(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

function checkDirectory({ view, path }: Resolved): void {
  if (view.kind === 'directory') return
  throw new WormholeError('NOT_A_DIRECTORY', `${path} is not a directory`)
}

function checkNotDirectory(found: DirentView | undefined, path: string): void {
  if (found?.kind === 'directory') {
    throw new WormholeError('IS_DIRECTORY', `${path} is a directory`)
  }
}
