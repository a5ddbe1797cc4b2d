/**
 * Proves what happens here when another device's changes arrive: open files keep their version on
 * their node, everybody else sees the new one, the kernel is told exactly what it must know. Two
 * devices over the real tree, delivery by the test.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

/** Two devices that both have `f` with the text `one`. */
async function twoDevices(): Promise<[alice: VfsDevice, bob: VfsDevice]> {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await alice.put('f', 'one')
  await alice.drain()
  await bob.receive(alice)
  bob.notifier.notes.length = 0
  return [alice, bob]
}

async function change(device: VfsDevice, text: string): Promise<void> {
  await device.put('f', text)
  await device.drain()
}

test('an open file keeps its bytes; a new lookup gets a new node with the same ino', async () => {
  const [alice, bob] = await twoDevices()
  const before = bob.find('f') ?? assert.fail('no f')
  const handle = bob.open(before.nodeId, 0)
  await change(alice, 'two!')
  await bob.receive(alice)
  assert.deepEqual(bob.notifier.notes, [`entry ${ROOT} f`])
  assert.equal(await bob.read(handle), 'one')
  assert.equal((await bob.fs.getattr(before.nodeId, handle)).sizeBytes, 3)
  const after = bob.find('f') ?? assert.fail('no f')
  assert.notEqual(after.nodeId, before.nodeId)
  assert.equal(after.attr.ino, before.attr.ino)
  assert.equal(await bob.cat('f'), 'two!')
  assert.equal(await bob.read(handle), 'one')
  bob.close(handle)
})

test('a file that is not open shows the new version on its node, without old pages', async () => {
  const [alice, bob] = await twoDevices()
  const before = bob.find('f') ?? assert.fail('no f')
  assert.equal(await bob.cat('f'), 'one')
  await change(alice, 'two!')
  await bob.receive(alice)
  assert.deepEqual(bob.notifier.notes, [`inode ${before.nodeId}`])
  const after = bob.find('f')
  assert.equal(after?.nodeId, before.nodeId)
  assert.equal(after?.attr.sizeBytes, 4)
  const [first, second] = [0, 0].map(() => bob.fs.open(CONTEXT, before.nodeId, 0))
  assert.equal((first as { keepCache: boolean }).keepCache, false)
  assert.equal((second as { keepCache: boolean }).keepCache, true)
})

test('two devices that write the same open file both survive', async () => {
  const [alice, bob] = await twoDevices()
  const node = bob.find('f') ?? assert.fail('no f')
  const handle = bob.open(node.nodeId)
  await bob.write(handle, 0, 'bob')
  await change(alice, 'alice')
  await bob.receive(alice)
  assert.equal(await bob.read(handle), 'bob')
  assert.equal(await bob.cat('f'), 'alice')
  bob.close(handle)
  await bob.drain()
  await alice.receive(bob)
  assert.deepEqual(await alice.names(), await bob.names())
  const texts = await Promise.all((await bob.names()).map((entry) => bob.cat(entry)))
  assert.deepEqual(texts.sort(), ['alice', 'bob'])
})

test('a save by rename before its last bytes: others see what they knew, then all', async () => {
  for (const crash of ['never', 'before', 'after']) {
    const [alice, bob] = await twoDevices()
    await alice.put('new', 'two')
    await alice.drain()
    await bob.receive(alice)
    const handle = alice.open(alice.find('new')?.nodeId ?? 0)
    await alice.write(handle, 3, ' three')
    const [from, to] = [name('new'), name('f')]
    await alice.fs.rename(CONTEXT, { parent: ROOT, name: from }, { parent: ROOT, name: to }, 0)
    if (crash === 'before') {
      alice.fs.flush(handle)
      await alice.crash()
    }
    await alice.clock.settle(alice.vfs.submitPending(), 10_000)
    await bob.receive(alice)
    assert.deepEqual(await bob.names(), ['f'])
    if (crash !== 'before') assert.equal(await bob.cat('f'), 'two')
    if (crash === 'after') await alice.crash()
    if (crash === 'never') alice.close(handle)
    await alice.drain()
    await bob.receive(alice)
    for (const device of [alice, bob]) {
      assert.deepEqual(await device.names(), ['f'], crash)
      assert.equal(await device.cat('f'), 'two three', crash)
    }
  }
})

