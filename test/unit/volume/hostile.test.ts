/**
 * Proves that a member that turned bad harms nobody: each of its entries is refused, stalled or
 * applied alike on every device, whatever the order of arrival, and the others go on. The entries
 * are forged with a real member's keys.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from '../../../src/crdt/change.ts'
import { createActor } from '../../../src/log/actors.ts'
import { nameFromText, type ActorId, type Role } from '../../../src/types.ts'
import { HostileAuthor, treePartOf } from '../../helpers/hostile-author.ts'
import {
  createTestVolume,
  deliver,
  seededRandom,
  TestDevice,
  treeText,
  type TestVolume,
} from '../../helpers/volume-device.ts'

const OWNER = { mode: 0o644, uid: 0, gid: 0 }

interface Scene {
  readonly seed: string
  readonly shared: TestVolume
  readonly alice: TestDevice
  readonly bob: TestDevice
  readonly mallory: HostileAuthor
}

/** Alice and bob are honest; mallory is a member and has seen all of it. */
async function scene(seed: string, role: Role = 'writer'): Promise<Scene> {
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await TestDevice.open(shared, 'bob', seed)
  const mallory = new HostileAuthor(shared, 'mallory', seed)
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await alice.admit(mallory.identity, 'mallory', role, shared)
  await deliver(alice, bob)
  return { seed, shared, alice, bob, mallory: mallory.see(alice) }
}

function createEdit(device: TestDevice, name: string) {
  return device.overlay.createFile(device.overlay.root, nameFromText(name), OWNER).edit
}

/** Both make a file, exchange everything, and show the same tree with both files. */
async function goOn({ alice, bob }: Scene): Promise<void> {
  for (const device of [alice, bob]) {
    device.do(createEdit(device, `by ${device.name}`))
    await device.publish()
  }
  for (let round = 0; round < 2; round++) {
    await deliver(alice, bob)
    await deliver(bob, alice)
  }
  assert.equal(treeText(alice), treeText(bob))
  for (const name of [`by ${alice.name}`, 'by bob']) {
    assert.ok(alice.overlay.lookup(alice.overlay.root, nameFromText(name)), name)
  }
}

function has(device: TestDevice, name: string): boolean {
  return device.overlay.lookup(device.overlay.root, nameFromText(name)) !== undefined
}

/** Everybody got everything of mallory, and nobody shows `name`. */
async function refuse(at: Scene, name: string, problem: RegExp): Promise<void> {
  for (const device of [at.alice, at.bob]) {
    await at.mallory.give(device)
    assert.equal(has(device, name), false, device.name)
    assert.match(device.problems.join('\n'), problem)
    assert.equal(device.volume.appliedFrontier().get(at.mallory.feed)?.length, 1)
  }
  await goOn(at)
}

test('a change whose operations start at 10^8 is refused, and its shard stays usable', async () => {
  const at = await scene('poisoned')
  const { mallory, bob } = at
  const alter = (change: Change): Change => ({ ...change, startOp: 100_000_000 })
  const tree = treePartOf(createEdit(bob, 'poison'), mallory.actor, alter)
  mallory.write({ announce: mallory.actor, tree })
  await refuse(at, 'poison', /operations start at 100000000/)
})

test("a change under another device's actor is refused in every order of arrival", async () => {
  const at = await scene('actor')
  const { alice, bob, mallory } = at
  bob.do(createEdit(bob, 'first of bob'))
  await bob.publish()
  const feed = [...bob.volume.frontier().keys()].find((id) => id.startsWith(bob.identity.device))
  assert.ok(feed)
  const [actor] = bob.volume.members.actorsOf(feed)
  assert.ok(actor)
  // Mallory pretends not to have seen that the actor is bob's.
  const tree = treePartOf(createEdit(alice, 'stolen'), actor)
  mallory.write({ announce: actor, tree })
  await mallory.give(alice)
  await deliver(bob, alice)
  await mallory.give(bob)
  for (const device of [alice, bob]) {
    assert.equal(has(device, 'stolen'), false, device.name)
    assert.equal(has(device, 'first of bob'), true, device.name)
    assert.match(device.problems.join('\n'), /the actor is of another feed/)
  }
  await goOn(at)
})

