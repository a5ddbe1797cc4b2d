/**
 * `Beacon` over multicast DNS: DNS-SD (RFC 6763) on the local network (RFC 6762), so that a LAN
 * without internet and without bootstrap nodes is complete.
 *
 * Nothing is said in clear: an instance of `_wormhole._tcp` is named by a keyed hash of the day
 * (known to members, or to holders of an invite) and one of the device. Strangers see that somebody
 * runs Wormhole, and the same machine within one day. It answers questions, and asks when started
 * and on `refresh`; it sends nothing on its own in between.
 */
import os from 'node:os'
import createMdns, { type MulticastDNS, type ResponsePacket } from 'multicast-dns'
import { keyedHash } from '../seal.ts'
import type { Clock } from '../system.ts'
import type { DeviceId } from '../types.ts'
import type { Beacon } from './interface.ts'
import { joinAddress, splitAddress } from './link.ts'

const SERVICE = '_wormhole._tcp.local'
const DAY_MS = 24 * 60 * 60 * 1000
/** How long others may remember an answer. */
const TTL_S = 120
/** Answers are this far apart: multicast reaches everyone who asked meanwhile. */
const QUIET_MS = 300
/** Records of one packet that are looked at. */
const RECORDS_MAX = 128
/** Invites that are announced. */
const INVITES_MAX = 8
/** Interfaces that are used. */
const INTERFACES_MAX = 8

type Answer = NonNullable<ResponsePacket['answers']>[number]

/** Options of `MdnsBeacon`. */
export interface MdnsOptions {
  /**
   * A member knows the volume's keys (32 bytes; the first is announced, the others are recognised
   * and announced too) and the devices; a joiner has the invite's.
   */
  readonly identity:
    | {
        readonly type: 'member'
        readonly keys: readonly Uint8Array[]
        readonly device: DeviceId
        devices(): readonly DeviceId[]
      }
    | { readonly type: 'joiner'; readonly inviteKey: string }
  /** Address of the interface to use; `0.0.0.0` for all but loopback. */
  readonly bind: string
  /** UDP port; 5353 unless tests are to stay among themselves. */
  readonly port?: number
  readonly clock: Clock
}

function inviteSecret(inviteKey: string): Buffer {
  return keyedHash(Buffer.from(inviteKey, 'hex'), 32, Buffer.from('wormhole/1/mdns invite'))
}

/** What everyone with `key` recognises on one day. */
function tagOf(key: Uint8Array, day: number): string {
  return keyedHash(key, 16, Buffer.from(`tag ${day}`)).toString('hex')
}

/** What names a device to those with `key` on one day. */
function suffixOf(key: Uint8Array, day: number, device: DeviceId): string {
  return keyedHash(key, 16, Buffer.from(`device ${day} ${device}`)).toString('hex', 0, 8)
}

