/**
 * Proves what the policy of a folder refuses to programs, and that policy and file stay together
 * whatever changes the file. Real tree and file system on memory ports, simulated time.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { CONTEXT, createWorld, name, ROOT, VfsDevice } from '../../helpers/vfs-world.ts'

const POLICY = '.wormhole.toml'
const TOO_LARGE = { code: 'FILE_TOO_LARGE' }
const READ_ONLY = { code: 'READ_ONLY' }
const KEEP_SIZE = 1
const PUNCH = 3

async function oneDevice(): Promise<VfsDevice> {
  const [device] = await createWorld(1)
  return device as VfsDevice
}

async function mkdir(device: VfsDevice, entry: string, parent = ROOT): Promise<number> {
  return (await device.fs.mkdir(CONTEXT, parent, name(entry), 0o755)).nodeId
}

/** A directory below the root with this policy. */
async function folder(device: VfsDevice, entry: string, policy: string): Promise<number> {
  const directory = await mkdir(device, entry)
  await device.put(POLICY, policy, directory)
  await device.drain()
  return directory
}

test('limits.file_size: no write makes a file larger than the folder allows', async () => {
  const device = await oneDevice()
  const { fs } = device
  const limited = await folder(device, 'd', '{"limits":{"file_size":10}}')
  const { nodeId, handle } = device.create(limited, 'f')
  assert.equal(await fs.write(CONTEXT, handle, 0, Buffer.from('0123456789ab'), false), 10)
  assert.throws(() => fs.write(CONTEXT, handle, 10, Buffer.from('x'), false), TOO_LARGE)
  assert.throws(() => fs.write(CONTEXT, handle, 0, Buffer.from('x'), true), TOO_LARGE)
  assert.throws(() => fs.write(CONTEXT, handle, 500, Buffer.from('x'), false), TOO_LARGE)
  assert.throws(() => fs.setattr(CONTEXT, nodeId, { sizeBytes: 11 }, undefined), TOO_LARGE)
  assert.throws(() => fs.fallocate(CONTEXT, handle, 0, 11, 0), TOO_LARGE)
  assert.throws(() => fs.fallocate(CONTEXT, handle, 5, 6, KEEP_SIZE), TOO_LARGE)
  await fs.fallocate(CONTEXT, handle, 0, 500, PUNCH)
  await fs.setattr(CONTEXT, nodeId, { sizeBytes: 4 }, undefined)
  await fs.setattr(CONTEXT, nodeId, { sizeBytes: 10 }, undefined)
  device.close(handle)
  // Below it, and not beside it.
  const below = await mkdir(device, 'below', limited)
  const deep = device.create(below, 'f').handle
  assert.throws(() => fs.write(CONTEXT, deep, 10, Buffer.from('x'), false), TOO_LARGE)
  await device.put('elsewhere', 'x'.repeat(100))
})

test('limits.file_size: copies, puts by path, and what is larger already', async () => {
  const device = await oneDevice()
  const { fs } = device
  const directory = await mkdir(device, 'd')
  const large = await device.put('large', 'x'.repeat(20), directory)
  await device.put(POLICY, '{"limits":{"file_size":10}}', directory)
  await device.drain()
  const handle = device.open(large)
  assert.equal(await fs.write(CONTEXT, handle, 15, Buffer.from('0123456789'), false), 5)
  assert.throws(() => fs.write(CONTEXT, handle, 20, Buffer.from('x'), false), TOO_LARGE)
  await fs.setattr(CONTEXT, large, { sizeBytes: 15 }, handle)
  assert.throws(() => fs.setattr(CONTEXT, large, { sizeBytes: 16 }, handle), TOO_LARGE)
  const target = device.create(directory, 'copy').handle
  const at = { handle: target, offset: 0 }
  assert.equal(await fs.copyRange?.(CONTEXT, { handle, offset: 0 }, at, 100), 10)
  await assert.rejects(
    async () => fs.copyRange?.(CONTEXT, { handle, offset: 0 }, { handle: target, offset: 10 }, 100),
    TOO_LARGE,
  )
  const put = device.vfs.paths.writeFile('/d/put', [Buffer.alloc(6), Buffer.alloc(5)])
  await assert.rejects(device.clock.settle(put, 10_000), TOO_LARGE)
  assert.equal(device.find('d/put'), undefined)
  // The policy can be mended where nothing may be written.
  const text = '{"limits":{"file_size":"unlimited"}}'
  await device.put(POLICY, text, directory)
  await device.drain()
  assert.equal(await device.cat(`d/${POLICY}`), text)
  // A handle that was opened before stays with what it was opened on, a new one does not.
  assert.throws(() => fs.write(CONTEXT, handle, 20, Buffer.from('x'), false), TOO_LARGE)
  const again = device.open(large)
  assert.equal(await fs.write(CONTEXT, again, 20, Buffer.from('x'), false), 1)
})

