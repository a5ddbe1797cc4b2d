/** Text paths from the root of a volume. */
import type { Overlay } from '../crdt/overlay.ts'
import { nameToText, type InodeId } from '../types.ts'

/** Deeper than any path a program can name. */
const DEPTH_MAX = 4096

/** Joins a directory's text path and a name. */
export function joinPath(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}

/** Where an inode is; begins with `/?` when it has left the tree. */
export function pathOf(overlay: Overlay, id: InodeId): string {
  const names: string[] = []
  for (let at = id; at !== overlay.root;) {
    const node = overlay.node(at)
    if (!node || names.length > DEPTH_MAX) return `/?/${names.reverse().join('/')}`
    names.push(nameToText(node.name))
    at = node.parent
  }
  return `/${names.reverse().join('/')}`
}
