/**
 * Swarms of several devices in one process: test ports for log, members and chunks, over the
 * simulated network and clock. The log checks chains and digests as a real one does; nothing is
 * sealed or signed.
 */
import { hasCode, WormholeError } from '../../src/errors.ts'
import type { FeedTip } from '../../src/log/interface.ts'
import type { Farewell } from '../../src/log/turns.ts'
import { hash, signingKeys } from '../../src/seal.ts'
import type {
  AdmissionRequest,
  ChunkPort,
  LogPort,
  MemberPort,
  SwarmLimits,
  SwarmOptions,
  SwarmReport,
} from '../../src/swarm/interface.ts'
import { MemoryNetwork } from '../../src/swarm/memory.ts'
import { Swarm } from '../../src/swarm/swarm.ts'
import {
  branchId,
  feedDevice,
  feedRoot,
  feedId,
  type ChunkAddress,
  type DeviceId,
  type FeedHead,
  type FeedId,
  type Frontier,
  type VolumeId,
} from '../../src/types.ts'
import { SeededRandom, SimClock } from './sim-clock.ts'

/** The volume of all test swarms. */
export const VOLUME = 'ab'.repeat(32) as VolumeId

/** The key pair and id of test device number `index`. */
export function testDevice(index: number): {
  keys: ReturnType<typeof signingKeys>
  device: DeviceId
} {
  const keys = signingKeys(Buffer.alloc(32, index + 1))
  return { keys, device: keys.publicKey.toString('hex') as DeviceId }
}

const START = '00'.repeat(32)

/**
 * A log in memory. A frame is the hash of its predecessor and then any bytes. Branches are kept
 * whole.
 */
export class MemoryLog implements LogPort {
  readonly feeds = new Map<FeedId, Uint8Array[]>()
  readonly #heads = new Map<FeedId, FeedHead>()
  readonly #listeners: ((feed: FeedId, head: FeedHead) => void)[] = []
  readonly #self: FeedId
  readonly #isMember: (device: DeviceId) => boolean
  /** Written and not yet published. */
  pending: Buffer[] = []
  receivedCount = 0
  duplicateCount = 0

  constructor(device: DeviceId, isMember: (device: DeviceId) => boolean) {
    this.#self = feedId(device, 0)
    this.#isMember = isMember
  }

  async frontier(): Promise<Frontier> {
    return new Map(this.#heads)
  }

  async read(feed: FeedId, fromSeq: number, bytesMax: number): Promise<Uint8Array[]> {
    const frames: Uint8Array[] = []
    let bytes = 0
    for (const frame of this.feeds.get(feed)?.slice(fromSeq) ?? []) {
      bytes += frame.length
      if (frames.length > 0 && bytes > bytesMax) break
      frames.push(frame)
    }
    return frames
  }

  async holds(tips: readonly FeedTip[]): Promise<boolean[]> {
    return tips.map(({ feed, length, hash }) =>
      this.#branches(feed).some(({ frames }) => hashOf(frames[length - 1]) === hash),
    )
  }

  async receive(feed: FeedId, frames: readonly Uint8Array[]): Promise<'stored' | 'detached'> {
    if (!this.#isMember(feedDevice(feed))) {
      throw new WormholeError('NOT_A_MEMBER', 'author unknown')
    }
    for (const [index, frame] of frames.entries()) {
      const hash = hashOf(frame)
      const branches = this.#branches(feed)
      if (branches.some((each) => each.frames.some((other) => hashOf(other) === hash))) {
        this.duplicateCount++
        continue
      }
      const previous = Buffer.from(frame.subarray(0, 32)).toString('hex')
      const below = branches.find((each) => each.frames.some((one) => hashOf(one) === previous))
      if (!below && previous !== START) {
        if (index === 0) return 'detached'
        throw new WormholeError('ENTRY_INVALID', 'does not continue')
      }
      const shared = below?.frames ?? []
      const length = shared.findIndex((one) => hashOf(one) === previous) + 1
      const isEnd = below !== undefined && length === shared.length
      const name = isEnd
        ? below.name
        : branches.length === 0
          ? feed
          : branchId(feed, hash as string)
      if (!isEnd) this.feeds.set(name, shared.slice(0, length))
      this.#add(name, Buffer.from(frame))
      this.receivedCount++
    }
    return 'stored'
  }

  #branches(feed: FeedId): { name: FeedId; frames: Uint8Array[] }[] {
    const all = [...this.feeds].map(([name, frames]) => ({ name, frames }))
    return all.filter(({ name }) => feedRoot(name) === feedRoot(feed))
  }

