/**
 * Runs Automerge's document loops long enough to meet the V8 abort that `src/crdt/automerge.ts`
 * guards against: put, commit and applyChanges over 256 documents on each side. Run with
 * `npm run soak [-- --minutes M]` (20 seconds by default);
 * `--without-flag` switches the optimisation back on, for comparison.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import v8 from 'node:v8'
import { createDocument, type AutomergeDocument } from '../../src/crdt/automerge.ts'

const SHARDS = 256
const KEYS = 400
const GROUP = 1000

const { values: options } = parseArgs({
  options: { minutes: { type: 'string' }, 'without-flag': { type: 'boolean' } },
})
if (options['without-flag']) v8.setFlagsFromString('--turbo-inline-js-wasm-calls')
const durationMs = options.minutes ? Number(options.minutes) * 60_000 : 20_000

function actor(): string {
  return randomBytes(16).toString('hex')
}

function put(document: AutomergeDocument, key: number): Uint8Array {
  document.put('/', `C${key}`, randomBytes(48), 'bytes')
  return document.getChangeByHash(document.commit(null, 0) as string) as Uint8Array
}

const writers = Array.from({ length: SHARDS }, () => createDocument(actor()))
const readers = Array.from({ length: SHARDS }, () => createDocument(actor()))
const end = performance.now() + durationMs
let changes = 0
for (let round = 0; performance.now() < end; round++) {
  const groups = new Map<number, Uint8Array[]>()
  for (let index = 0; index < GROUP; index++) {
    const shard = Math.floor(Math.random() * SHARDS)
    const group = groups.get(shard) ?? []
    groups.set(shard, group)
    group.push(put(writers[shard] as AutomergeDocument, Math.floor(Math.random() * KEYS)))
  }
  // Every other group arrives change by change.
  for (const [shard, group] of groups) {
    const reader = readers[shard] as AutomergeDocument
    if (round % 2 === 0) reader.applyChanges(group)
    else for (const change of group) reader.applyChanges([change])
  }
  changes += GROUP
}
for (const [index, writer] of writers.entries()) {
  assert.deepEqual(readers[index]?.getHeads(), writer.getHeads())
}
console.log(`${changes} changes over ${SHARDS} documents on Node ${process.version}: no abort`)
