/**
 * Many changes in few bytes: the archive of a snapshot. Format: README.md, "Archives".
 *
 * What a change says of its place (hashes, operation numbers, predecessors) mostly follows from the
 * changes before it, so it is left out and computed again; what is left lies in columns, which
 * deflate well, and beside them the bytes that nothing compresses (ids, addresses). A decoded
 * change has exactly the bytes, and so the hash, of the one that was encoded.
 *
 * Writer and reader keep the same state (`Track`) of the shard they are in. The reader takes
 * hostile bytes: everything it makes of them is bounded by the size of a part.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import type { ActorId, InodeId } from '../types.ts'
import {
  checkChange,
  compareOps,
  encodeChange,
  opOf,
  parseOp,
  type ChangeOp,
  type DecodedChange,
} from './change.ts'
import { parseKey } from './check.ts'
import {
  inodeIdBytes,
  inodeIdFromBytes,
  inodeShard,
  LOST_FOUND,
  readInodeId,
  ROOT,
  SHARD_COUNT,
} from './ids.ts'
import type { OpRef, RegisterName } from './interface.ts'
import { hasAddress, hasTime, readParts, writeParts, type ValueColumns } from './value-columns.ts'

/** Version of the format, first byte of each part. */
const VERSION = 1
/** A part is closed at the first change that brings it over this. */
const PART_BYTES = 512 * 1024
/** A part may be this large when it is open: one change may have 16 MiB. */
const PART_BYTES_MAX = 40 * 1024 * 1024
/** Writes in one part; the largest change has as many. */
const PART_OPS_MAX = 200_000
const ID_RANDOM_BYTES = 10
const ADDRESS_BYTES = 32
/** Stamps further apart than this are told in full. */
const STEP_MAX = 2 ** 51

const REGISTERS = ['A', 'C', 'L', 'P'] as const
/** Bit of an op: its predecessors are told, because they are not all values present. */
const TOLD = 4

/** One change of a shard, as it lies in the log and as it is decoded. */
export interface ArchivedChange {
  readonly shard: number
  readonly bytes: Uint8Array
  readonly change: DecodedChange
}

/** What both sides know of the shard they are in. */
class Track {
  readonly hashes: string[] = []
  readonly maxOps: number[] = []
  readonly indexes = new Map<string, number>()
  readonly heads = new Set<string>()
  readonly seqs = new Map<ActorId, number>()
  readonly ids: InodeId[] = []
  readonly idIndexes = new Map<InodeId, number>()
  readonly stamps: number[] = []
  readonly parents: InodeId[] = []
  readonly parentIndexes = new Map<InodeId, number>()
  /** Values present of each register: op ids. */
  readonly present = new Map<string, readonly OpRef[]>()
  /** The register of each operation so far. */
  readonly known = new Map<OpRef, string>()
  lastId = -1
  lastStamp = 0

  addId(id: InodeId): number {
    this.idIndexes.set(id, this.ids.length)
    return this.ids.push(id) - 1
  }

  addParent(id: InodeId): void {
    this.parentIndexes.set(id, this.parents.length)
    this.parents.push(id)
  }

  /** The stamp that the next one of an id is told against: mostly the same one. */
  stampBefore(id: number): number {
    return this.stamps[id] ?? this.lastStamp
  }

  stamped(id: number, stamp: number): void {
    this.stamps[id] = stamp
    this.lastStamp = stamp
  }

  /** What all changes so far left in a register, in the order of a change. */
  presentIn(key: string): readonly OpRef[] {
    return this.present.get(key) ?? []
  }

  follow(change: DecodedChange): void {
    this.indexes.set(change.hash, this.hashes.length)
    this.hashes.push(change.hash)
    this.maxOps.push(change.startOp + change.ops.length - 1)
    for (const dep of change.deps) this.heads.delete(dep)
    this.heads.add(change.hash)
    this.seqs.set(change.actor, change.seq)
    for (const [index, { key, predecessors }] of change.ops.entries()) {
      const op = opOf(change, index)
      const left = this.presentIn(key).filter((other) => !predecessors.includes(other))
      this.present.set(key, [...left, op].sort(compareOps))
      this.known.set(op, key)
    }
  }

  isOnHeads(deps: readonly string[]): boolean {
    return deps.length === this.heads.size && deps.every((dep) => this.heads.has(dep))
  }
}

