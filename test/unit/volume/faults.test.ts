/**
 * Proves what a volume does when its log and its index do not fit each other, and when a write
 * fails half-way: it finds out, never writes two entries at one position, and tells peers what it
 * has. One thread, memory ports, faults planted by hand.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import type { Place } from '../../../src/crdt/draft.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { WormholeError } from '../../../src/errors.ts'
import type { FeedId } from '../../../src/types.ts'
import { feedGeneration, feedId, nameFromText } from '../../../src/types.ts'
import { createTestVolume, deliver, TestDevice, treeText } from '../../helpers/volume-device.ts'

const OWNER = { mode: 0o644, uid: 0, gid: 0 }

async function create(device: TestDevice, name: string): Promise<void> {
  const { overlay } = device
  device.do(overlay.createFile(overlay.root, nameFromText(name), OWNER).edit)
  await device.publish()
}

function names(device: TestDevice): string[] {
  const { entries } = device.overlay.list(device.overlay.root, { countMax: 100 })
  return entries.map(({ name }) => name).sort()
}

function place(device: TestDevice, name: string): Place {
  return { parent: device.overlay.root, name: nameFromText(name) }
}

/** Alice and bob, and bob's disk as it was when he had written one file of two. */
async function bobLosesHisTail(seed: string) {
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const state = { disk: new MemoryDisk({ isRecording: true }), rows: new MemoryRowStore() }
  const bob = await TestDevice.open(shared, 'bob', seed, state)
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await deliver(alice, bob)
  await create(bob, 'kept')
  await deliver(bob, alice)
  const disk = state.disk.imageAt(state.disk.operationCount, { survivors: 'all' })
  await create(bob, 'lost here')
  return { shared, alice, bob, seed, older: { disk, rows: state.rows } }
}

test('own entries lost, index ahead: the tree stays, a new feed goes on', async () => {
  const { shared, alice, bob, seed, older } = await bobLosesHisTail('tail')
  await deliver(bob, alice)
  const again = await TestDevice.open(shared, 'bob', seed, older, 1)
  assert.match(again.problems.join('\n'), /LOG_LOST: own entries from/)
  assert.deepEqual(names(again), ['kept', 'lost here'])
  await create(again, 'new')
  const feeds = [...again.volume.frontier().keys()].filter((feed) => {
    return feed.startsWith(again.identity.device)
  })
  const generations = feeds.map(feedGeneration).sort((a, b) => a - b)
  assert.equal(generations[0], 0)
  assert.ok((generations[1] as number) > 0 && generations.length === 2)
  await deliver(alice, again)
  await deliver(again, alice)
  assert.deepEqual(names(again), ['kept', 'lost here', 'new'])
  assert.equal(treeText(alice), treeText(again))
})

test('own entries that nobody has are said anew: others get them', async () => {
  const { shared, alice, seed, older } = await bobLosesHisTail('alone')
  const again = await TestDevice.open(shared, 'bob', seed, older, 1)
  assert.deepEqual(names(again), ['kept', 'lost here'])
  await create(again, 'new')
  await deliver(again, alice)
  assert.deepEqual(names(alice), ['kept', 'lost here', 'new'])
  assert.equal(treeText(alice), treeText(again))
  await again.volume.close()
  const third = await TestDevice.open(shared, 'bob', seed, again.state, 2)
  assert.deepEqual(third.problems, [])
  assert.equal(treeText(third), treeText(alice))
})

test('own entries that others have built on are waited for; publishing goes on', async () => {
  const { shared, alice, bob, seed, older } = await bobLosesHisTail('held')
  await deliver(bob, alice)
  await create(alice, 'by alice')
  await deliver(alice, bob)
  const again = await TestDevice.open(shared, 'bob', seed, { ...older, rows: bob.state.rows }, 1)
  assert.match(again.problems.join('\n'), /FEED_CORRUPT: .* not here/)
  assert.deepEqual(names(again), ['by alice', 'kept', 'lost here'])
  await create(again, 'new')
  await deliver(again, alice)
  assert.deepEqual(names(alice), ['by alice', 'kept', 'lost here', 'new'])
  assert.ok(again.volume.missingEntries().length > 0)
  await deliver(alice, again)
  assert.deepEqual(again.volume.missingEntries(), [])
  assert.equal(treeText(alice), treeText(again))
})

/** Flips a byte in the middle of the frame of an entry. */
function damage(disk: MemoryDisk, device: TestDevice, feed: FeedId, seq: number): void {
  const segment = disk.files().find((file) => file.includes(feed)) ?? assert.fail(feed)
  const bytes = disk.readFileSync(segment) ?? assert.fail(segment)
  const [frame] = device.volume.read(feed, seq, 1)
  disk.flip(segment, bytes.indexOf(frame as Uint8Array) + 60, 1)
}

