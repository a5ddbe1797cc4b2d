/** Invites of a volume: made by an admin, or from the recovery code by any member. */
import { WormholeError } from '../errors.ts'
import type { ControlOp } from '../log/interface.ts'
import { encodeInvite } from '../log/invite.ts'
import { decodeRecoveryCode } from '../log/keys.ts'
import { signingKeys } from '../seal.ts'
import type { NetworkOptions } from '../swarm/interface.ts'
import { systemClock, systemRandom } from '../system.ts'
import type { Role, VolumeId } from '../types.ts'
import type { MembersData } from './threads.ts'

const BOOTSTRAP_COUNT_MAX = 4
const ADDRESS_COUNT_MAX = 8

/** What making an invite needs to know of its volume. */
export interface InvitePorts {
  readonly volume: VolumeId
  readonly members: MembersData
  readonly network: NetworkOptions
  /** `host:port` where this device listens. */
  addresses(): readonly string[]
  write(control: ControlOp[]): Promise<void>
}

/** As `VolumeHandle.createInvite`. @throws {WormholeError} `NOT_PERMITTED`. */
export async function createInvite(
  ports: InvitePorts,
  options: { readonly role: Role; readonly days: number; readonly uses: number },
): Promise<{ invite: string }> {
  if (ports.members.role !== 'admin') {
    throw new WormholeError(
      'NOT_PERMITTED',
      'only an admin of the volume makes invites; run this on an admin device',
    )
  }
  const seed = systemRandom.bytes(32)
  await ports.write([
    {
      type: 'invite',
      inviteKey: signingKeys(seed).publicKey,
      role: options.role,
      expiresMs: systemClock.nowMs() + options.days * 24 * 3600 * 1000,
      usesMax: options.uses,
    },
  ])
  return encode(ports, seed)
}

/** As `VolumeHandle.recoveryInvite`. @throws {WormholeError} `BAD_ARGUMENT`. */
export function recoveryInvite(ports: InvitePorts, code: string): { invite: string } {
  const seed = decodeRecoveryCode(code)
  const key = signingKeys(seed).publicKey.toString('hex')
  if (!ports.members.knownInvites.includes(key)) {
    throw new WormholeError('BAD_ARGUMENT', 'this recovery code belongs to another volume')
  }
  return encode(ports, seed)
}

function encode(ports: InvitePorts, seed: Uint8Array): { invite: string } {
  const { bootstrap } = ports.network
  const invite = encodeInvite({
    volume: ports.volume,
    seed,
    bootstrap: typeof bootstrap === 'string' ? [] : bootstrap.slice(0, BOOTSTRAP_COUNT_MAX),
    addresses: ports.addresses().slice(0, ADDRESS_COUNT_MAX),
  })
  return { invite }
}
