/**
 * Proves that packs give back what was put, recover from torn tails at every length, flipped bytes
 * and lost indexes, and break for good after a failed sync. Runs on the in-memory disk and small
 * packs.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { AddressTable, AddressTableWriter } from '../../../src/chunks/address-table.ts'
import { addressOf } from '../../../src/chunks/codec.ts'
import { PackReader, PackWriter } from '../../../src/chunks/packs.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { hasCode } from '../../../src/errors.ts'
import type { Disk } from '../../../src/system.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createRandom } from '../../helpers/chunks.ts'

const DIRECTORY = '/packs'
const INDEX = '/packs/index'
const HEADER_BYTES = 40

interface Chunk {
  readonly address: ChunkAddress
  readonly sealed: Buffer
}

function createChunks(seed: number, count: number, size = 300): Chunk[] {
  const random = createRandom(seed)
  return Array.from({ length: count }, () => {
    const sealed = createBytes(random, 1 + Math.floor(random() * size))
    return { address: addressOf(sealed), sealed }
  })
}

function open(disk: Disk, packSizeBytesMax = 2000): PackWriter {
  return PackWriter.open({ disk, directory: DIRECTORY, packSizeBytesMax })
}

async function fill(disk: Disk, chunks: readonly Chunk[], packSizeBytesMax?: number) {
  const store = open(disk, packSizeBytesMax)
  for (const { address, sealed } of chunks) store.put(address, sealed)
  await store.close()
}

/** How many chunks are here; each of them must be right. */
function countRight(store: PackWriter, chunks: readonly Chunk[]): number {
  let count = 0
  for (const { address, sealed } of chunks) {
    if (!store.has(address)) continue
    assert(store.getSync(address)?.equals(sealed))
    count++
  }
  return count
}

test('put, get, idempotence, limits and reopening', async () => {
  const disk = new MemoryDisk()
  const chunks = createChunks(1, 100)
  let store = open(disk)
  for (const { address, sealed } of chunks) {
    assert.equal(store.has(address), false)
    assert.equal(store.getSync(address), undefined)
    store.put(address, sealed)
    assert.equal(store.putOwn(address, sealed), false, 'idempotent')
    assert((await store.get(address))?.equals(sealed))
  }
  const [first, second] = chunks as [Chunk, Chunk]
  const other = createChunks(2, 1)[0] as Chunk
  assert.throws(() => store.put(other.address, first.sealed), /not its own/)
  assert.throws(
    () => store.putOwn(other.address, Buffer.alloc(2_000_000)),
    (error) => hasCode(error, 'OUT_OF_RANGE'),
  )
  assert.throws(
    () => store.has('zz' as ChunkAddress),
    (error) => hasCode(error, 'BAD_ARGUMENT'),
  )
  const scratch = Buffer.alloc(1000)
  assert.equal(store.getSync(second.address, scratch)?.buffer, scratch.buffer)
  const stats = store.stats()
  assert.equal(stats.chunkCount, 100)
  await store.close()
  await store.close()
  await assert.rejects(store.sync(), (error) => hasCode(error, 'VOLUME_CLOSED'))
  assert.throws(
    () => store.putOwn(other.address, other.sealed),
    (error) => hasCode(error, 'VOLUME_CLOSED'),
  )
  assert(disk.files().length > 5, 'several packs')
  store = open(disk)
  assert.equal(countRight(store, chunks), 100)
  assert.deepEqual(store.stats(), stats)
})

test('a torn tail is cut at every length, with and without the index', async () => {
  const chunks = createChunks(3, 6, 60)
  const whole = new MemoryDisk()
  await fill(whole, chunks, 1e6)
  const pack = whole.readFileSync('/packs/pack-00000000') as Buffer
  const ends: number[] = []
  let end = 0
  for (const { sealed } of chunks) ends.push((end += HEADER_BYTES + sealed.length))
  for (let length = 0; length <= pack.length; length++) {
    for (const hasIndex of [true, false]) {
      const disk = new MemoryDisk()
      disk.makeDirectorySync(DIRECTORY)
      disk.replaceFileSync('/packs/pack-00000000', pack.subarray(0, length))
      if (hasIndex) disk.replaceFileSync(INDEX, whole.readFileSync(INDEX) as Buffer)
      const store = open(disk, 1e6)
      const expected = ends.filter((at) => at <= length).length
      assert.equal(countRight(store, chunks), expected, `${length} bytes`)
      for (const { address, sealed } of chunks) store.put(address, sealed)
      await store.close()
      assert.equal(countRight(open(disk, 1e6), chunks), chunks.length, `${length} bytes, refilled`)
    }
  }
})

