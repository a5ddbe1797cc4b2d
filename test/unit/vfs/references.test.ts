/**
 * Proves that the file system names every content that only it knows (open files, detached nodes,
 * unpublished edits), that work which makes contents is waited for, and that what the journal would
 * bring back is among them. Real tree and file system on memory ports, simulated time.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

/** What the contents named now hold. */
async function named(device: VfsDevice): Promise<string[]> {
  const refs = await device.vfs.references()
  const texts = refs.map((ref) => {
    return ref.type === 'empty' ? '' : String(device.contents.stored.get(ref.address))
  })
  return [...new Set(texts)].filter((text) => text !== '').sort()
}

async function save(device: VfsDevice, entry: string, text: string): Promise<number> {
  const { nodeId, handle } = device.create(ROOT, entry)
  await device.write(handle, 0, text)
  device.close(handle)
  return nodeId
}

test('unpublished edits and open files name contents, published closed ones none', async () => {
  const [alice] = (await createWorld(1)) as [VfsDevice]
  let open = (): void => undefined
  alice.submitGate = new Promise((resolve) => (open = resolve))
  const nodeId = await save(alice, 'f', 'first')
  await alice.clock.run(100)
  assert.deepEqual(await named(alice), ['first'], 'pending')
  assert.equal(alice.journal.syncedTo, alice.journal.nextNumber - 1, 'the journal is durable')
  open()
  await alice.drain()
  assert.deepEqual(await named(alice), [])
  const handle = alice.open(nodeId)
  assert.deepEqual(await named(alice), ['first'], 'open')
  await alice.write(handle, 0, 'SECOND')
  assert.deepEqual(await named(alice), ['first'], 'the base of what is written')
  alice.close(handle)
  await alice.drain()
  assert.deepEqual(await named(alice), [])
})

test('a file that is open here keeps the version that others replaced or removed', async () => {
  const [alice, bob] = (await createWorld(2)) as [VfsDevice, VfsDevice]
  const nodeId = await save(alice, 'f', 'first')
  await alice.drain()
  await bob.receive(alice)
  const handle = alice.open(nodeId)
  const there = bob.lookup(ROOT, 'f')
  const other = bob.open(there?.nodeId as number)
  await bob.write(other, 0, 'other')
  bob.close(other)
  await bob.drain()
  await alice.receive(bob)
  assert.deepEqual(await named(alice), ['first'])
  await bob.fs.unlink(CONTEXT, ROOT, name('f'))
  await bob.drain()
  await alice.receive(bob)
  assert.deepEqual(await named(alice), ['first'])
  alice.close(handle)
  alice.fs.forget(nodeId, 1)
  assert.deepEqual(await named(alice), [])
})

test('contents under way are waited for, later ones are not', async () => {
  const [alice] = (await createWorld(1)) as [VfsDevice]
  let isOver = false
  let give = (): void => undefined
  const given = new Promise<void>((resolve) => (give = resolve))
  async function* slowly(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('slow')
    await given
  }
  const writing = alice.vfs.paths.writeFile('/slow', slowly())
  await alice.clock.run(10)
  const held = alice.vfs.held().then(() => (isOver = true))
  await alice.clock.run(1000)
  assert.equal(isOver, false)
  await save(alice, 'other', 'other')
  const second = alice.vfs.held()
  give()
  await alice.clock.settle(writing, 5000)
  await alice.clock.settle(held, 5000)
  assert.equal(isOver, true)
  await alice.clock.settle(second, 5000)
})
