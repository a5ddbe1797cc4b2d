/**
 * Proves when written bytes are journalled, and when closed files are published: soon when they
 * come alone, in company in a burst. Real tree and file system on memory ports, simulated time.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { RECORD_WRITE } from '../../../src/vfs/journal-records.ts'
import { CONTEXT, createWorld, name, ROOT, VfsDevice } from '../../helpers/vfs-world.ts'
import { BUSY_MS_MAX } from '../../../src/vfs/pace.ts'
import { ALONE_MS, CLOSE_MS, HELD_MS } from '../../../src/vfs/writeback.ts'

async function oneDevice(): Promise<VfsDevice> {
  const [device] = await createWorld(1)
  return device as VfsDevice
}

/** Writes and closes a file; time stands still. */
async function save(device: VfsDevice, entry: string): Promise<void> {
  const { handle } = device.create(ROOT, entry)
  await device.write(handle, 0, `content of ${entry}`)
  device.close(handle)
}

async function burst(device: VfsDevice, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    await save(device, `burst-${index}`)
    await device.clock.run(5)
  }
}

test('a file closed alone is in the log at once', async () => {
  const device = await oneDevice()
  await save(device, 'alone')
  await device.clock.run(ALONE_MS)
  assert.equal(device.contents.buildCount, 1)
  assert.equal(device.vfs.pendingEdits, 0)
})

test('an edit that comes while a submission runs follows it at once', async () => {
  const device = await oneDevice()
  let open = (): void => undefined
  device.submitGate = new Promise((resolve) => (open = resolve))
  await save(device, 'first')
  await device.clock.run(100)
  await save(device, 'second')
  await device.clock.run(100)
  assert.equal(device.submitCount, 0)
  open()
  await device.clock.run(1)
  assert.equal(device.submitCount, 2)
  assert.equal(device.vfs.pendingEdits, 0)
})

test('a temporary file of a burst is never built', async () => {
  const device = await oneDevice()
  await burst(device, 8)
  await device.clock.run(CLOSE_MS)
  assert.equal(device.contents.buildCount, 8)
  await save(device, 'temporary')
  await device.clock.run(CLOSE_MS - 5)
  await device.fs.unlink(CONTEXT, ROOT, name('temporary'))
  await device.clock.run(3000)
  assert.equal(device.contents.buildCount, 8)
})

test('files of a burst share entries; the last ones do not wait for more', async () => {
  const device = await oneDevice()
  await burst(device, 40)
  assert.ok(device.submitCount <= 8, `${device.submitCount} submissions for 40 files in 200 ms`)
  await device.clock.run(100)
  assert.equal(device.vfs.pendingEdits, 0)
})

/** Bytes of files that survive the death of the process. */
function journalledBytes(device: VfsDevice): number {
  const { records, flushedTo } = device.journal
  const writes = records.filter(({ type, number }) => type === RECORD_WRITE && number <= flushedTo)
  return writes.reduce((sum, { bytes }) => sum + bytes.length, 0)
}

test('bytes survive the process after 80 ms, however long the writing goes on', async () => {
  const device = await oneDevice()
  const { handle } = device.create(ROOT, 'log')
  await device.clock.run(3000)
  for (let index = 0; index < 8; index++) {
    await device.write(handle, index * 100, 'x'.repeat(100))
    if (index < 6) assert.equal(journalledBytes(device), 0, `young after ${index * 10} ms`)
    await device.clock.run(10)
  }
  assert.ok(journalledBytes(device) >= 100)
})

test('a stream that becomes chunks in time does not pass through the journal', async () => {
  const device = await oneDevice()
  const { handle } = device.create(ROOT, 'stream')
  await device.clock.run(3000)
  const piece = 'x'.repeat(1024 * 1024)
  for (let index = 0; index < 40; index++) {
    await device.write(handle, index * piece.length, piece)
    await device.clock.run(5)
  }
  assert.equal(journalledBytes(device), 0)
})

/** A program that writes and syncs a file it keeps open, every 5 ms, for so long. */
async function commits(device: VfsDevice, handle: number, durationMs: number): Promise<void> {
  for (let ms = 0; ms < durationMs; ms += 5) {
    await device.write(handle, 0, `state ${device.clock.nowMs()}`.padEnd(20))
    device.requestCount += 10
    await device.fs.fsync(handle, true)
    await device.clock.run(5)
  }
}

test('a file that is synced again and again is published when its program pauses', async () => {
  const device = await oneDevice()
  await device.clock.run(HELD_MS)
  const { handle } = device.create(ROOT, 'database')
  await commits(device, handle, 500)
  assert.equal(device.contents.buildCount, 0)
  await device.clock.run(3 * CLOSE_MS)
  assert.equal(device.contents.buildCount, 1)
  assert.equal(device.vfs.pendingEdits, 0)
})

test('what never pauses is published all the same, in the state of an fsync', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  await alice.clock.run(HELD_MS)
  const { handle } = alice.create(ROOT, 'database')
  const states = (2 * BUSY_MS_MAX) / 5
  let state = 0
  // Whenever a timer fires, something has been written that is not synced.
  while (alice.contents.buildCount === 0 && state < states) {
    await alice.write(handle, 0, `state ${++state}`)
    alice.requestCount += 10
    await alice.clock.run(5)
    await alice.fs.fsync(handle, true)
  }
  assert.ok(state < states, 'published')
  await alice.write(handle, 0, 'not synced')
  await alice.clock.run(10)
  await bob.receive(alice)
  assert.equal(await bob.cat('database'), `state ${state}`)
})

test('a turn that was missed is forgotten once the file is published', async () => {
  const device = await oneDevice()
  await device.clock.run(HELD_MS)
  const { handle } = device.create(ROOT, 'database')
  await device.write(handle, 0, 'synced')
  await device.fs.fsync(handle, true)
  await device.write(handle, 0, 'not yet')
  await device.clock.run(3 * CLOSE_MS)
  assert.equal(device.contents.buildCount, 0)
  await device.drain()
  assert.equal(device.contents.buildCount, 1)
  await device.clock.run(HELD_MS)
  await commits(device, handle, 500)
  assert.equal(device.contents.buildCount, 1, 'it waits for a pause as ever')
})