/** Columns of a part, in the order in which they are written. */
function createColumns(): Record<ColumnName, ByteWriter> & { readonly raw: ByteWriter } {
  const columns = { raw: new ByteWriter(1024) } as Record<ColumnName | 'raw', ByteWriter>
  for (const name of COLUMNS) columns[name] = new ByteWriter(1024)
  return columns
}

const COLUMNS = [
  'changes',
  'ops',
  'ids',
  'predecessors',
  'kinds',
  'flags',
  'stamps',
  'parents',
  'names',
  'times',
  'rests',
] as const
type ColumnName = (typeof COLUMNS)[number]

/** Writes changes of one shard after the other, each shard's in causal order. */
export class ArchiveWriter {
  readonly #actors = new Map<ActorId, number>()
  #columns = createColumns()
  #track = new Track()
  #shard = -1
  #opCount = 0

  /** `actors`: all that the changes are by; their order is told to the reader elsewhere. */
  constructor(actors: readonly ActorId[]) {
    for (const [index, actor] of actors.entries()) this.#actors.set(actor, index)
  }

  /** Adds a change; returns a part when one is full. */
  add(shard: number, change: DecodedChange): Buffer | undefined {
    const { changes } = this.#columns
    if (shard !== this.#shard) {
      this.#shard = shard
      this.#track = new Track()
      changes.varint(0).varint(shard)
    }
    const track = this.#track
    changes.varint(this.#actorIndex(change.actor) + 1)
    if (track.isOnHeads(change.deps)) changes.varint(0)
    else {
      changes.varint(change.deps.length + 1)
      for (const dep of change.deps) {
        changes.varint(track.hashes.length - (track.indexes.get(dep) as number))
      }
    }
    changes.varint(change.ops.length)
    for (const op of change.ops) this.#addOp(op)
    track.follow(change)
    this.#opCount += change.ops.length
    return this.#size() >= PART_BYTES || this.#opCount >= PART_OPS_MAX / 2
      ? this.finish()
      : undefined
  }

  #actorIndex(actor: ActorId): number {
    const index = this.#actors.get(actor)
    if (index === undefined) throw new WormholeError('INDEX_CORRUPT', `unknown actor ${actor}`)
    return index
  }

  #addOp(op: ChangeOp): void {
    const columns = this.#columns
    const track = this.#track
    const { register, inode } = parseKey(op.key)
    const present = track.presentIn(op.key)
    const isAll =
      op.predecessors.length === present.length &&
      op.predecessors.every((ref) => present.includes(ref))
    columns.ops.u8(REGISTERS.indexOf(register) | (isAll ? 0 : TOLD))
    if (!isAll) {
      columns.predecessors.varint(op.predecessors.length)
      for (const ref of op.predecessors) {
        const { actor, counter } = parseOp(ref)
        columns.predecessors.varint(this.#actorIndex(actor)).varint(counter)
      }
    }
    let id = track.idIndexes.get(inode)
    if (id === undefined) {
      const bytes = inodeIdBytes(inode)
      columns.ids.varint(0)
      columns.kinds.u8((bytes[1] as number) & 15)
      columns.raw.raw(bytes.subarray(2))
      id = track.addId(inode)
    } else {
      columns.ids.varint(1 + zigzag(id - (track.lastId + 1)))
    }
    track.lastId = id
    const parts = readParts(register, op.value)
    this.#addParts(register, parts, id)
  }

  #addParts(register: RegisterName, parts: ValueColumns, id: number): void {
    const columns = this.#columns
    const track = this.#track
    this.#addStamp(parts.stamp - track.stampBefore(id), parts.stamp)
    track.stamped(id, parts.stamp)
    if (parts.flags !== undefined) columns.flags.u8(parts.flags)
    if (parts.parent !== undefined) {
      const known = track.parentIndexes.get(parts.parent)
      columns.parents.varint(known === undefined ? 0 : known + 1)
      if (known === undefined) {
        columns.raw.raw(inodeIdBytes(parts.parent))
        track.addParent(parts.parent)
      }
    }
    if (register === 'L') columns.names.bytes(parts.name as Uint8Array)
    if (parts.time !== undefined) columns.times.varint(parts.time)
    if (parts.address !== undefined) columns.raw.raw(parts.address)
    columns.rests.bytes(parts.rest)
  }

  #addStamp(step: number, stamp: number): void {
    const { stamps, rests } = this.#columns
    if (Math.abs(step) < STEP_MAX) stamps.varint(1 + zigzag(step))
    else {
      stamps.varint(0)
      rests.varint(stamp)
    }
  }

  #size(): number {
    let bytes = this.#columns.raw.length
    for (const name of COLUMNS) bytes += this.#columns[name].length
    return bytes
  }

  /** The part begun; undefined when nothing is in it. */
  finish(): Buffer | undefined {
    if (this.#size() === 0) return undefined
    const columns = this.#columns
    const plain = Buffer.concat(COLUMNS.map((name) => columns[name].finish()))
    const packed = deflateRawSync(plain, { level: 6 })
    const writer = new ByteWriter(packed.length + columns.raw.length + 64).u8(VERSION)
    for (const name of COLUMNS) writer.varint(columns[name].length)
    writer.bytes(packed).raw(columns.raw.finish())
    this.#columns = createColumns()
    this.#opCount = 0
    return writer.finish()
  }
}

