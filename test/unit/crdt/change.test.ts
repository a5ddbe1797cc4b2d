/**
 * Proves that changes written here are byte for byte what Automerge writes, that it applies them,
 * and that foreign changes are judged before they touch anything. Builds honest and hostile changes
 * and hands them to Automerge and to a `TreeWriter`.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDocument, loadDocument } from '../../../src/crdt/automerge.ts'
import { decodeChange, encodeChange, type Change } from '../../../src/crdt/change.ts'
import { newInodeId, ROOT } from '../../../src/crdt/ids.ts'
import { encodeRegister } from '../../../src/crdt/registers.ts'
import { hasCode } from '../../../src/errors.ts'
import type { ActorId, Hlc } from '../../../src/types.ts'
import { Dice, name, World, type Device } from '../../model/crdt/world.ts'

const A = 'aa'.repeat(16) as ActorId
const B = 'bb'.repeat(16) as ActorId

test('the bytes are those of Automerge', () => {
  const dice = new Dice(9)
  const document = createDocument(A)
  const other = createDocument(B)
  for (let round = 0; round < 60; round++) {
    const author = dice.chance(0.5) ? document : other
    const keys = new Set(Array.from({ length: 1 + dice.below(6) }, () => `C${dice.below(9)}`))
    for (const key of [...keys].sort()) author.put('/', key, dice.bytes(dice.below(5)), 'bytes')
    const hash = author.commit(null, 0)
    if (hash === null) continue
    const bytes = author.getChangeByHash(hash) as Uint8Array
    const change = decodeChange(bytes)
    assert.equal(change.hash, hash)
    assert.ok(encodeChange(change).bytes.equals(bytes))
    if (dice.chance(0.6)) (author === document ? other : document).applyChanges([bytes])
    else for (const one of [document, other]) one.applyChanges(missing(one, document, other))
  }
})

function missing(
  to: ReturnType<typeof createDocument>,
  ...from: ReturnType<typeof createDocument>[]
): Uint8Array[] {
  const found: Uint8Array[] = []
  for (const document of from) {
    for (const { hash } of document.getChangesMeta([]) as unknown as { hash: string }[]) {
      if (!to.getChangeMetaByHash(hash)) found.push(document.getChangeByHash(hash) as Uint8Array)
    }
  }
  return found
}

test('a change of any size is read as it was written', () => {
  const hex = (of: string, count: number, digits: number): string[] =>
    Array.from({ length: count }, (_, index) => of + String(index).padStart(digits - 1, '0'))
  for (let depCount = 0; depCount < 18; depCount++) {
    for (let actorCount = 0; actorCount < 18; actorCount++) {
      // Each needs one byte more: whatever is written next begins at every place of the buffer.
      for (const startOp of [1, 200, 20_000, 3_000_000, 300_000_000]) {
        const predecessors = hex('b', actorCount, 32).map((actor) => `1@${actor}`)
        const value = Buffer.alloc(200, 1)
        const ops = [{ key: `L${'0'.repeat(16)}`, value, predecessors }]
        const deps = hex('d', depCount, 64)
        const change = { actor: A, seq: 1000, startOp, deps, ops }
        const { bytes, hash } = encodeChange(change)
        const about = `${depCount} dependencies, ${actorCount} actors, from ${startOp}`
        assert.deepEqual(decodeChange(bytes), { ...change, hash }, about)
      }
    }
  }
})

test('a write that overwrites only some of the values leaves the others', () => {
  const document = createDocument(A)
  document.put('/', 'Lx', Uint8Array.of(1), 'bytes')
  const first = document.commit(null, 0) as string
  const next: Change = {
    actor: B,
    seq: 1,
    startOp: 2,
    deps: [first],
    ops: [{ key: 'Lx', value: Uint8Array.of(2), predecessors: [] }],
  }
  document.applyChanges([encodeChange(next).bytes])
  const loaded = loadDocument(document.save())
  for (const one of [document, loaded]) {
    const values = one.getAll('/', 'Lx').map(([, value, op]) => [value[0], op])
    assert.deepEqual(values, [
      [1, `1@${A}`],
      [2, `2@${B}`],
    ])
  }
})

test('flipped bits and cut bytes never decode to something else', () => {
  const dice = new Dice(3)
  const ops = ['L1', 'L2', 'L3'].map((key, index) => ({
    key,
    value: dice.bytes(20 + index),
    predecessors: index === 1 ? [`3@${B}`, `4@${A}`] : [],
  }))
  const good = encodeChange({ actor: A, seq: 3, startOp: 9, deps: ['ab'.repeat(32)], ops })
  assert.deepEqual(decodeChange(good.bytes).ops.length, 3)
  for (let bit = 0; bit < good.bytes.length * 8; bit++) {
    const bytes = Buffer.from(good.bytes)
    bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
    assert.throws(
      () => decodeChange(bytes),
      (error) => hasCode(error, 'ENTRY_INVALID'),
    )
    const cut = good.bytes.subarray(0, bit >> 3)
    assert.throws(
      () => decodeChange(cut),
      (error) => hasCode(error, 'ENTRY_INVALID'),
    )
  }
})

test('a run that claims 2^40 writes allocates nothing', () => {
  const good = encodeChange({
    actor: A,
    seq: 1,
    startOp: 1,
    deps: [],
    ops: [{ key: 'L1', value: Uint8Array.of(1), predecessors: [] }],
  }).bytes
  // The insert column holds the number of writes: make it a five-byte number by hand.
  const at = good.lastIndexOf(Buffer.from('7f024c3101', 'hex'))
  assert.ok(at > 0)
  const bomb = Buffer.concat([
    good.subarray(0, at + 4),
    Buffer.from('8080808020', 'hex'),
    good.subarray(at + 5),
  ])
  assert.throws(() => decodeChange(bomb), { code: 'ENTRY_INVALID' })
})

/** Two devices; `b` has one change of `a`'s and judges what follows. */
function stage(): { a: Device; b: Device; shard: number; last: Change & { hash: string } } {
  const world = new World({ seed: 2, deviceCount: 2 })
  const [a, b] = world.devices as [Device, Device]
  a.write('/f', '1')
  a.publish()
  b.receive(0)
  const { shard, change } = world.feeds[0]![0]!.changes[0]!
  return { a, b, shard, last: decodeChange(change) }
}