test('own publications are not notified', async () => {
  const [, bob] = await twoDevices()
  bob.find('f')
  bob.notifier.notes.length = 0
  await bob.put('g', 'new')
  await bob.put('f', 'changed')
  await bob.fs.mkdir(CONTEXT, ROOT, name('d'), 0o755)
  await bob.fs.setattr(CONTEXT, bob.find('g')?.nodeId ?? 0, { mode: 0o600 }, undefined)
  await bob.fs.rename(
    CONTEXT,
    { parent: ROOT, name: name('g') },
    { parent: ROOT, name: name('h') },
    0,
  )
  await bob.drain()
  await bob.fs.unlink(CONTEXT, ROOT, name('h'))
  await bob.drain()
  assert.deepEqual(bob.notifier.notes, [])
})

test('names that appear and vanish are invalidated where the kernel may know them', async () => {
  const [alice, bob] = await twoDevices()
  assert.equal(bob.find('g'), undefined)
  assert.ok(bob.find('f'))
  bob.notifier.notes.length = 0
  await alice.put('g', 'x')
  await alice.fs.unlink(CONTEXT, ROOT, name('f'))
  await alice.drain()
  await bob.receive(alice)
  assert.ok(bob.notifier.notes.includes(`entry ${ROOT} f`))
  assert.ok(bob.notifier.notes.includes(`entry ${ROOT} g`))
  assert.equal(bob.find('f'), undefined)
  assert.ok(bob.find('g'))
})

test('a remote chmod changes attributes, not pages', async () => {
  const [alice, bob] = await twoDevices()
  const node = bob.find('f') ?? assert.fail('no f')
  await alice.fs.setattr(CONTEXT, alice.find('f')?.nodeId ?? 0, { mode: 0o640 }, undefined)
  await alice.drain()
  await bob.receive(alice)
  assert.deepEqual(bob.notifier.notes, [`attributes ${node.nodeId}`])
  assert.equal((await bob.fs.getattr(node.nodeId, undefined)).mode & 0o777, 0o640)
})

test('a file removed elsewhere stays with its handles', async () => {
  const [alice, bob] = await twoDevices()
  const node = bob.find('f') ?? assert.fail('no f')
  const handle = bob.open(node.nodeId, 0)
  await alice.fs.unlink(CONTEXT, ROOT, name('f'))
  await alice.drain()
  await bob.receive(alice)
  assert.equal(bob.find('f'), undefined)
  assert.equal(await bob.read(handle), 'one')
  assert.equal((await bob.fs.getattr(node.nodeId, handle)).nlink, 0)
})

test('unpublished bytes outlive the removal of their file elsewhere', async () => {
  const [alice, bob] = await twoDevices()
  const node = bob.find('f') ?? assert.fail('no f')
  const handle = bob.open(node.nodeId)
  await bob.write(handle, 0, 'mine')
  await alice.fs.unlink(CONTEXT, ROOT, name('f'))
  await alice.drain()
  await bob.receive(alice)
  assert.equal(await bob.read(handle), 'mine')
  bob.close(handle)
  await bob.drain()
  await alice.receive(bob)
  assert.equal(await bob.cat('f'), 'mine')
  assert.equal(await alice.cat('f'), 'mine')
})

