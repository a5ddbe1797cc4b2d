/**
 * Proves attributes, directories, policy files and the path API. Real tree and file system on
 * memory ports, simulated time.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { CONTEXT, createWorld, name, ROOT, VfsDevice } from '../../helpers/vfs-world.ts'

const S_IFIFO = 0o010000
const POLICY = '.wormhole.toml'

async function oneDevice(): Promise<VfsDevice> {
  const [device] = await createWorld(1)
  return device as VfsDevice
}

async function mkdir(device: VfsDevice, entry: string, mode = 0o755): Promise<number> {
  return (await device.fs.mkdir(CONTEXT, ROOT, name(entry), mode)).nodeId
}

test('special files, symlinks and directories show what they are', async () => {
  const device = await oneDevice()
  const fifo = await device.fs.mknod(CONTEXT, ROOT, name('fifo'), S_IFIFO | 0o600, 0)
  const link = await device.fs.symlink(CONTEXT, ROOT, name('link'), Buffer.from('target/x'))
  const directory = await device.fs.mkdir(CONTEXT, ROOT, name('d'), 0o711)
  assert.equal(fifo.attr.mode, S_IFIFO | 0o600)
  assert.equal(link.attr.mode & 0o170000, 0o120000)
  assert.equal(link.attr.sizeBytes, 8)
  assert.equal((await device.fs.readlink(link.nodeId)).toString(), 'target/x')
  assert.equal(directory.attr.mode, 0o040711)
  assert.equal(directory.attr.nlink, 2)
  assert.deepEqual([directory.attr.uid, directory.attr.gid], [1000, 1000])
  assert.equal((await device.fs.getattr(ROOT, undefined)).nlink, 3)
  const handle = await device.fs.opendir(ROOT)
  const types = new Map<string, number>()
  for (const entry of await device.fs.readdir(handle, 2, 100)) types.set(entry.name, entry.type)
  assert.deepEqual(
    [types.get('fifo'), types.get('link'), types.get('d')],
    [S_IFIFO, 0o120000, 0o040000],
  )
})

test('a set-group-ID directory hands down its group; writing clears set-ID bits', async () => {
  const device = await oneDevice()
  const directory = await mkdir(device, 'shared')
  await device.fs.setattr(CONTEXT, directory, { mode: 0o2775, gid: 50 }, undefined)
  const below = await device.fs.mkdir(CONTEXT, directory, name('below'), 0o755)
  assert.equal(below.attr.gid, 50)
  assert.equal(below.attr.mode & 0o7777, 0o2755)
  const { nodeId, handle } = device.create(directory, 'tool')
  assert.equal((await device.fs.getattr(nodeId, undefined)).gid, 50)
  await device.fs.setattr(CONTEXT, nodeId, { mode: 0o6755 }, undefined)
  await device.fs.write({ ...CONTEXT, clearsSetId: true }, handle, 0, Buffer.from('x'))
  assert.equal((await device.fs.getattr(nodeId, undefined)).mode & 0o7777, 0o755)
})

test('times that programs set stay, before and after publication', async () => {
  const device = await oneDevice()
  const { nodeId, handle } = device.create(ROOT, 'f')
  await device.write(handle, 0, 'x')
  const mtimeNs = 1_234_567_890_123_456_789n
  await device.fs.setattr(CONTEXT, nodeId, { mtimeNs }, undefined)
  device.close(handle)
  for (const when of ['dirty', 'published']) {
    const attr = await device.fs.getattr(nodeId, undefined)
    assert.deepEqual([attr.mtimeS, attr.mtimeNs], [1_234_567_890, 123_456_789], when)
    assert.ok(attr.ctimeS > attr.mtimeS)
    await device.drain()
  }
  await device.fs.setattr(CONTEXT, nodeId, { mtimeNs: -1n }, undefined)
  const attr = await device.fs.getattr(nodeId, undefined)
  assert.deepEqual([attr.mtimeS, attr.mtimeNs], [-1, 999_999_999])
})

test('extended attributes', async () => {
  const device = await oneDevice()
  const nodeId = await device.put('f', 'x')
  const { fs } = device
  await fs.setxattr(CONTEXT, nodeId, 'user.a', Buffer.from('1'), 'create')
  assert.throws(() => fs.setxattr(CONTEXT, nodeId, 'user.a', Buffer.from('2'), 'create'), {
    code: 'ALREADY_EXISTS',
  })
  assert.throws(() => fs.setxattr(CONTEXT, nodeId, 'user.b', Buffer.from('2'), 'replace'), {
    code: 'NO_ATTRIBUTE',
  })
  assert.throws(() => fs.setxattr(CONTEXT, nodeId, 'user.b', Buffer.alloc(65_536), 'any'), {
    code: 'LIMIT_EXCEEDED',
  })
  assert.throws(
    () => fs.setxattr(CONTEXT, nodeId, 'system.posix_acl_access', Buffer.from('2'), 'any'),
    { code: 'UNSUPPORTED' },
  )
  assert.throws(() => fs.setxattr(CONTEXT, nodeId, 'user.wormhole.id', Buffer.from('2'), 'any'), {
    code: 'NOT_PERMITTED',
  })
  assert.deepEqual(await fs.listxattr(CONTEXT, nodeId), ['user.a'])
  assert.equal((await fs.getxattr(nodeId, 'user.a'))?.toString(), '1')
  assert.equal((await fs.getxattr(nodeId, 'user.wormhole.state'))?.toString(), 'local')
  assert.equal((await fs.getxattr(nodeId, 'user.wormhole.id'))?.length, 16)
  await fs.removexattr(CONTEXT, nodeId, 'user.a')
  assert.throws(() => fs.removexattr(CONTEXT, nodeId, 'user.a'), { code: 'NO_ATTRIBUTE' })
  assert.deepEqual(await fs.listxattr(CONTEXT, nodeId), [])
})

test('a listing is stable while names come and go, and goes on after any entry', async () => {
  const device = await oneDevice()
  const directory = await mkdir(device, 'd')
  const count = 1500
  for (let index = 0; index < count; index++) {
    device.fs.release(device.create(directory, `f${index}`).handle)
  }
  const handle = await device.fs.opendir(directory)
  const seen: string[] = []
  for (let offset = 2; ;) {
    const entries = await device.fs.readdir(handle, offset, 100)
    if (entries.length === 0) break
    const taken = entries.slice(0, Math.max(1, entries.length - 7))
    for (const entry of taken) {
      seen.push(entry.name)
      const number = Number(entry.name.slice(1))
      if (number % 2 === 1) await device.fs.unlink(CONTEXT, directory, entry.name)
    }
    offset = taken[taken.length - 1]?.nextOffset ?? 0
  }
  const even = seen.filter((entry) => Number(entry.slice(1)) % 2 === 0)
  assert.equal(new Set(even).size, count / 2)
  assert.equal(seen.length, new Set(seen).size)
  assert.equal((await device.names(directory)).length, count / 2)
  const plus = await device.fs.readdirplus?.(CONTEXT, handle, 0, 10)
  assert.equal(plus?.[0]?.entry, undefined)
  assert.ok(plus?.[2]?.entry)
})

test('directories: not empty, not a directory, removed while open', async () => {
  const device = await oneDevice()
  const directory = await mkdir(device, 'd')
  await device.put('f', 'x', directory)
  assert.throws(() => device.fs.rmdir(CONTEXT, ROOT, name('d')), { code: 'NOT_EMPTY' })
  assert.throws(() => device.fs.unlink(CONTEXT, ROOT, name('d')), { code: 'IS_DIRECTORY' })
  assert.throws(() => device.fs.rmdir(CONTEXT, directory, name('f')), { code: 'NOT_A_DIRECTORY' })
  await device.fs.unlink(CONTEXT, directory, name('f'))
  const handle = await device.fs.opendir(directory)
  await device.fs.rmdir(CONTEXT, ROOT, name('d'))
  assert.throws(() => device.create(directory, 'g'), { code: 'NOT_FOUND' })
  assert.ok((await device.fs.readdir(handle, 0, 10)).length <= 2)
  assert.equal((await device.fs.getattr(directory, undefined)).nlink, 0)
})

test('a reader changes nothing', async () => {
  const device = await oneDevice()
  const nodeId = await device.put('f', 'x')
  device.role = 'reader'
  const code = { code: 'READ_ONLY' }
  const { fs } = device
  const place = { parent: ROOT, name: name('f') }
  assert.throws(() => device.create(ROOT, 'g'), code)
  assert.throws(() => fs.mkdir(CONTEXT, ROOT, name('d'), 0o755), code)
  assert.throws(() => fs.unlink(CONTEXT, ROOT, name('f')), code)
  assert.throws(() => fs.rename(CONTEXT, place, { parent: ROOT, name: name('g') }, 0), code)
  assert.throws(() => fs.setattr(CONTEXT, nodeId, { mode: 0 }, undefined), code)
  assert.throws(() => fs.setxattr(CONTEXT, nodeId, 'user.a', Buffer.from(''), 'any'), code)
  assert.throws(() => device.open(nodeId, 1), code)
  assert.equal(await device.cat('f'), 'x')
})

test('a policy file sets the policy of its directory in the same edit', async () => {
  const device = await oneDevice()
  const { overlay } = device
  const policy = () => overlay.policies(overlay.root)[0]?.policy
  const policyFile = { parent: ROOT, name: name(POLICY) }
  await device.put(POLICY, 'one')
  await device.drain()
  assert.equal(policy(), '{"text":"one"}')
  const carrier = device.submittedEdits.find(({ puts }) => puts.some((put) => put.register === 'P'))
  assert.ok(carrier?.puts.some((put) => put.register === 'C'))

  await device.put(POLICY, 'bad')
  await device.drain()
  assert.equal(policy(), '{"text":"one"}')

  await device.put('other', 'two')
  await device.fs.rename(CONTEXT, { parent: ROOT, name: name('other') }, policyFile, 0)
  await device.drain()
  assert.equal(policy(), '{"text":"two"}')

  await device.fs.rename(CONTEXT, policyFile, { parent: ROOT, name: name('away') }, 0)
  assert.equal(policy(), undefined)
  await device.fs.rename(CONTEXT, { parent: ROOT, name: name('away') }, policyFile, 0)
  assert.equal(policy(), '{"text":"two"}')
  await device.fs.unlink(CONTEXT, ROOT, name(POLICY))
  assert.equal(policy(), undefined)
})

test('paths: write, read, list, follow links, remove', async () => {
  const device = await oneDevice()
  const { paths } = device.vfs
  const now = <T>(promise: Promise<T>): Promise<T> => device.clock.settle(promise, 10_000)
  const readAll = async (path: string): Promise<string> => {
    const pieces: Buffer[] = []
    for await (const piece of paths.readFile(path)) pieces.push(piece)
    return Buffer.concat(pieces).toString()
  }
  await now(paths.makeDirectory('/ä'))
  const written = await now(paths.writeFile('/ä/f.txt', [Buffer.from('one '), Buffer.from('two')]))
  assert.deepEqual([written.path, written.sizeBytes, written.mode], ['/ä/f.txt', 7, 0o644])
  assert.equal(device.vfs.pendingEdits, 0)
  await now(paths.writeFile('/ä/f.txt', [Buffer.from('three')], { mode: 0o600 }))
  assert.equal(await readAll('ä/./f.txt'), 'three')
  assert.equal(paths.stat('/ä/f.txt').inode, written.inode)
  assert.equal(paths.stat('/ä/f.txt').mode, 0o600)
  await device.fs.symlink(CONTEXT, ROOT, name('link'), Buffer.from('ä/../ä/f.txt'))
  assert.equal(await readAll('/link'), 'three')
  assert.equal(paths.stat('/link').target, 'ä/../ä/f.txt')
  assert.equal(paths.stat('/link', { follow: true }).path, '/ä/f.txt')
  await device.fs.symlink(CONTEXT, ROOT, name('loop'), Buffer.from('loop'))
  await device.fs.symlink(CONTEXT, ROOT, name('out'), Buffer.from('/etc/passwd'))
  assert.throws(() => paths.stat('/loop', { follow: true }), { code: 'LIMIT_EXCEEDED' })
  assert.throws(() => paths.stat('/out', { follow: true }), { code: 'BAD_ARGUMENT' })
  assert.throws(() => paths.stat('/none'), { code: 'NOT_FOUND' })
  assert.deepEqual(
    paths.list('/').map((entry) => entry.name),
    ['link', 'loop', 'out', 'ä'],
  )
  await assert.rejects(now(paths.writeFile('/ä', [])), { code: 'IS_DIRECTORY' })
  await assert.rejects(now(paths.remove('/ä')), { code: 'NOT_EMPTY' })
  await now(paths.remove('/ä', { isRecursive: true }))
  assert.throws(() => paths.stat('/ä'), { code: 'NOT_FOUND' })
})

test('what the path API changes reaches the kernel', async () => {
  const device = await oneDevice()
  const { paths } = device.vfs
  const nodeId = await device.put('f', 'one')
  await device.drain()
  assert.equal(device.find('g'), undefined)
  const handle = device.open(nodeId, 0)
  await device.clock.settle(paths.writeFile('/f', [Buffer.from('two')]), 10_000)
  await device.clock.settle(paths.writeFile('/g', [Buffer.from('new')]), 10_000)
  assert.ok(device.notifier.notes.includes(`entry ${ROOT} f`))
  assert.ok(device.notifier.notes.includes(`entry ${ROOT} g`))
  assert.equal(await device.read(handle), 'one')
  assert.equal(await device.cat('f'), 'two')
  assert.ok(device.find('g'))
  device.notifier.notes.length = 0
  await device.clock.settle(paths.remove('/g'), 10_000)
  assert.ok(device.notifier.notes.includes(`entry ${ROOT} g`))
})

test('a save from another directory changes the times of both', async () => {
  const device = (await createWorld(1))[0] as VfsDevice
  await device.put('f', 'old')
  const made = await device.fs.mkdir(CONTEXT, ROOT, name('d'), 0o755)
  await device.put('new', 'new', made.nodeId)
  await device.drain()
  const timeOf = async (nodeId: number): Promise<number> => {
    const { mtimeS, mtimeNs } = await device.fs.getattr(nodeId, undefined)
    return mtimeS * 1e9 + mtimeNs
  }
  const before = [await timeOf(ROOT), await timeOf(made.nodeId)]
  const inode = await device.fs.getxattr(device.find('f')?.nodeId ?? 0, 'user.wormhole.id')
  await device.clock.run(5000)
  const from = { parent: made.nodeId, name: name('new') }
  await device.fs.rename(CONTEXT, from, { parent: ROOT, name: name('f') }, 0)
  assert.deepEqual(
    await device.fs.getxattr(device.find('f')?.nodeId ?? 0, 'user.wormhole.id'),
    inode,
    'it is a save',
  )
  assert.ok((await timeOf(ROOT)) > (before[0] as number), 'where it went')
  assert.ok((await timeOf(made.nodeId)) > (before[1] as number), 'where it came from')
})
