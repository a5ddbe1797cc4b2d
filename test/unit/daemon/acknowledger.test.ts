/**
 * Proves when a device acknowledges: once what others said, never because of an acknowledgement,
 * never soon after an entry of its own, and not again after a restart. Whole volumes of several
 * devices on memory ports in simulated time; everything written is delivered within a minute.
 */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Acknowledger, ACKNOWLEDGE_MS } from '../../../src/daemon/acknowledger.ts'
import { nameFromText } from '../../../src/types.ts'
import { SimClock } from '../../helpers/sim-clock.ts'
import {
  createTestVolume,
  deliver,
  TestDevice,
  type TestVolume,
} from '../../helpers/volume-device.ts'

const MINUTE_MS = 60_000
const OWNER = { mode: 0o644, uid: 0, gid: 0 }

class World {
  readonly clock = new SimClock()
  readonly shared: TestVolume
  readonly seed: string
  readonly devices: TestDevice[] = []
  readonly problems: string[] = []
  readonly #acknowledgers = new Map<string, Acknowledger>()

  constructor(t: TestContext) {
    this.seed = t.name
    this.shared = createTestVolume(t.name, this.clock)
    t.after(() => this.#acknowledgers.forEach((acknowledger) => acknowledger.stop()))
  }

  watch(device: TestDevice): void {
    this.#acknowledgers.get(device.name)?.stop()
    const acknowledger = new Acknowledger({
      volume: device.volume,
      device: device.identity.device,
      clock: this.clock,
      onProblem: ({ code }) => this.problems.push(code),
    })
    acknowledger.start()
    this.#acknowledgers.set(device.name, acknowledger)
  }

  async add(name: string, role: 'writer' | 'reader' = 'writer'): Promise<TestDevice> {
    const device = await TestDevice.open(this.shared, name, this.seed)
    const [founder] = this.devices
    if (founder) await founder.admit(device.identity, name, role, this.shared)
    this.devices.push(device)
    await this.exchange()
    this.watch(device)
    return device
  }

  async exchange(): Promise<void> {
    for (let round = 0; round < 2; round++) {
      for (const from of this.devices) {
        for (const to of this.devices) if (from !== to) await deliver(from, to)
      }
    }
  }

  async pass(minutes: number): Promise<void> {
    for (let minute = 0; minute < minutes; minute++) {
      await this.clock.run(MINUTE_MS)
      await this.exchange()
    }
  }

  async create(device: TestDevice, name: string): Promise<void> {
    const { overlay } = device
    device.do(overlay.createFile(overlay.root, nameFromText(name), OWNER).edit)
    await device.publish()
  }

  /** Entries that each device has written, by its name. */
  lengths(): Record<string, number> {
    const lengths: Record<string, number> = {}
    for (const { name, identity, volume } of this.devices) {
      lengths[name] = 0
      for (const [feed, { length }] of volume.frontier()) {
        if (feed.startsWith(identity.device)) lengths[name] += length
      }
    }
    return lengths
  }
}

test('two idle devices acknowledge once and are silent ever after', async (t) => {
  const world = new World(t)
  const alice = await world.add('alice')
  await world.add('bob')
  await world.create(alice, 'f')
  await world.exchange()
  const before = world.lengths()
  await world.pass(9)
  assert.deepEqual(world.lengths(), before)
  await world.pass(12)
  const bob = (before.bob as number) + 1
  assert.deepEqual(world.lengths(), { ...before, bob })
  await world.pass(24 * 60)
  assert.deepEqual(world.lengths(), { ...before, bob })
  assert.deepEqual(world.problems, [])
})

test('who writes acknowledges by it; a reader that only reads acknowledges too', async (t) => {
  const world = new World(t)
  const alice = await world.add('alice')
  const bob = await world.add('bob')
  await world.add('carol', 'reader')
  await world.pass(60)
  const before = world.lengths()
  for (let minute = 0; minute < 180; minute++) {
    await world.create(alice, `a${minute}`)
    await world.create(bob, `b${minute}`)
    await world.pass(1)
  }
  const after = world.lengths()
  assert.deepEqual([after.alice, after.bob], [before.alice! + 180, before.bob! + 180])
  const acknowledged = after.carol! - before.carol!
  assert.ok(acknowledged >= 17 && acknowledged <= 18, `${acknowledged} by the reader in 3 hours`)
  await world.pass(60)
  const end = world.lengths()
  for (const name of ['alice', 'bob', 'carol']) assert.ok(end[name]! - after[name]! <= 1, name)
  await world.pass(24 * 60)
  assert.deepEqual(world.lengths(), end)
})

test('a restart forgets neither what was acknowledged nor what is owed', async (t) => {
  const world = new World(t)
  const alice = await world.add('alice')
  const first = await world.add('bob')
  const restart = async (run: number): Promise<void> => {
    const old = world.devices[1] as TestDevice
    await old.volume.close()
    const bob = await TestDevice.open(world.shared, 'bob', world.seed, first.state, run)
    world.devices[1] = bob
    world.watch(bob)
  }
  await world.pass(60)
  const before = world.lengths()
  await world.create(alice, 'f')
  await world.exchange()
  await restart(1)
  await world.pass(ACKNOWLEDGE_MS / MINUTE_MS + 1)
  const after = world.lengths()
  assert.deepEqual(after, { alice: before.alice! + 1, bob: before.bob! + 1 })
  for (let run = 2; run < 6; run++) {
    await restart(run)
    await world.pass(25)
  }
  assert.deepEqual(world.lengths(), after)
})