test('access.readonly: only an admin changes what is in the folder and below', async () => {
  const device = await oneDevice()
  const { fs } = device
  const directory = await mkdir(device, 'd')
  const inside = await mkdir(device, 'inside', directory)
  const file = await device.put('f', 'x', inside)
  const out = await device.put('out', 'x')
  const opened = device.open(file)
  device.role = 'admin'
  await device.put(POLICY, '{"access":{"readonly":true}}', directory)
  await device.drain()
  device.role = 'writer'
  const at = (parent: number, entry: string) => ({ parent, name: name(entry) })
  const attempts: (() => unknown)[] = [
    () => device.create(inside, 'g'),
    () => fs.mkdir(CONTEXT, directory, name('g'), 0o755),
    () => fs.mknod(CONTEXT, inside, name('g'), 0o010600, 0),
    () => fs.symlink(CONTEXT, inside, name('g'), Buffer.from('x')),
    () => fs.temporary?.(CONTEXT, inside, 0o600, 2),
    () => fs.link(CONTEXT, out, inside, name('g')),
    () => fs.unlink(CONTEXT, inside, name('f')),
    () => fs.unlink(CONTEXT, directory, name(POLICY)),
    () => fs.rmdir(CONTEXT, directory, name('inside')),
    () => fs.rename(CONTEXT, at(inside, 'f'), at(ROOT, 'g'), 0),
    () => fs.rename(CONTEXT, at(ROOT, 'out'), at(inside, 'g'), 0),
    () => device.open(file, 1),
    () => device.open(file, 0o1000),
    () => fs.setattr(CONTEXT, file, { mode: 0o600 }, undefined),
    () => fs.setattr(CONTEXT, directory, { mode: 0o700 }, undefined),
    () => fs.setxattr(CONTEXT, inside, 'user.a', Buffer.from(''), 'any'),
    () => fs.removexattr(CONTEXT, file, 'user.a'),
    () => device.vfs.commit(() => device.overlay.unlink(nodeOf(device, 'd/inside'), name('f'))),
  ]
  for (const attempt of attempts) assert.throws(attempt, READ_ONLY, attempt.toString())
  const { paths } = device.vfs
  await assert.rejects(paths.writeFile('/d/inside/g', [Buffer.from('x')]), READ_ONLY)
  await assert.rejects(paths.makeDirectory('/d/g'), READ_ONLY)
  await assert.rejects(paths.remove('/d/inside/f'), READ_ONLY)
  assert.equal(await device.cat('d/inside/f'), 'x')
  // Beside it all is as ever, and the folder itself is a name in its parent.
  await fs.rename(CONTEXT, at(ROOT, 'd'), at(ROOT, 'e'), 0)
  // Who had it open goes on: nothing that was acknowledged is lost.
  await device.write(opened, 0, 'y')
  device.close(opened)
  await device.drain()
  assert.equal(await device.cat('e/inside/f'), 'y')
  device.role = 'admin'
  await device.put('g', 'x', inside)
  await fs.unlink(CONTEXT, directory, name(POLICY))
  device.role = 'writer'
  await device.put('h', 'x', inside)
})

/** The inode at a path. */
function nodeOf(device: VfsDevice, path: string) {
  return device.vfs.paths.stat(`/${path}`).inode
}

test('what was decided is decided anew when a policy arrives, or a folder moves', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  const folderNode = await mkdir(alice, 'd')
  await alice.put('f', 'x', folderNode)
  await alice.drain()
  await bob.receive(alice)
  const there = bob.find('d')?.nodeId as number
  bob.close(bob.create(there, 'g').handle)
  await alice.put(POLICY, '{"access":{"readonly":true}}', folderNode)
  await alice.drain()
  await bob.receive(alice)
  assert.throws(() => bob.create(there, 'h'), READ_ONLY)
  // A directory that moves below it comes under it, and the other way round.
  const free = await mkdir(bob, 'free')
  bob.close(bob.create(free, 'f').handle)
  await bob.drain()
  alice.role = 'admin'
  await alice.receive(bob)
  const places = [
    { parent: ROOT, name: name('free') },
    { parent: folderNode, name: name('free') },
  ] as const
  await alice.fs.rename(CONTEXT, places[0], places[1], 0)
  await alice.drain()
  await bob.receive(alice)
  const moved = bob.find('d/free')?.nodeId as number
  assert.throws(() => bob.create(moved, 'h'), READ_ONLY)
  await alice.fs.rename(CONTEXT, places[1], places[0], 0)
  await alice.drain()
  await bob.receive(alice)
  bob.close(bob.create(bob.find('free')?.nodeId as number, 'h').handle)
})

