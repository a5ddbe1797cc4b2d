/**
 * Proves that copies of one home, and homes restored from a backup, lose nothing and stop nobody:
 * whatever each of them writes is on all devices in the end, in whatever order it arrives. Whole
 * devices on memory disks; copies never meet but through others.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { feedDevice, feedGeneration, feedRoot, nameFromText } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import {
  createTestVolume,
  deliver,
  TestDevice,
  treeText,
  type TestVolume,
} from '../../helpers/volume-device.ts'

const OWNER = { mode: 0o644, uid: 0, gid: 0 }

interface State {
  readonly disk: MemoryDisk
  readonly rows: MemoryRowStore
}

function copyRows(rows: MemoryRowStore): MemoryRowStore {
  const copy = new MemoryRowStore()
  copy.transaction((writer) => {
    for (const { key, value } of rows.range('')) writer.put(key, value)
  })
  return copy
}

function copyOf({ disk, rows }: State): State {
  const image = disk.imageAt(disk.operationCount, { survivors: 'all' })
  return { disk: image, rows: copyRows(rows) }
}

function create(device: TestDevice, name: string): void {
  device.do(device.overlay.createFile(device.overlay.root, nameFromText(name), OWNER).edit)
}

function names(device: TestDevice): string[] {
  const { overlay } = device
  return overlay.list(overlay.root, { countMax: 1000 }).entries.map(({ name }) => name)
}

/** Each device that may, in any order, until nothing is new. */
async function exchangeAll(devices: readonly TestDevice[], copies: readonly TestDevice[]) {
  for (let round = 0; round < 4; round++) {
    for (const from of devices) {
      for (const to of devices) {
        const areCopies = copies.includes(from) && copies.includes(to)
        if (from !== to && !areCopies) await deliver(from, to)
      }
    }
  }
}

interface Scene {
  readonly shared: TestVolume
  readonly seed: string
  readonly alice: TestDevice
  readonly carol: TestDevice
  /** Bob's home with some history; nothing runs on it. */
  readonly state: State
}

async function scene(seed: string): Promise<Scene> {
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const carol = await TestDevice.open(shared, 'carol', seed)
  const state = { disk: new MemoryDisk({ isRecording: true }), rows: new MemoryRowStore() }
  const bob = await TestDevice.open(shared, 'bob', seed, state)
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await alice.admit(carol.identity, 'carol', 'writer', shared)
  await deliver(alice, bob)
  await deliver(alice, carol)
  for (let index = 0; index < 5; index++) {
    create(bob, `before ${index}`)
    await bob.publish()
  }
  await deliver(bob, alice)
  await bob.volume.close()
  return { shared, seed, alice, carol, state }
}

/** All devices show the same. */
async function checkEqual(
  { seed }: Scene,
  devices: readonly TestDevice[],
  written: readonly string[],
): Promise<void> {
  const [first] = devices as [TestDevice]
  for (const device of devices) {
    assert.equal(treeText(device), treeText(first), `${seed}: ${device.name}`)
    const shown = names(device)
    for (const name of written) assert.ok(shown.includes(name), `${seed}: ${name} is lost`)
    assert.match(device.problems.join('\n'), /FEED_FORKED: device bob/, `${seed}: ${device.name}`)
    for (const [feed, head] of device.volume.frontier()) {
      assert.equal(device.volume.appliedFrontier().get(feed)?.hash, head.hash, `${seed}: ${feed}`)
    }
  }
}

