/**
 * What the member table remembers, and its form as rows of a local, sealed store. Local only: a
 * device that loses the rows folds its feeds again. Format: README.md.
 */
import { Decoder, Encoder } from '@msgpack/msgpack'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import type { ActorId, DeviceId, FeedId, Frontier, Role } from '../types.ts'
import { feedRoot } from '../types.ts'
import { readFrontier, writeFrontier } from './frontier.ts'
import type { FeedTip } from './interface.ts'

/** Version of both kinds of rows. */
const ROWS_VERSION = 1
/** Of the progress of a feed whose newest entries said nothing: `saidLength` stands beside. */
const SILENT_VERSION = 2
/** Of the members of a volume where somebody was revoked, or the keys were changed. */
const REVOKED_VERSION = 2

/** An entry in the log. `feed` is the name that its branch has here. */
export interface Position {
  readonly feed: FeedId
  readonly seq: number
  readonly hash: string
}

/** One valid `admit` (or the genesis). A device that joined twice has two. */
export interface Admission {
  readonly position: Position
  readonly hlc: number
  readonly device: DeviceId
  readonly role: Role
  readonly name: string
  readonly boxKey: Uint8Array
  /** Hex; empty for the genesis. */
  readonly inviteKey: string
  /** Turns in its past; absent: none. */
  readonly knows?: readonly string[]
}

/** One valid `invite`, or the recovery key. */
export interface InviteRow {
  readonly position: Position
  readonly inviteKey: string
  readonly role: Role
  /** Infinity for the recovery key. */
  readonly expiresMs: number
  readonly usesMax: number
  readonly isRecovery: boolean
  /** Turns in its past; absent: none. */
  readonly knows?: readonly string[]
}

/** One valid `revoke`. Its entry is a turn: others say by its hash that they know it. */
export interface Revocation {
  readonly position: Position
  readonly hlc: number
  readonly device: DeviceId
  /** What of the device's feeds counts in any case. */
  readonly heads: readonly FeedTip[]
}

/** One valid `rotate`. Its entry is a turn too. */
export interface KeyGeneration {
  readonly position: Position
  readonly generation: number
  /** Hex of the digest of its secrets. */
  readonly commitment: string
  /** Turns in its past, and those that its own entry makes before it. */
  readonly knows: readonly string[]
  /** Devices that were handed it in the log. */
  readonly holders: Set<DeviceId>
}

