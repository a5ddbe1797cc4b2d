/**
 * Proves punching, zeroing, seeking over holes and copying ranges on open files: what is read, what
 * a crash leaves, what is published and what takes space. Over real contents, so that holes are
 * holes.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { LocalContents } from '../../../src/chunks/content.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import type { Attr } from '../../../src/vfs/interface.ts'
import { createChunkKeys } from '../../helpers/chunks.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { shortened } from '../../helpers/vfs-dump.ts'
import { CONTEXT, createWorld, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

const KEEP = 1
const PUNCH = 3
const ZERO = 16
const KIB = 1024

class CountedContents extends LocalContents {
  buildCount = 0

  override build(options: Parameters<LocalContents['build']>[0]) {
    this.buildCount++
    return super.build(options)
  }
}

/** A device whose contents are real chunks in memory. */
async function createDevice(
  contents = new CountedContents({ store: new MemoryStore(), keys: createChunkKeys() }),
): Promise<VfsDevice> {
  const [device] = (await createWorld(1)) as [VfsDevice]
  device.storage = contents
  await device.crash()
  return device
}

function seek(device: VfsDevice, handle: number, offset: number, what: 'data' | 'hole') {
  return device.fs.seek?.(CONTEXT, handle, offset, what)
}

function copy(device: VfsDevice, from: number, to: number, length = 1 << 30, offset = 0) {
  const place = { handle: to, offset }
  return device.fs.copyRange?.(CONTEXT, { handle: from, offset: 0 }, place, length)
}

async function attrOf(device: VfsDevice, nodeId: number): Promise<Attr> {
  return device.fs.getattr(nodeId, undefined)
}

test('a punched range reads as zeros, takes no space, and stays so after publication', async () => {
  const device = await createDevice()
  const { nodeId, handle } = device.create(ROOT, 'f')
  await device.write(handle, 0, Buffer.alloc(512 * KIB, 'x'))
  await device.drain()
  assert.equal((await attrOf(device, nodeId)).blocks, 1024)
  await device.fs.fallocate(CONTEXT, handle, 128 * KIB, 256 * KIB, PUNCH)
  const expected = Buffer.alloc(512 * KIB, 'x').fill(0, 128 * KIB, 384 * KIB)
  for (const isPublished of [false, true]) {
    same(await device.read(handle), expected, `${isPublished}`)
    assert.equal(await seek(device, handle, 0, 'hole'), 128 * KIB)
    assert.equal(await seek(device, handle, 128 * KIB, 'data'), 384 * KIB)
    assert.equal(await seek(device, handle, 400 * KIB, 'hole'), 512 * KIB)
    assert.equal(await seek(device, handle, 512 * KIB, 'hole'), undefined)
    const { sizeBytes, blocks } = await attrOf(device, nodeId)
    assert.deepEqual([sizeBytes, blocks], [512 * KIB, 512])
    await device.drain()
  }
  device.close(handle)
})

test('zeroing may grow a file, keeping the size never does', async () => {
  const device = await createDevice()
  const { nodeId, handle } = device.create(ROOT, 'f')
  await device.write(handle, 0, 'abcdefgh')
  await device.fs.fallocate(CONTEXT, handle, 2, 100, ZERO | KEEP)
  assert.equal(await device.read(handle), 'ab\0\0\0\0\0\0')
  await device.fs.fallocate(CONTEXT, handle, 1, 9, ZERO)
  assert.equal((await attrOf(device, nodeId)).sizeBytes, 10)
  await device.write(handle, 4, 'x')
  assert.equal(await device.read(handle), 'a\0\0\0x\0\0\0\0\0')
  await device.clock.run(100)
  await device.crash()
  assert.equal(await device.cat('f'), 'a\0\0\0x\0\0\0\0\0')
})