  async publish(): Promise<void> {
    for (const payload of this.pending.splice(0)) this.append(payload)
  }

  onHead(listener: (feed: FeedId, head: FeedHead) => void): void {
    this.#listeners.push(listener)
  }

  /** A new own entry. */
  append(payload: Uint8Array): void {
    const before = this.#heads.get(this.#self)?.hash ?? START
    this.#add(this.#self, Buffer.concat([Buffer.from(before, 'hex'), payload]))
  }

  #add(feed: FeedId, frame: Buffer): void {
    const frames = this.feeds.get(feed) ?? []
    frames.push(frame)
    this.feeds.set(feed, frames)
    const head = { length: frames.length, hash: hash(frame).toString('hex') }
    this.#heads.set(feed, head)
    for (const listener of this.#listeners) listener(feed, head)
  }

  head(feed: FeedId): FeedHead | undefined {
    return this.#heads.get(feed)
  }
}

const hashes = new WeakMap<Uint8Array, string>()

function hashOf(frame: Uint8Array | undefined): string | undefined {
  if (!frame) return undefined
  const known = hashes.get(frame) ?? hash(frame).toString('hex')
  hashes.set(frame, known)
  return known
}

/** Chunks in memory, addressed by their digest. */
export class MemoryChunks implements ChunkPort {
  readonly held = new Map<ChunkAddress, Uint8Array>()
  /** Set by tests that want a peer which sends other bytes than those asked for. */
  isLying = false
  writeCount = 0

  has(address: ChunkAddress): boolean {
    return this.held.has(address)
  }

  async read(address: ChunkAddress): Promise<Uint8Array | undefined> {
    const bytes = this.held.get(address)
    return bytes && this.isLying ? Buffer.alloc(bytes.length, 0x11) : bytes
  }

  async write(address: ChunkAddress, sealed: Uint8Array): Promise<void> {
    if (addressOf(sealed) !== address) {
      throw new WormholeError('CHUNK_CORRUPT', 'digest differs')
    }
    this.writeCount++
    this.held.set(address, sealed)
  }

  add(bytes: Uint8Array): ChunkAddress {
    const address = addressOf(bytes)
    this.held.set(address, bytes)
    return address
  }
}

/** The address of test chunks. */
export function addressOf(bytes: Uint8Array): ChunkAddress {
  return hash(bytes).toString('hex') as ChunkAddress
}

/** Who is in, as a set that all devices of a world share. */
export class MemoryMembers implements MemberPort {
  readonly set = new Set<DeviceId>()
  /** Open invites and how many uses they have left. */
  readonly invites = new Map<string, { usesLeft: number; isExpired: boolean }>()
  /** What revoked devices are shown, and what was shown to somebody. */
  readonly revoked = new Map<DeviceId, Farewell>()
  readonly farewells: Farewell[] = []

  farewell(device: DeviceId): Farewell | undefined {
    return this.revoked.get(device)
  }

  onFarewell({ feed, frame }: Farewell): void {
    this.farewells.push({ feed, frame: Buffer.from(frame) })
  }

  isMember(device: DeviceId): boolean {
    return this.set.has(device)
  }

