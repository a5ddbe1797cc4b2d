/**
 * Revocations and changes of keys as one device lives through them: what it writes, what it is
 * handed, what it seals with, what it keeps aside.
 *
 * A device that was revoked hears it from whoever refuses it: a **farewell** is the entry that
 * revokes it. The revoked device may not have what is before that entry in its feed, so it is kept
 * apart, as a proof: an admin of the volume signed it.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import type { Random } from '../system.ts'
import { feedDevice, feedRoot } from '../types.ts'
import type { DeviceId, FeedId, Frontier, VolumeId } from '../types.ts'
import { entriesAside, type AsideEntries } from './counted.ts'
import type { EntryQueue } from './entry-queue.ts'
import { openEntry, verifyFrame } from './entry.ts'
import { EMPTY_FRONTIER } from './frontier.ts'
import type { ControlOp, FeedStore } from './interface.ts'
import type { KeyRing } from './key-ring.ts'
import type { FoldResult, MemberTable } from './membership.ts'
import {
  answerOps,
  isEverybodyReady,
  owesAnswer,
  revocationOps,
  sealingGeneration,
} from './rotation.ts'
import type { RotationContext } from './rotation.ts'

/** Of a feed's name. */
const FEED_LENGTH_MAX = 80

/** What a revoked device is shown. */
export interface Farewell {
  readonly feed: FeedId
  readonly frame: Uint8Array
}

/** Who revoked a device, and when; `hlc` is the stamp of the entry. */
export interface RevokedBy {
  readonly device: DeviceId
  readonly hlc: number
  /** Of the entry. */
  readonly hash: string
}

/** What it works on. */
export interface TurnsOptions {
  readonly volume: VolumeId
  readonly device: DeviceId
  readonly keys: KeyRing
  readonly feeds: FeedStore
  readonly random: Random
  readonly queue: EntryQueue
}

