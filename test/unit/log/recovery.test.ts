/**
 * Proves that after a crash everything that was synced is there, and that damage is never taken for
 * a torn tail. Cuts the power at every write of a workload, cuts files at every byte, flips every
 * byte.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { MemoryDisk, type Survivors } from '../../../src/disk-memory.ts'
import { hasCode, WormholeError } from '../../../src/errors.ts'
import { DiskFeedStore } from '../../../src/log/feeds.ts'
import { DiskJournal } from '../../../src/log/journal.ts'
import type { EntryFrame, FeedTip } from '../../../src/log/interface.ts'
import type { FeedId, Frontier } from '../../../src/types.ts'
import { guardDisk, MortalProcess } from '../../helpers/mortal-disk.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { type Author, LogWorld, treeOf } from './authors.ts'

const SEGMENT_BYTES_MAX = 2500
const KEY = Buffer.alloc(32, 9)
const SURVIVORS: readonly Survivors[] = ['none', 'all', 'some', 'torn', 'torn']

function openFeeds(disk: MemoryDisk, world: LogWorld): DiskFeedStore {
  const random = new SeededRandom(3)
  const segmentBytesMax = SEGMENT_BYTES_MAX
  return DiskFeedStore.open({
    disk,
    random,
    directory: '/feeds',
    volume: world.volume,
    segmentBytesMax,
  })
}

function openJournal(disk: MemoryDisk, numberMin = 1): DiskJournal {
  const random = new SeededRandom(4)
  const segmentBytesMax = SEGMENT_BYTES_MAX
  return DiskJournal.open({
    disk,
    random,
    directory: '/journal',
    key: KEY,
    numberMin,
    segmentBytesMax,
  })
}

function lastSegment(disk: MemoryDisk): string {
  return disk.files().at(-1) as string
}

/** What each feed holds must be a prefix of what its author wrote; returns the lengths. */
function checkPrefixes(store: DiskFeedStore, authors: readonly Author[]): Map<FeedId, number> {
  const lengths = new Map<FeedId, number>()
  for (const { feed, frames } of authors) {
    const held = store.read(feed, 0, 1e9)
    for (const [seq, frame] of held.entries()) assert.equal(frame.hash, frames[seq]?.hash)
    assert.equal(held.length, store.head(feed)?.length ?? 0)
    lengths.set(feed, held.length)
  }
  return lengths
}

test('feeds: a power cut at every operation loses nothing that was acknowledged', async () => {
  const seed = 11
  const world = new LogWorld(seed)
  const random = new SeededRandom(seed)
  const disk = new MemoryDisk({ isRecording: true })
  const store = openFeeds(disk, world)
  const authors = [world.creator, world.author(2)]
  const acknowledged: { operation: number; frontier: Frontier }[] = []
  for (let group = 0; group < 14; group++) {
    const frames: EntryFrame[] = group === 0 ? [world.genesis] : []
    for (let count = random.below(4); count >= 0; count--) {
      const author = authors[random.below(2)] as Author
      frames.push(author.write({ tree: treeOf(world, random.below(700)) }))
    }
    await store.append(frames)
    acknowledged.push({ operation: disk.operationCount, frontier: store.frontier() })
  }
  for (let operation = 0; operation <= disk.operationCount; operation++) {
    for (const survivors of SURVIVORS) {
      const image = disk.imageAt(operation, { survivors, random })
      const what = `seed ${seed}, operation ${operation}, ${survivors}`
      const found = checkPrefixes(openFeeds(image, world), authors)
      const promised = acknowledged.findLast((state) => state.operation <= operation)
      for (const [feed, { length }] of promised?.frontier ?? []) {
        assert.ok((found.get(feed) ?? 0) >= length, `${what}: ${feed}`)
      }
    }
  }
})

test('feeds: what recovery found goes on, and a second power cut takes nothing back', async () => {
  const world = new LogWorld(12)
  const random = new SeededRandom(12)
  const disk = new MemoryDisk({ isRecording: true })
  const author = world.author(2)
  const store = openFeeds(disk, world)
  for (let index = 0; index < 6; index++) {
    await store.append([author.write({ tree: treeOf(world, 300) })])
  }
  for (let operation = 0; operation <= disk.operationCount; operation += 2) {
    const image = disk.imageAt(operation, { survivors: 'torn', random })
    const first = openFeeds(image, world)
    const length = first.head(author.feed)?.length ?? 0
    image.powerCut({ survivors: 'none' })
    const second = openFeeds(image, world)
    assert.equal(second.head(author.feed)?.length ?? 0, length, 'it was announced')
    await second.append(author.frames)
    image.powerCut({ survivors: 'none' })
    assert.deepEqual(openFeeds(image, world).head(author.feed), author.head)
  }
})

