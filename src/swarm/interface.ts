/**
 * The ports of the swarm: links to devices, what it needs from the volume, and what it offers.
 * Types only. Wire protocol: README.md of this folder.
 */
import type { ErrorCode } from '../errors.ts'
import type { FeedTip } from '../log/interface.ts'
import type { Farewell } from '../log/turns.ts'
import type { Clock, Random } from '../system.ts'
import type { ChunkAddress, DeviceId, FeedHead, FeedId, Frontier, VolumeId } from '../types.ts'

/** What a link is made of. */
export type Route = 'tls' | 'hyperswarm'

/** One authenticated, ordered, encrypted message stream to one device (or to an invite key). */
export interface Link {
  /** Hex of the peer's 32-byte Ed25519 key: a device, or an invite key during admission. */
  readonly remoteKey: string
  readonly route: Route
  readonly isInitiator: boolean
  /** Peer's address for people and for redialling, `host:port`. */
  readonly remoteAddress: string
  /** Bytes that arrived so far, parts of unfinished messages included: a sign of life. */
  readonly receivedBytes: number
  readonly sentBytes: number
  /**
   * Sends one message, given in parts (bounded by `MESSAGE_BYTES_MAX`). The parts must not change
   * afterwards. False: more is not welcome before `onDrain`. Does nothing on a closed link.
   */
  send(parts: readonly Uint8Array[]): boolean
  /** The buffer belongs to the receiver. Nothing is delivered after `close`. */
  onMessage: (message: Buffer) => void
  onDrain: () => void
  /** Called once, whatever the reason, `close` included; never from within `close`. */
  onClose: (error: Error | undefined) => void
  /** Idempotent. What was sent before is delivered if the peer still listens. */
  close(error?: Error): void
}

/** What a `Transport` tells its user. Set once, by `start`. */
export interface TransportHandlers {
  /** Whether a peer with this key may connect at all. */
  isAllowed(remoteKey: string): boolean
  /** A new authenticated link. Set its handlers before returning. */
  onLink(link: Link): void
}

/** Makes links. TLS and Hyperswarm now; a QUIC one later; a simulated one for tests. */
export interface Transport {
  readonly route: Route
  start(handlers: TransportHandlers): Promise<void>
  /** `host:port` under which peers may reach this transport; empty when none. */
  addresses(): string[]
  /**
   * One attempt. Resolves when `onLink` has been called. Without `key` whoever answers is accepted
   * (a joiner does not know members). TLS needs an address, Hyperswarm a key.
   * @throws {WormholeError} `PEER_UNREACHABLE`, `NOT_A_MEMBER`, `ABORTED`.
   */
  dial(
    target: { readonly key?: string; readonly address?: string },
    options: { readonly signal: AbortSignal },
  ): Promise<void>
  /** Meeting points besides the volume's own: public keys of the invites open now. */
  setInvites?(inviteKeys: readonly string[]): void
  /** Meeting points of the volume (32 bytes each): those left out are not looked at any more. */
  setTopics?(topics: readonly Buffer[]): void
  /** Called on network change and before `sync --wait`: forget back-offs, look again now. */
  refresh(): Promise<void>
  close(): Promise<void>
}

/** Finds devices nearby (multicast DNS). */
export interface Beacon {
  /** `onFound` may be called often with the same device. `device` is undefined for a joiner. */
  start(onFound: (found: { device: DeviceId | undefined; address: string }) => void): Promise<void>
  /** What to tell others; empty addresses: nothing. Takes effect at once. */
  update(told: { addresses: readonly string[]; inviteKeys: readonly string[] }): void
  /** The keys (32 bytes each) by which members know each other, the one to announce first. */
  setKeys?(keys: readonly Uint8Array[]): void
  /** Asks again now. */
  refresh(): void
  close(): Promise<void>
}

