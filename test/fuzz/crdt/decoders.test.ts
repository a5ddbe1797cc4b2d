/**
 * Proves that hostile bytes in changes, registers, rows of the index and policies end in a coded
 * error or in a value, never in anything else. Right encodings are damaged under a printed seed.
 */
import assert from 'node:assert/strict'
import { ByteWriter } from '../../../src/bytes.ts'
import { encodeChange, decodeChange } from '../../../src/crdt/change.ts'
import { newInodeId } from '../../../src/crdt/ids.ts'
import type { Attributes, Content, Location, VersionId } from '../../../src/crdt/interface.ts'
import { Layer } from '../../../src/crdt/layer.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { location } from '../../../src/crdt/placement.ts'
import {
  decodeInodeRow,
  decodeSlots,
  emptyInodeRow,
  emptySlot,
  encodeInodeRow,
  encodeSlots,
} from '../../../src/crdt/records.ts'
import { decodeRegister, encodeRegister } from '../../../src/crdt/registers.ts'
import { readVersion } from '../../../src/crdt/retention.ts'
import { readShardState, shardStateKey, writeShardState } from '../../../src/crdt/shard-state.ts'
import { decodePolicy, encodePolicy } from '../../../src/policy/canonical.ts'
import { parsePolicy } from '../../../src/policy/parse.ts'
import type { ActorId, ChunkAddress, DeviceId, Hlc } from '../../../src/types.ts'
import { FUZZ_SEED, fuzzDecoder } from '../../helpers/hostile-bytes.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { name } from '../../model/crdt/world.ts'

const random = new SeededRandom(FUZZ_SEED)
const HLC = 1_790_000_000_000_123 as Hlc
const ACTOR = 'ab'.repeat(16) as ActorId
const FILE = newInodeId('file', 7, random)
const DIRECTORY = newInodeId('directory', 7, random)

const version = '0123456789abcdef' as VersionId
const ref = { type: 'chunk', address: 'cd'.repeat(32) as ChunkAddress } as const
const samples: { L: Location; C: Content; A: Attributes; P: { text: string; hlc: Hlc } } = {
  L: {
    parent: DIRECTORY,
    name: name('report.txt'),
    previous: { parent: DIRECTORY, name: name('old.txt') },
    isDeleted: true,
    seen: [version, version.replace('0', '1')],
    hlc: HLC,
  },
  C: { kind: 'file', ref, sizeBytes: 70_000, mtimeNs: 5n, hlc: HLC, baseHlc: HLC },
  A: {
    mode: 0o755,
    uid: 1000,
    gid: 1000,
    xattrs: new Map([['user.a', Buffer.from('value')]]),
    mtime: { version, ns: -5n },
    hlc: HLC,
  },
  P: { text: encodePolicy({ history: { days: 7 } }), hlc: HLC },
}
const bytesOf = {
  L: encodeRegister('L', samples.L),
  C: encodeRegister('C', samples.C),
  A: encodeRegister('A', samples.A),
  P: encodeRegister('P', samples.P),
}
for (const register of ['L', 'C', 'A', 'P'] as const) {
  const id = register === 'P' ? DIRECTORY : FILE
  fuzzDecoder(`register ${register}`, random, bytesOf[register], (bytes) => {
    const value = decodeRegister(register, id, bytes)
    assert.ok(encodeRegister(register, value).equals(bytes), 'one encoding of each value')
  })
}

const ops = (['A', 'C', 'L'] as const).map((register) => ({
  key: register + FILE,
  value: bytesOf[register],
  predecessors: [`3@${ACTOR}`],
}))
const change = { actor: ACTOR, seq: 2, startOp: 4, deps: ['ef'.repeat(32)], ops }
fuzzDecoder('a change', random, encodeChange(change).bytes, (bytes) => decodeChange(bytes))

const rows = new MemoryRowStore()
const layer = new Layer(rows)
layer.addActor({ actor: ACTOR, device: '1'.repeat(64) as DeviceId, deviceName: 'laptop' })
const made = { op: `4@${ACTOR}`, fromNumber: 0, toNumber: 0 }
const row = { ...emptyInodeRow(FILE), merged: [DIRECTORY], links: [FILE], place: 1 }
row.L = [{ ...made, bytes: bytesOf.L, data: samples.L }]
row.C = [{ ...made, bytes: bytesOf.C, data: samples.C }]
row.copyOf = { inode: FILE, version, parent: DIRECTORY, name: name('x') }
fuzzDecoder('a row of an inode', random, encodeInodeRow(row, layer), (bytes) =>
  decodeInodeRow(FILE, bytes, layer, location),
)

const extra = {
  claim: FILE,
  node: FILE,
  reason: 'content',
  inode: FILE,
  version,
  hlc: HLC,
  deviceName: 'laptop',
  names: [name('a'), name('b')],
} as const
const slot = {
  ...emptySlot(name('a')),
  claims: [FILE, DIRECTORY],
  extras: [extra],
  hidden: [{ claim: FILE, into: DIRECTORY, isTwin: true }],
  copies: [FILE],
  wants: [{ claim: FILE, source: name('b') }],
}
fuzzDecoder('a row of slots', random, encodeSlots([slot, emptySlot(name('b'))]), decodeSlots)

const kept = new ByteWriter().varint(HLC).latin1(made.op).raw(bytesOf.C).finish()
fuzzDecoder('a row of the history', random, kept, (bytes) => readVersion(FILE, bytes))

const state = { ...readShardState(layer, 7), heads: [{ hash: 'ab'.repeat(32), maxOp: 9 }] }
state.seqs = new Map([[ACTOR, 3]])
writeShardState(layer, state)
const stateRow = layer.raw(shardStateKey(7)) as Uint8Array
fuzzDecoder('the state of a shard', random, stateRow, (bytes) => {
  layer.putRaw(shardStateKey(7), bytes)
  readShardState(layer, 7)
})

fuzzDecoder('the text of a policy', random, Buffer.from(samples.P.text), (bytes) =>
  decodePolicy(bytes.toString('utf8')),
)
const file = Buffer.from('[conflicts]\nstrategy = "copies" # why\n[history]\ndays = 7\n')
fuzzDecoder('a policy file', random, file, (bytes) => parsePolicy(bytes))
