/**
 * The file system's records in the local journal. Grammar, order of writes and what a reader
 * refuses: README.md, "Journal records". Encoding is total; decoding throws `JOURNAL_CORRUPT`
 * (malformed) or `FORMAT_UNSUPPORTED` (a newer version or type).
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { ContentRef, Edit, OpRef, Put, RegisterName, VersionId } from '../crdt/interface.ts'
import { WormholeError } from '../errors.ts'
import type { ChunkAddress, Hlc, InodeId } from '../types.ts'
import type { JournalPortRecord } from './interface.ts'
import { EMPTY_BASE, type Base } from './open-file.ts'

/** Version byte of every record. */
const VERSION = 1

/** Types of journal records, as numbers of the journal's `type` field. */
export const RECORD_EDIT = 1
export const RECORD_BEGIN = 2
export const RECORD_WRITE = 3
export const RECORD_STATE = 4
export const RECORD_REBASE = 5
export const RECORD_HOLE = 6
/** All of them, by what the README calls them. */
export const RECORD_NAMES = {
  edit: RECORD_EDIT,
  begin: RECORD_BEGIN,
  write: RECORD_WRITE,
  state: RECORD_STATE,
  rebase: RECORD_REBASE,
  hole: RECORD_HOLE,
}

/** What an edit also says about dirty files. Sessions are named by the number of their `begin`. */
export type Mark =
  /** The edit's content holds session `done` and older ones; session `next` (0: none) goes on. */
  | { readonly type: 'published'; readonly done: number; readonly next: number }
  /** The file of this session now is another inode, whose content it replaces. */
  | {
      readonly type: 'rebound'
      readonly key: number
      readonly inode: InodeId
      readonly ops: readonly OpRef[]
      readonly version: VersionId
    }
  /** The file of this session has lost its last name: forget its bytes. */
  | { readonly type: 'dropped'; readonly key: number }

/** A session of a dirty file begins. */
export interface BeginRecord {
  readonly inode: InodeId
  readonly ops: readonly OpRef[]
  readonly version: VersionId
  readonly mtimeNs: bigint
  /** The session before it; 0 for none. */
  readonly previous: number
  /** What lies below; undefined: what the previous session leaves. With it, older ones are done. */
  readonly base: Base | undefined
}

/** A decoded record. */
export type VfsRecord =
  | { readonly type: 'edit'; readonly edit: Edit; readonly marks: readonly Mark[] }
  | ({ readonly type: 'begin'; readonly number: number } & BeginRecord)
  | {
      readonly type: 'write'
      readonly key: number
      readonly offset: number
      readonly mtimeNs: bigint
      readonly bytes: Uint8Array
    }
  | {
      readonly type: 'state'
      readonly key: number
      readonly sizeBytes: number
      readonly mtimeNs: bigint
    }
  | {
      readonly type: 'hole'
      readonly key: number
      readonly offset: number
      readonly length: number
      readonly mtimeNs: bigint
    }
  | {
      readonly type: 'rebase'
      readonly done: number
      readonly next: number
      readonly base: Base
    }

const REGISTERS: readonly RegisterName[] = ['L', 'C', 'A', 'P']
const REF_TYPES: readonly ContentRef['type'][] = ['empty', 'chunk', 'manifest']
const MARK_TYPES: readonly Mark['type'][] = ['published', 'rebound', 'dropped']
const INODE_LENGTH = 16

function putOps(writer: ByteWriter, ops: readonly OpRef[]): void {
  writer.varint(ops.length)
  for (const op of ops) writer.latin1(op)
}

function getOps(reader: ByteReader): OpRef[] {
  const count = reader.varint()
  if (count > reader.left) reader.fail(`${count} base operations`)
  return Array.from({ length: count }, () => reader.latin1())
}

function putInode(writer: ByteWriter, inode: InodeId): void {
  writer.raw(Buffer.from(inode, 'latin1'))
}

function getInode(reader: ByteReader): InodeId {
  return reader.raw(INODE_LENGTH).toString('latin1') as InodeId
}

function putBase(writer: ByteWriter, base: Base): void {
  writer.u8(REF_TYPES.indexOf(base.ref.type))
  if (base.ref.type !== 'empty') writer.hex(base.ref.address)
  writer.varint(base.sizeBytes)
}

function getBase(reader: ByteReader): Base {
  const type = REF_TYPES[reader.u8()]
  if (type === undefined) reader.fail('unknown kind of content')
  if (type === 'empty') {
    if (reader.varint() !== 0) reader.fail('an empty content has no bytes')
    return EMPTY_BASE
  }
  const address = reader.hex(32) as ChunkAddress
  return { ref: { type, address }, sizeBytes: reader.varint() }
}

function putMark(writer: ByteWriter, mark: Mark): void {
  writer.u8(MARK_TYPES.indexOf(mark.type))
  if (mark.type === 'published') writer.varint(mark.done).varint(mark.next)
  else writer.varint(mark.key)
  if (mark.type !== 'rebound') return
  putInode(writer, mark.inode)
  putOps(writer, mark.ops)
  writer.latin1(mark.version)
}

function getMark(reader: ByteReader): Mark {
  const type = MARK_TYPES[reader.u8()]
  if (type === 'published') return { type, done: reader.varint(), next: reader.varint() }
  if (type === 'dropped') return { type, key: reader.varint() }
  if (type !== 'rebound') return reader.fail('unknown mark')
  const key = reader.varint()
  const inode = getInode(reader)
  const ops = getOps(reader)
  return { type, key, inode, ops, version: reader.latin1() }
}

