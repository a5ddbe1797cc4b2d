/**
 * Inode ids: 12 bytes as 16 base64url characters.
 *
 * ```
 * bits 0–11   shard, 0 to 4095: the first two characters
 * bits 12–15  kind: 1 directory, 2 file, 3 symlink, 4 special, 5 link (a further dirent record)
 * bits 16–95  random, or a hash for the conflict copies
 * ```
 *
 * The creator chooses the shard, and neither shard nor kind ever changes.
 */
import { hash } from '../seal.ts'
import type { Random } from '../system.ts'
import type { InodeId } from '../types.ts'
import type { InodeKind, VersionId } from './interface.ts'

/** Number of shards for the life of a volume. */
export const SHARD_COUNT = 4096
const ID_CHARACTERS = 16
/** Bytes of an id. */
export const INODE_ID_BYTES = 12

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
/** Value of each base64url character; 255 for any other. */
const VALUES = new Uint8Array(256).fill(255)
for (let value = 0; value < ALPHABET.length; value++) VALUES[ALPHABET.charCodeAt(value)] = value

const KINDS: readonly (InodeKind | undefined)[] = [
  undefined,
  'directory',
  'file',
  'symlink',
  'special',
  'link',
]

/** The root directory: shard 0, exists without any register. */
export const ROOT = 'AAEAAAAAAAAAAAAA' as InodeId
/** `lost+found`: exists without any register, visible in the root while something is in it. */
export const LOST_FOUND = 'AAEAAAAAAAAAAAAB' as InodeId

/** A fresh id. */
export function newInodeId(kind: InodeKind, shard: number, random: Random): InodeId {
  return makeId(kind, shard, random.bytes(10))
}

/**
 * The id that a losing version of an inode has once it is an inode of its own: the same on every
 * device. Shard and kind are those of the inode.
 */
export function conflictCopyId(inode: InodeId, version: VersionId): InodeId {
  const digest = hash(Buffer.from(`wormhole/1/copy ${inode} ${version}`, 'latin1'))
  return makeId(inodeKind(inode), inodeShard(inode), digest)
}

/** What the id names. The id must be well formed. */
export function inodeKind(id: InodeId): InodeKind {
  return KINDS[(VALUES[id.charCodeAt(2)] as number) >> 2] as InodeKind
}

/** The shard that holds the registers of the id, 0 to 4095. */
export function inodeShard(id: InodeId): number {
  return ((VALUES[id.charCodeAt(0)] as number) << 6) | (VALUES[id.charCodeAt(1)] as number)
}

/** Whether the text is an id: its length, its characters, its kind. */
export function isInodeId(text: string): text is InodeId {
  if (text.length !== ID_CHARACTERS) return false
  for (let index = 0; index < ID_CHARACTERS; index++) {
    const code = text.charCodeAt(index)
    if (code > 255 || VALUES[code] === 255) return false
  }
  return KINDS[(VALUES[text.charCodeAt(2)] as number) >> 2] !== undefined
}

/** The 12 bytes of an id, fresh memory. */
export function inodeIdBytes(id: InodeId): Buffer {
  return Buffer.from(id, 'base64url')
}

/** The id of 12 bytes; undefined when they are none. */
export function inodeIdFromBytes(bytes: Uint8Array): InodeId | undefined {
  if (bytes.length !== INODE_ID_BYTES) return undefined
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, INODE_ID_BYTES).toString('base64url')
  return isInodeId(text) ? text : undefined
}

function makeId(kind: InodeKind, shard: number, chance: Uint8Array): InodeId {
  const bytes = Buffer.allocUnsafe(INODE_ID_BYTES)
  bytes[0] = shard >> 4
  bytes[1] = ((shard & 15) << 4) | KINDS.indexOf(kind)
  bytes.set(chance.subarray(0, 10), 2)
  return bytes.toString('base64url') as InodeId
}
