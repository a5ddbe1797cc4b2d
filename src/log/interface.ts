/**
 * The shapes of the log: entries, control operations, feeds and the local journal. Types only.
 * Formats, limits and orders of writes: README.md of this folder.
 */
import type { ActorId, DeviceId, FeedHead, FeedId, Frontier, Role, VolumeId } from '../types.ts'

/** Statements that every device reads, with or without tree keys. */
export type ControlOp =
  /** First operation of the first entry of a volume; makes its author an admin. */
  | {
      readonly type: 'genesis'
      readonly name: string
      readonly createdMs: number
      readonly device: DeviceId
      readonly deviceName: string
      readonly boxKey: Uint8Array
      /** Public half (Ed25519) of the offline admin key behind the recovery code. */
      readonly recoveryKey: Uint8Array
      /** 16 random bytes, so that no two volumes are alike. */
      readonly salt: Uint8Array
    }
  /** By an admin: whoever holds the secret half of `inviteKey` may be admitted. */
  | {
      readonly type: 'invite'
      readonly inviteKey: Uint8Array
      readonly role: Role
      readonly expiresMs: number
      readonly usesMax: number
    }
  /** By any member: lets a device in on the strength of an invite (or of the recovery key). */
  | {
      readonly type: 'admit'
      readonly device: DeviceId
      readonly deviceName: string
      readonly boxKey: Uint8Array
      readonly inviteKey: Uint8Array
      /** By the invite key on `admissionMessage(…)` (membership.ts). */
      readonly signature: Uint8Array
    }
  /** The author's Automerge actor for this process run, and its device name now. */
  | { readonly type: 'actor'; readonly actor: ActorId; readonly deviceName: string }
  /** The author's labels (`region=eu`); admin-signed ones come later. */
  | { readonly type: 'labels'; readonly labels: Readonly<Record<string, string>> }
  /** Nothing but the frontier: what the author has applied. */
  | { readonly type: 'ack' }
  /** By an admin: the device is no member any more. */
  | {
      readonly type: 'revoke'
      readonly device: DeviceId
      /** Its feeds and branches as the author holds them: what is before these heads counts. */
      readonly heads: readonly FeedTip[]
    }
  /** By an admin: a new key generation. */
  | {
      readonly type: 'rotate'
      readonly generation: number
      /** Digest of its secrets: whoever is handed them knows that they are these. */
      readonly commitment: Uint8Array
    }
  /** By any member: the secrets of a key generation, sealed to the box key of one device. */
  | {
      readonly type: 'key'
      readonly generation: number
      readonly device: DeviceId
      readonly sealed: Uint8Array
    }
  /** Written by a newer version: kept verbatim, never written by us, folds to UPGRADE_NEEDED. */
  | { readonly type: 'unknown'; readonly bytes: Uint8Array }

/** The sealed part that only devices with tree keys read. */
export interface TreePart {
  /** Compaction epoch; 0 until compaction exists. */
  readonly epoch: number
  readonly changes: readonly { readonly shard: number; readonly change: Uint8Array }[]
  /** Journal records of the author that this entry publishes: all numbers up to and including. */
  readonly coveredTo: number
}

/** What an author writes. */
export interface EntryBody {
  readonly control: readonly ControlOp[]
  readonly tree: TreePart | undefined
  /** What the author had applied, own feed left out; by the names that branches have here. */
  readonly frontier: Frontier
  /** Largest hybrid stamp in the entry. */
  readonly hlc: number
}

/** A verified and opened entry. `tree` is undefined when there is none or no key for it. */
export interface Entry extends EntryBody {
  readonly feed: FeedId
  /** Zero-based position. */
  readonly seq: number
  readonly previousHash: string
  /** Hex of the entry's 32-byte hash: what the next entry and heads name. */
  readonly hash: string
  /** What its author newly applied, as it stands in the entry: branches named by hash alone. */
  readonly tips: readonly FeedTip[]
  readonly keyGeneration: number
  readonly hasSealedTree: boolean
}

/** An entry as it lies on disk and crosses the wire, header checked, sealed parts unopened. */
export interface EntryFrame {
  readonly feed: FeedId
  readonly seq: number
  readonly previousHash: string
  readonly hash: string
  /** The exact bytes. */
  readonly bytes: Uint8Array
}

/** Everything needed to seal and open entries. Keys of generation g; undefined when not held. */
export interface LogKeys {
  readonly currentGeneration: number
  control(generation: number): Uint8Array | undefined
  tree(generation: number): Uint8Array | undefined
}

/** The secrets of a key generation as the log hands them to this device. */
export interface HandedKey {
  readonly generation: number
  readonly commitment: string
  readonly sealed: Uint8Array
}

