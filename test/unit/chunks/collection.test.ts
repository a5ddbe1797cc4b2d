/**
 * Garbage collection of packs: what is referenced, young, named again or needed after all stays,
 * the rest is freed and gives its space back. Crashes at every operation of a sweep, with every
 * kind of power cut, leave each chunk whole or forgotten.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import test from 'node:test'
import { PackCollection } from '../../../src/chunks/collection.ts'
import type { Roots } from '../../../src/chunks/collection-interface.ts'
import { LocalContents } from '../../../src/chunks/content.ts'
import type { BuiltContent } from '../../../src/chunks/interface.ts'
import { packName } from '../../../src/chunks/pack-files.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { systemDisk } from '../../../src/disk.ts'
import { MemoryDisk, type Survivors } from '../../../src/disk-memory.ts'
import { hasCode } from '../../../src/errors.ts'
import type { Disk } from '../../../src/system.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createChunkKeys, createRandom } from '../../helpers/chunks.ts'
import { createDirectory } from '../../helpers/process.ts'
import { seededRandom, TestClock } from '../../helpers/volume-device.ts'

const DIRECTORY = '/packs'
const PACK_BYTES = 2 * 1024 * 1024
const NONE: readonly Roots[] = []

/** A store, its contents and its collection. */
class World {
  readonly store: PackWriter
  readonly contents: LocalContents
  readonly collection: PackCollection

  constructor(disk: Disk, directory = DIRECTORY) {
    const options = { packSizeBytesMax: PACK_BYTES, tableEntriesMin: 1 }
    this.store = PackWriter.open({ disk, directory, ...options })
    const keys = createChunkKeys()
    this.contents = new LocalContents({ store: this.store, keys })
    this.collection = new PackCollection({ store: this.store, keys, clock: new TestClock() })
  }

  async write(bytes: Buffer): Promise<BuiltContent> {
    const stream = this.contents.stream()
    await stream.write(bytes)
    const built = await stream.finish()
    await this.contents.sync()
    return built
  }

  async addresses(content: BuiltContent): Promise<ChunkAddress[]> {
    return this.contents.addresses(content)
  }

  async read(content: BuiltContent): Promise<Buffer> {
    const pieces = await this.contents.read(content, { offset: 0, length: content.sizeBytes })
    return Buffer.concat(pieces)
  }

  /** A whole collection with these contents as roots. */
  async collect(kept: readonly BuiltContent[], later: readonly BuiltContent[] = []) {
    await this.collection.begin()
    await this.collection.mark(rootsOf(kept))
    const plan = await this.collection.plan()
    while ((await this.collection.condemn()) > 0) await this.collection.free(rootsOf(later))
    const result = await this.collection.finish()
    await this.collection.end()
    return { plan, result }
  }
}

function rootsOf(contents: readonly BuiltContent[]): Roots[] {
  const roots: Roots = { use: 'tree', chunks: [], manifests: [] }
  for (const { ref } of contents) {
    if (ref.type === 'chunk') roots.chunks.push(ref.address)
    if (ref.type === 'manifest') roots.manifests.push(ref.address)
  }
  return [roots]
}

function bytesOf(seed: number, count: number): Buffer {
  return createBytes(createRandom(seed), count)
}

test('what nothing references is freed, the rest stays, also after a restart', async () => {
  const disk = new MemoryDisk()
  const world = new World(disk)
  const kept = bytesOf(1, 3_000_000)
  const [big, gone, small] = [
    await world.write(kept),
    await world.write(bytesOf(2, 6_000_000)),
    await world.write(bytesOf(3, 10_000)),
  ]
  const lost = await world.addresses(gone)
  const before = world.store.stats()
  const { plan, result } = await world.collect([big, small])
  assert.equal(plan.unused.chunks, lost.length)
  assert.equal(result.freed.chunks, lost.length)
  assert.equal(result.bytesNotReturned, 0)
  assert.ok(result.packsRemoved >= 1, 'a pack without chunks is removed')
  assert.equal(world.store.stats().chunkCount, before.chunkCount - lost.length)
  assert.ok(lost.every((address) => !world.store.has(address)))
  await world.store.close()

  const again = new World(disk)
  assert.deepEqual(await again.read(big), kept)
  assert.deepEqual(await again.read(small), bytesOf(3, 10_000))
  assert.ok(lost.every((address) => !again.store.has(address)))
  assert.equal(again.store.stats().bytes, before.bytes - result.freed.bytes)
  // Written again it is there again, under the same addresses.
  const back = await again.write(bytesOf(2, 6_000_000))
  assert.deepEqual(back.ref, gone.ref)
  assert.deepEqual(await again.read(back), bytesOf(2, 6_000_000))
  await again.store.close()
})

