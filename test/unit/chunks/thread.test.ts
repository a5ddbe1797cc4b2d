/**
 * Proves what only the store thread and its clients have: damage found by a reader is forgotten and
 * fetched again, builds fetch through a client, keys rotate, and every way of ending fails waits
 * by code.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { addressOf } from '../../../src/chunks/codec.ts'
import { LocalContents } from '../../../src/chunks/content.ts'
import type { BuiltContent, ChunkFetcher, ContentStore } from '../../../src/chunks/interface.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import { StoreClient, StoreThread } from '../../../src/chunks/thread.ts'
import { hasCode } from '../../../src/errors.ts'
import {
  createBytes,
  createChunkKeys,
  createChunkKeysData,
  createRandom,
  createText,
} from '../../helpers/chunks.ts'

function createDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'wormhole-store-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

async function createThread(t: TestContext) {
  const directory = createDirectory(t)
  const thread = await StoreThread.start({ directory, keys: createChunkKeysData() })
  t.after(() => thread.close())
  return { directory, thread, client: await StoreClient.connect(thread.port()) }
}

/** Copies chunks of `from` into the store under test. */
function fetcherFrom(from: MemoryStore, into: StoreClient): ChunkFetcher {
  return {
    async fetch(addresses) {
      for (const address of addresses) {
        const sealed = from.getSync(address)
        if (sealed && !into.has(address)) await into.put(address, sealed)
      }
    },
  }
}

test('what one client stores another reads without a message; it survives a restart', async (t) => {
  const { directory, thread, client } = await createThread(t)
  const other = await StoreClient.connect(thread.port())
  const sealed = createBytes(createRandom(1), 5000)
  const address = addressOf(sealed)
  await client.put(address, sealed)
  assert(other.has(address))
  assert(other.getSync(address)?.equals(sealed))
  assert((await other.get(address))?.equals(sealed))
  await assert.rejects(client.put('00'.repeat(32) as typeof address, sealed), (error) =>
    hasCode(error, 'CHUNK_CORRUPT'),
  )
  await other.sync()
  assert.deepEqual(await other.stats(), { chunkCount: 1, bytes: 5000 })
  await thread.close()
  await assert.rejects(client.sync(), (error) => hasCode(error, 'VOLUME_CLOSED'))
  const again = await StoreThread.start({ directory, keys: createChunkKeysData() })
  t.after(() => again.close())
  assert((await StoreClient.connect(again.port())).has(address))
})

test('a chunk damaged on the disk is forgotten and fetched again', async (t) => {
  const { directory, thread, client } = await createThread(t)
  const elsewhere = new MemoryStore()
  const author = new LocalContents({ store: elsewhere, keys: createChunkKeys() })
  const bytes = createBytes(createRandom(2), 50_000)
  const content = await author.build({
    base: undefined,
    sizeBytes: bytes.length,
    extents: [{ offset: 0, bytes }],
    mode: 'fixed',
  })
  const contents = client.contents({
    keys: createChunkKeys(),
    fetcher: fetcherFrom(elsewhere, client),
    cacheBytesMax: 0,
  })
  const range = { offset: 0, length: bytes.length }
  assert(Buffer.concat(await contents.read(content, range)).equals(bytes))

  const pack = path.join(directory, 'pack-00000000')
  const stored = readFileSync(pack)
  stored[3000] = (stored[3000] as number) ^ 1
  writeFileSync(pack, stored)
  const other = (await StoreClient.connect(thread.port())).contents({ keys: createChunkKeys() })
  assert.throws(
    () => other.read(content, range),
    (error) => hasCode(error, 'CHUNK_CORRUPT'),
    'without a fetcher the damage is reported',
  )
  assert(Buffer.concat(await contents.read(content, range)).equals(bytes))
  assert(Array.isArray(contents.read(content, range)), 'it is here again')
})

test('a build fetches what it lacks through a client, and fails without one', async (t) => {
  const { thread, client } = await createThread(t)
  const elsewhere = new MemoryStore()
  const author = new LocalContents({ store: elsewhere, keys: createChunkKeys() })
  const bytes = createBytes(createRandom(3), 500_000)
  const base = await author.build({
    base: undefined,
    sizeBytes: bytes.length,
    extents: [{ offset: 0, bytes }],
    mode: 'fixed',
  })
  const edit = {
    base,
    sizeBytes: bytes.length,
    extents: [{ offset: 100_000, bytes: Buffer.from('edited') }],
    mode: 'fixed',
  } as const
  const lonely = client.contents({ keys: createChunkKeys() })
  await assert.rejects(lonely.build(edit), (error) => hasCode(error, 'CHUNK_UNAVAILABLE'))
  const fetching = await StoreClient.connect(thread.port())
  const fetcher = fetcherFrom(elsewhere, fetching)
  const contents = fetching.contents({ keys: createChunkKeys(), fetcher })
  assert.deepEqual((await contents.build(edit)).ref, (await author.build(edit)).ref)
  fetching.close()
  await assert.rejects(contents.build(edit), (error) => hasCode(error, 'VOLUME_CLOSED'))
})

test('new chunks use the newest key generation, old ones stay readable', async (t) => {
  const { thread, client } = await createThread(t)
  const keys = createChunkKeys(1)
  const contents = client.contents({ keys, cacheBytesMax: 0 })
  const build = (text: string) =>
    contents.build({
      base: undefined,
      sizeBytes: text.length,
      extents: [{ offset: 0, bytes: Buffer.from(text) }],
      mode: 'content-defined',
    })
  const before = await build('before')
  await thread.setKeys(createChunkKeysData(1))
  const after = await build('after')
  for (const [built, generation] of [
    [before, 0],
    [after, 1],
  ] as const) {
    assert(built.ref.type === 'chunk')
    assert.equal(client.getSync(built.ref.address)?.readUInt32LE(2), generation)
    await contents.read(built, { offset: 0, length: 9 })
  }
})

