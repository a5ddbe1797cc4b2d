/**
 * Admins that revoke devices in the middle of everything, and what must hold afterwards: what the
 * admin had applied counts, nothing counts that was written when everybody knew, and nobody who is
 * out reads what is written in the end.
 */
import { hasCode } from '../../src/errors.ts'
import { openEntry } from '../../src/log/entry.ts'
import { EMPTY_FRONTIER } from '../../src/log/frontier.ts'
import { VolumeSecrets } from '../../src/log/keys.ts'
import {
  feedDevice,
  feedRoot,
  type ChunkAddress,
  type DeviceId,
  type FeedHead,
  type FeedId,
  type Frontier,
} from '../../src/types.ts'
import type { SimDevice } from './device.ts'
import { check } from './failure.ts'
import type { Simulation } from './simulation.ts'

/** Members that are left at least. */
const MEMBERS_MIN = 2

/** One device that was revoked. */
interface Revoked {
  readonly device: SimDevice
  /** What of its feeds the admin had applied. */
  readonly counted: Frontier
  /** What of its feeds there was when everybody that is left had applied the revocation. */
  known: ReadonlyMap<FeedId, number> | undefined
}

/** What was revoked in a run. */
export class Revocations {
  readonly #simulation: Simulation
  readonly #revoked: Revoked[] = []
  /** Chunks that rotted on a device, and that others had. */
  readonly rotten: { readonly device: SimDevice; readonly address: ChunkAddress }[] = []
  /** Some device went back to what it was before: it may have forgotten what it knew. */
  #hasForgotten = false

  constructor(simulation: Simulation) {
    this.#simulation = simulation
  }

  /** Devices in the volume, as the founder knows, who is never revoked. */
  members(): SimDevice[] {
    const { devices } = this.#simulation
    const [founder] = devices as [SimDevice]
    if (this.#revoked.length === 0 || !founder.isAlive) return devices
    const { members } = founder.daemon.volume
    return devices.filter((device) => {
      const member = members.member(device.id)
      if (member === undefined || this.#isCutOff(device)) return false
      return !this.#isStranded(device, feedDevice(member.admittedBy.feed))
    })
  }

  /**
   * Whether a device lacks a key that only who let it in could have handed over, which is out: it
   * has to be invited again (log README, "Key generations").
   */
  #isStranded(device: SimDevice, admittedBy: DeviceId): boolean {
    const [founder] = this.#simulation.devices as [SimDevice]
    const { members } = founder.daemon.volume
    if (!device.isAlive || !members.isRevoked(admittedBy)) return false
    return members.keyState().generations.some((row) => !device.daemon.keys.holds(row.generation))
  }

  /**
   * Whether a device builds on a snapshot of entries that are with somebody who is out, and with
   * nobody else: it has to be set up anew (snapshot README, "Trust").
   */
  #isCutOff(device: SimDevice): boolean {
    const [founder, ...others] = this.#simulation.devices as [SimDevice, ...SimDevice[]]
    const { members } = founder.daemon.volume
    if (!device.isAlive) return false
    const left = [founder, ...others].filter((other) => {
      return other !== device && other.isAlive && members.isMember(other.id)
    })
    const { feeds } = device.daemon
    return [...feeds.frontier().keys()].some((feed) => {
      if (!members.isRevoked(feedDevice(feed))) return false
      return feeds.gaps(feed).some(({ to, previousHash }) => {
        const below = { feed: feedRoot(feed), length: to, hash: previousHash }
        return left.every((other) => other.daemon.feeds.locate(below) === undefined)
      })
    })
  }

