/**
 * Proves that both row stores keep the promises of `rows.ts`, and that the LMDB one hides names and
 * notices changed bytes. Runs the same checks on each, then reads the LMDB file itself.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { openLmdbRowStore } from '../../../src/crdt/lmdb.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import type { RowStore } from '../../../src/crdt/rows.ts'
import { systemRandom } from '../../../src/system.ts'

const KEY = Buffer.alloc(32, 7)

interface Pair {
  readonly writer: RowStore
  readonly reader: RowStore
}

function temporary(t: TestContext): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'wormhole-index-'))
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }))
  return directory
}

function openLmdb(t: TestContext, directory: string, key = KEY): Pair {
  const options = { directory, key, random: systemRandom }
  const writer = openLmdbRowStore({ ...options, isReadOnly: false })
  const reader = openLmdbRowStore({ ...options, isReadOnly: true })
  t.after(async () => {
    await reader.close()
    await writer.close()
  })
  return { writer, reader }
}

const STORES: Record<string, (t: TestContext) => Pair> = {
  memory: () => {
    const writer = new MemoryRowStore()
    return { writer, reader: writer.reader() }
  },
  lmdb: (t) => openLmdb(t, temporary(t)),
}

for (const [kind, open] of Object.entries(STORES)) {
  test(`${kind}: rows, ranges, transactions, snapshots`, (t) => {
    const { writer, reader } = open(t)
    const value = (text: string): Buffer => Buffer.from(text, 'latin1')
    writer.transaction((rows) => {
      for (const key of ['sa1', 'sa2', 'sa\xff', 'sb1', 'x']) rows.put(key, value(key))
      assert.equal(rows.get('sa1')?.toString('latin1'), 'sa1')
    })
    assert.equal(writer.get('nothing'), undefined)
    const keys = (store: RowStore, options = {}): string[] =>
      store.range('sa', options).map((row) => row.key)
    reader.refresh()
    for (const store of [writer, reader]) {
      assert.deepEqual(keys(store), ['sa1', 'sa2', 'sa\xff'])
      assert.deepEqual(keys(store, { after: 'sa1' }), ['sa2', 'sa\xff'])
      assert.deepEqual(keys(store, { countMax: 2 }), ['sa1', 'sa2'])
      assert.deepEqual(keys(store, { after: 'sa3', countMax: 5 }), ['sa\xff'])
    }
    assert.throws(
      () =>
        writer.transaction((rows) => {
          rows.put('sa1', value('changed'))
          rows.remove('sa2')
          throw new Error('stop')
        }),
      /stop/,
    )
    assert.equal(writer.get('sa1')?.toString('latin1'), 'sa1')
    assert.deepEqual(keys(writer), ['sa1', 'sa2', 'sa\xff'])
    writer.transaction((rows) => {
      rows.put('sa1', value('new'))
      rows.remove('sa2')
      rows.remove('never there')
    })
    assert.equal(writer.get('sa1')?.toString('latin1'), 'new')
    assert.equal(reader.get('sa1')?.toString('latin1'), 'sa1')
    assert.deepEqual(keys(reader), ['sa1', 'sa2', 'sa\xff'])
    reader.refresh()
    assert.equal(reader.get('sa1')?.toString('latin1'), 'new')
    assert.deepEqual(keys(reader), ['sa1', 'sa\xff'])
    const frozen = writer.freeze()
    writer.transaction((rows) => {
      rows.put('sa1', value('newer'))
      rows.remove('sb1')
    })
    assert.equal(frozen.get('sa1')?.toString('latin1'), 'new')
    assert.deepEqual(
      frozen.range('s').map((row) => row.key),
      ['sa1', 'sa\xff', 'sb1'],
    )
    assert.equal(writer.get('sa1')?.toString('latin1'), 'newer')
    frozen.release()
    frozen.release()
    assert.equal(writer.hashName('a'), reader.hashName('a'))
    assert.notEqual(writer.hashName('a'), writer.hashName('b'))
    assert.equal(writer.hashName('a').length, 8)
  })
}

test('lmdb: another key opens nothing, values are not in clear', async (t) => {
  const directory = temporary(t)
  const first = openLmdb(t, directory)
  first.writer.transaction((rows) => rows.put('k', Buffer.from('a secret name', 'latin1')))
  await first.reader.close()
  await first.writer.close()
  const files = fs.readdirSync(directory).map((file) => fs.readFileSync(path.join(directory, file)))
  assert.ok(!Buffer.concat(files).includes('a secret name'))
  const other = openLmdb(t, directory, Buffer.alloc(32, 8))
  assert.throws(() => other.writer.get('k'), { code: 'INDEX_CORRUPT' })
})
