import type { SigningKeys } from '../seal.ts'
import type { Clock, Random } from '../system.ts'
import type { Invite } from '../log/interface.ts'
import type {
  Admission,
  AdmissionRequest,
  Beacon,
  MemberPort,
  NetworkOptions,
  Transport,
} from './interface.ts'

/** The transports and the beacon of one volume on this device, not started yet. */
export function createNetwork(_options: {
  readonly network: NetworkOptions
  /** The device's key pair: its public key is the device id. */
  readonly keys: SigningKeys
  /** The volume's 32-byte topic key of the current generation. */
  readonly topicKey: Uint8Array
  readonly members: MemberPort
  readonly clock: Clock
  readonly random: Random
}): { transports: Transport[]; beacon: Beacon | undefined } {
  return { transports: [], beacon: undefined }
}

/**
 * The joiner's side of an admission: looks for any member (addresses in the invite, multicast DNS,
 * the DHT), with the invite's key pair as link identity, and asks to be let in.
 *
 * @throws {WormholeError} `INVITE_EXPIRED`, `INVITE_USED_UP`, `INVITE_INVALID` as a member said,
 *   `PEER_UNREACHABLE` when none was found in time, `ABORTED`.
 */
export function requestAdmission(_options: {
  readonly invite: Invite
  /** Already signed with the invite key over `admissionMessage(…)` of the log. */
  readonly request: AdmissionRequest
  readonly network: NetworkOptions
  readonly clock: Clock
  readonly random: Random
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}): Promise<Admission> {
  return Promise.reject(new Error('not built'))
}
