/**
 * Encodings of the four registers. Grammar and limits: README.md, "Registers".
 *
 * Encoding is total on values that `check…` accepted. Decoding hostile bytes throws `WormholeError`
 * `ENTRY_INVALID`; it accepts exactly one encoding of each value, so that equal values are equal
 * bytes on every device.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { hash } from '../seal.ts'
import type { ChunkAddress, FileName, Hlc, InodeId } from '../types.ts'
import { inodeKind, readInodeId } from './ids.ts'
import type {
  Attributes,
  Content,
  ContentRef,
  InodeKind,
  Location,
  RegisterName,
  VersionId,
} from './interface.ts'

/** Value of register `P`. An empty text means: no policy here. */
export interface PolicyText {
  /** Canonical JSON; at most `POLICY_BYTES_MAX` bytes of UTF-8. */
  readonly text: string
  readonly hlc: Hlc
}

/** What each register holds. */
export interface RegisterValues {
  L: Location
  C: Content
  A: Attributes
  P: PolicyText
}

/** NAME_MAX of Linux. */
export const NAME_BYTES_MAX = 255
/** PATH_MAX of Linux without the final NUL. */
export const SYMLINK_TARGET_BYTES_MAX = 4095
/** UTF-8 bytes of a policy's canonical text. */
export const POLICY_BYTES_MAX = 16 * 1024
/** What a register holds of times, in ns since 1970: the years 1677 to 2262. */
export const TIME_NS_MIN = -(2n ** 63n)
export const TIME_NS_MAX = 2n ** 63n - 1n
/** XATTR_NAME_MAX of Linux. */
export const XATTR_NAME_BYTES_MAX = 255
/** Names and values of all extended attributes of one inode together. */
export const XATTR_TOTAL_BYTES_MAX = 64 * 1024
/** Versions a tombstone may list; an edit that has seen more lists the newest. */
export const SEEN_COUNT_MAX = 256

const VERSION = 1
const HLC_MAX = 2 ** 53 - 1
const VERSION_ID_BYTES = 8
const ADDRESS_BYTES = 32
const FILE_TYPES = new Set([0o010000, 0o140000, 0o020000, 0o060000])

const LOCATION = { previous: 1, previousParent: 2, deleted: 4, target: 8, seen: 16, all: 31 }
const CONTENT_KINDS = ['file', 'directory', 'symlink', 'special'] as const
const CONTENT = { kind: 3, chunk: 4, manifest: 8, base: 16, farTime: 32, all: 63 }
const ATTRIBUTES = { xattrs: 1, mtime: 2, all: 3 }

/** @throws {WormholeError} `NAME_INVALID`, `NAME_TOO_LONG`. */
export function checkName(name: string): asserts name is FileName {
  if (name.length > NAME_BYTES_MAX) {
    throw new WormholeError('NAME_TOO_LONG', `name of ${name.length} bytes, at most 255 allowed`)
  }
  if (!isName(name))
    throw new WormholeError('NAME_INVALID', 'name is empty, . or .., or has / or NUL')
}

function isName(name: string): name is FileName {
  if (name.length === 0 || name.length > NAME_BYTES_MAX) return false
  if (name === '.' || name === '..') return false
  return !name.includes('/') && !name.includes('\0')
}

/** The version of a content: 8 bytes of the hash of its encoding, as hex. */
export function versionId(encoded: Uint8Array): VersionId {
  return hash(encoded).toString('hex', 0, VERSION_ID_BYTES)
}

/** Whether two contents are the same to a user: kind and what it holds, not the times. */
export function isSameContent(a: Content, b: Content): boolean {
  if (a.kind === 'file' && b.kind === 'file') {
    return a.sizeBytes === b.sizeBytes && isSameRef(a.ref, b.ref)
  }
  if (a.kind === 'symlink' && b.kind === 'symlink') return a.target === b.target
  if (a.kind === 'special' && b.kind === 'special') {
    return a.fileType === b.fileType && a.rdev === b.rdev
  }
  return a.kind === b.kind
}

function isSameRef(a: ContentRef, b: ContentRef): boolean {
  if (a.type === 'empty' || b.type === 'empty') return a.type === b.type
  return a.type === b.type && a.address === b.address
}

/** The content of an inode whose `C` was never written. */
export function defaultContent(kind: Exclude<InodeKind, 'link'>, hlc: Hlc): Content {
  const mtimeNs = BigInt(hlc) * 1000n
  if (kind === 'directory') return { kind, mtimeNs, hlc }
  if (kind === 'symlink') return { kind, target: '.', mtimeNs, hlc }
  if (kind === 'special') return { kind, fileType: 0o010000, rdev: 0, mtimeNs, hlc }
  return { kind, ref: { type: 'empty' }, sizeBytes: 0, mtimeNs, hlc, baseHlc: 0 as Hlc }
}

