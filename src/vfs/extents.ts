/**
 * What one open file has over its base content: sorted, non-overlapping extents of written bytes
 * in memory, and of holes, which have been punched and read as zeros.
 *
 * Every extent belongs to a generation. `freeze` ends a generation: its bytes are never changed any
 * more (only cut out of the list when newer ones cover them), so a content can be built from them
 * while writing goes on; `drop` forgets them once the content holds them.
 */
import type { ByteRange, DirtyExtent } from '../chunks/interface.ts'
import { Slab, SLAB_BYTES } from './slabs.ts'

/** Appends grow an extent up to this size. */
const EXTENT_BYTES_MAX = SLAB_BYTES
/** An extent that grows beyond this moves to a slab, which it may leave mostly empty. */
const OWN_BYTES_MAX = SLAB_BYTES / 4

interface Extent {
  offset: number
  length: number
  /** At least `length` bytes; what lies beyond is room to grow. Undefined: a hole. */
  buffer: Buffer | undefined
  /** Where `buffer` lies, if not in memory of its own. */
  slab: Slab | undefined
  generation: number
}

/** A piece of the file. `bytes` is a view: do not keep it across a write; undefined in a hole. */
export interface DirtyPiece {
  readonly offset: number
  readonly length: number
  readonly bytes: Buffer | undefined
}

/** A generation that has ended. */
export interface FrozenExtents {
  readonly generation: number
  readonly extents: readonly DirtyExtent[]
  readonly holes: readonly ByteRange[]
  /** The views are not used any more. */
  giveBack(): void
}

/** What a hole in the list counts for: about the memory it takes. */
const HOLE_COST_BYTES = 256

/** Written bytes, merged. All offsets are bytes from the start of the file. */
export class Extents {
  readonly #list: Extent[] = []
  #generation = 1
  #bytes = 0
  #holes = 0
  #holeBytes = 0

  /** Written bytes held (memory that cut extents still pin is not counted). */
  get bytes(): number {
    return this.#bytes
  }

  /** What the list takes of memory. */
  get costBytes(): number {
    return this.#bytes + this.#holes * HOLE_COST_BYTES
  }

  /** Bytes in holes. */
  get holeBytes(): number {
    return this.#holeBytes
  }

  get isEmpty(): boolean {
    return this.#list.length === 0
  }

  /** The generation that new writes belong to. */
  get generation(): number {
    return this.#generation
  }