/** How this device uses networks. */
export interface NetworkOptions {
  /** Address to listen on; `0.0.0.0` for all interfaces. */
  readonly bind: string
  /** Port of the TLS listener; 0 lets the system choose. */
  readonly tlsPort: number
  /** Where it listened in the last run: tried first when `tlsPort` is 0. */
  readonly tlsPortLast?: number
  /** DHT bootstrap nodes (`host:port`); `default`: the public ones; `none`: no Hyperswarm. */
  readonly bootstrap: readonly string[] | 'default' | 'none'
  /** Whether to announce to and look for devices on the local network. */
  readonly isMulticast: boolean
}

/** Where devices were reached or said to be. */
export interface KnownAddresses {
  readonly device: DeviceId
  /** `host:port` of TLS listeners, best first. */
  readonly addresses: readonly string[]
}

/** Something a person may want to know about a peer. Never an error of ours. */
export interface SwarmReport {
  readonly code: ErrorCode
  readonly device: DeviceId | undefined
  readonly message: string
}

/** A part of a snapshot: hex of its hash, and its size. */
export interface PartInfo {
  readonly hash: string
  readonly sizeBytes: number
}

/** What the swarm needs of snapshots. All may cross threads. */
export interface SnapshotPort {
  /** Whether this device has nothing of the log. */
  isWanted(): Promise<boolean>
  /** A signed statement for a newcomer; undefined: fetch the log. */
  offer(): Promise<Uint8Array | undefined>
  /** Some bytes of an offered part, and its size; undefined when it is not here. */
  read(
    hash: string,
    offset: number,
    bytesMax: number,
  ): Promise<{ readonly sizeBytes: number; readonly bytes: Uint8Array } | undefined>
  /** Begins with a peer's statement; returns what is to be fetched. */
  begin(statement: Uint8Array): Promise<readonly PartInfo[]>
  put(hash: string, bytes: Uint8Array): Promise<void>
  /** Everything is here: from now on the log goes on behind the snapshot. */
  finish(): Promise<void>
}

/** What a `Swarm` is made of. */
export interface SwarmOptions {
  readonly volume: VolumeId
  readonly device: DeviceId
  readonly log: LogPort
  readonly members: MemberPort
  readonly chunks: ChunkPort
  /** Absent where no snapshots are made or taken. */
  readonly snapshots?: SnapshotPort
  readonly clock: Clock
  readonly random: Random
  readonly transports: readonly Transport[]
  readonly beacon?: Beacon
  /** Known addresses from the last run. */
  readonly addresses?: readonly KnownAddresses[]
  /** To be persisted; called seldom, with the whole list. */
  readonly onAddresses?: (known: readonly KnownAddresses[]) => void
  readonly onReport?: (report: SwarmReport) => void
  /** A device said hello on a new link, before anything it sent is taken. */
  readonly onPeer?: (device: DeviceId) => void
  /** The last connected device is gone, also by `close`. */
  readonly onAlone?: () => void
  /** Anything that differs after a network change (names and addresses of interfaces). */
  readonly networkFingerprint?: () => string
  readonly limits?: Partial<SwarmLimits>
}

/** Times that tests shorten. All in milliseconds. */
export interface SwarmLimits {
  /** A link that brought no byte for so long is dead. */
  readonly silenceMsMax: number
  /** Longest pause between two attempts to reach a known device. */
  readonly redialMsMax: number
  /**
   * A fetch fails when no connected device has a chunk for so long; at once when nobody has been
   * connected for so long.
   */
  readonly absentMsMax: number
  /** A fetch fails when nothing arrived for so long. */
  readonly stalledMsMax: number
}

/** What an admitted joiner has learnt. */
export interface Admission {
  /** The device that let it in: check later that the log knows it as a member. */
  readonly member: DeviceId
  /** The volume's secrets, sealed to the joiner's box key. */
  readonly sealedSecrets: Uint8Array
  /** Where members are. The admitting one comes first. */
  readonly addresses: readonly KnownAddresses[]
}

