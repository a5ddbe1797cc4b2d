/**
 * Memory for streams of written bytes: slabs that the store thread reads where they are, and that
 * are used again. Fresh buffers for every MiB, here and in messages, made the collector run all the
 * time (README.md, "Writing back").
 *
 * A slab that nobody gives back is only collected later, as other memory is: giving back is for
 * those who know that no view of it is in use.
 */

/** Bytes of a slab: one write of the kernel. */
export const SLAB_BYTES = 1024 * 1024
/** Slabs kept for the next writes, at most. */
const IDLE_COUNT_MAX = 24

const idle: Buffer[] = []

/** A slab and how many extents and snapshots have views of it. */
export class Slab {
  readonly bytes: Buffer
  #holders = 1

  /** With one holder. */
  constructor() {
    this.bytes = idle.pop() ?? Buffer.from(new SharedArrayBuffer(SLAB_BYTES))
  }

  hold(): void {
    this.#holders++
  }

  /** The last holder's memory is used again at once: no view of it may be in use then. */
  giveBack(): void {
    this.#holders--
    if (this.#holders === 0 && idle.length < IDLE_COUNT_MAX) idle.push(this.bytes)
  }
}
