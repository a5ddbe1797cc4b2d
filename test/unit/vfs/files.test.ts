/**
 * Proves the POSIX promises of open files: what handles see, what survives unlink and rename, what
 * reaches the log and what never does. Real tree and file system on memory ports, simulated time.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import { CONTEXT, createWorld, name, ROOT, VfsDevice } from '../../helpers/vfs-world.ts'

const O_TRUNC = 0o1000
const O_EXCL = 0o200

async function oneDevice(): Promise<VfsDevice> {
  const [device] = await createWorld(1)
  return device as VfsDevice
}

async function attrOf(device: VfsDevice, nodeId: number) {
  return device.fs.getattr(nodeId, undefined)
}

test('what is written is read at once, by every handle, and stays after publication', async () => {
  const device = await oneDevice()
  const { nodeId, handle } = device.create(ROOT, 'a')
  const other = device.open(nodeId, 0)
  await device.write(handle, 0, 'hello')
  await device.write(handle, 5, ' world')
  assert.equal(await device.read(other), 'hello world')
  assert.equal((await attrOf(device, nodeId)).sizeBytes, 11)
  device.close(handle)
  await device.drain()
  assert.equal(await device.read(other), 'hello world')
  assert.equal((await attrOf(device, nodeId)).sizeBytes, 11)
  assert.equal(device.vfs.pendingEdits, 0)
  assert.equal(device.contents.buildCount, 1)
  await device.clock.run(3000)
  assert.deepEqual(device.journal.records, [], 'nothing is left in the journal')
})

test('a temporary file never reaches chunks or the log', async () => {
  const [device, other] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  const { handle } = device.create(ROOT, 'tmp')
  await device.write(handle, 0, 'scratch')
  device.close(handle)
  await device.fs.unlink(CONTEXT, ROOT, name('tmp'))
  await device.clock.run(5000)
  assert.equal(device.contents.buildCount, 0)
  assert.deepEqual(device.journal.records, [])
  await other.receive(device)
  const history = other.overlay.history({ parent: other.overlay.root, name: name('tmp') })
  assert.deepEqual(history, [])
})

test('an unlinked file stays readable and writable through its handles', async () => {
  const device = await oneDevice()
  await device.put('f', 'before')
  await device.drain()
  const found = device.find('f')
  const handle = device.open(found?.nodeId ?? 0)
  await device.fs.unlink(CONTEXT, ROOT, name('f'))
  assert.equal(device.lookup(ROOT, 'f'), undefined)
  await device.write(handle, 6, ' and after')
  assert.equal(await device.read(handle), 'before and after')
  const attr = await attrOf(device, found?.nodeId ?? 0)
  assert.equal(attr.nlink, 0)
  assert.equal(attr.sizeBytes, 16)
  await device.fs.setattr(CONTEXT, found?.nodeId ?? 0, { mode: 0o600, sizeBytes: 3 }, handle)
  assert.equal((await attrOf(device, found?.nodeId ?? 0)).mode & 0o777, 0o600)
  assert.equal(await device.read(handle), 'bef')
  device.close(handle)
  await device.drain()
  assert.deepEqual(await device.names(), [])
})

test('O_APPEND writes at the end of the moment, O_TRUNC empties, O_EXCL refuses', async () => {
  const device = await oneDevice()
  const nodeId = await device.put('log', 'one\n')
  const first = device.open(nodeId, 1)
  const second = device.open(nodeId, 1)
  await device.write(first, 0, 'two\n', true)
  await device.write(second, 0, 'three\n', true)
  assert.equal(await device.cat('log'), 'one\ntwo\nthree\n')
  device.close(first)
  device.close(second)
  device.close(device.open(nodeId, 1 | O_TRUNC))
  assert.equal(await device.cat('log'), '')
  await device.drain()
  assert.equal(await device.cat('log'), '')
  assert.throws(() => device.fs.create(CONTEXT, ROOT, name('log'), 0o644, 2 | O_EXCL), {
    code: 'ALREADY_EXISTS',
  })
})

test('rename over a file: the name has the new bytes, handles of the old keep theirs', async () => {
  const device = await oneDevice()
  await device.put('old', 'old bytes')
  await device.put('new', 'new bytes')
  await device.drain()
  await device.clock.run(120_000)
  const old = device.open(device.find('old')?.nodeId ?? 0)
  const mover = device.find('new')?.nodeId ?? 0
  await device.fs.rename(
    CONTEXT,
    { parent: ROOT, name: name('new') },
    { parent: ROOT, name: name('old') },
    0,
  )
  assert.equal(device.find('old')?.nodeId, mover)
  assert.equal(await device.cat('old'), 'new bytes')
  assert.equal(await device.read(old), 'old bytes')
  assert.deepEqual(await device.names(), ['old'])
})

test('save by rename keeps the inode, published or not', async () => {
  for (const isPublished of [false, true]) {
    const device = await oneDevice()
    const nodeId = await device.put('report', 'first')
    await device.drain()
    const id = await device.fs.getxattr(nodeId, 'user.wormhole.id')
    const reader = device.open(nodeId, 0)
    const { nodeId: temporary, handle } = device.create(ROOT, '.report.swp', 0o600)
    await device.write(handle, 0, 'second')
    await device.fs.setxattr(CONTEXT, temporary, 'user.tag', Buffer.from('x'), 'any')
    if (isPublished) {
      device.close(handle)
      await device.drain()
    }
    await device.fs.rename(
      CONTEXT,
      { parent: ROOT, name: name('.report.swp') },
      { parent: ROOT, name: name('report') },
      0,
    )
    if (!isPublished) {
      await device.write(handle, 6, ' draft')
      device.close(handle)
    }
    const expected = isPublished ? 'second' : 'second draft'
    for (const when of ['before', 'after']) {
      const found = device.find('report')
      assert.equal(found?.nodeId, temporary, when)
      assert.deepEqual(await device.fs.getxattr(temporary, 'user.wormhole.id'), id)
      assert.equal((await device.fs.getxattr(temporary, 'user.tag'))?.toString(), 'x')
      assert.equal((found?.attr.mode ?? 0) & 0o777, 0o600)
      assert.equal(found?.attr.nlink, 1)
      assert.equal(await device.cat('report'), expected)
      assert.equal(await device.read(reader), 'first')
      assert.deepEqual(await device.names(), ['report'])
      await device.drain()
    }
    assert.equal(
      device.overlay.history({ parent: device.overlay.root, name: name('report') }).length,
      2,
    )
  }
})

test('hard links share bytes and count', async () => {
  const device = await oneDevice()
  const nodeId = await device.put('a', 'x')
  await device.fs.link(CONTEXT, nodeId, ROOT, name('b'))
  assert.equal((await attrOf(device, nodeId)).nlink, 2)
  assert.equal(device.find('b')?.nodeId, nodeId)
  await device.put('b', 'changed')
  assert.equal(await device.cat('a'), 'changed')
  await device.fs.unlink(CONTEXT, ROOT, name('a'))
  assert.equal((await attrOf(device, nodeId)).nlink, 1)
  await device.drain()
  assert.equal(await device.cat('b'), 'changed')
})

test('fsync makes bytes and names durable without publishing', async () => {
  const device = await oneDevice()
  const { handle } = device.create(ROOT, 'db')
  await device.write(handle, 0, 'committed')
  await device.fs.fsync(handle, false)
  await device.write(handle, 0, 'uncommitt')
  await device.crash(device.journal.syncedTo)
  assert.equal(await device.cat('db'), 'committed')
})

test('what is older than 100 ms survives the death of the daemon', async () => {
  const device = await oneDevice()
  const { handle } = device.create(ROOT, 'f')
  await device.write(handle, 0, 'kept')
  await device.clock.run(100)
  await device.write(handle, 4, ' lost')
  await device.crash()
  assert.equal(await device.cat('f'), 'kept')
})

test('a file held open is published by fsync, at most every few seconds', async () => {
  const device = await oneDevice()
  const { handle } = device.create(ROOT, 'db')
  for (let round = 0; round < 100; round++) {
    await device.write(handle, 0, `state ${round}`)
    await device.clock.settle(Promise.resolve(device.fs.fsync(handle, false)), 100)
    await device.clock.run(100)
  }
  assert.ok(device.contents.buildCount >= 3, `${device.contents.buildCount} builds in 10 s`)
  assert.ok(device.contents.buildCount <= 5, `${device.contents.buildCount} builds in 10 s`)
  await device.write(handle, 0, 'quiet end')
  await device.clock.run(12_000)
  assert.equal(device.vfs.pendingEdits, 0)
  const view = device.overlay.node(device.overlay.lookup(device.overlay.root, name('db'))!.id)
  assert.equal(view?.content.kind === 'file' && view.content.sizeBytes, 9)
})

test('a big stream is stored piece by piece: memory and journal stay bounded', async () => {
  const device = await oneDevice()
  const { handle } = device.create(ROOT, 'big')
  const piece = Buffer.alloc(1 << 20)
  for (let index = 0; index < 40; index++) {
    piece.fill(index)
    await device.write(handle, index << 20, piece)
    await device.clock.run(10)
  }
  const journalled = device.journal.records.reduce((sum, { bytes }) => sum + bytes.length, 0)
  assert.ok(journalled < 24 << 20, `${journalled} bytes in the journal`)
  assert.ok(device.contents.buildCount >= 3)
  await device.clock.run(100)
  await device.crash()
  const { nodeId, attr } = device.find('big') ?? assert.fail('gone')
  assert.equal(attr.sizeBytes, 40 << 20)
  const reader = device.open(nodeId, 0)
  for (let index = 0; index < 40; index += 3) {
    const [bytes] = await device.fs.read(CONTEXT, reader, index << 20, 16)
    assert.deepEqual(bytes, Buffer.alloc(16, index))
  }
})

test('a full disk is reported, retried, and loses nothing', async () => {
  const device = await oneDevice()
  device.contents.failure = new WormholeError('DISK_FULL', 'no space')
  await device.put('f', 'precious')
  await assert.rejects(device.drain(), { code: 'DISK_FULL' })
  assert.equal(device.problems[0]?.code, 'DISK_FULL')
  assert.equal(await device.cat('f'), 'precious')
  device.contents.failure = undefined
  device.failure = new WormholeError('WRITER_BROKEN', 'no log')
  const groups = device.log.length
  await device.clock.run(2000)
  assert.equal(device.log.length, groups)
  device.failure = undefined
  await device.clock.run(60_000)
  assert.equal(device.vfs.pendingEdits, 0)
  assert.ok(device.log.length > groups)
  assert.equal(await device.cat('f'), 'precious')
})

test('a journal without room is told, and flushed as soon as there is room', async () => {
  const device = await oneDevice()
  const { handle } = device.create(ROOT, 'f')
  await device.clock.run(1000)
  device.journal.failure = new WormholeError('DISK_FULL', 'no space')
  await device.write(handle, 0, 'kept')
  await device.clock.run(2000)
  // The journal tells it once; so does whoever publishes.
  assert.ok(device.problems.every(({ code }) => code === 'DISK_FULL'))
  assert.ok([1, 2].includes(device.problems.length), `told ${device.problems.length} times`)
  device.journal.failure = undefined
  await device.clock.run(100)
  await device.crash()
  assert.equal(await device.cat('f'), 'kept')
})

test('fallocate grows unless told otherwise; modes nobody asked for are unsupported', async () => {
  const device = await oneDevice()
  const { nodeId, handle } = device.create(ROOT, 'f')
  await device.fs.fallocate(CONTEXT, handle, 0, 100, 1)
  assert.equal((await attrOf(device, nodeId)).sizeBytes, 0)
  await device.fs.fallocate(CONTEXT, handle, 0, 100, 0)
  assert.equal((await attrOf(device, nodeId)).sizeBytes, 100)
  for (const mode of [2, 8, 32, 64]) {
    assert.throws(() => device.fs.fallocate(CONTEXT, handle, 0, 10, mode), { code: 'UNSUPPORTED' })
  }
  assert.throws(() => device.fs.fallocate(CONTEXT, handle, 1, Number.MAX_SAFE_INTEGER, 3), {
    code: 'FILE_TOO_LARGE',
  })
  assert.throws(() => device.fs.fallocate(CONTEXT, handle, 0, 2e9, 0), { code: 'DISK_FULL' })
})

test('a time beyond what is stored becomes the nearest that is, dirty or not', async () => {
  const [device, other] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  const year9999 = 253_402_300_799n * 1_000_000_000n
  const { nodeId, handle } = device.create(ROOT, 'dirty')
  await device.write(handle, 0, 'text')
  await device.fs.setattr(CONTEXT, nodeId, { mtimeNs: year9999 }, handle)
  device.close(handle)
  const clean = await device.put('clean', 'text')
  await device.drain()
  await device.fs.setattr(CONTEXT, clean, { mtimeNs: -year9999 }, undefined)
  await device.drain()
  await other.receive(device)
  for (const each of [device, other]) {
    assert.equal(each.find('dirty')?.attr.mtimeS, 9_223_372_036)
    assert.equal(each.find('clean')?.attr.mtimeS, -9_223_372_037)
  }
  assert.deepEqual(device.problems, [])
})

test('an overwrite is published whole: nobody else sees the file empty', async () => {
  const [device, other] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await device.put('f', 'one')
  await device.drain()
  await device.put('f', 'two')
  // Queued by the close, then emptied again by a slow writer.
  const handle = device.open(device.find('f')?.nodeId ?? 0, 1 | O_TRUNC)
  await device.clock.run(1000)
  await other.receive(device)
  assert.equal(await other.cat('f'), 'one')
  await device.write(handle, 0, 'three')
  device.close(handle)
  await device.clock.run(1000)
  await other.receive(device)
  assert.equal(await other.cat('f'), 'three')
  const sizes = other.overlay
    .history({ inode: other.overlay.lookup(other.overlay.root, name('f'))!.id })
    .map(({ content }) => (content.kind === 'file' ? content.sizeBytes : -1))
  assert.deepEqual(sizes, [5, 3])
})

test('a file that cannot be published holds no other back', async () => {
  const [device, other] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await device.put('first', 'one')
  const { overlay } = device
  const setContent = overlay.setContent.bind(overlay)
  overlay.setContent = (inode, content) => {
    if (content.sizeBytes === 3) throw new RangeError('only this one')
    return setContent(inode, content)
  }
  await device.put('second', 'other')
  await assert.rejects(device.drain(), { message: 'only this one' })
  overlay.setContent = setContent
  await other.receive(device)
  assert.equal(await other.cat('second'), 'other')
  assert.equal(await device.cat('first'), 'one')
  await device.drain()
  await other.receive(device)
  assert.equal(await other.cat('first'), 'one')
})
