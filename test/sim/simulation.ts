/**
 * One run: a world of devices, users and faults that lives through the steps of a seed, is healed,
 * and must then have kept every promise. Everything that happens follows from the options.
 */
import { hasCode } from '../../src/errors.ts'
import { createInviteFor, joinWith, type Invited } from './joining.ts'
import { MemoryNetwork } from '../../src/swarm/memory.ts'
import type { Role } from '../../src/types.ts'
import { SeededRandom, SimClock } from '../helpers/sim-clock.ts'
import { createTestVolume, type TestVolume } from '../helpers/volume-device.ts'
import { CANARIES } from './canaries.ts'
import { Collections } from './collections.ts'
import { checkCauses, LogView, look } from './checkers.ts'
import { SimDevice, type Surroundings } from './device.ts'
import { Failure } from './failure.ts'
import { FAULT_ACTIONS } from './faults.ts'
import { FILE_ACTIONS, type Action } from './file-actions.ts'
import { Ledger } from './ledger.ts'
import { Mallory } from './mallory.ts'
import { NAME_ACTIONS } from './name-actions.ts'
import { choose, type ActionName, type SimOptions } from './options.ts'
import { Revocations } from './revocations.ts'
import { Trace } from './trace.ts'
import { SimUser } from './user.ts'
import { DiskFeedStore } from '../../src/log/feeds.ts'

const NAMES = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank'] as const
const ALL_ACTIONS: Readonly<Record<ActionName, Action>> = { ...FILE_ACTIONS, ...NAME_ACTIONS }

/** The world of one run. */
export class Simulation {
  readonly options: SimOptions
  readonly clock = new SimClock()
  readonly random: SeededRandom
  readonly trace: Trace
  readonly network: MemoryNetwork
  readonly ledger: Ledger
  readonly shared: TestVolume
  readonly log: LogView
  readonly devices: SimDevice[] = []
  readonly users = new Map<SimDevice, SimUser>()
  /** How often each thing was done. */
  readonly counts = new Map<string, number>()
  readonly collections: Collections
  mallory: Mallory | undefined
  readonly revocations: Revocations
  /** Ends the partition under way. */
  healAtMs: number | undefined
  #invited: Invited | undefined
  #roles: Role[]
  readonly #surroundings: Surroundings

