/**
 * Proves that frames are found whole or not at all. Known CRC-32C vectors, then every flip and
 * every cut of small frames.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import {
  checkedFrameBytes,
  crc32c,
  decodeFrame,
  encodeFrame,
  FRAME_BODY_BYTES_MAX,
  frameHeader,
} from '../../../src/log/frame.ts'

test('crc32c agrees with the vectors of RFC 3720, appendix B.4', () => {
  const ascending = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
  assert.equal(crc32c(ascending), 0x46dd794e)
  assert.equal(crc32c(Buffer.from(ascending).reverse()), 0x113fdb5c)
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
})

test('crc32c continues over parts', () => {
  const bytes = Buffer.from('a text that is longer than eight bytes, and not a multiple')
  for (let cut = 0; cut <= bytes.length; cut++) {
    const seed = crc32c(bytes, 0, cut)
    assert.equal(crc32c(bytes, cut, bytes.length, seed), crc32c(bytes))
  }
})

test('a frame round-trips, and its header may be made from parts', () => {
  const body = Buffer.from('body')
  const frame = encodeFrame(body)
  assert.deepEqual(decodeFrame(frame), body)
  assert.deepEqual(frameHeader([body.subarray(0, 1), body.subarray(1)]), frame.subarray(0, 8))
})

test('every flipped bit and every cut is seen', () => {
  const frame = encodeFrame(Buffer.from('some body of twenty-odd bytes'))
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const flipped = Buffer.from(frame)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    assert.equal(decodeFrame(flipped), undefined, `bit ${bit}`)
  }
  for (let cut = 0; cut < frame.length; cut++) {
    assert.equal(checkedFrameBytes(frame.subarray(0, cut), 0), 0, `cut at ${cut}`)
  }
  assert.equal(decodeFrame(Buffer.concat([frame, Buffer.alloc(1)])), undefined, 'one byte too many')
})

test('zeros, empty bodies and impossible lengths are no frames', () => {
  assert.equal(checkedFrameBytes(Buffer.alloc(64), 0), 0)
  const huge = Buffer.alloc(64)
  huge.writeUInt32LE(FRAME_BODY_BYTES_MAX + 1)
  assert.equal(checkedFrameBytes(huge, 0), 0)
  assert.throws(() => frameHeader([]), { name: 'AssertionError' })
})
