/**
 * The parts of a register value that an archive keeps in columns of their own, and back. The
 * encodings are those of `registers.ts`; a value that was taken apart and put together has the same
 * bytes, whatever they are.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { InodeId } from '../types.ts'
import { inodeIdBytes, readInodeId } from './ids.ts'
import type { RegisterName } from './interface.ts'

const VERSION = 1
const ADDRESS_BYTES = 32
const FAR_TIME_BYTES = 8
/** Flags of a content: a chunk or a manifest follows; the time is 8 bytes. */
const CONTENT = { address: 12, farTime: 32 }

/** A value in parts; which of them there are follows from the register and the flags. */
export interface ValueColumns {
  readonly stamp: number
  /** All but `P`. */
  readonly flags: number | undefined
  /** Of `L`. */
  readonly parent: InodeId | undefined
  /** Of `L`. */
  readonly name: Uint8Array | undefined
  /** Of `C`, if it is a varint. */
  readonly time: number | undefined
  /** Of `C`, 32 bytes. */
  readonly address: Uint8Array | undefined
  /** Everything else, in order. */
  readonly rest: Uint8Array
}

/** Whether a value of the register with these flags has a time in one varint. */
export function hasTime(register: RegisterName, flags: number | undefined): boolean {
  return register === 'C' && ((flags as number) & CONTENT.farTime) === 0
}

/** Whether it has an address. */
export function hasAddress(register: RegisterName, flags: number | undefined): boolean {
  return register === 'C' && ((flags as number) & CONTENT.address) !== 0
}

/** Takes a valid value apart; views of `value`. */
export function readParts(register: RegisterName, value: Uint8Array): ValueColumns {
  const reader = new ByteReader(value, 'INDEX_CORRUPT')
  if (reader.u8() !== VERSION) reader.fail('register value of another version')
  const flags = register === 'P' ? undefined : reader.u8()
  const stamp = reader.raw(7).readUIntBE(0, 3) * 2 ** 32 + lowWord(value, flags !== undefined)
  let parent: InodeId | undefined
  let name: Uint8Array | undefined
  if (register === 'L') {
    parent = readInodeId(reader)
    name = reader.bytes()
  }
  const time = hasTime(register, flags) ? reader.varint() : undefined
  if (!hasAddress(register, flags)) {
    return { stamp, flags, parent, name, time, address: undefined, rest: reader.raw(reader.left) }
  }
  const before = time === undefined ? reader.raw(FAR_TIME_BYTES) : undefined
  const address = reader.raw(ADDRESS_BYTES)
  const after = reader.raw(reader.left)
  const rest = before === undefined ? after : Buffer.concat([before, after])
  return { stamp, flags, parent, name, time, address, rest }
}

/** The low half of a stamp, which begins behind the version and the flags. */
function lowWord(value: Uint8Array, hasFlags: boolean): number {
  const at = (hasFlags ? 2 : 1) + 3
  return new DataView(value.buffer, value.byteOffset, value.byteLength).getUint32(at)
}

/** Puts a value together; fresh memory. Whether it is a valid one is for `decodeRegister`. */
export function writeParts(register: RegisterName, parts: ValueColumns): Buffer {
  const { stamp, flags, parent, name, time, address, rest } = parts
  const writer = new ByteWriter(96).u8(VERSION)
  if (flags !== undefined) writer.u8(flags)
  const stampBytes = Buffer.allocUnsafe(7)
  stampBytes.writeUIntBE(Math.floor(stamp / 2 ** 32), 0, 3)
  stampBytes.writeUInt32BE(stamp % 2 ** 32, 3)
  writer.raw(stampBytes)
  if (parent !== undefined && name !== undefined) writer.raw(inodeIdBytes(parent)).bytes(name)
  if (time !== undefined) writer.varint(time)
  if (address === undefined) return writer.raw(rest).finish()
  const beforeBytes = hasTime(register, flags) ? 0 : FAR_TIME_BYTES
  writer.raw(rest.subarray(0, beforeBytes)).raw(address)
  return writer.raw(rest.subarray(beforeBytes)).finish()
}
