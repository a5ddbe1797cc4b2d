/**
 * The ports of the swarm: links to devices, what it needs from the volume, and what it offers.
 * Types only. Wire protocol: README.md of this folder.
 */
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
  /** Sends one message (bounded by `MESSAGE_BYTES_MAX`). False: wait for `onDrain`. */
  send(message: Uint8Array): boolean
  onMessage: (message: Buffer) => void
  onDrain: () => void
  /** Called once, whatever the reason. */
  onClose: (error: Error | undefined) => void
  close(error?: Error): void
}

/** Makes links. TLS and Hyperswarm now; a QUIC one later; a simulated one for tests. */
export interface Transport {
  readonly route: Route
  start(handlers: {
    /** Whether a peer with this key may connect at all. */
    isAllowed(remoteKey: string): boolean
    onLink(link: Link): void
  }): Promise<void>
  /** `host:port` under which peers may reach this transport; empty when none. */
  addresses(): string[]
  /** One attempt. @throws {WormholeError} `PEER_UNREACHABLE`, `NOT_A_MEMBER`. */
  dial(target: { key: string; address?: string }, options: { signal: AbortSignal }): Promise<void>
  /** Called on network change and before `sync --wait`: forget back-offs, look again now. */
  refresh(): Promise<void>
  close(): Promise<void>
}

/** What the swarm needs from the log and the membership of one volume. All may cross threads. */
export interface LogPort {
  frontier(): Promise<Frontier>
  /** Encoded frames of one feed in order, at most `bytesMax`, at least one if there is one. */
  read(feed: FeedId, fromSeq: number, bytesMax: number): Promise<Uint8Array[]>
  /**
   * Verifies, stores and applies frames from a peer. Resolves when they are durable (they may wait
   * for their frontier before they are applied).
   * @throws {WormholeError} `ENTRY_INVALID`, `NOT_A_MEMBER`: the peer, or the author, misbehaved.
   */
  receive(feed: FeedId, frames: readonly Uint8Array[]): Promise<void>
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
  /** Stores bytes from a peer. @throws {WormholeError} `CHUNK_CORRUPT` when the digest differs. */
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
