/**
 * Proves what the file system thread relies on: preconditions of the builders, listing by cursor
 * while names change, attributes and times, deltas, wants, and that LMDB serves an overlay the same
 * tree as memory. One device, or two when something has to arrive.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { openLmdbRowStore } from '../../../src/crdt/lmdb.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { Overlay } from '../../../src/crdt/overlay.ts'
import { TreeWriter } from '../../../src/crdt/writer.ts'
import { systemRandom } from '../../../src/system.ts'
import type { ActorId, DeviceId, Hlc } from '../../../src/types.ts'
import { contentOf, DIRECTORY, name, PLAIN, World, type Device } from '../../model/crdt/world.ts'
import { linesOf, listAll } from '../../model/crdt/reference.ts'

function alone(): Device {
  return new World({ seed: 3, deviceCount: 1 }).devices[0] as Device
}

test('preconditions as POSIX has them', () => {
  const a = alone()
  const { overlay } = a
  a.mkdir('/d')
  a.mkdir('/d/e')
  a.mkdir('/empty')
  a.write('/f', '1')
  a.write('/g', '2')
  const root = overlay.root
  const d = a.id('/d')
  const at = (parent: typeof root, leaf: string): { parent: typeof root; name: never } => {
    return { parent, name: name(leaf) as never }
  }
  const refused: [string, () => unknown][] = [
    ['ALREADY_EXISTS', () => overlay.createFile(root, name('f'), PLAIN)],
    ['ALREADY_EXISTS', () => overlay.mkdir(root, name('d'), DIRECTORY)],
    ['NAME_TOO_LONG', () => overlay.mkdir(root, name('x'.repeat(256)), DIRECTORY)],
    ['NAME_INVALID', () => overlay.mkdir(root, name('a/b'), DIRECTORY)],
    ['NOT_A_DIRECTORY', () => overlay.mkdir(a.id('/f'), name('x'), DIRECTORY)],
    ['NOT_FOUND', () => overlay.unlink(root, name('nothing'))],
    ['IS_DIRECTORY', () => overlay.unlink(root, name('d'))],
    ['NOT_A_DIRECTORY', () => overlay.rmdir(root, name('f'))],
    ['NOT_EMPTY', () => overlay.rmdir(root, name('d'))],
    ['NOT_PERMITTED', () => overlay.link(d, root, name('x'))],
    ['BAD_ARGUMENT', () => overlay.rename(at(root, 'd'), at(a.id('/d/e'), 'x'), 'replace')],
    ['BAD_ARGUMENT', () => overlay.rename(at(root, 'd'), at(d, 'x'), 'replace')],
    ['IS_DIRECTORY', () => overlay.rename(at(root, 'f'), at(root, 'empty'), 'replace')],
    ['NOT_A_DIRECTORY', () => overlay.rename(at(root, 'd'), at(root, 'f'), 'replace')],
    ['NOT_EMPTY', () => overlay.rename(at(root, 'empty'), at(root, 'd'), 'replace')],
    ['ALREADY_EXISTS', () => overlay.rename(at(root, 'f'), at(root, 'g'), 'noreplace')],
    ['NOT_FOUND', () => overlay.rename(at(root, 'f'), at(root, 'x'), 'exchange')],
    ['IS_DIRECTORY', () => overlay.setContent(d, { ...contentOf('1'), mtimeNs: 1n })],
    ['LIMIT_EXCEEDED', () => overlay.setPolicy(d, 'x'.repeat(16 * 1024 + 1))],
    ['NOT_FOUND', () => overlay.resolve(root, name('f'), 0)],
    [
      'NAME_TOO_LONG',
      () => overlay.symlink(root, name('s'), { ...PLAIN, target: 'x'.repeat(5e3) }),
    ],
  ]
  for (const [code, run] of refused) assert.throws(run, { code }, `${code} ${run.toString()}`)
  a.rename('/empty', '/d/e')
  a.rename('/f', '/g')
  assert.deepEqual(a.shown(), ['/d/', '/d/e/', '/g=1'])
  a.link('/g', '/h')
  assert.deepEqual(overlay.rename(at(root, 'g'), at(root, 'h'), 'replace').puts, [])
})

test('a listing gives every name that stays exactly once, whatever changes meanwhile', () => {
  for (const hashCharacters of [0, 1, 8]) {
    const world = new World({ seed: 5, deviceCount: 1, hashCharacters })
    const [a] = world.devices as [Device]
    for (let index = 0; index < 60; index++) a.write(`/keep${index}`, 'x')
    for (let index = 0; index < 30; index++) a.write(`/go${index}`, 'x')
    a.publish()
    const seen: string[] = []
    let after: string | undefined
    for (let round = 0; ; round++) {
      const options = { countMax: 7, ...(after === undefined ? {} : { after }) }
      const page = a.overlay.list(a.overlay.root, options)
      assert.ok(page.entries.length <= 7)
      seen.push(...page.entries.map((entry) => entry.name))
      after = page.next
      if (after === undefined) break
      a.unlink(`/go${round}`)
      a.write(`/new${round}`, 'y')
      if (round % 3 === 0) a.publish()
    }
    assert.equal(new Set(seen).size, seen.length)
    for (let index = 0; index < 60; index++) assert.ok(seen.includes(`keep${index}`))
  }
})

test('times, attributes and counts', () => {
  const a = alone()
  a.write('/f', '1')
  const id = a.id('/f')
  const before = a.overlay.node(id)!
  a.do(a.overlay.setAttributes(id, { mode: 0o600, mtimeNs: 42n }))
  let node = a.overlay.node(id)!
  assert.deepEqual([node.mtimeNs, node.attributes.mode], [42n, 0o600])
  assert.equal(node.version, before.version)
  a.write('/f', '2')
  node = a.overlay.node(id)!
  assert.notEqual(node.mtimeNs, 42n)
  assert.equal(node.attributes.mode, 0o600)
  // Saving the same bytes again is a touch.
  const { puts } = a.overlay.setContent(id, { ...contentOf('2'), mtimeNs: 77n })
  assert.deepEqual(
    puts.map(({ register }) => register),
    ['A'],
  )
  a.do(a.overlay.setAttributes(id, { xattrs: new Map([['user.x', Buffer.from('y')]]) }))
  assert.equal(a.overlay.node(id)!.attributes.xattrs.get('user.x')?.toString(), 'y')
  assert.deepEqual(a.overlay.setAttributes(id, { mode: 0o600 }).puts, [])
  a.link('/f', '/g')
  assert.deepEqual([a.overlay.node(id)!.nlink, a.overlay.fileCount], [2, 1])
  a.mkdir('/d')
  assert.equal(a.overlay.node(a.overlay.root)!.nlink, 3)
  a.setPolicy('/d', '{"local":1}')
  a.setPolicy('/', '{}')
  const texts = a.overlay.policies(a.id('/d')).map(({ policy }) => policy)
  assert.deepEqual(texts, ['{"local":1}', '{}'])
})

test('deltas, wants, and meta', () => {
  const world = new World({ seed: 3, deviceCount: 2 })
  const [a, b] = world.devices as [Device, Device]
  a.write('/f', '1')
  a.publish()
  b.receive(0)
  const id = b.id('/f')
  assert.deepEqual(b.deltas.at(-1)!.dirents, [{ parent: b.overlay.root, name: 'f', id }])
  assert.deepEqual(
    b.deltas.at(-1)!.contents.map(({ inode }) => inode),
    [id],
  )
  assert.deepEqual(
    b.writer.wants({ countMax: 9 }).map(({ sizeBytes }) => sizeBytes),
    [1],
  )
  a.write('/f', 'two')
  a.publish()
  b.receive(0)
  const { version } = b.overlay.node(id)!
  assert.deepEqual(b.deltas.at(-1)!.nodes, [{ id, hasContent: true, version, name: 'f' }])
  assert.deepEqual(b.deltas.at(-1)!.dirents, [])
  // The older version is nobody's duty any more.
  const [want] = b.writer.wants({ countMax: 9 })
  assert.equal(want!.sizeBytes, 3)
  assert.deepEqual(b.writer.wants({ countMax: 9, after: want!.key }), [])
  b.writer.fetched([want!.key])
  b.writer.commit(new Map())
  assert.deepEqual(b.writer.wants({ countMax: 9 }), [])
  assert.deepEqual(a.writer.wants({ countMax: 9 }), [])
  a.rename('/f', '/g')
  a.publish()
  b.receive(0)
  assert.deepEqual(
    b.deltas
      .at(-1)!
      .dirents.map((dirent) => dirent.name)
      .sort(),
    ['f', 'g'],
  )
  assert.equal(b.writer.meta('frontier')?.toString(), '3')
  a.write('/g', 'a')
  b.write('/g', 'b')
  a.publish()
  b.publish()
  b.receive(0)
  // Two versions now, which is more than a new one.
  assert.deepEqual(b.deltas.at(-1)!.nodes, [{ id, hasContent: true, name: 'g' }])
})

test('an overlay over LMDB, refreshed after commits of the writer', async (t) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'wormhole-index-'))
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }))
  const options = { directory, key: Buffer.alloc(32, 1), random: systemRandom }
  const open = (): { writer: TreeWriter; overlay: Overlay; close: () => Promise<void> } => {
    const rows = openLmdbRowStore({ ...options, isReadOnly: false })
    const reader = openLmdbRowStore({ ...options, isReadOnly: true })
    const self = {
      actor: Buffer.from(systemRandom.bytes(16)).toString('hex') as ActorId,
      device: '1'.padStart(64, '0') as DeviceId,
      deviceName: 'laptop',
    }
    const strategyOf = (): 'copies' => 'copies'
    let stamp = 1_790_000_000_000_000
    const overlay = new Overlay({
      rows: reader,
      random: systemRandom,
      tick: () => ++stamp as Hlc,
      nowNs: () => BigInt(stamp) * 1000n,
      strategyOf,
    })
    const writer = new TreeWriter({ rows, self, strategyOf })
    const close = async (): Promise<void> => {
      writer.close()
      await reader.close()
      await rows.close()
    }
    return { writer, overlay, close }
  }
  const first = open()
  let number = 0
  const { overlay, writer } = first
  const made = overlay.mkdir(overlay.root, name('d'), DIRECTORY)
  overlay.apply({ ...made.edit, number: ++number })
  for (let index = 0; index < 40; index++) {
    const content = contentOf(`v${index}`)
    const { edit } = overlay.createFile(made.id, name(`f${index}`), { ...PLAIN, content })
    overlay.apply({ ...edit, number: ++number })
    if (index % 15 !== 7) continue
    const { coveredTo } = writer.fold(overlay.pending())
    const before = linesOf(overlay)
    writer.commit(new Map([['frontier', Buffer.from('x')]]))
    assert.deepEqual(linesOf(overlay), before)
    overlay.cover(coveredTo)
    assert.deepEqual(linesOf(overlay), before)
    assert.deepEqual(overlay.pending(), [])
  }
  overlay.cover(writer.fold(overlay.pending()).coveredTo)
  writer.commit(new Map())
  overlay.cover(0)
  const lines = linesOf(overlay)
  assert.equal(lines.length, 41)
  await first.close()
  const second = open()
  assert.equal(second.writer.coveredTo, number)
  assert.equal(second.writer.meta('frontier')?.toString(), 'x')
  assert.deepEqual(linesOf(second.overlay), lines)
  assert.equal(listAll(second.overlay, made.id).length, 40)
  assert.equal(second.overlay.fileCount, 40)
  await second.close()
})

test('an index of another format is refused, so that it is made anew from the log', () => {
  const a = alone()
  a.write('/f', '1')
  a.publish()
  const key = 'm\0format'
  assert.equal(a.rows.get(key)?.toString(), '1')
  for (const other of ['0', '2', undefined]) {
    a.rows.transaction((rows) => (other ? rows.put(key, Buffer.from(other)) : rows.remove(key)))
    const open = (): TreeWriter => {
      const self = { actor: 'ab' as ActorId, device: 'cd' as DeviceId, deviceName: 'laptop' }
      return new TreeWriter({ rows: a.rows, self, strategyOf: () => 'copies' })
    }
    assert.throws(open, { code: 'INDEX_CORRUPT' })
  }
})

test('no more is drawn for an id than it needs: a copied process draws others', () => {
  let drawn = 0
  const random = {
    bytes: (count: number): Uint8Array => {
      drawn += count
      return systemRandom.bytes(count)
    },
  }
  const overlay = new Overlay({
    rows: new MemoryRowStore(),
    random,
    tick: () => 1 as Hlc,
    nowNs: () => 1n,
    strategyOf: () => 'copies',
  })
  overlay.createFile(overlay.root, name('f'), PLAIN)
  assert.equal(drawn, 10)
})