test('feeds: a power cut anywhere among branches and gaps loses nothing acknowledged', async () => {
  const world = new LogWorld(13)
  const random = new SeededRandom(13)
  const disk = new MemoryDisk({ isRecording: true })
  const author = world.author(2)
  const write = (other: Author): EntryFrame => other.write({ tree: treeOf(world, 400) })
  for (let index = 0; index < 9; index++) write(author)
  const twin = author.twin(3)
  for (let index = 0; index < 6; index++) write(twin)
  const store = openFeeds(disk, world)
  const acknowledged: { operation: number; tips: FeedTip[] }[] = []
  const { feed, frames } = author
  const steps = [frames.slice(5, 7), frames.slice(7), frames.slice(0, 3), twin.frames.slice(0, 5)]
  for (const [at, part] of [...steps, frames, twin.frames].entries()) {
    await store.append(part, { mayStartRun: at === 0 })
    const tips = part.map(({ seq, hash }) => ({ feed, length: seq + 1, hash }))
    acknowledged.push({ operation: disk.operationCount, tips })
  }
  for (let operation = 0; operation <= disk.operationCount; operation++) {
    const image = disk.imageAt(operation, { survivors: 'torn', random })
    const found = openFeeds(image, world)
    for (const state of acknowledged) {
      if (state.operation > operation) break
      for (const tip of state.tips) assert.ok(found.locate(tip), `operation ${operation}`)
    }
    const isStarted = found.branches(feed).length > 0
    if (!isStarted) continue
    await found.append(frames)
    await found.append(twin.frames)
    for (const { head } of [author, twin]) {
      const name = found.locate({ feed, ...(head ?? assert.fail()) }) ?? assert.fail()
      assert.equal(found.read(name, 0, 1e9).length, head?.length)
    }
  }
})

test('journal: a power cut at every operation loses nothing that was synced', async () => {
  const seed = 21
  const random = new SeededRandom(seed)
  const disk = new MemoryDisk({ isRecording: true })
  const journal = openJournal(disk)
  const texts: string[] = ['']
  const synced: { operation: number; number: number; trimmed: number }[] = []
  let trimmed = 1
  for (let step = 0; step < 40; step++) {
    for (let count = random.below(3); count >= 0; count--) {
      const bytes = random.bytes(random.below(500))
      texts[journal.append(step, bytes)] = Buffer.from(bytes).toString('hex')
    }
    if (random.below(2) === 0) journal.flush()
    if (random.below(3) === 0) {
      await journal.sync()
      synced.push({ operation: disk.operationCount, number: journal.nextNumber - 1, trimmed })
    }
    if (random.below(8) === 0) journal.trim((trimmed = journal.nextNumber - random.below(4)))
  }
  for (let operation = 0; operation <= disk.operationCount; operation++) {
    for (const survivors of SURVIVORS) {
      const image = disk.imageAt(operation, { survivors, random })
      const what = `seed ${seed}, operation ${operation}, ${survivors}`
      const reopened = openJournal(image)
      const records = [...reopened.replay()]
      for (const [index, { number, bytes }] of records.entries()) {
        assert.equal(number, (records[0]?.number ?? 0) + index, `${what}: no holes`)
        assert.equal(Buffer.from(bytes).toString('hex'), texts[number], what)
      }
      const promised = synced.findLast((state) => state.operation <= operation)
      if (promised === undefined) continue
      assert.ok(reopened.nextNumber > promised.number, `${what}: number ${promised.number}`)
      if (records.length > 0) assert.ok((records.at(-1)?.number ?? 0) >= promised.number, what)
    }
  }
})

/** Everything a segment file may hold, written without a clean end unless `isClosed`. */
async function writtenFeed(isClosed: boolean) {
  const world = new LogWorld(31)
  const disk = new MemoryDisk()
  const author = world.author(2)
  const store = openFeeds(disk, world)
  for (let group = 0; group < 3; group++) {
    await store.append([author.write({ tree: treeOf(world, 20) }), author.write()])
  }
  if (isClosed) await store.close()
  return { world, disk, author }
}

