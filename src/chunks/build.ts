/**
 * A new content from a base and what was written over it.
 *
 * Only the surroundings of a change are split again: from the end of a chunk before it, until a cut
 * falls on the end of an old chunk behind it. Because cuts depend on bytes since the cut before,
 * that gives the same chunks as splitting the whole. Stretches of 64 KiB or more that nobody wrote
 * or that were punched stay holes; shorter
 * ones become zeros. A content of up to 64 KiB is split anew, and so is one
 * chunk.
 */
import { WormholeError } from '../errors.ts'
import type { BaseContent } from './base.ts'
import type { Cutter } from './cutter.ts'
import { CHUNK_SIZE_BYTES_MIN } from './gear.ts'
import type { ByteRange, DirtyExtent } from './interface.ts'
import type { ManifestBuilder } from './manifest.ts'
import type { ChunkSink } from './sealing.ts'

/** A shorter gap is not worth an entry: it is stored as zeros, which compress to nothing. */
export const HOLE_BYTES_MIN = 64 * 1024

/**
 * Sorted, disjoint, non-empty extents below `sizeBytes`, where later ones have won. The bytes are
 * views of those given.
 *
 * @throws {WormholeError} `OUT_OF_RANGE` for an offset that is not a safe integer.
 */
export function mergeExtents(extents: readonly DirtyExtent[], sizeBytes: number): DirtyExtent[] {
  const merged: DirtyExtent[] = []
  for (const { offset, bytes } of extents) {
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new WormholeError('OUT_OF_RANGE', `extent at offset ${offset}`)
    }
    const length = Math.min(bytes.length, sizeBytes - offset)
    if (length > 0) overlay(merged, { offset, bytes: bytes.subarray(0, length) })
  }
  return merged
}

/**
 * Sorted, disjoint, non-empty ranges below `sizeBytes` that cover what the given ones do.
 *
 * @throws {WormholeError} `OUT_OF_RANGE` for an offset or length that is not a safe integer.
 */
export function mergeRanges(ranges: readonly ByteRange[], sizeBytes: number): ByteRange[] {
  const merged: { offset: number; length: number }[] = []
  for (const { offset, length } of [...ranges].sort((a, b) => a.offset - b.offset)) {
    if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(offset + length)) {
      throw new WormholeError('OUT_OF_RANGE', `hole of ${length} bytes at offset ${offset}`)
    }
    const end = Math.min(offset + length, sizeBytes)
    const last = merged.at(-1)
    if (end <= offset) continue
    if (!last || last.offset + last.length < offset) merged.push({ offset, length: end - offset })
    else last.length = Math.max(last.length, end - last.offset)
  }
  return merged
}

function overlay(merged: DirtyExtent[], extent: DirtyExtent): void {
  const { offset } = extent
  const end = offset + extent.bytes.length
  const first = firstEndingAfter(merged, offset)
  let last = first
  const pieces: DirtyExtent[] = []
  for (; last < merged.length && (merged[last] as DirtyExtent).offset < end; last++) {
    const old = merged[last] as DirtyExtent
    if (old.offset < offset) {
      pieces.push({ offset: old.offset, bytes: old.bytes.subarray(0, offset - old.offset) })
    }
  }
  pieces.push(extent)
  const old = last > first ? (merged[last - 1] as DirtyExtent) : undefined
  if (old && old.offset + old.bytes.length > end) {
    pieces.push({ offset: end, bytes: old.bytes.subarray(end - old.offset) })
  }
  merged.splice(first, last - first, ...pieces)
}

/** Index of the first extent that ends after `offset`. */
function firstEndingAfter(extents: readonly DirtyExtent[], offset: number): number {
  let low = 0
  let high = extents.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { offset: start, bytes } = extents[middle] as DirtyExtent
    if (start + bytes.length > offset) high = middle
    else low = middle + 1
  }
  return low
}

/** The range that `position` is in, or the first one behind it. */
function rangeAt(ranges: readonly ByteRange[], position: number): ByteRange | undefined {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { offset, length } = ranges[middle] as ByteRange
    if (offset + length > position) high = middle
    else low = middle + 1
  }
  return ranges[low]
}

/** One build; used once. */
export class Rebuild {
  readonly #base: BaseContent
  /** Bytes of the base that can show in the result. */
  readonly #keptBytes: number
  readonly #sizeBytes: number
  readonly #extents: readonly DirtyExtent[]
  readonly #holes: readonly ByteRange[]
  readonly #cutter: Cutter
  readonly #sink: ChunkSink
  readonly #manifest: ManifestBuilder

  /** @param options.extents - as `mergeExtents` gives them; `holes` as `mergeRanges`. */
  constructor(options: {
    readonly base: BaseContent
    readonly sizeBytes: number
    readonly extents: readonly DirtyExtent[]
    readonly holes: readonly ByteRange[]
    readonly cutter: Cutter
    readonly sink: ChunkSink
    readonly manifest: ManifestBuilder
  }) {
    this.#base = options.base
    this.#sizeBytes = options.sizeBytes
    this.#keptBytes = Math.min(options.base.sizeBytes, options.sizeBytes)
    this.#extents = options.extents
    this.#holes = options.holes
    this.#cutter = options.cutter
    this.#sink = options.sink
    this.#manifest = options.manifest
  }