test('one actor in two feeds of one device is valid in none but its own', async () => {
  const at = await scene('two feeds')
  const { alice, bob, mallory, shared, seed } = at
  const second = new HostileAuthor(shared, 'mallory', seed, 1).see(alice)
  mallory.write({ announce: mallory.actor, tree: treePartOf(createEdit(bob, 'x'), mallory.actor) })
  second.write({ announce: mallory.actor, tree: treePartOf(createEdit(bob, 'y'), mallory.actor) })
  await mallory.give(alice)
  await second.give(alice)
  await second.give(bob)
  await mallory.give(bob)
  assert.equal(treeText(alice), treeText(bob))
  assert.equal(has(alice, 'x'), true)
  assert.equal(has(alice, 'y'), false)
  await goOn(at)
})

test('a tree part by a reader counts as empty', async () => {
  const at = await scene('reader', 'reader')
  const { bob, mallory } = at
  const tree = treePartOf(createEdit(bob, 'by a reader'), mallory.actor)
  mallory.write({ announce: mallory.actor, tree })
  await refuse(at, 'by a reader', /a reader changes the tree/)
})

test('entries of a non-member are never applied, appear in no frontier', async () => {
  const at = await scene('stranger')
  const { alice, bob, shared, seed } = at
  const stranger = new HostileAuthor(shared, 'stranger', seed).see(alice)
  const tree = treePartOf(createEdit(bob, 'strange'), stranger.actor)
  stranger.write({ announce: stranger.actor, tree })
  await stranger.give(alice)
  assert.equal(alice.volume.appliedFrontier().has(stranger.feed), false)
  alice.do(createEdit(alice, 'after the stranger'))
  await alice.publish()
  // Bob never gets the stranger's feed, and needs it for nothing.
  const feed = shared.genesis.feed
  const from = bob.volume.frontier().get(feed)?.length ?? 0
  await bob.volume.receive(feed, alice.volume.read(feed, from, 1 << 20))
  await bob.volume.settled()
  assert.equal(has(bob, 'after the stranger'), true)
  assert.equal(has(bob, 'strange'), false)
  await goOn(at)
})

test('strangers cannot fill the disk: a few feeds are kept, then they are refused', async () => {
  const { alice, shared } = await scene('many strangers')
  let refused = 0
  for (let index = 0; index < 40; index++) {
    const stranger = new HostileAuthor(shared, 'stranger', `many ${index}`)
    stranger.write()
    try {
      await stranger.give(alice)
    } catch (error) {
      assert.equal((error as { code: string }).code, 'NOT_A_MEMBER')
      refused++
    }
  }
  assert.equal(refused, 8)
})

test('a feed with a gap is refused whole, and taken once it has none', async () => {
  const at = await scene('gap')
  const { alice, bob, mallory } = at
  mallory.write()
  mallory.write()
  mallory.write()
  const [first, , third] = mallory.frames
  assert.ok(first && third)
  for (const device of [alice, bob]) {
    await assert.rejects(mallory.give(device, [first, third]), { code: 'ENTRY_INVALID' })
    assert.equal(device.volume.frontier().get(mallory.feed), undefined)
    await mallory.give(device)
    assert.equal(device.volume.appliedFrontier().get(mallory.feed)?.length, 3)
  }
  await goOn(at)
})

test('two branches: everybody takes both, whatever the order, and goes on', async () => {
  const at = await scene('fork')
  const { alice, bob, mallory, shared, seed } = at
  const carol = await TestDevice.open(shared, 'carol', seed)
  await alice.admit(carol.identity, 'carol', 'writer', shared)
  await deliver(alice, bob)
  await deliver(alice, carol)
  const one = mallory.write()
  await mallory.give(alice)
  const other = mallory.fork().write({ control: [{ type: 'labels', labels: { branch: 'other' } }] })
  assert.notEqual(one.hash, other.hash)
  await mallory.give(bob)
  await mallory.give(carol)
  // Alice has applied the other branch: what she writes names it.
  alice.do(createEdit(alice, 'on branch one'))
  await alice.publish()
  const { feed } = shared.genesis
  const from = bob.volume.frontier().get(feed)?.length ?? 0
  await bob.volume.receive(feed, alice.volume.read(feed, from, 1 << 20))
  await bob.volume.settled()
  assert.equal(has(bob, 'on branch one'), false, 'it waits for what it builds on')
  await deliver(alice, bob)
  assert.equal(has(bob, 'on branch one'), true)
  await goOn({ ...at, alice: carol })
  await deliver(carol, alice)
  await deliver(alice, carol)
  await deliver(carol, bob)
  assert.equal(treeText(alice), treeText(bob))
  assert.equal(treeText(carol), treeText(bob))
  for (const device of [alice, bob, carol]) {
    assert.match(device.problems.join('\n'), /FEED_FORKED: device mallory/)
    assert.equal(device.volume.members.member(mallory.identity.device)?.labels['branch'], 'other')
  }
})

