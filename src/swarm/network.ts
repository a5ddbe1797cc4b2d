/** The real network of one volume: which transports and which beacon, from the options. */
import os from 'node:os'
import type { Invite } from '../log/interface.ts'
import { signingKeys, type SigningKeys } from '../seal.ts'
import type { Clock } from '../system.ts'
import type { DeviceId } from '../types.ts'
import type {
  Admission,
  AdmissionRequest,
  Beacon,
  MemberPort,
  NetworkOptions,
  Transport,
} from './interface.ts'
import { findAdmission } from './join.ts'
import { meetingKeys } from './meeting.ts'
import { TlsTransport } from './tls.ts'

/** Hyperswarm and its DHT, and multicast DNS, take a while to load: only where they are used. */
const loadHyperswarm = () => import('./hyperswarm.ts')
const loadMdns = () => import('./mdns.ts')

/** The transports and the beacon of one volume on this device, not started yet. */
export async function createNetwork(options: {
  readonly network: NetworkOptions
  /** The device's key pair: its public key is the device id. */
  readonly keys: SigningKeys
  /** 32-byte topic keys of the generations whose meeting points are used, the newest first. */
  readonly topicKeys: readonly Uint8Array[]
  readonly members: MemberPort
  readonly clock: Clock
}): Promise<{ transports: Transport[]; beacon?: Beacon }> {
  const { network, keys, topicKeys, members, clock } = options
  const { bind, bootstrap, tlsPort, tlsPortLast } = network
  const transports: Transport[] = [
    new TlsTransport({
      keys,
      listen: { host: bind, port: tlsPort, ...(tlsPortLast ? { portLast: tlsPortLast } : {}) },
    }),
  ]
  if (bootstrap !== 'none') {
    const { HyperswarmTransport } = await loadHyperswarm()
    const { topics } = meetingKeys(topicKeys)
    transports.push(new HyperswarmTransport({ keys, topics, bootstrap, host: bind, clock }))
  }
  const identity = {
    type: 'member',
    keys: meetingKeys(topicKeys).beacons,
    device: keys.publicKey.toString('hex') as DeviceId,
    devices: () => members.devices().map(({ device }) => device),
  } as const
  if (!network.isMulticast) return { transports }
  const { MdnsBeacon } = await loadMdns()
  return { transports, beacon: new MdnsBeacon({ identity, bind, clock }) }
}

/**
 * The joiner's side of an admission: looks for any member (addresses in the invite, multicast DNS,
 * the DHT), with the invite's key pair as link identity, and asks to be let in.
 *
 * @throws {WormholeError} `INVITE_EXPIRED`, `INVITE_USED_UP`, `INVITE_INVALID` as a member said;
 *   `INVITE_INVALID` when members refuse the invite's key; `PEER_UNREACHABLE` when none was found
 *   in time; `ABORTED`.
 */
export async function requestAdmission(options: {
  readonly invite: Invite
  /** Already signed with the invite key over `admissionMessage(…)` of the log. */
  readonly request: AdmissionRequest
  readonly network: NetworkOptions
  readonly clock: Clock
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}): Promise<Admission> {
  const { invite, request, network, clock, timeoutMs, signal } = options
  const keys = signingKeys(invite.seed)
  const inviteKey = keys.publicKey.toString('hex')
  const { bind } = network
  const transports: Transport[] = [new TlsTransport({ keys, listen: undefined })]
  if (network.bootstrap !== 'none') {
    const { HyperswarmTransport } = await loadHyperswarm()
    // The joiner's own choice of bootstrap nodes goes before that of the invite's author.
    const isOwn = network.bootstrap !== 'default' || invite.bootstrap.length === 0
    const bootstrap = isOwn ? network.bootstrap : invite.bootstrap
    const lookFor = inviteKey
    transports.push(
      new HyperswarmTransport({ keys, topics: [], lookFor, bootstrap, host: bind, clock }),
    )
  }
  let beacon: Beacon | undefined
  if (network.isMulticast) {
    const { MdnsBeacon } = await loadMdns()
    beacon = new MdnsBeacon({ identity: { type: 'joiner', inviteKey }, bind, clock })
  }
  return findAdmission({
    request,
    transports,
    beacon,
    addresses: invite.addresses,
    clock,
    timeoutMs,
    ...(signal ? { signal } : {}),
  })
}

/** Names and addresses of all interfaces: differs after a network change. */
export function networkFingerprint(): string {
  const all = Object.entries(os.networkInterfaces()).flatMap(([name, list]) =>
    (list ?? []).map((entry) => `${name} ${entry.cidr ?? entry.address}`),
  )
  return all.sort().join('\n')
}
