/**
 * Proves that a directory whose many names were just removed is removed and listed in a few steps:
 * what is not published yet leaves empty places, which must not be looked at two at a time.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

const COUNT = 3000

/** A device with a directory of published files, all of them removed again; counts row ranges. */
async function emptied() {
  const [device] = (await createWorld()) as [VfsDevice]
  const { nodeId } = await device.fs.mkdir(CONTEXT, ROOT, name('d'), 0o755)
  for (let index = 0; index < COUNT; index++) {
    await device.fs.mknod(CONTEXT, nodeId, name(`f${index}`), 0o100644, 0)
  }
  await device.drain()
  for (let index = 0; index < COUNT; index++) {
    await device.fs.unlink(CONTEXT, nodeId, name(`f${index}`))
  }
  const ranges = { count: 0 }
  const range = device.rows.range.bind(device.rows)
  device.rows.range = (...args) => {
    ranges.count++
    return range(...args)
  }
  return { device, nodeId, ranges }
}

test('removing the directory looks at no names', async () => {
  const { device, ranges } = await emptied()
  await device.fs.rmdir(CONTEXT, ROOT, name('d'))
  assert.ok(ranges.count <= 2, `${ranges.count} steps`)
  await device.drain()
  assert.deepEqual(await device.names(), [])
})

test('listing it takes a few steps', async () => {
  const { device, nodeId, ranges } = await emptied()
  assert.deepEqual(await device.names(nodeId), [])
  assert.ok(ranges.count <= 10, `${ranges.count} steps`)
})

test('a directory with one name left is not empty, wherever that is', async () => {
  const { device, nodeId } = await emptied()
  await device.put('last', 'x', nodeId)
  await assert.rejects(async () => device.fs.rmdir(CONTEXT, ROOT, name('d')), { code: 'NOT_EMPTY' })
  await device.drain()
  assert.deepEqual(await device.names(nodeId), ['last'])
  await device.fs.unlink(CONTEXT, nodeId, name('last'))
  await device.fs.rmdir(CONTEXT, ROOT, name('d'))
})