/** Which of some chunks one connected device has, in the order asked. */
export interface ChunkHolder {
  readonly device: DeviceId
  readonly name: string
  readonly has: readonly boolean[]
}

/** What the swarm needs from the log and the membership of one volume. All may cross threads. */
export interface LogPort {
  frontier(): Promise<Frontier>
  /** Which of these entries are held here, on whichever branch of their feed. */
  holds(tips: readonly FeedTip[]): Promise<boolean[]>
  /**
   * Encoded frames of one feed or branch in order, at most `bytesMax`, at least one if there is
   * one.
   */
  read(feed: FeedId, fromSeq: number, bytesMax: number): Promise<Uint8Array[]>
  /**
   * Verifies, stores and applies frames from a peer. Resolves when they are durable (they may wait
   * for their frontier before they are applied). `detached`: nothing was stored, because what the
   * first one follows is not here.
   * @throws {WormholeError} `ENTRY_INVALID`, `NOT_A_MEMBER`: the peer, or the author, misbehaved.
   */
  receive(feed: FeedId, frames: readonly Uint8Array[]): Promise<'stored' | 'detached'>
  /** Entries that are missing below the heads of feeds; absent where none ever are. */
  gaps?(): Promise<readonly { readonly feed: FeedId; readonly from: number; readonly to: number }[]>
  /** Publishes what is pending here and resolves when it is in the log. */
  publish(): Promise<void>
  /** Calls back with each new own or foreign head, after it is durable (W2). */
  onHead(listener: (feed: FeedId, head: FeedHead) => void): void
}

/** Who is in. Kept current by the volume; read synchronously by firewalls. */
export interface MemberPort {
  isMember(device: DeviceId): boolean
  /** Known members, this device included. */
  devices(): { device: DeviceId; name: string }[]
  /** Public keys (hex) of invites that are open now, for admission. */
  isOpenInvite(inviteKey: string): boolean
  openInvites(): string[]
  /**
   * Admits a joiner whose link was authenticated with an invite key. Returns the volume's secrets
   * sealed to the joiner's box key. @throws {WormholeError} `INVITE_*`.
   */
  admit(request: AdmissionRequest): Promise<Uint8Array>
  /**
   * For a device that was revoked, the entry that says so; undefined for all others. It is shown to
   * that device, which gets nothing else.
   */
  farewell?(device: DeviceId): Farewell | undefined
  /** A peer says that this device was revoked. It may lie: the entry is to be checked. */
  onFarewell?(farewell: Farewell): void
}

/** What a joiner sends. All fields are covered by `signature` (made with the invite key). */
export interface AdmissionRequest {
  readonly volume: VolumeId
  readonly inviteKey: string
  readonly device: DeviceId
  readonly deviceName: string
  readonly boxKey: Uint8Array
  readonly signature: Uint8Array
}

/** What the swarm needs from the chunk store. */
export interface ChunkPort {
  has(address: ChunkAddress): boolean
  /** Sealed bytes, digest checked; undefined when absent. */
  read(address: ChunkAddress): Promise<Uint8Array | undefined>
  /**
   * Stores bytes from a peer; the buffer is the store's from then on.
   * @throws {WormholeError} `CHUNK_CORRUPT` when the digest differs, `DISK_FULL`.
   */
  write(address: ChunkAddress, sealed: Uint8Array): Promise<void>
}

/** What `peers` and `status` show about one device. */
export interface PeerInfo {
  readonly device: DeviceId
  readonly name: string
  readonly routes: readonly Route[]
  readonly address: string
  /** Measured from real traffic; undefined until there was any. */
  readonly rttMs: number | undefined
  readonly receiveBytesPerSecond: number | undefined
  readonly sentBytes: number
  readonly receivedBytes: number
  /** Whether its frontier, as last told, equals ours. */
  readonly isInSync: boolean
}

/** Answer of one member to `syncRound`. */
export interface SyncAnswer {
  readonly device: DeviceId
  readonly name: string
  readonly state: 'in-sync' | 'unreachable' | 'timeout'
}
