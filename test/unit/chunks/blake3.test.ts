/**
 * Proves that the native and the WebAssembly BLAKE3 give the same bits, plain and keyed, reused
 * and in parts, and the published digest of the empty message. Both are run side by side on many
 * lengths.
 */
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import test from 'node:test'
import { blake3, nativeHashers, wasmHashers } from '../../../src/chunks/blake3.ts'
import { createBytes, createRandom } from '../../helpers/chunks.ts'

test('the empty message has its published digest', () => {
  assert.equal(
    blake3(Buffer.alloc(0)).toString('hex'),
    'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
  )
})

test('native and WebAssembly agree', async () => {
  const native = nativeHashers(createRequire(import.meta.url)('@napi-rs/blake-hash'))
  const wasm = await wasmHashers()
  const key = createBytes(createRandom(1), 32)
  const pairs = [
    [native(), wasm()],
    [native(key), wasm(key)],
    [native(Buffer.alloc(32, 255)), wasm(Buffer.alloc(32, 255))],
  ] as const
  for (const length of [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 31_744, 100_000]) {
    const bytes = createBytes(createRandom(length), length)
    const digests = pairs.map(([one, other]) => {
      const digest = one.digest(bytes).toString('hex')
      assert.equal(other.digest(bytes).toString('hex'), digest, `length ${length}`)
      assert.deepEqual([one.hex(bytes), other.hex(bytes)], [digest, digest])
      const half = length >>> 1
      const inParts = other.digest(bytes.subarray(0, half), bytes.subarray(half))
      assert.equal(inParts.toString('hex'), digest, `length ${length} in parts`)
      return digest
    })
    assert.equal(new Set(digests).size, 3, 'keys matter')
  }
})
