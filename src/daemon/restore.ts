/**
 * `wormhole restore`: brings back what a path held. Lives on the fs thread.
 *
 * What was deleted since comes back under its name (the same inode, so its history goes on), what
 * was changed since gets its old content as a new version. Nothing is deleted and nothing renamed:
 * what came later stays. Into another directory everything is made as copies that share all chunks.
 */
import type { Content, DirentView, Edit, NodeView, VersionView } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import type { DeletedName } from '../crdt/past.ts'
import { WormholeError } from '../errors.ts'
import { nameFromText, nameToText, type FileName, type Hlc, type InodeId } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import type { RestoreOptions, RestoreReport } from './interface.ts'
import { joinPath } from './tree-paths.ts'

/** What was removed in one go has at most so long between two removals, in the unit of stamps. */
const RUN_GAP = 60_000_000
const LIST_COUNT = 512
const NEW_DIRECTORY = { mode: 0o755, uid: 0, gid: 0 }

/** A place in the tree, as it is or was. */
type Source =
  | { readonly type: 'live'; readonly id: InodeId; readonly kind: NodeView['kind'] }
  | { readonly type: 'deleted'; readonly entry: DeletedName }

type Item = RestoreReport['items'][number]

/** See the head of this file. */
export class Restorer {
  readonly #overlay: Overlay
  readonly #vfs: Vfs

  constructor(options: { overlay: Overlay; vfs: Vfs }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
  }

  /** Methods for an `Rpc`. */
  readonly handlers = { restore: (options: RestoreOptions) => this.#restore(options) }

  async #restore(options: RestoreOptions): Promise<RestoreReport> {
    const { path, isPreview, to } = options
    const { parent, name, source } = this.#find(path)
    const at = await this.#moment(options, source)
    const target = to === undefined ? undefined : this.#directory(to)
    if (target === undefined && !this.#overlay.node(parent)) {
      throw new WormholeError(
        'NOT_FOUND',
        `the directory of ${path} is deleted, too: restore that one, or use --to DIR`,
      )
    }
    const items: Item[] = []
    const run = new Run(this.#overlay, this.#vfs, {
      at,
      isPreview,
      isCopy: to !== undefined,
      items,
    })
    const place = { parent: target ?? parent, name }
    const folder = to ?? path.slice(0, path.length - nameToText(name).length)
    const shown = joinPath(folder.replace(/\/+$/, '') || '/', nameToText(name))
    if ('version' in at) run.file(source, place, shown, at.version)
    else await run.entry(source, place, shown)
    await Promise.all(run.policies)
    if (!isPreview) await this.#vfs.submitPending()
    const restored = items.filter(({ action }) => action !== 'skipped')
    if (restored.length === 0 && items.length > 0) {
      throw new WormholeError('NOT_FOUND', `${items[0]?.path}: ${items[0]?.reason}`)
    }
    return { items, isPreview }
  }

  /** Walks down a path, through what was deleted where nothing is there now. */
  #find(path: string): { parent: InodeId; name: FileName; source: Source } {
    const names = path
      .split('/')
      .filter((part) => part !== '')
      .map(nameFromText)
    const name = names.pop()
    if (name === undefined) throw new WormholeError('BAD_ARGUMENT', 'name a file or a directory')
    let parent = this.#overlay.root
    for (const part of names) {
      const step = this.#child(parent, part)
      const kind = step?.type === 'live' ? step.kind : step?.entry.kind
      if (!step || kind !== 'directory') throw notThere(path)
      parent = step.type === 'live' ? step.id : step.entry.inode
    }
    const source = this.#child(parent, name)
    if (!source) throw notThere(path)
    return { parent, name, source }
  }

  #child(parent: InodeId, name: FileName): Source | undefined {
    const live = this.#overlay.lookup(parent, name)
    if (live) return { type: 'live', id: live.id, kind: live.kind }
    const entry = this.#overlay.deletedNames(parent).find((other) => other.name === name)
    return entry && { type: 'deleted', entry }
  }

  #directory(path: string): InodeId {
    const entry = this.#vfs.paths.stat(path, { follow: true })
    if (entry.type === 'directory') return entry.inode
    throw new WormholeError('NOT_A_DIRECTORY', `${path} is not a directory`)
  }

  async #moment(options: RestoreOptions, source: Source): Promise<Moment> {
    const { path, version, atMs } = options
    if (version !== undefined) return { version: this.#version(source, version, path) }
    if (atMs !== undefined) return { at: (atMs * 1000 + 999) as Hlc }
    if (source.type === 'live') {
      throw new WormholeError(
        'BAD_ARGUMENT',
        `${path} is there: say as of when, with --at TIME or (a file) --at VERSION`,
      )
    }
    return { at: await this.#beforeRun(source.entry) }
  }

  #version(source: Source, start: string, path: string): VersionView {
    const inode = source.type === 'live' ? source.id : source.entry.inode
    const found = this.#overlay
      .history({ inode })
      .filter(({ version }) => version.startsWith(start))
    const [first] = found
    if (!first) throw new WormholeError('NOT_FOUND', `${path} has no version ${start}`)
    if (found.some(({ version }) => version !== first.version)) {
      throw new WormholeError('BAD_ARGUMENT', `several versions of ${path} start with ${start}`)
    }
    return first
  }

  /** The moment before the run of removals that took a directory began. */
  async #beforeRun(entry: DeletedName): Promise<Hlc> {
    const stamps = [entry.deletedAt]
    const todo = entry.kind === 'directory' ? [entry.inode] : []
    for (let directory = todo.pop(); directory !== undefined; directory = todo.pop()) {
      for (const below of this.#overlay.deletedNames(directory)) {
        stamps.push(below.deletedAt)
        if (below.kind === 'directory') todo.push(below.inode)
      }
      await this.#vfs.breathe()
    }
    stamps.sort((a, b) => b - a)
    let first = entry.deletedAt
    for (const stamp of stamps) {
      if (stamp > first) continue
      if (first - stamp > RUN_GAP) break
      first = stamp
    }
    return (first - 1) as Hlc
  }
}