/** The attributes of an inode whose `A` was never written. */
export function defaultAttributes(kind: Exclude<InodeKind, 'link'>): Attributes {
  return DEFAULT_ATTRIBUTES[kind]
}

function plainAttributes(mode: number): Attributes {
  return { mode, uid: 0, gid: 0, xattrs: new Map(), hlc: 0 as Hlc }
}

const DEFAULT_ATTRIBUTES = {
  directory: plainAttributes(0o755),
  file: plainAttributes(0o644),
  symlink: plainAttributes(0o777),
  special: plainAttributes(0o644),
}

/** Encodes a register value; fresh memory. */
export function encodeRegister<R extends RegisterName>(
  register: R,
  value: RegisterValues[R],
): Buffer {
  switch (register) {
    case 'L':
      return encodeLocation(value as Location)
    case 'C':
      return encodeContent(value as Content)
    case 'A':
      return encodeAttributes(value as Attributes)
    default:
      return encodePolicy(value as PolicyText)
  }
}

/**
 * Decodes a register value of the inode `id`. Buffers in the result are views of `bytes`.
 *
 * @throws {WormholeError} `ENTRY_INVALID` when the bytes are not the one encoding of a value that
 *   may stand there.
 */
export function decodeRegister<R extends RegisterName>(
  register: R,
  id: InodeId,
  bytes: Uint8Array,
): RegisterValues[R] {
  const reader = new ByteReader(bytes)
  const version = reader.u8()
  if (version !== VERSION) {
    reader.fail(`register ${register} has format version ${version}, this program knows ${VERSION}`)
  }
  const kind = inodeKind(id)
  if (register !== 'L' && kind === 'link') reader.fail(`register ${register} on a link record`)
  if (register === 'P' && kind !== 'directory') reader.fail('policy on something not a directory')
  const value = DECODERS[register](reader, kind)
  reader.end()
  return value as RegisterValues[R]
}

const DECODERS = {
  L: decodeLocation,
  C: decodeContent,
  A: decodeAttributes,
  P: decodePolicy,
}

/** A stamp: 7 bytes, big-endian, so that stamps close in time share their first bytes. */
function writeHlc(writer: ByteWriter, hlc: number): void {
  const high = Math.floor(hlc / 0x100000000)
  writer
    .u8((high >>> 16) & 255)
    .u8((high >>> 8) & 255)
    .u8(high & 255)
  writer
    .u8((hlc / 0x1000000) & 255)
    .u8((hlc >>> 16) & 255)
    .u8((hlc >>> 8) & 255)
    .u8(hlc & 255)
}

function readHlc(reader: ByteReader): Hlc {
  const high = (reader.u8() << 16) | (reader.u8() << 8) | reader.u8()
  const low = reader.u8() * 0x1000000 + ((reader.u8() << 16) | (reader.u8() << 8) | reader.u8())
  const value = high * 0x100000000 + low
  if (value > HLC_MAX) reader.fail('stamp over 2^53')
  return value as Hlc
}

function readName(reader: ByteReader): FileName {
  const name = reader.latin1(NAME_BYTES_MAX)
  if (!isName(name)) reader.fail('malformed name')
  return name
}

function encodeLocation(location: Location): Buffer {
  const { previous, target, seen } = location
  const writer = new ByteWriter(64)
  const hasPreviousParent = previous !== undefined && previous.parent !== location.parent
  let flags = 0
  if (previous) flags |= LOCATION.previous
  if (hasPreviousParent) flags |= LOCATION.previousParent
  if (location.isDeleted) flags |= LOCATION.deleted
  if (target) flags |= LOCATION.target
  if (seen.length > 0) flags |= LOCATION.seen
  writer.u8(VERSION).u8(flags)
  writeHlc(writer, location.hlc)
  writer.base64url(location.parent).latin1(location.name)
  if (previous) {
    if (hasPreviousParent) writer.base64url(previous.parent)
    writer.latin1(previous.name === location.name ? '' : previous.name)
  }
  if (target) writer.base64url(target)
  if (seen.length > 0) {
    writer.varint(seen.length)
    for (const version of seen) writer.hex(version)
  }
  return writer.finish()
}

