/**
 * What every `ContentStore` promises, as a suite: contents equal a plain Buffer after any edits,
 * holes stay small, missing chunks are fetched or refused, and damage is never returned as data.
 */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { hasCode } from '../../../src/errors.ts'
import { CHUNK_SIZE_BYTES_MAX } from '../../../src/chunks/gear.ts'
import type { ChunkFetcher, ContentStore, SealedWriter } from '../../../src/chunks/interface.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import { LocalContents } from '../../../src/chunks/content.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createChunkKeys, createRandom, editRandomly } from '../../helpers/chunks.ts'

/** What a suite needs of one store under test. */
export interface ContentStoreUnderTest {
  readonly contents: ContentStore
  put(address: ChunkAddress, sealed: Uint8Array): void | Promise<void>
}

/** Makes an empty store; `fetcher` is what it gets missing chunks from. */
export type CreateContentStore = (
  t: TestContext,
  options: { fetcher?: ChunkFetcher },
) => Promise<ContentStoreUnderTest>

async function readAll(
  contents: ContentStore,
  content: { ref: Parameters<ContentStore['read']>[0]['ref']; sizeBytes: number },
): Promise<Buffer> {
  return Buffer.concat(await contents.read(content, { offset: 0, length: content.sizeBytes }))
}

/** A fetcher that copies from another device's chunks into the store under test. */
function createFetcher(from: SealedWriter, into: () => ContentStoreUnderTest) {
  const asked: ChunkAddress[] = []
  const fetcher: ChunkFetcher = {
    async fetch(addresses) {
      for (const address of addresses) {
        asked.push(address)
        const sealed = from.getSync(address)
        if (sealed) await into().put(address, sealed)
      }
    },
  }
  return { asked, fetcher }
}

/** What `seek` and `holeBytes` say of holes agrees, and there are zeros in them. */
async function checkHoles(
  contents: ContentStore,
  content: Parameters<ContentStore['read']>[0],
  model: Buffer,
  label: string,
): Promise<void> {
  let total = 0
  for (let at = 0; at < model.length;) {
    const hole = await contents.seek(content, at, 'hole')
    const data = await contents.seek(content, hole, 'data')
    assert(hole >= at && data >= hole, label)
    assert(
      model.subarray(hole, data).every((byte) => byte === 0),
      label,
    )
    total += data - hole
    at = data
  }
  assert.equal(contents.holeBytes(content), total, label)
}

