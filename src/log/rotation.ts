/**
 * Revoking, and which key generation seals: what follows from the member table, and the statements
 * that this device owes to it. README.md, "Revocation" and "Key generations".
 *
 * Who applies a revocation or a change of keys **answers** at once with an entry of its own. The
 * answer tells everybody what this device had applied, which then counts; and from then on it seals
 * with the new generation. The answer itself is sealed with the one before, so that those can read
 * it whom it hands the new one.
 */
import { WormholeError } from '../errors.ts'
import type { Random } from '../system.ts'
import { feedDevice } from '../types.ts'
import type { DeviceId, FeedId } from '../types.ts'
import { REVOKED_HEADS_MAX } from './control.ts'
import type { ControlOp, FeedStore, Member } from './interface.ts'
import { commitmentOf, sealKey, type KeyRing } from './key-ring.ts'
import type { KeyGeneration, Position } from './member-rows.ts'
import { knowsAll } from './member-past.ts'
import type { MemberTable } from './membership.ts'

/** What a device knows when it acts. */
export interface RotationContext {
  readonly members: MemberTable
  readonly device: DeviceId
  readonly ring: KeyRing
  readonly feeds: FeedStore
}

/** The generation that this device seals with: see `sealingGeneration`. */
const FIRST_GENERATION = 0

/**
 * The statements that revoke a device and change the keys for everybody else.
 * @throws {WormholeError} `NOT_PERMITTED`, `NOT_A_MEMBER`, `BAD_ARGUMENT`, `LIMIT_EXCEEDED`.
 */
export function revocationOps(
  context: RotationContext,
  about: { readonly device: DeviceId; readonly random: Random },
): ControlOp[] {
  const { members, feeds } = context
  const { device, random } = about
  if (members.member(context.device)?.role !== 'admin') {
    throw new WormholeError('NOT_PERMITTED', 'only an admin of the volume revokes devices')
  }
  if (device === context.device) {
    throw new WormholeError('BAD_ARGUMENT', 'a device does not revoke itself: use another admin')
  }
  if (!members.isMember(device)) {
    throw new WormholeError('NOT_A_MEMBER', `${device.slice(0, 12)} is no member of the volume`)
  }
  const heads = [...feeds.frontier()]
    .filter(([feed]) => feedDevice(feed) === device)
    .map(([feed, head]) => ({ feed, ...head }))
    .sort((a, b) => b.length - a.length)
    .slice(0, REVOKED_HEADS_MAX)
  return [{ type: 'revoke', device, heads }, ...rotationOps(context, { random, except: device })]
}

/** A new key generation for everybody but one. */
function rotationOps(
  { members, ring }: RotationContext,
  { random, except }: { readonly random: Random; readonly except?: DeviceId },
): ControlOp[] {
  const greatest = Math.max(0, ...members.keyState().generations.map((row) => row.generation))
  const rotated = ring.secrets.rotate(random, greatest)
  const generation = rotated.currentGeneration
  const secrets = rotated.generation(generation) as Buffer
  const ops: ControlOp[] = [{ type: 'rotate', generation, commitment: commitmentOf(secrets) }]
  for (const { device, boxKey } of members.members()) {
    if (device === except) continue
    ops.push({ type: 'key', generation, device, sealed: sealKey(boxKey, secrets, random) })
  }
  return ops
}

/** What this device has to answer; undefined: nothing. */
export function answerOps(context: RotationContext, random: Random): ControlOp[] | undefined {
  const { members, device } = context
  const self = members.member(device)
  if (self === undefined) return undefined
  const isOwed = owesAnswer(context)
  const isRotating = self.role === 'admin' && needsRotation(members)
  if (!isOwed && !isRotating) return undefined
  const handed = isOwed ? handOver(context, random) : []
  const rotation = isRotating ? rotationOps(context, { random }) : []
  return [{ type: 'ack' }, ...handed, ...rotation]
}

/** Whether this device has to answer before it applies anything else. */
export function owesAnswer(context: RotationContext): boolean {
  return unanswered(context).length > 0
}

/**
 * Revocations and changes of keys that no entry written in this home, nor its admission, knows.
 * What a copy of this home has written, or it itself before it was restored, does not tell what
 * this one has applied, and whom it has let in.
 */
function unanswered({ members, device, feeds }: RotationContext): Position[] {
  const self = members.member(device)
  if (self === undefined) return []
  const { revocations, generations } = members.keyState()
  const isOwn = (feed: FeedId, seq: number): boolean => feeds.isWrittenHere(feed, seq)
  return [...revocations, ...generations]
    .map(({ position }) => position)
    .filter(({ hash }) => !self.knows.includes(hash))
    .filter((position) => !members.isAcknowledged(device, position, isOwn))
}

/** Whether every generation may be known to somebody who was revoked. */
function needsRotation(members: MemberTable): boolean {
  const revocations = members.revocations()
  if (revocations.length === 0) return false
  return !members.keyState().generations.some((row) => knowsAll(row, revocations))
}

/**
 * The generations that devices lack which this one let in, because whoever made them did not know
 * of those. Nobody else could: they read this device's entries, and not yet those of others.
 */
function handOver({ members, device, ring }: RotationContext, random: Random): ControlOp[] {
  const ops: ControlOp[] = []
  for (const member of members.members()) {
    if (feedDevice(member.admittedBy.feed) !== device) continue
    for (const row of members.keyState().generations) {
      const secrets = ring.secrets.generation(row.generation)
      if (secrets === undefined || hasKey(row, member)) continue
      const sealed = sealKey(member.boxKey, secrets, random)
      ops.push({ type: 'key', generation: row.generation, device: member.device, sealed })
    }
  }
  return ops
}

/** Whether a member was handed a generation, in the log or when it was let in. */
function hasKey({ holders, position }: KeyGeneration, { device, knows }: Member): boolean {
  return holders.has(device) || knows.includes(position.hash)
}

/**
 * The generation that this device seals with: the newest it holds that no revoked device can open.
 * Where there is none (two admins revoked without knowing of each other), the newest it holds,
 * until an admin makes another. One that this device has not answered yet does not count.
 */
export function sealingGeneration(context: RotationContext): number {
  const { members, ring } = context
  const open = new Set(unanswered(context).map(({ hash }) => hash))
  const revocations = members.revocations()
  const usable = members
    .keyState()
    .generations.filter((row) => ring.holds(row.generation) && !open.has(row.position.hash))
  const safe = usable.filter((row) => knowsAll(row, revocations))
  const rows = safe.length > 0 ? safe : usable
  return Math.max(FIRST_GENERATION, ...rows.map(({ generation }) => generation))
}

/** Whether every member is known to have the generation that a device seals with. */
export function isEverybodyReady(members: MemberTable, generation: number): boolean {
  if (generation === FIRST_GENERATION) return true
  const rows = members.keyState().generations.filter((row) => row.generation === generation)
  return members.members().every(({ device, knows }) =>
    rows.every(({ position }) => {
      return knows.includes(position.hash) || members.isAcknowledged(device, position)
    }),
  )
}
