/**
 * A simulated machine with one device: disk, index, home and wall clock, which outlive the daemon
 * that runs on them. The daemon dies between any two operations of disk or index, alone or with the
 * power, and is started again on what is left.
 */
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import { MemoryDisk, type Survivors } from '../../src/disk-memory.ts'
import { hasCode, WormholeError } from '../../src/errors.ts'
import { identityFromSeed, type Identity } from '../../src/log/keys.ts'
import { hash } from '../../src/seal.ts'
import type { MemoryNetwork } from '../../src/swarm/memory.ts'
import type { Disk, Random } from '../../src/system.ts'
import type { ActorId, DeviceId, Role } from '../../src/types.ts'
import type { FileSystem } from '../../src/vfs/interface.ts'
import { guardDisk, MortalProcess } from '../helpers/mortal-disk.ts'
import type { SeededRandom, SimClock } from '../helpers/sim-clock.ts'
import { VfsUser } from '../helpers/vfs-user.ts'
import { asActor, seededRandom } from '../helpers/volume-device.ts'
import { processClock } from './channel.ts'
import { SimDaemon, type HomeFiles, type Plant } from './daemon.ts'
import { Failure } from './failure.ts'
import { MortalRows, type IndexFate } from '../helpers/mortal-rows.ts'
import type { Trace } from './trace.ts'

/** Longest simulated time of one thing that a user waits for. */
const WAIT_MS_MAX = 120_000

/** What all devices of a simulation share. */
export interface Surroundings {
  readonly seed: number
  readonly clock: SimClock
  /** For whatever is not up to the production code. */
  readonly random: SeededRandom
  readonly network: MemoryNetwork
  readonly trace: Trace
  readonly threadDelayMsMax: number
  readonly hasSnapshots: boolean
  readonly hasBackfill: boolean
  readonly plant: Plant
  /** A device has committed to its index. */
  readonly onDelta: (device: SimDevice) => void
}

/** See the head of this file. */
export class SimDevice extends VfsUser {
  readonly name: string
  readonly identity: Identity
  readonly role: Role
  readonly home: HomeFiles
  readonly #world: Surroundings
  readonly #random: Random
  disk = new MemoryDisk()
  #index = new MemoryRowStore()
  #rows: MortalRows | undefined
  /** An index that knows what the log lost, until that is said anew. */
  #lost: MemoryRowStore | undefined
  #process = new MortalProcess()
  #daemon: SimDaemon | undefined
  /** It went on from a backup at some time. */
  wasRestored = false
  /** It may say again what it has said: it was restored, has copies, is one, or lost entries. */
  mayRepeat = false
  /** Name of the device that it is, or is a copy of. */
  readonly original: string
  /** What a process that was copied while it ran goes on as, once. */
  #actor: ActorId | undefined
  /** Some admin revoked it, or tried to. */
  wasRevoked = false
  /** How far its wall clock is ahead. */
  skewMs = 0
  /** Disk in trouble since the daemon started: only what is acknowledged one by one is owed. */
  hasTrouble = false
  readonly problems: string[] = []

  /** `original`: of a copy; it has its name with something behind. */
  constructor(
    world: Surroundings,
    about: { name: string; role: Role; home: HomeFiles; original?: string },
  ) {
    super()
    this.#world = world
    this.name = about.name
    this.role = about.role
    this.home = about.home
    this.original = about.original ?? about.name
    this.identity = identityOf(world.seed, this.original)
    this.#random = seededRandom(`sim ${world.seed}/${about.name}/random`)
  }

  get id(): DeviceId {
    return this.identity.device
  }

  /** Its machine, as the network calls it. */
  get host(): string {
    return this.isCopy ? `${this.id}/${this.name}` : this.id
  }

  get isCopy(): boolean {
    return this.original !== this.name
  }

  get clock(): SimClock {
    return this.#world.clock
  }

  get isAlive(): boolean {
    return this.#process.isAlive && this.#daemon !== undefined
  }

  /** The running daemon. @throws {WormholeError} `IO_ERROR` when it is dead. */
  get daemon(): SimDaemon {
    if (!this.isAlive) throw new WormholeError('IO_ERROR', 'the process is dead')
    return this.#daemon as SimDaemon
  }

  get fs(): FileSystem {
    return this.daemon.vfs.fileSystem
  }

  /** Whether its users may change something now. */
  get canEdit(): boolean {
    if (!this.isAlive) return false
    const { role } = this.daemon
    return role === 'admin' || role === 'writer'
  }

  /** Whether it has told that its log lacks something. */
  get hasLost(): boolean {
    return this.problems.some((problem) => problem.startsWith('FEED_CORRUPT'))
  }

  /** Monotonic time of the last death. */
  get diedMs(): number {
    return this.#process.diedMs ?? this.clock.monotonicMs()
  }

  /** Waits for something that this device does. @throws {WormholeError} when it dies meanwhile. */
  async settle<T>(promise: Promise<T>, what = 'a promise'): Promise<T> {
    let isSettled = false
    const done = (): void => {
      isSettled = true
    }
    promise.then(done, done)
    const process = this.#process
    const isOver = (): boolean => isSettled || !process.isAlive
    try {
      await this.clock.until(isOver, WAIT_MS_MAX, what)
    } catch (error) {
      throw new Failure('liveness', `${this.name}: ${what} takes too long`, { cause: error })
    }
    if (!isSettled) throw new WormholeError('IO_ERROR', 'the process is dead')
    return promise
  }

  /** Dies at the `count`th operation of disk or index from now. */
  lightFuse(count: number): void {
    this.#process.fuse = count
  }

  /** Looks at the device without bringing its death nearer. */
  async observe<T>(run: () => T | Promise<T>): Promise<T> {
    const process = this.#process
    const { fuse } = process
    process.fuse = undefined
    try {
      return await run()
    } finally {
      process.fuse = fuse
    }
  }