/** Runs the suite. */
export function contentStoreSuite(name: string, create: CreateContentStore): void {
  test(`${name}: sizes around every limit`, async (t) => {
    const { contents } = await create(t, {})
    const random = createRandom(1)
    for (const size of [0, 1, 511, 512, 65535, 65536, 65537, 300000, CHUNK_SIZE_BYTES_MAX + 1]) {
      const bytes = createBytes(random, size)
      const built = await contents.build({
        base: undefined,
        sizeBytes: size,
        extents: [{ offset: 0, bytes }],
        mode: 'content-defined',
      })
      const type = size === 0 ? 'empty' : size <= 65536 ? 'chunk' : undefined
      if (type) assert.equal(built.ref.type, type, `size ${size}`)
      assert.equal(built.sizeBytes, size)
      assert((await readAll(contents, built)).equals(bytes), `size ${size}`)
      const streamed = contents.stream()
      for (let at = 0; at < size; at += 10_000)
        await streamed.write(bytes.subarray(at, at + 10_000))
      assert.deepEqual((await streamed.finish()).ref, built.ref, 'stream and build agree')
    }
    await contents.sync()
  })

  test(`${name}: random edits equal a Buffer`, async (t) => {
    const { contents } = await create(t, {})
    for (const [seed, mode] of [
      [11, 'content-defined'],
      [12, 'fixed'],
      [13, 'mixed'],
    ] as const) {
      const random = createRandom(seed)
      let model = Buffer.alloc(0)
      let content: Parameters<ContentStore['read']>[0] = { ref: { type: 'empty' }, sizeBytes: 0 }
      for (let step = 0; step < 14; step++) {
        const edit = editRandomly(random, model)
        model = edit.result
        content = await contents.build({
          base: content,
          sizeBytes: model.length,
          extents: edit.extents,
          holes: edit.holes,
          mode: mode === 'mixed' ? (step % 2 ? 'fixed' : 'content-defined') : mode,
        })
        assert.equal(content.sizeBytes, model.length)
        assert((await readAll(contents, content)).equals(model), `seed ${seed} step ${step}`)
        const offset = Math.floor(random() * (model.length + 1))
        const part = Buffer.concat(await contents.read(content, { offset, length: 70_000 }))
        assert(part.equals(model.subarray(offset, offset + 70_000)), `seed ${seed} step ${step}`)
        await checkHoles(contents, content, model, `seed ${seed} step ${step}`)
      }
    }
  })

  test(`${name}: an edit gives the chunks that splitting anew gives`, async (t) => {
    const { contents } = await create(t, {})
    const random = createRandom(21)
    let model = createBytes(random, 6_000_000)
    let content = await contents.build({
      base: undefined,
      sizeBytes: model.length,
      extents: [{ offset: 0, bytes: model }],
      mode: 'content-defined',
    })
    for (let step = 0; step < 6; step++) {
      const extent = { offset: Math.floor(random() * 5e6), bytes: createBytes(random, 50_000) }
      const size = step % 2 ? model.length + 100_000 : model.length - 90_000
      const grown = createBytes(random, Math.max(0, size - model.length))
      const extents = [extent, { offset: Math.min(size, model.length), bytes: grown }]
      const next = Buffer.alloc(size)
      model.copy(next)
      for (const { offset, bytes } of extents) bytes.copy(next, offset)
      model = next
      content = await contents.build({
        base: content,
        sizeBytes: size,
        extents,
        mode: 'content-defined',
      })
      const anew = await contents.build({
        base: undefined,
        sizeBytes: size,
        extents: [{ offset: 0, bytes: model }],
        mode: 'content-defined',
      })
      assert.deepEqual(content.ref, anew.ref, `step ${step}`)
      assert.equal(anew.newBytes, 0)
    }
  })

  test(`${name}: a file of fixed blocks keeps them, holes between them or not`, async (t) => {
    const { contents } = await create(t, {})
    const random = createRandom(37)
    const bytes = createBytes(random, 8_000_000)
    for (const extents of [
      [{ offset: 0, bytes }],
      [0, 1_048_576, 4_194_304].map((offset) => ({ offset, bytes: bytes.subarray(0, 65_536) })),
    ]) {
      const sizeBytes = bytes.length
      let content = await contents.build({ base: undefined, sizeBytes, extents, mode: 'fixed' })
      const model = Buffer.alloc(sizeBytes)
      for (const extent of extents) extent.bytes.copy(model, extent.offset)
      for (const offset of [0, 70_000, 1_100_000, 4_200_000, sizeBytes - 4096]) {
        const change = { offset, bytes: createBytes(random, 4096) }
        change.bytes.copy(model, offset)
        const base = content
        content = await contents.build({
          base,
          sizeBytes,
          extents: [change],
          mode: 'content-defined',
        })
        assert(content.newBytes < 192 * 1024, `${content.newBytes} bytes for 4 KiB at ${offset}`)
        assert((await readAll(contents, content)).equals(model), `at ${offset}`)
      }
    }
  })

  test(`${name}: a small change in a big file costs a few chunks`, async (t) => {
    const { contents } = await create(t, {})
    const bytes = createBytes(createRandom(31), 20_000_000)
    for (const [mode, costMax] of [
      ['content-defined', 3 * 1024 * 1024],
      ['fixed', 130_000],
    ] as const) {
      const base = await contents.build({
        base: undefined,
        sizeBytes: bytes.length,
        extents: [{ offset: 0, bytes }],
        mode,
      })
      const built = await contents.build({
        base,
        sizeBytes: bytes.length,
        extents: [{ offset: 9_999_999, bytes: Buffer.from('changed') }],
        mode,
      })
      assert(built.newBytes < costMax, `${mode}: ${built.newBytes} new bytes`)
    }
  })

  test(`${name}: holes take no space and read as zeros`, async (t) => {
    const { contents } = await create(t, {})
    const sizeBytes = Number.MAX_SAFE_INTEGER
    const offset = 2 ** 52
    let built = await contents.build({
      base: undefined,
      sizeBytes,
      extents: [{ offset, bytes: Buffer.from('far') }],
      mode: 'fixed',
    })
    assert(built.newBytes < 1000)
    const read = async (at: number, length: number) =>
      Buffer.concat(await contents.read(built, { offset: at, length })).toString('latin1')
    assert.equal(await read(offset - 2, 7), '\0\0far\0\0')
    assert.equal(await read(sizeBytes - 3, 10), '\0\0\0')
    built = await contents.build({
      base: built,
      sizeBytes: 400_000,
      extents: [{ offset: 200_000, bytes: Buffer.from('near') }],
      mode: 'content-defined',
    })
    assert.equal(await read(199_999, 6), '\0near\0')
    assert.equal((await contents.addresses(built)).length, 2, 'one node, one chunk')
  })

  test(`${name}: punched ranges become holes, and their bytes are in no chunk`, async (t) => {
    const { contents } = await create(t, {})
    const random = createRandom(31)
    const bytes = createBytes(random, 3_000_000)
    for (const mode of ['content-defined', 'fixed'] as const) {
      const extents = [{ offset: 0, bytes }]
      const full = await contents.build({ base: undefined, sizeBytes: bytes.length, extents, mode })
      assert.equal(contents.holeBytes(full), 0)
      assert.equal(await contents.seek(full, 5, 'hole'), bytes.length)
      const cut = await contents.build({
        base: full,
        sizeBytes: bytes.length,
        extents: [{ offset: 1_000_000, bytes: Buffer.from('island') }],
        holes: [
          { offset: 500_001, length: 1_500_000 },
          { offset: 1_900_000, length: 100_002 },
        ],
        mode,
      })
      assert.equal(contents.holeBytes(cut), 1_500_001 - 6, mode)
      assert.equal(await contents.seek(cut, 0, 'hole'), 500_001)
      assert.equal(await contents.seek(cut, 500_001, 'data'), 1_000_000)
      assert.equal(await contents.seek(cut, 1_000_000, 'hole'), 1_000_006)
      assert.equal(await contents.seek(cut, 1_000_006, 'data'), 2_000_002)
      assert(cut.newBytes < 2_000_000, `${mode}: ${cut.newBytes} new bytes`)
      const model = Buffer.from(bytes).fill(0, 500_001, 2_000_002)
      model.write('island', 1_000_000)
      assert((await readAll(contents, cut)).equals(model), mode)
      const all = { base: cut, sizeBytes: bytes.length, extents: [], mode }
      const empty = await contents.build({ ...all, holes: [{ offset: 0, length: bytes.length }] })
      assert.equal((await contents.addresses(empty)).length, 1, 'one node, no chunk')
    }
  })

  test(`${name}: what is missing is fetched, or refused`, async (t) => {
    const elsewhere = new MemoryStore()
    const author = new LocalContents({ store: elsewhere, keys: createChunkKeys() })
    const bytes = createBytes(createRandom(41), 3_000_000)
    const content = await author.build({
      base: undefined,
      sizeBytes: bytes.length,
      extents: [{ offset: 0, bytes }],
      mode: 'fixed',
    })
    const alone = await create(t, {})
    await assert.rejects(
      async () => alone.contents.read(content, { offset: 5, length: 5 }),
      (error) => hasCode(error, 'CHUNK_UNAVAILABLE'),
    )
    const { asked, fetcher } = createFetcher(elsewhere, () => connected)
    const connected = await create(t, { fetcher })
    const part = Buffer.concat(
      await connected.contents.read(content, { offset: 70_000, length: 9 }),
    )
    assert(part.equals(bytes.subarray(70_000, 70_009)))
    assert.equal(asked.length, 2, 'the root and one block')
    const again = connected.contents.read(content, { offset: 70_000, length: 9 })
    assert(Array.isArray(again), 'no promise when all of it is here')
    const before = connected.contents.presence(content)
    const addresses = await connected.contents.addresses(content)
    assert.equal(addresses.length, 1 + Math.ceil(bytes.length / 65536))
    assert.ok(before !== 'local' && connected.contents.presence(content) === before)
    assert.deepEqual(addresses, await author.addresses(content))
    const extents = [{ offset: 1_000_000, bytes: Buffer.from('x') }]
    const sizeBytes = bytes.length
    const edited = await connected.contents.build({
      base: content,
      sizeBytes,
      extents,
      mode: 'fixed',
    })
    assert.deepEqual(
      edited.ref,
      (await author.build({ base: content, sizeBytes, extents, mode: 'fixed' })).ref,
      'two devices make the same addresses',
    )
    assert(asked.length <= 4, 'a build fetches only what it changes')
    const signal = AbortSignal.abort()
    await assert.rejects(
      async () => connected.contents.read(content, { offset: 2e6, length: 9 }, { signal }),
      (error) => hasCode(error, 'ABORTED'),
    )
  })

  test(`${name}: a content that is not as named is refused`, async (t) => {
    const { contents } = await create(t, {})
    const build = (sizeBytes: number) =>
      contents.build({
        base: undefined,
        sizeBytes,
        extents: [{ offset: 0, bytes: createBytes(createRandom(51), sizeBytes) }],
        mode: 'fixed',
      })
    for (const content of [await build(1000), await build(200_000)]) {
      const wrong = { ref: content.ref, sizeBytes: content.sizeBytes + 1 }
      await assert.rejects(
        async () => contents.read(wrong, { offset: 0, length: 10 }),
        (error) => hasCode(error, 'CHUNK_CORRUPT'),
      )
    }
    const { ref } = await build(200_000)
    assert(ref.type === 'manifest')
    await assert.rejects(
      async () =>
        contents.read(
          { ref: { type: 'chunk', address: ref.address }, sizeBytes: 200_000 },
          { offset: 0, length: 1 },
        ),
      (error) => hasCode(error, 'CHUNK_CORRUPT'),
      'a node is no data',
    )
  })

  test(`${name}: streams are independent of each other and of aborted ones`, async (t) => {
    const { contents } = await create(t, {})
    const random = createRandom(61)
    const all = [0, 1, 2].map(() => createBytes(random, 5_000_000))
    const streams = all.map(() => contents.stream())
    for (let at = 0; at < 5_000_000; at += 131_072) {
      for (const [index, stream] of streams.entries()) {
        await stream.write((all[index] as Buffer).subarray(at, at + 131_072))
      }
    }
    ;(streams[1] as (typeof streams)[0]).abort()
    for (const index of [0, 2]) {
      const built = await (streams[index] as (typeof streams)[0]).finish()
      assert((await readAll(contents, built)).equals(all[index] as Buffer))
    }
  })
}