function readPrevious(
  reader: ByteReader,
  flags: number,
  now: { parent: InodeId; name: FileName },
): Location['previous'] {
  const parent = flags & LOCATION.previousParent ? readInodeId(reader) : now.parent
  const text = reader.latin1(NAME_BYTES_MAX)
  const name = text === '' ? now.name : text
  if (!isName(name) || text === now.name) reader.fail('malformed previous name')
  if (flags & LOCATION.previousParent && parent === now.parent) reader.fail('not minimal')
  return { parent, name }
}

function decodeLocation(reader: ByteReader, kind: InodeKind): Location {
  const flags = reader.u8()
  if (flags > LOCATION.all) reader.fail('unknown flags')
  if ((flags & LOCATION.previousParent) !== 0 && (flags & LOCATION.previous) === 0) {
    reader.fail('unknown flags')
  }
  const hlc = readHlc(reader)
  const parent = readInodeId(reader)
  const name = readName(reader)
  const previous =
    flags & LOCATION.previous ? readPrevious(reader, flags, { parent, name }) : undefined
  const target = flags & LOCATION.target ? readInodeId(reader) : undefined
  if ((target !== undefined) !== (kind === 'link')) reader.fail('target where none may be')
  if (target !== undefined && !isLinkable(inodeKind(target))) reader.fail('link to a directory')
  const seen: VersionId[] = []
  if (flags & LOCATION.seen) {
    const count = reader.varint()
    if (count === 0 || count > SEEN_COUNT_MAX) reader.fail(`${count} versions seen`)
    for (let index = 0; index < count; index++) seen.push(reader.hex(VERSION_ID_BYTES))
  }
  return {
    parent,
    name,
    ...(previous ? { previous } : {}),
    isDeleted: (flags & LOCATION.deleted) !== 0,
    seen,
    ...(target ? { target } : {}),
    hlc,
  }
}

/** Whether hard links may name inodes of this kind. */
export function isLinkable(kind: InodeKind): boolean {
  return kind === 'file' || kind === 'symlink' || kind === 'special'
}

/** A time is written as its distance to the stamp (µs × 1000) unless that is over 2^52 ns. */
const NEAR_NS = 2n ** 52n

function encodeContent(content: Content): Buffer {
  const writer = new ByteWriter(80)
  const distanceNs = content.mtimeNs - BigInt(content.hlc) * 1000n
  const isNear = distanceNs < NEAR_NS && distanceNs >= -NEAR_NS
  let flags = CONTENT_KINDS.indexOf(content.kind) | (isNear ? 0 : CONTENT.farTime)
  if (content.kind === 'file') {
    if (content.ref.type === 'chunk') flags |= CONTENT.chunk
    if (content.ref.type === 'manifest') flags |= CONTENT.manifest
    if (content.baseHlc !== 0) flags |= CONTENT.base
  }
  writer.u8(VERSION).u8(flags)
  writeHlc(writer, content.hlc)
  if (isNear) {
    const distance = Number(distanceNs)
    writer.varint(distance < 0 ? -distance * 2 - 1 : distance * 2)
  } else {
    writer.i64(content.mtimeNs)
  }
  if (content.kind === 'file') {
    if (content.ref.type !== 'empty') writer.hex(content.ref.address).varint(content.sizeBytes)
    if (content.baseHlc !== 0) writeHlc(writer, content.baseHlc)
  }
  if (content.kind === 'symlink') writer.latin1(content.target)
  if (content.kind === 'special') writer.varint(content.fileType).varint(content.rdev)
  return writer.finish()
}

function readTime(reader: ByteReader, flags: number, hlc: Hlc): bigint {
  const stampNs = BigInt(hlc) * 1000n
  if ((flags & CONTENT.farTime) === 0) {
    const code = reader.varint()
    return stampNs + BigInt(code % 2 === 1 ? -(code + 1) / 2 : code / 2)
  }
  const timeNs = reader.i64()
  const distanceNs = timeNs - stampNs
  if (distanceNs < NEAR_NS && distanceNs >= -NEAR_NS) reader.fail('time is not minimal')
  return timeNs
}

