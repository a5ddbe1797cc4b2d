/**
 * One device of a volume in this thread, without sockets or threads: real log, real tree, real
 * overlay, on memory ports. Entries travel when the test says so (`deliver`).
 */
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import { Overlay } from '../../src/crdt/overlay.ts'
import { TreeWriter } from '../../src/crdt/writer.ts'
import type { Edit, TreeDelta } from '../../src/crdt/interface.ts'
import { MemoryDisk } from '../../src/disk-memory.ts'
import { createActor } from '../../src/log/actors.ts'
import { sealEntry } from '../../src/log/entry.ts'
import { DiskFeedStore } from '../../src/log/feeds.ts'
import { EMPTY_FRONTIER } from '../../src/log/frontier.ts'
import { KeyRing } from '../../src/log/key-ring.ts'
import { identityFromSeed, VolumeSecrets, type Identity } from '../../src/log/keys.ts'
import type { EntryFrame } from '../../src/log/interface.ts'
import { admissionMessage } from '../../src/log/membership.ts'
import { strategyOf } from '../../src/daemon/strategy.ts'
import { hasCode } from '../../src/errors.ts'
import { describeFeedDamage } from '../../src/log/salvage.ts'
import { hash, sign, signingKeys } from '../../src/seal.ts'
import { HybridClock, type Clock, type Random } from '../../src/system.ts'
import { feedId, feedRoot } from '../../src/types.ts'
import type { ActorId, DeviceId, FeedId, Role, VolumeId } from '../../src/types.ts'
import { Volume } from '../../src/volume.ts'

/** A reproducible source of bytes: BLAKE2b of seed and counter. */
export function seededRandom(seed: string): Random {
  let counter = 0
  return {
    bytes: (count) => {
      const parts: Buffer[] = []
      for (let got = 0; got < count; got += 32) {
        parts.push(hash(Buffer.from(`${seed}/${counter++}`)))
      }
      return new Uint8Array(Buffer.concat(parts).subarray(0, count))
    },
  }
}

/** A process that was copied while it ran goes on as the actor that it was. */
export function asActor(actor: ActorId, random: Random): Random {
  const rest = Buffer.from(actor, 'hex').subarray(10)
  return { bytes: (count) => (count === rest.length ? rest : random.bytes(count)) }
}

/** A clock that the test sets; timers fire at once in a later turn. */
export class TestClock implements Clock {
  ms = Date.UTC(2026, 10, 20, 14, 3, 22)
  nowMs = (): number => this.ms
  nowNs = (): bigint => BigInt(this.ms) * 1_000_000n
  monotonicMs = (): number => this.ms
  setTimer(_delayMs: number, fire: () => void) {
    const handle = setImmediate(fire)
    return { cancel: () => clearImmediate(handle) }
  }
}

/** What all devices of one volume share. */
export interface TestVolume {
  readonly id: VolumeId
  readonly genesis: EntryFrame
  readonly secrets: VolumeSecrets
  readonly founder: Identity
  readonly clock: Clock
}

/** Makes a volume founded by `alice`. */
export function createTestVolume(seed: string, clock: Clock = new TestClock()): TestVolume {
  const random = seededRandom(`${seed}/volume`)
  const secrets = VolumeSecrets.create(random)
  const founder = identityFromSeed(hash(Buffer.from(`${seed}/alice`)))
  const genesis = sealEntry(
    {
      control: [
        {
          type: 'genesis',
          name: 'test',
          createdMs: clock.nowMs(),
          device: founder.device,
          deviceName: 'alice',
          boxKey: founder.box.publicKey,
          recoveryKey: signingKeys(random.bytes(32)).publicKey,
          salt: random.bytes(16),
        },
      ],
      tree: undefined,
      frontier: EMPTY_FRONTIER,
      hlc: clock.nowMs() * 1000,
    },
    {
      volume: undefined,
      feed: feedId(founder.device, 0),
      head: undefined,
      previousFrontier: EMPTY_FRONTIER,
    },
    { keys: secrets.logKeys(), signing: founder.signing, random },
  )
  return { id: genesis.hash as VolumeId, genesis, secrets, founder, clock }
}

