/**
 * Proves that journal records are read back as written, and that hostile or newer bytes are refused
 * with a code. Every prefix and a seeded choice of changed bytes are tried.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import type { Edit } from '../../../src/crdt/interface.ts'
import type { ChunkAddress, Hlc, InodeId } from '../../../src/types.ts'
import * as records from '../../../src/vfs/journal-records.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const INODE = 'AbCdEfGhIjKlMnOp' as InodeId
const BASE = {
  ref: { type: 'chunk', address: 'ab'.repeat(32) as ChunkAddress },
  sizeBytes: 123_456,
} as const
const EDIT: Edit = {
  number: 7,
  hlc: 1_763_654_400_000_001 as Hlc,
  puts: [
    { inode: INODE, register: 'L', value: Buffer.from('location'), base: ['12@ab', '#3'] },
    { inode: INODE, register: 'P', value: Buffer.alloc(0), base: [] },
  ],
}
const MARKS: records.Mark[] = [
  { type: 'published', done: 3, next: 0 },
  { type: 'rebound', key: 4, inode: INODE, ops: ['#9'], version: '0011223344556677' },
  { type: 'dropped', key: 5 },
]
const BEGIN = { inode: INODE, ops: ['1@aa'], version: 'v1', mtimeNs: -5n, previous: 2, base: BASE }

const SAMPLES: readonly [type: number, bytes: Buffer][] = [
  [records.RECORD_EDIT, records.encodeEdit(EDIT, MARKS)],
  [records.RECORD_BEGIN, records.encodeBegin(BEGIN)],
  [records.RECORD_BEGIN, records.encodeBegin({ ...BEGIN, base: undefined })],
  [records.RECORD_WRITE, records.encodeWrite(2, 2 ** 40, 99n, Buffer.from('bytes'))],
  [records.RECORD_STATE, records.encodeState(2, 2 ** 52, 1_763_654_400_123_456_789n)],
  [records.RECORD_REBASE, records.encodeRebase(3, 9, BASE)],
]

test('records are read back as written', () => {
  const read = SAMPLES.map(([type, bytes]) => records.decodeRecord({ number: 7, type, bytes }))
  assert.deepEqual(read[0], { type: 'edit', edit: EDIT, marks: MARKS })
  assert.deepEqual(read[1], { type: 'begin', number: 7, ...BEGIN })
  assert.deepEqual(read[2], { type: 'begin', number: 7, ...BEGIN, base: undefined })
  const bytes = Buffer.from('bytes')
  assert.deepEqual(read[3], { type: 'write', key: 2, offset: 2 ** 40, mtimeNs: 99n, bytes })
  const mtimeNs = 1_763_654_400_123_456_789n
  assert.deepEqual(read[4], { type: 'state', key: 2, sizeBytes: 2 ** 52, mtimeNs })
  assert.deepEqual(read[5], { type: 'rebase', done: 3, next: 9, base: BASE })
})

test('short records are refused, changed ones too or read as something else', () => {
  const seed = 1
  const random = new SeededRandom(seed)
  for (const [type, bytes] of SAMPLES) {
    for (let length = 0; length < bytes.length; length++) {
      if (type === records.RECORD_WRITE && length >= bytes.length - 5) continue
      const cut = { number: 1, type, bytes: bytes.subarray(0, length) }
      assert.throws(() => records.decodeRecord(cut), { code: 'JOURNAL_CORRUPT' })
    }
    for (let round = 0; round < 300; round++) {
      const changed = Buffer.from(bytes)
      changed[random.below(bytes.length)] = random.below(256)
      try {
        records.decodeRecord({ number: 1, type, bytes: changed })
      } catch (error) {
        assert.ok(error instanceof WormholeError, `seed ${seed}: ${String(error)}`)
      }
    }
  }
})

test('a newer version or type is refused by name', () => {
  const [, bytes] = SAMPLES[0] as [number, Buffer]
  const newer = Buffer.from(bytes)
  newer[0] = 2
  const code = { code: 'FORMAT_UNSUPPORTED' }
  assert.throws(() => records.decodeRecord({ number: 1, type: 1, bytes: newer }), code)
  assert.throws(() => records.decodeRecord({ number: 1, type: 99, bytes }), code)
})