/** See the file header. */
export class MdnsBeacon implements Beacon {
  readonly #options: MdnsOptions
  readonly #sockets = new Map<string, MulticastDNS>()
  #told: { addresses: readonly string[]; inviteKeys: readonly string[] } = {
    addresses: [],
    inviteKeys: [],
  }
  #onFound: ((found: { device: DeviceId | undefined; address: string }) => void) | undefined
  #keys: readonly Uint8Array[]
  #answeredMs = -Infinity
  #isAnswerDue = false

  constructor(options: MdnsOptions) {
    this.#options = options
    const { identity } = options
    const isMember = identity.type === 'member'
    this.#keys = isMember ? identity.keys : [inviteSecret(identity.inviteKey)]
  }

  /** Takes effect at once. */
  setKeys(keys: readonly Uint8Array[]): void {
    this.#keys = keys
    this.refresh()
    if (this.#onFound) this.#answerSoon()
  }

  /** Never fails: without multicast nobody is found, and other ways remain. */
  async start(
    onFound: (found: { device: DeviceId | undefined; address: string }) => void,
  ): Promise<void> {
    this.#onFound = onFound
    this.refresh()
  }

  update(told: { addresses: readonly string[]; inviteKeys: readonly string[] }): void {
    const isNew = JSON.stringify(told) !== JSON.stringify(this.#told)
    this.#told = told
    if (isNew && this.#onFound) this.#answerSoon()
  }

  refresh(): void {
    if (!this.#onFound) return
    this.#openSockets()
    for (const socket of this.#sockets.values()) {
      socket.query([{ name: SERVICE, type: 'PTR' }])
    }
  }

  async close(): Promise<void> {
    this.#onFound = undefined
    const sockets = [...this.#sockets.values()]
    this.#sockets.clear()
    await Promise.all(
      sockets.map((socket) => new Promise<void>((resolve) => socket.destroy(resolve))),
    )
  }

  /** One socket per interface, so that it works without a route for multicast. */
  #openSockets(): void {
    const wanted = new Set(interfaceAddresses(this.#options.bind).slice(0, INTERFACES_MAX))
    for (const [address, socket] of this.#sockets) {
      if (wanted.has(address)) continue
      this.#sockets.delete(address)
      socket.destroy()
    }
    for (const address of wanted) {
      if (!this.#sockets.has(address)) this.#sockets.set(address, this.#openSocket(address))
    }
  }

  #openSocket(address: string): MulticastDNS {
    const { port } = this.#options
    // Bound to all addresses: a socket bound to a unicast one gets no multicast on Linux.
    const socket = createMdns({
      interface: address,
      bind: '0.0.0.0',
      ...(port === undefined ? {} : { port }),
    })
    socket.on('query', (query) => {
      const isForUs = query.questions?.some(
        ({ name, type }) => name.toLowerCase() === SERVICE && type === 'PTR',
      )
      if (isForUs) this.#answerSoon()
    })
    socket.on('response', (response, from) => this.#read(response, from.address))
    socket.on('error', () => {
      // No permission or no multicast here: this interface is left out until the next refresh.
      if (this.#sockets.get(address) === socket) this.#sockets.delete(address)
      socket.destroy()
    })
    // Malformed packets of others, and interfaces that went away.
    socket.on('warning', () => {})
    return socket
  }

  #answerSoon(): void {
    if (this.#isAnswerDue) return
    this.#isAnswerDue = true
    const { clock } = this.#options
    const waitMs = Math.max(0, this.#answeredMs + QUIET_MS - clock.monotonicMs())
    clock.setTimer(waitMs, () => {
      this.#isAnswerDue = false
      this.#answer()
    })
  }

  /** What this device says: one instance for the volume, one for each open invite. */
  #answer(): void {
    const { identity, clock } = this.#options
    const first = this.#told.addresses.map(splitAddress).find((parts) => parts !== undefined)
    if (identity.type === 'joiner' || !first) return
    this.#answeredMs = clock.monotonicMs()
    const day = Math.floor(clock.nowMs() / DAY_MS)
    const invites = this.#told.inviteKeys.slice(0, INVITES_MAX)
    const keys = [...this.#keys, ...invites.map((key) => inviteSecret(key))]
    const target = `${suffixOf(keys[0] as Uint8Array, day, identity.device)}.local`
    const answers: Answer[] = []
    for (const key of keys) {
      const instance = `${tagOf(key, day)}-${suffixOf(key, day, identity.device)}.${SERVICE}`
      answers.push(
        { name: SERVICE, type: 'PTR', ttl: TTL_S, data: instance },
        { name: instance, type: 'SRV', ttl: TTL_S, data: { port: first.port, target } },
        { name: instance, type: 'TXT', ttl: TTL_S, data: '' },
      )
    }
    for (const address of this.#told.addresses.slice(0, INTERFACES_MAX)) {
      const host = splitAddress(address)?.host
      if (host) answers.push({ name: target, type: 'A', ttl: TTL_S, data: host })
    }
    for (const socket of this.#sockets.values()) socket.respond(answers)
  }

  /** Takes hostile packets: looks at few records, believes only names that are keyed. */
  #read(response: ResponsePacket, from: string): void {
    const records = [...(response.answers ?? []), ...(response.additionals ?? [])].slice(
      0,
      RECORDS_MAX,
    )
    for (const record of records) {
      if (record.type !== 'SRV' || !record.name.endsWith(`.${SERVICE}`)) continue
      const [tag, suffix] = record.name.slice(0, -SERVICE.length - 1).split('-')
      const known = this.#recognise(tag ?? '', suffix ?? '')
      if (!known) continue
      const hosts = records.flatMap((each) =>
        each.type === 'A' && each.name === record.data.target ? [each.data] : [],
      )
      for (const host of hosts.length > 0 ? hosts : [from]) {
        this.#onFound?.({ device: known.device, address: joinAddress(host, record.data.port) })
      }
    }
  }

  /** Yesterday and tomorrow count too: clocks differ, and midnight passes. */
  #recognise(tag: string, suffix: string): { device: DeviceId | undefined } | undefined {
    const { identity, clock } = this.#options
    const today = Math.floor(clock.nowMs() / DAY_MS)
    for (const key of this.#keys) {
      const day = [today, today - 1, today + 1].find((each) => tagOf(key, each) === tag)
      if (day === undefined) continue
      if (identity.type === 'joiner') return { device: undefined }
      const device = identity.devices().find((each) => suffixOf(key, day, each) === suffix)
      return device === undefined || device === identity.device ? undefined : { device }
    }
    return undefined
  }
}

function interfaceAddresses(bind: string): string[] {
  if (bind !== '0.0.0.0') return [bind]
  const all = Object.values(os.networkInterfaces()).flatMap((list) => list ?? [])
  return all
    .filter((entry) => entry.family === 'IPv4' && !entry.internal)
    .map((entry) => entry.address)
}
