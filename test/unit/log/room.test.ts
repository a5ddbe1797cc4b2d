/**
 * Proves that small syncs find room (the file's size does not change with each), that room is never
 * taken for damage or for a record, that nothing synced into it is lost, and that files which are
 * done have none.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { MemoryDisk, type Survivors } from '../../../src/disk-memory.ts'
import { hasCode } from '../../../src/errors.ts'
import { inspectSegment } from '../../../src/log/inspect.ts'
import { checkJournal } from '../../../src/log/check.ts'
import { DiskJournal } from '../../../src/log/journal.ts'
import { guardDisk, MortalProcess } from '../../helpers/mortal-disk.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const KEY = Buffer.alloc(32, 9)
const directory = '/journal'
const SURVIVORS: readonly Survivors[] = ['none', 'all', 'some', 'torn', 'torn']

function open(disk: MemoryDisk, segmentBytesMax?: number): DiskJournal {
  const random = new SeededRandom(4)
  const size = segmentBytesMax === undefined ? {} : { segmentBytesMax }
  return DiskJournal.open({ disk, random, directory, key: KEY, ...size })
}

function sizeOf(disk: MemoryDisk, index = -1): number {
  return disk.readFileSync(disk.files().at(index) as string)?.length as number
}

/** Appends a record and syncs it. */
async function put(journal: DiskJournal, text: string): Promise<void> {
  journal.append(1, Buffer.from(text))
  await journal.sync()
}

function textsOf(journal: DiskJournal): string[] {
  return [...journal.replay()].map(({ bytes }) => String(bytes))
}

test('records that are synced one by one change no size', async () => {
  const disk = new MemoryDisk()
  const journal = open(disk)
  const texts: string[] = []
  const sizes = new Set<number>()
  for (let count = 0; count < 200; count++) {
    const text = `${count} `.padEnd(4096, 'x')
    await put(journal, text)
    texts.push(text)
    sizes.add(sizeOf(disk))
  }
  assert.ok(sizes.size <= 6, `200 syncs, ${sizes.size} sizes`)
  disk.powerCut({ survivors: 'none' })
  const again = open(disk)
  assert.deepEqual(textsOf(again), texts)
  assert.ok(again.cutBytes > 0, 'the room is cut off, not read')
})

test('what is not synced, or in large pieces, is not written twice', async () => {
  const disk = new MemoryDisk()
  const journal = open(disk)
  for (let count = 0; count < 50; count++) {
    journal.append(1, Buffer.alloc(100_000, 'y'))
    journal.flush()
    if (count % 10 === 9) await journal.sync()
  }
  assert.ok(sizeOf(disk) < 50 * 100_200, 'no zeros behind the last record')
})

test('a power cut at every operation loses nothing that was synced into room', async () => {
  const random = new SeededRandom(22)
  const disk = new MemoryDisk({ isRecording: true })
  const journal = open(disk, 600_000)
  const texts: string[] = []
  const synced: { operation: number; count: number }[] = []
  for (let step = 0; step < 60; step++) {
    const text = `${step} `.padEnd(1 + random.below(40_000), 'z')
    texts.push(text)
    await put(journal, text)
    synced.push({ operation: disk.operationCount, count: texts.length })
  }
  assert.ok(disk.files().length > 1, 'it has rolled over')
  for (let operation = 0; operation <= disk.operationCount; operation++) {
    for (const survivors of SURVIVORS) {
      const image = disk.imageAt(operation, { survivors, random })
      const found = textsOf(open(image))
      const what = `operation ${operation}, ${survivors}`
      assert.deepEqual(found, texts.slice(0, found.length), what)
      const promised = synced.findLast((state) => state.operation <= operation)?.count ?? 0
      assert.ok(found.length >= promised, `${what}: ${found.length} of ${promised}`)
    }
  }
})

test('dying between any two steps, going on, and a power cut lose nothing', async () => {
  for (let fuse = 1; fuse < 40; fuse++) {
    const disk = new MemoryDisk()
    const process = new MortalProcess()
    process.fuse = fuse
    let count = 0
    try {
      const journal = open(guardDisk(disk, process) as MemoryDisk, 6000)
      for (; count < 6; count++) await put(journal, `${count}`.padEnd(1500, 'a'))
    } catch (error) {
      assert.ok(hasCode(error, 'IO_ERROR') || hasCode(error, 'WRITER_BROKEN'), String(error))
    }
    await put(open(disk, 6000), 'the last')
    disk.powerCut({ survivors: 'none' })
    const texts = textsOf(open(disk, 6000))
    assert.equal(texts.at(-1), 'the last', `fuse ${fuse}`)
    assert.ok(texts.length > count, `fuse ${fuse}: ${texts.length - 1} of ${count}`)
  }
})

test('old and closed segments have no room; verify takes that of the last for none', async () => {
  const disk = new MemoryDisk()
  const journal = open(disk, 20_000)
  for (let count = 0; count < 15; count++) await put(journal, `${count}`.padEnd(3000, 'b'))
  const files = disk.files()
  assert.ok(files.length > 2)
  for (const [index, name] of files.entries()) {
    const { lines, isSound } = inspectSegment(disk.readFileSync(name) as Buffer)
    const isLast = index === files.length - 1
    assert.equal(isSound, true, name)
    assert.equal(lines.at(-1)?.includes('room') ?? false, isLast, `${name}: ${lines.at(-1)}`)
  }
  const steps = [...checkJournal({ disk, directory, key: KEY })]
  assert.deepEqual(
    steps.flatMap(({ findings }) => findings),
    [],
  )
  await journal.close()
  const closed = inspectSegment(disk.readFileSync(files.at(-1) as string) as Buffer)
  assert.match(closed.lines.at(-1) as string, /mark/)
})

test('a disk that has room for the record only takes the record', async () => {
  const disk = new MemoryDisk()
  const journal = open(disk)
  await put(journal, 'first')
  disk.capacityBytes = sizeOf(disk) + 10_000
  for (let count = 0; count < 4; count++) await put(journal, `${count}`.padEnd(1000, 'c'))
  disk.capacityBytes = sizeOf(disk)
  await assert.rejects(put(journal, 'd'.repeat(5000)), { code: 'DISK_FULL' })
  disk.capacityBytes = Infinity
  await journal.sync()
  disk.powerCut({ survivors: 'none' })
  assert.equal(textsOf(open(disk)).length, 6)
})

test('flipped bytes in the room cost nothing that was synced', async () => {
  const disk = new MemoryDisk()
  const journal = open(disk)
  for (let count = 0; count < 3; count++) await put(journal, `${count}`)
  const name = disk.files().at(-1) as string
  const copy = disk.copy()
  const size = sizeOf(copy)
  for (let at = size - 5000; at < size; at += 997) copy.flip(name, at, 1 << (at % 8))
  assert.deepEqual(textsOf(open(copy)), ['0', '1', '2'])
})
