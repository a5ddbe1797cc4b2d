/**
 * Proves that one actor on two branches of its feed (a process copied while it ran, or a hostile
 * member) divides nobody: whatever the order of arrival, all devices show the same tree, and what
 * others wrote upon either branch is in it. Whole devices on memory disks.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change, ChangeOp } from '../../../src/crdt/change.ts'
import { decodeChange, encodeChange } from '../../../src/crdt/change.ts'
import { ROOT, inodeShard } from '../../../src/crdt/ids.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import type { EntryFrame, TreePart } from '../../../src/log/interface.ts'
import { nameFromText, type ActorId, type ChunkAddress } from '../../../src/types.ts'
import { HostileAuthor, treePartOf } from '../../helpers/hostile-author.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import {
  createTestVolume,
  deliver,
  TestDevice,
  treeText,
  type DeviceState,
  type TestVolume,
} from '../../helpers/volume-device.ts'

const OWNER = { mode: 0o644, uid: 0, gid: 0 }

function create(device: TestDevice, name: string) {
  return device.overlay.createFile(device.overlay.root, nameFromText(name), OWNER).edit
}

/** Gives a file a content that stands for a text; false when the device shows no such file. */
function write(device: TestDevice, name: string, text: string): boolean {
  const { overlay } = device
  const found = overlay.lookup(overlay.root, nameFromText(name))
  if (!found) return false
  const address = Buffer.from(text).toString('hex').padEnd(64, '0') as ChunkAddress
  const content = { ref: { type: 'chunk', address }, sizeBytes: 1, mtimeNs: 1n } as const
  device.do(overlay.setContent(found.id, content))
  return true
}

/** Texts of all files and conflict copies. */
function texts(device: TestDevice): string[] {
  const { overlay } = device
  return overlay.list(overlay.root, { countMax: 1000 }).entries.map(({ id }) => {
    const content = overlay.node(id)?.content
    const isChunk = content?.kind === 'file' && content.ref.type === 'chunk'
    if (!isChunk || content.ref.type !== 'chunk') return ''
    return Buffer.from(content.ref.address, 'hex').toString().replaceAll('\0', '')
  })
}

function names(device: TestDevice): string[] {
  const { overlay } = device
  return overlay.list(overlay.root, { countMax: 1000 }).entries.map(({ name }) => name)
}

function copyOf(state: DeviceState): DeviceState {
  const rows = new MemoryRowStore()
  rows.transaction((writer) => {
    for (const { key, value } of state.rows.range('')) writer.put(key, value)
  })
  return { disk: state.disk.imageAt(state.disk.operationCount, { survivors: 'all' }), rows }
}

/** The actor that a device writes as. */
function actorOf({ volume }: TestDevice): ActorId {
  return [...volume.members.actorsOf(volume.ownFeed)].at(-1) as ActorId
}

/** Everybody to everybody but from one copy to the other, until nothing is new. */
async function exchange(devices: readonly TestDevice[], copies: readonly TestDevice[]) {
  for (let round = 0; round < 4; round++) {
    for (const from of devices) {
      for (const to of devices) {
        const areCopies = copies.includes(from) && copies.includes(to)
        if (from !== to && !areCopies) await deliver(from, to)
      }
    }
  }
}

function checkEqual(devices: readonly TestDevice[], seed: string): void {
  const [first] = devices as [TestDevice]
  for (const device of devices) {
    assert.equal(treeText(device), treeText(first), `${seed}: ${device.name}`)
    for (const [feed, head] of device.volume.frontier()) {
      assert.equal(device.volume.appliedFrontier().get(feed)?.hash, head.hash, `${seed}: ${feed}`)
    }
  }
}

