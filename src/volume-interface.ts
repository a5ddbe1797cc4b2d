/** The ports of a volume: what it is made of, and what it tells its surroundings. Types only. */
import type { TreeDelta } from './crdt/interface.ts'
import type { TreeWriter } from './crdt/writer.ts'
import type { FeedStore } from './log/interface.ts'
import type { KeyRing } from './log/key-ring.ts'
import type { SigningKeys } from './seal.ts'
import type { Clock, HybridClock, Random } from './system.ts'
import type { DeviceId, FeedHead, FeedId, VolumeId } from './types.ts'

/** What a volume is made of. */
export interface VolumeOptions {
  readonly id: VolumeId
  readonly device: DeviceId
  readonly deviceName: string
  /** Who let this device in, if that is known. */
  readonly guide?: DeviceId
  /** The feed that this home writes, unless the volume knows of a later generation. */
  readonly feed: FeedId
  readonly signing: SigningKeys
  /** Its own: the volume adds what it is handed. */
  readonly keys: KeyRing
  readonly feeds: FeedStore
  readonly tree: TreeWriter
  readonly clock: Clock
  readonly hlc: HybridClock
  readonly random: Random
  readonly events: VolumeEvents
}

/** What a volume tells its surroundings; everything named is durable by then. */
export interface VolumeEvents {
  /** A feed has a new newest entry (W2). */
  onHead(feed: FeedId, head: FeedHead): void
  /** A group was committed to the index; `isOwn`: nothing but submitted edits. */
  onDelta(delta: TreeDelta, coveredTo: number, isOwn: boolean): void
  /** Members, roles, names or invites differ from before. */
  onMembers(): void
  /** Something a person should know; `status` shows it. */
  onProblem(problem: { code: string; message: string }): void
  /** Submits everything pending on this device and resolves when it is in the log. */
  submitPending(): Promise<void>
}
