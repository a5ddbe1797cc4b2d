/** Who is in a volume, as its swarm and the command line ask for it. Lives on the main thread. */
import { errorToData, WormholeError } from '../errors.ts'
import type { Rpc } from '../rpc.ts'
import type { KnownAddresses, MemberPort } from '../swarm/interface.ts'
import { systemClock } from '../system.ts'
import type { DeviceId } from '../types.ts'
import type { CrdtApi } from './crdt-thread.ts'
import type { RevokeReport } from './interface.ts'
import type { Logger } from './logging.ts'
import type { MembersData } from './threads.ts'

/** Before the log was read. */
export const NO_MEMBERS: MembersData = {
  volumeName: '',
  role: undefined,
  labels: {},
  isBehind: false,
  members: [],
  invites: [],
  knownInvites: [],
  meeting: [],
  revoked: [],
  revokedBy: undefined,
}

/** What is known of the members of a volume now. */
export interface Membership {
  readonly members: MembersData
  /** Where devices were found: all that a joiner has before its log. */
  readonly addresses: readonly KnownAddresses[]
  /** Revoked, and let in again: a joiner once more. */
  readonly isReadmitted: boolean
  readonly crdt: Rpc<CrdtApi>
}

/** A device that this one speaks with. */
interface KnownDevice {
  readonly device: DeviceId
  readonly name: string
}

/**
 * Members as the log says. A joiner that has no log yet takes the device that let it in, and those
 * it was told of, at their word until the log arrives; and so does a device that has lost a part of
 * its own log together with what followed from it: others have that. Except who is known to be out.
 */
export function knownDevices(about: {
  readonly members: readonly KnownDevice[]
  readonly isComplete: boolean
  readonly addresses: readonly KnownAddresses[]
  readonly isRevoked: (device: DeviceId) => boolean
}): KnownDevice[] {
  const { isComplete, addresses, isRevoked } = about
  const members = about.members.map(({ device, name }) => ({ device, name }))
  if (isComplete) return members
  const isMember = new Set(members.map(({ device }) => device))
  const others = addresses.filter(({ device }) => !isMember.has(device) && !isRevoked(device))
  return [...members, ...others.map(({ device }) => ({ device, name: device.slice(0, 8) }))]
}

/** As above. A device that was revoked has no peers. */
function knownNow({ members, addresses, isReadmitted }: Membership): KnownDevice[] {
  if (members.revokedBy && !isReadmitted) return []
  return knownDevices({
    members: members.role === undefined ? [] : members.members,
    isComplete: members.role !== undefined && !members.isBehind,
    addresses,
    isRevoked: (device) => !isReadmitted && members.revoked.some((row) => row.device === device),
  })
}

/** The port of the swarm; `now` gives what is known at the moment. */
export function createMemberPort(now: () => Membership, logger: Logger): MemberPort {
  return {
    isMember: (device) => knownNow(now()).some((known) => known.device === device),
    devices: () => knownNow(now()),
    // One that has expired or is used up is let in to be told so.
    isOpenInvite: (inviteKey) => now().members.knownInvites.includes(inviteKey),
    openInvites: () => {
      const nowMs = systemClock.nowMs()
      return now()
        .members.invites.filter(
          (invite) => !invite.isRecovery && invite.expiresMs > nowMs && invite.usesLeft > 0,
        )
        .map((invite) => invite.inviteKey)
    },
    admit: (request) => now().crdt.call('admit', request),
    farewell: (device) => now().members.revoked.find((row) => row.device === device)?.farewell,
    onFarewell: ({ feed, frame }) => {
      // From a member that has not heard of the admission yet.
      if (now().isReadmitted) return
      // A peer that lies, or one that revoked this device before it was let in again.
      now()
        .crdt.call('takeFarewell', { feed, frame: Buffer.from(frame) })
        .catch((error: unknown) => {
          logger.info({ error: errorToData(error) }, 'a farewell that proves nothing')
        })
    },
  }
}

/** As `VolumeHandle.revoke`. */
export async function revoke(
  now: () => Membership,
  volume: string,
  device: DeviceId,
): Promise<RevokeReport> {
  const found = now().members.members.find((member) => member.device === device)
  if (!found) {
    throw new WormholeError('NOT_A_MEMBER', `${device.slice(0, 12)} is no member of the volume`)
  }
  const { left } = await now().crdt.call('revoke', device)
  const admins = left.filter(({ role }) => role === 'admin').length
  return { volume, device: { id: device, name: found.name }, members: left.length, admins }
}

/** For `status`: this device was revoked. */
export function revokedProblem({ revokedBy }: MembersData): { code: string; message: string }[] {
  if (!revokedBy) return []
  const { name, at } = revokedBy
  const message =
    `${name} revoked this device at ${at}: what was here by then can be read, nothing can be ` +
    'changed or fetched any more'
  return [{ code: 'REVOKED', message }]
}