type Moment = { readonly at: Hlc } | { readonly version: VersionView }
type Place = { readonly parent: InodeId; readonly name: FileName }

/** One restoration: decides entry by entry, and does it unless it is a preview. */
class Run {
  readonly #overlay: Overlay
  readonly #vfs: Vfs
  readonly #at: Hlc
  readonly #isPreview: boolean
  readonly #isCopy: boolean
  readonly #items: Item[]
  /** Policies that are to follow their files. */
  readonly policies: Promise<unknown>[] = []

  constructor(
    overlay: Overlay,
    vfs: Vfs,
    options: { at: Moment; isPreview: boolean; isCopy: boolean; items: Item[] },
  ) {
    this.#overlay = overlay
    this.#vfs = vfs
    this.#at = 'at' in options.at ? options.at.at : (0 as Hlc)
    this.#isPreview = options.isPreview
    this.#isCopy = options.isCopy
    this.#items = options.items
  }

  async entry(source: Source, to: Place, path: string): Promise<void> {
    const kind = source.type === 'live' ? source.kind : source.entry.kind
    if (kind === 'directory') return this.#directory(source, to, path)
    const inode = source.type === 'live' ? source.id : source.entry.inode
    this.file(source, to, path, this.#overlay.versionAt(inode, this.#at))
  }

  async #directory(source: Source, to: Place, path: string): Promise<void> {
    const id = source.type === 'live' ? source.id : source.entry.inode
    if (source.type === 'deleted' && source.entry.deletedAt <= this.#at) return
    const target = this.#directoryAt(source, to, path)
    if (target === undefined) return
    const live = source.type === 'live' ? await this.#list(id) : []
    const names = new Set(live.map(({ name }) => name))
    for (const { id: child, kind, name } of live) {
      const place = { parent: target, name }
      await this.entry({ type: 'live', id: child, kind }, place, joinPath(path, nameToText(name)))
    }
    for (const [index, entry] of this.#overlay.deletedNames(id).entries()) {
      // A big tree holds up nobody's reads and writes.
      if (index % LIST_COUNT === 0) await this.#vfs.breathe()
      // The newest of that name at the time; a living one has been dealt with.
      if (entry.deletedAt <= this.#at || names.has(entry.name)) continue
      const isThere = entry.kind === 'directory' || this.#overlay.versionAt(entry.inode, this.#at)
      if (!isThere) continue
      names.add(entry.name)
      const place = { parent: target, name: entry.name }
      const below = joinPath(path, nameToText(entry.name))
      await this.entry({ type: 'deleted', entry }, place, below)
    }
  }

  /** The directory to put things into, made if need be; in a preview the id may be the old one. */
  #directoryAt(source: Source, to: Place, path: string): InodeId | undefined {
    const id = source.type === 'live' ? source.id : source.entry.inode
    const there = this.#overlay.lookup(to.parent, to.name)
    if (there?.kind === 'directory') return there.id
    if (there) return this.#skip(path, 'something else has the name now')
    this.#items.push({ path, action: this.#isCopy ? 'copied' : 'restored', size: 0 })
    if (this.#isPreview) return id
    if (source.type === 'deleted' && !this.#isCopy) {
      this.#commit(() => this.#overlay.undelete(source.entry.record, to))
      return id
    }
    const old = this.#overlay.node(id)?.attributes ?? NEW_DIRECTORY
    const { mode, uid, gid } = old
    let made = id
    this.#commit(() => {
      const created = this.#overlay.mkdir(to.parent, to.name, { mode, uid, gid })
      made = created.id
      return created.edit
    })
    return made
  }

