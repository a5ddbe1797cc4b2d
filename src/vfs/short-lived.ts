/**
 * Files that are made and removed before anybody was told: temporary files, locks, probes.
 *
 * Folding (`crdt/fold.ts`) drops them from what it is given at a time. This finds them among all
 * edits that wait, so that neither their bytes cross threads nor their number splits a group.
 */
import { inodeKind } from '../crdt/ids.ts'
import type { Edit, Put } from '../crdt/interface.ts'
import { decodeRegister } from '../crdt/registers.ts'
import type { InodeId } from '../types.ts'

/** Follows the edits that wait. Directories are left to folding: others may lie in them. */
export class ShortLived {
  /** Made by an edit that was never given away, and named by no hard link. */
  readonly #fresh = new Set<InodeId>()
  /** Those of them that were removed again. */
  readonly #gone = new Set<InodeId>()

  /** An edit waits from now on. */
  add(edit: Edit): void {
    for (const put of edit.puts) if (put.register === 'L') this.#note(put)
  }

  #note({ inode, value, base }: Put): void {
    const kind = inodeKind(inode)
    if (kind === 'link') {
      const { target } = decodeRegister('L', inode, value)
      if (target !== undefined) this.#forget(target)
    } else if (kind !== 'directory') {
      if (base.length === 0) this.#fresh.add(inode)
      else if (this.#fresh.has(inode)) {
        if (decodeRegister('L', inode, value).isDeleted) this.#gone.add(inode)
        else this.#gone.delete(inode)
      }
    }
  }

  #forget(inode: InodeId): void {
    this.#fresh.delete(inode)
    this.#gone.delete(inode)
  }

  /** How many there are. */
  get count(): number {
    return this.#gone.size
  }

  /**
   * All edits that wait, without what they say of such files, and of each directory's time only the
   * last word. The last edit stays, since its number tells how far they go. Right only when all of
   * them are given away together.
   */
  without(edits: readonly Edit[]): Edit[] {
    const kept: Edit[] = []
    const later = new Map<InodeId, Put>()
    for (const edit of edits.toReversed()) {
      const puts: Put[] = []
      for (const put of edit.puts) {
        const { inode, register, base } = put
        if (this.#gone.has(inode)) continue
        if (register !== 'C' || inodeKind(inode) !== 'directory') {
          puts.push(put)
          continue
        }
        const next = later.get(inode)
        if (next?.base.length === 1 && next.base[0] === `#${edit.number}`) {
          Object.assign(next, { base })
          continue
        }
        const own = { ...put }
        later.set(inode, own)
        puts.push(own)
      }
      if (puts.length > 0 || kept.length === 0) kept.push({ ...edit, puts })
    }
    return kept.reverse()
  }

  /** These are given away: whatever they made is known from now on. */
  given(edits: readonly Edit[]): void {
    for (const { puts } of edits) {
      for (const { register, inode, base } of puts) {
        if (register === 'L' && base.length === 0) this.#forget(inode)
      }
    }
  }
}