  /** All machines with the key of a device. */
  #machines({ id }: SimDevice): SimDevice[] {
    return this.#simulation.devices.filter((device) => device.id === id)
  }

  /** An admin revokes somebody, if there are enough. */
  async act(): Promise<void> {
    const { random, alive, devices, trace } = this.#simulation
    const admins = alive.filter((device) => device.daemon.volume.role() === 'admin')
    const admin = admins[random.below(Math.max(1, admins.length))]
    const [founder] = devices as [SimDevice]
    const targets = devices.filter((device) => {
      return device.id !== founder.id && device.id !== admin?.id && !device.wasRevoked
    })
    const target = targets[random.below(Math.max(1, targets.length))]
    const left = new Set(devices.filter(({ wasRevoked }) => !wasRevoked).map(({ id }) => id))
    if (!admin || !target || left.size <= MEMBERS_MIN) return
    const { volume } = admin.daemon
    if (!volume.members.isMember(target.id) || this.#isBridge(target)) return
    if (this.#isLastHolder(target) || this.#isLastKnown(target)) return
    trace.add(`${admin.name} revokes ${target.name}`)
    const applied = volume.appliedFrontier()
    const counted = new Map([...applied].filter(([feed]) => feedDevice(feed) === target.id))
    // It may be in the log although the admin dies before it can say so.
    for (const machine of this.#machines(target)) machine.wasRevoked = true
    this.#revoked.push({ device: target, counted, known: undefined })
    try {
      const writing = volume.write(() => volume.turns.revocation(volume.members, target.id))
      await admin.settle(writing, 'a revocation')
    } catch (error) {
      const isTrouble = ['IO_ERROR', 'DISK_FULL', 'WRITER_BROKEN', 'REVOKED', 'FEED_CORRUPT']
      if (!isTrouble.some((code) => hasCode(error, code as never))) throw error
      if (admin.isAlive) admin.hasTrouble = true
      trace.add(`${admin.name} fails: ${String(error)}`)
    }
    this.#simulation.count('revoke')
  }

  /**
   * Whether only a device can tell the founder of another one, which it let in: without it that one
   * is a stranger, and has to be invited again.
   */
  #isBridge({ id }: SimDevice): boolean {
    const [founder, ...others] = this.#simulation.devices as [SimDevice, ...SimDevice[]]
    const isKnown = (device: SimDevice): boolean =>
      founder.isAlive && founder.daemon.volume.members.isMember(device.id)
    return others.some((other) => other.home.admittedBy === id && !isKnown(other))
  }

  /**
   * Whether one of several copies may know nobody but a device: without it, it speaks with nobody
   * (log README, "Revocation").
   */
  #isLastKnown({ id }: SimDevice): boolean {
    const { devices } = this.#simulation
    const left = devices.filter((device) => device.id !== id && !device.wasRevoked)
    return left.some((copy) => {
      if (!this.#simulation.isOneOfMany(copy)) return false
      const others = left.filter((other) => other.id !== copy.id)
      const isKnown = (other: SimDevice): boolean => copy.daemon.volume.members.isMember(other.id)
      return !copy.isAlive || !others.some(isKnown)
    })
  }

  /** Whether only a device may have a chunk that rotted elsewhere: it would go with it. */
  #isLastHolder({ id }: SimDevice): boolean {
    const left = this.#simulation.alive.filter((other) => other.id !== id && !other.wasRevoked)
    return this.rotten.some(({ device, address }) => {
      return !left.some((other) => other !== device && other.daemon.store.has(address))
    })
  }

  /** To be called often: notices when everybody that is left knows. */
  watch(): void {
    for (const revoked of this.#revoked) {
      const machines = this.#machines(revoked.device)
      if (revoked.known || !machines.every(({ isAlive }) => isAlive)) continue
      const left = this.#simulation.devices.filter((device) => !device.wasRevoked)
      const knows = (device: SimDevice): boolean =>
        device.isAlive && device.daemon.volume.members.isRevoked(revoked.device.id)
      if (!left.every(knows)) continue
      const stored = machines.flatMap(({ daemon }) => [...daemon.volume.frontier()])
      revoked.known = lengthsOf(stored, revoked.device)
      this.#simulation.trace.add(`everybody knows that ${revoked.device.name} is out`)
    }
  }

  /** A device lost what it knew. */
  forget(): void {
    this.#hasForgotten = true
  }

  /** Nothing that a revoked device did is owed; what it did is right or wrong all the same. */
  disown(): void {
    const members = this.members()
    for (const machine of this.#revoked.flatMap(({ device }) => this.#machines(device))) {
      if (!members.includes(machine)) this.#simulation.user(machine).disown()
    }
  }

  /** At the end, with everything settled. */
  checkCounted(): void {
    const [founder] = this.#simulation.devices as [SimDevice]
    const { volume, feeds } = founder.daemon
    const applied = volume.appliedFrontier()
    for (const { device, counted, known } of this.#revoked) {
      if (!volume.members.isRevoked(device.id)) continue
      for (const [feed, head] of counted) {
        const name = feeds.locate({ feed: feedRoot(feed), ...head })
        const length = name === undefined ? 0 : (applied.get(name)?.length ?? 0)
        check(length >= head.length || this.#hasForgotten, 'revocation', () => {
          return `the admin had applied ${head.length} entries of ${device.name}, ${length} count`
        })
      }
      if (known === undefined || this.#hasForgotten) continue
      for (const [feed, length] of lengthsOf(applied, device)) {
        check(length <= (known.get(feed) ?? 0), 'revocation', () => {
          return `${length} entries of ${device.name} count, of which some were written in vain`
        })
      }
    }
  }

  /** What members wrote since the founder stored `before` is shut for everybody who is out. */
  checkSecrecy(before: Frontier): void {
    const [founder] = this.#simulation.devices as [SimDevice]
    const { volume, feeds } = founder.daemon
    const members = new Set(this.members().map(({ id }) => id))
    for (const device of this.#revoked.flatMap(({ device }) => this.#machines(device))) {
      if (!volume.members.isRevoked(device.id)) continue
      const keys = VolumeSecrets.decode(device.home.secrets).logKeys()
      for (const feed of feeds.frontier().keys()) {
        if (!members.has(feedDevice(feed))) continue
        const at = before.get(feed)?.length ?? feeds.origin(feed)?.length ?? 0
        for (const frame of feeds.read(feed, at, 1 << 30)) {
          const isOpen = opens({ ...frame, feed: feedRoot(feed) }, volume.id, keys)
          check(!isOpen, 'revocation', () => {
            return `${device.name} opens entry ${frame.seq} of ${feed.slice(0, 8)}`
          })
        }
      }
    }
  }
}

function opens(
  frame: Parameters<typeof openEntry>[0],
  volume: Parameters<typeof openEntry>[1]['volume'],
  keys: Parameters<typeof openEntry>[1]['keys'],
): boolean {
  try {
    openEntry(frame, { volume, keys, previousFrontier: EMPTY_FRONTIER })
    return true
  } catch (error) {
    if (hasCode(error, 'KEY_MISSING')) return false
    if (hasCode(error, 'ENTRY_INVALID')) return false
    throw error
  }
}

/** The longest branch of each feed of a device. */
function lengthsOf(
  frontier: Iterable<readonly [FeedId, FeedHead]>,
  { id }: SimDevice,
): Map<FeedId, number> {
  const lengths = new Map<FeedId, number>()
  for (const [feed, { length }] of frontier) {
    if (feedDevice(feed) !== id) continue
    lengths.set(feedRoot(feed), Math.max(lengths.get(feedRoot(feed)) ?? 0, length))
  }
  return lengths
}