/** A fresh disk with the same files. */
function copyOf(disk: MemoryDisk): MemoryDisk {
  const copy = new MemoryDisk()
  for (const name of disk.files()) {
    copy.makeDirectorySync(name.slice(0, name.lastIndexOf('/')))
    const file = copy.openSync(name, { create: true })
    file.writeSync(0, [disk.readFileSync(name) as Buffer])
    file.close()
  }
  return copy
}

test('feeds: a file that ends at any byte opens with the whole entries before it', async () => {
  const { world, disk, author } = await writtenFeed(false)
  const name = lastSegment(disk)
  const size = disk.readFileSync(name)?.length as number
  let longest = 0
  for (let end = 0; end <= size; end++) {
    const copy = copyOf(disk)
    const file = copy.openSync(name)
    file.truncateSync(end)
    const store = openFeeds(copy, world)
    const length = checkPrefixes(store, [author]).get(author.feed) as number
    assert.ok(length >= longest, `end ${end}`)
    longest = length
    await store.append(author.frames)
    assert.deepEqual(openFeeds(copy, world).head(author.feed), author.head)
  }
  assert.equal(longest, author.frames.length)
})

for (const isClosed of [true, false]) {
  const how = isClosed ? 'closed' : 'crashed'
  test(`feeds: every flipped byte of a ${how} file is refused, or costs one group`, async () => {
    const { world, disk, author } = await writtenFeed(isClosed)
    const name = lastSegment(disk)
    const size = disk.readFileSync(name)?.length as number
    const lengthMin = isClosed ? author.frames.length : author.frames.length - 2
    let refused = 0
    for (let at = 0; at < size; at++) {
      const copy = copyOf(disk)
      copy.flip(name, at, 1 << (at % 8))
      try {
        const length = checkPrefixes(openFeeds(copy, world), [author]).get(author.feed) as number
        assert.ok(length >= lengthMin, `byte ${at}: ${length} entries`)
      } catch (error) {
        assert.ok(error instanceof WormholeError && error.code === 'FEED_CORRUPT', `byte ${at}`)
        assert.match(error.message, /seg, offset \d+: /)
        refused++
      }
    }
    assert.ok(refused > size / 2, 'most are refused')
  })

  test(`journal: every flipped byte of a ${how} file is refused, or costs one group`, async () => {
    const disk = new MemoryDisk()
    const journal = openJournal(disk)
    for (let group = 0; group < 3; group++) {
      journal.append(1, Buffer.from(`first of group ${group}`))
      journal.append(2, Buffer.from(`second of group ${group}`))
      await journal.sync()
    }
    if (isClosed) await journal.close()
    const name = lastSegment(disk)
    const size = disk.readFileSync(name)?.length as number
    for (let at = 0; at < size; at++) {
      const copy = copyOf(disk)
      copy.flip(name, at, 1 << (at % 8))
      try {
        const count = [...openJournal(copy).replay()].length
        assert.ok(count >= (isClosed ? 6 : 4), `byte ${at}: ${count} records`)
      } catch (error) {
        assert.ok(error instanceof WormholeError && error.code === 'JOURNAL_CORRUPT', `byte ${at}`)
      }
    }
  })
}

test('feeds: damage in an old segment is found when it is read, and by verify', async () => {
  const world = new LogWorld(41)
  const disk = new MemoryDisk()
  const author = world.author(2)
  const store = openFeeds(disk, world)
  for (let index = 0; index < 20; index++) {
    await store.append([author.write({ tree: treeOf(world, 400) })])
  }
  assert.deepEqual([...store.verify()].at(-1), { feed: author.feed, checked: 20, length: 20 })
  await store.close()
  const names = disk.files()
  assert.ok(names.length > 4)
  disk.flip(names[1] as string, 900, 1)
  const again = openFeeds(disk, world)
  assert.equal(again.head(author.feed)?.length, 20)
  assert.throws(() => again.read(author.feed, 0, 1e9), { code: 'FEED_CORRUPT' })
  assert.throws(() => [...again.verify()], { code: 'FEED_CORRUPT' })
  disk.removeSync(names[0] as string)
  assert.throws(() => openFeeds(disk, world), { code: 'FEED_CORRUPT' }, 'the first is missing')
})