test('they also outlive the removal of the directory, when the name for it is taken', async () => {
  const [alice, bob] = await twoDevices()
  await alice.fs.mkdir(CONTEXT, ROOT, name('d'), 0o755)
  const made = alice.find('d') ?? assert.fail('no d')
  await alice.put('g', 'one', made.nodeId)
  await alice.drain()
  await bob.receive(alice)
  const node = bob.find('d/g') ?? assert.fail('no d/g')
  const handle = bob.open(node.nodeId)
  await bob.write(handle, 0, 'mine')
  await alice.fs.unlink(CONTEXT, made.nodeId, name('g'))
  await alice.fs.rmdir(CONTEXT, ROOT, name('d'))
  await alice.drain()
  const inode = bob.overlay.lookup(
    bob.overlay.lookup(bob.overlay.root, name('d'))?.id ?? assert.fail('no d'),
    name('g'),
  )?.id
  await bob.put(`recovered ${inode}`, 'in the way')
  await bob.receive(alice)
  bob.close(handle)
  await bob.drain()
  await alice.receive(bob)
  assert.equal(await alice.cat(`recovered ${inode} 2`), 'mine')
  assert.equal(await alice.cat(`recovered ${inode}`), 'in the way')
})

test('a conflict copy that went and came again as a file shows nothing of before', async () => {
  const [alice, bob, carol] = (await createWorld(3)) as [VfsDevice, VfsDevice, VfsDevice]
  const devices = [alice, bob, carol]
  await alice.put('f', 'one')
  await alice.drain()
  await bob.receive(alice)
  for (const device of [alice, bob]) await change(device, `by ${device.info.deviceName}`)
  for (const to of devices) for (const from of [alice, bob]) if (to !== from) await to.receive(from)
  const copy = (await carol.names()).find((entry) => entry !== 'f') ?? assert.fail('no copy')
  const before = carol.find(copy) ?? assert.fail('not found')
  assert.equal(before.attr.mode & 0o777, 0o644)
  // Alice ends the conflict, while bob makes the copy a file of its own.
  await alice.fs.unlink(CONTEXT, ROOT, name(copy))
  await alice.drain()
  await bob.fs.setattr(CONTEXT, bob.find(copy)?.nodeId ?? 0, { mode: 0o600 }, undefined)
  await bob.drain()
  await carol.receive(alice)
  assert.equal(carol.find(copy), undefined)
  await carol.receive(bob)
  const after = carol.find(copy) ?? assert.fail('not back')
  assert.equal(after.attr.mode & 0o777, 0o600)
  const opened = carol.fs.open(CONTEXT, after.nodeId, 0)
  assert.equal((opened as { keepCache: boolean }).keepCache, false)
})

/** Bob has `f` and a conflict copy of it, which alice made. */
async function withCopy(): Promise<{ bob: VfsDevice; copy: string }> {
  const [alice, bob] = await twoDevices()
  await change(alice, 'by alice')
  await change(bob, 'by bob')
  await bob.receive(alice)
  const copy = (await bob.names()).find((entry) => entry.includes('(conflict')) as string
  return { bob, copy }
}

const place = (entry: string) => ({ parent: ROOT, name: name(entry) })

/** What is done to the copy while bytes wait that were written over it: each makes it an inode. */
const WHILE_WRITTEN: Readonly<Record<string, (bob: VfsDevice, copy: string) => Promise<unknown>>> =
  {
    'its mode changes': async (bob, copy) => {
      const nodeId = bob.find(copy)?.nodeId ?? assert.fail()
      await bob.fs.setattr(CONTEXT, nodeId, { mode: 0o600 }, undefined)
    },
    'it is renamed': async (bob, copy) => bob.fs.rename(CONTEXT, place(copy), place('g'), 0),
    'it gets another name': async (bob, copy) =>
      bob.fs.link(CONTEXT, bob.find(copy)?.nodeId ?? assert.fail(), ROOT, name('g')),
    'the other side is removed': async (bob) => bob.fs.unlink(CONTEXT, ROOT, name('f')),
  }

