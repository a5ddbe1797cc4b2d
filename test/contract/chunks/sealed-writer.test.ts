/**
 * Proves that every `SealedWriter` keeps the promises of the port: idempotent checked puts, damage
 * that is refused and forgotten, a full disk that loses nothing, and power cuts that spare what
 * was synced.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { addressOf } from '../../../src/chunks/codec.ts'
import type { SealedWriter } from '../../../src/chunks/interface.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { hasCode, type ErrorCode } from '../../../src/errors.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createRandom } from '../../helpers/chunks.ts'

/** A store and the faults of what it lies on. */
interface StoreUnderTest {
  store: SealedWriter
  /** Flips a bit of the newest chunk, the address of which is given. */
  damage(address: ChunkAddress): void
  /** Loses what was not synced; `store` is the one after the restart. */
  crash(): void
}

const BYTES_MAX = 20_000

function createMemory(): StoreUnderTest {
  const store = new MemoryStore({ bytesMax: BYTES_MAX })
  return { store, damage: (address) => store.corrupt(address, 5), crash: () => store.crash() }
}

function createPacks(): StoreUnderTest {
  const disk = new MemoryDisk({ capacityBytes: BYTES_MAX })
  const open = () => PackWriter.open({ disk, directory: '/packs' })
  const made: StoreUnderTest = {
    store: open(),
    damage: () => {
      const size = disk.readFileSync('/packs/pack-00000000')?.length ?? 0
      disk.flip('/packs/pack-00000000', size - 1, 1)
    },
    crash: () => {
      disk.powerCut({ survivors: 'none' })
      made.store = open()
    },
  }
  return made
}

const throwsCode = (run: () => unknown, code: ErrorCode): void =>
  assert.throws(run, (error) => hasCode(error, code))

for (const [name, create] of [
  ['memory', createMemory],
  ['packs', createPacks],
] as const) {
  const random = createRandom(1)
  const createChunk = (size: number) => {
    const sealed = createBytes(random, size)
    return { address: addressOf(sealed), sealed }
  }

  test(`${name}: puts are checked, idempotent and counted`, async () => {
    const { store } = create()
    const { address, sealed } = createChunk(500)
    assert.equal(store.getSync(address), undefined)
    assert.equal(await store.get(address), undefined)
    throwsCode(() => store.put(createChunk(10).address, sealed), 'CHUNK_CORRUPT')
    store.put(address, sealed)
    store.put(address, sealed)
    assert.equal(store.putOwn(address, sealed), false)
    assert.equal(store.has(address), true)
    assert(store.getSync(address)?.equals(sealed))
    assert((await store.get(address))?.equals(sealed))
    assert.deepEqual(store.stats(), { chunkCount: 1, bytes: 500 })
  })

  test(`${name}: a damaged chunk is refused once, then missing, then put again`, async () => {
    const { store, damage } = create()
    const { address, sealed } = createChunk(500)
    store.put(address, sealed)
    damage(address)
    throwsCode(() => store.getSync(address), 'CHUNK_CORRUPT')
    assert.equal(store.has(address), false)
    assert.equal(await store.get(address), undefined)
    assert.equal(store.stats().chunkCount, 0)
    store.put(address, sealed)
    assert(store.getSync(address)?.equals(sealed))
  })

  test(`${name}: a full disk refuses a chunk and keeps the others`, async () => {
    const { store } = create()
    const small = createChunk(500)
    store.put(small.address, small.sealed)
    const large = createChunk(BYTES_MAX)
    throwsCode(() => store.put(large.address, large.sealed), 'DISK_FULL')
    assert.equal(store.has(large.address), false)
    const other = createChunk(400)
    store.put(other.address, other.sealed)
    await store.sync()
    assert(store.getSync(small.address)?.equals(small.sealed))
    assert(store.getSync(other.address)?.equals(other.sealed))
  })

  test(`${name}: what a sync covered survives a power cut`, async () => {
    const made = create()
    const [one, two] = [createChunk(500), createChunk(600)]
    made.store.put(one.address, one.sealed)
    await made.store.sync()
    made.store.put(two.address, two.sealed)
    made.crash()
    assert(made.store.getSync(one.address)?.equals(one.sealed))
    assert.equal(made.store.has(two.address), false)
    assert.deepEqual(made.store.stats(), { chunkCount: 1, bytes: 500 })
  })

  test(`${name}: a closed store takes nothing`, async () => {
    const { store } = create()
    await store.close()
    await store.close()
    const { address, sealed } = createChunk(10)
    throwsCode(() => store.put(address, sealed), 'VOLUME_CLOSED')
  })
}
