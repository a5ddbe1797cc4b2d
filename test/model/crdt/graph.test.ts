/**
 * Proves that both ways of judging a change agree: by the rows and documents of a shard, and by the
 * graph of its changes. A device takes the entries of a random run; each change, and wrong ones
 * made from it, are judged both ways before.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeChange, encodeChange, type Change } from '../../../src/crdt/change.ts'
import { hasCode } from '../../../src/errors.ts'
import { ChangeGraph } from '../../../src/crdt/graph.ts'
import type { ActorId } from '../../../src/types.ts'
import { Ledger, RandomUser } from './random-user.ts'
import { Device, World, type Dice } from './world.ts'

const SEEDS = Number(process.env['SEEDS'] ?? 6)
const STEPS = 60

/** A change, and others that differ in one thing; most of them are wrong. */
function variants(change: Change, dice: Dice, others: readonly string[]): Change[] {
  const [first, ...rest] = change.ops
  const found: Change[] = [change]
  found.push({ ...change, seq: change.seq + 1 }, { ...change, startOp: change.startOp + 1 })
  found.push({ ...change, actor: 'ab'.repeat(16) as ActorId })
  if (change.deps.length > 0) found.push({ ...change, deps: change.deps.slice(1) })
  if (others.length > 0) found.push({ ...change, deps: [dice.pick(others)] })
  if (first && first.predecessors.length > 0) {
    const without = { ...first, predecessors: first.predecessors.slice(1) }
    const doubled = { ...first, predecessors: [`1@${change.actor}`] }
    found.push({ ...change, ops: [without, ...rest] }, { ...change, ops: [doubled, ...rest] })
  }
  return found
}

function isRight(graph: ChangeGraph, bytes: Uint8Array): boolean {
  try {
    graph.judge(decodeChange(bytes))
    return true
  } catch (error) {
    if (hasCode(error, 'ENTRY_INVALID')) return false
    throw error
  }
}

test('graph and document judge alike', () => {
  const counts = { right: 0, wrong: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const world = new World({ seed: seed * 31, deviceCount: 3 })
    const { dice } = world
    const users = world.devices.map((device) => new RandomUser(device, new Ledger(), new Set()))
    for (let step = 0; step < STEPS; step++) {
      const user = dice.pick(users)
      user.act()
      if (dice.chance(0.4)) user.device.publish()
      for (const author of world.shuffled()) if (dice.chance(0.2)) user.device.receive(author)
    }
    world.settle()
    const device = new Device(world, world.devices.length)
    const actors = new Set([...world.actors.keys(), 'ab'.repeat(16) as ActorId])
    const graphs = new Map<number, ChangeGraph>()
    const hashes = new Map<number, string[]>()
    for (let hasMoved = true; hasMoved;) {
      hasMoved = false
      for (const author of world.shuffled()) {
        const entry = world.feeds[author]?.[device.applied[author] ?? 0]
        const isReady = entry?.frontier.every((count, at) => (device.applied[at] ?? 0) >= count)
        if (!entry || !isReady) continue
        for (const [at, { shard, change }] of entry.changes.entries()) {
          const graph = graphs.get(shard) ?? new ChangeGraph()
          graphs.set(shard, graph)
          const known = hashes.get(shard) ?? []
          hashes.set(shard, known)
          for (const variant of variants(decodeChange(change), dice, known)) {
            const { bytes } = encodeChange(variant)
            const earlier = entry.changes.slice(0, at)
            const { isValid } = device.writer.check([...earlier, { shard, change: bytes }], {
              actors,
            })
            const where = `seed ${seed}, entry of ${author}, change ${at}`
            assert.equal(isRight(graph, bytes), isValid, where)
            counts[isValid ? 'right' : 'wrong']++
          }
          const decoded = decodeChange(change)
          const placed = graph.add(decoded)
          assert.deepEqual(placed.renamed, [])
          const sorted = (lists: readonly (readonly string[])[]): string[][] =>
            lists.map((list) => [...list].sort())
          const told = decoded.ops.map(({ predecessors }) => predecessors)
          assert.deepEqual(sorted(placed.predecessors), sorted(told))
          known.push(decoded.hash)
        }
        device.receive(author)
        hasMoved = true
      }
    }
  }
  assert.ok(counts.right > 200 && counts.wrong > 400, JSON.stringify(counts))
})