/** An entry named by its hash: `length - 1` of `feed`, on whichever branch. */
export interface FeedTip extends FeedHead {
  readonly feed: FeedId
}

/** Entries of a feed or branch that are not here: `from` up to, not including, `to`. */
export interface FeedGap {
  readonly from: number
  readonly to: number
  /** Hash of entry `to - 1`, which proves all of them. */
  readonly previousHash: string
}

/** How frames are appended. */
export interface AppendOptions {
  /** They were not written by this process: own entries that come back are kept apart. */
  readonly isFromPeer?: boolean
  /**
   * The first frame may follow an entry that is not here, because its hash is known to be right:
   * what is before is fetched later.
   */
  readonly mayStartRun?: boolean
}

/**
 * All feeds of one volume on this device. One thread owns it.
 *
 * A feed that forked has branches, each with a name of its own here (`FeedId`). A branch holds the
 * entries behind the fork; to read it further down gives those that it shares with others.
 */
export interface FeedStore {
  /** Heads of everything stored, own and foreign, branches included. */
  frontier(): Frontier
  head(feed: FeedId): FeedHead | undefined
  /** The feed or branch that holds an entry; undefined when nothing does. */
  locate(tip: FeedTip): FeedId | undefined
  /** The names of a feed's branches, its own included. */
  branches(feed: FeedId): FeedId[]
  /** Where a branch leaves another; undefined for what starts with entry 0, or is cut off. */
  origin(feed: FeedId): FeedTip | undefined
  /** Entries missing below the head of a feed or branch. */
  gaps(feed: FeedId): FeedGap[]
  /** Whether an own entry was written in this home, not brought back by a peer. */
  isWrittenHere(feed: FeedId, seq: number): boolean
  /** Whether an own feed may be gone on with: it has one branch, all of it written here. */
  isWritable(feed: FeedId): boolean
  /**
   * Appends frames, each behind the entry that it follows: they extend a feed, start a branch, or
   * fill a gap. Frames already held are skipped. Durable (one `fdatasync` per touched segment) when
   * the promise resolves; nothing is visible before.
   *
   * @throws {WormholeError} `ENTRY_INVALID` when what a frame follows is not held, `DISK_FULL`,
   *   `WRITER_BROKEN` after an earlier failure.
   */
  append(frames: readonly EntryFrame[], options?: AppendOptions): Promise<void>
  /**
   * Frames from `fromSeq` on, in order, at most `bytesMax` (but at least one if there is one).
   * Every frame's checksum is checked. @throws {WormholeError} `FEED_CORRUPT`.
   */
  read(feed: FeedId, fromSeq: number, bytesMax: number): EntryFrame[]
  /**
   * Gives up entries behind a gap that nobody can fill: they are kept aside, and held no more. Must
   * not be called while something is appended.
   */
  setAside(feed: FeedId, from: number): void
  close(): Promise<void>
}

/** A member of the volume, folded from control operations. */
export interface Member {
  readonly device: DeviceId
  readonly name: string
  readonly role: Role
  readonly boxKey: Uint8Array
  readonly labels: Readonly<Record<string, string>>
  /** Position of the entry that let it in. */
  readonly admittedBy: { readonly feed: FeedId; readonly seq: number }
  /** Hashes of the revocations and changes of keys that its admission knew. */
  readonly knows: readonly string[]
}

/** A record of the local journal: opaque bytes with a number that only grows. */
export interface JournalRecord {
  readonly number: number
  readonly type: number
  readonly bytes: Uint8Array
}

/**
 * The local journal: sealed, numbered records; the promise behind `fsync` and `close`.
 * One thread owns it.
 */
export interface Journal {
  /** Adds a record. It survives this process once `flush` ran, power loss once `sync` resolved. */
  append(type: number, bytes: Uint8Array): number
  /** Hands everything appended to the kernel (`write`). */
  flush(): void
  /**
   * `flush`, then one `fdatasync`, shared by all who wait. `isUrgent`: somebody waits for it, and
   * the calling thread may be held up for a moment.
   */
  sync(options?: { readonly isUrgent?: boolean }): Promise<void>
  /** Forgets records below `number`; whole segments go once they hold nothing else. */
  trim(number: number): void
  /** Records still held, oldest first, at opening. */
  replay(): Iterable<JournalRecord>
  readonly nextNumber: number
  close(): Promise<void>
}

/** What an invite string holds. */
export interface Invite {
  readonly volume: VolumeId
  /** 32-byte seed of the invite's Ed25519 key pair. */
  readonly seed: Uint8Array
  /** `host:port` of DHT bootstrap nodes; none for the default ones. */
  readonly bootstrap: readonly string[]
  /** `host:port` where a member listened when the invite was made. */
  readonly addresses: readonly string[]
}
