/**
 * What a device signs when it makes a snapshot: which volume, up to which frontier, in which parts.
 * And the seal of the parts, which are named by the hash of their sealed bytes. Format: README.md.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { readFrontier, writeFrontier } from '../log/frontier.ts'
import type { LogKeys } from '../log/interface.ts'
import { hash, HASH_BYTES, seal, sign, SIGNATURE_BYTES, unseal, verify } from '../seal.ts'
import type { SigningKeys } from '../seal.ts'
import type { Random } from '../system.ts'
import type { DeviceId, Frontier, VolumeId } from '../types.ts'

/** Version of everything in this folder. */
const VERSION = 1
const TAG = Buffer.from('wormhole/1/snapshot', 'latin1')
/** Parts of one snapshot: about 512 KiB each. */
const PARTS_MAX = 65_536
/** Largest sealed part. */
export const PART_BYTES_MAX = 48 * 1024 * 1024
/** Largest statement that is looked at. */
export const STATEMENT_BYTES_MAX = 4 * 1024 * 1024
const KEY_GENERATION_MAX = 0xffffffff

/** What a part holds: members and positions of the log, the tree, the newest entry of each feed. */
export type PartKind = 'log' | 'tree' | 'heads'
const KINDS: readonly PartKind[] = ['log', 'tree', 'heads']

/** A part of a snapshot. */
export interface SnapshotPart {
  readonly kind: PartKind
  /** Hex of the 32-byte hash of the sealed bytes. */
  readonly hash: string
  readonly sizeBytes: number
}

/** What is signed. */
export interface SnapshotStatement {
  readonly volume: VolumeId
  readonly author: DeviceId
  readonly keyGeneration: number
  readonly createdMs: number
  readonly frontier: Frontier
  /** In the order in which they are read. */
  readonly parts: readonly SnapshotPart[]
}

/** Encodes and signs a statement. Fresh memory. */
export function signStatement(statement: SnapshotStatement, signing: SigningKeys): Buffer {
  const frontier = new ByteWriter(1024)
  writeFrontier(frontier, statement.frontier)
  const writer = new ByteWriter(1024 + 40 * statement.parts.length)
    .u8(VERSION)
    .hex(statement.volume)
    .hex(statement.author)
    .varint(statement.keyGeneration)
    .varint(statement.createdMs)
    .bytes(frontier.finish())
    .varint(statement.parts.length)
  for (const part of statement.parts) {
    writer.u8(KINDS.indexOf(part.kind)).hex(part.hash).varint(part.sizeBytes)
  }
  const signed = writer.finish()
  return Buffer.concat([signed, sign(signing.secretKey, Buffer.concat([TAG, signed]))])
}

/**
 * Reads a statement of a volume and checks the signature of the device that it names. Whether that
 * device is a member is for the reader to judge, once it knows the members.
 *
 * @throws {WormholeError} `SNAPSHOT_INVALID`, `FORMAT_UNSUPPORTED`.
 */
export function verifyStatement(bytes: Uint8Array, volume: VolumeId): SnapshotStatement {
  const outer = new ByteReader(bytes, 'SNAPSHOT_INVALID')
  if (bytes.length > STATEMENT_BYTES_MAX) outer.fail(`statement of ${bytes.length} bytes`)
  if (bytes.length <= SIGNATURE_BYTES) outer.fail('too short')
  const signed = outer.raw(bytes.length - SIGNATURE_BYTES)
  const signature = outer.raw(SIGNATURE_BYTES)
  const reader = new ByteReader(signed, 'SNAPSHOT_INVALID')
  const version = reader.u8()
  if (version !== VERSION) {
    throw new WormholeError('FORMAT_UNSUPPORTED', `snapshot of format version ${version}`)
  }
  if (reader.hex(HASH_BYTES) !== volume) reader.fail('of another volume')
  const author = reader.hex(HASH_BYTES) as DeviceId
  if (!verify(Buffer.from(author, 'hex'), Buffer.concat([TAG, signed]), signature)) {
    reader.fail('bad signature')
  }
  const keyGeneration = reader.varint()
  if (keyGeneration > KEY_GENERATION_MAX) reader.fail(`key generation ${keyGeneration}`)
  const createdMs = reader.varint()
  const frontierReader = new ByteReader(reader.bytes(), 'SNAPSHOT_INVALID')
  const frontier = readFrontier(frontierReader)
  frontierReader.end()
  const parts: SnapshotPart[] = []
  const count = reader.varint()
  if (count > PARTS_MAX) reader.fail(`${count} parts`)
  for (let index = 0; index < count; index++) parts.push(readPart(reader))
  reader.end()
  return { volume, author, keyGeneration, createdMs, frontier, parts }
}

function readPart(reader: ByteReader): SnapshotPart {
  const kind = KINDS[reader.u8()] ?? reader.fail('unknown kind of part')
  const partHash = reader.hex(HASH_BYTES)
  const sizeBytes = reader.varint()
  if (sizeBytes === 0 || sizeBytes > PART_BYTES_MAX) reader.fail(`part of ${sizeBytes} bytes`)
  return { kind, hash: partHash, sizeBytes }
}

/** Where a part belongs, so that it opens nowhere else. */
function aboutPart(volume: VolumeId, kind: PartKind): Buffer {
  return new ByteWriter(96).raw(TAG).hex(volume).latin1(kind).finish()
}

/** Seals parts of one volume, under the newest keys, and opens them. */
export class PartSeal {
  readonly #volume: VolumeId
  readonly #keys: LogKeys

  constructor(volume: VolumeId, keys: LogKeys) {
    this.#volume = volume
    this.#keys = keys
  }

  get keyGeneration(): number {
    return this.#keys.currentGeneration
  }

  /** @throws {WormholeError} `KEY_MISSING` on a device without tree keys. */
  seal(kind: PartKind, plain: Uint8Array, random: Random): { part: SnapshotPart; bytes: Buffer } {
    const bytes = seal(this.#key(this.keyGeneration), plain, aboutPart(this.#volume, kind), random)
    return { part: { kind, hash: partHash(bytes), sizeBytes: bytes.length }, bytes }
  }

  /** @throws {WormholeError} `SNAPSHOT_INVALID`, `KEY_MISSING`. */
  open(kind: PartKind, sealed: Uint8Array, keyGeneration: number): Buffer {
    const about = aboutPart(this.#volume, kind)
    return unseal(this.#key(keyGeneration), sealed, about, 'SNAPSHOT_INVALID')
  }

  #key(generation: number): Uint8Array {
    const key = this.#keys.tree(generation)
    if (key !== undefined) return key
    throw new WormholeError('KEY_MISSING', `no tree key of generation ${generation}`)
  }
}

/** The name of a part: hex of the hash of its sealed bytes. */
export function partHash(sealed: Uint8Array): string {
  return hash(sealed).toString('hex')
}