/** What outlives a process. */
export interface DeviceState {
  readonly disk: MemoryDisk
  /** Replaced when the log lost what only the index knows. */
  rows: MemoryRowStore
  /** Once the log handed it more than it came with. */
  secrets?: VolumeSecrets
  /** Who let it in. */
  guide?: DeviceId
}

/** A device that edits through its overlay and publishes when told. */
export class TestDevice {
  readonly name: string
  readonly identity: Identity
  readonly volume: Volume
  readonly keys: KeyRing
  readonly overlay: Overlay
  readonly tree: TreeWriter
  readonly feeds: DiskFeedStore
  readonly state: DeviceState
  readonly problems: string[] = []
  readonly deltas: TreeDelta[] = []
  /** Heads told to peers: feed and length. */
  readonly heads: [FeedId, number][]
  #nextNumber: number

  private constructor(parts: {
    name: string
    identity: Identity
    volume: Volume
    keys: KeyRing
    overlay: Overlay
    tree: TreeWriter
    feeds: DiskFeedStore
    state: DeviceState
    problems: string[]
    deltas: TreeDelta[]
    heads: [FeedId, number][]
  }) {
    this.name = parts.name
    this.identity = parts.identity
    this.volume = parts.volume
    this.keys = parts.keys
    this.overlay = parts.overlay
    this.tree = parts.tree
    this.feeds = parts.feeds
    this.state = parts.state
    this.problems = parts.problems
    this.deltas = parts.deltas
    this.heads = parts.heads
    this.#nextNumber = parts.volume.coveredTo + 1
  }

  /**
   * Opens (again) a device on its disk and rows. `actor`: that of the process it is a copy of.
   */
  static async open(
    shared: TestVolume,
    name: string,
    seed: string,
    state: DeviceState = { disk: new MemoryDisk(), rows: new MemoryRowStore() },
    run = 0,
    hasGenesis = true,
    actor?: ActorId,
  ): Promise<TestDevice> {
    try {
      return await TestDevice.#open(shared, name, seed, state, run, hasGenesis, actor)
    } catch (error) {
      if (!hasCode(error, 'LOG_LOST')) throw error
      const old = state.rows
      state.rows = new MemoryRowStore()
      const device = await TestDevice.#open(shared, name, seed, state, run, hasGenesis)
      device.problems.push(`${error.code}: ${error.message}`)
      await device.volume.restore(old)
      device.#nextNumber = device.volume.coveredTo + 1
      return device
    }
  }

  static async #open(
    shared: TestVolume,
    name: string,
    seed: string,
    state: DeviceState,
    run: number,
    hasGenesis: boolean,
    running?: ActorId,
  ): Promise<TestDevice> {
    const identity = identityFromSeed(hash(Buffer.from(`${seed}/${name}`)))
    const fresh = seededRandom(`${seed}/${name}/${run}`)
    const random = running === undefined ? fresh : asActor(running, fresh)
    const hlc = new HybridClock(shared.clock)
    const feed = feedId(identity.device, 0)
    const actor = createActor(feed, random)
    const self = { actor, device: identity.device, deviceName: name }
    const tree = new TreeWriter({ rows: state.rows, self, strategyOf })
    const problems: string[] = []
    const feeds = DiskFeedStore.open({
      disk: state.disk,
      random,
      directory: '/log',
      volume: shared.id,
      device: identity.device,
      onDamage: (damage) => problems.push(`FEED_CORRUPT: ${describeFeedDamage(damage)}`),
    })
    if (hasGenesis && !feeds.head(shared.genesis.feed)) await feeds.append([shared.genesis])
    const deltas: TreeDelta[] = []
    const heads: [FeedId, number][] = []
    const overlay = new Overlay({
      rows: state.rows,
      random,
      tick: () => hlc.tick(),
      nowNs: () => shared.clock.nowNs(),
      strategyOf,
    })
    const keys = new KeyRing({
      secrets: state.secrets ?? shared.secrets,
      box: identity.box,
      save: (secrets) => (state.secrets = VolumeSecrets.decode(secrets)),
    })
    let device: TestDevice | undefined
    const volume = await Volume.open({
      id: shared.id,
      device: identity.device,
      deviceName: name,
      ...(state.guide ? { guide: state.guide } : {}),
      feed,
      signing: identity.signing,
      keys,
      feeds,
      tree,
      clock: shared.clock,
      hlc,
      random,
      events: {
        onHead: (told, { length }) => heads.push([told, length]),
        onDelta: (delta, coveredTo) => {
          deltas.push(delta)
          overlay.cover(coveredTo)
        },
        onMembers: () => undefined,
        onProblem: ({ code, message }) => problems.push(`${code}: ${message}`),
        submitPending: () => device?.publish() ?? Promise.resolve(),
      },
    })
    device = new TestDevice({
      name,
      identity,
      volume,
      keys,
      overlay,
      tree,
      feeds,
      state,
      problems,
      deltas,
      heads,
    })
    return device
  }

  /** Performs an edit here, unpublished. */
  do(edit: Edit): number {
    const number = this.#nextNumber++
    this.overlay.apply({ ...edit, number })
    return number
  }

  /** Publishes what is pending. */
  async publish(): Promise<void> {
    const edits = this.overlay.pending()
    if (edits.length > 0) await this.volume.submit([...edits])
  }

  /** Lets `joiner` in with an invite that this device makes. */
  admit(joiner: Identity, deviceName: string, role: Role, shared: TestVolume): Promise<void> {
    return admitTo(this.volume, joiner, deviceName, shared, role)
  }
}

