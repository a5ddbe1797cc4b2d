/**
 * The one open file behind all handles of a node: written bytes over a base content.
 *
 * Reads see dirty extents over `base`, zeros in holes and where neither has anything. `freeze`
 * takes a snapshot that a content is built from while writing goes on; `settle` makes the built
 * content the new base. `ops` are the register values that a publication replaces: they belong to
 * the open file and move on only with its own publications, so that a version that arrived
 * meanwhile is never overwritten. What of the dirty bytes the journal already has is noted in
 * `sessions` (file-journal.ts).
 */
import { strict as assert } from 'node:assert'
import type { ContentStore } from '../chunks/interface.ts'
import type { ContentRef, Edit, OpRef, VersionId } from '../crdt/interface.ts'
import { versionId } from '../crdt/registers.ts'
import { WormholeError } from '../errors.ts'
import type { InodeId } from '../types.ts'
import { Extents, type DirtyPiece, type FrozenExtents } from './extents.ts'

/** A finished content. */
export interface Base {
  readonly ref: ContentRef
  readonly sizeBytes: number
}

/** The content of a new file. */
export const EMPTY_BASE: Base = { ref: { type: 'empty' }, sizeBytes: 0 }

/** What one generation of dirty bytes has in the journal. */
export interface Session {
  /** Number of its `begin` record; 0 while the journal has nothing of it. */
  key: number
  /** Byte ranges not journalled yet: start, end, start, end, … in order of writing. */
  readonly ranges: number[]
  /** Monotonic time since when there are such ranges. */
  sinceMs?: number | undefined
}

/** A state of the file from which a content is built. */
export interface Snapshot extends FrozenExtents {
  readonly base: Base
  /** Bytes of `base` that count; the rest was truncated away. */
  readonly baseLimit: number
  readonly sizeBytes: number
  readonly mtimeNs: bigint
  readonly changeCount: number
  readonly mode: 'content-defined' | 'fixed'
  /** How many sessions, oldest first, it holds. */
  readonly sessionCount: number
  /** Least size the file had since: what lies beyond is zeros in the live file. */
  limit: number
}

/**
 * The register values that a file lies on, after an own edit. One that puts its version again (a
 * conflict copy becomes an inode, a conflict ends) takes the place of what it replaced: whoever
 * wrote the file and made the edit is the same, and is in no conflict with itself.
 */
export function opsAfter(
  edit: Edit,
  file: { readonly inode: InodeId; readonly ops: readonly OpRef[]; readonly version: VersionId },
): readonly OpRef[] {
  const { inode, ops, version } = file
  const op = `#${edit.number}` as OpRef
  const again = edit.puts.find(
    (put) => put.register === 'C' && put.inode === inode && versionId(put.value) === version,
  )
  if (!again || ops.includes(op)) return ops
  return [...ops.filter((other) => !again.base.includes(other)), op]
}

/** Files below this are always split by content: rewriting them whole is cheap. */
const FIXED_MODE_BYTES_MIN = 1024 * 1024
/** So many writes into the middle make a database or a disk image. */
const FIXED_MODE_JUMPS_MIN = 16

const ZEROS = Buffer.alloc(128 * 1024)

/** Zeros as views of one shared buffer. */
function pushZeros(parts: Buffer[], count: number): void {
  for (let left = count; left > 0; left -= ZEROS.length) {
    parts.push(left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS)
  }
}

/** The state of one open file. Knows nothing of names, kernel or journal. */
export class OpenFile {
  /** The node whose file this is. */
  readonly nodeId: number
  inode: InodeId
  ops: readonly OpRef[]
  /** The version that `ops` stands for. */
  version: VersionId
  base: Base
  sizeBytes: number
  /** How large it may be written; what is larger already may stay so. */
  sizeBytesMax = Number.MAX_SAFE_INTEGER
  mtimeNs: bigint
  /** Open handles; `writers` of them may write. */
  handles = 0
  writers = 0
  /** There is something that no edit has carried yet. */
  isDirty = false
  /** The last name is gone: nothing of this file is journalled or published any more. */
  isDropped = false
  /** Everything written so far has been through fsync. */
  isSynced = false
  /** Monotonic time of the last write, and of the last publication. */
  writtenMs = 0
  publishedMs = 0
  sessions: Session[] = [{ key: 0, ranges: [] }]
  readonly #dirty = new Extents()
  #baseLimit: number
  #changeCount = 0
  #jumps = 0
  #sequentialEnd = 0
  #snapshot: Snapshot | undefined

