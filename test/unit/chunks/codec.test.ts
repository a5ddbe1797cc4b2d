/**
 * Proves that sealed chunks open to what was sealed, are the same on every device, and that any
 * changed byte, another kind or a missing key is refused by code. Also bounds what hostile zstd
 * can unfold to.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import {
  addressOf,
  CHUNK_OVERHEAD_BYTES,
  ChunkCodec,
  SEALED_SIZE_BYTES_MAX,
} from '../../../src/chunks/codec.ts'
import { CHUNK_SIZE_BYTES_MAX } from '../../../src/chunks/gear.ts'
import { compress, decompress } from '../../../src/chunks/zstd.ts'
import { hasCode, WormholeError, type ErrorCode } from '../../../src/errors.ts'
import { createBytes, createChunkKeys, createRandom, createText } from '../../helpers/chunks.ts'

const throwsCode = (run: () => unknown, code: ErrorCode, message?: string): void =>
  assert.throws(run, (error) => hasCode(error, code), message)

test('round trips of every size class, compressible and not', () => {
  const random = createRandom(1)
  const codec = new ChunkCodec(createChunkKeys())
  for (const size of [1, 2, 511, 512, 4096, 16_385, 65_536, 300_000, CHUNK_SIZE_BYTES_MAX]) {
    for (const plain of [createBytes(random, size), createText(random, size)]) {
      const { address, sealed } = codec.seal('data', plain)
      const copy = Buffer.from(sealed)
      assert.equal(addressOf(copy), address)
      assert(copy.length <= SEALED_SIZE_BYTES_MAX)
      assert(codec.open('data', copy).equals(plain), `size ${size}`)
    }
  }
  const text = createText(random, 100_000)
  assert(codec.seal('data', text).sealed.length < 60_000, 'text is compressed')
  const noise = createBytes(random, 100_000)
  assert.equal(codec.seal('data', noise).sealed.length, 100_000 + CHUNK_OVERHEAD_BYTES)
})

test('sealing is the same everywhere, and the format is pinned', () => {
  const plain = Buffer.from('the same bytes on two devices')
  const one = new ChunkCodec(createChunkKeys()).seal('data', plain)
  const other = new ChunkCodec(createChunkKeys()).seal('data', plain)
  assert.equal(one.address, other.address)
  assert.equal(
    one.sealed.toString('hex'),
    '010000000000538a2b644cfa82acd91c12b20c8aadfb0542f0896733ec73' +
      '594d87f835072257efec033cd97306df246e5fde22b66b1b365d446ef118' +
      'fd3c066031cc30b0d189b5f5687c8c',
  )
  const codec = new ChunkCodec(createChunkKeys())
  assert.equal(
    codec.id(plain).toString('hex'),
    'fe88c5b1fbf2facb3334329f518058a449c82f99edf7dbdeab595f0e962b0d3f',
  )
  const addresses = new Set([
    one.address,
    codec.seal('node', plain).address,
    new ChunkCodec(createChunkKeys(1)).seal('data', plain).address,
  ])
  assert.equal(addresses.size, 3, 'kind and key generation matter')
})

test('chunks whose nonce came from the body, as before 2026-11-29, are read', () => {
  const sealed = Buffer.from(
    '010000000000be90bad7ee3703a680c50b1ef0d63b44dde396e8b5267c7c' +
      'e229f9f49584d0d567b6a017771a9c88351380de22ac52d26cac2d92b2de' +
      'a4acb6a5af690098dde254cf371826',
    'hex',
  )
  const plain = new ChunkCodec(createChunkKeys()).open('data', sealed)
  assert.equal(plain.toString(), 'the same bytes on two devices')
})

test('an id that is known gives the same chunk', () => {
  const codec = new ChunkCodec(createChunkKeys())
  for (const plain of [createText(createRandom(4), 5000), createBytes(createRandom(4), 5000)]) {
    const { address } = codec.seal('data', plain)
    assert.equal(codec.seal('data', plain, codec.id(plain)).address, address)
  }
})

test('every byte class is protected', () => {
  const codec = new ChunkCodec(createChunkKeys())
  const plain = createText(createRandom(2), 2000)
  const sealed = Buffer.from(codec.seal('data', plain).sealed)
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed[at] = (changed[at] as number) ^ 0x10
    assert.throws(() => codec.open('data', changed), WormholeError, `byte ${at}`)
  }
  const changed = Buffer.from(sealed)
  changed[1] = 0
  throwsCode(() => codec.open('data', changed), 'CHUNK_CORRUPT', 'another codec')
  for (let length = 0; length < sealed.length; length += 7) {
    throwsCode(() => codec.open('data', sealed.subarray(0, length)), 'CHUNK_CORRUPT')
  }
  throwsCode(() => codec.open('node', sealed), 'CHUNK_CORRUPT', 'another kind')
  throwsCode(() => codec.open('data', Buffer.alloc(SEALED_SIZE_BYTES_MAX + 1)), 'CHUNK_CORRUPT')
})

test('versions and key generations are told apart', () => {
  const writer = new ChunkCodec(createChunkKeys(1))
  const sealed = Buffer.from(writer.seal('data', Buffer.from('new')).sealed)
  throwsCode(() => new ChunkCodec(createChunkKeys(0)).open('data', sealed), 'KEY_MISSING')
  assert.equal(new ChunkCodec(createChunkKeys(2)).open('data', sealed).toString(), 'new')
  sealed[0] = 2
  throwsCode(() => writer.open('data', sealed), 'FORMAT_UNSUPPORTED')
})

test('hostile zstd frames are refused before they unfold', () => {
  const bytes = createText(createRandom(3), 300_000)
  const frame = compress(bytes)
  assert(decompress(frame, 300_000).equals(bytes))
  throwsCode(() => decompress(frame, 299_999), 'CHUNK_CORRUPT')
  throwsCode(() => decompress(Buffer.concat([frame, frame]), 1e6), 'CHUNK_CORRUPT', 'two frames')
  // Magic, no flags, a window of 1 MiB, then blocks that repeat one byte 128 KiB times.
  const head = Buffer.from('28b52ffd0050', 'hex')
  const block = Buffer.from([0x02, 0x00, 0x10, 0x41])
  const bomb = Buffer.concat([head, ...new Array<Buffer>(200_000).fill(block)])
  throwsCode(() => decompress(bomb, CHUNK_SIZE_BYTES_MAX), 'CHUNK_CORRUPT')
  const large = Buffer.from(frame)
  large[5] = 0xff
  throwsCode(() => decompress(large, 300_000), 'CHUNK_CORRUPT', 'window')
  for (let length = 0; length < frame.length; length += 997) {
    throwsCode(() => decompress(frame.subarray(0, length), 300_000), 'CHUNK_CORRUPT')
  }
})
