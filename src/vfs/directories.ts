/**
 * Directory handles: listing in pages over the tree's own stable order, so that neither memory nor
 * time per call grows with the directory, and a name that stays is listed exactly once.
 */
import type { DirentView } from '../crdt/interface.ts'
import { WormholeError } from '../errors.ts'
import type { FileName } from '../types.ts'
import { fileTypeOf, S_IFDIR, S_IFLNK, S_IFREG } from './attr.ts'
import type { Core } from './core.ts'
import type { DirectoryEntry, DirectoryEntryPlus } from './interface.ts'
import type { Names } from './names.ts'
import type { Node } from './nodes.ts'

/** Entries fetched at once. */
const PAGE_COUNT = 256
/** Offsets 0 and 1 are those of `.` and `..`; entry k of the tree has offset k + 2. */
const DOT_COUNT = 2

/** Where a page starts: index of its first entry, and the tree's cursor before it. */
interface PageStart {
  readonly index: number
  readonly after: string | undefined
}

interface DirectoryHandle {
  readonly node: Node
  /** All pages begun so far, for seeking back. */
  readonly starts: PageStart[]
  page: readonly DirentView[]
  /** Which of `starts` `page` is; -1 for none. */
  at: number
}

/** Directory handles and what is done with them. */
export class Directories {
  readonly #core: Core
  readonly #names: Names
  readonly #handles = new Map<number, DirectoryHandle>()
  #nextHandle = 1

  constructor(core: Core, names: Names) {
    this.#core = core
    this.#names = names
  }

  opendir(node: Node): number {
    if (node.kind !== 'directory') {
      throw new WormholeError('NOT_A_DIRECTORY', 'is not a directory')
    }
    node.directoryHandles++
    const handle = this.#nextHandle++
    const starts = [{ index: 0, after: undefined }]
    this.#handles.set(handle, { node, starts, page: [], at: -1 })
    return handle
  }

  #handle(handle: number): DirectoryHandle {
    const found = this.#handles.get(handle)
    if (!found) throw new WormholeError('BAD_HANDLE', `no open directory ${handle}`)
    return found
  }

  releasedir(handle: number): void {
    const { node } = this.#handle(handle)
    this.#handles.delete(handle)
    node.directoryHandles--
    this.#core.nodes.release(node)
  }

  /**
   * Makes the page that holds entry `index` the current one; its index, or undefined at the end.
   */
  #seek(directory: DirectoryHandle, index: number): number | undefined {
    if (index === 0) this.#rewind(directory)
    const { starts } = directory
    for (;;) {
      let wanted = starts.length - 1
      while (wanted > 0 && (starts[wanted] as PageStart).index > index) wanted--
      if (wanted !== directory.at) this.#load(directory, wanted)
      else {
        const start = starts[wanted] as PageStart
        if (index < start.index + directory.page.length) return index
        // A page fetched again after removals is shorter: go on where the next one starts.
        const next = starts[wanted + 1]
        if (!next) return undefined
        index = next.index
      }
    }
  }

  /** rewinddir(3): what has changed since opendir shows up. */
  #rewind(directory: DirectoryHandle): void {
    directory.starts.length = 1
    directory.at = -1
  }

  #load(directory: DirectoryHandle, wanted: number): void {
    const { starts, node } = directory
    const start = starts[wanted] as PageStart
    const after = start.after === undefined ? {} : { after: start.after }
    const { entries, next } = this.#core.overlay.list(node.inode, {
      ...after,
      countMax: PAGE_COUNT,
    })
    directory.page = entries
    directory.at = wanted
    if (wanted < starts.length - 1) return
    if (next !== undefined) starts.push({ index: start.index + entries.length, after: next })
  }

  #dot(node: Node, offset: number): DirectoryEntry {
    const { nodes, overlay } = this.#core
    const parent = offset === 0 ? node.inode : (overlay.node(node.inode)?.parent ?? node.inode)
    const name = (offset === 0 ? '.' : '..') as FileName
    return { name, ino: nodes.ino(parent), type: S_IFDIR, nextOffset: offset + 1 }
  }

  #typeOf(dirent: DirentView): number {
    if (dirent.kind === 'directory') return S_IFDIR
    if (dirent.kind === 'file') return S_IFREG
    if (dirent.kind === 'symlink') return S_IFLNK
    const view = this.#core.overlay.node(dirent.id)
    return view ? fileTypeOf(view) : S_IFREG
  }

  /**
   * Entries of one page at most: what a caller asks for again lies in the page still held, so that
   * removals in between never shift it.
   */
  readdir(handle: number, offset: number, countMax: number): DirectoryEntry[] {
    const directory = this.#handle(handle)
    const entries: DirectoryEntry[] = []
    let at = offset
    for (; at < DOT_COUNT && entries.length < countMax; at++) {
      entries.push(this.#dot(directory.node, at))
    }
    if (directory.node.isUnlinked) return entries
    if (entries.length === countMax) return entries
    const index = this.#seek(directory, at - DOT_COUNT)
    if (index === undefined) return entries
    const { page, starts } = directory
    const first = index - (starts[directory.at] as PageStart).index
    for (const [position, dirent] of page.slice(first).entries()) {
      if (entries.length === countMax) break
      const ino = this.#core.nodes.ino(dirent.id)
      const nextOffset = index + position + DOT_COUNT + 1
      entries.push({ name: dirent.name, ino, type: this.#typeOf(dirent), nextOffset })
    }
    return entries
  }

  /** As `readdir`, with what a lookup of each name answers; gone names come without. */
  readdirplus(handle: number, offset: number, countMax: number): DirectoryEntryPlus[] {
    const { node } = this.#handle(handle)
    return this.readdir(handle, offset, countMax).map((entry) => {
      if (entry.nextOffset <= DOT_COUNT) return entry
      const looked = this.#names.lookup(node, entry.name)
      return looked ? { ...entry, entry: looked } : entry
    })
  }

  /** Closes every handle (the kernel session is over). */
  releaseAll(): void {
    for (const handle of [...this.#handles.keys()]) this.releasedir(handle)
  }
}