test('foreign changes are judged by what they follow', () => {
  const { b, shard, last } = stage()
  const actors = new Set([last.actor])
  const hlc = 5 as Hlc
  const id = newInodeId('file', shard, new Dice(1))
  const elsewhere = newInodeId('file', shard + 1, new Dice(1))
  const place = { parent: ROOT, name: name('g'), isDeleted: false, seen: [], hlc }
  const value = encodeRegister('L', place)
  const good: Change = {
    actor: last.actor,
    seq: last.seq + 1,
    startOp: last.startOp + last.ops.length,
    deps: [last.hash],
    ops: [{ key: `L${id}`, value, predecessors: [] }],
  }
  const judge = (change: Change, at = shard): boolean => {
    const encoded = { shard: at, change: encodeChange(change).bytes }
    return b.writer.check([encoded], { actors }).isValid
  }
  const op = (key: string, bytes: Uint8Array, predecessors: string[] = []): Change => {
    return { ...good, ops: [{ key, value: bytes, predecessors }] }
  }
  assert.ok(judge(good))
  const refused: Record<string, Change> = {
    'startOp far ahead': { ...good, startOp: 100_000_000 },
    'startOp behind': { ...good, startOp: 1 },
    'actor of somebody else': { ...good, actor: B },
    'sequence repeated': { ...good, seq: last.seq },
    'sequence with a gap': { ...good, seq: last.seq + 2 },
    'unknown dependency': { ...good, deps: ['ab'.repeat(32)] },
    'no dependency at all': { ...good, deps: [], startOp: 1 },
    'overwrites an operation nobody knows': op(`L${id}`, value, [`1@${B}`]),
    'key that is no register': op(`Z${id}`, value),
    'key too short': op('L', value),
    'register of another shard': op(`L${elsewhere}`, value),
    'the root moved': op(`L${ROOT}`, value),
    'rubbish in a register': op(`L${id}`, Uint8Array.of(1, 2, 3)),
  }
  for (const [what, change] of Object.entries(refused)) assert.ok(!judge(change), what)
  assert.ok(!judge(good, 4096), 'shard out of range')
  // Two changes of one entry are judged one on top of the other.
  const first = encodeChange(good)
  const second = encodeChange({
    ...good,
    seq: good.seq + 1,
    startOp: good.startOp + 1,
    deps: [first.hash],
    ops: [{ key: `L${id}`, value, predecessors: [`${good.startOp}@${good.actor}`] }],
  })
  const both = [first, second].map(({ bytes }) => ({ shard, change: bytes }))
  assert.deepEqual(b.writer.check(both, { actors }), { isValid: true })
  assert.ok(!b.writer.check(both.reverse(), { actors }).isValid)
})

test('a change beside others is judged by what its author saw', () => {
  const { a, b, shard, last } = stage()
  // `b` goes on alone; then a change of `a` arrives that follows the old head.
  b.write('/f', '2')
  b.publish()
  a.write('/g', '3')
  a.publish()
  const entry = a.world.feeds[0]!.at(-1)!
  assert.deepEqual(b.writer.check(entry.changes, entry), { isValid: true })
  const [, { change }] = [0, entry.changes.find((one) => one.shard === shard)!] as const
  const honest = decodeChange(change)
  const own = b.world.feeds[1]!.at(-1)!.changes[0]!
  const unseen = decodeChange(own.change)
  const index = unseen.ops.findIndex(({ key }) => key.startsWith('C') && !key.endsWith('AAAA'))
  const stolen = {
    ...honest,
    ops: [
      {
        key: unseen.ops[index]!.key,
        value: unseen.ops[index]!.value,
        predecessors: [`${unseen.startOp + index}@${unseen.actor}`],
      },
    ],
  }
  const judge = (forged: Change): boolean => {
    const encoded = { shard, change: encodeChange(forged).bytes }
    return b.writer.check([encoded], entry).isValid
  }
  assert.ok(judge(honest))
  assert.ok(!judge(stolen), 'overwrites what its author cannot have seen')
  assert.ok(!judge({ ...honest, startOp: honest.startOp + 1 }))
  assert.ok(!judge({ ...honest, deps: [last.hash, 'ab'.repeat(32)].sort() }))
})
