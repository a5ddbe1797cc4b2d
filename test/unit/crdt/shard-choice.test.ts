/**
 * Choosing shards: files stay with their directory until its shard is full, then with one another;
 * and what that costs does not grow with the number of files that are there.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { inodeShard, ROOT } from '../../../src/crdt/ids.ts'
import { Layer } from '../../../src/crdt/layer.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { ShardChoice } from '../../../src/crdt/shard-choice.ts'
import { readShardState, writeShardState } from '../../../src/crdt/shard-state.ts'

/** A layer over shards with so many records, and how often one of their rows was read. */
function create(entries: ReadonlyMap<number, number>) {
  const rows = new MemoryRowStore()
  const writing = new Layer(rows)
  for (const [shard, count] of entries) {
    writeShardState(writing, { ...readShardState(writing, shard), entries: count })
  }
  rows.transaction((writer) => writing.flush(writer))
  const reads = { count: 0 }
  const get = rows.get.bind(rows)
  rows.get = (key) => {
    reads.count++
    return get(key)
  }
  const drawn: number[] = []
  const random = {
    bytes: (count: number) => {
      drawn.push(count)
      return Uint8Array.from({ length: count }, (_, index) => drawn.length + index)
    },
  }
  return { choice: new ShardChoice(new Layer(rows), random), reads, drawn }
}

test('files take the shard of their directory, and read its row once', () => {
  const { choice, reads, drawn } = create(new Map())
  for (let index = 0; index < 1500; index++) assert.equal(choice.forFile(ROOT), 0)
  assert.equal(reads.count, 1)
  assert.equal(drawn.length, 0)
})

test('files of a full directory go to the next shard with room', () => {
  const full = Array.from({ length: 50 }, (_, shard) => [shard, 2000] as const)
  const { choice, reads, drawn } = create(new Map(full))
  for (let index = 0; index < 1500; index++) assert.equal(choice.forFile(ROOT), 50)
  assert.equal(reads.count, 51)
  assert.equal(drawn.length, 0, 'which one is no chance')
})

test('a shard that fills up meanwhile is left', () => {
  const { choice } = create(new Map([[0, 1990]]))
  const shards = Array.from({ length: 20 }, () => choice.forFile(ROOT))
  // The row still says 1990: nothing of this is published.
  assert.deepEqual(new Set(shards), new Set([0]))
  const other = create(new Map([[0, 2000]]))
  assert.equal(other.choice.forFile(ROOT), 1)
})

test('directories of a full shard are spread', () => {
  const { choice, drawn } = create(new Map([[0, 500]]))
  assert.equal(inodeShard(ROOT), 0)
  const shards = Array.from({ length: 10 }, () => choice.forDirectory(ROOT))
  assert.equal(drawn.length, 10)
  assert.equal(new Set(shards).size, 10)
  assert.ok(!shards.includes(0))
})

test('when everything is full, something is chosen all the same', () => {
  const all = Array.from({ length: 4096 }, (_, shard) => [shard, 3000] as const)
  const { choice } = create(new Map(all))
  assert.ok(choice.forFile(ROOT) < 4096)
  assert.ok(choice.forDirectory(ROOT) < 4096)
})