test('a flipped byte anywhere costs one chunk at most, and it can be put again', async () => {
  const chunks = createChunks(4, 5, 60)
  const whole = new MemoryDisk()
  await fill(whole, chunks, 1e6)
  const pack = whole.readFileSync('/packs/pack-00000000') as Buffer
  const index = whole.readFileSync(INDEX) as Buffer
  for (const [name, bytes] of [
    ['/packs/pack-00000000', pack],
    [INDEX, index],
  ] as const) {
    for (let at = 0; at < bytes.length; at++) {
      const disk = new MemoryDisk()
      disk.makeDirectorySync(DIRECTORY)
      disk.replaceFileSync('/packs/pack-00000000', pack)
      // Damage in a pack shows in two ways: with the index, and when the pack has to be walked.
      if (name === INDEX || at % 2 === 0) disk.replaceFileSync(INDEX, index)
      disk.flip(name, at, 0x04)
      const store = open(disk, 1e6)
      let lost = 0
      for (const { address, sealed } of chunks) {
        try {
          if (!store.getSync(address)?.equals(sealed)) lost++
        } catch (error) {
          assert(hasCode(error, 'CHUNK_CORRUPT'))
          assert.equal(store.has(address), false, 'forgotten')
          lost++
        }
        store.put(address, sealed)
        assert(store.getSync(address)?.equals(sealed))
      }
      assert(lost <= (name === INDEX ? 0 : 1), `${name} byte ${at}: ${lost} lost`)
      await store.close()
      assert.equal(countRight(open(disk, 1e6), chunks), chunks.length, `${name} byte ${at}`)
    }
  }
})

test('an index that names missing bytes is rebuilt from the packs', async () => {
  const chunks = createChunks(5, 60)
  const disk = new MemoryDisk()
  await fill(disk, chunks)
  disk.removeSync('/packs/pack-00000001')
  const store = open(disk)
  const count = countRight(store, chunks)
  assert(count > 40 && count < 60)
  for (const { address, sealed } of chunks) store.put(address, sealed)
  await store.close()
  disk.removeSync(INDEX)
  assert.equal(countRight(open(disk), chunks), 60)
})

test('a failed sync breaks the writer, a full disk does not', async () => {
  const chunks = createChunks(6, 20)
  const disk = new MemoryDisk({ capacityBytes: 1500 })
  const store = open(disk)
  let stored = 0
  assert.throws(
    () => {
      for (const { address, sealed } of chunks) {
        store.put(address, sealed)
        stored++
      }
    },
    (error) => hasCode(error, 'DISK_FULL'),
  )
  await store.sync()
  disk.capacityBytes = Infinity
  assert.equal(countRight(store, chunks), stored)
  for (const { address, sealed } of chunks) store.put(address, sealed)
  await store.sync()
  assert.equal(countRight(store, chunks), chunks.length)

  const more = createChunks(7, 2) as [Chunk, Chunk]
  store.put(more[0].address, more[0].sealed)
  disk.syncFailures = 1
  await assert.rejects(store.sync(), (error) => hasCode(error, 'WRITER_BROKEN'))
  await assert.rejects(store.sync(), (error) => hasCode(error, 'WRITER_BROKEN'))
  assert.throws(
    () => store.put(more[1].address, more[1].sealed),
    (error) => hasCode(error, 'WRITER_BROKEN'),
  )
  assert(store.getSync(more[0].address), 'reading goes on')
})

