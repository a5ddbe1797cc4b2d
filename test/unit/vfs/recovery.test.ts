/**
 * Proves that a crash after any journal record leaves a state the program had or was just making,
 * and that nothing acknowledged is lost or published twice. A fixed story is cut after every
 * record; bases, rebinding, segments and covered edits are looked at one by one.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { dumpTree } from '../../helpers/vfs-dump.ts'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

async function contentOf(device: VfsDevice): Promise<Buffer> {
  const handle = device.open(device.find('f')?.nodeId ?? 0, 0)
  const pieces = await device.fs.read(CONTEXT, handle, 0, 1 << 26)
  const bytes = Buffer.concat(pieces)
  device.close(handle)
  return bytes
}

const place = (entry: string) => ({ parent: ROOT, name: name(entry) })

/** Steps that between them write every type of record and mark. */
const STORY: readonly ((device: VfsDevice) => Promise<unknown>)[] = [
  (device) => device.put('a', 'first'),
  (device) => device.put('b', 'second'),
  async (device) => device.fs.mkdir(CONTEXT, ROOT, name('d'), 0o755),
  async (device) =>
    device.fs.setattr(CONTEXT, device.find('a')?.nodeId ?? 0, { mode: 0o600 }, undefined),
  async (device) =>
    device.fs.setattr(CONTEXT, device.find('b')?.nodeId ?? 0, { sizeBytes: 3 }, undefined),
  (device) => device.clock.run(200),
  (device) => device.put('a', 'rewritten'),
  async (device) => device.fs.rename(CONTEXT, place('b'), place('c'), 0),
  (device) => device.put('tmp', 'saved by rename'),
  async (device) => device.fs.rename(CONTEXT, place('tmp'), place('a'), 0),
  async (device) => device.fs.link(CONTEXT, device.find('a')?.nodeId ?? 0, ROOT, name('hard')),
  (device) => device.put('hard', 'through a link'),
  async (device) => device.fs.unlink(CONTEXT, ROOT, name('c')),
  async (device) => {
    const handle = device.open(device.find('a')?.nodeId ?? 0)
    await device.fs.fallocate(CONTEXT, handle, 3, 4, 3)
    device.close(handle)
  },
  (device) => device.clock.run(200),
  async (device) => device.fs.symlink(CONTEXT, ROOT, name('s'), Buffer.from('a')),
]

test('a crash after any record leaves a state before, after or within that step', async () => {
  const [device] = (await createWorld(1)) as [VfsDevice]
  device.failure = new WormholeError('IO_ERROR', 'cut off: everything stays in the journal')
  const states = [await dumpTree(device)]
  const ends = [0]
  for (const step of STORY) {
    await step(device)
    await device.fs.syncfs()
    states.push(await dumpTree(device))
    ends.push(device.journal.nextNumber - 1)
  }
  const last = ends.at(-1) as number
  assert.ok(last >= 25, `${last} records`)
  for (let upTo = 0; upTo <= last; upTo++) {
    const [fresh] = (await createWorld(1)) as [VfsDevice]
    for (const [address, bytes] of device.contents.stored) fresh.contents.stored.set(address, bytes)
    fresh.journal = device.journal
    await fresh.crash(upTo)
    const found = await dumpTree(fresh)
    const after = ends.findIndex((end) => end >= upTo)
    const candidates = [states[after - 1] ?? states[0], states[after]]
    if (ends[after] === upTo) assert.deepEqual(found, states[after], `cut after record ${upTo}`)
    for (const [path, line] of found) {
      const size = line.includes('""')
      const known = candidates.some((state) => state?.get(path) === line)
      assert.ok(known || size || after > 0, `cut after record ${upTo}: ${path} is ${line}`)
    }
    await fresh.drain()
    assert.deepEqual(await dumpTree(fresh), found, `published after record ${upTo}`)
    assert.deepEqual(fresh.problems, [])
  }
})

test('a journal that lost any record starts, and shows what the others say', async () => {
  const [device] = (await createWorld(1)) as [VfsDevice]
  device.failure = new WormholeError('IO_ERROR', 'cut off: everything stays in the journal')
  for (const step of STORY) {
    await step(device)
    await device.fs.syncfs()
  }
  const whole = await dumpTree(device)
  const last = device.journal.nextNumber - 1
  const known = new Set<string>()
  for (let lost = 1; lost <= last; lost++) {
    const [fresh] = (await createWorld(1)) as [VfsDevice]
    for (const [address, bytes] of device.contents.stored) fresh.contents.stored.set(address, bytes)
    fresh.journal = device.journal.after(last, 0)
    fresh.journal.records = fresh.journal.records.filter(({ number }) => number !== lost)
    await fresh.crash(last)
    const found = await dumpTree(fresh)
    for (const path of found.keys()) if (whole.get(path) === found.get(path)) known.add(path)
    assert.ok(found.size >= whole.size - 3, `without record ${lost}: ${[...found.keys()].join()}`)
    await fresh.drain()
    assert.deepEqual(fresh.overlay.pending(), [], `without record ${lost}: all is published`)
  }
  assert.equal(known.size, whole.size)
})