test('random writes, holes, cuts, publications and crashes equal a Buffer', async () => {
  for (const seed of [1, 2, 3]) {
    const device = await createDevice()
    const random = new SeededRandom(seed)
    let { handle } = device.create(ROOT, 'f')
    let model = Buffer.alloc(0)
    for (let step = 0; step < 150; step++) {
      const label = `seed ${seed} step ${step}`
      const kind = random.below(12)
      const offset = random.below(300 * KIB)
      const length = 1 + random.below(150 * KIB)
      if (kind < 4) {
        const bytes = Buffer.alloc(length, 97 + random.below(26))
        await device.write(handle, offset, bytes)
        model = Buffer.concat([model], Math.max(model.length, offset + length))
        model.set(bytes, offset)
      } else if (kind < 7) {
        const mode = [PUNCH, ZERO, ZERO | KEEP][random.below(3)] as number
        await device.fs.fallocate(CONTEXT, handle, offset, length, mode)
        if (mode === ZERO) model = Buffer.concat([model], Math.max(model.length, offset + length))
        model.fill(0, Math.min(offset, model.length), Math.min(offset + length, model.length))
      } else if (kind < 8) {
        const nodeId = device.find('f')?.nodeId ?? 0
        await device.fs.setattr(CONTEXT, nodeId, { sizeBytes: offset }, undefined)
        model = Buffer.concat([model.subarray(0, offset)], offset)
      } else if (kind < 9) {
        await device.clock.run(random.below(6000))
      } else if (kind < 10) {
        await device.drain()
      } else if (kind < 11) {
        await device.clock.run(100)
        await device.crash()
        handle = device.open(device.find('f')?.nodeId ?? 0)
      }
      same(await device.read(handle), model, label)
      await checkHoles(device, handle, model, label)
    }
    device.close(handle)
    await device.drain()
    await device.crash()
    same(await device.cat('f'), model, `seed ${seed}`)
    assert.deepEqual(device.problems, [])
  }
})

/** Long texts are compared without being printed. */
function same(text: string | undefined, model: Buffer, label = ''): void {
  assert.equal(
    text === undefined ? text : shortened(text),
    shortened(model.toString('latin1')),
    label,
  )
}

async function checkHoles(
  device: VfsDevice,
  handle: number,
  model: Buffer,
  label: string,
): Promise<void> {
  for (let at = 0; at < model.length;) {
    const hole = (await seek(device, handle, at, 'hole')) ?? assert.fail(label)
    const data = (await seek(device, handle, hole, 'data')) ?? model.length
    assert.ok(hole >= at && data >= hole, label)
    assert.ok(
      model.subarray(hole, data).every((byte) => byte === 0),
      `${label}: hole ${hole} to ${data}`,
    )
    at = data
  }
}

test('a whole file copied into an empty one shares its content, and survives a crash', async () => {
  const contents = new CountedContents({ store: new MemoryStore(), keys: createChunkKeys() })
  const device = await createDevice(contents)
  const bytes = Buffer.alloc(300 * KIB, 'abc')
  await device.put('from', bytes.toString('latin1'))
  await device.drain()
  const from = device.open(device.find('from')?.nodeId ?? 0, 0)
  const { nodeId, handle } = device.create(ROOT, 'to')
  const before = contents.buildCount
  assert.equal(await copy(device, from, handle), bytes.length)
  assert.equal((await attrOf(device, nodeId)).sizeBytes, bytes.length)
  await device.clock.run(100)
  await device.crash()
  same(await device.cat('to'), bytes)
  await device.drain()
  assert.equal(contents.buildCount, before, 'nothing was split again')
  same(await device.cat('to'), bytes)
  assert.deepEqual(device.problems, [])
})

test('parts, unpublished bytes and holes are copied as they are', async () => {
  const device = await createDevice()
  const { handle: from } = device.create(ROOT, 'from')
  await device.write(from, 200 * KIB, Buffer.alloc(100 * KIB, 'd'))
  const { handle } = device.create(ROOT, 'to')
  await device.write(handle, 0, Buffer.alloc(400 * KIB, 'o'))
  assert.equal(await copy(device, from, handle, 250 * KIB, 1000), 250 * KIB)
  const model = Buffer.alloc(400 * KIB, 'o')
  model.fill(0, 1000, 1000 + 200 * KIB).fill('d', 1000 + 200 * KIB, 1000 + 250 * KIB)
  same(await device.read(handle), model)
  assert.equal(await seek(device, handle, 1000, 'hole'), 1000)
  assert.equal(await seek(device, handle, 1000, 'data'), 1000 + 200 * KIB)
  const { nodeId, handle: end } = device.create(ROOT, 'end')
  assert.equal(await copy(device, from, end), 300 * KIB)
  assert.equal((await attrOf(device, nodeId)).sizeBytes, 300 * KIB)
  assert.equal(await copy(device, from, end, 0), 0)
  const reader = device.open(nodeId, 0)
  await assert.rejects(async () => copy(device, from, reader), { code: 'BAD_HANDLE' })
})