test('a dry run changes nothing', async () => {
  const world = new World(new MemoryDisk())
  const content = await world.write(bytesOf(1, 500_000))
  await world.collection.begin()
  const plan = await world.collection.plan()
  await world.collection.end()
  assert.equal(plan.unused.chunks, (await world.addresses(content)).length)
  assert.deepEqual(await world.read(content), bytesOf(1, 500_000))
})

test('what is stored after the beginning is young, referenced or not', async () => {
  const world = new World(new MemoryDisk())
  const old = await world.write(bytesOf(1, 400_000))
  await world.collection.begin()
  const young = await world.write(bytesOf(2, 400_000))
  const plan = await world.collection.plan()
  assert.equal(plan.young.chunks, (await world.addresses(young)).length)
  while ((await world.collection.condemn()) > 0) await world.collection.free(NONE)
  await world.collection.finish()
  await world.collection.end()
  assert.deepEqual(await world.read(young), bytesOf(2, 400_000))
  assert.ok(!world.store.has((old.ref as { address: ChunkAddress }).address))
})

test('bytes seen again keep their chunk, before and after it is condemned', async () => {
  const bytes = bytesOf(1, 50_000)
  for (const when of ['marked', 'planned', 'condemned', 'freed'] as const) {
    const disk = new MemoryDisk()
    const world = new World(disk)
    await world.write(bytes)
    await world.collection.begin()
    await world.collection.mark(NONE)
    let again: BuiltContent | undefined
    if (when === 'marked') again = await world.write(bytes)
    await world.collection.plan()
    if (when === 'planned') again = await world.write(bytes)
    const count = await world.collection.condemn()
    assert.equal(count, when === 'marked' || when === 'planned' ? 0 : 1, when)
    if (when === 'condemned') again = await world.write(bytes)
    if (count > 0) await world.collection.free(NONE)
    if (when === 'freed') again = await world.write(bytes)
    await world.collection.finish()
    await world.collection.end()
    assert.ok(again)
    assert.deepEqual(await world.read(again), bytes, when)
    await world.store.close()
    const later = new World(disk)
    assert.deepEqual(await later.read(again), bytes, `${when}, restarted`)
    await later.store.close()
  }
})

test('a chunk stored anew while the old one is being forgotten outlives it', async () => {
  const disk = new MemoryDisk()
  const world = new World(disk)
  const bytes = bytesOf(1, 50_000)
  await world.write(bytes)
  await world.collection.begin()
  await world.collection.plan()
  await world.collection.condemn()
  const freeing = world.collection.free(NONE)
  const again = await world.write(bytes)
  await freeing
  await world.collection.finish()
  await world.collection.end()
  assert.deepEqual(await world.read(again), bytes)
  await world.store.close()
  const later = new World(disk)
  assert.deepEqual(await later.read(again), bytes)
})

test('what is needed after all comes back, with everything below it', async () => {
  const world = new World(new MemoryDisk())
  const bytes = bytesOf(1, 2_000_000)
  const content = await world.write(bytes)
  const other = await world.write(bytesOf(2, 2_000_000))
  const stats = world.store.stats()
  const { result } = await world.collect([], [content])
  assert.deepEqual(await world.read(content), bytes)
  assert.equal(result.freed.chunks, stats.chunkCount - world.store.stats().chunkCount)
  assert.ok(!world.store.has((other.ref as { address: ChunkAddress }).address))
  assert.equal(world.store.stats().chunkCount, (await world.addresses(content)).length)
})