for (const { seq, name } of [1, 2, 3, 4, 5].map((seq) => ({ seq, name: `entry ${seq}` }))) {
  test(`a damaged ${name} of the own feed, which nobody has: nothing vanishes`, async () => {
    const seed = `own ${seq}`
    const shared = createTestVolume(seed)
    const state = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
    const alice = await TestDevice.open(shared, 'alice', seed)
    const bob = await TestDevice.open(shared, 'bob', seed, state)
    await alice.admit(bob.identity, 'bob', 'writer', shared)
    await deliver(alice, bob)
    for (const file of ['a', 'b', 'c', 'd', 'e', 'f']) await create(bob, file)
    bob.do(bob.overlay.rename(place(bob, 'b'), place(bob, 'renamed'), 'replace'))
    await bob.publish()
    const before = treeText(bob)
    damage(state.disk, bob, bob.volume.ownFeed, seq)
    await bob.volume.close()
    const again = await TestDevice.open(shared, 'bob', seed, state, 1)
    assert.equal(treeText(again), before)
    await create(again, 'later')
    await deliver(again, alice)
    assert.equal(treeText(alice), treeText(again))
    await create(alice, 'answer')
    await deliver(alice, again)
    assert.equal(treeText(alice), treeText(again))
  })
}

test('a device that has lost who is in knows that, until a peer has told it again', async () => {
  const seed = 'founder'
  const shared = createTestVolume(seed)
  const state = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
  const alice = await TestDevice.open(shared, 'alice', seed, state)
  const bob = await TestDevice.open(shared, 'bob', seed)
  await create(alice, 'before')
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await deliver(alice, bob)
  assert.ok(!alice.volume.isBehind && !bob.volume.isBehind)
  damage(state.disk, alice, alice.volume.ownFeed, 1)
  await alice.volume.close()
  // The index is lost as well: nothing that is left here says that bob is in.
  state.rows = new MemoryRowStore()
  const again = await TestDevice.open(shared, 'alice', seed, state, 1)
  assert.equal(again.volume.role(), 'admin')
  assert.ok(again.volume.isBehind && !again.volume.members.isMember(bob.identity.device))
  const own = feedId(again.identity.device, 0)
  await again.volume.receive(own, bob.volume.read(own, 1, 1))
  await again.volume.settled()
  assert.ok(!again.volume.isBehind && again.volume.members.isMember(bob.identity.device))
  assert.equal(treeText(again), treeText(bob))
})

test("a damaged entry of somebody else's feed: the tree stays, a peer fills the gap", async () => {
  const seed = 'foreign'
  const shared = createTestVolume(seed)
  const state = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await TestDevice.open(shared, 'bob', seed, state)
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  for (const file of ['a', 'b', 'c', 'd']) await create(alice, file)
  await deliver(alice, bob)
  const { feed } = shared.genesis
  damage(state.disk, bob, feed, 4)
  await bob.volume.close()
  const again = await TestDevice.open(shared, 'bob', seed, state, 1)
  assert.match(again.problems.join('\n'), /FEED_CORRUPT/)
  assert.equal(treeText(again), treeText(alice))
  await create(again, 'by bob')
  await create(alice, 'e')
  await deliver(again, alice)
  await deliver(alice, again)
  assert.equal(treeText(again), treeText(alice))
  const [missing] = again.volume.missingEntries()
  assert.deepEqual([missing?.from, missing?.to], [4, 4])
  await again.volume.receive(feed, alice.volume.read(feed, 4, 1))
  assert.deepEqual(again.volume.missingEntries(), [])
  await create(again, 'more')
  await deliver(again, alice)
  assert.equal(treeText(again), treeText(alice))
})

test('the new generation is remembered before anything was written in it', async () => {
  const { shared, alice, bob, seed, older } = await bobLosesHisTail('remember')
  await deliver(bob, alice)
  await create(alice, 'by alice')
  await deliver(alice, bob)
  const state = { ...older, rows: bob.state.rows }
  const first = await TestDevice.open(shared, 'bob', seed, state, 1)
  const { ownFeed } = first.volume
  assert.ok(feedGeneration(ownFeed) > 0)
  await first.volume.close()
  const second = await TestDevice.open(shared, 'bob', seed, state, 2)
  await create(second, 'new')
  assert.equal(second.volume.frontier().get(ownFeed)?.length, 1)
})

test('own entries that come back from a peer cover no local edit', async () => {
  const { shared, alice, bob, seed, older } = await bobLosesHisTail('come back')
  await deliver(bob, alice)
  // The index is lost as well: nothing here knows of the second entry.
  const again = await TestDevice.open(
    shared,
    'bob',
    seed,
    { ...older, rows: new MemoryRowStore() },
    1,
  )
  const { overlay } = again
  again.do(overlay.createFile(overlay.root, nameFromText('pending'), OWNER).edit)
  const { feed } = shared.genesis
  const own = feedId(again.identity.device, 0)
  const from = again.volume.frontier().get(own)?.length ?? 0
  await again.volume.receive(own, alice.volume.read(own, from, 1 << 20))
  await again.volume.settled()
  await again.publish()
  assert.ok(again.volume.frontier().has(feed))
  assert.deepEqual(names(again), ['kept', 'lost here', 'pending'])
  await deliver(again, alice)
  assert.equal(treeText(alice), treeText(again))
})

