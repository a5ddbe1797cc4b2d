/**
 * Proves that the cuts of the splitter are the format: pinned vectors, and equality with a slow
 * reference in plain JavaScript. Random data shows bounds, mean, and that cuts come back after an
 * insert.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import {
  CHUNK_SIZE_BYTES_AVG,
  CHUNK_SIZE_BYTES_MAX,
  CHUNK_SIZE_BYTES_MIN,
  Gear,
  gearTable,
} from '../../../src/chunks/gear.ts'
import { Cutter } from '../../../src/chunks/cutter.ts'
import { blake3 } from '../../../src/chunks/blake3.ts'
import { createBytes, createRandom } from '../../helpers/chunks.ts'

const TABLE = gearTable(Buffer.alloc(32, 1))

/** One byte per step, BigInt, straight from the README. */
function referenceCut(bytes: Buffer, table: Buffer): number {
  const length = Math.min(bytes.length, CHUNK_SIZE_BYTES_MAX)
  if (length <= CHUNK_SIZE_BYTES_MIN) return length
  let hash = 0n
  for (let at = CHUNK_SIZE_BYTES_MIN - 64; at < length; at++) {
    const gear = table.readBigUInt64LE((bytes[at] as number) * 8)
    hash = BigInt.asUintN(64, (hash << 1n) + gear)
    if (at < CHUNK_SIZE_BYTES_MIN) continue
    const mask = at < CHUNK_SIZE_BYTES_AVG ? 0xfffffn << 43n : 0xffffn << 47n
    if ((hash & mask) === 0n) return at + 1
  }
  return length
}

function cutAll(bytes: Buffer, pieceBytes = 500_000, gear = new Gear(TABLE)): number[] {
  const cutter = new Cutter(gear, 'content-defined')
  const lengths: number[] = []
  for (let at = 0; at < bytes.length;) {
    at += cutter.write(bytes.subarray(at, at + pieceBytes))
    for (;;) {
      const chunk = cutter.next(at === bytes.length)
      if (!chunk) break
      lengths.push(chunk.length)
    }
  }
  return lengths
}

test('the table and the cuts are pinned', () => {
  assert.equal(
    blake3(TABLE).toString('hex'),
    '265bc7b17114822ae1dc4ae896be81a97edd3a6c3d51484bcb2d69e18a7c8c7b',
  )
  assert.deepEqual(
    cutAll(createBytes(createRandom(7), 3_000_000)),
    [268239, 304992, 306003, 246917, 281227, 232522, 210671, 318570, 454572, 332682, 43605],
  )
})

test('bytes in shared memory give the same cuts, wherever in a word they lie', () => {
  const bytes = createBytes(createRandom(7), 3_000_000)
  for (const at of [0, 1, 7]) {
    const shared = Buffer.from(new SharedArrayBuffer(bytes.length + 8)).subarray(at)
    bytes.copy(shared)
    for (const pieceBytes of [65_536, 500_001, 1_048_576]) {
      const cuts = cutAll(shared.subarray(0, bytes.length), pieceBytes)
      assert.deepEqual(cuts, cutAll(bytes, pieceBytes), `at ${at}, ${pieceBytes}`)
    }
  }
})

test('the WebAssembly module cuts as the reference does', () => {
  const gear = new Gear(TABLE)
  for (const seed of [1, 2, 3]) {
    const random = createRandom(seed)
    const bytes = createBytes(random, 300_000 + Math.floor(random() * 1_000_000))
    if (seed === 3) bytes.fill(0, 50_000, 900_000)
    bytes.copy(gear.window)
    const length = Math.min(bytes.length, CHUNK_SIZE_BYTES_MAX)
    assert.equal(gear.cut(0, length), referenceCut(bytes, TABLE), `seed ${seed}`)
    for (const shorter of [70_000, 100_001, 262_144, 262_145]) {
      const found = gear.cut(0, shorter)
      assert.equal(found, referenceCut(bytes.subarray(0, shorter), TABLE), `seed ${seed}`)
    }
  }
})

test('chunks are within their bounds and do not depend on the pieces written', () => {
  const bytes = createBytes(createRandom(8), 40_000_000)
  const lengths = cutAll(bytes)
  assert.equal(
    lengths.reduce((sum, length) => sum + length, 0),
    bytes.length,
  )
  for (const length of lengths.slice(0, -1)) {
    assert(length > CHUNK_SIZE_BYTES_MIN && length <= CHUNK_SIZE_BYTES_MAX)
  }
  const mean = bytes.length / lengths.length
  assert(mean > 250_000 && mean < 350_000, `mean ${mean}`)
  const start = bytes.subarray(0, 5_000_000)
  assert.deepEqual(cutAll(start, 1), cutAll(start, 5_000_000).slice(), 'byte by byte')
})

test('cuts come back soon after an insert', () => {
  const bytes = createBytes(createRandom(9), 20_000_000)
  const inserted = Buffer.concat([
    bytes.subarray(0, 5_000_000),
    Buffer.from('ten bytes!'),
    bytes.subarray(5_000_000),
  ])
  const digests = (data: Buffer): Set<string> => {
    let at = 0
    return new Set(
      cutAll(data).map((length) => blake3(data.subarray(at, (at += length))).toString('hex')),
    )
  }
  const before = digests(bytes)
  const changed = [...digests(inserted)].filter((digest) => !before.has(digest))
  assert(changed.length <= 4, `${changed.length} chunks changed`)
})

test('another volume cuts elsewhere', () => {
  const bytes = createBytes(createRandom(10), 3_000_000)
  const other = new Gear(gearTable(Buffer.alloc(32, 2)))
  assert.notDeepEqual(cutAll(bytes), cutAll(bytes, 500_000, other))
})

test('fixed blocks end at multiples of 64 KiB wherever the run starts', () => {
  const cutter = new Cutter(new Gear(TABLE), 'fixed', 100_000)
  cutter.write(Buffer.alloc(200_000))
  const lengths: number[] = []
  for (let chunk = cutter.next(true); chunk; chunk = cutter.next(true)) lengths.push(chunk.length)
  assert.deepEqual(lengths, [31_072, 65_536, 65_536, 37_856])
  assert.equal(cutter.position, 300_000)
})