test('an end in the middle brings back what is condemned', async () => {
  const world = new World(new MemoryDisk())
  const bytes = bytesOf(1, 300_000)
  const content = await world.write(bytes)
  const before = world.store.stats()
  await world.collection.begin()
  await world.collection.plan()
  assert.ok((await world.collection.condemn()) > 0)
  assert.ok(world.store.stats().chunkCount < before.chunkCount)
  await world.collection.end()
  assert.deepEqual(world.store.stats(), before)
  assert.deepEqual(await world.read(content), bytes)
})

test('a store that is closed in the middle keeps no table without what is condemned', async () => {
  const disk = new MemoryDisk()
  const world = new World(disk)
  const bytes = bytesOf(1, 300_000)
  const content = await world.write(bytes)
  const before = world.store.stats()
  await world.collection.begin()
  await world.collection.plan()
  assert.ok((await world.collection.condemn()) > 0)
  await world.store.close()
  const again = new World(disk)
  assert.deepEqual(again.store.stats(), before)
  assert.deepEqual(await again.read(content), bytes)
  await again.store.close()
})

test('a node that arrives during the collection brings back what lies below it', async () => {
  const disk = new MemoryDisk()
  const world = new World(disk)
  const bytes = bytesOf(1, 1_000_000)
  const content = await world.write(bytes)
  assert.equal(content.ref.type, 'manifest')
  const root = (content.ref as { address: ChunkAddress }).address
  const node = world.store.getSync(root) as Buffer
  const other = await world.write(bytesOf(2, 300_000))
  // The node goes, as when this device never had it; the chunks below it stay.
  const below = (await world.addresses(content)).filter((address) => address !== root)
  await world.collection.begin()
  await world.collection.mark([{ use: 'tree', chunks: below, manifests: [] }, ...rootsOf([other])])
  await world.collection.plan()
  while ((await world.collection.condemn()) > 0) await world.collection.free(NONE)
  await world.collection.end()
  assert.ok(!world.store.has(root))

  await world.collection.begin()
  await world.collection.mark(rootsOf([content, other]))
  const plan = await world.collection.plan()
  assert.equal(plan.unknownNodes, 0)
  assert.equal(plan.unused.chunks, below.length)
  await world.collection.condemn()
  world.store.put(root, node)
  await world.collection.free(NONE)
  await world.collection.end()
  assert.deepEqual(await world.read(content), bytes)
})

test('below a damaged node nothing is freed, also after a restart', async () => {
  const disk = new MemoryDisk()
  let world = new World(disk)
  const content = await world.write(bytesOf(1, 1_000_000))
  const garbage = await world.write(bytesOf(2, 100_000))
  const root = (content.ref as { address: ChunkAddress }).address
  const { pack, offset } = world.store.collect(undefined).table.find(root) as {
    pack: number
    offset: number
  }
  disk.flip(`${DIRECTORY}/${packName(pack)}`, offset + 50, 1)
  for (let run = 0; run < 2; run++) {
    await world.collection.begin()
    await world.collection.mark(rootsOf([content]))
    const plan = await world.collection.plan()
    assert.equal(plan.unknownNodes, 1)
    await assert.rejects(world.collection.condemn())
    await world.collection.end()
    assert.ok(world.store.has((garbage.ref as { address: ChunkAddress }).address))
    await world.store.close()
    world = new World(disk)
  }
})