  devices(): { device: DeviceId; name: string }[] {
    return [...this.set].map((device) => ({ device, name: device.slice(0, 4) }))
  }

  isOpenInvite(inviteKey: string): boolean {
    return this.invites.has(inviteKey)
  }

  openInvites(): string[] {
    return [...this.invites.keys()]
  }

  async admit(request: AdmissionRequest): Promise<Uint8Array> {
    const invite = this.invites.get(request.inviteKey)
    if (!invite) throw new WormholeError('INVITE_INVALID', 'unknown invite')
    if (invite.isExpired) throw new WormholeError('INVITE_EXPIRED', 'too late')
    if (invite.usesLeft === 0) throw new WormholeError('INVITE_USED_UP', 'too often')
    invite.usesLeft--
    this.set.add(request.device)
    return Buffer.concat([Buffer.from('secrets for '), request.boxKey])
  }
}

/** One device of a world. */
export interface WorldDevice {
  readonly device: DeviceId
  readonly log: MemoryLog
  readonly chunks: MemoryChunks
  readonly swarm: Swarm
  readonly reports: SwarmReport[]
}

/** Several devices that know each other, on a simulated network. */
export interface World {
  readonly clock: SimClock
  readonly random: SeededRandom
  readonly network: MemoryNetwork
  readonly members: MemoryMembers
  readonly devices: WorldDevice[]
  close(): Promise<void>
}

/** Makes a world. The devices know each other's addresses; nothing is connected yet. */
export async function createWorld(options: {
  count: number
  seed: number
  delayMs?: number
  bytesPerMs?: number
  limits?: Partial<SwarmLimits>
  /** More options of one of them, by its number. */
  more?: (index: number) => Pick<SwarmOptions, 'onPeer' | 'onAlone'>
}): Promise<World> {
  const clock = new SimClock()
  const random = new SeededRandom(options.seed)
  const network = new MemoryNetwork({
    clock,
    delayMs: options.delayMs ?? 2,
    ...(options.bytesPerMs === undefined ? {} : { bytesPerMs: options.bytesPerMs }),
  })
  const members = new MemoryMembers()
  const ids = Array.from({ length: options.count }, (_, index) => testDevice(index).device)
  for (const device of ids) members.set.add(device)
  const transports = ids.map((device) => network.transport(device, { isListening: true }))
  const addresses = ids.map((device) => ({ device, addresses: [network.addressOf(device)] }))
  const devices = await Promise.all(
    ids.map(async (device, index): Promise<WorldDevice> => {
      const log = new MemoryLog(device, (author) => members.isMember(author))
      const chunks = new MemoryChunks()
      const reports: SwarmReport[] = []
      const transport = transports[index] as (typeof transports)[0]
      const swarm = await Swarm.open({
        volume: VOLUME,
        device,
        log,
        members,
        chunks,
        clock,
        random,
        transports: [transport],
        addresses: addresses.filter((each) => each.device !== device),
        onReport: (report) => reports.push(report),
        ...(options.limits ? { limits: options.limits } : {}),
        ...options.more?.(index),
      })
      return { device, log, chunks, swarm, reports }
    }),
  )
  return {
    clock,
    random,
    network,
    members,
    devices,
    async close() {
      await clock.settle(Promise.all(devices.map(({ swarm }) => swarm.close())), 10_000)
    },
  }
}

/** Whether all these devices hold the same log. */
export function isConverged(devices: readonly WorldDevice[]): boolean {
  const hashesOf = (log: MemoryLog): string =>
    [...log.feeds.keys()]
      .map((feed) => log.head(feed)?.hash)
      .sort()
      .join()
  const [first, ...rest] = devices.map(({ log }) => hashesOf(log))
  return rest.every((hashes) => hashes === first)
}

/** Whether an error is an operating error with this code, for `assert.rejects`. */
export function withCode(code: Parameters<typeof hasCode>[1]): (error: unknown) => boolean {
  return (error) => hasCode(error, code)
}
