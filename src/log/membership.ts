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
import { verify } from '../seal.ts'
import { feedDevice, feedGeneration, feedRoot } from '../types.ts'
import type { ActorId, DeviceId, FeedId, Frontier, Role, VolumeId } from '../types.ts'
import { isAcknowledgement, owesAcknowledgement } from './acknowledgement.ts'
import { isActorOf } from './actors.ts'
import { admissionMessage, checkSignature, refuse, type Admissible } from './admission.ts'
import { asBuffer } from './frame.ts'
import { EMPTY_FRONTIER, frontierHas } from './frontier.ts'
import type { ControlOp, Entry, Member } from './interface.ts'
import {
  bestInvite,
  isBetterAdmission,
  mergeSelf,
  positionOf,
  ROLE_RANK,
  decodeFeedProgress,
  decodeMemberState,
  emptyMemberState,
  encodeFeedProgress,
  encodeMemberState,
} from './member-rows.ts'
import type {
  Admission,
  FeedProgress,
  InviteRow,
  MemberState,
  OpenInvite,
  Position,
} from './member-rows.ts'

export { admissionMessage, signAdmission } from './admission.ts'
export type { OpenInvite } from './member-rows.ts'

/** What an entry is worth, the same on every device. */
export type EntryVerdict =
  | { readonly state: 'valid' }
  /** Stays in the chain and counts as empty. */
  | { readonly state: 'empty'; readonly reason: string }
  /** Written by a newer version (UPGRADE_NEEDED): do not apply it, nor what depends on it. */
  | { readonly state: 'unknown'; readonly reason: string }

/** An actor id that its author announced. */
export interface AnnouncedActor {
  readonly actor: ActorId
  readonly device: DeviceId
  readonly deviceName: string
}

/** What folding one entry did. */
export interface FoldResult {
  readonly verdict: EntryVerdict
  /** Operations that were ignored and invites used too often, for a person to read. */
  readonly problems: readonly string[]
  readonly actors: readonly AnnouncedActor[]
  /** Whether members, roles, names, labels or invites may differ from before. */
  readonly isChanged: boolean
}

const MEMBERS_ROW = 'log/members'
const FEED_ROW = 'log/feed/'
const NO_PROGRESS: FeedProgress = { length: 0, saidLength: 0, frontier: EMPTY_FRONTIER }

