/** What the policies above a directory say about concurrent edits. */
import type { InodeId } from '../types.ts'
import { inodeKind, ROOT } from './ids.ts'
import type { Layer } from './layer.ts'
import { byRank, location, winner } from './placement.ts'
import type { InodeRow, Value } from './records.ts'
import type { PolicyText } from './registers.ts'

/** Show the losers as copies, or keep them in the history only. */
export type ConflictStrategy = 'copies' | 'last-writer-wins'
/** Decides from the policy texts, nearest directory first. Must be pure. */
export type StrategyOf = (policies: readonly string[]) => ConflictStrategy

/** The policy of one canonical directory: the winner among all directories merged into it. */
function policyOf(layer: Layer, row: InodeRow): string {
  let best = winner(row.P)
  for (const id of row.merged) {
    const other = winner(layer.inode(id)?.P ?? [])
    if (other && (!best || byRank(other, best as Value<PolicyText>) < 0)) best = other
  }
  return best?.data.text ?? ''
}

/** Policy texts from this directory (or the one that shows this inode) to the root. */
export function policiesAbove(
  layer: Layer,
  start: InodeId,
): { directory: InodeId; policy: string }[] {
  const found: { directory: InodeId; policy: string }[] = []
  let id = start
  for (;;) {
    const row = layer.inode(id)
    if (row && inodeKind(id) === 'directory') {
      const policy = policyOf(layer, row)
      if (policy !== '') found.push({ directory: id, policy })
    }
    if (id === ROOT || !row || row.slotParent === '') return found
    id = row.slotParent
  }
}

/**
 * Policy texts where an inode is, or was when it was deleted, to the root. What was deleted with
 * its folder is still ruled by what lies above that. There is an end: places form no cycle, also
 * of what is deleted (README.md, rule 2).
 */
export function policiesOf(layer: Layer, inode: InodeId): { directory: InodeId; policy: string }[] {
  const found: { directory: InodeId; policy: string }[] = []
  let id = inode
  for (;;) {
    const row = layer.inode(id)
    const isGone = row !== undefined && row.slotParent === '' && row.L.length > 0
    if (!isGone) return [...found, ...policiesAbove(layer, id)]
    const policy = inodeKind(id) === 'directory' ? policyOf(layer, row) : ''
    if (policy !== '') found.push({ directory: id, policy })
    const { parent } = location(row)
    id = layer.inode(parent)?.canonical || parent
  }
}