  constructor(options: SimOptions, print?: (line: string) => void) {
    this.options = options
    const { seed, network, actions } = options
    this.random = new SeededRandom(seed)
    this.trace = new Trace(() => this.clock.monotonicMs(), print)
    const delays = new SeededRandom(seed ^ 0x5bd1e995)
    const { delayMsMin, delayMsMax, bytesPerMs } = network
    this.network = new MemoryNetwork({
      clock: this.clock,
      get delayMs() {
        return delayMsMin + delays.below(delayMsMax - delayMsMin + 1)
      },
      ...(bytesPerMs === undefined ? {} : { bytesPerMs }),
    })
    this.ledger = new Ledger({ hasHoles: actions.has('truncate') })
    this.shared = createTestVolume(`sim ${seed}`, this.clock)
    this.log = new LogView(this.shared.id)
    this.revocations = new Revocations(this)
    this.collections = new Collections(this)
    const roles = ['writer', 'writer', 'writer', 'admin', 'reader'] as const
    this.#roles = Array.from({ length: options.deviceCount - 1 }, (_, index) =>
      index === 0 ? 'writer' : (roles[this.random.below(roles.length)] as Role),
    )
    this.#surroundings = {
      seed,
      clock: this.clock,
      random: this.random,
      network: this.network,
      trace: this.trace,
      threadDelayMsMax: options.threadDelayMsMax,
      hasSnapshots: options.hasSnapshots,
      hasBackfill: options.hasSnapshots || options.faults.has('flippedLog'),
      plant: options.canary === undefined ? {} : CANARIES[options.canary].plant(),
      onDelta: (device) => this.#onDelta(device),
    }
  }

  #onDelta(device: SimDevice): void {
    // While it starts it is not looked at: it will be at its next commit.
    if (!device.isAlive || this.fatal) return
    try {
      this.log.checkFrontiers(device)
    } catch (error) {
      this.fatal = error
    }
  }

  /** Found where nothing can be thrown. */
  fatal: unknown

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  user(device: SimDevice): SimUser {
    return this.users.get(device) as SimUser
  }

  get alive(): SimDevice[] {
    return this.devices.filter((device) => device.isAlive)
  }

  /** Devices that are in the volume. */
  get members(): SimDevice[] {
    return this.revocations.members()
  }

  /** The founder with its volume. */
  async found(): Promise<void> {
    const { shared } = this
    const home = { volume: shared.id, secrets: shared.secrets.encode(), addresses: [] }
    const alice = this.#add('alice', 'admin', home)
    const { random } = this
    const { disk, id: device } = alice
    const log = { disk, random, directory: '/log', volume: shared.id, device }
    const feeds = DiskFeedStore.open(log)
    await feeds.append([shared.genesis])
    await feeds.close()
    await alice.start()
    if (this.options.hasMallory) this.mallory = new Mallory(this)
  }

  #add(name: string, role: Role, home: SimDevice['home']): SimDevice {
    const device = new SimDevice(this.#surroundings, { name, role, home })
    const { skewMsMax } = this.options
    device.skewMs = this.random.below(2 * skewMsMax + 1) - skewMsMax
    this.#adopt(device)
    return device
  }

  #adopt(device: SimDevice): void {
    const { ledger, random, trace } = this
    this.users.set(device, new SimUser({ device, ledger, random, trace }))
    this.devices.push(device)
  }

  /** A machine with a copy of what is on another. */
  addCopy(of: SimDevice): SimDevice {
    const name = `${of.original}${this.devices.filter(({ id }) => id === of.id).length + 1}`
    const about = { name, role: of.role, home: { ...of.home }, original: of.original }
    const copy = new SimDevice(this.#surroundings, about)
    copy.skewMs = of.skewMs
    copy.wasRevoked = of.wasRevoked
    of.copyTo(copy)
    this.#adopt(copy)
    return copy
  }

  /** Lets the next device in, if somebody can. Returns whether there are more to come. */
  async admit(): Promise<boolean> {
    const [role] = this.#roles
    if (role === undefined) return false
    const admin = this.alive.find((device) => device.daemon.volume.role() === 'admin')
    if (!admin) return true
    const name = NAMES[this.devices.filter(({ isCopy }) => !isCopy).length] as string
    try {
      this.#invited ??= await createInviteFor(admin, { role, name, random: this.random })
      const members = this.alive.map(({ host }) => this.network.addressOf(host))
      this.trace.add(`${name} joins as ${role}`)
      const { clock, network, options } = this
      const context = {
        clock,
        network,
        seed: options.seed,
        volume: this.shared.id,
        addresses: members,
      }
      const home = await joinWith(this.#invited, { ...context, name })
      if (home === 'ended') this.#invited = undefined
      if (home === undefined || home === 'ended') return true
      this.#roles.shift()
      this.#invited = undefined
      const device = this.#add(name, role, home)
      this.count(`join as ${role}`)
      await device.start()
    } catch (error) {
      if (
        !['IO_ERROR', 'DISK_FULL', 'WRITER_BROKEN'].some((code) => hasCode(error, code as never))
      ) {
        throw error
      }
    }
    return this.#roles.length > 0
  }

  /** Starts a dead daemon on what is left, with room and a disk that works. */
  async start(device: SimDevice): Promise<void> {
    device.disk.capacityBytes = Infinity
    device.disk.syncFailures = 0
    this.trace.add(`${device.name} starts`)
    this.user(device).died(false)
    if (this.isOneOfMany(device)) device.home.addresses = this.#addressesFor(device)
    await device.start()
  }

  /** Whether several machines have its key. */
  isOneOfMany({ id }: SimDevice): boolean {
    return this.devices.filter((other) => other.id === id).length > 1
  }

  /**
   * Nobody dials a machine while it has a link to another of that key: it must know where the
   * others are, as discovery would tell it.
   */
  #addressesFor({ id }: SimDevice): SimDevice['home']['addresses'] {
    const others = this.devices.filter((other) => other.id !== id)
    return others.map(({ id: device, host }) => {
      return { device, addresses: [this.network.addressOf(host)] }
    })
  }

  /** One step of the run. */
  async step(at: number): Promise<void> {
    const { options, random, clock } = this
    this.checkProblems()
    if (this.healAtMs !== undefined && clock.monotonicMs() >= this.healAtMs) this.healNetwork()
    const joinEvery = Math.max(4, Math.floor(options.stepCount / (3 * options.deviceCount)))
    if (at % joinEvery === 2) await this.admit()
    this.collections.step()
    if (this.mallory && random.below(20) === 0) await this.mallory.act()
    if (options.hasRevocations) {
      this.revocations.watch()
      if (random.below(options.stepCount) < 3) await this.revocations.act()
    }
    const device = this.devices[random.below(this.devices.length)] as SimDevice
    try {
      await this.#happen(device)
    } catch (error) {
      // It died of its fuse while something was done with it.
      if (device.isAlive || !hasCode(error, 'IO_ERROR')) throw error
    }
    await clock.run(random.below(1 + random.below(options.pauseMsMax)))
  }

  /** Something happens to a device. */
  async #happen(device: SimDevice): Promise<void> {
    const { options, random } = this
    if (!device.isAlive) {
      if (random.below(3) === 0) await this.start(device)
    } else if (random.below(100) < options.faultPercent) {
      const fault = choose(options.faults, random)
      if (fault) {
        this.count(`fault ${fault}`)
        await FAULT_ACTIONS[fault](this, device)
      }
    } else if (device.canEdit) {
      await this.#edit(device)
    }
    if (random.below(25) === 0 && device.isAlive) await this.glance(device)
  }

  async #edit(device: SimDevice): Promise<void> {
    const action = choose(this.options.actions, this.random)
    if (!action) return
    this.count(action)
    await this.user(device).act(action, ALL_ACTIONS[action])
    // A fuse may have burnt down in the middle of it.
    if (!device.isAlive) this.user(device).died(false)
  }

  /** Has one more operation done by this device. */
  edit(device: SimDevice): Promise<void> {
    return this.#edit(device)
  }

  /** Looks at one device in the middle of things. */
  async glance(device: SimDevice): Promise<void> {
    const shown = await look(device, this.ledger, this.devices)
    // Who lost parts of log and index says again what its journal has before the rest is back.
    const isWhole = !this.options.actions.has('policy') && !device.daemon.volume.isBehind
    if (isWhole) checkCauses(device, shown)
  }

  /** Everybody reaches everybody again. */
  healNetwork(): void {
    this.healAtMs = undefined
    this.trace.add('the network is whole')
    this.network.heal({ isForgotten: this.random.below(2) === 0 })
  }

  /** @throws {Failure} `bug` when a daemon said that it met one. */
  checkProblems(): void {
    if (this.fatal) throw this.fatal
    for (const { name, problems } of this.devices) {
      const bug = problems.find((problem) => problem.startsWith('BUG'))
      if (bug) throw new Failure('bug', `${name}: ${bug}`)
    }
  }
}
