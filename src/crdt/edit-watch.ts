/**
 * Which inodes a writer has changed since somebody asked: for a walk over the index that takes its
 * time, and must not miss what came meanwhile.
 */
import type { InodeId } from '../types.ts'
import type { InodeRow } from './records.ts'

/** Inodes remembered: more at a time means that the walk is to be begun anew. */
const INODES_MAX = 200_000

/** Changed inodes, while a watch is on. */
export class EditWatch {
  #inodes: Set<InodeId> | undefined
  #isBroken = false
  /** Changes of inodes since the start of the process. */
  editCount = 0

  /** Notes changes from now on. */
  start(): void {
    this.#inodes = new Set()
    this.#isBroken = false
  }

  stop(): void {
    this.#inodes = undefined
  }

  /** Not everything that changed could be noted, or the whole tree became another. */
  get isBroken(): boolean {
    return this.#isBroken
  }

  /** These rows are about to be committed. */
  note(rows: Iterable<InodeRow>): void {
    for (const { id } of rows) {
      this.editCount++
      this.#inodes?.add(id)
    }
    if ((this.#inodes?.size ?? 0) > INODES_MAX) this.breakOff()
  }

  /** The whole tree is about to be another one. */
  breakOff(): void {
    this.#isBroken = true
    this.#inodes?.clear()
  }

  /** Takes out at most so many inodes that have changed. */
  take(countMax: number): InodeId[] {
    const taken: InodeId[] = []
    for (const id of this.#inodes ?? []) {
      if (taken.length === countMax) break
      taken.push(id)
      this.#inodes?.delete(id)
    }
    return taken
  }
}