function decodeContent(reader: ByteReader, kind: InodeKind): Content {
  const flags = reader.u8()
  if (flags > CONTENT.all || CONTENT_KINDS[flags & CONTENT.kind] !== kind) {
    reader.fail('content of another kind')
  }
  const hlc = readHlc(reader)
  const mtimeNs = readTime(reader, flags, hlc)
  const isExtra = (flags & (CONTENT.chunk | CONTENT.manifest | CONTENT.base)) !== 0
  if (kind !== 'file' && isExtra) reader.fail('unknown flags')
  if (kind === 'directory') return { kind, mtimeNs, hlc }
  if (kind === 'symlink') {
    const target = reader.latin1(SYMLINK_TARGET_BYTES_MAX)
    if (target.length === 0 || target.includes('\0')) reader.fail('malformed symlink target')
    return { kind, target, mtimeNs, hlc }
  }
  if (kind === 'special') {
    const fileType = reader.varint()
    if (!FILE_TYPES.has(fileType)) reader.fail('unknown file type')
    return { kind, fileType, rdev: reader.varint(), mtimeNs, hlc }
  }
  const { ref, sizeBytes } = readRef(reader, flags)
  const baseHlc = flags & CONTENT.base ? readHlc(reader) : (0 as Hlc)
  if (flags & CONTENT.base && baseHlc === 0) reader.fail('base is not minimal')
  return { kind: 'file', ref, sizeBytes, mtimeNs, hlc, baseHlc }
}

function readRef(reader: ByteReader, flags: number): { ref: ContentRef; sizeBytes: number } {
  const type = flags & (CONTENT.chunk | CONTENT.manifest)
  if (type === 0) return { ref: { type: 'empty' }, sizeBytes: 0 }
  if (type === (CONTENT.chunk | CONTENT.manifest)) reader.fail('unknown content reference')
  const address = reader.hex(ADDRESS_BYTES) as ChunkAddress
  const sizeBytes = reader.varint()
  return { ref: { type: type === CONTENT.chunk ? 'chunk' : 'manifest', address }, sizeBytes }
}

function encodeAttributes(attributes: Attributes): Buffer {
  const { xattrs, mtime } = attributes
  const writer = new ByteWriter(32)
  writer.u8(VERSION).u8((xattrs.size > 0 ? ATTRIBUTES.xattrs : 0) | (mtime ? ATTRIBUTES.mtime : 0))
  writeHlc(writer, attributes.hlc)
  writer.varint(attributes.mode).varint(attributes.uid).varint(attributes.gid)
  if (mtime) writer.hex(mtime.version).i64(mtime.ns)
  if (xattrs.size > 0) {
    writer.varint(xattrs.size)
    for (const name of [...xattrs.keys()].sort()) {
      writer.latin1(name).bytes(xattrs.get(name) as Buffer)
    }
  }
  return writer.finish()
}

function decodeAttributes(reader: ByteReader): Attributes {
  const flags = reader.u8()
  if (flags > ATTRIBUTES.all) reader.fail('unknown flags')
  const hlc = readHlc(reader)
  const mode = reader.varint()
  const uid = reader.varint()
  const gid = reader.varint()
  if (mode > 0o7777 || uid > 0xffffffff || gid > 0xffffffff) reader.fail('mode or owner too large')
  const mtime =
    flags & ATTRIBUTES.mtime
      ? { version: reader.hex(VERSION_ID_BYTES), ns: reader.i64() }
      : undefined
  const xattrs = flags & ATTRIBUTES.xattrs ? readXattrs(reader) : new Map<string, Buffer>()
  return { mode, uid, gid, xattrs, ...(mtime ? { mtime } : {}), hlc }
}

function readXattrs(reader: ByteReader): Map<string, Buffer> {
  const xattrs = new Map<string, Buffer>()
  const count = reader.varint()
  if (count === 0) reader.fail('extended attributes are not minimal')
  let last = ''
  let totalBytes = 0
  for (let index = 0; index < count; index++) {
    const name = reader.latin1(XATTR_NAME_BYTES_MAX)
    if (name <= last || name.includes('\0')) reader.fail('extended attributes out of order')
    const value = reader.bytes(XATTR_TOTAL_BYTES_MAX)
    totalBytes += name.length + value.length
    if (totalBytes > XATTR_TOTAL_BYTES_MAX) reader.fail('extended attributes over 64 KiB')
    xattrs.set(name, value)
    last = name
  }
  return xattrs
}

function encodePolicy(policy: PolicyText): Buffer {
  const writer = new ByteWriter(64)
  writer.u8(VERSION)
  writeHlc(writer, policy.hlc)
  return writer.bytes(Buffer.from(policy.text, 'utf8')).finish()
}

function decodePolicy(reader: ByteReader): PolicyText {
  const hlc = readHlc(reader)
  const bytes = reader.bytes(POLICY_BYTES_MAX)
  const text = bytes.toString('utf8')
  if (!Buffer.from(text, 'utf8').equals(bytes)) reader.fail('policy is not UTF-8')
  return { hlc, text }
}