/** Collects what one `fold` has to say. */
interface Notes {
  readonly problems: string[]
  readonly actors: AnnouncedActor[]
  isChanged: boolean
}

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
    const role = this.#roleAt(feedDevice(entry.feed), entry)
    if (role === undefined) return empty('its author is no member at its frontier')
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
    const notes: Notes = { problems: [], actors: [], isChanged: false }
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
    switch (op.type) {
      case 'genesis':
        if (entry.hash !== this.#volume || index !== 0) return 'it is not the genesis entry'
        this.#foldGenesis(entry, op)
        break
      case 'invite': {
        const refused = this.#foldInvite(entry, op)
        if (refused !== undefined) return refused
        break
      }
      case 'admit': {
        const refused = this.#foldAdmit(entry, op, notes)
        if (refused !== undefined) return refused
        break
      }
      case 'actor': {
        const refused = this.#foldActor(entry, op, notes)
        if (refused !== undefined) return refused
        break
      }
      case 'labels':
        this.#foldSelf(entry, { labels: op.labels })
        break
      case 'ack':
      case 'unknown':
        return undefined
    }
    notes.isChanged = true
    return undefined
  }

  #foldGenesis(entry: Entry, op: ControlOp & { type: 'genesis' }): void {
    const position = positionOf(entry)
    this.#state.volumeName = op.name
    this.#state.admissions.push({
      position,
      hlc: entry.hlc,
      device: op.device,
      role: 'admin',
      name: op.deviceName,
      boxKey: op.boxKey,
      inviteKey: '',
    })
    this.#state.invites.push({
      position,
      inviteKey: asBuffer(op.recoveryKey).toString('hex'),
      role: 'admin',
      expiresMs: Infinity,
      usesMax: Infinity,
      isRecovery: true,
    })
  }

  #foldInvite(entry: Entry, op: ControlOp & { type: 'invite' }): string | undefined {
    if (this.#roleAt(feedDevice(entry.feed), entry) !== 'admin') return 'only admins invite'
    const inviteKey = asBuffer(op.inviteKey).toString('hex')
    if (this.#invitesAt(inviteKey, entry).length > 0) return 'the invite key is known already'
    this.#state.invites.push({
      position: positionOf(entry),
      inviteKey,
      role: op.role,
      expiresMs: op.expiresMs,
      usesMax: op.usesMax,
      isRecovery: false,
    })
    return undefined
  }

  #foldAdmit(entry: Entry, op: ControlOp & { type: 'admit' }, notes: Notes): string | undefined {
    const inviteKey = asBuffer(op.inviteKey).toString('hex')
    const invites = this.#invitesAt(inviteKey, entry)
    if (invites.length === 0) return 'its invite is not in its past'
    if (!verify(op.inviteKey, admissionMessage({ ...op, volume: this.#volume }), op.signature)) {
      return 'the invite key did not sign it'
    }
    const inTime = invites.filter((invite) => entry.hlc <= invite.expiresMs * 1000)
    if (inTime.length === 0) return 'the invite had expired'
    const invite = bestInvite(inTime)
    const before = this.#usersOf(inviteKey, entry)
    if (!before.has(op.device) && before.size >= invite.usesMax) return 'the invite was used up'
    this.#state.admissions.push({
      position: positionOf(entry),
      hlc: entry.hlc,
      device: op.device,
      role: invite.role,
      name: op.deviceName,
      boxKey: op.boxKey,
      inviteKey,
    })
    const used = this.#usersOf(inviteKey).size
    if (used > invite.usesMax) {
      notes.problems.push(
        `invite ${inviteKey.slice(0, 8)} let in ${used} devices, ${invite.usesMax} were allowed:` +
          ' members that did not know of each other admitted them; all of them stay',
      )
    }
    return undefined
  }

  #foldActor(entry: Entry, op: ControlOp & { type: 'actor' }, notes: Notes): string | undefined {
    const device = feedDevice(entry.feed)
    if (!isActorOf(op.actor, entry.feed)) return 'the actor is of another feed'
    const position = positionOf(entry)
    this.#state.claims.push({ actor: op.actor, position })
    this.#addActor(entry.feed, op.actor)
    this.#foldSelf(entry, { name: op.deviceName })
    notes.actors.push({ actor: op.actor, device, deviceName: op.deviceName })
    return undefined
  }

  #addActor(feed: FeedId, actor: ActorId): void {
    const actors = this.#actors.get(feed) ?? new Set()
    this.#actors.set(feed, actors.add(actor))
  }

  #foldSelf(entry: Entry, change: Parameters<typeof mergeSelf>[2]): void {
    const device = feedDevice(entry.feed)
    const at = { ...positionOf(entry), generation: feedGeneration(entry.feed) }
    const { selves } = this.#state
    selves.set(device, mergeSelf(selves.get(device), at, change))
  }

  /** Whether a position is in the past of an entry, or in what was already folded of itself. */
  #isBefore(position: Position, entry: Entry): boolean {
    if (position.feed === entry.feed) return position.seq <= entry.seq
    return frontierHas(entry.frontier, position.feed, position.seq)
  }

  #roleAt(device: DeviceId, entry: Entry): Role | undefined {
    let role: Role | undefined
    for (const admission of this.#state.admissions) {
      if (admission.device !== device || !this.#isBefore(admission.position, entry)) continue
      if (role === undefined || ROLE_RANK[admission.role] > ROLE_RANK[role]) role = admission.role
    }
    return role
  }

  #invitesAt(inviteKey: string, entry: Entry): InviteRow[] {
    return this.#state.invites.filter(
      (invite) => invite.inviteKey === inviteKey && this.#isBefore(invite.position, entry),
    )
  }

  /** Devices that an invite let in, in the past of an entry or at all. */
  #usersOf(inviteKey: string, entry?: Entry): Set<DeviceId> {
    const devices = new Set<DeviceId>()
    for (const admission of this.#state.admissions) {
      if (admission.inviteKey !== inviteKey) continue
      if (entry === undefined || this.#isBefore(admission.position, entry)) {
        devices.add(admission.device)
      }
    }
    return devices
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

  member(device: DeviceId): Member | undefined {
    return this.#memberMap().get(device)
  }

  /** All members, by device id. */
  members(): Member[] {
    return [...this.#memberMap().values()]
  }

  #memberMap(): Map<DeviceId, Member> {
    if (this.#members !== undefined) return this.#members
    const best = new Map<DeviceId, Admission>()
    for (const admission of this.#state.admissions) {
      const other = best.get(admission.device)
      if (other === undefined || isBetterAdmission(admission, other)) {
        best.set(admission.device, admission)
      }
    }
    this.#members = new Map()
    for (const device of [...best.keys()].sort()) {
      const { role, name, boxKey, position } = best.get(device) as Admission
      const self = this.#state.selves.get(device)
      this.#members.set(device, {
        device,
        name: self?.name ?? name,
        role,
        boxKey,
        labels: self?.labels ?? {},
        admittedBy: position,
      })
    }
    return this.#members
  }

  /** Actors announced in this feed; on a branch, only those announced there. */
  actorsOf = (feed: FeedId): ReadonlySet<ActorId> => this.#actors.get(feed) ?? new Set()

  /** Actors that may write in an entry: those announced in its feed before. */
  actorsFor(entry: Entry): ReadonlySet<ActorId> {
    const root = feedRoot(entry.feed)
    if (root === entry.feed) return this.actorsOf(root)
    const isBefore = (position: Position): boolean =>
      feedRoot(position.feed) === root && this.#isBefore(position, entry)
    return new Set(
      this.#state.claims.flatMap(({ actor, position }) => (isBefore(position) ? [actor] : [])),
    )
  }

  /** Invites that may admit somebody at this time, the recovery key among them. */
  openInvites(nowMs: number): OpenInvite[] {
    const open: OpenInvite[] = []
    for (const inviteKey of new Set(this.#state.invites.map((invite) => invite.inviteKey))) {
      const inTime = this.#state.invites.filter(
        (invite) => invite.inviteKey === inviteKey && nowMs <= invite.expiresMs,
      )
      const usesLeft = this.usesLeft(inviteKey)
      if (inTime.length === 0 || usesLeft <= 0) continue
      const { role, expiresMs, isRecovery } = bestInvite(inTime)
      open.push({ inviteKey, role, expiresMs, usesLeft, isRecovery })
    }
    return open
  }

  /** Public keys (hex) of every invite ever made and of the recovery key. */
  knownInvites(): string[] {
    return [...new Set(this.#state.invites.map((invite) => invite.inviteKey))]
  }

  /** How many more devices an invite (hex) may let in, as far as is known here; 0 if unknown. */
  usesLeft(inviteKey: string): number {
    const invites = this.#state.invites.filter((row) => row.inviteKey === inviteKey)
    if (invites.length === 0) return 0
    return Math.max(0, bestInvite(invites).usesMax - this.#usersOf(inviteKey).size)
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
    const invites = this.#state.invites.filter((row) => row.inviteKey === request.inviteKey)
    if (invites.length === 0) refuse('INVITE_INVALID', 'this member does not know the invite')
    const { device, deviceName, boxKey, signature } = request
    const inviteKey = Buffer.from(request.inviteKey, 'hex')
    checkSignature({ ...request, inviteKey }, signature)
    if (invites.every((invite) => nowMs > invite.expiresMs)) {
      refuse('INVITE_EXPIRED', 'the invite has expired: ask for a new one')
    }
    const isUser = this.#usersOf(request.inviteKey).has(device)
    if (!isUser && this.usesLeft(request.inviteKey) === 0) {
      refuse('INVITE_USED_UP', 'the invite has been used as often as it may: ask for a new one')
    }
    return { type: 'admit', device, deviceName, boxKey, inviteKey, signature }
  }
}

function empty(reason: string): EntryVerdict {
  return { state: 'empty', reason }
}