for (const [what, run] of Object.entries(WHILE_WRITTEN)) {
  for (const dies of [false, true]) {
    const title = `a copy is written, and ${what}${dies ? ', and a crash' : ''}: no new conflict`
    test(title, async () => {
      const { bob, copy } = await withCopy()
      const old = (await bob.cat(copy)) as string
      const handle = bob.open(bob.find(copy)?.nodeId ?? assert.fail())
      await bob.write(handle, 0, 'written over the copy')
      await run(bob, copy)
      bob.close(handle)
      if (dies) {
        await bob.fs.syncfs()
        await bob.crash()
      }
      await bob.drain()
      const texts = await Promise.all((await bob.names()).map((entry) => bob.cat(entry)))
      assert.ok(texts.includes('written over the copy'), texts.join())
      assert.ok(!texts.includes(old), texts.join())
      assert.deepEqual(bob.overlay.conflicts({ countMax: 10 }).conflicts, [])
    })
  }
}

test('a save over a copy that is renamed at once is in no conflict with itself', async () => {
  for (const dies of [false, true]) {
    const { bob, copy } = await withCopy()
    const old = (await bob.cat(copy)) as string
    await bob.put('tmp', 'saved')
    await bob.fs.rename(CONTEXT, place('tmp'), place(copy), 0)
    await bob.fs.rename(CONTEXT, place(copy), place('g'), 0)
    if (dies) {
      await bob.fs.syncfs()
      await bob.crash()
    }
    await bob.drain()
    assert.deepEqual(await bob.names(), ['f', 'g'])
    assert.equal(await bob.cat('g'), 'saved')
    assert.notEqual(await bob.cat('f'), old)
  }
})

test('of a tree that is made a second time nothing is taken from the first one', async () => {
  const [alice, bob] = await twoDevices()
  await alice.put('gone', 'x')
  await change(alice, 'two!')
  await bob.receive(alice)
  const before = bob.find('f') ?? assert.fail('no f')
  assert.ok(bob.find('gone'))
  const handle = bob.open(before.nodeId, 0)
  assert.equal(await bob.cat('f'), 'two!')
  bob.notifier.notes.length = 0
  bob.writer.clear(new Map())
  bob.vfs.applyDelta(bob.writer.commit(new Map()), 0)
  assert.deepEqual(await bob.names(), [])
  assert.deepEqual(bob.notifier.notes.sort(), [`entry ${ROOT} f`, `entry ${ROOT} gone`])
  // The second time it is another tree: with the first of alice's groups alone.
  bob.writer.registerActor(alice.writerInfo())
  bob.writer.apply(alice.log[0] ?? assert.fail('no group'))
  bob.vfs.applyDelta(bob.writer.commit(new Map()), 0)
  const after = bob.find('f') ?? assert.fail('no f')
  assert.equal(bob.find('gone'), undefined)
  assert.equal(await bob.cat('f'), 'one')
  assert.equal(after.attr.sizeBytes, 3)
  assert.equal(await bob.read(handle), 'two!', 'who has it open keeps it')
  bob.close(handle)
})

test('own edits that come back together with what others made of them show that', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  bob.failure = new WormholeError('FEED_CORRUPT', 'the log has lost something')
  await bob.put('g', 'one')
  await bob.clock.run(1000)
  assert.equal(bob.find('g')?.attr.sizeBytes, 3)
  // They were published after all: others have them, and the log gets them back from there.
  const { changes, coveredTo } = bob.writer.fold(bob.overlay.pending())
  bob.log.push(changes)
  await alice.receive(bob)
  await alice.put('g', 'two!')
  await alice.drain()
  bob.writer.registerActor(alice.writerInfo())
  for (const group of alice.log) bob.writer.apply(group)
  bob.vfs.applyDelta(bob.writer.commit(new Map()), coveredTo)
  assert.equal(bob.vfs.pendingEdits, 0)
  assert.equal(bob.find('g')?.attr.sizeBytes, 4)
  assert.equal(await bob.cat('g'), 'two!')
})
