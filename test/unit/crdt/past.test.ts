/**
 * Proves what is known of deleted names, and that bringing them back holds on every device, keeps
 * history and attributes, and loses nothing that others did meanwhile.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Hlc } from '../../../src/types.ts'
import { settled, story } from '../../model/crdt/story.ts'
import type { Device } from '../../model/crdt/world.ts'

/** Brings back the newest deleted thing of a name. */
function undelete(device: Device, path: string): void {
  const place = device.place(path)
  const entry = device.overlay.deletedNames(place.parent).find(({ name }) => name === place.name)
  assert.ok(entry, `${path} was deleted`)
  device.do(device.overlay.undelete(entry.record, place))
}

test('a deleted tree is known and comes back with its inodes', () => {
  const { world } = story(
    2,
    (a) => {
      a.mkdir('/d')
      a.mkdir('/d/e')
      a.write('/d/e/f', 'one')
      a.write('/d/g', 'two')
    },
    [],
  )
  const [a, b] = world.devices as [Device, Device]
  const inode = a.id('/d/e/f')
  a.unlink('/d/e/f')
  a.rmdir('/d/e')
  a.unlink('/d/g')
  a.rmdir('/d')
  assert.deepEqual(settled(world), [])
  undelete(b, '/d')
  undelete(b, '/d/e')
  undelete(b, '/d/e/f')
  assert.deepEqual(settled(world), ['/d/', '/d/e/', '/d/e/f=one'])
  assert.equal(a.id('/d/e/f'), inode)
  assert.deepEqual(
    a.overlay.deletedNames(a.id('/d')).map(({ name, kind }) => [name, kind]),
    [['g', 'file']],
  )
})

test('what was renamed is not deleted, and a name with a new owner is not given back', () => {
  const { world } = story(
    1,
    (a) => {
      a.write('/f', 'one')
      a.write('/g', 'two')
    },
    [],
  )
  const [a] = world.devices as [Device]
  a.rename('/f', '/h')
  assert.deepEqual(a.overlay.deletedNames(a.overlay.root), [])
  a.unlink('/g')
  a.write('/g', 'new')
  assert.throws(() => undelete(a, '/g'), { code: 'ALREADY_EXISTS' })
  const [entry] = a.overlay.deletedNames(a.overlay.root)
  assert.ok(entry)
  a.do(a.overlay.undelete(entry.record, a.place('/g2')))
  assert.throws(() => a.overlay.undelete(entry.record, a.place('/g3')), { code: 'ALREADY_EXISTS' })
  assert.deepEqual(settled(world), ['/g2=two', '/g=new', '/h=one'])
})

test('a version as of a time', () => {
  const { world } = story(1, (a) => a.write('/f', 'one'), [])
  const [a] = world.devices as [Device]
  const first = a.overlay.node(a.id('/f'))!.content.hlc
  world.nowMs += 1000
  a.write('/f', 'two!')
  a.publish()
  const size = (at: number): number | undefined => {
    const content = a.overlay.versionAt(a.id('/f'), at as Hlc)?.content
    return content?.kind === 'file' ? content.sizeBytes : undefined
  }
  assert.deepEqual([first - 1, first, first + 999_000, first + 2_000_000].map(size), [
    undefined,
    ...[3, 3, 4],
  ])
})

test('brought back on one device, made anew on another: both are there', () => {
  const { world } = story(2, (a) => a.write('/f', 'old'), [])
  const [a, b] = world.devices as [Device, Device]
  a.unlink('/f')
  settled(world)
  undelete(a, '/f')
  world.nowMs += 1000
  b.write('/f', 'new one')
  assert.equal(settled(world).length, 2)
})

test('brought back while another device removes it again: it is back', () => {
  const { world } = story(2, (a) => a.write('/f', 'old'), [])
  const [a, b] = world.devices as [Device, Device]
  a.unlink('/f')
  settled(world)
  undelete(a, '/f')
  settled(world)
  b.unlink('/f')
  assert.deepEqual(settled(world), [])
  undelete(b, '/f')
  assert.deepEqual(settled(world), ['/f=old'])
})