  constructor(options: {
    nodeId: number
    inode: InodeId
    base: Base
    ops: readonly OpRef[]
    version: VersionId
    mtimeNs: bigint
  }) {
    this.nodeId = options.nodeId
    this.inode = options.inode
    this.base = options.base
    this.ops = options.ops
    this.version = options.version
    this.sizeBytes = options.base.sizeBytes
    this.mtimeNs = options.mtimeNs
    this.#baseLimit = options.base.sizeBytes
  }

  /** Memory that what was written takes. */
  get dirtyBytes(): number {
    return this.#dirty.costBytes
  }

  /** Nothing is written over the base, or cut from it. */
  get isWhole(): boolean {
    return this.#dirty.isEmpty && this.sizeBytes === this.base.sizeBytes && !this.#isCut
  }

  get #isCut(): boolean {
    return this.#baseLimit < this.base.sizeBytes
  }

  /**
   * About how many bytes take space, when `baseHoleBytes` of the base do not: bytes written over
   * others count twice, at most the size.
   */
  allocatedBytes(baseHoleBytes: number): number {
    const below = Math.max(0, this.#baseLimit - baseHoleBytes - this.#dirty.holeBytes)
    return Math.min(this.sizeBytes, below + this.#dirty.bytes)
  }

  /** Whether a snapshot waits for `settle` or `thaw`. */
  get isFrozen(): boolean {
    return this.#snapshot !== undefined
  }

  #changed(mtimeNs: bigint): void {
    this.mtimeNs = mtimeNs
    this.#changeCount++
    this.isDirty = true
    this.isSynced = false
  }

  /** Copies `bytes` into the file and notes them as not journalled. */
  write(offset: number, bytes: Uint8Array, mtimeNs: bigint): void {
    const end = offset + bytes.length
    if (end > Number.MAX_SAFE_INTEGER) {
      throw new WormholeError('FILE_TOO_LARGE', 'files end at 2^53 − 1 bytes')
    }
    if (offset !== this.#sequentialEnd && offset < this.sizeBytes) this.#jumps++
    this.#sequentialEnd = end
    this.#dirty.write(offset, bytes)
    this.sizeBytes = Math.max(this.sizeBytes, end)
    this.#changed(mtimeNs)
    if (this.isDropped) return
    const ranges = (this.sessions[this.sessions.length - 1] as Session).ranges
    if (ranges.length > 0 && ranges[ranges.length - 1] === offset) ranges[ranges.length - 1] = end
    else ranges.push(offset, end)
  }

  /** Cuts or grows (with zeros) to `sizeBytes`. Whoever calls journals it. */
  truncate(sizeBytes: number, mtimeNs: bigint): void {
    if (sizeBytes > Number.MAX_SAFE_INTEGER) {
      throw new WormholeError('FILE_TOO_LARGE', 'files end at 2^53 − 1 bytes')
    }
    if (sizeBytes < this.sizeBytes) {
      this.#dirty.truncate(sizeBytes)
      this.#baseLimit = Math.min(this.#baseLimit, sizeBytes)
      if (this.#snapshot) this.#snapshot.limit = Math.min(this.#snapshot.limit, sizeBytes)
    }
    this.sizeBytes = sizeBytes
    this.#changed(mtimeNs)
  }

  /** A temporary file has got a name; what the content that made it lacks is dirty. */
  named(inode: InodeId, ops: readonly OpRef[], version: VersionId): void {
    this.inode = inode
    this.ops = ops
    this.version = version
    this.isDropped = false
    this.isDirty = !this.isWhole
    const ranges: number[] = []
    for (const { offset, length, bytes } of this.#dirty.pieces(0, this.sizeBytes)) {
      if (bytes) ranges.push(offset, offset + length)
    }
    this.sessions = [{ key: 0, ranges }]
  }

  /** Takes a finished content as the whole of an empty file. Whoever calls journals it. */
  adopt(base: Base, mtimeNs: bigint): void {
    assert(!this.#snapshot && this.sizeBytes === 0, 'only an empty file adopts a content')
    this.base = base
    this.#baseLimit = this.sizeBytes = base.sizeBytes
    this.#changed(mtimeNs)
  }

  /** The holes over the base. */
  holes(): DirtyPiece[] {
    return this.#dirty.pieces(0, this.sizeBytes).filter(({ bytes }) => !bytes)
  }

  /** Makes a range zeros that take no space; the size stays. Whoever calls journals it. */
  punch(offset: number, length: number, mtimeNs: bigint): void {
    const end = Math.min(offset + length, this.sizeBytes)
    this.#dirty.punch(offset, end, Math.max(this.#baseLimit, this.#snapshot?.limit ?? 0))
    this.#changed(mtimeNs)
  }

  /**
   * Where data, or a hole, begins at or after `offset`, which is below the size. Without one: the
   * size for a hole, undefined for data.
   */
  async seek(
    contents: ContentStore,
    offset: number,
    what: 'data' | 'hole',
    options?: { readonly signal?: AbortSignal },
  ): Promise<number | undefined> {
    let at = offset
    while (at < this.sizeBytes) {
      const [piece] = this.#dirty.pieces(at, this.sizeBytes)
      if (piece && piece.offset === at) {
        if ((what === 'data') === (piece.bytes !== undefined)) return at
        at += piece.length
        continue
      }
      const gapEnd = piece?.offset ?? this.sizeBytes
      const baseEnd = Math.min(gapEnd, this.#baseLimit)
      if (at < baseEnd) {
        const found = await contents.seek(this.base, at, what, options)
        if (found < baseEnd) return found
        at = baseEnd
      } else if (what === 'hole') {
        return at
      } else {
        at = gapEnd
      }
    }
    return what === 'hole' ? this.sizeBytes : undefined
  }

  /** A modification time that a program set. */
  setMtime(mtimeNs: bigint): void {
    const isSynced = this.isSynced
    this.#changed(mtimeNs)
    this.isSynced = isSynced
  }

  /**
   * Bytes `[offset, offset + length)`, clipped to the size. At once when the base answers at once.
   * The buffers are views, valid until the next write, unless they came with a promise.
   */
  read(
    contents: ContentStore,
    offset: number,
    length: number,
    options?: { readonly signal?: AbortSignal },
  ): Buffer[] | Promise<Buffer[]> {
    const end = Math.min(offset + length, this.sizeBytes)
    if (end <= offset) return []
    if (this.#dirty.isEmpty && end <= this.#baseLimit) {
      return contents.read(this.base, { offset, length: end - offset }, options)
    }
    const parts: Buffer[] = []
    const slots: { at: number; bytes: Promise<Buffer[]> }[] = []
    const gap = (from: number, to: number): void => {
      const baseEnd = Math.min(to, this.#baseLimit)
      if (from < baseEnd) {
        const range = { offset: from, length: baseEnd - from }
        const bytes = readOrReject(() => contents.read(this.base, range, options))
        if (Array.isArray(bytes)) parts.push(...bytes)
        else slots.push({ at: parts.length, bytes })
      }
      pushZeros(parts, to - Math.max(from, baseEnd))
    }
    let at = offset
    for (const piece of this.#dirty.pieces(offset, end)) {
      if (piece.offset > at) gap(at, piece.offset)
      if (piece.bytes) parts.push(piece.bytes)
      else pushZeros(parts, piece.length)
      at = piece.offset + piece.length
    }
    if (at < end) gap(at, end)
    return slots.length === 0 ? parts : joinLater(parts, slots)
  }

  /** As `read`, in fresh memory: what is dirty is copied before anything waits. */
  async readCopy(
    contents: ContentStore,
    offset: number,
    length: number,
    options?: { readonly signal?: AbortSignal },
  ): Promise<Buffer> {
    const pieces = this.read(contents, offset, length, options)
    return Buffer.concat(Array.isArray(pieces) ? pieces : await pieces)
  }

  /** Dirty pieces of a range, for the journal. */
  dirtyPieces(start: number, end: number): readonly DirtyPiece[] {
    return this.#dirty.pieces(start, end)
  }

  /** Starts a publication or a segment; writes go on in a new generation and session. */
  freeze(): Snapshot {
    assert(!this.#snapshot, 'one snapshot at a time')
    const isFixed = this.sizeBytes >= FIXED_MODE_BYTES_MIN && this.#jumps >= FIXED_MODE_JUMPS_MIN
    this.#snapshot = {
      ...this.#dirty.freeze(),
      base: this.base,
      baseLimit: this.#baseLimit,
      sizeBytes: this.sizeBytes,
      mtimeNs: this.mtimeNs,
      changeCount: this.#changeCount,
      mode: isFixed ? 'fixed' : 'content-defined',
      sessionCount: this.sessions.length,
      limit: this.sizeBytes,
    }
    this.sessions.push({ key: 0, ranges: [] })
    return this.#snapshot
  }

  /** Gives a snapshot up, which nobody reads any more; its bytes stay dirty. */
  thaw(): void {
    this.#snapshot?.giveBack()
    this.#snapshot = undefined
  }

  /**
   * The content of the snapshot is built and is the base now. Returns the sessions it made
   * superfluous. @param published - whether an edit carried exactly this state.
   */
  settle(built: Base, published: boolean): Session[] {
    const snapshot = this.#snapshot
    assert(snapshot, 'settle needs a snapshot')
    this.#snapshot = undefined
    this.base = built
    this.#baseLimit = Math.min(snapshot.limit, built.sizeBytes)
    this.#dirty.drop(snapshot.generation)
    snapshot.giveBack()
    if (published && snapshot.changeCount === this.#changeCount) this.isDirty = false
    return this.sessions.splice(0, Math.min(snapshot.sessionCount, this.sessions.length - 1))
  }
}

/** A read that fails at once fails later, so that reads already under way are still awaited. */
function readOrReject(read: () => Buffer[] | Promise<Buffer[]>): Buffer[] | Promise<Buffer[]> {
  try {
    return read()
  } catch (error) {
    return Promise.reject(error)
  }
}

/** Puts what arrives later into its place. What is dirty is copied: it may change meanwhile. */
async function joinLater(
  parts: readonly Buffer[],
  slots: readonly { at: number; bytes: Promise<Buffer[]> }[],
): Promise<Buffer[]> {
  const kept = parts.map((part) => Buffer.from(part))
  const arrived = await Promise.all(slots.map((slot) => slot.bytes))
  const joined: Buffer[] = []
  let at = 0
  for (const [index, slot] of slots.entries()) {
    joined.push(...kept.slice(at, slot.at), ...(arrived[index] as Buffer[]))
    at = slot.at
  }
  joined.push(...kept.slice(at))
  return joined
}

/** Builds what a snapshot holds. Chunks are stored, not yet synced. */
export async function buildSnapshot(contents: ContentStore, snapshot: Snapshot): Promise<Base> {
  const { base, baseLimit, sizeBytes, extents, holes, mode } = snapshot
  let from: Base | undefined = baseLimit === 0 ? undefined : base
  if (from && baseLimit < from.sizeBytes) {
    from = await contents.build({ base: from, sizeBytes: baseLimit, extents: [], mode })
  }
  if (sizeBytes === 0) return EMPTY_BASE
  const isSame = from !== undefined && extents.length === 0 && holes.length === 0
  if (from && isSame && sizeBytes === from.sizeBytes) return from
  const built = await contents.build({ base: from, sizeBytes, extents, holes, mode })
  return { ref: built.ref, sizeBytes: built.sizeBytes }
}
