/** What the command line asks about the tree: conflicts, history and policies, with text paths. */
import type { ContentStore } from '../chunks/interface.ts'
import type { ConflictView, ContentRef, VersionView } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { hasCode, WormholeError } from '../errors.ts'
import { decidePolicy } from '../policy/decide.ts'
import { POLICY_FILE_NAME } from '../policy/parse.ts'
import { nameFromText, nameToText, type ChunkAddress } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import type { ConflictReport, ExplainReport, VersionReport } from './interface.ts'
import { stampToIso } from './reports.ts'
import { strategyOf } from './strategy.ts'
import { joinPath, pathOf } from './tree-paths.ts'

const CONFLICT_PAGE_COUNT = 256

function sizeOf(version: VersionView): number {
  return version.content.kind === 'file' ? version.content.sizeBytes : 0
}

/** Splits a text path into its directory and its last name. */
function splitPath(path: string): { directory: string; name: string } {
  const clean = path.replace(/\/+$/, '')
  const at = clean.lastIndexOf('/')
  if (at < 0 || clean === '') throw new WormholeError('BAD_ARGUMENT', `${path} names no file`)
  return { directory: clean.slice(0, at) || '/', name: clean.slice(at + 1) }
}

/** See the head of this file. Lives on the fs thread. */
export class TreeQueries {
  readonly #overlay: Overlay
  readonly #vfs: Vfs
  readonly #contents: ContentStore

  constructor(options: { overlay: Overlay; vfs: Vfs; contents: ContentStore }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
    this.#contents = options.contents
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    conflicts: (path: string) => this.#conflicts(path),
    conflictCount: () => this.#conflictViews().length,
    resolveConflict: (args: { path: string; keep: number | 'both' }) => this.#resolve(args),
    history: (path: string) => this.#history(path),
    versionContent: (args: { path: string; version: string }) => this.#versionContent(args),
    policyExplain: (path: string) => this.#policyExplain(path),
    addresses: (path: string) => this.#addresses(path),
  }