for (let number = 1; number <= 12; number++) {
  test(`two copies of a home write on: everybody gets all of it (seed ${number})`, async () => {
    const at = await scene(`copies ${number}`)
    const { shared, seed, alice, carol, state } = at
    const random = new SeededRandom(number)
    const copy = copyOf(state)
    const one = await TestDevice.open(shared, 'bob', seed, state, 1)
    const two = await TestDevice.open(shared, 'bob', seed, copy, 2)
    const devices = [alice, carol, one, two]
    const written = ['first of one', 'first of two']
    for (const [at, device] of [one, two].entries()) {
      create(device, written[at] as string)
      await device.publish()
    }
    for (let step = 0; step < 40; step++) {
      const [at, to] = [random.below(4), random.below(4)]
      const device = devices[at] as TestDevice
      if (random.below(2) === 0) {
        const name = `by ${at} at ${step}`
        create(device, name)
        written.push(name)
        if (random.below(3) > 0) await device.publish()
      } else if (at !== to && Math.min(at, to) < 2) await deliver(device, devices[to] as TestDevice)
    }
    for (const device of devices) await device.publish()
    // Both go on in generations of their own, once they have met what the other wrote.
    await exchangeAll(devices, [one, two])
    for (const [at, device] of devices.entries()) {
      create(device, `last of ${at}`)
      written.push(`last of ${at}`)
      await device.publish()
    }
    await exchangeAll(devices, [one, two])
    await checkEqual(at, devices, written)
    assert.notEqual(one.volume.ownFeed, two.volume.ownFeed)
  })
}

test('a restored home that writes before it meets anybody: both branches live', async () => {
  const at = await scene('restored')
  const { shared, seed, alice, carol, state } = at
  const backup = copyOf(state)
  const bob = await TestDevice.open(shared, 'bob', seed, state, 1)
  for (let index = 0; index < 3; index++) {
    create(bob, `after the backup ${index}`)
    await bob.publish()
  }
  await deliver(bob, alice)
  await bob.volume.close()
  const again = await TestDevice.open(shared, 'bob', seed, backup, 2)
  create(again, 'written while alone')
  await again.publish()
  // One branch is known to alice only, the other to carol only.
  await deliver(again, carol)
  await deliver(carol, alice)
  await exchangeAll([alice, carol, again], [])
  create(again, 'later')
  await again.publish()
  await exchangeAll([alice, carol, again], [])
  const written = ['written while alone', 'after the backup 0', 'after the backup 2', 'later']
  await checkEqual(at, [alice, carol, again], written)
  assert.ok(feedGeneration(again.volume.ownFeed) > 0)
})

test('a restored home that meets others first makes no branch', async () => {
  const { shared, seed, alice, state } = await scene('first fetch')
  const backup = copyOf(state)
  const bob = await TestDevice.open(shared, 'bob', seed, state, 1)
  create(bob, 'after the backup')
  await bob.publish()
  await deliver(bob, alice)
  const again = await TestDevice.open(shared, 'bob', seed, backup, 2)
  await deliver(alice, again)
  create(again, 'new')
  await again.publish()
  await deliver(again, alice)
  assert.equal(treeText(alice), treeText(again))
  assert.ok(names(alice).includes('after the backup') && names(alice).includes('new'))
  const feeds = [...alice.volume.frontier().keys()].filter((feed) => feedRoot(feed) !== feed)
  assert.deepEqual(feeds, [])
  assert.doesNotMatch(alice.problems.join('\n'), /FEED_FORKED/)
})

test('journal numbers of a copy cover nothing here, nor in a new index', async () => {
  const { shared, seed, alice, carol, state } = await scene('numbers')
  const copy = copyOf(state)
  const one = await TestDevice.open(shared, 'bob', seed, state, 1)
  const two = await TestDevice.open(shared, 'bob', seed, copy, 2)
  for (let index = 0; index < 9; index++) create(two, `two ${index}`)
  await two.publish()
  const before = one.volume.coveredTo
  await deliver(two, alice)
  create(one, 'pending')
  await deliver(alice, one)
  assert.equal(one.volume.coveredTo, before + 1)
  await one.volume.close()
  const rebuilt = await TestDevice.open(
    shared,
    'bob',
    seed,
    { ...state, rows: new MemoryRowStore() },
    3,
  )
  assert.equal(rebuilt.volume.coveredTo, before + 1)
  const own = feedDevice(rebuilt.volume.ownFeed)
  assert.equal(own, rebuilt.identity.device)
  assert.ok(names(rebuilt).includes('two 8'))
  await deliver(rebuilt, carol)
  await deliver(two, carol)
  await deliver(carol, alice)
  assert.equal(treeText(carol), treeText(rebuilt))
})
