/**
 * Proves that a volume keeps its promises under faults: nothing acknowledged is lost, nothing
 * concurrent vanishes, nothing is published twice, and all devices end with the same tree. Three
 * whole devices live through seeded chance: edits, entries that arrive late, in part and in any
 * order, deaths between any two operations of the disk, power cuts, full disks and lost indexes.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeChange, opOf } from '../../src/crdt/change.ts'
import { errorToData, hasCode, WormholeError } from '../../src/errors.ts'
import { openEntry } from '../../src/log/entry.ts'
import { EMPTY_FRONTIER } from '../../src/log/frontier.ts'
import { feedDevice } from '../../src/types.ts'
import { SeededRandom, SimClock } from '../helpers/sim-clock.ts'
import type { IndexFate } from '../helpers/mortal-rows.ts'
import { SimDevice } from '../helpers/sim-device.ts'
import { findLost, SimUser, tokensOf, type Deed } from '../helpers/sim-user.ts'
import { dumpTree } from '../helpers/vfs-dump.ts'
import { admitTo, createTestVolume, giveFeed } from '../helpers/volume-device.ts'

const STEPS = Number(process.env['SIM_STEPS'] ?? 250)
const SEEDS = (process.env['SIM_SEEDS'] ?? '1,2,3,4,5,6').split(',').map(Number)
const SIMULATED_MS_MAX = 120_000

/** Three devices, their users, and what may happen to them. */
class Simulation {
  readonly clock = new SimClock()
  readonly random: SeededRandom
  readonly devices: SimDevice[] = []
  readonly users: SimUser[]
  readonly deeds = new Map<string, Deed>()
  readonly seed: number

  constructor(seed: number) {
    this.seed = seed
    this.random = new SeededRandom(seed)
    const shared = createTestVolume(`sim ${seed}`, this.clock)
    for (const name of ['alice', 'bob', 'carol']) {
      this.devices.push(
        new SimDevice({
          name,
          shared,
          clock: this.clock,
          seed: `sim ${seed}`,
          random: this.random,
          peers: this.devices,
        }),
      )
    }
    this.users = this.devices.map((device) => new SimUser(device, this.deeds))
  }