test('a covered edit is not replayed over what came later', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await alice.put('f', 'one')
  await alice.drain()
  const { records } = alice.journal
  await bob.receive(alice)
  await bob.put('f', 'two')
  await bob.drain()
  await alice.receive(bob)
  alice.journal.records = records
  await alice.crash()
  await alice.drain()
  assert.deepEqual(await alice.names(), ['f'])
  assert.equal(await alice.cat('f'), 'two')
})

test('bytes recovered over a version that arrived meanwhile become a conflict', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await alice.put('f', 'one')
  await alice.drain()
  await bob.receive(alice)
  const handle = alice.open(alice.find('f')?.nodeId ?? 0)
  await alice.write(handle, 0, 'mine')
  await alice.clock.run(100)
  await bob.put('f', 'theirs')
  await bob.drain()
  await alice.receive(bob)
  await alice.crash()
  await alice.drain()
  const texts = await Promise.all((await alice.names()).map((entry) => alice.cat(entry)))
  assert.deepEqual(texts.sort(), ['mine', 'theirs'])
})

test('of two dirty files of an inode the one on the version of the tree has the name', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await alice.put('f', 'one')
  await alice.drain()
  await bob.receive(alice)
  const held = alice.open(alice.find('f')?.nodeId ?? 0)
  await alice.write(held, 0, 'old line')
  await alice.clock.run(100)
  await bob.put('f', 'theirs')
  await bob.drain()
  await alice.receive(bob)
  alice.failure = new WormholeError('IO_ERROR', 'cut off: everything stays in the journal')
  await alice.put('f', 'new line')
  alice.close(held)
  await alice.fs.syncfs()
  assert.equal(await alice.cat('f'), 'new line')
  await alice.crash()
  assert.deepEqual(await alice.names(), ['f'])
  assert.equal(await alice.cat('f'), 'new line')
  alice.failure = undefined
  await alice.drain()
  const texts = await Promise.all((await alice.names()).map((entry) => alice.cat(entry)))
  for (const text of ['new line', 'old line']) assert.ok(texts.includes(text), texts.join())
})

test('segments and what was written after them come back together', async () => {
  const [device] = (await createWorld(1)) as [VfsDevice]
  const { handle } = device.create(ROOT, 'big')
  await device.write(handle, 0, Buffer.alloc(9 << 20, 'a'))
  await device.clock.run(1)
  await device.write(handle, 5, 'middle')
  await device.fs.setattr(CONTEXT, device.find('big')?.nodeId ?? 0, { sizeBytes: 100 }, handle)
  await device.write(handle, 100, 'end')
  await device.fs.syncfs()
  assert.ok(device.contents.buildCount > 0)
  await device.crash()
  const expected = Buffer.alloc(103, 'a')
  expected.write('middle', 5)
  expected.write('end', 100)
  assert.equal(await device.cat('big'), expected.toString())
  await device.drain()
  assert.equal(await device.cat('big'), expected.toString())
})