function zigzag(value: number): number {
  return value < 0 ? -value * 2 - 1 : value * 2
}

function unzigzag(code: number): number {
  return code % 2 === 1 ? -(code + 1) / 2 : code / 2
}

/**
 * Reads what `ArchiveWriter` wrote, part by part. Values are put together, not looked into: whoever
 * takes them decodes them anyway.
 */
export class ArchiveReader {
  readonly #actors: readonly ActorId[]
  #columns!: Record<ColumnName | 'raw', ByteReader>
  #track = new Track()
  #shard = -1

  /** `actors`: in the order in which the writer had them. */
  constructor(actors: readonly ActorId[]) {
    this.#actors = actors
  }

  /** @throws {WormholeError} `SNAPSHOT_INVALID` for anything that no honest writer makes. */
  *read(part: Uint8Array): Generator<ArchivedChange> {
    this.#open(part)
    const { changes } = this.#columns
    let opCount = 0
    while (changes.left > 0) {
      const code = changes.varint()
      if (code === 0) {
        this.#nextShard(changes.varint())
        continue
      }
      const made = this.#change(code - 1)
      opCount += made.change.ops.length
      if (opCount > PART_OPS_MAX) changes.fail('too many writes')
      yield made
    }
    for (const name of [...COLUMNS, 'raw'] as const) this.#columns[name].end()
  }