  /** Whether its users see everything that it has stored. */
  get isSteady(): boolean {
    const { volume } = this.daemon
    const applied = volume.appliedFrontier()
    const isApplied = [...volume.frontier()].every(([feed, { length }]) => {
      return applied.get(feed)?.length === length
    })
    // What only the index shows, a new index does not.
    const isHeld = volume.missingEntries({ isAll: true }).length === 0
    return isApplied && isHeld && this.daemon.deltasUnderWay === 0
  }

  /** Starts the daemon on what is there. It may die on the way: `isAlive` says. */
  async start(): Promise<void> {
    const { clock, network, trace, threadDelayMsMax, plant, random } = this.#world
    const { hasSnapshots, hasBackfill } = this.#world
    this.#daemon = undefined
    const process = new MortalProcess(
      () => clock.monotonicMs(),
      () => network.die(this.host),
    )
    this.#process = process
    this.hasTrouble = false
    // Readers of earlier runs are gone with their threads.
    this.#index = copyRows(this.#index)
    this.#rows = new MortalRows(this.#index, process, random)
    const ownClock = processClock(clock, this, process)
    const guarded = guardDisk(this.disk, process, (name, args) => {
      trace.note(`${this.name} ${name} ${typeof args[0] === 'string' ? args[0] : ''}`)
    })
    const disk: Disk = plant.disk?.(guarded) ?? guarded
    const own = this.#actor === undefined ? this.#random : asActor(this.#actor, this.#random)
    this.#actor = undefined
    const starting = SimDaemon.start({
      name: this.name,
      identity: this.identity,
      host: this.host,
      home: this.home,
      disk,
      rows: this.#rows,
      index: this.#index,
      lost: this.#lost,
      clock: ownClock,
      random: own,
      channel: { clock: ownClock, random, delayMsMax: threadDelayMsMax },
      network,
      hasSnapshots,
      hasBackfill,
      plant,
      isAlive: () => process.isAlive,
      onProblem: (problem) => process.isAlive && this.#problem(problem),
      onDelta: (delta, coveredTo) => {
        const size = `${delta.nodes.length} nodes ${delta.dirents.length} names`
        trace.note(`${this.name} commits ${coveredTo} ${size}`)
        const { fuse } = process
        process.fuse = undefined
        this.#world.onDelta(this)
        process.fuse = fuse
      },
    })
    try {
      this.#daemon = await this.settle(starting, 'the start')
      this.#lost = undefined
    } catch (error) {
      if (!process.isAlive) return
      process.die()
      if (!hasCode(error, 'LOG_LOST') || this.#lost) throw error
      // As `daemon/crdt-thread.ts`.
      this.#problem(error)
      this.#lost = this.#index
      this.#index = new MemoryRowStore()
      return this.start()
    }
  }

  #problem({ code, message }: { code: string; message: string }): void {
    this.problems.push(`${code}: ${message}`)
    this.#world.trace.add(`${this.name} ! ${code}: ${message.slice(0, 200)}`)
    if (['DISK_FULL', 'IO_ERROR', 'WRITER_BROKEN'].includes(code)) this.hasTrouble = true
  }

  /** The daemon ends as it should. It is dead afterwards. */
  async stop(): Promise<void> {
    await this.settle(this.daemon.close(), 'the end of the daemon')
    this.#process.die()
  }

  /** The daemon dies, if it has not yet; the machine stays. */
  kill(): void {
    this.#process.die()
  }

  /** The power fails: what was not synced may be gone, and the index may be an older one. */
  powerCut(survivors: Survivors, index: IndexFate): void {
    this.#world.network.vanish(this.host)
    this.#process.die()
    this.disk.powerCut({ survivors, random: this.#world.random })
    if (index === 'older' && this.#rows) this.#index = this.#rows.older()
    else if (index === 'lost') this.#index = new MemoryRowStore()
  }

  /** Whether a chunk stays here when the power fails. */
  keeps(sealed: Buffer): boolean {
    const left = this.disk.copy()
    const packs = left.files().filter((path) => path.includes('/packs/pack-'))
    return packs.some((path) => left.readFileSync(path)?.includes(sealed))
  }

  /** Everything on it as a backup of a running machine has it, synced or not. */
  backup(): { disk: MemoryDisk; index: MemoryRowStore } {
    return { disk: this.disk.copy({ isLive: true }), index: copyRows(this.#index) }
  }

  /** Somebody puts a backup in the place of what is there; only while the daemon is dead. */
  restore(backup: { disk: MemoryDisk; index: MemoryRowStore }): void {
    this.disk = backup.disk.copy()
    this.#index = copyRows(backup.index)
    this.#lost = undefined
  }

  /**
   * Another machine gets a copy of everything on this one. While the daemon runs, the copy goes on
   * as the same process: under the same actor.
   */
  copyTo(other: SimDevice): void {
    other.restore(this.backup())
    this.mayRepeat = true
    other.mayRepeat = true
    if (!this.isAlive) return
    const { volume } = this.daemon
    other.#actor = [...volume.members.actorsOf(volume.ownFeed)].at(-1)
  }

  /** The index is gone; only while the daemon is dead. */
  loseIndex(): void {
    this.#index = new MemoryRowStore()
  }
}

/** The key pairs of a device of a run. */
export function identityOf(seed: number, name: string): Identity {
  return identityFromSeed(hash(Buffer.from(`sim ${seed}/${name}`)))
}

function copyRows(rows: MemoryRowStore): MemoryRowStore {
  const copy = new MemoryRowStore()
  copy.transaction((writer) => {
    for (const { key, value } of rows.range('')) writer.put(key, value)
  })
  return copy
}