/** An edit, and what it says about dirty files. Its number is that of the record. */
export function encodeEdit(edit: Edit, marks: readonly Mark[]): Buffer {
  const writer = new ByteWriter(256).u8(VERSION).varint(edit.hlc).varint(edit.puts.length)
  for (const put of edit.puts) {
    putInode(writer, put.inode)
    writer.u8(REGISTERS.indexOf(put.register)).bytes(put.value)
    putOps(writer, put.base)
  }
  writer.varint(marks.length)
  for (const mark of marks) putMark(writer, mark)
  return writer.finish()
}

function decodeEdit(reader: ByteReader, number: number): VfsRecord {
  const hlc = reader.varint() as Hlc
  const puts: Put[] = []
  for (let left = reader.varint(); left > 0; left--) {
    const inode = getInode(reader)
    const register = REGISTERS[reader.u8()]
    if (register === undefined) reader.fail('unknown register')
    const value = reader.bytes()
    puts.push({ inode, register, value, base: getOps(reader) })
  }
  const marks: Mark[] = []
  for (let left = reader.varint(); left > 0; left--) marks.push(getMark(reader))
  return { type: 'edit', edit: { number, hlc, puts }, marks }
}

/** The begin of a session; the record's number becomes its key. */
export function encodeBegin(begin: BeginRecord): Buffer {
  const writer = new ByteWriter(128).u8(VERSION)
  putInode(writer, begin.inode)
  putOps(writer, begin.ops)
  writer.latin1(begin.version).i64(begin.mtimeNs).varint(begin.previous)
  writer.u8(begin.base ? 1 : 0)
  if (begin.base) putBase(writer, begin.base)
  return writer.finish()
}

function decodeBegin(reader: ByteReader, number: number): VfsRecord {
  const inode = getInode(reader)
  const ops = getOps(reader)
  const version = reader.latin1()
  const mtimeNs = reader.i64()
  const previous = reader.varint()
  const base = reader.u8() === 1 ? getBase(reader) : undefined
  return { type: 'begin', number, inode, ops, version, mtimeNs, previous, base }
}

/** Bytes written at an offset. */
export function encodeWrite(
  key: number,
  offset: number,
  mtimeNs: bigint,
  bytes: Uint8Array,
): Buffer {
  const writer = new ByteWriter(bytes.length + 32).u8(VERSION)
  return writer.varint(key).varint(offset).i64(mtimeNs).raw(bytes).finish()
}

/** The size and modification time that a file has from here on. */
export function encodeState(key: number, sizeBytes: number, mtimeNs: bigint): Buffer {
  return new ByteWriter(32).u8(VERSION).varint(key).varint(sizeBytes).i64(mtimeNs).finish()
}

/** A range that reads as zeros from here on; the size stays. */
export function encodeHole(
  key: number,
  range: { readonly offset: number; readonly length: number },
  mtimeNs: bigint,
): Buffer {
  const writer = new ByteWriter(32).u8(VERSION).varint(key)
  return writer.varint(range.offset).varint(range.length).i64(mtimeNs).finish()
}

/** Session `done` and older ones are in `base`; `next` goes on over it. */
export function encodeRebase(done: number, next: number, base: Base): Buffer {
  const writer = new ByteWriter(64).u8(VERSION).varint(done).varint(next)
  putBase(writer, base)
  return writer.finish()
}

/** @throws {WormholeError} `JOURNAL_CORRUPT`, `FORMAT_UNSUPPORTED`. Views into the record. */
export function decodeRecord(record: JournalPortRecord): VfsRecord {
  const reader = new ByteReader(record.bytes, 'JOURNAL_CORRUPT')
  const version = reader.u8()
  if (version !== VERSION) {
    throw new WormholeError(
      'FORMAT_UNSUPPORTED',
      `journal record ${record.number} has version ${version}, this program reads ${VERSION}`,
    )
  }
  const decoded = decodeBody(reader, record)
  reader.end()
  return decoded
}

function decodeBody(reader: ByteReader, record: JournalPortRecord): VfsRecord {
  switch (record.type) {
    case RECORD_EDIT:
      return decodeEdit(reader, record.number)
    case RECORD_BEGIN:
      return decodeBegin(reader, record.number)
    case RECORD_WRITE: {
      const [key, offset, mtimeNs] = [reader.varint(), reader.varint(), reader.i64()]
      return { type: 'write', key, offset, mtimeNs, bytes: reader.raw(reader.left) }
    }
    case RECORD_STATE: {
      const [key, sizeBytes, mtimeNs] = [reader.varint(), reader.varint(), reader.i64()]
      return { type: 'state', key, sizeBytes, mtimeNs }
    }
    case RECORD_HOLE: {
      const [key, offset, length] = [reader.varint(), reader.varint(), reader.varint()]
      if (offset + length > Number.MAX_SAFE_INTEGER) reader.fail('a hole over 2^53')
      return { type: 'hole', key, offset, length, mtimeNs: reader.i64() }
    }
    case RECORD_REBASE: {
      const [done, next] = [reader.varint(), reader.varint()]
      return { type: 'rebase', done, next, base: getBase(reader) }
    }
    default:
      throw new WormholeError(
        'FORMAT_UNSUPPORTED',
        `journal record ${record.number} has the unknown type ${record.type}`,
      )
  }
}
