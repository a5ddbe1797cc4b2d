/**
 * Proves that manifest trees list what was pushed, do not depend on how they came about, stay
 * small per node, and that malformed nodes are refused. Trees are compared with plain lists of
 * entries.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { BaseContent } from '../../../src/chunks/base.ts'
import { addressOf, ChunkCodec } from '../../../src/chunks/codec.ts'
import type { ContentRef } from '../../../src/chunks/interface.ts'
import {
  decodeNode,
  encodeNode,
  ManifestBuilder,
  NODE_BYTES_MAX,
  type ManifestEntry,
} from '../../../src/chunks/manifest.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import { ContentReader } from '../../../src/chunks/reader.ts'
import { ChunkSink, DedupCache } from '../../../src/chunks/sealing.ts'
import { ChunkSource } from '../../../src/chunks/source.ts'
import { hasCode, WormholeError } from '../../../src/errors.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createChunkKeys, createRandom } from '../../helpers/chunks.ts'

function createTree() {
  const store = new MemoryStore()
  const codec = new ChunkCodec(createChunkKeys())
  const sink = new ChunkSink({ codec, store, dedup: new DedupCache() })
  const source = new ChunkSource({ store, keys: createChunkKeys() })
  const builder = () => new ManifestBuilder((plain) => sink.putNode(plain))
  return { store, sink, source, builder }
}

function createEntries(random: () => number, count: number): ManifestEntry[] {
  const entries: ManifestEntry[] = []
  for (let index = 0; index < count; index++) {
    const isHole = random() < 0.05 && entries.at(-1)?.address !== undefined
    const address = createBytes(random, 32).toString('hex') as ChunkAddress
    entries.push({
      address: isHole ? undefined : address,
      sizeBytes: 1 + Math.floor(random() * 1e5),
    })
  }
  return entries
}

function build(builder: ManifestBuilder, entries: readonly ManifestEntry[]): ContentRef {
  for (const { address, sizeBytes } of entries) {
    if (address) builder.pushChunk(address, sizeBytes)
    else builder.pushHole(sizeBytes)
  }
  return builder.finish()
}

async function list(source: ChunkSource, ref: ContentRef, sizeBytes: number) {
  const base = await BaseContent.open(source, { ref, sizeBytes })
  const entries: ManifestEntry[] = []
  for (let at = 0; at < base.sizeBytes;) {
    const { start, end, address } = await base.at(at)
    entries.push({ address, sizeBytes: end - start })
    at = end
  }
  return entries
}

const sizeOf = (entries: readonly ManifestEntry[]): number =>
  entries.reduce((sum, entry) => sum + entry.sizeBytes, 0)

test('trees of many sizes list their entries, in order, and their addresses', async () => {
  for (const count of [0, 1, 2, 63, 64, 65, 1000, 5000, 60_000]) {
    const { source, builder, store } = createTree()
    const entries = createEntries(createRandom(count), count)
    const ref = build(builder(), entries)
    const sizeBytes = sizeOf(entries)
    assert.deepEqual(await list(source, ref, sizeBytes), entries)
    const addresses = await new ContentReader(source).addresses({ ref, sizeBytes })
    const chunks = entries.flatMap((entry) => entry.address ?? [])
    assert.deepEqual(addresses.slice(-chunks.length || Infinity), chunks)
    assert.equal(addresses.length, chunks.length + store.stats().chunkCount)
    assert.equal(count === 0 ? 'empty' : count === 1 ? 'chunk' : 'manifest', ref.type)
  }
})

test('a change in the middle rewrites a path, and gives the tree of a new build', async () => {
  const random = createRandom(1)
  const { source, builder, store, sink } = createTree()
  const entries = createEntries(random, 50_000)
  const sizeBytes = sizeOf(entries)
  const ref = build(builder(), entries)
  const nodeCount = store.stats().chunkCount
  for (const index of [0, 1, 25_000, 49_999]) {
    const changed = [...entries]
    const replaced = createEntries(random, 3).map((entry) => ({
      address: entry.address ?? (createBytes(random, 32).toString('hex') as ChunkAddress),
      sizeBytes: 7,
    }))
    changed.splice(index, 1, ...replaced)
    const from = sizeOf(entries.slice(0, index))
    const to = from + (entries[index] as ManifestEntry).sizeBytes
    const base = await BaseContent.open(source, { ref, sizeBytes })
    const edited = builder()
    sink.newBytes = 0
    await base.copy(0, from, edited)
    for (const { address, sizeBytes: size } of replaced) edited.pushChunk(address, size)
    await base.copy(to, sizeBytes, edited)
    const editedRef = edited.finish()
    assert(sink.newBytes < 300_000, `${sink.newBytes} new bytes at ${index}`)
    assert.deepEqual(editedRef, build(builder(), changed), `change at ${index}`)
  }
  assert(store.stats().chunkCount - nodeCount < 40, 'few new nodes')
})

test('nodes stay below their limit', () => {
  const entry = { address: 'ff'.repeat(32) as ChunkAddress, sizeBytes: 2 ** 42 }
  const large = encodeNode(1, new Array<ManifestEntry>(1024).fill(entry))
  assert(large.length < NODE_BYTES_MAX)
  assert.equal(decodeNode(large).sizeBytes, 2 ** 52)
})

test('holes that touch become one', () => {
  const { builder, source } = createTree()
  const manifest = builder()
  manifest.pushHole(5)
  manifest.pushHole(2 ** 53 - 6)
  const ref = manifest.finish()
  assert(ref.type === 'manifest')
  assert.equal(source.nodeSync(ref.address)?.entryCount, 1)
})

test('malformed nodes are refused', () => {
  const chunk = { address: 'ab'.repeat(32) as ChunkAddress, sizeBytes: 1000 }
  const hole = { address: undefined, sizeBytes: 5 }
  const refused = (bytes: Uint8Array, what: string): void =>
    assert.throws(
      () => decodeNode(bytes),
      (error) => hasCode(error, 'CHUNK_CORRUPT'),
      what,
    )
  const good = encodeNode(0, [chunk, hole])
  assert.equal(decodeNode(good).sizeBytes, 1005)
  for (let length = 0; length < good.length; length++) refused(good.subarray(0, length), 'cut')
  refused(Buffer.concat([good, Buffer.of(0)]), 'trailing')
  refused(encodeNode(0, []), 'empty')
  refused(encodeNode(8, [chunk]), 'too deep')
  refused(encodeNode(1, [hole]), 'a hole above the leaves')
  refused(encodeNode(0, [{ ...chunk, sizeBytes: 0 }]), 'no bytes')
  refused(encodeNode(0, [{ ...chunk, sizeBytes: 2 ** 20 + 1 }]), 'too long a chunk')
  refused(encodeNode(0, [{ ...hole, sizeBytes: 2 ** 53 - 1 }, chunk]), 'over 2^53')
  refused(Buffer.alloc(NODE_BYTES_MAX + 1), 'too long a node')
  const version = Buffer.from(good)
  version[0] = 2
  refused(version, 'version')
})

test('a tree whose nodes contradict each other is refused', async () => {
  const { store, sink, source } = createTree()
  const leaf = encodeNode(0, [{ address: 'ab'.repeat(32) as ChunkAddress, sizeBytes: 10 }])
  const address = sink.putNode(leaf)
  for (const [level, sizeBytes] of [
    [1, 11],
    [2, 10],
  ] as const) {
    const root = sink.putNode(encodeNode(level, [{ address, sizeBytes }]))
    const content = { ref: { type: 'manifest', address: root }, sizeBytes } as const
    const reader = new ContentReader(source)
    const isCorrupt = (error: unknown): boolean => hasCode(error, 'CHUNK_CORRUPT')
    assert.throws(() => reader.read(content, { offset: 0, length: 1 }), isCorrupt)
    await assert.rejects(reader.addresses(content), isCorrupt)
    const base = await BaseContent.open(source, content)
    await assert.rejects(base.at(0), isCorrupt)
  }
  const damaged = Buffer.from(store.getSync(address) as Buffer)
  damaged[20] = (damaged[20] as number) ^ 1
  store.put(addressOf(damaged), damaged)
  assert.throws(() => source.nodeSync(addressOf(damaged)), WormholeError)
})
