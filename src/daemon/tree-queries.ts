/** What the command line asks about the tree: history and policies, with text paths. */
import type { ContentStore } from '../chunks/interface.ts'
import type { ContentRef, VersionView } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { hasCode, WormholeError } from '../errors.ts'
import { decidePolicy } from '../policy/decide.ts'
import { POLICY_FILE_NAME } from '../policy/parse.ts'
import { nameFromText, type ChunkAddress, type InodeId } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import { sizeOf } from './conflict-queries.ts'
import type { ExplainReport, VersionReport } from './interface.ts'
import { readPolicyFile } from './policy-watch.ts'
import { stampToIso } from './reports.ts'
import { joinPath, pathOf } from './tree-paths.ts'

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
  readonly #isHere: (inode: InodeId) => boolean

  /** @param options - `isHere`: whether the bytes of a file can be read without the network. */
  constructor(options: {
    overlay: Overlay
    vfs: Vfs
    contents: ContentStore
    isHere: (inode: InodeId) => boolean
  }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
    this.#contents = options.contents
    this.#isHere = options.isHere
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    history: (path: string) => this.#history(path),
    versionContent: (args: { path: string; version: string }) => this.#versionContent(args),
    policyExplain: (path: string) => this.#policyExplain(path),
    addresses: (path: string) => this.#addresses(path),
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

  async #policyExplain(path: string): Promise<ExplainReport> {
    const entry = this.#vfs.paths.stat(path, { follow: true })
    const node = this.#overlay.node(entry.inode)
    const directory = entry.type === 'directory' || !node ? entry.inode : node.parent
    const layers = this.#overlay.policies(directory)
    const { values } = decidePolicy(layers)
    const lines = new Map<string, ReadonlyMap<string, number>>()
    for (const layer of layers) lines.set(layer.directory, await this.#linesOf(layer))
    return {
      path,
      values: values.map(({ key, value, directory: from }) => ({
        key,
        value,
        from: from === undefined ? 'default' : this.#policyFile(from),
        line: from === undefined ? undefined : lines.get(from)?.get(key),
      })),
    }
  }

  #policyFile(directory: InodeId): string {
    return joinPath(pathOf(this.#overlay, directory), POLICY_FILE_NAME)
  }

  /**
   * Where the file of a directory sets each key. Nothing when the file is not on this device, or
   * says something else than what holds: then it has mistakes, or is about to take effect.
   */
  async #linesOf(layer: {
    readonly directory: InodeId
    readonly policy: string
  }): Promise<ReadonlyMap<string, number>> {
    const found = this.#overlay.lookup(layer.directory, nameFromText(POLICY_FILE_NAME))
    if (found?.kind !== 'file' || !this.#isHere(found.id)) return new Map()
    const parsed = await readPolicyFile(this.#vfs.paths, this.#policyFile(layer.directory))
    return 'canonical' in parsed && parsed.canonical === layer.policy ? parsed.lines : new Map()
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