  #below(bound: number): number {
    return this.random.below(bound)
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.clock.settle(promise, SIMULATED_MS_MAX)
  }

  /** Lets the others in, one by one: they are used before they know it. */
  async admit(device: SimDevice): Promise<void> {
    const [alice] = this.devices as [SimDevice]
    await this.settle(admitTo(alice.volume, device.identity, device.name, device.shared))
  }

  /** Brings some frames of some feeds, from anywhere in the order of things. */
  async exchange(from: SimDevice, to: SimDevice, isAll = false): Promise<void> {
    if (from === to || !from.isAlive || !to.isAlive) return
    for (const feed of from.volume.frontier().keys()) {
      if (!isAll && this.#below(3) === 0) continue
      try {
        const bytesMax = isAll ? 1 << 24 : 1 + this.#below(4000)
        await this.settle(giveFeed(from.volume, to.volume, feed, bytesMax))
      } catch (error) {
        const codes = ['DISK_FULL', 'IO_ERROR', 'WRITER_BROKEN', 'NOT_A_MEMBER']
        if (!codes.includes(errorToData(error).code)) throw error
        return
      }
    }
    if (isAll) await this.settle(to.volume.settled())
  }

  /** A device dies, in one of several ways, and starts again. */
  async crash(at: number): Promise<void> {
    const device = this.devices[at] as SimDevice
    const isPowerCut = this.#below(2) === 0
    if (isPowerCut) {
      const survivors = (['none', 'all', 'some', 'torn'] as const)[this.#below(4)] ?? 'none'
      const fate = (['kept', 'kept', 'older', 'lost'] as IndexFate[])[this.#below(4)] ?? 'kept'
      device.powerCut(survivors, fate)
    } else {
      device.kill()
      if (this.#below(6) === 0) device.loseIndex()
    }
    this.users[at]?.died(isPowerCut)
    device.disk.capacityBytes = Infinity
    device.disk.syncFailures = 0
    await this.settle(device.start())
  }

  async step(): Promise<void> {
    const at = this.#below(3)
    const device = this.devices[at] as SimDevice
    const kind = this.#below(100)
    if (!device.isAlive) await this.crash(at)
    else if (kind < 62) {
      if (device.isWriter) await this.users[at]?.step()
    } else if (kind < 86) await this.exchange(this.devices[this.#below(3)] as SimDevice, device)
    else if (kind < 90) await this.crash(at)
    else if (kind < 94) device.lightFuse(1 + this.#below(60))
    else if (kind < 96) await this.fillDisk(device)
    else if (kind < 97) device.disk.syncFailures = 1
    else await this.clock.run(this.#below(3000))
  }

  /** Little room for a while; then there is room again. */
  async fillDisk(device: SimDevice): Promise<void> {
    device.disk.capacityBytes = 0
    const user = this.users[this.devices.indexOf(device)]
    for (let count = this.#below(4); count > 0 && device.isWriter; count--) await user?.step()
    device.disk.capacityBytes = Infinity
    await this.clock.run(100)
  }

  /** Everybody lives, has room, publishes, and gets everything. */
  async heal(): Promise<void> {
    for (const [at, device] of this.devices.entries()) {
      this.users[at]?.closeAll()
      // A failed sync breaks a writer until the daemon starts again.
      await this.crash(at)
      void device
    }
    for (let round = 0; round < 3; round++) {
      for (const [at, device] of this.devices.entries()) {
        if (device.isWriter) await this.users[at]?.drain()
        for (const other of this.devices) await this.exchange(device, other, true)
      }
    }
  }

  /** The tree that all devices show. */
  async check(): Promise<Map<string, string>> {
    const [first, ...others] = this.devices as [SimDevice, ...SimDevice[]]
    const tree = await dumpTree(first)
    for (const device of others) {
      const told = `seed ${this.seed}, ${device.name}: ${device.problems.join('\n')}`
      assert.deepEqual(device.volume.appliedFrontier(), first.volume.appliedFrontier(), told)
      assert.deepEqual(await dumpTree(device), tree, told)
    }
    return tree
  }
}

/**
 * Contents (each has its own stamp) that one device wrote into the log twice. Writing one again
 * over itself, among concurrent ones, is right: that settles a conflict.
 */
function findTwice({ volume, shared }: SimDevice): string[] {
  const seen = new Map<string, string[]>()
  const twice: string[] = []
  const keys = shared.secrets.logKeys()
  for (const feed of volume.frontier().keys()) {
    let previousFrontier = EMPTY_FRONTIER
    for (const bytes of volume.read(feed, 0, 1 << 30)) {
      const frame = { feed, seq: 0, previousHash: '', hash: '', bytes }
      const entry = openEntry(frame, { volume: shared.id, keys, previousFrontier })
      previousFrontier = entry.frontier
      for (const { change } of entry.tree?.changes ?? []) {
        const decoded = decodeChange(change)
        for (const [index, { key, value, predecessors }] of decoded.ops.entries()) {
          const put = `${feedDevice(feed)} ${key} ${Buffer.from(value).toString('hex')}`
          const before = seen.get(put) ?? []
          const isAgain = before.length > 0 && !before.some((op) => predecessors.includes(op))
          if (key.startsWith('C') && isAgain) twice.push(put)
          seen.set(put, [...before, opOf(decoded, index)])
        }
      }
    }
  }
  return twice
}

for (const seed of SEEDS) {
  test(`three devices under faults, seed ${seed}`, async () => {
    const simulation = new Simulation(seed)
    for (const device of simulation.devices) await device.start()
    await simulation.admit(simulation.devices[1] as SimDevice)
    try {
      for (let step = 0; step < STEPS; step++) {
        if (step === Math.floor(STEPS / 4)) {
          const [alice, , carol] = simulation.devices as [SimDevice, SimDevice, SimDevice]
          if (!alice.isAlive) await simulation.crash(0)
          await simulation.admit(carol).catch((error: unknown) => {
            if (!(error instanceof WormholeError) || hasCode(error, 'NOT_PERMITTED')) throw error
          })
        }
        await simulation.step()
      }
      await simulation.heal()
      const tree = await simulation.check()
      const shown = new Set([...tree.values()].flatMap(tokensOf))
      const lost = findLost(simulation.deeds.values(), shown)
      assert.deepEqual(
        lost.map(({ token, state, device }) => `${token} ${state} by ${device.name}`),
        [],
      )
      assert.deepEqual(findTwice(simulation.devices[0] as SimDevice), [])
      for (const device of simulation.devices) {
        device.kill()
        device.loseIndex()
        await simulation.settle(device.start())
      }
      assert.deepEqual(await simulation.check(), tree, 'after every index was built anew')
    } catch (error) {
      console.error(`SIM_SEEDS=${seed} SIM_STEPS=${STEPS} shows this again`)
      throw error
    }
  })
}
