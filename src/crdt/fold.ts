/**
 * Folding: what a run of own edits comes to. Publishing and replaying the journal are this.
 *
 * Per register, puts that follow one another become one put with the base of the first. Puts that
 * do not know each other (a content based on an older version) stay apart. Inodes made and deleted
 * inside the run vanish with everything they ever held.
 */
import type { Hlc, InodeId } from '../types.ts'
import { inodeKind } from './ids.ts'
import type { Edit, Location, OpRef, RegisterName } from './interface.ts'
import { decodeRegister } from './registers.ts'

/** What remains of puts that followed one another. */
export interface FoldedPut {
  /** Key of the register in its document: puts of a change are in this order. */
  readonly key: string
  readonly inode: InodeId
  readonly register: RegisterName
  readonly value: Uint8Array
  /** What the first of them replaced. */
  readonly base: readonly OpRef[]
  /** Journal number of the last of them. */
  readonly number: number
  /** Stamp of the edit of that number. */
  readonly hlc: Hlc
}

/** Folds edits, which are in the order of their numbers. The result is grouped by register. */
export function foldEdits(
  edits: readonly Edit[],
  isKnown: (inode: InodeId) => boolean,
): FoldedPut[] {
  const registers = new Map<string, FoldedPut[]>()
  for (const { number, hlc, puts } of edits) {
    for (const { inode, register, value, base } of puts) {
      const key = register + inode
      const next = { key, inode, register, value, base, number, hlc }
      const before = registers.get(key)
      registers.set(key, before ? follow(before, next) : [next])
    }
  }
  dropCancelled(registers, isKnown)
  return [...registers.values()].flat()
}

/**
 * Adds a put to what is left of a register. It takes the place of the one put it follows. If it
 * overwrites others beside that, they did not know each other: all are said, so that each is known
 * to the history.
 */
function follow(puts: FoldedPut[], next: FoldedPut): FoldedPut[] {
  const only = puts.find((put) => next.base.includes(`#${put.number}`))
  if (!only || next.base.length > 1) return [...puts, next]
  if (puts.length === 1) return [{ ...next, base: only.base }]
  return [...puts.filter((put) => put !== only), { ...next, base: only.base }]
}

/**
 * Removes what was made and deleted inside the run: records that nobody else knows, whose last word
 * is a tombstone, and that no surviving record names as parent or target.
 */
function dropCancelled(
  registers: Map<string, FoldedPut[]>,
  isKnown: (inode: InodeId) => boolean,
): void {
  const locations = new Map<InodeId, Location>()
  const cancelled = new Set<InodeId>()
  for (const puts of registers.values()) {
    const [put] = puts
    if (put?.register !== 'L' || puts.length > 1) continue
    const value = decodeRegister('L', put.inode, put.value)
    locations.set(put.inode, value)
    if (value.isDeleted && put.base.length === 0 && !isKnown(put.inode)) cancelled.add(put.inode)
  }
  if (cancelled.size === 0) return
  for (let hasChanged = true; hasChanged;) {
    hasChanged = false
    for (const [inode, { parent, target, previous, seen }] of locations) {
      if (cancelled.has(inode)) {
        // The tombstone of a link may be what deletes an inode that others know.
        const isNeeded = target !== undefined && seen.length > 0 && !cancelled.has(target)
        if (isNeeded && cancelled.delete(inode)) hasChanged = true
        continue
      }
      for (const needed of [parent, target, previous?.parent]) {
        if (needed !== undefined && cancelled.delete(needed)) hasChanged = true
      }
    }
  }
  for (const inode of cancelled) {
    for (const register of inodeKind(inode) === 'link' ? ['L'] : ['L', 'C', 'A', 'P']) {
      registers.delete(register + inode)
    }
  }
}
