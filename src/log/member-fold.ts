/**
 * What the control operations of a valid entry do to the table of members, one function for each.
 * They ask `member-past.ts`, never what the table holds by now.
 */
import { verify } from '../seal.ts'
import { feedDevice, feedGeneration } from '../types.ts'
import type { ActorId, DeviceId, VolumeId } from '../types.ts'
import { isActorOf } from './actors.ts'
import { admissionMessage } from './admission.ts'
import { asBuffer } from './frame.ts'
import type { ControlOp, Entry, HandedKey } from './interface.ts'
import {
  invitesIn,
  isInviteOpen,
  knowing,
  pastOf,
  roleIn,
  turnsIn,
  usersOf,
} from './member-past.ts'
import { bestInvite, mergeSelf, positionOf } from './member-rows.ts'
import type { KeyGeneration, MemberState } from './member-rows.ts'

/** An actor id that its author announced. */
export interface AnnouncedActor {
  readonly actor: ActorId
  readonly device: DeviceId
  readonly deviceName: string
}

/** Collects what one `fold` has to say. */
export interface Notes {
  readonly problems: string[]
  readonly actors: AnnouncedActor[]
  readonly keys: Map<DeviceId, HandedKey[]>
  isChanged: boolean
}

/** What an operation is folded into, and where it stands. */
interface About {
  readonly volume: VolumeId
  readonly state: MemberState
  readonly entry: Entry
  readonly index: number
  readonly notes: Notes
}

type Op<Type> = ControlOp & { readonly type: Type }

/** Folds one operation that says something; returns why it is ignored. */
export function foldOp(about: About, op: Op<Exclude<ControlOp['type'], 'ack' | 'unknown'>>) {
  switch (op.type) {
    case 'genesis':
      return foldGenesis(about, op)
    case 'invite':
      return foldInvite(about, op)
    case 'admit':
      return foldAdmit(about, op)
    case 'actor':
      return foldActor(about, op)
    case 'labels':
      return foldSelf(about, { labels: op.labels })
    case 'revoke':
      return foldRevoke(about, op)
    case 'rotate':
      return foldRotate(about, op)
    case 'key':
      return foldKey(about, op)
  }
}

function foldGenesis(about: About, op: Op<'genesis'>): string | undefined {
  const { volume, state, entry, index } = about
  if (entry.hash !== volume || index !== 0) return 'it is not the genesis entry'
  const position = positionOf(entry)
  state.volumeName = op.name
  state.admissions.push({
    position,
    hlc: entry.hlc,
    device: op.device,
    role: 'admin',
    name: op.deviceName,
    boxKey: op.boxKey,
    inviteKey: '',
  })
  state.invites.push({
    position,
    inviteKey: asBuffer(op.recoveryKey).toString('hex'),
    role: 'admin',
    expiresMs: Infinity,
    usesMax: Infinity,
    isRecovery: true,
  })
  return undefined
}

function foldInvite(about: About, op: Op<'invite'>): string | undefined {
  const { state, entry } = about
  const isKnown = pastOf(entry)
  if (!isByAdmin(about)) return 'only admins invite'
  const inviteKey = asBuffer(op.inviteKey).toString('hex')
  if (invitesIn(state, inviteKey, isKnown).length > 0) {
    return 'the invite key is known already'
  }
  state.invites.push({
    position: positionOf(entry),
    inviteKey,
    role: op.role,
    expiresMs: op.expiresMs,
    usesMax: op.usesMax,
    isRecovery: false,
    ...knowing(turnsIn(state, isKnown)),
  })
  return undefined
}