/** See the head of this file. */
export class Turns {
  readonly #options: TurnsOptions
  #meeting: readonly number[] = []
  #isChosen = false
  /** Of what was proved by a farewell, and is not in the table. */
  #farewell: RevokedBy | undefined

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  #context(members: MemberTable): RotationContext {
    const { device, keys, feeds } = this.#options
    return { members, device, ring: keys, feeds }
  }

  /** The statements that revoke a device. @throws {WormholeError} as `revocationOps`. */
  revocation(members: MemberTable, device: DeviceId): ControlOp[] {
    const { random } = this.#options
    return revocationOps(this.#context(members), { device, random })
  }

  /**
   * Whether this device has to answer before it applies anything else: its answer must not build
   * on what those cannot open whom it hands keys. While entries of this home are not applied yet,
   * the answer may be among them.
   */
  isDue(members: MemberTable, applied: Frontier): boolean {
    if (!members.hasTurns || !owesAnswer(this.#context(members))) return false
    const { device, feeds } = this.#options
    for (const feed of feeds.frontier().keys()) {
      const appliedLength = applied.get(feed)?.length ?? 0
      if (feedDevice(feed) === device && feeds.isWrittenHere(feed, appliedLength)) return false
    }
    return true
  }

  /** What this device owes to revocations and changes of keys; undefined: nothing. */
  answer(members: MemberTable): ControlOp[] | undefined {
    return answerOps(this.#context(members), this.#options.random)
  }

  /** Keeps what an entry hands to this device, before that entry is committed. */
  learn({ keys }: FoldResult): void {
    const { device, keys: ring, queue } = this.#options
    for (const handed of keys.get(device) ?? []) if (ring.learn(handed)) queue.keysArrived()
  }

  /** Takes up what was committed. `fact` gives what was kept beside the tree. */
  reload(members: MemberTable, fact: (name: string) => Buffer | undefined): void {
    const farewell = decodeFarewell(fact)
    this.#farewell = farewell && this.#proof(farewell, members)
    this.#isChosen = false
    this.choose(members)
  }

  /**
   * Seals with what the table says from now on. Returns whether members meet elsewhere than before.
   */
  choose(members: MemberTable): boolean {
    const { keys } = this.#options
    // Called at every commit: nothing follows while there are no turns.
    if (this.#isChosen && !members.hasTurns) return false
    keys.use(sealingGeneration(this.#context(members)))
    const newest = keys.currentGeneration
    const before = this.#meeting.join()
    // Who has no log yet does not know where the others meet.
    const isNew = members.members().length === 0
    const held = keys.secrets.generations().sort((a, b) => b - a)
    const older = isEverybodyReady(members, newest) ? [] : held.filter((one) => one < newest)
    this.#meeting = isNew ? held : [newest, ...older]
    this.#isChosen = !isNew
    return this.#meeting.join() !== before
  }

  /**
   * Key generations at whose meeting points members are found, the newest first: older ones until
   * every member is known to have the newest.
   */
  get meeting(): readonly number[] {
    return this.#meeting
  }

  /** Who revoked this device, as far as it knows. */
  revokedBy(members: MemberTable): RevokedBy | undefined {
    const { device } = this.#options
    if (!members.isRevoked(device)) return this.#isVoid(members) ? undefined : this.#farewell
    const [row] = members.revocations().filter((each) => each.device === device)
    return row && { device: feedDevice(row.position.feed), hlc: row.hlc, hash: row.position.hash }
  }

  /** Whether this device was let in again by somebody who knew what the farewell says. */
  #isVoid(members: MemberTable): boolean {
    const hash = this.#farewell?.hash
    const knows = members.member(this.#options.device)?.knows ?? []
    return hash !== undefined && knows.includes(hash)
  }

  /** What is kept aside. */
  aside(members: MemberTable, applied: Frontier): AsideEntries[] {
    return entriesAside(members, this.#options.feeds.frontier(), applied)
  }

  /** What to show a revoked device; undefined when the entry is not at hand. */
  farewell(members: MemberTable, device: DeviceId): Farewell | undefined {
    const { feeds } = this.#options
    for (const { position } of members.revocations().filter((row) => row.device === device)) {
      const { feed, seq, hash } = position
      const [frame] = feeds.read(feed, seq, 1)
      if (frame?.hash === hash) return { feed: feedRoot(feed), frame: frame.bytes }
    }
    return undefined
  }

  /**
   * Believes a farewell, if it proves that an admin revoked this device; returns what to keep. One
   * that this device was let in after proves nothing.
   * @throws {WormholeError} `ENTRY_INVALID`, `NOT_PERMITTED` when it does not.
   */
  takeFarewell(farewell: Farewell, members: MemberTable): [name: string, row: Uint8Array] {
    this.#farewell = this.#check(farewell, members)
    return encodeFarewell(farewell)
  }

  #check({ feed, frame: bytes }: Farewell, members: MemberTable): RevokedBy {
    const { volume, device, keys } = this.#options
    const frame = verifyFrame(bytes, { volume, feed: feedRoot(feed) })
    const author = feedDevice(feed)
    const isAdmin = members.member(author)?.role === 'admin'
    const { control, hlc } = openEntry(frame, { volume, keys, previousFrontier: EMPTY_FRONTIER })
    const isRevoking = control.some((op) => op.type === 'revoke' && op.device === device)
    const isOld = members.member(device)?.knows.includes(frame.hash) ?? false
    if (isAdmin && isRevoking && !isOld) return { device: author, hlc, hash: frame.hash }
    throw new WormholeError('NOT_PERMITTED', 'a farewell that proves nothing')
  }

  /** The same for one that was kept. */
  #proof(farewell: Farewell, members: MemberTable): RevokedBy | undefined {
    try {
      return this.#check(farewell, members)
    } catch (error) {
      if (error instanceof WormholeError) return undefined
      throw error
    }
  }
}

const FAREWELL_ROW = 'farewell'

/** A farewell as a fact beside the tree. */
function encodeFarewell({ feed, frame }: Farewell): [name: string, row: Uint8Array] {
  return [FAREWELL_ROW, new ByteWriter(256).latin1(feed).bytes(frame).finish()]
}

/** The reverse; `fact` gives one by name. @throws {WormholeError} `INDEX_CORRUPT`. */
function decodeFarewell(fact: (name: string) => Buffer | undefined): Farewell | undefined {
  const row = fact(FAREWELL_ROW)
  if (row === undefined || row.length === 0) return undefined
  const reader = new ByteReader(row, 'INDEX_CORRUPT')
  const farewell = { feed: reader.latin1(FEED_LENGTH_MAX) as FeedId, frame: reader.bytes() }
  reader.end()
  return farewell
}
