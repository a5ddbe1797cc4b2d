/** The concurrent contents of one inode: which is shown, which are losers. */
import { inodeKind } from './ids.ts'
import type { Content, NodeView } from './interface.ts'
import { byRank, winner } from './placement.ts'
import type { InodeRow, Value } from './records.ts'
import { isSameContent } from './registers.ts'

/** The content that is shown under the name; undefined when `C` was never written. */
export function contentWinner(row: InodeRow): Value<Content> | undefined {
  return winner(row.C)
}

/**
 * Contents that differ from the shown one and from each other, greatest rank first. Empty for a
 * directory: its times merge.
 */
export function contentLosers(row: InodeRow): readonly Value<Content>[] {
  if (row.C.length < 2 || inodeKind(row.id) === 'directory') return []
  const distinct: Value<Content>[] = []
  for (const value of [...row.C].sort(byRank)) {
    if (!distinct.some((other) => isSameContent(other.data, value.data))) distinct.push(value)
  }
  return distinct.slice(1)
}

/** The kind of a node that is not a link record. */
export function nodeKind(row: { readonly id: InodeRow['id'] }): NodeView['kind'] {
  return inodeKind(row.id) as NodeView['kind']
}