function foldAdmit(about: About, op: Op<'admit'>): string | undefined {
  const { volume, state, entry, notes } = about
  const isKnown = pastOf(entry)
  const inviteKey = asBuffer(op.inviteKey).toString('hex')
  const invites = invitesIn(state, inviteKey, isKnown)
  if (invites.length === 0) return 'its invite is not in its past'
  if (!verify(op.inviteKey, admissionMessage({ ...op, volume }), op.signature)) {
    return 'the invite key did not sign it'
  }
  const inTime = invites.filter((invite) => entry.hlc <= invite.expiresMs * 1000)
  if (inTime.length === 0) return 'the invite had expired'
  const open = inTime.filter((invite) => isInviteOpen(state, invite, isKnown))
  if (open.length === 0) return 'a revocation had ended the invite'
  const invite = bestInvite(open)
  const before = usersOf(state, inviteKey, isKnown)
  if (!before.has(op.device) && before.size >= invite.usesMax) return 'the invite was used up'
  state.admissions.push({
    position: positionOf(entry),
    hlc: entry.hlc,
    device: op.device,
    role: invite.role,
    name: op.deviceName,
    boxKey: op.boxKey,
    inviteKey,
    ...knowing(turnsIn(state, isKnown)),
  })
  const used = usersOf(state, inviteKey).size
  if (used > invite.usesMax) {
    notes.problems.push(
      `invite ${inviteKey.slice(0, 8)} let in ${used} devices, ${invite.usesMax} were allowed:` +
        ' members that did not know of each other admitted them; all of them stay',
    )
  }
  return undefined
}

function foldRevoke(about: About, op: Op<'revoke'>): string | undefined {
  const { state, entry } = about
  if (!isByAdmin(about)) return 'only admins revoke'
  if (op.device === feedDevice(entry.feed)) return 'a device does not revoke itself'
  if (roleIn(state, op.device, pastOf(entry)) === undefined) return 'it is no member'
  const { device, heads } = op
  state.revocations.push({ position: positionOf(entry), hlc: entry.hlc, device, heads })
  return undefined
}

function foldRotate(about: About, op: Op<'rotate'>): string | undefined {
  const { state, entry } = about
  if (!isByAdmin(about)) return 'only admins change the keys'
  const { generation } = op
  const isKnown = pastOf(entry)
  const isTaken = ({ generation: other, position }: KeyGeneration): boolean =>
    other >= generation && isKnown(position)
  if (generation === 0 || state.generations.some(isTaken)) return 'it is not a new one'
  state.generations.push({
    position: positionOf(entry),
    generation,
    commitment: asBuffer(op.commitment).toString('hex'),
    knows: turnsIn(state, isKnown),
    holders: new Set(),
  })
  return undefined
}

function foldKey(about: About, op: Op<'key'>): string | undefined {
  const { state, entry, notes } = about
  const { generation, device, sealed } = op
  const isKnown = pastOf(entry)
  const rows = state.generations.filter(
    (row) => row.generation === generation && isKnown(row.position),
  )
  if (rows.length === 0) return 'the key generation is not in its past'
  const handed = notes.keys.get(device) ?? []
  notes.keys.set(device, handed)
  for (const { commitment, holders } of rows) {
    holders.add(device)
    handed.push({ generation, commitment, sealed })
  }
  return undefined
}

/** Whether the author of the entry is an admin in its past. */
function isByAdmin({ state, entry }: About): boolean {
  return roleIn(state, feedDevice(entry.feed), pastOf(entry)) === 'admin'
}

function foldActor(about: About, op: Op<'actor'>): string | undefined {
  const { state, entry, notes } = about
  const device = feedDevice(entry.feed)
  if (!isActorOf(op.actor, entry.feed)) return 'the actor is of another feed'
  const position = positionOf(entry)
  state.claims.push({ actor: op.actor, position })
  foldSelf(about, { name: op.deviceName })
  notes.actors.push({ actor: op.actor, device, deviceName: op.deviceName })
  return undefined
}

function foldSelf({ state, entry }: About, change: Parameters<typeof mergeSelf>[2]): undefined {
  const device = feedDevice(entry.feed)
  const at = { ...positionOf(entry), generation: feedGeneration(entry.feed) }
  const { selves } = state
  selves.set(device, mergeSelf(selves.get(device), at, change))
}
