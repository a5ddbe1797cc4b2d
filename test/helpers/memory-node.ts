/** The inodes of `MemoryFileSystem`. */
import type { FileName } from '../../src/types.ts'
import type { Attr } from '../../src/vfs/interface.ts'
import type { MemoryPages } from './memory-pages.ts'

/** The bits of a mode that tell the type. */
export const S_IFMT = 0o170000
/** The type of a directory. */
export const S_IFDIR = 0o040000

/** A name in a directory; `position` grows with every new one. */
export interface Dirent {
  readonly node: Node
  readonly position: number
}

/** One inode. Exactly one of `children`, `pages`, `target` is used, by type. */
export interface Node {
  readonly nodeId: number
  readonly attr: Attr
  readonly children: Map<FileName, Dirent>
  readonly pages: MemoryPages
  target: Buffer
  readonly attributes: Map<string, Buffer>
  parent: Node
  lookups: number
  opens: number
}

/** Whether a node is a directory. */
export function isDirectory(node: Node): boolean {
  return (node.attr.mode & S_IFMT) === S_IFDIR
}
