/**
 * Proves that the table file is a shortcut and nothing more: with it a store opens to what it holds
 * without, whatever came after it, and whatever a disk or a power cut made of it. In-memory disk,
 * small packs, and a table that is kept for every few chunks.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { addressOf } from '../../../src/chunks/codec.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { MemoryDisk, type Survivors } from '../../../src/disk-memory.ts'
import { hasCode } from '../../../src/errors.ts'
import type { Disk } from '../../../src/system.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createRandom } from '../../helpers/chunks.ts'

const DIRECTORY = '/packs'
const INDEX = '/packs/index'
const TABLE = '/packs/table'
const LOG_HEADER_BYTES = 16
const ENTRY_BYTES = 48

interface Chunk {
  readonly address: ChunkAddress
  readonly sealed: Buffer
}

function createChunks(seed: number, count: number): Chunk[] {
  const random = createRandom(seed)
  return Array.from({ length: count }, () => {
    const sealed = createBytes(random, 1 + Math.floor(random() * 100))
    return { address: addressOf(sealed), sealed }
  })
}

function open(disk: Disk): PackWriter {
  return PackWriter.open({ disk, directory: DIRECTORY, packSizeBytesMax: 1000, tableEntriesMin: 4 })
}

async function fill(disk: Disk, chunks: readonly Chunk[]): Promise<void> {
  const store = open(disk)
  for (const { address, sealed } of chunks) store.put(address, sealed)
  await store.close()
}

/** As `fill`, of a new disk; everything is durable afterwards, so that it can be copied. */
async function createFilled(chunks: readonly Chunk[]): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await fill(disk, chunks)
  disk.powerCut({ survivors: 'all' })
  return disk
}

/** Which chunks are here; each must be right. */
function held(disk: Disk, chunks: readonly Chunk[]): boolean[] {
  const store = open(disk)
  const found = chunks.map(({ address, sealed }) => {
    if (!store.has(address)) return false
    assert(store.getSync(address)?.equals(sealed))
    return true
  })
  assert.equal(store.stats().chunkCount, found.filter(Boolean).length)
  return found
}

/** The same disk without a table. */
function withoutTable(disk: MemoryDisk): MemoryDisk {
  disk.powerCut({ survivors: 'all' })
  const copy = disk.copy()
  copy.removeSync(TABLE)
  return copy
}

test('the table is kept, and what it holds is not read from the log again', async () => {
  const chunks = createChunks(1, 60)
  const disk = await createFilled(chunks)
  assert(disk.readFileSync(TABLE))
  const all = chunks.map(() => true)
  assert.deepEqual(held(disk, chunks), all)
  // A bad entry in what the table stands for is not looked at; without a table it ends the log.
  const log = disk.readFileSync(INDEX) as Buffer
  disk.flip(INDEX, LOG_HEADER_BYTES + 5 * ENTRY_BYTES, 255)
  assert.deepEqual(held(disk.copy(), chunks), all)
  assert.equal((disk.readFileSync(INDEX) as Buffer).length, log.length)
})

test('what was put and forgotten after the table counts', async () => {
  const chunks = createChunks(2, 30)
  const disk = await createFilled(chunks.slice(0, 24))
  const table = disk.readFileSync(TABLE) as Buffer
  const [damaged] = chunks as [Chunk]
  disk.flip('/packs/pack-00000000', 40, 1)
  const store = open(disk)
  assert.throws(
    () => store.getSync(damaged.address),
    (error) => hasCode(error, 'CHUNK_CORRUPT'),
  )
  for (const { address, sealed } of chunks.slice(24, 27)) store.put(address, sealed)
  await store.close()
  assert((disk.readFileSync(TABLE) as Buffer).equals(table), 'too little has changed for another')
  const expected = chunks.map((_, index) => index !== 0 && index < 27)
  assert.deepEqual(held(disk, chunks), expected)
  assert.deepEqual(held(withoutTable(disk), chunks), expected)
  await fill(disk, chunks)
  assert(!(disk.readFileSync(TABLE) as Buffer).equals(table), 'it is written anew')
  assert.deepEqual(
    held(disk, chunks),
    chunks.map(() => true),
  )
})

