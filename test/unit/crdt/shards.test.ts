/**
 * Documents of shards: one that is loaded shows every change that came since, however long nobody
 * asked for it, and a long tail of changes is folded into a saved document that says the same.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { decodeChange, encodeChange } from '../../../src/crdt/change.ts'
import type { ChangeOp } from '../../../src/crdt/change.ts'
import { Layer, TABLE } from '../../../src/crdt/layer.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { maxOpOf } from '../../../src/crdt/shard-state.ts'
import { Shards } from '../../../src/crdt/shards.ts'
import type { ActorId, DeviceId } from '../../../src/types.ts'

const SHARD = 3
const ACTOR = '11'.repeat(16) as ActorId
const INFO = { actor: ACTOR, device: '22'.repeat(32) as DeviceId, deviceName: 'alice' }

function create() {
  const rows = new MemoryRowStore()
  const layer = new Layer(rows)
  layer.addActor(INFO)
  const shards = new Shards(layer)
  let count = 0
  return {
    rows,
    shards,
    /** Appends one change that sets one new key. */
    append(valueBytes: number): void {
      const state = shards.state(SHARD)
      const key = `C${String(count++).padStart(16, '0')}`
      const ops: ChangeOp[] = [{ key, value: Buffer.alloc(valueBytes, count), predecessors: [] }]
      const { bytes } = encodeChange({
        actor: ACTOR,
        seq: (state.seqs.get(ACTOR) ?? 0) + 1,
        startOp: maxOpOf(state) + 1,
        deps: state.heads.map(({ hash }) => hash),
        ops,
      })
      shards.append(SHARD, bytes, decodeChange(bytes), 1)
    },
    commit(): void {
      shards.flush()
      rows.transaction((writer) => layer.flush(writer))
      layer.settled()
      shards.settled()
    },
    /** The shard as a process sees it that has just begun. */
    anew: (): Shards => new Shards(new Layer(rows)),
    hasSaved: (): boolean => rows.range(TABLE.shardSnapshot).length > 0,
  }
}

test('a loaded document shows what came since, committed or not', () => {
  const world = create()
  world.append(10)
  assert.equal(world.shards.document(SHARD).keys('/').length, 1)
  for (let index = 0; index < 5; index++) world.append(10)
  world.commit()
  world.append(10)
  const document = world.shards.document(SHARD)
  assert.equal(document.keys('/').length, 7)
  assert.deepEqual(
    document.getHeads(),
    world.shards.state(SHARD).heads.map(({ hash }) => hash),
  )
  world.shards.close()
})

test('a document that has fallen far behind is the same when it is asked for', () => {
  const world = create()
  world.append(10)
  assert.equal(world.shards.document(SHARD).keys('/').length, 1)
  for (let index = 0; index < 8; index++) world.append(60_000)
  world.commit()
  world.append(10)
  assert.equal(world.shards.document(SHARD).keys('/').length, 10)
  world.shards.close()
})

test('what is rolled back is in no document', () => {
  const world = create()
  world.append(10)
  world.commit()
  world.shards.document(SHARD)
  world.append(10)
  world.shards.rollback()
  assert.equal(world.anew().document(SHARD).keys('/').length, 1)
  assert.equal(world.shards.state(SHARD).seqs.get(ACTOR), 1)
  world.shards.close()
})

test('a long tail of changes is folded, once, and nothing of it is lost', () => {
  const world = create()
  for (let index = 0; index < 30; index++) {
    world.append(50_000)
    world.commit()
    if (world.hasSaved()) break
  }
  const state = world.shards.state(SHARD)
  assert.ok(world.hasSaved(), 'over 1 MiB of changes')
  assert.equal(state.deltaBytes, 0)
  assert.equal(world.rows.range(TABLE.shardDelta).length, 0)
  world.append(10)
  world.commit()
  assert.equal(world.rows.range(TABLE.shardDelta).length, 1)
  const anew = world.anew()
  const keys = anew.document(SHARD).keys('/')
  assert.equal(keys.length, anew.state(SHARD).entries)
  assert.deepEqual(
    anew.document(SHARD).getHeads(),
    state.heads.map(({ hash }) => hash),
  )
  anew.close()
  world.shards.close()
})