test('a power cut leaves of every block what it was since the last fsync', async () => {
  const [blockBytes, blockCount] = [256 * 1024, 48]
  let [segments, cuts] = [0, 0]
  for (let seed = 1; seed <= 40; seed++) {
    const random = new SeededRandom(seed)
    const [device] = (await createWorld(1, seed)) as [VfsDevice]
    device.failure = new WormholeError('IO_ERROR', 'cut off: everything stays in the journal')
    const { handle, nodeId } = device.create(ROOT, 'f')
    await device.fs.syncfs()
    const now: number[] = []
    let moments = [[...now]]
    let syncedTo = device.journal.syncedTo
    for (let step = 20 + random.below(60); step > 0; step--) {
      const kind = random.below(30)
      if (kind === 0) {
        await device.fs.fsync(handle, false)
        moments = []
        syncedTo = device.journal.syncedTo
      } else if (kind === 1) {
        now.length = random.below(now.length + 1)
        const sizeBytes = now.length * blockBytes
        await device.fs.setattr(CONTEXT, nodeId, { sizeBytes }, handle)
      } else {
        const isAppend = random.below(2) === 0 && now.length < blockCount
        const block = isAppend ? now.length : random.below(Math.max(1, now.length))
        now[block] = 1 + random.below(255)
        const bytes = Buffer.alloc(blockBytes, now[block])
        await device.write(handle, block * blockBytes, bytes)
      }
      moments.push([...now])
      if (random.below(3) === 0) await device.clock.run(random.below(60))
    }
    segments += device.contents.buildCount
    const { flushedTo } = device.journal
    const stored = device.contents.stored.size
    device.contents.loseUnsynced(() => random.below(3) === 0)
    if (device.contents.stored.size < stored) cuts++
    await device.crash(syncedTo + random.below(flushedTo - syncedTo + 1))
    let found = await contentOf(device)
    const sizes = new Set(moments.map(({ length }) => length * blockBytes))
    assert.ok(sizes.has(found.length), `seed ${seed}: ${found.length} bytes`)
    for (let block = 0; block * blockBytes < found.length; block++) {
      const bytes = found.subarray(block * blockBytes, (block + 1) * blockBytes)
      const known = moments.some((blocks) =>
        bytes.equals(Buffer.alloc(blockBytes, blocks[block] ?? 0)),
      )
      assert.ok(known, `seed ${seed}: block ${block} is ${bytes[0]}`)
    }
    const again = device.open(device.find('f')?.nodeId ?? 0)
    await device.write(again, found.length, 'more')
    await device.fs.fsync(again, false)
    found = Buffer.concat([found, Buffer.from('more')])
    await device.crash()
    assert.ok(found.equals(await contentOf(device)), `seed ${seed}: the same after another`)
    device.failure = undefined
    await device.drain()
    assert.ok(found.equals(await contentOf(device)), `seed ${seed}: the same when published`)
    await device.clock.run(5000)
    await device.crash()
    assert.ok(found.equals(await contentOf(device)), `seed ${seed}: the same at last`)
    assert.deepEqual(await device.names(), ['f'], `seed ${seed}`)
    const others = device.problems.filter(({ message }) => !message.includes('cut off'))
    assert.deepEqual(others, [], `seed ${seed}`)
  }
  assert.ok(segments > 20 && cuts > 5, `${segments} segments, ${cuts} cuts that took some`)
})

test('a segment waits for the disk only over a base that is not all here', async () => {
  for (const isRemote of [false, true]) {
    const [device] = (await createWorld(1)) as [VfsDevice]
    await device.put('f', 'on a peer')
    await device.drain()
    device.failure = new WormholeError('IO_ERROR', 'cut off: everything stays in the journal')
    device.contents.isRemote = isRemote
    const { syncCount, buildCount } = device.contents
    const handle = device.open(device.find('f')?.nodeId ?? 0)
    await device.write(handle, 0, Buffer.alloc(5 << 20, 'a'))
    await device.clock.run(1)
    assert.ok(device.contents.buildCount > buildCount, 'a segment')
    assert.equal(device.contents.syncCount > syncCount, isRemote)
    await device.fs.fsync(handle, false)
    assert.ok(device.contents.syncCount > syncCount, 'an fsync syncs what the journal names')
  }
})

test('a second crash during the publication of recovered bytes loses nothing', async () => {
  const [device] = (await createWorld(1)) as [VfsDevice]
  await device.put('f', 'kept')
  await device.clock.run(10)
  await device.crash()
  device.failure = new WormholeError('IO_ERROR', 'cut off')
  await device.clock.run(500)
  assert.ok(device.contents.buildCount > 0)
  await device.crash()
  await device.crash()
  device.failure = undefined
  await device.drain()
  assert.equal(await device.cat('f'), 'kept')
  assert.deepEqual(await device.names(), ['f'])
})

test('closing publishes what is pending; the rest stays in the journal', async () => {
  const [device] = (await createWorld(1)) as [VfsDevice]
  await device.put('f', 'one')
  await device.clock.settle(device.vfs.close(), 1000)
  assert.deepEqual(device.journal.records, [])
  await device.crash()
  assert.equal(await device.cat('f'), 'one')

  device.failure = new WormholeError('IO_ERROR', 'cut off')
  await device.put('f', 'two')
  await device.clock.settle(device.vfs.close({ timeoutMs: 500 }), 1000)
  assert.equal(device.problems.at(-1)?.code, 'IO_ERROR')
  assert.throws(() => device.create(ROOT, 'late'), { code: 'VOLUME_CLOSED' })
  device.failure = undefined
  await device.crash()
  assert.equal(await device.cat('f'), 'two')
  await device.drain()
  assert.equal(device.vfs.pendingEdits, 0)
})