test('feeds: an entry that another key signed is found by verify', async () => {
  const world = new LogWorld(42)
  const disk = new MemoryDisk()
  const author = world.author(2)
  const bytes = Buffer.from(author.write().bytes)
  const frame = { ...(author.frames[0] as EntryFrame), bytes }
  const { frameHeader } = await import('../../../src/log/frame.ts')
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1
  frameHeader([bytes.subarray(8)]).copy(bytes)
  const store = openFeeds(disk, world)
  await store.append([frame])
  assert.throws(() => [...store.verify()], { code: 'FEED_CORRUPT' })
})

test('journal: a key that is not ours and records out of order are refused', async () => {
  const disk = new MemoryDisk()
  const journal = openJournal(disk)
  journal.append(1, Buffer.from('secret'))
  await journal.close()
  const directory = '/journal'
  const options = { disk, random: new SeededRandom(5), directory, key: Buffer.alloc(32, 8) }
  assert.throws(() => [...DiskJournal.open(options).replay()], { code: 'JOURNAL_CORRUPT' })
})

test('a full disk refuses, keeps what was there, and goes on when there is room', async () => {
  const world = new LogWorld(51)
  const disk = new MemoryDisk({ capacityBytes: 3000 })
  const store = openFeeds(disk, world)
  const journal = openJournal(disk)
  const author = world.author(2)
  await store.append([author.write()])
  const big = author.write({ tree: treeOf(world, 4000) })
  await assert.rejects(store.append([big]), { code: 'DISK_FULL' })
  assert.equal(store.head(author.feed)?.length, 1)
  const number = journal.append(1, Buffer.alloc(4000, 'x'))
  assert.throws(() => journal.flush(), { code: 'DISK_FULL' })
  await assert.rejects(journal.sync(), { code: 'DISK_FULL' })
  disk.capacityBytes = 100_000
  await store.append([big])
  assert.equal(journal.append(1, Buffer.from('later')), number + 1)
  await journal.sync()
  disk.powerCut({ survivors: 'none' })
  assert.deepEqual(openFeeds(disk, world).head(author.feed), author.head)
  assert.equal([...openJournal(disk).replay()].length, 2)
})

test('what a full disk let through of a refused group does not come back', async () => {
  const world = new LogWorld(53)
  const disk = new MemoryDisk()
  const store = openFeeds(disk, world)
  const [author, twin] = [world.author(2), world.author(2)] as [Author, Author]
  await store.append([author.write()])
  twin.head = author.head
  disk.capacityBytes = disk.readFileSync(lastSegment(disk))?.length as number
  const refused = [author.write(), author.write(), author.write()] as EntryFrame[]
  disk.capacityBytes += 21 + 2.5 * (refused[0]?.bytes.length as number)
  await assert.rejects(store.append(refused), { code: 'DISK_FULL' })
  const other = twin.write({ hlc: 1_700_000_000_000_000 })
  assert.equal(other.bytes.length, refused[0]?.bytes.length, 'the next frame would fit behind it')
  await store.append([other])
  assert.deepEqual(openFeeds(disk, world).head(twin.feed), twin.head)
})

test('what a killed process wrote is durable once it was seen again', async () => {
  const disk = new MemoryDisk()
  const journal = openJournal(disk)
  journal.append(1, Buffer.from('written, not synced'))
  journal.flush()
  assert.equal([...openJournal(disk).replay()].length, 1)
  disk.powerCut({ survivors: 'none' })
  assert.equal([...openJournal(disk).replay()].length, 1)
})

test('after a failed fdatasync the writer stays broken until it is opened again', async () => {
  const world = new LogWorld(52)
  const disk = new MemoryDisk()
  const store = openFeeds(disk, world)
  const journal = openJournal(disk)
  const author = world.author(2)
  await store.append([author.write()])
  journal.append(1, Buffer.from('one'))
  await journal.sync()
  disk.syncFailures = 1
  await assert.rejects(store.append([author.write()]), { code: 'IO_ERROR' })
  await assert.rejects(store.append([author.frames[1] as EntryFrame]), { code: 'WRITER_BROKEN' })
  assert.equal(store.head(author.feed)?.length, 1, 'nothing unsynced is visible')
  journal.append(1, Buffer.from('two'))
  disk.syncFailures = 1
  await assert.rejects(journal.sync(), { code: 'IO_ERROR' })
  journal.append(1, Buffer.from('three'))
  assert.throws(() => journal.flush(), { code: 'WRITER_BROKEN' })
  await assert.rejects(journal.close(), { code: 'WRITER_BROKEN' })
  await store.close()
  const again = openFeeds(disk, world)
  await again.append(author.frames)
  assert.deepEqual(again.head(author.feed), author.head)
  assert.equal([...openJournal(disk).replay()].length, 2)
})

