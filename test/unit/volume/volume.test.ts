/**
 * Proves the commit sequence of a volume: own edits reach other devices in causal order, restarts
 * and crashes between log and index lose nothing, and refused entries stop nobody. Runs the real
 * log and tree of several devices in one thread on memory ports.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { nameFromText } from '../../../src/types.ts'
import {
  createTestVolume,
  deliver,
  TestDevice,
  treeText,
  type TestVolume,
} from '../../helpers/volume-device.ts'

const OWNER = { mode: 0o644, uid: 0, gid: 0 }
const DIRECTORY = { mode: 0o755, uid: 0, gid: 0 }

async function pair(seed: string): Promise<{
  shared: TestVolume
  alice: TestDevice
  bob: TestDevice
}> {
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await TestDevice.open(shared, 'bob', seed)
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await deliver(alice, bob)
  return { shared, alice, bob }
}

test('edits of one device appear on the other, equal in every field', async () => {
  const { alice, bob } = await pair('appear')
  const { overlay } = alice
  const made = overlay.mkdir(overlay.root, nameFromText('docs'), DIRECTORY)
  alice.do(made.edit)
  for (let index = 0; index < 20; index++) {
    alice.do(overlay.createFile(made.id, nameFromText(`file ${index}`), OWNER).edit)
  }
  alice.do(overlay.symlink(overlay.root, nameFromText('link'), { ...OWNER, target: 'docs' }).edit)
  await alice.publish()
  await deliver(alice, bob)
  assert.equal(treeText(bob), treeText(alice))
  assert.equal(bob.overlay.list(made.id, { countMax: 100 }).entries.length, 20)
  assert.deepEqual(bob.problems, [])
})

test('both edit while apart; after exchange both show the same tree with both names', async () => {
  const { alice, bob } = await pair('apart')
  for (const device of [alice, bob]) {
    const { overlay } = device
    device.do(overlay.createFile(overlay.root, nameFromText('same.txt'), OWNER).edit)
    device.do(overlay.mkdir(overlay.root, nameFromText(device.name), DIRECTORY).edit)
    await device.publish()
  }
  await deliver(alice, bob)
  await deliver(bob, alice)
  assert.equal(treeText(alice), treeText(bob))
  assert.match(treeText(alice), /\/alice /)
  assert.match(treeText(alice), /\/bob /)
})

test('an edit pending here is published before a remote group is applied', async () => {
  const { alice, bob } = await pair('pending')
  alice.do(alice.overlay.createFile(alice.overlay.root, nameFromText('a'), OWNER).edit)
  await alice.publish()
  bob.do(bob.overlay.createFile(bob.overlay.root, nameFromText('b'), OWNER).edit)
  assert.equal(bob.overlay.pending().length, 1)
  await deliver(alice, bob)
  assert.equal(bob.overlay.pending().length, 0)
  await deliver(bob, alice)
  assert.equal(treeText(alice), treeText(bob))
})

test('what was created and removed before publication never reaches the log', async () => {
  const { alice } = await pair('cancel')
  const before = alice.volume.frontier().get(alice.volume.frontier().keys().next().value as never)
  const created = alice.overlay.createFile(alice.overlay.root, nameFromText('tmp'), OWNER)
  alice.do(created.edit)
  const last = alice.do(alice.overlay.unlink(alice.overlay.root, nameFromText('tmp')))
  const lengthBefore = before?.length ?? 0
  await alice.publish()
  const after = alice.volume.frontier().get(alice.volume.frontier().keys().next().value as never)
  assert.ok((after?.length ?? 0) <= lengthBefore + 1, 'at most the directory time is published')
  assert.equal(alice.volume.coveredTo, last)
})

test('the index lost: all is rebuilt from the log, nothing is published twice', async () => {
  const seed = 'rebuild'
  const shared = createTestVolume(seed)
  const disk = new MemoryDisk()
  const alice = await TestDevice.open(shared, 'alice', seed, { disk, rows: new MemoryRowStore() })
  const { overlay } = alice
  for (let index = 0; index < 30; index++) {
    alice.do(overlay.createFile(overlay.root, nameFromText(`f${index}`), OWNER).edit)
    if (index % 7 === 0) await alice.publish()
  }
  await alice.publish()
  const text = treeText(alice)
  const covered = alice.volume.coveredTo
  await alice.volume.close()
  const again = await TestDevice.open(
    shared,
    'alice',
    seed,
    { disk, rows: new MemoryRowStore() },
    1,
  )
  assert.equal(treeText(again), text)
  assert.equal(again.volume.coveredTo, covered)
})

test('a reader does not publish, and others refuse what it would have written', async () => {
  const seed = 'reader'
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const carol = await TestDevice.open(shared, 'carol', seed)
  await alice.admit(carol.identity, 'carol', 'reader', shared)
  await deliver(alice, carol)
  assert.equal(carol.volume.role(), 'reader')
  carol.do(carol.overlay.createFile(carol.overlay.root, nameFromText('no'), OWNER).edit)
  await assert.rejects(carol.publish(), { code: 'READ_ONLY' })
})

test('three devices, entries over a middle one that is no author: order is causal', async () => {
  const seed = 'three'
  const shared = createTestVolume(seed)
  const [alice, bob, carol] = await Promise.all([
    TestDevice.open(shared, 'alice', seed),
    TestDevice.open(shared, 'bob', seed),
    TestDevice.open(shared, 'carol', seed),
  ])
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await alice.admit(carol.identity, 'carol', 'writer', shared)
  await deliver(alice, bob)
  const made = bob.overlay.mkdir(bob.overlay.root, nameFromText('d'), DIRECTORY)
  bob.do(made.edit)
  await bob.publish()
  // Carol gets bob's feed before alice's, which admits bob.
  const feed = [...bob.volume.frontier().keys()].find((id) => id.startsWith(bob.identity.device))
  assert.ok(feed)
  await carol.volume.receive(feed, bob.volume.read(feed, 0, 1 << 20))
  await carol.volume.settled()
  assert.equal(carol.overlay.lookup(carol.overlay.root, nameFromText('d')), undefined)
  await deliver(alice, carol)
  assert.equal(carol.overlay.lookup(carol.overlay.root, nameFromText('d'))?.id, made.id)
})
