/**
 * Who is in a volume, and who may do what: a pure fold of control operations, entry by entry.
 *
 * The verdict on an entry depends on nothing but the entries in its causal past, so it is the same
 * on every device. Laws, for entries a and b that may be folded in either order:
 *
 *     fold(fold(t, a), b) = fold(fold(t, b), a)
 *     fold(fold(t, a), a) = fold(t, a)
 *
 * Every rule therefore asks "is it in the past of this entry?", never "is it in the table now?".
 */
import assert from 'node:assert/strict'
import { WormholeError } from '../errors.ts'
import { feedDevice, feedRoot } from '../types.ts'
import type { ActorId, DeviceId, FeedId, Frontier, VolumeId } from '../types.ts'
import { isAcknowledgement, owesAcknowledgement } from './acknowledgement.ts'
import { checkSignature, refuse, type Admissible } from './admission.ts'
import { EMPTY_FRONTIER, frontierHas } from './frontier.ts'
import type { ControlOp, Entry, HandedKey, Member } from './interface.ts'
import { foldOp, type AnnouncedActor, type Notes } from './member-fold.ts'
import {
  invitesIn,
  isInviteOpen,
  openInvitesOf,
  pastOf,
  revocationsOf,
  roleIn,
  standingAdmission,
  usersOf,
  usesLeftOf,
} from './member-past.ts'
import {
  decodeFeedProgress,
  decodeMemberState,
  emptyMemberState,
  encodeFeedProgress,
  encodeMemberState,
} from './member-rows.ts'
import type { FeedProgress, MemberState, OpenInvite, Position, Revocation } from './member-rows.ts'

export { admissionMessage, signAdmission } from './admission.ts'
export type { AnnouncedActor } from './member-fold.ts'
export type { OpenInvite } from './member-rows.ts'

/** What an entry is worth, the same on every device. */
export type EntryVerdict =
  | { readonly state: 'valid' }
  /** Stays in the chain and counts as empty. */
  | { readonly state: 'empty'; readonly reason: string }
  /** Written by a newer version (UPGRADE_NEEDED): do not apply it, nor what depends on it. */
  | { readonly state: 'unknown'; readonly reason: string }

/** What folding one entry did. */
export interface FoldResult {
  readonly verdict: EntryVerdict
  /** Operations that were ignored and invites used too often, for a person to read. */
  readonly problems: readonly string[]
  readonly actors: readonly AnnouncedActor[]
  /** Secrets that it hands out, by the device that can open them. */
  readonly keys: ReadonlyMap<DeviceId, readonly HandedKey[]>
  /** Whether members, roles, names, labels or invites may differ from before. */
  readonly isChanged: boolean
}

const MEMBERS_ROW = 'log/members'
const FEED_ROW = 'log/feed/'
const NO_PROGRESS: FeedProgress = { length: 0, saidLength: 0, frontier: EMPTY_FRONTIER }

/** The members of one volume, folded from its log in causal order. */
export class MemberTable {
  readonly #volume: VolumeId
  readonly #state: MemberState
  readonly #progress: Map<FeedId, FeedProgress>
  #isStateDirty = false
  readonly #dirtyFeeds = new Set<FeedId>()
  /** Derived from the state. */
  readonly #actors = new Map<FeedId, Set<ActorId>>()
  #members: Map<DeviceId, Member> | undefined

  /** An empty table: the next entry to fold is the genesis. */
  constructor(
    volume: VolumeId,
    state: MemberState = emptyMemberState(),
    progress: Map<FeedId, FeedProgress> = new Map(),
  ) {
    this.#volume = volume
    this.#state = state
    this.#progress = progress
    for (const { actor, position } of state.claims) this.#addActor(position.feed, actor)
  }