for (let number = 1; number <= 12; number++) {
  test(`two processes under one actor write on: all get all of it (seed ${number})`, async () => {
    const seed = `doubles ${number}`
    const random = new SeededRandom(number)
    const shared = createTestVolume(seed)
    const alice = await TestDevice.open(shared, 'alice', seed)
    const carol = await TestDevice.open(shared, 'carol', seed)
    const state = { disk: new MemoryDisk({ isRecording: true }), rows: new MemoryRowStore() }
    const one = await TestDevice.open(shared, 'bob', seed, state)
    await alice.admit(one.identity, 'bob', 'writer', shared)
    await alice.admit(carol.identity, 'carol', 'writer', shared)
    for (const device of [carol, one]) await deliver(alice, device)
    one.do(create(one, 'shared'))
    await one.publish()
    await deliver(one, alice)
    await deliver(alice, carol)
    const two = await TestDevice.open(shared, 'bob', seed, copyOf(state), 1, true, actorOf(one))
    assert.equal(actorOf(two), actorOf(one))
    const devices = [alice, carol, one, two]
    const written: string[] = []
    /** Who wrote over a text had seen it: it may be gone. */
    const replaced = new Set<string>()
    const edit = (at: number, step: number): void => {
      const device = devices[at] as TestDevice
      const text = `${at}.${step}`
      for (const shown of texts(device)) if (step % 3 === 0) replaced.add(shown)
      if (step % 3 === 0 && write(device, 'shared', text)) written.push(text)
      else device.do(create(device, text))
    }
    for (const at of [2, 3]) {
      edit(at, 0)
      await (devices[at] as TestDevice).publish()
    }
    for (let step = 1; step < 40; step++) {
      const [at, to] = [random.below(4), random.below(4)]
      const device = devices[at] as TestDevice
      if (random.below(2) === 0) {
        edit(at, step)
        if (random.below(3) > 0) await device.publish()
      } else if (at !== to && Math.min(at, to) < 2) await deliver(device, devices[to] as TestDevice)
    }
    for (const device of devices) await device.publish()
    const made = devices.flatMap((device) => names(device).filter((name) => /^\d\.\d+$/.test(name)))
    await exchange(devices, [one, two])
    for (const [at, device] of devices.entries()) {
      edit(at, 40 + at)
      await device.publish()
    }
    await exchange(devices, [one, two])
    // A device that only now gets everything, in an order of its own.
    const dave = await TestDevice.open(shared, 'dave', seed)
    await deliver(number % 2 ? carol : two, dave)
    checkEqual([...devices, dave], seed)
    for (const device of devices) {
      const shown = new Set(names(device))
      for (const name of made) assert.ok(shown.has(name), `${seed}: ${name} is lost`)
      const left = new Set(texts(device))
      for (const text of written) {
        assert.ok(left.has(text) || replaced.has(text), `${seed}: ${text} is lost`)
      }
    }
    assert.notEqual(one.volume.ownFeed, two.volume.ownFeed)
    for (const device of [...devices, dave]) await device.volume.close()
  })
}

interface Scene {
  readonly shared: TestVolume
  readonly seed: string
  readonly alice: TestDevice
  readonly devices: readonly TestDevice[]
  readonly mallory: HostileAuthor
}

async function scene(seed: string): Promise<Scene> {
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await TestDevice.open(shared, 'bob', seed)
  const carol = await TestDevice.open(shared, 'carol', seed)
  const mallory = new HostileAuthor(shared, 'mallory', seed)
  for (const [name, { identity }] of Object.entries({ bob, carol, mallory })) {
    await alice.admit(identity, name, 'writer', shared)
  }
  for (const device of [bob, carol]) await deliver(alice, device)
  mallory.see(alice).write({ announce: mallory.actor })
  for (const device of [alice, bob, carol]) await mallory.give(device)
  return { shared, seed, alice, devices: [alice, bob, carol], mallory }
}

/** The same operations, as a change of its own. */
function opsOf(part: TreePart): readonly ChangeOp[] {
  return decodeChange((part.changes[0] as TreePart['changes'][number]).change).ops
}

function partOf(change: Change): TreePart {
  const shard = inodeShard(ROOT)
  return { epoch: 0, coveredTo: 0, changes: [{ shard, change: encodeChange(change).bytes }] }
}

function permutations<T>(list: readonly T[]): T[][] {
  if (list.length === 0) return [[]]
  return list.flatMap((first, at) =>
    permutations(list.filter((_, other) => other !== at)).map((rest) => [first, ...rest]),
  )
}

test('two branches under an actor announced before, and what others build on each', async () => {
  const at = await scene('branches')
  const { alice, mallory, seed, shared } = at
  const [, bob, carol] = at.devices as [TestDevice, TestDevice, TestDevice]
  // Both branches make the same inode, by an operation of the same counter and actor.
  const base = create(alice, 'made by one')
  const [put, ...others] = base.puts
  const moved = create(alice, 'made by two').puts[0]
  assert.ok(put && moved)
  const twin = { ...base, puts: [{ ...put, value: moved.value }, ...others] }
  const left = mallory.write({ tree: treePartOf(base, mallory.actor) })
  const right = mallory.fork().write({ tree: treePartOf(twin, mallory.actor) })
  await mallory.give(bob, [left])
  await mallory.give(carol, [right])
  const frames: [TestDevice, string][] = [
    [bob, 'upon the left'],
    [carol, 'upon the right'],
  ]
  for (const [device, text] of frames) {
    device.do(create(device, text))
    for (const name of ['made by one', 'made by two']) write(device, name, text)
    await device.publish()
  }
  const expected = new Set<string>()
  const steps = {
    left: (to: TestDevice) => mallory.give(to, [left]),
    right: (to: TestDevice) => mallory.give(to, [right]),
    bob: (to: TestDevice) => deliver(bob, to),
    carol: (to: TestDevice) => deliver(carol, to),
  }
  for (const [index, order] of permutations(
    Object.keys(steps) as (keyof typeof steps)[],
  ).entries()) {
    const dave = await TestDevice.open(shared, 'dave', `${seed}/${index}`)
    await deliver(alice, dave)
    for (const step of order) await steps[step](dave)
    checkEqual([dave], order.join())
    expected.add(treeText(dave))
    const shown = [...names(dave), ...texts(dave)]
    for (const text of ['upon the left', 'upon the right']) {
      assert.equal(shown.filter((name) => name === text).length, 2, `${order}: ${text}`)
    }
    assert.doesNotMatch(dave.problems.join('\n'), /ENTRY_INVALID/)
    // Who knows of both goes on, and so does whoever gets it.
    dave.volume.close()
  }
  assert.equal(expected.size, 1)
  await exchange([alice, bob, carol], [])
  for (const device of [alice, bob, carol]) {
    for (const name of ['made by one', 'made by two']) write(device, name, `last of ${device.name}`)
    await device.publish()
  }
  await exchange([alice, bob, carol], [])
  checkEqual([alice, bob, carol], seed)
})