/** Which of two statements of one device about itself is the later one. */
export interface SelfRank {
  readonly generation: number
  readonly seq: number
  readonly hash: string
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

/** What a device says about itself; a later entry of its feeds replaces each part. */
export interface SelfRow {
  readonly name: string | undefined
  readonly nameAt: SelfRank | undefined
  readonly labels: Readonly<Record<string, string>>
  readonly labelsAt: SelfRank | undefined
}

/** A device's announcement of an actor id. */
export interface ActorClaim {
  readonly actor: ActorId
  readonly position: Position
}

/** Everything the table remembers but the progress of feeds. */
export interface MemberState {
  volumeName: string
  readonly admissions: Admission[]
  readonly invites: InviteRow[]
  readonly selves: Map<DeviceId, SelfRow>
  readonly claims: ActorClaim[]
  readonly revocations: Revocation[]
  /** Without generation 0, which the volume begins with. */
  readonly generations: KeyGeneration[]
}

/** How far a feed was folded, and the frontier of its newest entry. */
export interface FeedProgress {
  readonly length: number
  /** Its length when it last said more than an acknowledgement does; at most `length`. */
  readonly saidLength: number
  readonly frontier: Frontier
}

/** An empty table. */
export function emptyMemberState(): MemberState {
  return {
    volumeName: '',
    admissions: [],
    invites: [],
    selves: new Map(),
    claims: [],
    revocations: [],
    generations: [],
  }
}

const encoder = new Encoder({ ignoreUndefined: true })
const decoder = new Decoder()

/** The row of members as it is decoded; what is in the lists is as this device once wrote it. */
interface StoredState {
  readonly version: number
  readonly volumeName: string
  readonly admissions: Admission[]
  readonly invites: InviteRow[]
  readonly selves: [DeviceId, SelfRow][]
  readonly claims: ActorClaim[]
  readonly feeds: FeedId[]
  /** From version 2 on. */
  readonly revocations?: Revocation[]
  readonly generations?: (Omit<KeyGeneration, 'holders'> & { holders: DeviceId[] })[]
}

/** The state and the list of known feeds as one row. Fresh memory. */
export function encodeMemberState(state: MemberState, feeds: Iterable<FeedId>): Uint8Array {
  const { volumeName, admissions, invites, claims, revocations, generations } = state
  const selves = [...state.selves]
  const rows = { volumeName, admissions, invites, selves, claims, feeds: [...feeds] }
  const hasTurns = revocations.length + generations.length > 0
  if (!hasTurns) return encoder.encode({ version: ROWS_VERSION, ...rows })
  return encoder.encode({
    version: REVOKED_VERSION,
    ...rows,
    revocations,
    generations: generations.map((row) => ({ ...row, holders: [...row.holders] })),
  })
}

/**
 * The reverse; keeps no view of `row`. @throws {WormholeError} `FORMAT_UNSUPPORTED`,
 * `INDEX_CORRUPT`.
 */
export function decodeMemberState(row: Uint8Array): { state: MemberState; feeds: FeedId[] } {
  let value: ReturnType<typeof decoder.decode>
  try {
    value = decoder.decode(row)
  } catch (error) {
    throw new WormholeError('INDEX_CORRUPT', 'the row of members is not MessagePack', {
      cause: error,
    })
  }
  if (typeof value !== 'object' || value === null) {
    throw new WormholeError('INDEX_CORRUPT', 'the row of members is no map')
  }
  const stored = value as StoredState
  if (stored.version !== ROWS_VERSION && stored.version !== REVOKED_VERSION) {
    throw new WormholeError('FORMAT_UNSUPPORTED', `row of members of version ${stored.version}`)
  }
  const { revocations = [], generations = [] } = stored
  const lists = [
    ...[stored.admissions, stored.invites, stored.selves, stored.claims, stored.feeds],
    ...[revocations, generations],
  ]
  if (!lists.every(Array.isArray)) {
    throw new WormholeError('INDEX_CORRUPT', 'the row of members lacks a list')
  }
  const { volumeName, invites, claims, feeds } = stored
  const admissions = stored.admissions.map((admission) => ({
    ...admission,
    boxKey: Buffer.from(admission.boxKey),
  }))
  const selves = new Map(stored.selves)
  const keys = generations.map((row) => ({ ...row, holders: new Set(row.holders) }))
  return {
    state: { volumeName, admissions, invites, selves, claims, revocations, generations: keys },
    feeds,
  }
}

/** The progress of one feed as a row. */
export function encodeFeedProgress(progress: FeedProgress): Uint8Array {
  const { length, saidLength, frontier } = progress
  const isSilent = saidLength < length
  const writer = new ByteWriter(256).u8(isSilent ? SILENT_VERSION : ROWS_VERSION).varint(length)
  if (isSilent) writer.varint(saidLength)
  writeFrontier(writer, frontier)
  return writer.finish()
}

/** The reverse. @throws {WormholeError} `FORMAT_UNSUPPORTED`, `INDEX_CORRUPT`. */
export function decodeFeedProgress(row: Uint8Array): FeedProgress {
  const reader = new ByteReader(row, 'INDEX_CORRUPT')
  const version = reader.u8()
  if (version !== ROWS_VERSION && version !== SILENT_VERSION) {
    throw new WormholeError('FORMAT_UNSUPPORTED', `row of feed progress of version ${version}`)
  }
  const length = reader.varint()
  const saidLength = version === SILENT_VERSION ? reader.varint() : length
  if (saidLength > length) throw new WormholeError('INDEX_CORRUPT', 'more was said than folded')
  const frontier = readFrontier(reader)
  reader.end()
  return { length, saidLength, frontier }
}

/** A greater role may do more. */
export const ROLE_RANK: Readonly<Record<Role, number>> = { reader: 0, writer: 1, admin: 2 }

/** Among the invites with one key (more than one only by an admin's mistake): the greatest role. */
export function bestInvite(invites: readonly InviteRow[]): InviteRow {
  return invites.reduce((best, invite) => {
    if (ROLE_RANK[invite.role] !== ROLE_RANK[best.role]) {
      return ROLE_RANK[invite.role] > ROLE_RANK[best.role] ? invite : best
    }
    return isEarlier(invite.position, best.position) ? invite : best
  })
}

/** Any order that is the same everywhere, whatever branches are called. */
function isEarlier(a: Position, b: Position): boolean {
  const [feedA, feedB] = [feedRoot(a.feed), feedRoot(b.feed)]
  if (feedA !== feedB) return feedA < feedB
  return a.seq === b.seq ? a.hash < b.hash : a.seq < b.seq
}

function isLater(a: SelfRank, b: SelfRank | undefined): boolean {
  if (b === undefined) return true
  if (a.generation !== b.generation) return a.generation > b.generation
  return a.seq === b.seq ? a.hash >= b.hash : a.seq > b.seq
}

/** Takes in what a device says about itself; the greatest (generation, seq, hash) holds. */
export function mergeSelf(
  before: SelfRow | undefined,
  at: SelfRank,
  change: { readonly name?: string; readonly labels?: Readonly<Record<string, string>> },
): SelfRow {
  let row = before ?? { name: undefined, nameAt: undefined, labels: {}, labelsAt: undefined }
  if (change.name !== undefined && isLater(at, row.nameAt)) {
    row = { ...row, name: change.name, nameAt: at }
  }
  if (change.labels !== undefined && isLater(at, row.labelsAt)) {
    row = { ...row, labels: change.labels, labelsAt: at }
  }
  return row
}

/** The place of an entry. */
export function positionOf({ feed, seq, hash }: Position): Position {
  return { feed, seq, hash }
}

/** The greater role; then the earlier stamp; then any order that is the same everywhere. */
export function isBetterAdmission(a: Admission, b: Admission): boolean {
  if (ROLE_RANK[a.role] !== ROLE_RANK[b.role]) return ROLE_RANK[a.role] > ROLE_RANK[b.role]
  return a.hlc !== b.hlc ? a.hlc < b.hlc : isEarlier(a.position, b.position)
}
