/**
 * Where devices may be reached: learnt from their hellos, from other members, from multicast and
 * from the last run. Bounded; an address that worked outlives those that only were told.
 */
import type { DeviceId } from '../types.ts'
import type { KnownAddresses, Link } from './interface.ts'
import { joinAddress, splitAddress } from './link.ts'
import { KNOWN_ADDRESSES_MAX, KNOWN_DEVICES_MAX, isDialAddress } from './wire.ts'

/** Addresses of the devices of one volume. */
export class AddressBook {
  /** Best first. */
  readonly #known = new Map<DeviceId, string[]>()
  /**
   * What members told of devices that are none here: their admissions may still be on the way, and
   * it is not told twice. In memory only, told to nobody, not dialled.
   */
  readonly #strangers = new Map<DeviceId, readonly string[]>()
  readonly #onChange: () => void

  constructor(initial: readonly KnownAddresses[], onChange: () => void) {
    this.#onChange = onChange
    for (const { device, addresses } of initial) {
      this.#known.set(device, addresses.slice(0, KNOWN_ADDRESSES_MAX))
    }
  }

  /** Takes note of addresses that were told. New ones go behind those known, the oldest go. */
  learn(device: DeviceId, addresses: readonly string[]): void {
    const known = this.#known.get(device) ?? []
    const added = addresses.filter((each) => isDialAddress(each) && !known.includes(each))
    if (added.length === 0) return
    if (!this.#known.has(device) && this.#known.size >= KNOWN_DEVICES_MAX) return
    const kept = known.slice(0, Math.max(1, KNOWN_ADDRESSES_MAX - added.length))
    this.#known.set(device, [...kept, ...added].slice(0, KNOWN_ADDRESSES_MAX))
    this.#onChange()
  }

  /** Takes note of what a member told; that of a device which is none here waits until it is. */
  hear({ device, addresses }: KnownAddresses, isMember: boolean): void {
    if (isMember) this.learn(device, addresses)
    else this.#lay(device, addresses)
  }

  #lay(device: DeviceId, addresses: readonly string[]): void {
    this.#strangers.delete(device)
    this.#strangers.set(device, addresses.slice(0, KNOWN_ADDRESSES_MAX))
    for (const oldest of this.#strangers.keys()) {
      if (this.#strangers.size <= KNOWN_DEVICES_MAX) break
      this.#strangers.delete(oldest)
    }
  }

  /** An address has just worked: it is tried first, and kept longest. */
  worked(device: DeviceId, address: string): void {
    const known = this.#known.get(device) ?? []
    if (known[0] === address) return
    const others = known.filter((each) => each !== address)
    this.#known.set(device, [address, ...others].slice(0, KNOWN_ADDRESSES_MAX))
    this.#onChange()
  }

  /** From a hello: what was dialled works; who dialled us listens where it comes from, too. */
  learnFromLink(link: Link, told: readonly string[]): void {
    const device = link.remoteKey as DeviceId
    this.learn(device, told)
    if (link.route !== 'tls') return
    if (link.isInitiator) {
      this.worked(device, link.remoteAddress)
      return
    }
    const [host, listening] = [splitAddress(link.remoteAddress), splitAddress(told[0] ?? '')]
    if (host && listening) this.learn(device, [joinAddress(host.host, listening.port)])
  }

  /** Addresses of a device, best first. */
  of(device: DeviceId): readonly string[] {
    return this.#known.get(device) ?? []
  }

  /** Members are others now: nobody else is dialled or told of. */
  keepOnly(isMember: (device: DeviceId) => boolean): void {
    for (const [device, addresses] of this.#known) {
      if (isMember(device)) continue
      this.#known.delete(device)
      // Whom a joiner was told of when it was let in is a member once the log says so.
      this.#lay(device, addresses)
    }
    for (const [device, addresses] of this.#strangers) {
      if (!isMember(device)) continue
      this.#strangers.delete(device)
      this.learn(device, addresses)
    }
  }

  /** Everything, to be persisted or told. */
  all(): KnownAddresses[] {
    return [...this.#known].map(([device, addresses]) => ({ device, addresses: [...addresses] }))
  }
}