test('own entries that wait for lost ones are not said again in another generation', async () => {
  const seed = 'twice'
  const shared = createTestVolume(seed)
  const state = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await TestDevice.open(shared, 'bob', seed)
  const carol = await TestDevice.open(shared, 'carol', seed, state)
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await alice.admit(carol.identity, 'carol', 'writer', shared)
  await deliver(alice, bob)
  await create(bob, 'by bob')
  await deliver(alice, carol)
  await deliver(bob, carol)
  const { edit } = carol.overlay.createFile(carol.overlay.root, nameFromText('by carol'), OWNER)
  carol.do(edit)
  await carol.publish()
  await carol.volume.close()
  // Index and bob's entries are lost; her journal still has the edit that she has published.
  const lost = state.disk.files().filter((file) => file.includes(bob.identity.device))
  assert.equal(lost.length, 1)
  for (const file of lost) state.disk.removeSync(file)
  state.rows = new MemoryRowStore()
  const again = await TestDevice.open(shared, 'carol', seed, state, 1)
  again.do(edit)
  assert.equal(again.volume.role(), 'writer')
  await assert.rejects(again.publish(), { code: 'FEED_CORRUPT' })
  await deliver(bob, again)
  await again.publish()
  assert.equal(again.volume.frontier().get(again.volume.ownFeed), undefined)
  assert.deepEqual(names(again), ['by bob', 'by carol'])
  await create(again, 'later')
  await deliver(again, alice)
  await deliver(bob, alice)
  assert.equal(treeText(alice), treeText(again))
})

test('before its admission a device writes nothing, and applies all that arrives', async () => {
  const seed = 'early'
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await TestDevice.open(shared, 'bob', seed)
  const { overlay } = bob
  bob.do(overlay.createFile(overlay.root, nameFromText('early'), OWNER).edit)
  await assert.rejects(bob.publish(), { code: 'NOT_A_MEMBER' })
  await assert.rejects(bob.volume.write([{ type: 'ack' }]), { code: 'NOT_A_MEMBER' })
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await create(alice, 'late')
  await deliver(alice, bob)
  await bob.publish()
  await deliver(bob, alice)
  assert.deepEqual(names(alice), ['early', 'late'])
  assert.equal(treeText(alice), treeText(bob))
})

test('the index refuses a commit: the entry stays, counts once, is told', async () => {
  const seed = 'commit fails'
  const shared = createTestVolume(seed)
  class FullRows extends MemoryRowStore {
    isFull = false
    override transaction<T>(run: Parameters<MemoryRowStore['transaction']>[0]): T {
      if (this.isFull) throw new WormholeError('DISK_FULL', 'planted')
      return super.transaction(run) as T
    }
  }
  const rows = new FullRows()
  const alice = await TestDevice.open(shared, 'alice', seed, { disk: new MemoryDisk(), rows })
  await create(alice, 'before')
  const { feed } = shared.genesis
  rows.isFull = true
  await assert.rejects(create(alice, 'during'), { code: 'DISK_FULL' })
  const length = alice.volume.frontier().get(feed)?.length
  alice.heads.length = 0
  rows.isFull = false
  await alice.publish()
  assert.equal(alice.volume.frontier().get(feed)?.length, length, 'nothing is published twice')
  assert.deepEqual(alice.heads, [[feed, length]])
  assert.deepEqual(names(alice), ['before', 'during'])
})

test('a damaged entry is told, stops its feed only, counts once it came again', async () => {
  const seed = 'rot'
  const shared = createTestVolume(seed)
  const state = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await TestDevice.open(shared, 'bob', seed, state)
  const carol = await TestDevice.open(shared, 'carol', seed)
  await alice.admit(carol.identity, 'carol', 'writer', shared)
  await deliver(alice, carol)
  await create(carol, 'by carol')
  await create(alice, 'by alice')
  // Carol's entry waits for her admission; meanwhile the disk rots.
  const feed = feedId(carol.identity.device, 0)
  await bob.volume.receive(feed, carol.volume.read(feed, 0, 1 << 20))
  const segment = state.disk.files().find((file) => file.includes(feed)) ?? assert.fail()
  const middle = (state.disk.readFileSync(segment)?.length ?? 0) - 40
  state.disk.flip(segment, middle, 1)
  await deliver(alice, bob)
  assert.match(bob.problems.join('\n'), /FEED_CORRUPT/)
  assert.deepEqual(names(bob), ['by alice'])
  await deliver(carol, bob)
  assert.deepEqual(names(bob), ['by alice', 'by carol'])
})
