/**
 * Proves that a damaged feed opens with every entry that can be read, never with wrong ones, names
 * the others as gaps, and is whole again once they were appended. Flips every byte, cuts and
 * deletes every file, cuts the power at every write of the salvage.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { hasCode } from '../../../src/errors.ts'
import { DiskFeedStore } from '../../../src/log/feeds.ts'
import type { EntryFrame } from '../../../src/log/interface.ts'
import type { FeedDamage } from '../../../src/log/salvage.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { type Author, LogWorld, treeOf } from './authors.ts'

const SEGMENT_BYTES_MAX = 1500
const ENTRIES = 9

function open(disk: MemoryDisk, world: LogWorld) {
  const damages: FeedDamage[] = []
  const store = DiskFeedStore.open({
    disk,
    random: new SeededRandom(3),
    directory: '/feeds',
    volume: world.volume,
    segmentBytesMax: SEGMENT_BYTES_MAX,
    onDamage: (damage) => damages.push(damage),
  })
  return { store, damages }
}

async function written() {
  const world = new LogWorld(61)
  const disk = new MemoryDisk({ isRecording: true })
  const author = world.author(2)
  const { store } = open(disk, world)
  for (let index = 0; index < ENTRIES; index++) {
    await store.append([author.write({ tree: treeOf(world, 60 + index * 10) })])
  }
  await store.close()
  assert.ok(disk.files().length >= 3, disk.files().join())
  return { world, disk, author }
}

/** Reads everything that is held, over damage that shows only when it is read. */
function readAll(store: DiskFeedStore, { feed, frames }: Author, what: string): Set<number> {
  const held = new Set<number>()
  for (let seq = 0; seq < ENTRIES; seq++) {
    let found: EntryFrame | undefined
    try {
      found = store.read(feed, seq, 1)[0]
    } catch (error) {
      assert.ok(hasCode(error, 'FEED_CORRUPT'), `${what}: ${String(error)}`)
      found = store.read(feed, seq, 1)[0]
    }
    if (found === undefined) continue
    assert.equal(found.hash, frames[seq]?.hash, what)
    assert.deepEqual(Buffer.from(found.bytes), Buffer.from(frames[seq]?.bytes ?? []), what)
    held.add(seq)
  }
  return held
}

/** Finds what nobody read: damaged headers and marks. */
function scrub(store: DiskFeedStore): void {
  for (let round = 0; round < ENTRIES; round++) {
    try {
      for (const { checked, length } of store.verify()) assert.ok(checked <= length)
      return
    } catch (error) {
      assert.ok(hasCode(error, 'FEED_CORRUPT'), String(error))
    }
  }
}

async function check(
  disk: MemoryDisk,
  { world, author }: { world: LogWorld; author: Author },
  what: string,
  lostMax: number,
  isTold = true,
): Promise<void> {
  const { store, damages } = open(disk, world)
  const held = readAll(store, author, what)
  assert.ok(held.size >= ENTRIES - lostMax, `${what}: only ${[...held].join()} are held`)
  const head = store.head(author.feed)?.length ?? 0
  const gaps = store.gaps(author.feed)
  for (let seq = 0; seq < head; seq++) {
    const isGap = gaps.some(({ from, to }) => seq >= from && seq < to)
    assert.equal(held.has(seq), !isGap, `${what}: entry ${seq}`)
  }
  if (isTold && held.size < head) assert.ok(damages.length > 0, `${what}: told`)
  scrub(store)
  await store.append(author.frames.slice(0, ENTRIES))
  assert.equal(readAll(store, author, what).size, ENTRIES, `${what}: repaired`)
  assert.deepEqual(store.gaps(author.feed), [], what)
  assert.deepEqual(store.head(author.feed), author.head, what)
  await store.close()
  const again = open(disk, world)
  assert.equal(readAll(again.store, author, what).size, ENTRIES, `${what}: opened again`)
  assert.deepEqual(again.damages, [], `${what}: nothing is left`)
  assert.deepEqual([...again.store.verify()].at(-1)?.length, ENTRIES, what)
}

test('a flipped byte anywhere costs the entry it hits', async () => {
  const all = await written()
  for (const file of all.disk.files()) {
    const size = all.disk.readFileSync(file)?.length as number
    for (let at = 0; at < size; at += 5) {
      const disk = all.disk.imageAt(all.disk.operationCount, { survivors: 'all' })
      disk.flip(file, at, 1 << (at % 8))
      await check(disk, all, `${file}, byte ${at}`, 1)
    }
  }
})

test('files cut, missing, or damaged in several places', async () => {
  const all = await written()
  const random = new SeededRandom(8)
  const image = (): MemoryDisk => all.disk.imageAt(all.disk.operationCount, { survivors: 'all' })
  for (const file of all.disk.files()) {
    const size = all.disk.readFileSync(file)?.length as number
    for (let end = 0; end < size; end += 40) {
      const disk = image()
      disk.openSync(file).truncateSync(end)
      await check(disk, all, `${file} cut at ${end}`, ENTRIES)
    }
    const without = image()
    without.removeSync(file)
    await check(without, all, `${file} missing`, ENTRIES)
    for (let round = 0; round < 30; round++) {
      const disk = image()
      for (const other of [file, all.disk.files()[0] as string]) {
        disk.flip(other, random.below(all.disk.readFileSync(other)?.length as number), 4)
      }
      await check(disk, all, `seed 8, ${file}, round ${round}`, 3)
    }
  }
})

test('a power cut at every write of a salvage loses nothing more', async () => {
  const all = await written()
  const random = new SeededRandom(9)
  const files = all.disk.files()
  for (const file of files) {
    const disk = all.disk.imageAt(all.disk.operationCount, { survivors: 'all' })
    disk.flip(file, 300, 1)
    const recorded = new MemoryDisk({ isRecording: true })
    for (const name of disk.files()) {
      recorded.makeDirectorySync(name.slice(0, name.lastIndexOf('/')))
      const copy = recorded.openSync(name, { create: true })
      copy.writeSync(0, [disk.readFileSync(name) as Buffer])
      copy.syncSync()
      recorded.syncDirectorySync(name.slice(0, name.lastIndexOf('/')))
    }
    recorded.syncDirectorySync('/feeds')
    recorded.syncDirectorySync('/')
    const start = recorded.operationCount
    readAll(open(recorded, all.world).store, all.author, file)
    for (let operation = start; operation <= recorded.operationCount; operation++) {
      for (const survivors of ['none', 'all', 'some', 'torn'] as const) {
        const cut = recorded.imageAt(operation, { survivors, random })
        await check(cut, all, `${file}, operation ${operation}, ${survivors}`, 1, false)
      }
    }
  }
})