test('a crash at any operation of a sweep leaves each chunk whole or forgotten', async () => {
  const disk = new MemoryDisk({ isRecording: true })
  const world = new World(disk)
  const kept: [BuiltContent, Buffer][] = []
  const gone: BuiltContent[] = []
  for (let seed = 1; seed <= 14; seed++) {
    const bytes = bytesOf(seed, seed % 3 === 0 ? 700_000 : 20_000 * seed)
    const content = await world.write(bytes)
    if (seed % 2 === 0 && seed > 4) kept.push([content, bytes])
    else gone.push(content)
  }
  const lost = new Set<ChunkAddress>()
  for (const content of gone) for (const each of await world.addresses(content)) lost.add(each)
  const first = disk.operationCount
  const { result } = await world.collect(kept.map(([content]) => content))
  assert.equal(result.freed.chunks, lost.size)
  const last = disk.operationCount
  await world.store.close()

  const random = seededRandom('sweep')
  for (let count = first; count <= last; count++) {
    for (const survivors of ['none', 'all', 'some', 'torn'] as Survivors[]) {
      for (const hasIndex of [true, false]) {
        const image = disk.imageAt(count, { survivors, random })
        if (!hasIndex) image.removeSync(`${DIRECTORY}/index`)
        const about = `after ${count - first} operations, ${survivors}, index ${hasIndex}`
        const after = new World(image)
        for (const [content, bytes] of kept)
          assert.deepEqual(await after.read(content), bytes, about)
        for (const address of lost) {
          if (!after.store.has(address)) continue
          assert.ok(isReadable(after.store, address), `${about}: ${address}`)
        }
        if (survivors === 'some' && count % 7 === 0) {
          // The next collection completes it.
          await after.collect(kept.map(([content]) => content))
          assert.ok([...lost].every((address) => !after.store.has(address)))
          for (const [content, bytes] of kept) assert.deepEqual(await after.read(content), bytes)
        }
        await after.store.close()
      }
    }
  }
})

function isReadable(store: PackWriter, address: ChunkAddress): boolean {
  try {
    return store.getSync(address) !== undefined
  } catch (error) {
    if (hasCode(error, 'CHUNK_CORRUPT')) return false
    throw error
  }
}

test('a full disk frees nothing, or what it has room to note; nothing is lost', async () => {
  for (const room of [0, 2000, 1_000_000]) {
    const disk = new MemoryDisk()
    const world = new World(disk)
    const kept = await world.write(bytesOf(1, 900_000))
    for (let seed = 2; seed < 60; seed++) await world.write(bytesOf(seed, 30_000))
    const { freeBytes, totalBytes } = disk.spaceSync()
    disk.capacityBytes = totalBytes - freeBytes + room
    const before = world.store.stats().chunkCount
    const collecting = world.collect([kept])
    // Holes give no room back on this disk: the second batch has none.
    const isFull = (error: unknown): boolean => hasCode(error, 'DISK_FULL')
    if (room < 10_000) await assert.rejects(collecting, isFull)
    else await collecting
    const freedCount = before - world.store.stats().chunkCount
    await world.collection.end()
    assert.equal(freedCount === 0, room === 0)
    disk.capacityBytes = Infinity
    await world.store.sync()
    assert.deepEqual(await world.read(kept), bytesOf(1, 900_000))
    const { chunkCount } = world.store.stats()
    await world.store.close()
    const again = new World(disk)
    assert.equal(again.store.stats().chunkCount, chunkCount)
    assert.deepEqual(await again.read(kept), bytesOf(1, 900_000))
  }
})

test('on a real disk the space comes back', async (t) => {
  const directory = `${createDirectory(t)}/packs`
  const world = new World(systemDisk, directory)
  const used = (): number => {
    const names = fs.readdirSync(directory).filter((name) => name.startsWith('pack-'))
    return names.reduce((sum, name) => sum + fs.statSync(`${directory}/${name}`).blocks * 512, 0)
  }
  const kept: BuiltContent[] = []
  for (let seed = 1; seed <= 60; seed++) {
    const content = await world.write(bytesOf(seed, 300_000))
    if (seed % 4 === 0) kept.push(content)
  }
  const before = used()
  const { result } = await world.collect(kept)
  const after = used()
  assert.ok(before - after > 0.9 * result.freed.bytes, `${before} to ${after}`)
  for (const [index, content] of kept.entries()) {
    assert.deepEqual(await world.read(content), bytesOf((index + 1) * 4, 300_000))
  }
  await world.store.close()
})

test('a reader that looked before gets nothing, never wrong bytes', async () => {
  const disk = new MemoryDisk()
  const world = new World(disk)
  const content = await world.write(bytesOf(1, 50_000))
  const { address } = content.ref as { address: ChunkAddress }
  const reading = world.store.get(address)
  await world.collect([])
  const sealed = await reading
  if (sealed) assert.equal(sealed.length > 50_000, true)
  assert.equal(await world.store.get(address), undefined)
  await assert.rejects(world.read(content), (error) => hasCode(error, 'CHUNK_UNAVAILABLE'))
})
