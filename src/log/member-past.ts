/**
 * What lies in the past of an entry: who was in, by which invites, who was revoked. Every verdict
 * is made of these answers, and they follow from the entry's frontier alone.
 *
 * An entry that revokes or that changes the keys is a **turn**. Admissions, invites and key
 * generations remember which turns they knew, because that decides whether they still stand later.
 */
import type { DeviceId, Role } from '../types.ts'
import { frontierHas } from './frontier.ts'
import type { Entry } from './interface.ts'
import { bestInvite, isBetterAdmission } from './member-rows.ts'
import type {
  Admission,
  InviteRow,
  MemberState,
  OpenInvite,
  Position,
  Revocation,
} from './member-rows.ts'

/** Whether something is to be looked at. */
type IsKnown = (position: Position) => boolean

const ALWAYS: IsKnown = () => true

/** What an entry knows: its past, and what was already folded of itself. */
export function pastOf(entry: Entry): IsKnown {
  return (position) => {
    if (position.feed === entry.feed) return position.seq <= entry.seq
    return frontierHas(entry.frontier, position.feed, position.seq)
  }
}

/** Hashes of the turns in a past. */
export function turnsIn(state: MemberState, isKnown: IsKnown): string[] {
  const hashes = new Set<string>()
  for (const { position } of state.revocations) if (isKnown(position)) hashes.add(position.hash)
  for (const { position } of state.generations) if (isKnown(position)) hashes.add(position.hash)
  return [...hashes].sort()
}

/** As a field of a row, left out when there are none. */
export function knowing(turns: readonly string[]): { readonly knows?: readonly string[] } {
  return turns.length === 0 ? {} : { knows: turns }
}

/** Revocations of a device in a past. */
export function revocationsOf(
  state: MemberState,
  device: DeviceId,
  isKnown: IsKnown = ALWAYS,
): Revocation[] {
  return state.revocations.filter((row) => row.device === device && isKnown(row.position))
}

/** Whether a row knows all of these turns. */
export function knowsAll(
  row: { readonly knows?: readonly string[] },
  turns: readonly { readonly position: Position }[],
): boolean {
  return turns.every(({ position }) => row.knows?.includes(position.hash) ?? false)
}

/**
 * The best admission of a device that no revocation of it has ended. One that did not know a
 * revocation is ended by it, whichever came first: who is let in again is let in knowing it.
 */
export function standingAdmission(
  state: MemberState,
  device: DeviceId,
  isKnown: IsKnown = ALWAYS,
): Admission | undefined {
  const against = revocationsOf(state, device, isKnown)
  let best: Admission | undefined
  for (const admission of state.admissions) {
    if (admission.device !== device || !isKnown(admission.position)) continue
    if (!knowsAll(admission, against)) continue
    if (best === undefined || isBetterAdmission(admission, best)) best = admission
  }
  return best
}

/** The role of a device in a past; undefined when it is no member there. */
export function roleIn(state: MemberState, device: DeviceId, isKnown: IsKnown): Role | undefined {
  return standingAdmission(state, device, isKnown)?.role
}

/** The invites of one key in a past. */
export function invitesIn(
  state: MemberState,
  inviteKey: string,
  isKnown: IsKnown = ALWAYS,
): InviteRow[] {
  return state.invites.filter((row) => row.inviteKey === inviteKey && isKnown(row.position))
}

/**
 * Whether no revocation has ended an invite: every device knows the invites of its time, so one
 * that is revoked could come back with any of them. The recovery key is for such times.
 */
export function isInviteOpen(
  state: MemberState,
  invite: InviteRow,
  isKnown: IsKnown = ALWAYS,
): boolean {
  const revocations = state.revocations.filter(({ position }) => isKnown(position))
  return invite.isRecovery || knowsAll(invite, revocations)
}

/** Devices that an invite let in. */
export function usersOf(
  state: MemberState,
  inviteKey: string,
  isKnown: IsKnown = ALWAYS,
): Set<DeviceId> {
  const devices = new Set<DeviceId>()
  for (const admission of state.admissions) {
    if (admission.inviteKey === inviteKey && isKnown(admission.position)) {
      devices.add(admission.device)
    }
  }
  return devices
}

/** How many more devices an invite may let in, as far as is known here; 0 if unknown. */
export function usesLeftOf(state: MemberState, inviteKey: string): number {
  const invites = invitesIn(state, inviteKey)
  if (invites.length === 0) return 0
  return Math.max(0, bestInvite(invites).usesMax - usersOf(state, inviteKey).size)
}

/** Invites that may admit somebody at this time, the recovery key among them. */
export function openInvitesOf(state: MemberState, nowMs: number): OpenInvite[] {
  const open: OpenInvite[] = []
  for (const inviteKey of new Set(state.invites.map((invite) => invite.inviteKey))) {
    const inTime = invitesIn(state, inviteKey).filter(
      (invite) => nowMs <= invite.expiresMs && isInviteOpen(state, invite),
    )
    const usesLeft = usesLeftOf(state, inviteKey)
    if (inTime.length === 0 || usesLeft <= 0) continue
    const { role, expiresMs, isRecovery } = bestInvite(inTime)
    open.push({ inviteKey, role, expiresMs, usesLeft, isRecovery })
  }
  return open
}
