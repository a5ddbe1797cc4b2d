/**
 * Proves when a part of a chunk is opened alone, and that it then is what the whole would be:
 * damage and compression included.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { LocalContents } from '../../../src/chunks/content.ts'
import type { BuiltContent } from '../../../src/chunks/interface.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import { hasCode } from '../../../src/errors.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createChunkKeys, createRandom, createText } from '../../helpers/chunks.ts'

const CHUNK_BYTES = 64 * 1024
const READ_BYTES = 4096

/** Counts what is read of it. */
class CountingStore extends MemoryStore {
  reads: ChunkAddress[] = []

  override getSync(address: ChunkAddress): Buffer | undefined {
    this.reads.push(address)
    return super.getSync(address)
  }
}

/** A content in fixed blocks, and a reader of it with room for `cachedChunks`. */
async function stored(bytes: Buffer, cachedChunks: number) {
  const store = new CountingStore()
  const extents = [{ offset: 0, bytes }]
  const build = { base: undefined, sizeBytes: bytes.length, extents, mode: 'fixed' } as const
  const content = await new LocalContents({ store, keys: createChunkKeys() }).build(build)
  const cacheBytesMax = cachedChunks * CHUNK_BYTES
  const reader = new LocalContents({ store, keys: createChunkKeys(), cacheBytesMax })
  const read = (offset: number, length = READ_BYTES): number => {
    store.reads = []
    const parts = reader.read(content, { offset, length }) as Buffer[]
    assert(Buffer.concat(parts).equals(bytes.subarray(offset, offset + length)), `at ${offset}`)
    return store.reads.length
  }
  // The list of chunks is read once.
  read(0, 1)
  return { store, content, reader, read }
}

test('what is read again soon is opened whole and stays', async () => {
  const { read } = await stored(createBytes(createRandom(1), 16 * CHUNK_BYTES), 4)
  const at = 5 * CHUNK_BYTES
  assert.equal(read(at), 1, 'a part')
  assert.equal(read(at + 9000), 1, 'the whole')
  assert.equal(read(at + 17_001), 0)
})

test('small reads all over a large file take nothing else out of the cache', async () => {
  const { read } = await stored(createBytes(createRandom(2), 16 * CHUNK_BYTES), 4)
  read(0)
  read(0)
  assert.equal(read(0), 0)
  for (let round = 0; round < 3; round++) {
    for (let chunk = 1; chunk < 16; chunk++) assert.equal(read(chunk * CHUNK_BYTES + 100), 1)
  }
  assert.equal(read(0), 0)
})

test('large parts and those of compressed chunks are one read of the store, too', async () => {
  const random = createRandom(3)
  const text = createText(random, 4 * CHUNK_BYTES)
  const { read } = await stored(Buffer.concat([createBytes(random, 4 * CHUNK_BYTES), text]), 8)
  assert.equal(read(CHUNK_BYTES, CHUNK_BYTES / 4), 1)
  assert.equal(read(CHUNK_BYTES), 0)
  assert.equal(read(5 * CHUNK_BYTES + 77), 1)
  assert.equal(read(5 * CHUNK_BYTES + 9999), 0)
})

test('every part of every chunk is right, whatever its place and length', async () => {
  const bytes = createBytes(createRandom(4), 3 * CHUNK_BYTES + 1234)
  const { read } = await stored(bytes, 0)
  for (const length of [1, 63, 64, 65, 777, READ_BYTES]) {
    for (let offset = 0; offset + length <= bytes.length; offset += 6007) read(offset, length)
    read(bytes.length - length, length)
  }
})

test('a flipped bit anywhere in a chunk refuses every part of it, also the first', async () => {
  for (const at of [0, 2, 20, 60, 40_000, CHUNK_BYTES + 40]) {
    const bytes = createBytes(createRandom(5), 2 * CHUNK_BYTES)
    const { store, reader, content } = await stored(bytes, 4)
    const [, second] = await reader.addresses(content).then((all) => all.slice(1))
    store.corrupt(second as ChunkAddress, at)
    const range = { offset: CHUNK_BYTES + 100, length: 10 }
    assert.throws(
      () => reader.read(content, range),
      (error) => hasCode(error, 'CHUNK_CORRUPT') || hasCode(error, 'CHUNK_UNAVAILABLE'),
      `bit at ${at}`,
    )
  }
})

test('a chunk of another size than the list says is refused, in parts too', async () => {
  const { reader, content } = await stored(createBytes(createRandom(6), 2 * CHUNK_BYTES), 0)
  const [, chunk] = await reader.addresses(content)
  const named: BuiltContent = {
    ref: { type: 'chunk', address: chunk as ChunkAddress },
    sizeBytes: CHUNK_BYTES - 1,
    newBytes: 0,
  }
  assert.throws(
    () => reader.read(named, { offset: 100, length: 100 }),
    (error) => hasCode(error, 'CHUNK_CORRUPT'),
  )
})
