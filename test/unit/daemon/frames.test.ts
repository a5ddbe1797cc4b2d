/**
 * Proves that frames survive being cut anywhere, that hostile bytes end in `ENTRY_INVALID` and
 * nothing else, and that the worked example of the document is what the code writes.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { hasCode } from '../../../src/errors.ts'
import {
  FRAME_BYTES_MAX,
  FrameReader,
  PIECE_BYTES_MAX,
  cutPieces,
  dataHeader,
  decodeValue,
  encodeMessage,
  encodeValue,
  type Frame,
} from '../../../src/daemon/frames.ts'

// A decoder refuses the key `__proto__`: no sender of ours has one.
const key = fc.string().filter((text) => text !== '__proto__')
const message = fc.record({ id: fc.nat(), method: fc.string(), params: fc.object({ key }) })
const piece = fc.record({ id: fc.nat(), bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }) })

test('frames: whole, however the bytes are cut', () => {
  const sent = fc.array(fc.oneof(message, piece), { maxLength: 8 })
  const cuts = fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1 })
  fc.assert(
    fc.property(sent, cuts, (items, sizes) => {
      const stream = Buffer.concat(
        items.flatMap((item) =>
          'bytes' in item
            ? [dataHeader(item.id, item.bytes.length), item.bytes]
            : [encodeMessage(item)],
        ),
      )
      const reader = new FrameReader()
      const frames: Frame[] = []
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const end = at + (sizes[turn % sizes.length] as number)
        frames.push(...reader.push(stream.subarray(at, end)))
        at = end
      }
      assert.deepEqual(
        frames.map((frame) => (frame.kind === 'data' ? frame.id : frame.value.id)),
        items.map(({ id }) => id),
      )
      for (const [index, frame] of frames.entries()) {
        const item = items[index] as (typeof items)[number]
        if (frame.kind === 'data') assert.ok('bytes' in item && frame.bytes.equals(item.bytes))
        else assert.deepEqual(encodeValue(frame.value), encodeValue(item))
      }
    }),
  )
})

test('frames: hostile bytes are refused by code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isFramed) => {
      const header = Buffer.alloc(5)
      header.writeUInt32LE(bytes.length + 1)
      const stream = isFramed ? Buffer.concat([header, bytes]) : Buffer.from(bytes)
      try {
        new FrameReader().push(stream)
      } catch (error) {
        assert.ok(hasCode(error, 'ENTRY_INVALID'), String(error))
      }
    }),
  )
  const length = Buffer.alloc(4)
  length.writeUInt32LE(FRAME_BYTES_MAX + 1)
  assert.throws(() => new FrameReader().push(length), { code: 'ENTRY_INVALID' })
  const large = Buffer.concat([
    dataHeader(1, PIECE_BYTES_MAX + 1),
    Buffer.alloc(PIECE_BYTES_MAX + 1),
  ])
  assert.throws(() => new FrameReader().push(large), { code: 'ENTRY_INVALID' })
  assert.throws(() => decodeValue(Buffer.from('c1', 'hex')), { code: 'ENTRY_INVALID' })
})

test('frames: what does not fit is not sent, and pieces always fit', () => {
  const params = { text: 'x'.repeat(FRAME_BYTES_MAX) }
  assert.throws(() => encodeMessage({ id: 1, method: 'list', params }), { code: 'LIMIT_EXCEEDED' })
  const bytes = Buffer.alloc(2 * PIECE_BYTES_MAX + 1)
  const sizes = [...cutPieces(bytes)].map((each) => each.length)
  assert.deepEqual(sizes, [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 1])
  assert.deepEqual([...cutPieces(Buffer.alloc(0))], [])
})

test('frames: the worked example of the document', () => {
  const document = fs.readFileSync(
    new URL('../../../src/daemon/README.md', import.meta.url),
    'utf8',
  )
  const example = /```hex\n([^]*?)```/.exec(document)?.[1] ?? ''
  const stream = Buffer.from(example.replace(/#.*|\s/g, ''), 'hex')
  const frames = new FrameReader().push(stream)
  assert.deepEqual(stream.subarray(0, stream.indexOf(frameOf(frames[1]))), frameOf(frames[0]))
  assert.deepEqual(
    frames.map((frame) => (frame.kind === 'data' ? frame.bytes.toString() : frame.value)),
    [{ hello: 1, version: '0.1.0' }, { id: 1, method: 'devices', params: { cwd: '/' } }, 'abc'],
  )
})

function frameOf(frame: Frame | undefined): Buffer {
  assert.ok(frame?.kind === 'message')
  return encodeMessage(frame.value as unknown as Parameters<typeof encodeMessage>[0])
}
