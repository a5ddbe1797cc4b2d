/** What the command line asks about the tree: history and chunks, with text paths. */
import type { ContentStore } from '../chunks/interface.ts'
import type { ContentRef, VersionView } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { hasCode, WormholeError } from '../errors.ts'
import { nameFromText, type ChunkAddress } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import { sizeOf } from './conflict-queries.ts'
import type { VersionReport } from './interface.ts'
import { stampToIso } from './reports.ts'

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
    history: (path: string) => this.#history(path),
    versionContent: (args: { path: string; version: string }) => this.#versionContent(args),
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