test('branches without number are refused, but those that others build on are taken', async () => {
  const at = await scene('many branches')
  const { alice, bob, mallory } = at
  const give = async (device: TestDevice, from: number, to: number): Promise<number> => {
    let refused = 0
    for (const frame of branches.slice(from, to)) {
      await mallory.give(device, [frame]).catch((error: unknown) => {
        assert.equal((error as { code: string }).code, 'LIMIT_EXCEEDED')
        refused++
      })
    }
    return refused
  }
  const branches = Array.from({ length: 24 }, (_, index) => {
    const frame = mallory.write({ control: [{ type: 'labels', labels: { at: String(index) } }] })
    mallory.fork()
    return frame
  })
  assert.equal(await give(alice, 0, 20), 4)
  assert.equal(await give(bob, 8, 24), 0)
  // What bob writes names branches that alice does not have and had refused.
  await goOn(at)
  await deliver(bob, alice)
  for (const device of [alice, bob]) {
    const names = [...device.volume.frontier().keys()].filter((feed) =>
      feed.startsWith(mallory.feed),
    )
    assert.equal(names.length, 24, device.name)
  }
})

test('a control operation of a newer version stalls its feed and what depends on it', async () => {
  const at = await scene('newer')
  const { alice, bob, mallory } = at
  const bytes = Buffer.from('81a474797065a3666f6f', 'hex')
  mallory.write({ control: [{ type: 'unknown', bytes }] })
  const tree = treePartOf(createEdit(bob, 'later'), mallory.actor)
  mallory.write({ announce: mallory.actor, tree })
  for (const device of [alice, bob]) {
    await mallory.give(device)
    assert.equal(has(device, 'later'), false)
    assert.match(device.problems.join('\n'), /UPGRADE_NEEDED/)
    assert.equal(device.volume.appliedFrontier().get(mallory.feed), undefined)
  }
  await goOn(at)
})

test('a frontier that names entries that do not exist waits alone', async () => {
  const at = await scene('imaginary')
  const { alice, bob, mallory } = at
  const [feed, head] = [...alice.volume.appliedFrontier()][0] ?? assert.fail()
  const frontier = new Map(mallory.frontier)
  frontier.set(feed, { length: head.length + 1000, hash: 'ab'.repeat(32) })
  mallory.write({ frontier })
  for (const device of [alice, bob]) {
    await mallory.give(device)
    assert.equal(device.volume.appliedFrontier().get(mallory.feed), undefined)
  }
  await goOn(at)
})

test('oversized bytes, or no entry at all, are refused before storing', async () => {
  const at = await scene('frames')
  const { alice, mallory } = at
  const whole = mallory.write({ announce: mallory.actor })
  const huge = Buffer.alloc(9 * 1024 * 1024)
  huge.writeUInt32LE(huge.length - 8, 0)
  const flipped = Buffer.from(whole.bytes)
  flipped[flipped.length - 1] = (flipped[flipped.length - 1] as number) ^ 1
  for (const bytes of [huge, Buffer.alloc(0), Buffer.alloc(64), flipped]) {
    await assert.rejects(alice.volume.receive(mallory.feed, [bytes]), { code: 'ENTRY_INVALID' })
  }
  assert.equal(alice.volume.frontier().get(mallory.feed), undefined)
  await goOn(at)
})

test('an entry that its author malformed counts as empty, and its next one counts', async () => {
  const at = await scene('malformed')
  const { alice, bob, mallory } = at
  const change = Buffer.from('no change at all')
  mallory.write({
    announce: mallory.actor,
    tree: { epoch: 0, coveredTo: 0, changes: [{ shard: 7, change }] },
  })
  const actor: ActorId = createActor(mallory.feed, seededRandom('second'))
  mallory.write({ announce: actor, tree: treePartOf(createEdit(bob, 'fine'), actor) })
  for (const device of [alice, bob]) {
    await mallory.give(device)
    assert.equal(has(device, 'fine'), true, device.problems.join('\n'))
  }
  await goOn(at)
})