test('the same change on two branches is one change', async () => {
  const { mallory, devices, seed } = await scene('same')
  const [alice, bob, carol] = devices as [TestDevice, TestDevice, TestDevice]
  const tree = treePartOf(create(alice, 'said twice'), mallory.actor)
  const left = mallory.write({ tree })
  const right = mallory.fork().write({ tree })
  const orders: [TestDevice, EntryFrame[]][] = [
    [alice, [left, right]],
    [bob, [right, left]],
    [carol, [right]],
  ]
  for (const [device, frames] of orders) {
    for (const frame of frames) await mallory.give(device, [frame])
    assert.ok(names(device).includes('said twice'))
    assert.doesNotMatch(device.problems.join('\n'), /ENTRY_INVALID/)
  }
  await exchange(devices, [])
  checkEqual(devices, seed)
})

test('an actor that has met its double may not go on, nor forget either', async () => {
  const { mallory, devices, seed } = await scene('met')
  const [alice, bob] = devices as [TestDevice, TestDevice]
  const actor = mallory.actor
  const [one, two, next] = ['one', 'two', 'next'].map((name) =>
    opsOf(treePartOf(create(alice, name), actor)),
  ) as [ChangeOp[], ChangeOp[], ChangeOp[]]
  const first: Change = { actor, seq: 1, startOp: 1, deps: [], ops: one }
  const second: Change = { actor, seq: 1, startOp: 1, deps: [], ops: two }
  const deps = [encodeChange(first).hash, encodeChange(second).hash].sort()
  const startOp = 1 + Math.max(one.length, two.length)
  mallory.write({ tree: partOf(first) })
  mallory.write({ tree: partOf(second) })
  mallory.write({ tree: partOf({ actor, seq: 2, startOp, deps, ops: next }) })
  mallory.write({ tree: partOf({ actor, seq: 3, startOp, deps, ops: next }) })
  mallory.write({ tree: partOf({ actor, seq: 2, startOp: 1, deps: [], ops: next }) })
  for (const device of devices) {
    await mallory.give(device)
    assert.deepEqual(names(device).sort(), ['one', 'two'])
    const problems = device.problems.filter((problem) => problem.startsWith('ENTRY_INVALID'))
    assert.equal(problems.length, 3)
    assert.match(problems.join('\n'), /met its double.*\n.*met its double.*\n.*forgot or repeats/)
  }
  bob.do(create(bob, 'goes on'))
  await bob.publish()
  await exchange(devices, [])
  checkEqual(devices, seed)
  assert.ok(names(alice).includes('goes on'))
})

test('a change that follows what its frontier does not name waits for that', async () => {
  const { mallory, devices, seed } = await scene('unnamed')
  const [alice, bob, carol] = devices as [TestDevice, TestDevice, TestDevice]
  alice.do(create(alice, 'by alice'))
  await alice.publish()
  const shard = inodeShard(ROOT)
  const { heads } = alice.tree.inspect().shards.state(shard)
  const startOp = 1 + Math.max(...heads.map(({ maxOp }) => maxOp))
  const deps = heads.map(({ hash }) => hash)
  const { actor } = mallory
  const ops = opsOf(treePartOf(create(alice, 'sly'), actor))
  // Its frontier is from before.
  mallory.write({ tree: partOf({ actor, seq: 1, startOp, deps, ops }) })
  for (const device of devices) await mallory.give(device)
  assert.ok(names(alice).includes('sly'))
  for (const device of [bob, carol]) {
    assert.deepEqual(names(device), [])
    assert.doesNotMatch(device.problems.join('\n'), /ENTRY_INVALID/)
  }
  bob.do(create(bob, 'by bob'))
  await bob.publish()
  await exchange(devices, [])
  checkEqual(devices, seed)
  assert.deepEqual(names(carol).sort(), ['by alice', 'by bob', 'sly'])
})
