/**
 * Proves that an open file reads as a plain buffer would, through writes, truncations, snapshots
 * and built contents, and that a snapshot builds the state at its time. Contents are in memory.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { InodeId } from '../../../src/types.ts'
import { buildSnapshot, EMPTY_BASE, OpenFile } from '../../../src/vfs/open-file.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { MemoryContents } from '../../helpers/vfs-ports.ts'

function createFile(): OpenFile {
  const inode = 'AAAAAAAAAAAAAAAA' as InodeId
  return new OpenFile({
    nodeId: 2,
    inode,
    base: EMPTY_BASE,
    ops: [],
    version: 'v',
    mtimeNs: 0n,
  })
}

async function readAll(file: OpenFile, contents: MemoryContents): Promise<Buffer> {
  return Buffer.concat(await file.read(contents, 0, file.sizeBytes + 10))
}

test('random writes, truncations and builds equal a buffer', async () => {
  const seed = 4711
  const random = new SeededRandom(seed)
  const contents = new MemoryContents()
  const file = createFile()
  let model = Buffer.alloc(0)
  for (let step = 0; step < 800; step++) {
    contents.isRemote = random.below(2) === 0
    const kind = random.below(10)
    if (kind < 6) {
      const offset = random.below(3000)
      const bytes = Buffer.from(random.bytes(1 + random.below(300)))
      file.write(offset, bytes, BigInt(step))
      const size = Math.max(model.length, offset + bytes.length)
      model = Buffer.concat([model], size)
      model.set(bytes, offset)
    } else if (kind < 8) {
      const size = random.below(3500)
      file.truncate(size, BigInt(step))
      model = Buffer.concat([model.subarray(0, size)], size)
    } else {
      const snapshot = file.freeze()
      const expected = Buffer.from(model)
      const changesMeanwhile = random.below(2) === 0
      if (changesMeanwhile) {
        const size = random.below(3500)
        file.truncate(size, BigInt(step))
        model = Buffer.concat([model.subarray(0, size)], size)
        file.write(10, Buffer.from('meanwhile'), BigInt(step))
        model = Buffer.concat([model], Math.max(19, model.length))
        model.write('meanwhile', 10)
      }
      const built = await buildSnapshot(contents, snapshot)
      assert.deepEqual(contents.bytesOf(built), expected, `seed ${seed} step ${step}`)
      file.settle(built, true)
      assert.equal(file.isDirty, changesMeanwhile)
    }
    assert.deepEqual(await readAll(file, contents), model, `seed ${seed} step ${step}`)
  }
})

test('a shrunk and grown file reads zeros where it was cut', async () => {
  const contents = new MemoryContents()
  const file = createFile()
  file.write(0, Buffer.alloc(1000, 'x'), 1n)
  file.settle(await buildSnapshot(contents, (file.freeze(), file.thaw(), file.freeze())), true)
  file.truncate(10, 2n)
  file.truncate(1000, 3n)
  const expected = Buffer.alloc(1000)
  expected.fill('x', 0, 10)
  assert.deepEqual(await readAll(file, contents), expected)
  const built = await buildSnapshot(contents, file.freeze())
  assert.deepEqual(contents.bytesOf(built), expected)
})

test('a snapshot that is given up leaves everything dirty', async () => {
  const contents = new MemoryContents()
  const file = createFile()
  file.write(0, Buffer.from('one'), 1n)
  file.freeze()
  file.thaw()
  assert.equal(file.isDirty, true)
  assert.equal((await readAll(file, contents)).toString(), 'one')
})

test('files end at 2^53 - 1', () => {
  const file = createFile()
  const code = { code: 'FILE_TOO_LARGE' }
  assert.throws(() => file.write(Number.MAX_SAFE_INTEGER, Buffer.from('x'), 0n), code)
  assert.throws(() => file.truncate(Number.MAX_SAFE_INTEGER + 1, 0n), code)
})
