/**
 * Proves that an archive gives back the very changes that went in, concurrent ones and saved
 * documents included, in few bytes; and that one which was cut, changed or made up is refused and
 * leaves the index as it was.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { ByteReader, ByteWriter } from '../../../src/bytes.ts'
import { ArchiveReader, ArchiveWriter } from '../../../src/crdt/archive.ts'
import { decodeChange, encodeChange } from '../../../src/crdt/change.ts'
import { newInodeId } from '../../../src/crdt/ids.ts'
import { encodeRegister } from '../../../src/crdt/registers.ts'
import { exportTree, importTree } from '../../../src/crdt/snapshot.ts'
import type { ActorId, ChunkAddress, FileName, Hlc } from '../../../src/types.ts'
import { Dice, snapshotOf, World } from '../../model/crdt/world.ts'

const NO_META = new Map<string, Uint8Array>()

/** Two devices that edited the same things apart. */
function twoDevices(): World {
  const world = new World({ seed: 1, deviceCount: 2 })
  const [first, second] = world.devices as [World['devices'][0], World['devices'][0]]
  first.mkdir('/d')
  first.write('/d/a', 'one')
  world.settle()
  first.write('/d/a', 'two')
  first.rename('/d', '/e')
  second.write('/d/a', 'three')
  second.link('/d/a', '/b')
  world.settle()
  return world
}

test('changes come back with their bytes', () => {
  const world = twoDevices()
  const [device] = world.devices as [World['devices'][0]]
  const told = new Set<string>()
  for (const feed of world.feeds) {
    for (const { changes } of feed) {
      for (const { shard, change } of changes) {
        told.add(`${shard} ${Buffer.from(change).toString('hex')}`)
      }
    }
  }
  const found = new Set<string>()
  for (const { shard, bytes, change } of importTree(snapshotOf(device)).changes) {
    found.add(`${shard} ${Buffer.from(bytes).toString('hex')}`)
    assert.deepEqual(decodeChange(Uint8Array.from(bytes)), change)
  }
  assert.deepEqual(found, told)
})

test('a stamp far from the one before is told in full', () => {
  const dice = new Dice(3)
  const actor = 'ab'.repeat(16) as ActorId
  const far = [0, 2 ** 53 - 1, 1, 2 ** 52] as Hlc[]
  const ops = far.map((hlc) => {
    const id = newInodeId('file', 5, dice)
    const ref = { type: 'manifest', address: 'cd'.repeat(32) as ChunkAddress } as const
    const content = { kind: 'file', ref, sizeBytes: 7, mtimeNs: -(2n ** 62n), hlc } as const
    const value = encodeRegister('C', { ...content, baseHlc: 0 as Hlc })
    return { key: `C${id}`, value, predecessors: [] }
  })
  ops.sort((a, b) => (a.key < b.key ? -1 : 1))
  const { bytes } = encodeChange({ actor, seq: 1, startOp: 1, deps: [], ops })
  const writer = new ArchiveWriter([actor])
  assert.equal(writer.add(5, decodeChange(bytes)), undefined)
  const [only] = [...new ArchiveReader([actor]).read(writer.finish() as Buffer)]
  assert.deepEqual(only?.bytes, bytes)
  assert.equal(writer.finish(), undefined)
})

test('a file with a chunk costs less than 70 bytes', () => {
  const world = new World({ seed: 2, deviceCount: 1 })
  const [device] = world.devices as [World['devices'][0]]
  const count = 2000
  for (let index = 0; index < count; index++) {
    const address = Buffer.from(world.dice.bytes(32)).toString('hex') as ChunkAddress
    const content = { ref: { type: 'chunk', address } as const, sizeBytes: 1000 + index }
    const name = `document-${index}.txt` as FileName
    const created = device.overlay.createFile(device.overlay.root, name, {
      mode: 0o644,
      uid: 0,
      gid: 0,
      content,
    })
    device.do(created)
    if (index % 10 === 9) device.publish()
  }
  const bytes = snapshotOf(device).reduce((sum, part) => sum + part.length, 0)
  assert.ok(bytes / count < 70, `${bytes / count} bytes per file`)
})

test('an export sees the index as it was when it began', () => {
  const world = twoDevices()
  const [device] = world.devices as [World['devices'][0]]
  const frozen = device.rows.freeze()
  const parts: Buffer[] = []
  let step = 0
  for (const part of exportTree(frozen)) {
    if (part) parts.push(part)
    device.write(`/later-${step++}`, 'later')
    device.publish()
  }
  frozen.release()
  const newcomer = new World({ seed: 9, deviceCount: 1 }).devices[0] as World['devices'][0]
  newcomer.load(parts, [1])
  assert.deepEqual(
    newcomer.lines(),
    ['/b=three', '/e/', '/e/a (conflict 2026-09-21 14.13.20 device0)=two', '/e/a=three'].sort(),
  )
})

/** A part with one of its columns changed. */
function withColumn(part: Buffer, column: number, change: (bytes: Buffer) => Uint8Array): Buffer {
  const reader = new ByteReader(part)
  const version = reader.u8()
  const lengths = Array.from({ length: 11 }, () => reader.varint())
  const plain = inflateRawSync(reader.bytes())
  const raw = reader.raw(reader.left)
  let at = 0
  const columns: Uint8Array[] = lengths.map((length) => plain.subarray(at, (at += length)))
  columns[column] = change(Buffer.from(columns[column] as Buffer))
  const writer = new ByteWriter().u8(version)
  for (const bytes of columns) writer.varint(bytes.length)
  return writer
    .bytes(deflateRawSync(Buffer.concat(columns)))
    .raw(raw)
    .finish()
}

test('what no honest device writes is refused, and the index stays as it was', () => {
  const world = twoDevices()
  const [device, other] = world.devices as [World['devices'][0], World['devices'][0]]
  const [actors, part] = snapshotOf(device) as [Buffer, Buffer]
  const before = other.lines()
  const hostile: Record<string, Buffer[]> = {
    nothing: [],
    'no actors': [part],
    'cut actors': [actors.subarray(0, 20), part],
    'another version': [actors, Buffer.concat([Buffer.from([9]), part.subarray(1)])],
    'cut part': [actors, part.subarray(0, part.length - 1)],
    'trailing byte': [actors, Buffer.concat([part, Buffer.alloc(1)])],
    'the same part twice': [actors, part, part],
    'an unknown actor': [actors, withColumn(part, 0, (bytes) => bytes.fill(0x7f, 2, 3))],
    'a shard too far': [actors, withColumn(part, 0, (bytes) => bytes.fill(0xff, 1, 2))],
    'a value of another kind': [actors, withColumn(part, 5, (bytes) => bytes.fill(0x3f))],
    'a name that is none': [
      actors,
      withColumn(part, 8, (bytes) =>
        Buffer.from(bytes.toString('latin1').replace('a', '/'), 'latin1'),
      ),
    ],
    'names missing': [actors, withColumn(part, 8, (bytes) => bytes.subarray(0, 3))],
  }
  for (const [what, parts] of Object.entries(hostile)) {
    assert.throws(
      () => other.writer.load(importTree(parts), NO_META),
      { code: 'SNAPSHOT_INVALID' },
      what,
    )
    assert.deepEqual(other.lines(), before, what)
  }
  other.check()
  other.write('/goes-on', 'yes')
  other.publish()
  other.check()
})
