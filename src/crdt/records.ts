/**
 * The rows of the index that hold the tree: one per inode or dirent record (its registers and what
 * the view derived from them) and one per name hash of a directory (its slots). Encodings:
 * README.md, "Index rows". Everything here follows from the log; an index can be thrown away.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { ActorId, FileName, Hlc, InodeId } from '../types.ts'
import { parseOp } from './change.ts'
import { readInodeId } from './ids.ts'
import type { Attributes, Content, Location, OpRef, VersionId } from './interface.ts'
import { decodeRegister, versionId, type PolicyText } from './registers.ts'

/** One of the concurrent values of a register. Never changed once made. */
export interface Value<T> {
  readonly op: OpRef
  /**
   * Journal numbers of the own edits that this value stands for; 0 and 0 when another device put
   * it. A base `#n` holds if n is within.
   */
  readonly fromNumber: number
  readonly toNumber: number
  /** The encoded register value. */
  readonly bytes: Uint8Array
  readonly data: T
  /** Cache of `versionOf`. */
  version?: VersionId
}

/** Whether a base names this value. */
export function holdsAny(
  base: readonly OpRef[],
  value: { readonly op: OpRef; readonly fromNumber: number; readonly toNumber: number },
): boolean {
  for (const ref of base) {
    if (ref === value.op) return true
    if (!ref.startsWith('#')) continue
    const number = Number(ref.slice(1))
    if (value.toNumber > 0 && number >= value.fromNumber && number <= value.toNumber) return true
  }
  return false
}

/** Registers and derived state of one inode or dirent record. */
export interface InodeRow {
  readonly id: InodeId
  L: readonly Value<Location>[]
  C: readonly Value<Content>[]
  A: readonly Value<Attributes>[]
  P: readonly Value<PolicyText>[]
  /** Which candidate location is in use; their count means `lost+found`. */
  place: number
  isAlive: boolean
  /** The directory record that counts this one among its live children; '' when not alive. */
  countedIn: InodeId | ''
  /** The canonical directory and the name of the slot that holds it; '' when not alive. */
  slotParent: InodeId | ''
  slotName: FileName | ''
  /** Of a directory that is merged into another: that other; '' otherwise. */
  canonical: InodeId | ''
  /** Of a canonical directory: the others merged into it. */
  merged: readonly InodeId[]
  liveChildren: number
  /** Of a canonical directory: names in it that are directories. */
  subdirectories: number
  /** Link records that name this inode. */
  links: readonly InodeId[]
  /** Of a link record: the inode in whose `links` it is; '' otherwise. */
  target: InodeId | ''
  /** Set while the id is that of a losing version, shown or not: where to look. */
  copyOf: CopyOf | undefined
}

/** The losing version that a copy id stands for, and the slot that decides whether it is shown. */
export interface CopyOf {
  readonly inode: InodeId
  readonly version: VersionId
  readonly parent: InodeId
  readonly name: FileName
}

/** A name in a slot that is not the slot's own: a conflict name. */
export interface Extra {
  /** The dirent record that lost the name, or the id of the conflict copy. */
  readonly claim: InodeId
  /** The inode shown: that of the record, or the copy's id. */
  readonly node: InodeId
  readonly reason: 'name' | 'content'
  /** For `content`: whose version it is, and which. */
  readonly inode: InodeId
  readonly version: VersionId
  /** What the conflict name is made of. */
  readonly hlc: Hlc
  readonly deviceName: string
  /** Names tried in order; the last one is shown. */
  readonly names: readonly FileName[]
}

/** A record that is in a slot and not shown: equal to another, or beaten by it. */
export interface Hidden {
  readonly claim: InodeId
  /** The claim that stands for it. */
  readonly into: InodeId
  /** Same content; otherwise it lost by the last-writer-wins strategy. */
  readonly isTwin: boolean
}

/** Everything about one name in one canonical directory. */
export interface Slot {
  readonly name: FileName
  /** Live records located here, sorted by id. */
  claims: readonly InodeId[]
  /** The claim that has the name; '' when there is none. */
  primary: InodeId | ''
  extras: readonly Extra[]
  hidden: readonly Hidden[]
  /** Copy ids registered by this slot. */
  copies: readonly InodeId[]
  /** Conflict copies that have tried this name, and the slots they come from; sorted by claim. */
  wants: readonly { readonly claim: InodeId; readonly source: FileName }[]
}

/** Numbers for actors, so that an op id is a few bytes in a row. */
export interface ActorNumbers {
  numberOf(actor: ActorId): number
  actorOf(number: number): ActorId
}

/** Shared by all empty lists: arrays of rows and slots are replaced, never changed. */
const NONE: readonly never[] = Object.freeze([])

/** A row without anything in it. */
export function emptyInodeRow(id: InodeId): InodeRow {
  return {
    id,
    L: NONE,
    C: NONE,
    A: NONE,
    P: NONE,
    place: 0,
    isAlive: false,
    countedIn: '',
    slotParent: '',
    slotName: '',
    canonical: '',
    merged: NONE,
    liveChildren: 0,
    subdirectories: 0,
    links: NONE,
    target: '',
    copyOf: undefined,
  }
}

