/**
 * What is pinned on this device, on the fs thread: whether an inode lies at or below a pin. A pin
 * holds an inode, not a path: renaming the folder, or one above it, changes nothing.
 */
import type { TreeDelta } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import type { LayerReader } from '../crdt/tree-reader.ts'
import type { InodeId } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import { pathOf } from './tree-paths.ts'

/** Deeper than any path a program can name. */
const DEPTH_MAX = 4096

/** Tells for many inodes of one moment whether they lie at or below a pin. */
export function pinChecker(
  tree: Pick<LayerReader, 'root' | 'node' | 'parents'>,
  pins: readonly InodeId[],
): (inode: InodeId) => boolean {
  if (pins.length === 0) return () => false
  // A directory that was merged into another one is that one now.
  const canonical = new Set(pins.map((pin) => tree.node(pin)?.id ?? pin))
  const known = new Map<InodeId, boolean>()
  const isBelow = (directory: InodeId): boolean => {
    const passed: InodeId[] = []
    let answer = false
    for (let at = directory; passed.length < DEPTH_MAX;) {
      const told = canonical.has(at) || known.get(at)
      if (told !== undefined) answer = told
      if (told !== undefined || at === tree.root) break
      passed.push(at)
      const [parent] = tree.parents(at)
      if (parent === undefined) break
      at = parent
    }
    for (const each of passed) known.set(each, answer)
    return answer
  }
  // A file may have several names.
  return (inode) => canonical.has(inode) || tree.parents(inode).some(isBelow)
}

/** See the head of this file. */
export class Pins {
  readonly #overlay: Overlay
  readonly #vfs: Pick<Vfs, 'paths'>
  readonly #told: () => Promise<void>
  #pins: readonly InodeId[]

  /** @param options - `told`: resolves when the overlay shows all that main may know of. */
  constructor(options: {
    overlay: Overlay
    vfs: Pick<Vfs, 'paths'>
    pins: readonly InodeId[]
    told: () => Promise<void>
  }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
    this.#pins = options.pins
    this.#told = options.told
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    /** What is pinned now. */
    pinned: () => this.#pins,
    setPins: (pins: readonly InodeId[]) => void (this.#pins = pins),
    pinTarget: (path: string) => this.#target(path),
    /** Where they are; undefined for what is deleted. */
    placesOf: (inodes: readonly InodeId[]) => inodes.map((inode) => this.#place(inode)),
    /** For each inode which of these pins it lies at or below. */
    belowPins: async (args: { inodes: readonly InodeId[]; pins: readonly InodeId[] }) => {
      const { inodes, pins } = args
      await this.#told()
      const checks = pins.map((pin) => this.#checker([pin]))
      return inodes.map((inode) => checks.flatMap((isBelow, at) => (isBelow(inode) ? [at] : [])))
    },
  }

  /** Tells for many inodes of one moment whether they are pinned. */
  checker(): (inode: InodeId) => boolean {
    return this.#checker(this.#pins)
  }

  /** The path of a pin that holds an inode here, if one does. */
  above(inode: InodeId): string | undefined {
    const pin = this.#pins.find((each) => this.#checker([each])(inode))
    return pin && this.#place(pin)
  }

  /**
   * Whether something that was there before has come below a pin: of what is new, main learns by
   * itself.
   */
  hasMovedIn({ nodes, dirents }: TreeDelta): boolean {
    if (this.#pins.length === 0 || dirents.length === 0) return false
    const known = new Set(nodes.map(({ id }) => id))
    const isPinned = this.checker()
    return dirents.some(({ parent, name }) => {
      const id = isPinned(parent) ? this.#overlay.lookup(parent, name)?.id : undefined
      return id !== undefined && known.has(id)
    })
  }

  #checker(pins: readonly InodeId[]): (inode: InodeId) => boolean {
    return pinChecker(this.#overlay, pins)
  }

  #target(path: string): { inode: InodeId; path: string } {
    const { inode } = this.#vfs.paths.stat(path, { follow: true })
    // A conflict copy is not an inode yet; it stays here with the file that it is a copy of.
    const id = this.#overlay.node(inode)?.copyOf?.inode ?? inode
    return { inode: id, path: pathOf(this.#overlay, inode) }
  }

  #place(inode: InodeId): string | undefined {
    return this.#overlay.node(inode) && pathOf(this.#overlay, inode)
  }
}
