/**
 * Proves files without a name (`O_TMPFILE`): they are nowhere until they are linked, then whole and
 * in one step, and a crash leaves either nothing or the file. Also what is kept of set times, and
 * what writing takes away.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { Attr } from '../../../src/vfs/interface.ts'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

async function oneDevice(): Promise<VfsDevice> {
  return (await createWorld(1))[0] as VfsDevice
}

async function temporary(device: VfsDevice): Promise<{ nodeId: number; handle: number }> {
  const made = await device.fs.temporary?.(CONTEXT, ROOT, 0o640, 2)
  assert.ok(made)
  return { nodeId: made.entry.nodeId, handle: made.open.handle }
}

async function attrOf(device: VfsDevice, nodeId: number): Promise<Attr> {
  return device.fs.getattr(nodeId, undefined)
}

test('a temporary file is in no directory, journal and log, and goes with its handle', async () => {
  const device = await oneDevice()
  const records = device.journal.nextNumber
  const { nodeId, handle } = await temporary(device)
  await device.write(handle, 3, 'text')
  await device.fs.setattr(CONTEXT, nodeId, { mode: 0o600, sizeBytes: 5 }, handle)
  assert.equal(await device.read(handle), '\0\0\0te')
  const { nlink, mode, uid } = await attrOf(device, nodeId)
  assert.deepEqual([nlink, mode, uid], [0, 0o100600, 1000])
  await device.fs.syncfs()
  await device.clock.run(10_000)
  assert.equal(device.journal.nextNumber, records)
  assert.deepEqual(await device.names(), [])
  device.close(handle)
  device.fs.forget(nodeId, 1)
  await device.crash()
  assert.deepEqual(await device.names(), [])
  assert.deepEqual(device.problems, [])
})

test('linking names it whole, in one edit, and what is written later follows', async () => {
  const device = await oneDevice()
  const { nodeId, handle } = await temporary(device)
  await device.write(handle, 0, 'whole')
  const linked = await device.fs.link(CONTEXT, nodeId, ROOT, name('f'))
  assert.equal(linked.nodeId, nodeId)
  assert.equal(linked.attr.nlink, 1)
  assert.equal(device.find('f')?.nodeId, nodeId)
  const names = device.journal.nextNumber - 1
  await device.write(handle, 5, ' and more')
  await device.fs.fallocate(CONTEXT, handle, 0, 1, 3)
  assert.equal(await device.cat('f'), '\0hole and more')
  await device.fs.link(CONTEXT, nodeId, ROOT, name('g'))
  assert.equal((await attrOf(device, nodeId)).nlink, 2)
  device.close(handle)
  await device.drain()
  await device.crash()
  assert.equal(await device.cat('g'), '\0hole and more')
  assert.deepEqual(device.problems, [])
  const cut = await oneDevice()
  const second = await temporary(cut)
  await cut.write(second.handle, 0, 'whole')
  await cut.fs.link(CONTEXT, second.nodeId, ROOT, name('f'))
  assert.equal(cut.journal.nextNumber - 1, names)
  for (const upTo of [names - 1, names]) {
    const [fresh] = (await createWorld(1)) as [VfsDevice]
    for (const [address, bytes] of cut.contents.stored) fresh.contents.stored.set(address, bytes)
    fresh.journal = cut.journal
    await fresh.crash(upTo)
    assert.equal(await fresh.cat('f'), upTo === names ? 'whole' : undefined, `cut at ${upTo}`)
    assert.deepEqual(fresh.problems, [])
  }
})

test('what is written while it is being linked is not lost', async () => {
  const device = await oneDevice()
  const { nodeId, handle } = await temporary(device)
  await device.write(handle, 0, 'before')
  const linking = device.fs.link(CONTEXT, nodeId, ROOT, name('f'))
  await device.write(handle, 0, 'BE')
  await device.fs.fallocate(CONTEXT, handle, 3, 2, 3)
  await device.write(handle, 8, 'late')
  await linking
  const expected = 'BEf\0\0e\0\0late'
  assert.equal(await device.cat('f'), expected)
  await device.clock.run(100)
  await device.crash()
  assert.equal(await device.cat('f'), expected)
  await device.drain()
  assert.equal(await device.cat('f'), expected)
})

test('a taken name is refused, and the file stays what it is', async () => {
  const device = await oneDevice()
  await device.put('f', 'there')
  const { nodeId, handle } = await temporary(device)
  await device.write(handle, 0, 'mine')
  const code = 'ALREADY_EXISTS'
  await assert.rejects(async () => device.fs.link(CONTEXT, nodeId, ROOT, name('f')), { code })
  assert.equal(await device.read(handle), 'mine')
  await device.fs.link(CONTEXT, nodeId, ROOT, name('g'))
  device.close(handle)
  assert.equal(await device.cat('g'), 'mine')
  assert.equal(await device.cat('f'), 'there')
})

test('a set atime is read back, here, after a restart and elsewhere; nobody sees how', async () => {
  const [device, other] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  const nodeId = await device.put('f', 'text')
  await device.fs.setattr(CONTEXT, nodeId, { atimeNs: -5n, mtimeNs: 7_000_000_001n }, undefined)
  const check = async (where: VfsDevice): Promise<void> => {
    const attr = where.find('f')?.attr
    assert.deepEqual([attr?.atimeS, attr?.atimeNs], [-1, 999_999_995])
    assert.deepEqual(await where.fs.listxattr(CONTEXT, where.find('f')?.nodeId ?? 0), [])
  }
  await check(device)
  await device.write(device.open(nodeId), 0, 'more')
  await check(device)
  await device.drain()
  await other.receive(device)
  await check(other)
  await device.crash()
  await check(device)
  await device.fs.setattr(CONTEXT, device.find('f')?.nodeId ?? 0, { atimeNs: 3n }, undefined)
  assert.equal(device.find('f')?.attr.atimeNs, 3)
})

test('writing and cutting take a capability away, whoever does it', async () => {
  const device = await oneDevice()
  const nodeId = await device.put('f', 'text')
  const capability = Buffer.from('capability')
  const attribute = 'security.capability'
  const set = () => device.fs.setxattr(CONTEXT, nodeId, attribute, capability, 'any')
  await set()
  device.find('f')
  const handle = device.open(nodeId)
  await device.write(handle, 0, 'x')
  assert.equal(await device.fs.getxattr(nodeId, attribute), undefined)
  await set()
  device.find('f')
  await device.fs.setattr(CONTEXT, nodeId, { sizeBytes: 1 }, undefined)
  assert.equal(await device.fs.getxattr(nodeId, attribute), undefined)
})

test('where everything belongs to who mounted, chown is accepted and changes nothing', async () => {
  const device = await oneDevice()
  const nodeId = await device.put('f', 'text')
  await device.drain()
  device.vfs.setOwner('mounter')
  const records = device.journal.nextNumber
  const attr = await device.fs.setattr(CONTEXT, nodeId, { uid: 5, gid: 6 }, undefined)
  assert.deepEqual([attr.uid, attr.gid], [process.getuid?.(), process.getgid?.()])
  assert.equal(device.journal.nextNumber, records)
  device.vfs.setOwner('numeric')
  assert.equal((await attrOf(device, nodeId)).uid, CONTEXT.uid)
})
