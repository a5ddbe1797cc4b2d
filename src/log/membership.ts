import type { ActorId, DeviceId, FeedId, Frontier, Role, VolumeId } from '../types.ts'
import type { ControlOp, Entry, Member } from './interface.ts'

/** The bytes an invite key signs to let `device` in. */
export function admissionMessage(request: {
  readonly volume: VolumeId
  readonly inviteKey: Uint8Array
  readonly device: DeviceId
  readonly boxKey: Uint8Array
  readonly deviceName: string
}): Buffer {
  throw new Error(`${request}`)
}

/** What an entry is worth, the same on every device. */
export type EntryVerdict =
  | { readonly state: 'valid' }
  /** Stays in the chain and counts as empty. */
  | { readonly state: 'empty'; readonly reason: string }
  /** Written by a newer version (UPGRADE_NEEDED): do not fold it, nor what depends on it. */
  | { readonly state: 'unknown'; readonly reason: string }

/** What folding one entry did. */
export interface FoldResult {
  readonly verdict: EntryVerdict
  /** Operations that were ignored and invites used too often, for a person to read. */
  readonly problems: readonly string[]
  /** Actors that the author announced. */
  readonly actors: readonly {
    readonly actor: ActorId
    readonly device: DeviceId
    readonly deviceName: string
  }[]
  /** Whether members, roles, names, labels or invites differ from before. */
  readonly isChanged: boolean
}

/** An invite that may admit somebody now. */
export interface OpenInvite {
  /** Hex of the 32-byte public key. */
  readonly inviteKey: string
  readonly role: Role
  /** Infinity for the recovery key. */
  readonly expiresMs: number
  readonly usesLeft: number
  readonly isRecovery: boolean
}

/** Who is in, folded from the entries in causal order. */
export class MemberTable {
  constructor(volume: VolumeId) {
    throw new Error(volume)
  }
  /** The table as stored by `takeRows`; `row` gives the bytes of a key. */
  static restore(volume: VolumeId, row: (key: string) => Uint8Array | undefined): MemberTable {
    throw new Error(`${volume} ${row}`)
  }
  /** Rows that changed since the last call, to store in the same transaction as what was folded. */
  takeRows(): Map<string, Uint8Array> {
    throw new Error()
  }
  /** The verdict on the next entry of its feed; changes nothing. */
  check(entry: Entry): EntryVerdict {
    throw new Error(`${entry}`)
  }
  /** Folds the next entry of its feed (again: no effect). Its frontier must have been folded. */
  fold(entry: Entry): FoldResult {
    throw new Error(`${entry}`)
  }
  /** Frontier of the newest folded entry of a feed: `previousFrontier` of the next one. */
  frontierOf(feed: FeedId): Frontier {
    throw new Error(feed)
  }
  /** How many entries of the feed were folded. */
  foldedLength(feed: FeedId): number {
    throw new Error(feed)
  }
  isMember(device: DeviceId): boolean {
    throw new Error(device)
  }
  member(device: DeviceId): Member | undefined {
    throw new Error(device)
  }
  members(): Member[] {
    throw new Error()
  }
  /** Actors this device has announced so far. */
  actorsOf(device: DeviceId): ReadonlySet<ActorId> {
    throw new Error(device)
  }
  /** Name of the volume. */
  get volumeName(): string {
    throw new Error()
  }
  openInvites(nowMs: number): OpenInvite[] {
    throw new Error(`${nowMs}`)
  }
  usesLeft(inviteKey: string): number {
    throw new Error(inviteKey)
  }
  /**
   * The `admit` operation for a joiner's request.
   * @throws {WormholeError} `INVITE_INVALID`, `INVITE_EXPIRED`, `INVITE_USED_UP`.
   */
  checkAdmission(
    request: {
      readonly volume: VolumeId
      /** Hex. */
      readonly inviteKey: string
      readonly device: DeviceId
      readonly deviceName: string
      readonly boxKey: Uint8Array
      readonly signature: Uint8Array
    },
    nowMs: number,
  ): ControlOp {
    throw new Error(`${request} ${nowMs}`)
  }
}