  /** Index of the first extent that ends after `offset`. */
  #indexAfter(offset: number): number {
    let low = 0
    let high = this.#list.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const extent = this.#list[middle] as Extent
      if (extent.offset + extent.length > offset) high = middle
      else low = middle + 1
    }
    return low
  }

  /** Copies `bytes` over what was there. */
  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const end = offset + bytes.length
    const index = this.#indexAfter(offset)
    const hit = this.#list[index]
    if (hit?.buffer && hit.generation === this.#generation && hit.offset <= offset) {
      if (hit.offset + hit.length >= end) {
        hit.buffer.set(bytes, offset - hit.offset)
        return
      }
    }
    if (!hit || hit.offset >= end) {
      if (this.#appendTo(this.#list[index - 1], offset, bytes)) return
    }
    const at = this.#cut(offset, end)
    const before = this.#list[at - 1]
    const isStream = before?.slab !== undefined && before.offset + before.length === offset
    const fits = bytes.length <= SLAB_BYTES
    const slab = fits && (isStream || bytes.length > SLAB_BYTES / 2) ? new Slab() : undefined
    const buffer = slab?.bytes ?? Buffer.allocUnsafeSlow(bytes.length)
    buffer.set(bytes)
    const { length } = bytes
    this.#list.splice(at, 0, { offset, length, buffer, slab, generation: this.#generation })
    this.#bytes += length
  }

  #appendTo(extent: Extent | undefined, offset: number, bytes: Uint8Array): boolean {
    if (!extent?.buffer || extent.generation !== this.#generation) return false
    const length = extent.length + bytes.length
    if (extent.offset + extent.length !== offset || length > EXTENT_BYTES_MAX) return false
    if (length > extent.buffer.length) {
      const room = Math.max(length, extent.buffer.length * 2)
      const slab = room > OWN_BYTES_MAX ? new Slab() : undefined
      const grown = slab?.bytes ?? Buffer.allocUnsafeSlow(room)
      extent.buffer.copy(grown, 0, 0, extent.length)
      extent.slab?.giveBack()
      extent.buffer = grown
      extent.slab = slab
    }
    extent.buffer.set(bytes, extent.length)
    extent.length = length
    this.#bytes += bytes.length
    return true
  }

  /** Takes `[start, end)` out; returns the index where an extent from `start` belongs. */
  #cut(start: number, end: number): number {
    const from = this.#indexAfter(start)
    const kept: Extent[] = []
    let to = from
    let at = from
    for (; to < this.#list.length; to++) {
      const extent = this.#list[to] as Extent
      if (extent.offset >= end) break
      const extentEnd = extent.offset + extent.length
      const keptBefore = kept.length
      this.#count(extent, -1)
      if (extent.offset < start) {
        const length = start - extent.offset
        kept.push({ ...extent, length, buffer: extent.buffer?.subarray(0, length) })
        at++
      }
      if (extentEnd > end) {
        const buffer = extent.buffer?.subarray(end - extent.offset, extent.length)
        kept.push({ ...extent, offset: end, length: extentEnd - end, buffer })
      }
      for (const { slab } of kept.slice(keptBefore)) slab?.hold()
      extent.slab?.giveBack()
    }
    for (const extent of kept) this.#count(extent, 1)
    if (to > from) this.#list.splice(from, to - from, ...kept)
    return at
  }

  #count(extent: Extent, sign: 1 | -1): void {
    if (extent.buffer) {
      this.#bytes += sign * extent.length
    } else {
      this.#holes += sign
      this.#holeBytes += sign * extent.length
    }
  }

  /**
   * Makes `[start, end)` a hole. From `coverEnd` on nothing lies below that would have to be
   * covered: what was written there is forgotten.
   */
  punch(start: number, end: number, coverEnd: number): void {
    if (start >= end) return
    const at = this.#cut(start, end)
    let to = Math.min(end, coverEnd)
    if (to <= start) return
    let from = start
    const before = this.#list[at - 1]
    const after = this.#list[at]
    let first = at
    let count = 0
    if (before && this.#joins(before, from)) {
      from = before.offset
      first--
      count++
      this.#count(before, -1)
    }
    if (after && !after.buffer && after.generation === this.#generation && after.offset === to) {
      to = after.offset + after.length
      count++
      this.#count(after, -1)
    }
    const generation = this.#generation
    const length = to - from
    const hole: Extent = { offset: from, length, buffer: undefined, slab: undefined, generation }
    this.#list.splice(first, count, hole)
    this.#count(hole, 1)
  }

  #joins(hole: Extent, end: number): boolean {
    const isHole = !hole.buffer && hole.generation === this.#generation
    return isHole && hole.offset + hole.length === end
  }

  /** Forgets everything from `sizeBytes` on. */
  truncate(sizeBytes: number): void {
    const last = this.#list[this.#list.length - 1]
    if (last && last.offset + last.length > sizeBytes) {
      this.#cut(sizeBytes, last.offset + last.length)
    }
  }

  /** The pieces within `[start, end)`, in order: written bytes and holes. */
  pieces(start: number, end: number): DirtyPiece[] {
    const found: DirtyPiece[] = []
    for (let index = this.#indexAfter(start); index < this.#list.length; index++) {
      const extent = this.#list[index] as Extent
      if (extent.offset >= end) break
      const from = Math.max(start, extent.offset)
      const to = Math.min(end, extent.offset + extent.length)
      const bytes = extent.buffer?.subarray(from - extent.offset, to - extent.offset)
      found.push({ offset: from, length: to - from, bytes })
    }
    return found
  }

  /** Ends the generation. The extents are views of memory that stays as it is until `giveBack`. */
  freeze(): FrozenExtents {
    const extents: DirtyExtent[] = []
    const holes: ByteRange[] = []
    const slabs: Slab[] = []
    for (const { offset, length, buffer, slab } of this.#list) {
      if (buffer) extents.push({ offset, bytes: buffer.subarray(0, length) })
      else holes.push({ offset, length })
      if (!slab) continue
      slab.hold()
      slabs.push(slab)
    }
    const giveBack = (): void => {
      for (const slab of slabs.splice(0)) slab.giveBack()
    }
    return { generation: this.#generation++, extents, holes, giveBack }
  }

  /** Forgets the bytes of this generation and older ones: a content holds them now. */
  drop(generation: number): void {
    let kept = 0
    for (const extent of this.#list) {
      if (extent.generation > generation) {
        this.#list[kept++] = extent
      } else {
        this.#count(extent, -1)
        extent.slab?.giveBack()
      }
    }
    this.#list.length = kept
  }
}