  /**
   * The table that `takeRows` put away; `row` gives the bytes of a key. Empty without any.
   * @throws {WormholeError} `INDEX_CORRUPT`, `FORMAT_UNSUPPORTED`.
   */
  static restore(volume: VolumeId, row: (key: string) => Uint8Array | undefined): MemberTable {
    const bytes = row(MEMBERS_ROW)
    if (bytes === undefined) return new MemberTable(volume)
    const { state, feeds } = decodeMemberState(bytes)
    const progress = new Map<FeedId, FeedProgress>()
    for (const feed of feeds) {
      const feedRow = row(FEED_ROW + feed)
      if (feedRow === undefined) {
        throw new WormholeError('INDEX_CORRUPT', `no row of progress for feed ${feed}`)
      }
      progress.set(feed, decodeFeedProgress(feedRow))
    }
    return new MemberTable(volume, state, progress)
  }

  /**
   * Rows that changed since the last call; store them in the same transaction as what was folded.
   * An entry that changes no member costs one small row.
   */
  takeRows(): Map<string, Uint8Array> {
    const rows = new Map<string, Uint8Array>()
    if (this.#isStateDirty) {
      rows.set(MEMBERS_ROW, encodeMemberState(this.#state, this.#progress.keys()))
    }
    for (const feed of this.#dirtyFeeds) {
      rows.set(FEED_ROW + feed, encodeFeedProgress(this.#progressOf(feed)))
    }
    this.#isStateDirty = false
    this.#dirtyFeeds.clear()
    return rows
  }

  /** The verdict on an entry whose causal past has been folded. Changes nothing. */
  check(entry: Entry): EntryVerdict {
    if (entry.hash === this.#volume) return this.#checkGenesis(entry)
    const device = feedDevice(entry.feed)
    const isKnown = pastOf(entry)
    const role = roleIn(this.#state, device, isKnown)
    if (role === undefined) {
      const isRevoked = revocationsOf(this.#state, device, isKnown).length > 0
      return empty(`its author is no member at its frontier${isRevoked ? ': it was revoked' : ''}`)
    }
    if (entry.hasSealedTree && role === 'reader') return empty('a reader changes the tree')
    if (entry.control.some((op) => op.type === 'unknown')) {
      return { state: 'unknown', reason: 'a control operation of a newer version' }
    }
    return { state: 'valid' }
  }

  #checkGenesis(entry: Entry): EntryVerdict {
    const op = entry.control[0]
    if (op?.type !== 'genesis') return empty('a genesis entry without a genesis operation')
    if (op.device !== feedDevice(entry.feed)) return empty('a genesis for another device')
    if (entry.control.some((other) => other.type === 'unknown')) {
      return { state: 'unknown', reason: 'a genesis of a newer version' }
    }
    return { state: 'valid' }
  }

  /**
   * Folds the next entry of its feed, or the first of a branch; one that was folded already has no
   * effect. Its causal past must have been folded. With the verdict `unknown` nothing happens: fold
   * it again after the upgrade.
   */
  fold(entry: Entry): FoldResult {
    const verdict = this.check(entry)
    const notes: Notes = { problems: [], actors: [], keys: new Map(), isChanged: false }
    const length = this.foldedLength(entry.feed)
    if (entry.seq < length || verdict.state === 'unknown') return { verdict, ...notes }
    const isNext = entry.seq === length || length === 0
    assert(isNext, `entry ${entry.seq} of ${entry.feed} is not the next`)
    this.#advance(entry.feed, entry.seq + 1, entry.frontier, !isAcknowledgement(entry))
    if (verdict.state === 'valid') {
      for (const [index, op] of entry.control.entries()) this.#foldOp(entry, op, index, notes)
    }
    if (notes.isChanged || notes.actors.length > 0) {
      this.#isStateDirty = true
      this.#members = undefined
    }
    return { verdict, ...notes }
  }

  /**
   * Steps over the next entry of a feed that `openEntry` refused: it counts as empty. `frontier` is
   * that of the entry before.
   */
  skip({ feed, seq }: { readonly feed: FeedId; readonly seq: number }, frontier: Frontier): void {
    const length = this.foldedLength(feed)
    if (seq < length) return
    assert(seq === length || length === 0, `entry ${seq} of ${feed} is not the next`)
    this.#advance(feed, seq + 1, frontier, false)
  }

  #advance(feed: FeedId, length: number, frontier: Frontier, isSaying: boolean): void {
    if (!this.#progress.has(feed)) this.#isStateDirty = true
    const saidLength = isSaying ? length : this.#progressOf(feed).saidLength
    this.#progress.set(feed, { length, saidLength, frontier })
    this.#dirtyFeeds.add(feed)
  }

  #foldOp(entry: Entry, op: ControlOp, index: number, notes: Notes): void {
    const refused = this.#tryOp(entry, op, index, notes)
    if (refused === undefined) return
    const where = `entry ${entry.seq} of device ${feedDevice(entry.feed).slice(0, 8)}`
    notes.problems.push(`${where}: ${op.type} ignored: ${refused}`)
  }

  /** Folds one operation of a valid entry; returns why not. */
  #tryOp(entry: Entry, op: ControlOp, index: number, notes: Notes): string | undefined {
    if (op.type === 'ack' || op.type === 'unknown') return undefined
    const about = { volume: this.#volume, state: this.#state, entry, index, notes }
    const refused = foldOp(about, op)
    if (refused !== undefined) return refused
    if (op.type === 'actor') this.#addActor(entry.feed, op.actor)
    notes.isChanged = true
    return undefined
  }

  #addActor(feed: FeedId, actor: ActorId): void {
    const actors = this.#actors.get(feed) ?? new Set()
    this.#actors.set(feed, actors.add(actor))
  }

  #progressOf(feed: FeedId): FeedProgress {
    return this.#progress.get(feed) ?? NO_PROGRESS
  }

  /** Frontier of the newest folded entry of a feed: `previousFrontier` of its next one. */
  frontierOf(feed: FeedId): Frontier {
    return this.#progressOf(feed).frontier
  }

  /** Whether others said what no entry of `device` acknowledges. */
  owesAcknowledgement(device: DeviceId): boolean {
    return owesAcknowledgement(this.#progress, device)
  }

  /** How many entries of the feed were folded or skipped. */
  foldedLength(feed: FeedId): number {
    return this.#progressOf(feed).length
  }

  /** Name of the volume as its creator gave it; empty before the genesis. */
  get volumeName(): string {
    return this.#state.volumeName
  }

  isMember(device: DeviceId): boolean {
    return this.#memberMap().has(device)
  }

  /** Whether it was a member, was revoked, and was not let in again. */
  isRevoked(device: DeviceId): boolean {
    if (this.#state.revocations.length === 0 || this.isMember(device)) return false
    return this.#state.revocations.some((row) => row.device === device)
  }

  member(device: DeviceId): Member | undefined {
    return this.#memberMap().get(device)
  }

  /** All members, by device id. */
  members(): Member[] {
    return [...this.#memberMap().values()]
  }

  #memberMap(): Map<DeviceId, Member> {
    if (this.#members !== undefined) return this.#members
    this.#members = new Map()
    const devices = new Set(this.#state.admissions.map(({ device }) => device))
    for (const device of [...devices].sort()) {
      const admission = standingAdmission(this.#state, device)
      if (admission === undefined) continue
      const { role, name, boxKey, position, knows = [] } = admission
      const self = this.#state.selves.get(device)
      this.#members.set(device, {
        device,
        name: self?.name ?? name,
        role,
        boxKey,
        labels: self?.labels ?? {},
        admittedBy: position,
        knows,
      })
    }
    return this.#members
  }

  /** Revocations that are in force: of devices that nobody has let in again. */
  revocations(): Revocation[] {
    return this.#state.revocations.filter(({ device }) => !this.isMember(device))
  }

  /** The name that a device gave itself, or was let in under; also of a revoked one. */
  nameOf(device: DeviceId): string | undefined {
    const admission = this.#state.admissions.find((row) => row.device === device)
    return this.#state.selves.get(device)?.name ?? admission?.name
  }

  /** Whether anybody was ever revoked, or keys were changed. */
  get hasTurns(): boolean {
    return this.#state.revocations.length + this.#state.generations.length > 0
  }

  /** Key generations, oldest first, and every revocation, for `rotation.ts`. */
  keyState(): Pick<MemberState, 'generations' | 'revocations'> {
    return this.#state
  }

  /**
   * Whether an entry by this device has a position in its past, or is it. `isCounted`: of its
   * entries these, by feed and number.
   */
  isAcknowledged(
    device: DeviceId,
    position: Position,
    isCounted: (feed: FeedId, seq: number) => boolean = () => true,
  ): boolean {
    const { feed: own, seq } = position
    if (feedDevice(own) === device && isCounted(own, seq)) return true
    for (const [feed, { length, frontier }] of this.#progress) {
      if (feedDevice(feed) !== device || !isCounted(feed, length - 1)) continue
      if (frontierHas(frontier, position.feed, position.seq)) return true
    }
    return false
  }

  /** Actors announced in this feed; on a branch, only those announced there. */
  actorsOf = (feed: FeedId): ReadonlySet<ActorId> => this.#actors.get(feed) ?? new Set()

  /** Actors that may write in an entry: those announced in its feed before. */
  actorsFor(entry: Entry): ReadonlySet<ActorId> {
    const root = feedRoot(entry.feed)
    // A branch too may have the name of the feed, if it was here first (README.md, "Feeds").
    const isBranch = [...entry.frontier.keys()].some((feed) => feedRoot(feed) === root)
    if (!isBranch) return this.actorsOf(entry.feed)
    const isKnown = pastOf(entry)
    const isBefore = (position: Position): boolean =>
      feedRoot(position.feed) === root && isKnown(position)
    return new Set(
      this.#state.claims.flatMap(({ actor, position }) => (isBefore(position) ? [actor] : [])),
    )
  }

  /** Invites that may admit somebody at this time, the recovery key among them. */
  openInvites(nowMs: number): OpenInvite[] {
    return openInvitesOf(this.#state, nowMs)
  }

  /** Public keys (hex) of every invite ever made and of the recovery key. */
  knownInvites(): string[] {
    return [...new Set(this.#state.invites.map((invite) => invite.inviteKey))]
  }

  /** How many more devices an invite (hex) may let in, as far as is known here; 0 if unknown. */
  usesLeft(inviteKey: string): number {
    return usesLeftOf(this.#state, inviteKey)
  }

  /**
   * The `admit` operation for a joiner's request, checked as `fold` will check it now. A member
   * passes again: append nothing for it, just send the secrets once more.
   * @throws {WormholeError} `INVITE_INVALID`, `INVITE_EXPIRED`, `INVITE_USED_UP`.
   */
  checkAdmission(
    request: Omit<Admissible, 'inviteKey'> & { inviteKey: string; signature: Uint8Array },
    nowMs: number,
  ): ControlOp & { readonly type: 'admit' } {
    if (request.volume !== this.#volume) refuse('INVITE_INVALID', 'it is for another volume')
    const invites = invitesIn(this.#state, request.inviteKey)
    if (invites.length === 0) refuse('INVITE_INVALID', 'this member does not know the invite')
    const { device, deviceName, boxKey, signature } = request
    const inviteKey = Buffer.from(request.inviteKey, 'hex')
    checkSignature({ ...request, inviteKey }, signature)
    if (invites.every((invite) => nowMs > invite.expiresMs)) {
      refuse('INVITE_EXPIRED', 'the invite has expired: ask for a new one')
    }
    if (!invites.some((invite) => isInviteOpen(this.#state, invite))) {
      refuse('INVITE_EXPIRED', 'a device was revoked since it was made: ask for a new one')
    }
    const isUser = usersOf(this.#state, request.inviteKey).has(device)
    if (!isUser && this.usesLeft(request.inviteKey) === 0) {
      refuse('INVITE_USED_UP', 'the invite has been used as often as it may: ask for a new one')
    }
    return { type: 'admit', device, deviceName, boxKey, inviteKey, signature }
  }
}

function empty(reason: string): EntryVerdict {
  return { state: 'empty', reason }
}