  #conflictViews(): ConflictView[] {
    const all: ConflictView[] = []
    let after: string | undefined
    do {
      const page = this.#overlay.conflicts({
        ...(after === undefined ? {} : { after }),
        countMax: CONFLICT_PAGE_COUNT,
      })
      all.push(...page.conflicts)
      after = page.next
    } while (after !== undefined)
    return all
  }

  #report(view: ConflictView): ConflictReport {
    const directory = pathOf(this.#overlay, view.parent)
    return {
      path: joinPath(directory, nameToText(view.name)),
      kind: view.kind,
      strategy: strategyOf(this.#overlay.policies(view.parent).map(({ policy }) => policy)),
      versions: view.versions.map((version) => ({
        version: version.version,
        device: version.deviceName,
        time: stampToIso(version.content.hlc),
        size: sizeOf(version),
        ...(version.shownAs === undefined
          ? {}
          : { path: joinPath(directory, nameToText(version.shownAs)) }),
        state: version.state,
      })),
    }
  }

  #conflicts(path: string): ConflictReport[] {
    const scope = path === '/' ? '/' : path.replace(/\/+$/, '')
    return this.#conflictViews()
      .map((view) => this.#report(view))
      .filter(
        (report) =>
          scope === '/' ||
          report.path === scope ||
          report.path.startsWith(`${scope}/`) ||
          report.versions.some((version) => version.path === scope),
      )
      .sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  #conflictAt(path: string): ConflictView {
    const found = this.#conflictViews().find((view) => {
      const report = this.#report(view)
      return report.path === path || report.versions.some((version) => version.path === path)
    })
    if (!found) throw new WormholeError('NOT_FOUND', `there is no conflict at ${path}`)
    return found
  }

  /** Returns what is left of the conflict. */
  async #resolve(args: {
    path: string
    keep: number | 'both'
  }): Promise<ConflictReport | undefined> {
    const { keep } = args
    const view = this.#conflictAt(args.path)
    const { parent, name, versions } = view
    if (keep !== 'both' && !versions[keep - 1]) {
      const allowed = `1 to ${versions.length}, or both`
      throw new WormholeError('BAD_ARGUMENT', `there is no version ${keep}: keep ${allowed}`)
    }
    const index = keep === 'both' ? keep : keep - 1
    await this.#vfs.perform(() => {
      if (index !== 'both') this.#checkRemovable(view, index)
      return this.#overlay.resolve(parent, name, index)
    })
    const left = this.#conflictViews().find((view) => view.parent === parent && view.name === name)
    return left && this.#report(left)
  }

  /** Keeping one version removes the others. @throws `NOT_EMPTY` that names the directory. */
  #checkRemovable(view: ConflictView, keep: number): void {
    const { versions } = this.#report(view)
    for (const [index, { inode, content }] of view.versions.entries()) {
      if (index === keep || content.kind !== 'directory') continue
      const { entries } = this.#overlay.list(inode, { countMax: 1 })
      if (entries.length === 0) continue
      throw new WormholeError(
        'NOT_EMPTY',
        `the directory ${versions[index]?.path ?? view.name} is not empty, ` +
          `and keeping version ${keep + 1} would remove it`,
      )
    }
  }

  #versions(path: string): VersionView[] {
    const { directory, name } = splitPath(path)
    const parent = this.#vfs.paths.stat(directory, { follow: true })
    const dirent = this.#overlay.lookup(parent.inode, nameFromText(name))
    const place = { parent: parent.inode, name: nameFromText(name) }
    return this.#overlay.history(dirent ? { inode: dirent.id } : place)
  }

  #history(path: string): VersionReport[] {
    const versions = this.#versions(path)
    if (versions.length === 0) {
      throw new WormholeError('NOT_FOUND', `${path} does not exist, and nothing here ever did`)
    }
    return versions.map((version) => ({
      version: version.version,
      time: stampToIso(version.content.hlc),
      device: version.deviceName,
      size: sizeOf(version),
      state: version.state,
    }))
  }

  #versionContent(args: { path: string; version: string }): {
    ref: ContentRef
    sizeBytes: number
  } {
    const matches = this.#versions(args.path).filter(({ version }) =>
      version.startsWith(args.version),
    )
    const version = matches[0]
    if (!version || version.content.kind !== 'file') {
      throw new WormholeError(
        'NOT_FOUND',
        `${args.path} has no version ${args.version}; \`wormhole history\` lists them`,
      )
    }
    if (matches.some((other) => other.version !== version.version)) {
      throw new WormholeError('BAD_ARGUMENT', `several versions start with ${args.version}`)
    }
    return { ref: version.content.ref, sizeBytes: version.content.sizeBytes }
  }

  #policyExplain(path: string): ExplainReport {
    const entry = this.#vfs.paths.stat(path, { follow: true })
    const node = this.#overlay.node(entry.inode)
    const directory = entry.type === 'directory' || !node ? entry.inode : node.parent
    const layers = this.#overlay
      .policies(directory)
      .map((layer) => ({ directory: pathOf(this.#overlay, layer.directory), policy: layer.policy }))
    const { values } = decidePolicy(layers)
    return {
      path,
      values: values.map((value) => ({
        key: value.key,
        value: value.value,
        from:
          value.directory === undefined ? 'default' : joinPath(value.directory, POLICY_FILE_NAME),
        line: undefined,
      })),
    }
  }

  /** The chunks of a file. `isPartial`: only those whose addresses can be had now. */
  async #addresses(
    path: string,
  ): Promise<{ sizeBytes: number; addresses: ChunkAddress[]; isPartial: boolean }> {
    const entry = this.#vfs.paths.stat(path, { follow: true })
    const content = this.#overlay.node(entry.inode)?.content
    if (content?.kind !== 'file') {
      throw new WormholeError('IS_DIRECTORY', `${path} is not a regular file`)
    }
    const { ref, sizeBytes } = content
    try {
      const addresses = await this.#contents.addresses({ ref, sizeBytes })
      return { sizeBytes, addresses, isPartial: false }
    } catch (error) {
      // No connected device has the whole manifest, so nobody has the whole file.
      if (ref.type === 'empty' || !hasCode(error, 'CHUNK_UNAVAILABLE')) throw error
      return { sizeBytes, addresses: [ref.address], isPartial: true }
    }
  }
}