test('a thread that cannot open its packs says why', async (t) => {
  const directory = path.join(createDirectory(t), 'file')
  writeFileSync(directory, 'not a directory')
  await assert.rejects(StoreThread.start({ directory, keys: createChunkKeysData() }), (error) =>
    hasCode(error, 'IO_ERROR'),
  )
})

test('aborted and failed streams leave nothing behind', async (t) => {
  const { client } = await createThread(t)
  const contents = client.contents({ keys: createChunkKeys() })
  const stream = contents.stream()
  for (let count = 0; count < 10; count++) await stream.write(Buffer.alloc(1_000_000))
  stream.abort()
  await contents.sync()
  const late = contents.stream()
  client.close()
  const write = async (): Promise<void> => {
    for (let count = 0; count < 10; count++) await late.write(Buffer.alloc(1_000_000))
  }
  await assert.rejects(write(), (error) => hasCode(error, 'VOLUME_CLOSED'))
  await assert.rejects(late.finish(), (error) => hasCode(error, 'VOLUME_CLOSED'))
})

test('who reads from front to end has chunks opened ahead, damaged ones too', async (t) => {
  const { directory, thread, client } = await createThread(t)
  const author = client.contents({ keys: createChunkKeys() })
  const random = createRandom(7)
  const bytes = Buffer.concat([createBytes(random, 5_000_000), createText(random, 5_000_000)])
  const extents = [{ offset: 0, bytes }]
  const build = { base: undefined, sizeBytes: bytes.length, extents, mode: 'fixed' } as const
  const content = await author.build(build)
  await client.sync()

  const step = 128 * 1024
  const readAll = async (reader: ContentStore): Promise<{ text: Buffer; waits: number }> => {
    const parts: Buffer[] = []
    let waits = 0
    for (let offset = 0; offset < bytes.length; offset += step) {
      const read = reader.read(content, { offset, length: step })
      if (read instanceof Promise) waits++
      parts.push(...(await read))
    }
    return { text: Buffer.concat(parts), waits }
  }
  const reader = (await StoreClient.connect(thread.port())).contents({ keys: createChunkKeys() })
  const first = await readAll(reader)
  assert(first.text.equals(bytes))
  assert(first.waits > 10, `${first.waits} reads had something opened for them`)
  const again = await readAll(reader)
  assert(again.text.equals(bytes))
  assert.equal(again.waits, 0, 'all of it is in memory')

  const random2 = (await StoreClient.connect(thread.port())).contents({ keys: createChunkKeys() })
  for (let offset = bytes.length - step; offset > 0; offset -= 9 * step) {
    assert(Array.isArray(random2.read(content, { offset, length: step })), 'nothing is guessed')
  }

  const pack = path.join(directory, 'pack-00000000')
  const stored = readFileSync(pack)
  for (let at = 3_000_000; at < 4_000_000; at += 100_000) stored[at]! ^= 1
  writeFileSync(pack, stored)
  const late = (await StoreClient.connect(thread.port())).contents({ keys: createChunkKeys() })
  await assert.rejects(
    readAll(late),
    (error) => hasCode(error, 'CHUNK_CORRUPT') || hasCode(error, 'CHUNK_UNAVAILABLE'),
  )
})

test('builds of one turn fail and succeed for themselves', async (t) => {
  const { client } = await createThread(t)
  const contents = client.contents({ keys: createChunkKeys() })
  const build = (sizeBytes: number, text: string) =>
    contents.build({
      base: undefined,
      sizeBytes,
      extents: [{ offset: 0, bytes: Buffer.from(text) }],
      mode: 'content-defined',
    })
  const results = await Promise.allSettled([
    build(3, 'one'),
    build(-1, 'bad'),
    build(5, 'three'),
    build(0, ''),
  ])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  )
  assert(hasCode((results[1] as PromiseRejectedResult).reason, 'OUT_OF_RANGE'))
  for (const [index, text] of [
    [0, 'one'],
    [2, 'three'],
  ] as const) {
    const { value } = results[index] as PromiseFulfilledResult<BuiltContent>
    const read = await contents.read(value, { offset: 0, length: 10 })
    assert.equal(Buffer.concat(read).toString(), text)
  }
})

test('a part of a chunk is as of the whole, damage included', async (t) => {
  const { directory, thread, client } = await createThread(t)
  const author = client.contents({ keys: createChunkKeys() })
  const random = createRandom(9)
  const bytes = Buffer.concat([createBytes(random, 600_000), createText(random, 600_000)])
  const extents = [{ offset: 0, bytes }]
  const build = { base: undefined, sizeBytes: bytes.length, extents, mode: 'fixed' } as const
  const content = await author.build(build)
  await client.sync()
  const reader = (await StoreClient.connect(thread.port())).contents({
    keys: createChunkKeys(),
    cacheBytesMax: 0,
  })
  for (let round = 0; round < 7; round++) {
    for (let offset = 13; offset < bytes.length; offset += 61_001) {
      const length = [1, 64, 777, 4096][offset % 4] as number
      const parts = await reader.read(content, { offset, length })
      assert(Buffer.concat(parts).equals(bytes.subarray(offset, offset + length)), `at ${offset}`)
    }
  }
  const pack = path.join(directory, 'pack-00000000')
  const stored = readFileSync(pack)
  stored[3000]! ^= 1
  writeFileSync(pack, stored)
  // Not where the damage is, but in its chunk.
  assert.throws(
    () => reader.read(content, { offset: 40_000, length: 100 }),
    (error) => hasCode(error, 'CHUNK_CORRUPT'),
  )
})