test('feeds: a run that got no entry is nobody: what starts in mid-air is the feed', async () => {
  const world = new LogWorld(54)
  const disk = new MemoryDisk()
  const author = world.author(2)
  for (let index = 0; index < 6; index++) author.write()
  // Room for the header of a segment, not for an entry.
  disk.capacityBytes = 150
  const full = openFeeds(disk, world)
  await assert.rejects(full.append(author.frames.slice(0, 1)), { code: 'DISK_FULL' })
  await full.close()
  assert.equal(disk.files().length, 1)
  disk.capacityBytes = Infinity
  const store = openFeeds(disk, world)
  assert.equal(store.head(author.feed), undefined)
  await store.append(author.frames.slice(4), { mayStartRun: true })
  assert.deepEqual(store.head(author.feed), author.head)
  assert.equal(store.gaps(author.feed)[0]?.to, 4)
  await store.append(author.frames.slice(0, 4))
  for (const each of [store, openFeeds(disk, world)]) {
    assert.deepEqual([...each.frontier().keys()], [author.feed])
    assert.equal(each.read(author.feed, 0, 1 << 20).length, 6)
  }
})

test('feeds: a new run that cannot even be removed breaks the writer alone', async () => {
  const world = new LogWorld(55)
  const disk = new MemoryDisk()
  const author = world.author(2)
  for (let index = 0; index < 6; index++) author.write()
  let isBroken = false
  const failing = new Proxy(disk, {
    get: (target, name) => {
      if (isBroken && name === 'removeSync') {
        return () => {
          throw new WormholeError('IO_ERROR', 'the device failed')
        }
      }
      const value = Reflect.get(target, name, target) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const store = openFeeds(failing, world)
  await store.append(author.frames.slice(0, 1))
  isBroken = true
  disk.capacityBytes = disk.files().reduce((sum, path) => {
    return sum + (disk.readFileSync(path)?.length ?? 0)
  }, 150)
  const frames = author.frames.slice(4)
  await assert.rejects(store.append(frames, { mayStartRun: true }), { code: 'DISK_FULL' })
  await assert.rejects(store.append(author.frames.slice(1, 2)), { code: 'WRITER_BROKEN' })
  await store.close()
  disk.capacityBytes = Infinity
  const again = openFeeds(disk, world)
  await again.append(author.frames)
  assert.deepEqual(again.head(author.feed), author.head)
})

test('feeds: dying anywhere, going on, and then a power cut lose nothing', async () => {
  const world = new LogWorld(13)
  const author = world.author(2)
  for (let index = 0; index < 3; index++) author.write({ tree: treeOf(world, 300) })
  for (let fuse = 1; fuse < 40; fuse++) {
    const disk = new MemoryDisk()
    const process = new MortalProcess()
    process.fuse = fuse
    try {
      await openFeeds(guardDisk(disk, process) as MemoryDisk, world).append(author.frames)
    } catch (error) {
      assert.ok(hasCode(error, 'IO_ERROR') || hasCode(error, 'WRITER_BROKEN'), String(error))
    }
    await openFeeds(disk, world).append(author.frames)
    disk.powerCut({ survivors: 'none' })
    assert.deepEqual(openFeeds(disk, world).head(author.feed), author.head, `fuse ${fuse}`)
  }
})

test('journal: dying anywhere, going on, and then a power cut lose nothing', async () => {
  for (let fuse = 1; fuse < 30; fuse++) {
    const disk = new MemoryDisk()
    const process = new MortalProcess()
    process.fuse = fuse
    try {
      const journal = openJournal(guardDisk(disk, process) as MemoryDisk)
      journal.append(1, Buffer.from('first'))
      await journal.sync()
    } catch (error) {
      assert.ok(hasCode(error, 'IO_ERROR') || hasCode(error, 'WRITER_BROKEN'), String(error))
    }
    const journal = openJournal(disk)
    const number = journal.append(1, Buffer.from('second'))
    await journal.sync()
    disk.powerCut({ survivors: 'none' })
    const found = [...openJournal(disk).replay()].at(-1)
    assert.deepEqual([found?.number, String(found?.bytes)], [number, 'second'], `fuse ${fuse}`)
  }
})