  /** Puts the whole new content into the manifest builder. */
  async run(): Promise<void> {
    const tail = await this.#tailChange()
    let position = 0
    while (position < this.#sizeBytes) {
      const change = Math.min(this.#nextChange(position), Math.max(tail, position))
      const start = Math.max(position, await this.#chunkStart(Math.min(change, this.#sizeBytes)))
      await this.#base.copy(position, start, this.#manifest)
      position = start < this.#sizeBytes ? await this.#split(start) : start
    }
  }

  /** Where the end of the content differs from that of the base; `Infinity` if it does not. */
  async #tailChange(): Promise<number> {
    if (this.#sizeBytes <= CHUNK_SIZE_BYTES_MIN) return 0
    if (this.#sizeBytes > this.#base.sizeBytes) return this.#base.sizeBytes
    if (this.#sizeBytes === this.#base.sizeBytes) return Infinity
    const { start } = await this.#base.at(this.#sizeBytes)
    return start < this.#sizeBytes ? start : Infinity
  }

  /** The first written byte at or after `position`. */
  #nextWritten(position: number): number {
    const extent = this.#extents[firstEndingAfter(this.#extents, position)]
    return extent ? Math.max(extent.offset, position) : Infinity
  }

  /** The first byte at or after `position` that is written or punched. */
  #nextChange(position: number): number {
    const hole = rangeAt(this.#holes, position)
    const punched = hole ? Math.max(hole.offset, position) : Infinity
    return Math.min(this.#nextWritten(position), punched)
  }

  /** Start of the old chunk at `offset`; of the last one for an offset behind the base. */
  async #chunkStart(offset: number): Promise<number> {
    if (offset === this.#sizeBytes && offset <= this.#base.sizeBytes) return offset
    if (this.#base.sizeBytes === 0) return 0
    return (await this.#base.at(Math.min(offset, this.#base.sizeBytes - 1))).start
  }

  /** Splits from `start` until the cuts meet the old ones again; returns where. */
  async #split(start: number): Promise<number> {
    const cutter = this.#cutter
    cutter.restart(start)
    let position = start
    while (position < this.#sizeBytes) {
      const gap = await this.#gapBytes(position)
      if (gap >= HOLE_BYTES_MIN) {
        this.#emit(true, Infinity)
        this.#manifest.pushHole(gap)
        position += gap
        cutter.restart(position)
        if (await this.#isOldEnd(position)) return position
        continue
      }
      position += gap > 0 ? cutter.writeZeros(gap) : await this.#writeData(position)
      const isEnd = position === this.#sizeBytes
      while (this.#emit(isEnd, 1)) {
        if (!isEnd && (await this.#isOldEnd(cutter.position))) return cutter.position
      }
    }
    return position
  }

  /** Stores up to `countMax` chunks that the cutter has; whether there was one. */
  #emit(isEnd: boolean, countMax: number): boolean {
    let count = 0
    for (; count < countMax; count++) {
      const plain = this.#cutter.next(isEnd)
      if (!plain) break
      this.#manifest.pushChunk(this.#sink.putData(plain), plain.length)
    }
    return count > 0
  }

  /** Whether an old chunk ends at `position`, and the next one has no change. */
  async #isOldEnd(position: number): Promise<boolean> {
    if (position >= this.#keptBytes) return false
    const stretch = await this.#base.at(position)
    return stretch.start === position && this.#nextChange(position) >= stretch.end
  }

  /** How many bytes from `position` on nobody wrote: holes of the base and what is behind it. */
  async #gapBytes(position: number): Promise<number> {
    const written = Math.min(this.#nextWritten(position), this.#sizeBytes)
    let end = position
    while (end < written) {
      const hole = rangeAt(this.#holes, end)
      if (end >= this.#keptBytes) {
        end = written
      } else if (hole && hole.offset <= end) {
        end = Math.min(hole.offset + hole.length, written)
      } else {
        const stretch = await this.#base.at(end)
        if (stretch.address !== undefined) break
        end = Math.min(stretch.end, hole?.offset ?? Infinity, written)
      }
    }
    return end - position
  }

  /** Gives the cutter the bytes at `position`, of one extent or one old chunk; returns how many. */
  async #writeData(position: number): Promise<number> {
    const extent = this.#extents[firstEndingAfter(this.#extents, position)]
    if (extent && extent.offset <= position) {
      return this.#cutter.write(extent.bytes.subarray(position - extent.offset))
    }
    const stretch = await this.#base.at(position)
    const next = Math.min(
      extent?.offset ?? Infinity,
      rangeAt(this.#holes, position)?.offset ?? Infinity,
    )
    const end = Math.min(stretch.end, this.#keptBytes, next)
    const bytes = await this.#base.bytes(stretch)
    return this.#cutter.write(bytes.subarray(position - stretch.start, end - stretch.start))
  }
}
