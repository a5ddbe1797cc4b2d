/**
 * Proves that damaged journal records of the file system end in a coded error or in a record. Right
 * encodings of every type are damaged under a printed seed.
 */
import { newInodeId } from '../../../src/crdt/ids.ts'
import type { VersionId } from '../../../src/crdt/interface.ts'
import type { ChunkAddress, Hlc } from '../../../src/types.ts'
import {
  decodeRecord,
  encodeBegin,
  encodeEdit,
  encodeHole,
  encodeRebase,
  encodeState,
  encodeWrite,
  RECORD_BEGIN,
  RECORD_EDIT,
  RECORD_HOLE,
  RECORD_REBASE,
  RECORD_STATE,
  RECORD_WRITE,
} from '../../../src/vfs/journal-records.ts'
import { FUZZ_SEED, fuzzDecoder } from '../../helpers/hostile-bytes.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const random = new SeededRandom(FUZZ_SEED)
const inode = newInodeId('file', 7, random)
const ops = ['#3', `4@${'ab'.repeat(16)}`]
const version = '0123456789abcdef' as VersionId
const address = 'cd'.repeat(32) as ChunkAddress
const base = { ref: { type: 'manifest', address }, sizeBytes: 7_000_000 } as const
const put = { inode, register: 'C', value: Buffer.from('value'), base: ops } as const
const begin = { inode, ops, version, mtimeNs: -1n, previous: 3, base }

const records: [title: string, type: number, sample: Buffer][] = [
  [
    'an edit',
    RECORD_EDIT,
    encodeEdit({ number: 1, hlc: 5 as Hlc, puts: [put, put] }, [
      { type: 'published', done: 3, next: 0 },
      { type: 'rebound', key: 4, inode, ops, version },
      { type: 'dropped', key: 5 },
    ]),
  ],
  ['a begin', RECORD_BEGIN, encodeBegin(begin)],
  ['a write', RECORD_WRITE, encodeWrite(4, 70_000, 5n, Buffer.from('bytes'))],
  ['a state', RECORD_STATE, encodeState(4, 70_000, 5n)],
  ['a hole', RECORD_HOLE, encodeHole(4, { offset: 70_000, length: 9 }, 5n)],
  ['a rebase', RECORD_REBASE, encodeRebase(3, 4, base)],
]
for (const [title, type, sample] of records) {
  fuzzDecoder(title, random, sample, (bytes) =>
    decodeRecord({ number: 9, type: random.below(30) === 0 ? random.below(256) : type, bytes }),
  )
}