test('a table that is damaged, cut or of another log is ignored', async () => {
  const chunks = createChunks(3, 40)
  const whole = await createFilled(chunks)
  const all = chunks.map(() => true)
  const size = (whole.readFileSync(TABLE) as Buffer).length
  const places = [...Array(160).keys()]
  for (let at = 160; at < size; at += 9001) places.push(at)
  for (const at of [...places, size - 1]) {
    const disk = whole.copy()
    disk.flip(TABLE, at, 1)
    assert.deepEqual(held(disk, chunks), all, `flipped at ${at}`)
  }
  for (const length of [0, 15, 16, 111, 112, 4000, size - 33, size - 1]) {
    const disk = whole.copy()
    disk.replaceFileSync(TABLE, (whole.readFileSync(TABLE) as Buffer).subarray(0, length))
    assert.deepEqual(held(disk, chunks), all, `cut at ${length}`)
  }
  // The log of a store with other chunks, longer and shorter.
  for (const count of [10, 200]) {
    const other = createChunks(4, count)
    const disk = new MemoryDisk()
    await fill(disk, other)
    disk.replaceFileSync(TABLE, whole.readFileSync(TABLE) as Buffer)
    assert.deepEqual(
      held(disk, other),
      other.map(() => true),
    )
  }
})

test('a log that lost its head or its end, and packs that are gone, are found out', async () => {
  const chunks = createChunks(5, 40)
  const whole = await createFilled(chunks)
  const log = whole.readFileSync(INDEX) as Buffer
  const all = chunks.map(() => true)
  const head = whole.copy()
  head.flip(INDEX, 0, 1)
  assert.deepEqual(held(head, chunks), all)
  assert.equal(head.readFileSync(TABLE), undefined)
  // Nothing is listed by the emptied log that only the table knew.
  assert.deepEqual(held(withoutTable(head), chunks), all)
  const end = whole.copy()
  end.replaceFileSync(INDEX, log.subarray(0, log.length - 100))
  assert.deepEqual(held(end, chunks), all)
  const gone = whole.copy()
  gone.removeSync('/packs/pack-00000001')
  const left = held(gone, chunks)
  assert(left.some(Boolean) && !left.every(Boolean))
  assert.equal(gone.readFileSync(TABLE), undefined)
})

test('the log is written anew without the table of the old one', async () => {
  const chunks = createChunks(6, 40)
  const disk = await createFilled(chunks)
  const store = open(disk)
  await store.rewriteIndex()
  assert.equal(disk.readFileSync(TABLE), undefined)
  await store.close()
  assert(disk.readFileSync(TABLE))
  const all = chunks.map(() => true)
  assert.deepEqual(held(disk, chunks), all)
  assert.deepEqual(held(withoutTable(disk), chunks), all)
})

test('power cuts at every write: synced is there, what is listed is right', async () => {
  const disk = new MemoryDisk({ isRecording: true })
  const chunks = createChunks(7, 12)
  const synced: { at: number; count: number }[] = []
  for (const to of [4, 8, 12]) {
    const store = open(disk)
    for (const { address, sealed } of chunks.slice(to - 4, to)) store.put(address, sealed)
    await store.sync()
    synced.push({ at: disk.operationCount, count: to })
    if (to === 8) await store.rewriteIndex()
    await store.close()
  }
  let random = createRandom(8)
  for (let count = 0; count <= disk.operationCount; count++) {
    for (const survivors of ['none', 'all', 'some', 'torn'] satisfies Survivors[]) {
      random = createRandom(count)
      const bytes = (length: number) => createBytes(random, length)
      const image = disk.imageAt(count, { survivors, random: { bytes } })
      const least = synced.findLast(({ at }) => at <= count)?.count ?? 0
      const found = held(image, chunks)
      assert(found.slice(0, least).every(Boolean), `${survivors} after ${count} writes`)
      assert.deepEqual(held(image, chunks), found, 'opened again')
    }
  }
})

test('a full disk leaves no table, and loses nothing', async () => {
  const disk = new MemoryDisk({ capacityBytes: 60_000 })
  const chunks = createChunks(9, 40)
  await fill(disk, chunks)
  assert.deepEqual(
    disk.files().filter((name) => name.includes('table')),
    [],
  )
  assert.deepEqual(
    held(disk, chunks),
    chunks.map(() => true),
  )
})
