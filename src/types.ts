/**
 * The vocabulary of Wormhole: branded identifiers and the few shapes that every folder shares.
 *
 * A branded string is a plain string at run time; the brand only stops one id being used for
 * another. Glossary: README.md.
 */

declare const brand: unique symbol
/** A type that only its own constructor functions produce. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** Hex of the 32-byte hash of a volume's genesis entry. */
export type VolumeId = Brand<string, 'VolumeId'>
/** Hex of a device's 32-byte Ed25519 public key. */
export type DeviceId = Brand<string, 'DeviceId'>
/**
 * `<DeviceId>.<generation>`: one device's feed. Generation is a decimal number from 0. A branch of
 * a feed that forked is `<feed>~<hash>`: the first 32 hex digits of the hash of its first entry.
 * Which branch has a name of its own is this device's affair: others may call it otherwise.
 */
export type FeedId = Brand<string, 'FeedId'>
/** 16 base64url characters (12 bytes) that name an inode or a dirent record for life. */
export type InodeId = Brand<string, 'InodeId'>
/** Hex of the 32-byte BLAKE3 digest of a sealed chunk: what peers ask for and can verify. */
export type ChunkAddress = Brand<string, 'ChunkAddress'>
/**
 * A file name as the kernel gave it: one character per byte (Latin-1), 1 to 255 bytes, no `/`, no
 * NUL, not `.` or `..`. Never show it to a person without `nameToText`.
 */
export type FileName = Brand<string, 'FileName'>
/**
 * Hybrid logical clock: milliseconds since 1970 times 1000, plus a counter below 1000. A safe
 * integer until the year 2255. It ranks concurrent values only.
 */
export type Hlc = Brand<number, 'Hlc'>
/** A random 16-byte Automerge actor of one process run, as 32 hex digits. */
export type ActorId = Brand<string, 'ActorId'>

/** What a member may do. */
export type Role = 'admin' | 'writer' | 'reader'

/** The position of one feed: how many entries it has and the hash (hex) of the newest. */
export interface FeedHead {
  readonly length: number
  readonly hash: string
}

/** The volume's version vector: how far each feed has come. */
export type Frontier = ReadonlyMap<FeedId, FeedHead>

/** The feed of one device and generation. */
export function feedId(device: DeviceId, generation: number): FeedId {
  return `${device}.${generation}` as FeedId
}

/** The device a feed belongs to. */
export function feedDevice(feed: FeedId): DeviceId {
  return feed.slice(0, 64) as DeviceId
}

/** The generation of a feed. */
export function feedGeneration(feed: FeedId): number {
  return Number.parseInt(feed.slice(65), 10)
}

/** The name of a branch that starts with the entry of this hash (hex). */
export function branchId(feed: FeedId, hash: string): FeedId {
  return `${feedRoot(feed)}~${hash.slice(0, 32)}` as FeedId
}

/** The feed that a branch belongs to; a feed itself otherwise. */
export function feedRoot(feed: FeedId): FeedId {
  const at = feed.indexOf('~', 65)
  return at === -1 ? feed : (feed.slice(0, at) as FeedId)
}

/** UTF-8 text of a name for people; bytes that are not UTF-8 become U+FFFD. */
export function nameToText(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8')
}

/** The bytes of a text, one character per byte. Does not check the rules of names. */
export function nameFromText(text: string): FileName {
  return Buffer.from(text, 'utf8').toString('latin1') as FileName
}
