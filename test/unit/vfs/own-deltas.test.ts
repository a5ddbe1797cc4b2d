/**
 * Proves what publishing own edits costs the thread that serves: no look at the tree for names and
 * versions that the kernel knows, and few edits applied a second time; and that a change behind the
 * kernel's back is told all the same.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

const COUNT = 200

/** Counts calls of a method from now on. */
function counting<Key extends string>(of: Record<Key, (...args: never[]) => unknown>, key: Key) {
  const counted = { count: 0 }
  const method = of[key]
  of[key] = function (this: unknown, ...args: never[]) {
    counted.count++
    return method.apply(of, args)
  }
  return counted
}

test('publishing new files and their contents asks the tree for no name', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  const files = Array.from({ length: COUNT }, (_, index) => device.create(ROOT, `f${index}`))
  const lookups = counting(device.overlay, 'lookup')
  // The names first, then the contents: two publications.
  await device.clock.settle(device.vfs.submitPending(), 10_000)
  for (const { handle } of files) {
    await device.write(handle, 0, 'x')
    device.close(handle)
  }
  await device.drain()
  assert.equal(device.vfs.pendingEdits, 0)
  assert.equal(lookups.count, 0)
  assert.deepEqual(device.notifier.notes, [])
  const views = counting(device.overlay, 'node')
  for (const { nodeId } of files) {
    assert.equal((await device.fs.getattr(nodeId, undefined)).sizeBytes, 1)
  }
  assert.equal(views.count, 0, 'and what was written is looked at without a row')
})

test('publishing a content asks for its file no more than writing does', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  for (let index = 0; index < COUNT; index++) await device.put(`f${index}`, 'one')
  await device.drain()
  for (let index = 0; index < COUNT; index++) await device.put(`f${index}`, 'two')
  // What builds and names the contents may ask; the delta, which comes after it, may not.
  const views: number[] = []
  const nodes = counting(device.overlay, 'node')
  const apply = device.vfs.applyDelta.bind(device.vfs)
  device.vfs.applyDelta = (...args) => {
    const before = nodes.count
    apply(...args)
    views.push(nodes.count - before)
  }
  await device.drain()
  assert.ok(views.length > 0)
  // The directory has another time.
  assert.ok(Math.max(...views) <= 2, `${Math.max(...views)} looks`)
  assert.deepEqual(device.notifier.notes, [])
})

test('an edit that no request asked for is told to the kernel', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  await device.put('f', 'one')
  await device.drain()
  device.notifier.notes.length = 0
  const done = device.vfs.perform(() => device.overlay.unlink(device.overlay.root, name('f')))
  await device.clock.settle(done, 10_000)
  assert.deepEqual(device.notifier.notes, [`entry ${ROOT} f`])
  assert.equal(device.lookup(ROOT, 'f'), undefined)
})

test('such an edit shows whole before it is in the log', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  const { overlay, vfs, notifier } = device
  await device.put('f', 'first')
  await device.drain()
  const { inode } = vfs.paths.stat('/f')
  const old = overlay.history({ inode })[0]?.content
  assert.ok(old?.kind === 'file')
  await device.put('f', 'the second')
  await device.drain()
  const { nodeId } = device.find('f') ?? assert.fail('no f')
  notifier.notes.length = 0
  const { ref, sizeBytes, mtimeNs } = old
  await vfs.commit(() => overlay.setContent(inode, { ref, sizeBytes, mtimeNs, isNamed: true }))
  assert.equal((await device.fs.getattr(nodeId, undefined)).sizeBytes, sizeBytes)
  assert.equal(await device.cat('f'), 'first')
  assert.deepEqual(notifier.notes, [`inode ${nodeId}`])
  await device.drain()
  assert.deepEqual(notifier.notes, [`inode ${nodeId}`], 'and is told once')
})

test('while a burst is published, few edits are applied a second time', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  const total = 20_000
  for (let index = 0; index < total; index++) {
    void device.fs.mknod(CONTEXT, ROOT, name(`f${index}`), 0o010644, 0)
  }
  let again = 0
  const cover = device.overlay.cover.bind(device.overlay)
  device.overlay.cover = (upTo) => {
    cover(upTo)
    again += device.overlay.pending().length
  }
  await device.drain()
  assert.equal(device.overlay.pending().length, 0)
  assert.ok(again <= total / 2, `${again} of ${total}`)
  assert.equal((await device.names()).length, total)
})