test('two devices edit one policy file at once: a conflict, and one policy for both', async () => {
  for (const order of ['alice first', 'bob first']) {
    const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
    const both = [alice, bob]
    await alice.put(POLICY, '{"history":{"days":1}}')
    await alice.drain()
    await bob.receive(alice)
    const [first, second] = order === 'alice first' ? both : [...both].reverse()
    await first!.put(POLICY, '{"history":{"days":2}}')
    await first!.drain()
    await first!.clock.run(1000)
    await second!.put(POLICY, '{"history":{"days":3}}')
    await second!.drain()
    await alice.receive(bob)
    await bob.receive(alice)
    for (const device of both) {
      const { overlay } = device
      assert.deepEqual(policiesOf(device), ['{"history":{"days":3}}'], order)
      assert.equal(await device.cat(POLICY), '{"history":{"days":3}}')
      const { conflicts } = overlay.conflicts({ countMax: 9 })
      assert.equal(conflicts.length, 1)
      assert.equal((await device.names()).length, 2, 'the loser lies beside it')
    }
    // Settling it for the other version takes that version's policy with it, everywhere.
    const [conflict] = alice.overlay.conflicts({ countMax: 9 }).conflicts
    const loser = conflict!.versions.findIndex(({ shownAs }) => shownAs !== POLICY)
    const settle = alice.vfs.perform(() =>
      alice.overlay.resolve(conflict!.parent, conflict!.name, loser),
    )
    await alice.clock.settle(settle, 10_000)
    await bob.receive(alice)
    for (const device of both) {
      assert.deepEqual(policiesOf(device), ['{"history":{"days":2}}'], order)
      assert.equal(await device.cat(POLICY), '{"history":{"days":2}}')
      assert.equal(device.overlay.conflicts({ countMax: 9 }).conflicts.length, 0)
    }
  }
})

test('two devices make a policy file at once: one policy for both, and a conflict', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await alice.put(POLICY, '{"history":{"days":2}}')
  await alice.drain()
  await alice.clock.run(1000)
  await bob.put(POLICY, '{"history":{"days":3}}')
  await bob.drain()
  await alice.receive(bob)
  await bob.receive(alice)
  for (const device of [alice, bob]) {
    // The older file has the name, the later policy holds: `policy explain` says that they differ.
    assert.deepEqual(policiesOf(device), ['{"history":{"days":3}}'])
    assert.equal(device.overlay.conflicts({ countMax: 9 }).conflicts.length, 1)
  }
  const [conflict] = alice.overlay.conflicts({ countMax: 9 }).conflicts
  const shown = conflict!.versions.findIndex(({ shownAs }) => shownAs === POLICY)
  const settle = alice.vfs.perform(() =>
    alice.overlay.resolve(conflict!.parent, conflict!.name, shown),
  )
  await alice.clock.settle(settle, 10_000)
  await bob.receive(alice)
  for (const device of [alice, bob]) {
    assert.equal(`${policiesOf(device)}`, (await device.cat(POLICY)) as string)
  }
})

test('a version that comes back brings its policy, one that goes takes it away', async () => {
  const device = await oneDevice()
  const { overlay, vfs, clock } = device
  await device.put(POLICY, '{"history":{"days":2}}')
  await device.drain()
  const { inode } = vfs.paths.stat(`/${POLICY}`)
  const [old] = overlay.history({ inode })
  await device.put(POLICY, '{"history":{"days":3}}')
  await device.drain()
  assert.ok(old?.content.kind === 'file')
  const { ref, sizeBytes, mtimeNs } = old.content
  const back = { ref, sizeBytes, mtimeNs, isNamed: true }
  await clock.settle(
    vfs.perform(() => overlay.setContent(inode, back)),
    10_000,
  )
  assert.deepEqual(policiesOf(device), ['{"history":{"days":2}}'])
  await clock.settle(
    vfs.perform(() => overlay.unlink(overlay.root, name(POLICY))),
    10_000,
  )
  assert.deepEqual(policiesOf(device), [])
  const [gone] = overlay.deletedNames(overlay.root)
  const to = { parent: overlay.root, name: name(POLICY) }
  await clock.settle(
    vfs.perform(() => overlay.undelete(gone!.record, to)),
    10_000,
  )
  assert.deepEqual(policiesOf(device), ['{"history":{"days":2}}'])
})

test('dying between a file and its policy leaves the old policy until a save', async () => {
  const device = await oneDevice()
  await device.put(POLICY, '{"history":{"days":2}}')
  await device.drain()
  const { inode } = device.vfs.paths.stat(`/${POLICY}`)
  const [old] = device.overlay.history({ inode })
  await device.put(POLICY, '{"history":{"days":3}}')
  await device.drain()
  assert.ok(old?.content.kind === 'file')
  const { ref, sizeBytes, mtimeNs } = old.content
  const content = { ref, sizeBytes, mtimeNs, isNamed: true }
  const before = device.journal.nextNumber
  device.vfs.commit(() => device.overlay.setContent(inode, content))
  assert.equal(device.journal.nextNumber, before + 2, 'two edits, one behind the other')
  await device.crash(before)
  assert.equal(await device.cat(POLICY), '{"history":{"days":2}}')
  assert.deepEqual(policiesOf(device), ['{"history":{"days":3}}'])
  await device.put(POLICY, '{"history":{"days":2}}')
  await device.drain()
  assert.deepEqual(policiesOf(device), ['{"history":{"days":2}}'])
})

/** The policies that hold in the root. */
function policiesOf({ overlay }: VfsDevice): string[] {
  return overlay.policies(overlay.root).map(({ policy }) => policy)
}
