/**
 * Proves that the disk in memory forgets what a real one may forget, and nothing that was synced.
 * Small files, cut in every way.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { MemoryDisk, type Survivors } from '../../../src/disk-memory.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

function text(disk: MemoryDisk, path: string): string | undefined {
  return disk.readFileSync(path)?.toString()
}

test('contents need a sync of the file, names one of the directory', async () => {
  const disk = new MemoryDisk()
  const file = disk.openSync('/a', { create: true })
  file.writeSync(0, [Buffer.from('one '), Buffer.from('two')])
  await file.sync()
  disk.openSync('/b', { create: true }).writeSync(0, [Buffer.from('unsynced')])
  disk.syncDirectorySync('/')
  disk.openSync('/c', { create: true }).syncSync()
  file.writeSync(7, [Buffer.from(' three')])
  assert.equal(text(disk, '/a'), 'one two three')
  disk.powerCut({ survivors: 'none' })
  assert.deepEqual(disk.files(), ['/a', '/b'])
  assert.equal(text(disk, '/a'), 'one two')
  assert.equal(text(disk, '/b'), '')
  assert.throws(() => file.sizeSync(), { code: 'IO_ERROR' }, 'files are dead after a cut')
})

test('a sync covers what was written before it, not what came while it ran', async () => {
  const disk = new MemoryDisk()
  const file = disk.openSync('/a', { create: true })
  disk.syncDirectorySync('/')
  file.writeSync(0, [Buffer.from('before')])
  const sync = file.sync()
  file.writeSync(6, [Buffer.from(' during')])
  await sync
  disk.powerCut({ survivors: 'none' })
  assert.equal(text(disk, '/a'), 'before')
})

test('a replaced file is the old one or the new one', () => {
  const random = new SeededRandom(1)
  const disk = new MemoryDisk({ isRecording: true })
  disk.replaceFileSync('/f', Buffer.from('old'))
  const start = disk.operationCount
  disk.replaceFileSync('/f', Buffer.from('new'))
  for (let count = start; count <= disk.operationCount; count++) {
    for (const survivors of ['none', 'all', 'some', 'torn'] satisfies Survivors[]) {
      const found = text(disk.imageAt(count, { survivors, random }), '/f') as string
      assert.ok(['old', 'new'].includes(found), `operation ${count}, ${survivors}: ${found}`)
      if (count === disk.operationCount) assert.equal(found, 'new')
    }
  }
})

test('a torn write keeps some sectors of 512 bytes', () => {
  const seen = new Set<string>()
  for (let seed = 0; seed < 20; seed++) {
    const disk = new MemoryDisk()
    const file = disk.openSync('/a', { create: true })
    file.truncateSync(1500)
    file.syncSync()
    disk.syncDirectorySync('/')
    file.writeSync(100, [Buffer.alloc(1400, 'x')])
    disk.powerCut({ survivors: 'torn', random: new SeededRandom(seed) })
    const bytes = disk.readFileSync('/a') as Buffer
    const parts = [bytes.subarray(100, 512), bytes.subarray(512, 1024), bytes.subarray(1024)]
    for (const part of parts) assert.equal(new Set(part).size, 1, 'a sector is whole')
    seen.add(parts.map((part) => part[0]).join())
  }
  assert.ok(seen.size > 4)
})

test('a full disk writes what fits, and a removed directory is gone with what is in it', () => {
  const disk = new MemoryDisk({ capacityBytes: 10 })
  disk.makeDirectorySync('/d/e')
  const file = disk.openSync('/d/e/f', { create: true })
  assert.throws(() => file.writeSync(0, [Buffer.alloc(11)]), { code: 'DISK_FULL' })
  assert.equal(file.sizeSync(), 10)
  assert.deepEqual(disk.spaceSync(), { freeBytes: 0, totalBytes: 10 })
  disk.removeSync('/d')
  assert.deepEqual(disk.files(), [])
  assert.deepEqual(disk.listSync('/d'), [])
  assert.equal(disk.spaceSync().freeBytes, 10)
  assert.throws(() => disk.openSync('/d/e/f'), { code: 'IO_ERROR' })
})
