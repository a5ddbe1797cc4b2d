/**
 * Proves that a scrub reads every chunk once a round, in shares that go on where the last one
 * ended, finds each flipped byte, and ends when it is told to. Packs on the in-memory disk.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { PackIndex } from '../../../src/chunks/check.ts'
import { addressOf } from '../../../src/chunks/codec.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { Scrub } from '../../../src/chunks/scrub.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'

import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createRandom } from '../../helpers/chunks.ts'
import { SimClock } from '../../helpers/sim-clock.ts'

const COUNT = 700
const SIZE_BYTES = 100
const { signal } = new AbortController()

async function fill(first: number) {
  const disk = new MemoryDisk()
  const store = PackWriter.open({ disk, directory: '/packs', packSizeBytesMax: 20_000 })
  const random = createRandom(1)
  const addresses: ChunkAddress[] = []
  for (let index = 0; index < COUNT; index++) {
    const sealed = createBytes(random, SIZE_BYTES)
    addresses.push(addressOf(sealed))
    store.put(addresses[index] as ChunkAddress, sealed)
  }
  await store.sync()
  const read: ChunkAddress[] = []
  const watched = {
    index: store.index,
    getSync: (address: ChunkAddress, scratch: Buffer) => {
      read.push(address)
      return store.getSync(address, scratch)
    },
  }
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(Math.floor((first / COUNT) * 2 ** 32) + 1)
  const scrub = new Scrub({ store: watched, clock: new SimClock(), random: { bytes: () => bytes } })
  return { disk, store, addresses, read, scrub }
}

/** Flips a byte of a chunk where it lies. */
function rot({ disk, store }: Awaited<ReturnType<typeof fill>>, address: ChunkAddress): void {
  const sealed = store.getSync(address) as Buffer
  for (const name of disk.listSync('/packs').filter((each) => each !== 'index')) {
    const file = disk.openSync(`/packs/${name}`)
    const all = Buffer.alloc(file.sizeSync())
    file.readSync(0, all)
    const at = all.indexOf(sealed)
    if (at >= 0) file.writeSync(at + 50, [Buffer.from([(all[at + 50] as number) ^ 1])])
    file.close()
  }
}

test('shares make a round: each chunk once, from where it begins to where it began', async () => {
  const { addresses, read, scrub } = await fill(500)
  let bytes = 0
  for (let share = 0; bytes < COUNT * SIZE_BYTES; share++) {
    assert.ok(share < 10)
    bytes += (await scrub.run(10_000, signal)).bytes
  }
  assert.equal(read.length, COUNT)
  assert.deepEqual(new Set(read), new Set(addresses))
  assert.equal(read[0], addresses[500])
  assert.equal((await scrub.run(Number.MAX_SAFE_INTEGER, signal)).chunks, COUNT, 'never twice')
})

test('what has rotted is forgotten and counted once; the rest is read', async () => {
  const world = await fill(0)
  const { store, addresses, scrub } = world
  const damaged = [3, 400, 699].map((index) => addresses[index] as ChunkAddress)
  for (const address of damaged) rot(world, address)
  const found = await scrub.run(Number.MAX_SAFE_INTEGER, signal)
  assert.deepEqual([found.damaged, found.chunks], [3, COUNT - 3])
  for (const address of damaged) assert.ok(!store.has(address) && store.isLost(address))
  await store.sync()
  const listed = new PackIndex(world.disk, '/packs')
  const stays = addresses.filter((address) => listed.has(address))
  assert.equal(stays.length, COUNT - 3, 'whoever looks for what is missing finds it')
  assert.equal((await scrub.run(Number.MAX_SAFE_INTEGER, signal)).damaged, 0)
})

test('a damaged index log is told and ends the share', async () => {
  const { disk, scrub } = await fill(0)
  const index = disk.openSync('/packs/index')
  index.writeSync(16 + 48 * 300, [Buffer.alloc(48, 7)])
  const found = await scrub.run(Number.MAX_SAFE_INTEGER, signal)
  assert.deepEqual(found, { chunks: 300, bytes: 30_000, damaged: 0, isIndexDamaged: true })
})

test('an abort ends it, an empty store has nothing to read', async () => {
  const { scrub, read } = await fill(0)
  assert.equal((await scrub.run(1000, AbortSignal.abort())).chunks, 0)
  assert.equal(read.length, 0)
  const store = PackWriter.open({ disk: new MemoryDisk(), directory: '/packs' })
  const nothing = new Scrub({
    store,
    clock: new SimClock(),
    random: { bytes: () => Buffer.alloc(4) },
  })
  assert.equal((await nothing.run(1000, signal)).isIndexDamaged, false)
})
