/**
 * Proves what a power cut leaves of the index file: the state before the commit that it
 * interrupted, whichever of the pages had reached the disk, or the state after it; a file that was
 * being made is recognised. The file is put together from copies taken before and after commits.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { openLmdbRowStore } from '../../../src/crdt/lmdb.ts'
import type { RowStore } from '../../../src/crdt/rows.ts'
import { systemRandom } from '../../../src/system.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const PAGE_BYTES = 4096
/** The two pages that say where the tree is; a commit writes one of them, after all others. */
const META_BYTES = 2 * PAGE_BYTES
const COMMITS = 30
const root = fs.mkdtempSync(path.join(tmpdir(), 'wormhole-lmdb-'))
after(() => fs.rmSync(root, { recursive: true }))
let count = 0

function openAt(directory: string): RowStore {
  const key = Buffer.alloc(32, 7)
  return openLmdbRowStore({ directory, key, random: systemRandom, isReadOnly: false })
}

/** What an index shows that consists of these bytes. */
async function shown(bytes: Buffer): Promise<Map<string, string>> {
  const directory = path.join(root, String(count++))
  fs.mkdirSync(directory)
  fs.writeFileSync(path.join(directory, 'data.mdb'), bytes)
  const store = openAt(directory)
  try {
    return new Map(store.range('').map(({ key, value }) => [key, value.toString('hex')]))
  } finally {
    await store.close()
  }
}

/** Copies of the file, and what it shows, after each of some commits. */
async function record(random: SeededRandom) {
  const directory = path.join(root, String(count++))
  const store = openAt(directory)
  const states: { readonly bytes: Buffer; readonly rows: Map<string, string> }[] = []
  const rows = new Map<string, string>()
  for (let commit = 0; commit < COMMITS; commit++) {
    store.transaction((writer) => {
      for (let put = random.below(60); put >= 0; put--) {
        const key = `k${random.below(400)}`
        const value = Buffer.from(random.bytes(random.below(300)))
        if (random.below(4) === 0) {
          writer.remove(key)
          rows.delete(key)
        } else {
          writer.put(key, value)
          rows.set(key, value.toString('hex'))
        }
      }
    })
    const bytes = fs.readFileSync(path.join(directory, 'data.mdb'))
    states.push({ bytes, rows: new Map([...rows].sort(([a], [b]) => (a < b ? -1 : 1))) })
  }
  await store.close()
  return states
}

test('a commit is in the index as a whole, or not at all', async () => {
  const random = new SeededRandom(1)
  const states = await record(random)
  let written = 0
  for (const [at, { bytes: newer, rows }] of states.entries()) {
    const before = states[at - 1]
    if (!before) continue
    const torn = Buffer.from(newer)
    before.bytes.copy(torn, 0, 0, META_BYTES)
    for (let offset = META_BYTES; offset < torn.length; offset += PAGE_BYTES) {
      const old = before.bytes.subarray(offset, offset + PAGE_BYTES)
      if (old.equals(torn.subarray(offset, offset + PAGE_BYTES))) continue
      written++
      if (random.below(2) === 0) torn.fill(0, offset, offset + PAGE_BYTES).set(old, offset)
    }
    assert.deepEqual(await shown(torn), before.rows, `commit ${at}, pages in part`)
    assert.deepEqual(await shown(newer), rows, `commit ${at}, all of it`)
  }
  assert.ok(written > COMMITS, 'commits wrote pages')
})

test('an index that was being made is recognised', async () => {
  assert.deepEqual(await shown(Buffer.alloc(0)), new Map())
  for (const bytes of [META_BYTES, PAGE_BYTES, 100]) {
    await assert.rejects(shown(Buffer.alloc(bytes)), { code: 'INDEX_CORRUPT' })
    await assert.rejects(shown(Buffer.alloc(bytes, 'x')), { code: 'INDEX_CORRUPT' })
  }
})