/** A slot without anything in it. */
export function emptySlot(name: FileName): Slot {
  return { name, claims: NONE, primary: '', extras: NONE, hidden: NONE, copies: NONE, wants: NONE }
}

/** Whether the row says nothing that an absent row does not say. */
export function isEmptyInodeRow(row: InodeRow): boolean {
  return (
    row.L.length + row.C.length + row.A.length + row.P.length === 0 &&
    row.liveChildren + row.subdirectories + row.links.length + row.merged.length === 0 &&
    row.copyOf === undefined &&
    row.slotParent === ''
  )
}

/** Whether the slot can be forgotten. */
export function isEmptySlot(slot: Slot): boolean {
  return slot.claims.length + slot.wants.length === 0
}

/** The version id of a value of `C`. */
export function versionOf(value: Value<Content>): VersionId {
  value.version ??= versionId(value.bytes)
  return value.version
}

const ROW = {
  alive: 1,
  movedSlot: 2,
  canonical: 4,
  lists: 8,
  counts: 16,
  target: 32,
  copyOf: 64,
  place: 128,
}

function writeId(writer: ByteWriter, id: InodeId): void {
  writer.base64url(id)
}

function writeIds(writer: ByteWriter, ids: readonly InodeId[]): void {
  writer.varint(ids.length)
  for (const id of ids) writeId(writer, id)
}

function readIds(reader: ByteReader): InodeId[] {
  const ids: InodeId[] = []
  for (let left = reader.varint(); left > 0; left--) ids.push(readInodeId(reader))
  return ids
}

function writeValues(
  writer: ByteWriter,
  values: readonly Value<unknown>[],
  actors: ActorNumbers,
): void {
  writer.varint(values.length)
  for (const value of values) {
    const { counter, actor } = parseOp(value.op)
    writer.varint(actors.numberOf(actor)).varint(counter)
    writer
      .varint(value.toNumber)
      .varint(value.toNumber - value.fromNumber)
      .bytes(value.bytes)
  }
}

function readValues<R extends 'L' | 'C' | 'A' | 'P'>(
  reader: ByteReader,
  register: R,
  id: InodeId,
  actors: ActorNumbers,
): InodeRow[R] {
  const count = reader.varint()
  if (count === 0) return NONE
  const values: Value<unknown>[] = []
  for (let left = count; left > 0; left--) {
    const actor = actors.actorOf(reader.varint())
    const op = `${reader.varint()}@${actor}`
    const toNumber = reader.varint()
    const fromNumber = toNumber - reader.varint()
    const bytes = reader.bytes()
    values.push({ op, fromNumber, toNumber, bytes, data: decodeRegister(register, id, bytes) })
  }
  return values as unknown as InodeRow[R]
}

/** Encodes a row. `countedIn` is the located parent and is told again at decoding. */
export function encodeInodeRow(row: InodeRow, actors: ActorNumbers): Buffer {
  const writer = new ByteWriter(192)
  let flags = row.isAlive ? ROW.alive : 0
  if (row.slotParent !== row.countedIn) flags |= ROW.movedSlot
  if (row.canonical !== '') flags |= ROW.canonical
  if (row.merged.length + row.links.length > 0) flags |= ROW.lists
  if (row.liveChildren + row.subdirectories > 0) flags |= ROW.counts
  if (row.target !== '') flags |= ROW.target
  if (row.copyOf) flags |= ROW.copyOf
  if (row.place > 0) flags |= ROW.place
  writer.u8(flags)
  writeValues(writer, row.L, actors)
  writeValues(writer, row.C, actors)
  writeValues(writer, row.A, actors)
  writeValues(writer, row.P, actors)
  if (row.place > 0) writer.varint(row.place)
  if (flags & ROW.movedSlot) writeId(writer, row.slotParent as InodeId)
  if (row.canonical !== '') writeId(writer, row.canonical)
  if (flags & ROW.lists) {
    writeIds(writer, row.merged)
    writeIds(writer, row.links)
  }
  if (flags & ROW.counts) writer.varint(row.liveChildren).varint(row.subdirectories)
  if (row.target !== '') writeId(writer, row.target)
  if (row.copyOf) {
    writeId(writer, row.copyOf.inode)
    writer.hex(row.copyOf.version)
    writeId(writer, row.copyOf.parent)
    writer.latin1(row.copyOf.name)
  }
  return writer.finish()
}

/**
 * Decodes a row; values are views of `bytes`. `locate` tells where the record is located.
 *
 * @throws {WormholeError} `INDEX_CORRUPT`.
 */
