/**
 * Proves that a replaced version stays in the history for the days its folder grants, counted from
 * the write that replaced it, and then goes; that a policy changed meanwhile counts; and that what
 * is looked at is what is due. One device of the model, whose clock is moved by days.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HistoryDaysOf } from '../../../src/crdt/retention.ts'
import type { Hlc, InodeId } from '../../../src/types.ts'
import { textOf, World, type Device } from '../../model/crdt/world.ts'

const DAY_MS = 86_400_000

/** Policies in these tests are the number of days. */
const daysOf: HistoryDaysOf = (policies) => Number(policies[0] ?? 30)

function alone(): Device {
  return new World({ seed: 3, deviceCount: 1 }).devices[0] as Device
}

/** Lets days pass and forgets what is due; returns whether there was more to do. */
function pass(device: Device, days: number): boolean {
  device.world.nowMs += days * DAY_MS
  const now = (device.world.nowMs * 1000) as Hlc
  const isMore = device.writer.forgetHistory({ now, daysOf })
  device.writer.commit(new Map())
  device.overlay.cover(0)
  return isMore
}

function policiesOf(device: Device, id: InodeId): string[] {
  return device.overlay.policies(id).map(({ policy }) => policy)
}

function texts(device: Device, path: string): string[] {
  return device.overlay
    .history(device.place(path))
    .map(({ content }) => (content.kind === 'file' ? textOf(content.ref) : ''))
    .sort()
}

test('a version leaves the history 30 days after it was replaced, whatever its own age', () => {
  const device = alone()
  device.write('/f', 'first')
  device.publish()
  pass(device, 100)
  device.write('/f', 'second')
  device.publish()
  assert.deepEqual(texts(device, '/f'), ['first', 'second'])
  pass(device, 2)
  pass(device, 27)
  assert.deepEqual(texts(device, '/f'), ['first', 'second'])
  pass(device, 2)
  assert.deepEqual(texts(device, '/f'), ['second'])
  assert.deepEqual(device.shown(), ['/f=second'])
})

test('the folder decides, also one that changes its mind, also for what was deleted in it', () => {
  const device = alone()
  device.mkdir('/long')
  device.mkdir('/short')
  device.setPolicy('/long', '365')
  device.setPolicy('/short', '2')
  for (const path of ['/long/f', '/short/f', '/long/gone']) {
    device.write(path, 'one')
    device.publish()
    device.write(path, 'two')
    device.publish()
  }
  device.unlink('/long/gone')
  device.publish()
  pass(device, 3)
  assert.deepEqual(texts(device, '/short/f'), ['two'])
  assert.deepEqual(texts(device, '/long/f'), ['one', 'two'])
  pass(device, 300)
  assert.deepEqual(texts(device, '/long/gone'), ['one', 'two'])
  device.setPolicy('/long', '1000')
  device.publish()
  pass(device, 100)
  assert.deepEqual(texts(device, '/long/f'), ['one', 'two'])
  pass(device, 600)
  assert.deepEqual(texts(device, '/long/f'), ['two'])
})

test('what is deleted with its folder is still ruled by what lies above', () => {
  const device = alone()
  device.setPolicy('/', '365')
  device.mkdir('/a')
  device.mkdir('/a/b')
  device.write('/a/b/f', 'one')
  device.publish()
  device.write('/a/b/f', 'two')
  device.publish()
  const [file, directory] = [device.id('/a/b/f'), device.id('/a/b')]
  device.unlink('/a/b/f')
  device.rmdir('/a/b')
  device.rmdir('/a')
  assert.deepEqual(policiesOf(device, file), ['365'], 'not published yet')
  device.publish()
  for (const id of [file, directory]) assert.deepEqual(policiesOf(device, id), ['365'])
  pass(device, 300)
  assert.equal(device.overlay.history({ inode: file }).length, 2)
  pass(device, 100)
  assert.equal(device.overlay.history({ inode: file }).length, 1, 'the one it was deleted with')
})

test('folders that were moved into each other and deleted are no endless way up', () => {
  const { devices } = new World({ seed: 3, deviceCount: 2 })
  const [alice, bob] = devices as [Device, Device]
  alice.mkdir('/a')
  alice.mkdir('/b')
  alice.write('/b/f', 'one')
  alice.setPolicy('/b', '7')
  alice.publish()
  bob.receive(0)
  const [file, a, b] = [alice.id('/b/f'), alice.id('/a'), alice.id('/b')]
  alice.rename('/a', '/b/a')
  bob.rename('/b', '/a/b')
  alice.rmdir('/b/a')
  alice.publish()
  bob.unlink('/a/b/f')
  bob.rmdir('/a/b')
  bob.publish()
  alice.receive(1)
  assert.deepEqual(alice.shown(), [])
  for (const id of [file, a, b]) assert.deepEqual(policiesOf(alice, id), ['7'], id)
})

test('each version counts from the write that replaced it', () => {
  const device = alone()
  for (const text of ['a', 'b', 'c']) {
    device.write('/f', text)
    device.publish()
    pass(device, 20)
  }
  assert.deepEqual(texts(device, '/f'), ['b', 'c'], 'a was replaced 40 days ago, b 20')
  pass(device, 11)
  assert.deepEqual(texts(device, '/f'), ['c'])
})

test('much that is due goes in portions, and what is not due is not read', () => {
  const device = alone()
  for (let index = 0; index <= 1200; index++) {
    device.write('/f', `v${index}`)
    device.publish()
  }
  assert.equal(texts(device, '/f').length, 1201)
  assert.equal(pass(device, 0.5), false)
  assert.equal(pass(device, 31), true, 'the first thousand')
  assert.equal(texts(device, '/f').length, 201)
  assert.equal(pass(device, 0), false)
  assert.deepEqual(texts(device, '/f'), ['v1200'])
  const left = device.rows.reader().range('r')
  assert.deepEqual(left, [], 'nothing waits for ever')
})

test('the newest replaced versions stay for as long as the file does', () => {
  const device = alone()
  const forget = (days: number, versions: number): void => {
    device.world.nowMs += days * DAY_MS
    const now = (device.world.nowMs * 1000) as Hlc
    device.writer.forgetHistory({ now, daysOf, versionsOf: () => versions })
    device.writer.commit(new Map())
    device.overlay.cover(0)
  }
  for (const text of ['a', 'b', 'c', 'd']) {
    device.write('/f', text)
    device.publish()
    device.world.nowMs += DAY_MS
  }
  forget(100, 2)
  assert.deepEqual(texts(device, '/f'), ['b', 'c', 'd'])
  // They move on with what replaces them: looked at again within a week.
  device.write('/f', 'e')
  device.publish()
  forget(8, 2)
  assert.deepEqual(texts(device, '/f'), ['c', 'd', 'e'])
  forget(31, 2)
  assert.deepEqual(texts(device, '/f'), ['c', 'd', 'e'])
  forget(8, 1)
  assert.deepEqual(texts(device, '/f'), ['d', 'e'])
  device.unlink('/f')
  device.publish()
  forget(31, 1)
  assert.deepEqual(device.rows.reader().range('h'), [], 'what is deleted goes after its days')
  assert.deepEqual(device.rows.reader().range('r'), [], 'nothing waits for ever')
})