  /** Brings one version of something back that is no directory. */
  file(source: Source, to: Place, path: string, version: VersionView | undefined): void {
    if (!version) {
      if (source.type === 'live') return undefined
      return this.#skip(path, 'the history does not go back that far')
    }
    const { content } = version
    const there = this.#overlay.lookup(to.parent, to.name)
    if (there) return this.#replace(there, content, version, path)
    const size = content.kind === 'file' ? content.sizeBytes : 0
    const { version: id } = version
    if (!this.#isCopy && source.type === 'deleted') {
      this.#items.push({ path, action: 'restored', size, version: id })
      const wanted = source.entry.isAlive ? undefined : content
      this.#commit(() => this.#overlay.undelete(source.entry.record, to, wanted))
      return undefined
    }
    if (content.kind !== 'file') return this.#skip(path, 'only files can be copied')
    this.#items.push({ path, action: 'copied', size, version: id })
    const inode = source.type === 'live' ? source.id : source.entry.inode
    const { mode, uid, gid, xattrs } = this.#overlay.node(inode)?.attributes ?? NEW_FILE
    const { ref, sizeBytes, mtimeNs } = content
    const made = { mode, uid, gid, xattrs, content: { ref, sizeBytes, isNamed: true }, mtimeNs }
    this.#commit(() => this.#overlay.createFile(to.parent, to.name, made).edit)
    return undefined
  }

  #replace(there: DirentView, content: Content, version: VersionView, path: string): undefined {
    const node = this.#overlay.node(there.id)
    if (this.#isCopy) return this.#skip(path, 'there is something of that name')
    if (content.kind !== 'file' || node?.content.kind !== 'file') {
      const isSame = node?.version === version.version
      return isSame ? undefined : this.#skip(path, 'something else has the name now')
    }
    if (node.version === version.version) return undefined
    const { ref, sizeBytes, mtimeNs } = content
    this.#items.push({ path, action: 'replaced', size: sizeBytes, version: version.version })
    this.#commit(() =>
      this.#overlay.setContent(there.id, { ref, sizeBytes, mtimeNs, isNamed: true }),
    )
    return undefined
  }

  #skip(path: string, reason: string): undefined {
    this.#items.push({ path, action: 'skipped', size: 0, reason })
    return undefined
  }

  #commit(build: () => Edit): void {
    const wait = this.#isPreview ? undefined : this.#vfs.commit(build)
    if (wait) this.policies.push(wait)
  }

  async #list(directory: InodeId): Promise<DirentView[]> {
    const found: DirentView[] = []
    let after: string | undefined
    do {
      const options = after === undefined ? {} : { after }
      const page = this.#overlay.list(directory, { ...options, countMax: LIST_COUNT })
      found.push(...page.entries)
      after = page.next
      if (after !== undefined) await this.#vfs.breathe()
    } while (after !== undefined)
    return found
  }
}

const NEW_FILE = { mode: 0o644, uid: 0, gid: 0, xattrs: new Map<string, Buffer>() }

function notThere(path: string): WormholeError {
  return new WormholeError('NOT_FOUND', `${path} does not exist, and nothing here ever did`)
}