test('syncs are shared, and one that comes later covers what came later', async () => {
  const disk = new MemoryDisk()
  const store = open(disk, 1e6)
  const chunks = createChunks(8, 30)
  await store.sync()
  const before = disk.syncCount
  const waits: Promise<void>[] = []
  for (const { address, sealed } of chunks) {
    store.put(address, sealed)
    waits.push(store.sync())
  }
  await Promise.all(waits)
  assert.equal(disk.syncCount - before, 2, 'the first one and one for all others')
  disk.powerCut({ survivors: 'none' })
  assert.equal(countRight(open(disk, 1e6), chunks), 30)
})

test('power cuts at every write: synced is there, what is listed is right', async () => {
  for (const seed of [1, 2, 3]) {
    const disk = new MemoryDisk({ isRecording: true })
    const chunks = createChunks(100 + seed, 40)
    const store = open(disk)
    const durable: { readonly operationCount: number; readonly chunkCount: number }[] = []
    for (const [index, { address, sealed }] of chunks.entries()) {
      store.put(address, sealed)
      if (index % (7 * seed) !== 3) continue
      await store.sync()
      durable.push({ operationCount: disk.operationCount, chunkCount: index + 1 })
    }
    for (let count = 0; count <= disk.operationCount; count++) {
      const synced = durable.filter((at) => at.operationCount <= count).at(-1)?.chunkCount ?? 0
      for (const survivors of ['none', 'all', 'some', 'torn'] as const) {
        const where = `seed ${seed}, ${count} operations, ${survivors}`
        const random = createRandom(seed * 1000 + count)
        const source = { bytes: (length: number) => createBytes(random, length) }
        const image = disk.imageAt(count, { survivors, random: source })
        image.makeDirectorySync(DIRECTORY)
        const recovered = open(image)
        assert.equal(countRight(recovered, chunks.slice(0, synced)), synced, where)
        countRight(recovered, chunks)
        for (const { address, sealed } of chunks) recovered.put(address, sealed)
        await recovered.sync()
        image.powerCut({ survivors: 'none' })
        assert.equal(countRight(open(image), chunks), chunks.length, `${where}, refilled`)
      }
    }
  }
})

test('another reader sees puts, growth and losses at once', async () => {
  const disk = new MemoryDisk()
  const store = open(disk, 1e6)
  const corrupt: ChunkAddress[] = []
  const reader = new PackReader({
    disk,
    handle: store.handle,
    onCorrupt: (address) => corrupt.push(address),
  })
  const chunks = createChunks(9, 9000, 8)
  for (const { address, sealed } of chunks) {
    store.putOwn(address, sealed)
    assert(reader.has(address))
  }
  const { address, sealed } = chunks[0] as Chunk
  assert(reader.getSync(address)?.equals(sealed))
  disk.flip('/packs/pack-00000000', HEADER_BYTES, 1)
  assert.throws(
    () => reader.getSync(address),
    (error) => hasCode(error, 'CHUNK_CORRUPT'),
  )
  assert.deepEqual(corrupt, [address])
  store.check((chunks[1] as Chunk).address)
  store.check(address)
  assert.equal(reader.has(address), false)
  assert.equal(store.stats().chunkCount, new Set(chunks.map((chunk) => chunk.address)).size - 1)
  store.put(address, sealed)
  assert((await reader.get(address))?.equals(sealed))
})

test('the table equals a Map under random inserts and removals', () => {
  const random = createRandom(10)
  const table = new AddressTableWriter()
  const reader = new AddressTable(table.buffer)
  const model = new Map<ChunkAddress, number>()
  const addresses = Array.from(
    { length: 9000 },
    () => createBytes(random, 32).toString('hex') as ChunkAddress,
  )
  for (let step = 0; step < 30_000; step++) {
    const address = addresses[Math.floor(random() * addresses.length)] as ChunkAddress
    if (random() < 0.3) {
      assert.equal(table.removeWords(table.wordsOf(address), 0), model.delete(address))
    } else {
      table.insert(table.wordsOf(address), 0, { pack: 7, offset: step, length: 5 })
      model.set(address, step)
    }
  }
  assert.equal(table.chunkCount, model.size)
  assert.equal(table.bytes, model.size * 5)
  for (const address of addresses) {
    assert.equal(reader.find(address)?.offset, model.get(address), address)
  }
})