  #open(part: Uint8Array): void {
    const reader = new ByteReader(part, 'SNAPSHOT_INVALID')
    const version = reader.u8()
    if (version !== VERSION) reader.fail(`archive of format version ${version}`)
    const lengths = COLUMNS.map(() => reader.varint())
    const size = lengths.reduce((sum, length) => sum + length, 0)
    if (size === 0 || size > PART_BYTES_MAX) reader.fail(`columns of ${size} bytes`)
    const packed = reader.bytes()
    const plain = inflate(packed, size)
    this.#columns = { raw: reader } as Record<ColumnName | 'raw', ByteReader>
    let at = 0
    for (const [index, name] of COLUMNS.entries()) {
      const end = at + (lengths[index] as number)
      this.#columns[name] = new ByteReader(plain.subarray(at, end), 'SNAPSHOT_INVALID')
      at = end
    }
  }

  /** Shards come in order, so none comes twice. */
  #nextShard(shard: number): void {
    if (shard <= this.#shard || shard >= SHARD_COUNT) this.#columns.changes.fail(`shard ${shard}`)
    this.#shard = shard
    this.#track = new Track()
  }

  #change(actorIndex: number): ArchivedChange {
    const { changes, ops } = this.#columns
    const track = this.#track
    if (this.#shard < 0) changes.fail('a change without a shard')
    const actor = this.#actor(actorIndex, changes)
    const deps = this.#deps()
    const count = changes.varint()
    if (count === 0 || count > ops.left) changes.fail(`${count} writes`)
    let maxOp = 0
    for (const dep of deps) {
      maxOp = Math.max(maxOp, track.maxOps[track.indexes.get(dep) as number] as number)
    }
    const made: ChangeOp[] = []
    for (let index = 0; index < count; index++) made.push(this.#op())
    const seq = (track.seqs.get(actor) ?? 0) + 1
    const plain = { actor, seq, startOp: maxOp + 1, deps, ops: made }
    checkChange(plain, (why) => changes.fail(why))
    const { bytes, hash } = encodeChange(plain)
    const change = { ...plain, hash }
    if (track.indexes.has(hash)) changes.fail('a change twice')
    track.follow(change)
    return { shard: this.#shard, bytes, change }
  }

  #actor(index: number, column: ByteReader): ActorId {
    return this.#actors[index] ?? column.fail(`actor ${index}`)
  }

  #deps(): string[] {
    const { changes } = this.#columns
    const { heads, hashes } = this.#track
    const code = changes.varint()
    if (code === 0) return [...heads].sort()
    if (code - 1 > changes.left) changes.fail(`${code - 1} dependencies`)
    const deps: string[] = []
    for (let left = code - 1; left > 0; left--) {
      deps.push(hashes[hashes.length - changes.varint()] ?? changes.fail('unknown dependency'))
    }
    return deps
  }

  #op(): ChangeOp {
    const { ops } = this.#columns
    const code = ops.u8()
    if (code >= REGISTERS.length + TOLD) ops.fail(`operation ${code}`)
    const register = REGISTERS[code % TOLD] as RegisterName
    const id = this.#id()
    const inode = this.#track.ids[id] as InodeId
    if (register === 'L' && (inode === ROOT || inode === LOST_FOUND)) ops.fail('the root moved')
    const key = register + inode
    const predecessors = code < TOLD ? this.#track.presentIn(key) : this.#predecessors(key)
    const value = writeParts(register, this.#parts(register, id))
    return { key, value, predecessors }
  }

  #predecessors(key: string): OpRef[] {
    const { predecessors } = this.#columns
    const count = predecessors.varint()
    if (count > predecessors.left) predecessors.fail(`${count} predecessors`)
    const refs: OpRef[] = []
    for (let left = count; left > 0; left--) {
      const actor = this.#actor(predecessors.varint(), predecessors)
      const ref = `${predecessors.varint()}@${actor}`
      if (this.#track.known.get(ref) !== key) predecessors.fail('overwrites the unknown')
      refs.push(ref)
    }
    return refs
  }

  #id(): number {
    const { ids, kinds, raw } = this.#columns
    const track = this.#track
    const code = ids.varint()
    if (code > 0) {
      const id = track.lastId + 1 + unzigzag(code - 1)
      if (!(id >= 0 && id < track.ids.length)) ids.fail(`id ${id}`)
      return (track.lastId = id)
    }
    const bytes = Buffer.allocUnsafe(2 + ID_RANDOM_BYTES)
    bytes[0] = this.#shard >> 4
    bytes[1] = ((this.#shard & 15) << 4) | (kinds.u8() & 15)
    bytes.set(raw.raw(ID_RANDOM_BYTES), 2)
    const inode = inodeIdFromBytes(bytes) ?? kinds.fail('malformed inode id')
    if (track.idIndexes.has(inode) || inodeShard(inode) !== this.#shard) ids.fail('id twice')
    return (track.lastId = track.addId(inode))
  }

  #parts(register: RegisterName, id: number): ValueColumns {
    const columns = this.#columns
    const track = this.#track
    const code = columns.stamps.varint()
    const stamp = code === 0 ? columns.rests.varint() : track.stampBefore(id) + unzigzag(code - 1)
    if (!(stamp >= 0 && stamp <= Number.MAX_SAFE_INTEGER)) columns.stamps.fail(`stamp ${stamp}`)
    track.stamped(id, stamp)
    const flags = register === 'P' ? undefined : columns.flags.u8()
    const parent = register === 'L' ? this.#parent() : undefined
    const name = register === 'L' ? columns.names.bytes() : undefined
    const time = hasTime(register, flags) ? columns.times.varint() : undefined
    const address = hasAddress(register, flags) ? columns.raw.raw(ADDRESS_BYTES) : undefined
    const rest = columns.rests.bytes()
    if (address !== undefined && time === undefined && rest.length < 8) columns.rests.fail('time')
    return { stamp, flags, parent, name, time, address, rest }
  }

  #parent(): InodeId {
    const { parents, raw } = this.#columns
    const track = this.#track
    const code = parents.varint()
    if (code > 0) return track.parents[code - 1] ?? parents.fail(`parent ${code - 1}`)
    const parent = readInodeId(raw)
    if (track.parentIndexes.has(parent)) parents.fail('parent twice')
    track.addParent(parent)
    return parent
  }
}

function inflate(packed: Buffer, size: number): Buffer {
  try {
    const plain = inflateRawSync(packed, { maxOutputLength: size })
    if (plain.length === size) return plain
  } catch (error) {
    throw new WormholeError('SNAPSHOT_INVALID', 'a part does not inflate', { cause: error })
  }
  throw new WormholeError('SNAPSHOT_INVALID', 'a part has another size than announced')
}