export function decodeInodeRow(
  id: InodeId,
  bytes: Uint8Array,
  actors: ActorNumbers,
  locate: (row: InodeRow) => { readonly parent: InodeId; readonly name: FileName },
): InodeRow {
  const reader = new ByteReader(bytes, 'INDEX_CORRUPT')
  const row = emptyInodeRow(id)
  const flags = reader.u8()
  row.L = readValues(reader, 'L', id, actors)
  row.C = readValues(reader, 'C', id, actors)
  row.A = readValues(reader, 'A', id, actors)
  row.P = readValues(reader, 'P', id, actors)
  if (flags & ROW.place) row.place = reader.varint()
  row.isAlive = (flags & ROW.alive) !== 0
  if (row.isAlive) {
    const { parent, name } = locate(row)
    row.countedIn = parent
    row.slotParent = parent
    row.slotName = name
  }
  if (flags & ROW.movedSlot) row.slotParent = readInodeId(reader)
  if (flags & ROW.canonical) row.canonical = readInodeId(reader)
  if (flags & ROW.lists) {
    row.merged = readIds(reader)
    row.links = readIds(reader)
  }
  if (flags & ROW.counts) {
    row.liveChildren = reader.varint()
    row.subdirectories = reader.varint()
  }
  if (flags & ROW.target) row.target = readInodeId(reader)
  if (flags & ROW.copyOf) {
    row.copyOf = {
      inode: readInodeId(reader),
      version: reader.hex(8),
      parent: readInodeId(reader),
      name: reader.latin1() as FileName,
    }
  }
  reader.end()
  return row
}

/** Encodes the slots of one name hash; all but one name only if two names share the hash. */
export function encodeSlots(slots: readonly Slot[]): Buffer {
  const writer = new ByteWriter(64)
  for (const slot of slots) {
    const isPlain =
      slot.claims.length === 1 &&
      slot.extras.length + slot.hidden.length + slot.copies.length + slot.wants.length === 0
    writer.u8(isPlain ? 1 : 0).latin1(slot.name)
    if (isPlain) writeId(writer, slot.claims[0] as InodeId)
    else writeSlot(writer, slot)
  }
  return writer.finish()
}

function writeSlot(writer: ByteWriter, slot: Slot): void {
  writeIds(writer, slot.claims)
  writeIds(writer, slot.primary === '' ? [] : [slot.primary])
  writer.varint(slot.extras.length)
  for (const extra of slot.extras) {
    writeIds(writer, [extra.claim, extra.node, extra.inode])
    writer.u8(extra.reason === 'content' ? 1 : 0).latin1(extra.version)
    writer.varint(extra.hlc).latin1(extra.deviceName).varint(extra.names.length)
    for (const name of extra.names) writer.latin1(name)
  }
  writer.varint(slot.hidden.length)
  for (const hidden of slot.hidden) {
    writeId(writer, hidden.claim)
    writeId(writer, hidden.into)
    writer.u8(hidden.isTwin ? 1 : 0)
  }
  writeIds(writer, slot.copies)
  writer.varint(slot.wants.length)
  for (const want of slot.wants) {
    writeId(writer, want.claim)
    writer.latin1(want.source)
  }
}

/** @throws {WormholeError} `INDEX_CORRUPT`. */
export function decodeSlots(bytes: Uint8Array): Slot[] {
  const reader = new ByteReader(bytes, 'INDEX_CORRUPT')
  const slots: Slot[] = []
  while (reader.left > 0) {
    const isPlain = reader.u8() === 1
    const slot = emptySlot(reader.latin1() as FileName)
    if (isPlain) {
      slot.primary = readInodeId(reader)
      slot.claims = [slot.primary]
    } else {
      readSlot(reader, slot)
    }
    slots.push(slot)
  }
  return slots
}

function readSlot(reader: ByteReader, slot: Slot): void {
  slot.claims = readIds(reader)
  slot.primary = readIds(reader)[0] ?? ''
  const extras: Extra[] = []
  for (let left = reader.varint(); left > 0; left--) extras.push(readExtra(reader))
  slot.extras = extras
  const hidden: Hidden[] = []
  for (let left = reader.varint(); left > 0; left--) {
    hidden.push({
      claim: readInodeId(reader),
      into: readInodeId(reader),
      isTwin: reader.u8() === 1,
    })
  }
  slot.hidden = hidden
  slot.copies = readIds(reader)
  const wants: Slot['wants'][number][] = []
  for (let left = reader.varint(); left > 0; left--) {
    wants.push({ claim: readInodeId(reader), source: reader.latin1() as FileName })
  }
  slot.wants = wants
}

function readExtra(reader: ByteReader): Extra {
  const [claim, node, inode] = readIds(reader) as [InodeId, InodeId, InodeId]
  const reason = reader.u8() === 1 ? 'content' : 'name'
  const version = reader.latin1()
  const hlc = reader.varint() as Hlc
  const deviceName = reader.latin1()
  const names: FileName[] = []
  for (let left = reader.varint(); left > 0; left--) names.push(reader.latin1() as FileName)
  return { claim, node, inode, reason, version, hlc, deviceName, names }
}
