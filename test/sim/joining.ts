/** How a simulated device becomes a member: an invite in the log, and the real way of asking. */
import { hasCode } from '../../src/errors.ts'
import { admissionMessage } from '../../src/log/membership.ts'
import { sign, signingKeys, unsealFromBox, type SigningKeys } from '../../src/seal.ts'
import { findAdmission } from '../../src/swarm/join.ts'
import type { MemoryNetwork } from '../../src/swarm/memory.ts'
import type { Role, VolumeId } from '../../src/types.ts'
import type { SeededRandom, SimClock } from '../helpers/sim-clock.ts'
import type { HomeFiles } from './daemon.ts'
import { identityOf, type SimDevice } from './device.ts'
import { Failure } from './failure.ts'

/** A year: the clocks of a run jump. */
const VALID_MS = 365 * 24 * 3600 * 1000
/** How long a joiner looks for a member, in simulated time. */
const SEARCH_MS = 12_000

/** An invite that was written into the log. */
export interface Invited {
  readonly keys: SigningKeys
  readonly role: Role
}

/** Has an admin write an invite. */
export async function createInviteFor(
  admin: SimDevice,
  about: { readonly role: Role; readonly name: string; readonly random: SeededRandom },
): Promise<Invited> {
  const { role, random } = about
  const keys = signingKeys(random.bytes(32))
  const expiresMs = admin.clock.nowMs() + VALID_MS
  const invite = { type: 'invite', inviteKey: keys.publicKey, role, expiresMs, usesMax: 1 } as const
  await admin.settle(admin.daemon.volume.write([invite]), 'writing an invite')
  return { keys, role }
}

/**
 * Asks members for admission. Undefined when none could be reached, or none knows the invite;
 * `ended` when a revocation has ended it.
 */
export async function joinWith(
  { keys }: Invited,
  context: {
    readonly clock: SimClock
    readonly network: MemoryNetwork
    readonly seed: number
    readonly volume: VolumeId
    readonly name: string
    readonly addresses: readonly string[]
  },
): Promise<HomeFiles | 'ended' | undefined> {
  const { clock, network, volume, name, addresses } = context
  const identity = identityOf(context.seed, name)
  const inviteKey = keys.publicKey.toString('hex')
  const { device, box } = identity
  const about = { volume, device, deviceName: name, boxKey: box.publicKey }
  const signature = sign(keys.secretKey, admissionMessage({ ...about, inviteKey: keys.publicKey }))
  const asking = findAdmission({
    request: { ...about, inviteKey, signature },
    transports: [network.transport(inviteKey, { isListening: false })],
    beacon: undefined,
    addresses,
    clock,
    timeoutMs: SEARCH_MS,
  })
  try {
    const admission = await clock.settle(asking, 4 * SEARCH_MS)
    const secrets = unsealFromBox(box, admission.sealedSecrets)
    return { volume, secrets, admittedBy: admission.member, addresses: admission.addresses }
  } catch (error) {
    if (hasCode(error, 'INVITE_EXPIRED')) return 'ended'
    const codes = [
      'PEER_UNREACHABLE',
      'INVITE_INVALID',
      'DISK_FULL',
      'IO_ERROR',
      'REVOKED',
    ] as const
    if (codes.some((code) => hasCode(error, code))) return undefined
    throw new Failure('answer', `${name} is not let in`, { cause: error })
  }
}