/** Lets `joiner` in with an invite made by an admin's volume. */
export async function admitTo(
  volume: Volume,
  joiner: Identity,
  deviceName: string,
  shared: TestVolume,
  role: Role = 'writer',
): Promise<void> {
  const keys = signingKeys(hash(Buffer.from(`${deviceName}/invite`)))
  const nowMs = shared.clock.nowMs()
  const expiresMs = nowMs + 3600_000
  await volume.write([{ type: 'invite', inviteKey: keys.publicKey, role, expiresMs, usesMax: 1 }])
  const { device, box } = joiner
  const request = { volume: shared.id, device, deviceName, boxKey: box.publicKey }
  const signature = sign(
    keys.secretKey,
    admissionMessage({ ...request, inviteKey: keys.publicKey }),
  )
  const inviteKey = keys.publicKey.toString('hex')
  await volume.write([volume.members.checkAdmission({ ...request, inviteKey, signature }, nowMs)])
}

/**
 * Brings everything that `from` has stored to `to`, and lets it be applied. Branches beyond what
 * `to` takes are left out.
 */
export async function deliver(from: TestDevice, to: TestDevice): Promise<void> {
  for (const feed of from.volume.frontier().keys()) {
    await giveFeed(from.volume, to.volume, feed).catch((error: unknown) => {
      if (!hasCode(error, 'LIMIT_EXCEEDED')) throw error
    })
  }
  await to.volume.settled()
}

/**
 * Brings one feed or branch, as `from` calls it, from where the two part; at most about so many
 * bytes.
 */
export async function giveFeed(
  from: Volume,
  to: Volume,
  feed: FeedId,
  bytesMax = Number.MAX_SAFE_INTEGER,
): Promise<void> {
  const head = from.frontier().get(feed)
  if (!head || to.holds([{ feed: feedRoot(feed), ...head }])[0]) return
  let at = Math.min(to.frontier().get(feed)?.length ?? 0, head.length - 1)
  for (let step = 1; ; step *= 2) {
    const result = await to.receive(feed, from.read(feed, at, bytesMax))
    if (result === 'stored' || at === 0) return
    at = Math.max(0, at - step)
  }
}

/** Every visible path with what it is, sorted: equal texts are equal trees. */
export function treeText(device: TestDevice): string {
  const lines: string[] = []
  const walk = (id: typeof device.overlay.root, path: string): void => {
    let after: string | undefined
    do {
      const options = after === undefined ? {} : { after }
      const page = device.overlay.list(id, { ...options, countMax: 100 })
      for (const entry of page.entries) {
        const node = device.overlay.node(entry.id)
        const { kind, version, attributes, mtimeNs, nlink } = node as NonNullable<typeof node>
        lines.push(
          `${path}/${entry.name} ${entry.id} ${kind} ${version} ` +
            `${attributes.mode.toString(8)} ${mtimeNs} ${nlink}`,
        )
        if (kind === 'directory') walk(entry.id, `${path}/${entry.name}`)
      }
      after = page.next
    } while (after !== undefined)
  }
  walk(device.overlay.root, '')
  return lines.sort().join('\n')
}
