/**
 * Proves the rules of conflict copies, hidden twins and orphans (src/crdt/README.md, rules 4 to 10)
 * on short stories. As in scenarios.test.ts, every device and a newcomer must show the same.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newInodeId } from '../../../src/crdt/ids.ts'
import { encodeRegister } from '../../../src/crdt/registers.ts'
import { settled, story } from '../../model/crdt/story.ts'
import { contentOf, name, PLAIN, textOf, World, type Device } from '../../model/crdt/world.ts'

const NOTHING = (): void => undefined

/** The texts of what a device has yet to fetch. */
function wantedBy({ writer }: Device): string[] {
  return writer
    .wants({ countMax: 9 })
    .map(({ ref }) => textOf(ref))
    .sort()
}

test('five concurrent versions: one keeps the name, four are copies; keep all', () => {
  const parts = ['a', 'b', 'c', 'd', 'e'].map((text) => (device: Device) => {
    device.write('/r.doc', text)
  })
  const { lines, world } = story(5, (a) => a.write('/r.doc', '0'), parts)
  assert.equal(lines.length, 5)
  assert.deepEqual(lines.map((line) => line.split('=')[1]).sort(), ['a', 'b', 'c', 'd', 'e'])
  assert.ok(lines.includes('/r.doc=e'))
  const { conflicts } = world.devices[2]!.overlay.conflicts({ countMax: 10 })
  assert.equal(conflicts.length, 1)
  assert.equal(conflicts[0]!.kind, 'content')
  assert.equal(conflicts[0]!.versions.length, 5)
  world.devices[1]!.resolve('/r.doc', 'both')
  const names = settled(world)
  assert.deepEqual(names, lines)
  assert.deepEqual(world.devices[3]!.overlay.conflicts({ countMax: 10 }).conflicts, [])
  world.devices[4]!.unlink('/r.doc')
  assert.deepEqual(
    settled(world),
    lines.filter((line) => !line.startsWith('/r.doc=')),
  )
})

test('editing, deleting and renaming a conflict copy leave the other versions alone', () => {
  const { world, lines } = story(3, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
    (c) => c.write('/r', 'c'),
  ])
  const copyOf = (text: string): string =>
    lines.find((line) => line.endsWith(`=${text}`))!.slice(0, -2)
  world.devices[0]!.write(copyOf('a'), 'A')
  world.devices[0]!.unlink(copyOf('b'))
  const after = settled(world)
  assert.deepEqual(after.map((line) => line.split('=')[1]).sort(), ['A', 'c'])
  assert.ok(after.includes('/r=c'))
})

test('both devices touch the same copy concurrently: no new conflict', () => {
  const { world, lines } = story(2, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
  ])
  const copy = lines.find((line) => line.endsWith('=a'))!.slice(0, -2)
  world.devices[0]!.rename(copy, '/mine')
  world.devices[1]!.write('/r', 'c')
  const after = settled(world)
  const texts = after.map((line) => line.split('=')[1]).sort()
  assert.ok(texts.includes('a') && texts.includes('c'))
})

test('deleting a file that has conflict copies leaves the copies', () => {
  const { world, lines } = story(3, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
    (c) => c.write('/r', 'c'),
  ])
  world.devices[1]!.unlink('/r')
  assert.deepEqual(
    settled(world),
    lines.filter((line) => !line.startsWith('/r=')),
  )
  assert.deepEqual(world.devices[0]!.overlay.conflicts({ countMax: 9 }).conflicts, [])
})

test('a copy whose name is taken gets a piece of its id, and the plain name back', () => {
  const { world, lines } = story(2, (a) => a.write('/r.txt', '0'), [
    (a) => a.write('/r.txt', 'a'),
    (b) => b.write('/r.txt', 'b'),
  ])
  const [a] = world.devices as [Device]
  const taken = lines.find((line) => line.endsWith('=a'))!.slice(1, -2)
  a.write('/other', 'x')
  // A device that does not know of the conflict could have done this: no precondition applies.
  const id = a.id('/other')
  const row = a.overlay.inspect().layer.inode(id)!
  const value = encodeRegister('L', {
    parent: a.overlay.root,
    name: name(taken),
    isDeleted: false,
    seen: [],
    hlc: a.tick(),
  })
  const base = row.L.map(({ op }) => op)
  a.do({ number: 0, hlc: a.tick(), puts: [{ inode: id, register: 'L', value, base }] })
  const after = settled(world)
  assert.ok(after.includes(`/${taken}=x`))
  const moved = after.find((line) => line.endsWith('=a'))!
  assert.match(moved, /^\/r \(conflict \S+ \S+ device0 \S{6}\)\.txt=a$/)
  world.devices[1]!.unlink(`/${taken}`)
  assert.deepEqual(settled(world), lines)
})

test('editing or renaming a collapsed file takes its hidden twin along', () => {
  for (const change of [
    (a: Device) => a.write('/f', 'new'),
    (a: Device) => a.rename('/f', '/new'),
  ]) {
    const { world, lines } = story(2, NOTHING, [
      (a) => a.write('/f', 'same'),
      (b) => b.write('/f', 'same'),
    ])
    assert.deepEqual(lines, ['/f=same'])
    change(world.devices[0]!)
    assert.equal(settled(world).length, 1)
    assert.equal(world.devices[1]!.overlay.fileCount, 1)
  }
})

test('copies stay beside the first of the names that are left', () => {
  const { world, lines } = story(
    2,
    (a) => {
      a.mkdir('/d')
      a.write('/f', '0')
      a.link('/f', '/d/g')
    },
    [(a) => a.write('/f', 'a'), (b) => b.write('/f', 'b')],
  )
  assert.ok(lines.some((line) => /^\/f \(conflict .*=a$/.test(line)))
  world.devices[1]!.unlink('/f')
  const after = settled(world)
  assert.deepEqual(
    after.map((line) => line.replace(/\(.*\)/, '()')),
    ['/d/', '/d/g ()=a', '/d/g=b'],
  )
})

test('a materialised copy that is deleted stays deleted; one kept elsewhere comes back', () => {
  const { world, lines } = story(2, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
  ])
  const [a, b] = world.devices as [Device, Device]
  const copy = lines.find((line) => line.endsWith('=a'))!.slice(0, -2)
  // One makes the copy a file of its own and deletes it, the other keeps that very version.
  a.rename(copy, '/own')
  a.publish()
  a.unlink('/own')
  a.publish()
  b.resolve('/r', 1)
  const after = settled(world).map((line) => line.split('=')[1])
  assert.deepEqual(after.sort(), ['a', 'b'])
})

test('the orphan of an unknown directory waits in lost+found and moves in when it is known', () => {
  const world = new World({ seed: 1, deviceCount: 1 })
  const [a] = world.devices as [Device]
  const parent = newInodeId('directory', 7, world.dice)
  const file = newInodeId('file', 7, world.dice)
  const put = (id: typeof file, where: typeof file, leaf: string): void => {
    const hlc = a.tick()
    const place = { parent: where, name: name(leaf), isDeleted: false, seen: [], hlc }
    const value = encodeRegister('L', place)
    a.do({ number: 0, hlc, puts: [{ inode: id, register: 'L', value, base: [] }] })
    a.check()
  }
  put(file, parent, 'f')
  a.publish()
  assert.deepEqual(a.lines(), ['/lost+found/', '/lost+found/f='])
  const root = { parent: a.overlay.root, name: name('lost+found') }
  const to = { parent: a.overlay.root, name: name('x') }
  assert.throws(() => a.overlay.rename(root, to, 'replace'), { code: 'NOT_PERMITTED' })
  put(parent, a.overlay.root, 'd')
  a.publish()
  assert.deepEqual(a.lines(), ['/d/', '/d/f='])
})

test('a copy that gets an inode of its own here is still to be fetched', () => {
  const { world, lines } = story(3, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
    NOTHING,
  ])
  const carol = world.devices[2]!
  const copy = lines.find((line) => line !== '/r=b')!.slice(0, -2)
  assert.deepEqual(wantedBy(carol), ['a', 'b'])
  carol.do(carol.overlay.setAttributes(carol.id(copy), { mode: 0o600 }))
  carol.publish()
  assert.deepEqual(wantedBy(carol), ['a', 'b'])
  assert.equal(carol.deltas.at(-1)!.contents.length, 1)
})

test('a copy that has an inode here is still to be fetched when its origin goes on', () => {
  const { world, lines } = story(3, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
    NOTHING,
  ])
  const [alice, , carol] = world.devices as [Device, Device, Device]
  const copy = lines.find((line) => line !== '/r=b')!.slice(0, -2)
  // Both settle the conflict: the copy of one says nothing of what the other replaces.
  alice.resolve('/r', 0)
  alice.write('/r', 'c')
  alice.publish()
  carol.do(carol.overlay.setAttributes(carol.id(copy), { mode: 0o600 }))
  assert.ok(carol.receive(0))
  assert.deepEqual(wantedBy(carol), ['c'])
  carol.publish()
  carol.check()
  assert.deepEqual(wantedBy(carol), ['a', 'b', 'c'])
})

test('what is written over a content that is not here may hold parts of that', () => {
  const world = new World({ seed: 1, deviceCount: 2 })
  const [alice, bob] = world.devices as [Device, Device]
  alice.write('/r', 'a')
  world.settle()
  assert.deepEqual(wantedBy(bob), ['a'])
  bob.write('/r', 'b')
  bob.publish()
  assert.deepEqual(wantedBy(bob), ['b'])
  bob.fetch()
  bob.write('/r', 'c')
  bob.publish()
  assert.deepEqual(wantedBy(bob), [])
  // Replaced by others before it is published: the list no longer says what was missing.
  world.settle()
  alice.write('/r', 'd')
  world.settle()
  bob.write('/r', 'e')
  alice.write('/r', 'f')
  alice.publish()
  assert.ok(bob.receive(0))
  assert.deepEqual(wantedBy(bob), ['f'])
  bob.publish()
  assert.deepEqual(wantedBy(bob), ['e', 'f'])
})

test('what is written over a conflict copy that is not here may hold parts of that', () => {
  const { world, lines } = story(3, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
    NOTHING,
  ])
  const carol = world.devices[2]!
  carol.write(lines.find((line) => line !== '/r=b')!.slice(0, -2), 'c')
  carol.publish()
  carol.check()
  assert.deepEqual(wantedBy(carol), ['b', 'c'])
})

test('a version that is put back is fetched if it never was here', () => {
  const world = new World({ seed: 1, deviceCount: 2 })
  const [alice, bob] = world.devices as [Device, Device]
  alice.write('/r', 'a')
  world.settle()
  alice.write('/r', 'b')
  world.settle()
  const id = bob.id('/r')
  const mtimeNs = 0n
  bob.do(bob.overlay.setContent(id, { ...contentOf('a'), mtimeNs, isNamed: true }))
  bob.do(
    bob.overlay.createFile(bob.overlay.root, name('s'), {
      ...PLAIN,
      content: { ...contentOf('a'), isNamed: true },
    }),
  )
  bob.publish()
  bob.check()
  assert.deepEqual(wantedBy(bob), ['a', 'a'])
})

test('after an index is made anew everything is looked at, own contents too', () => {
  const { world, lines } = story(3, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
    NOTHING,
  ])
  const carol = world.devices[2]!
  const copy = lines.find((line) => line !== '/r=b')!.slice(0, -2)
  carol.do(carol.overlay.setAttributes(carol.id(copy), { mode: 0o600 }))
  carol.write('/s', 's')
  world.settle()
  carol.rebuild()
  carol.check()
  assert.deepEqual(wantedBy(carol), ['a', 'b', 's'])
  assert.deepEqual(carol.lines(), world.devices[0]!.lines())
})

test('a chmod of an inode is news of its conflict copies too', () => {
  const { world, lines } = story(2, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
  ])
  const [alice, bob] = world.devices as [Device, Device]
  const copy = bob.id(lines.find((line) => line !== '/r=b')!.slice(0, -2))
  alice.do(alice.overlay.setAttributes(alice.id('/r'), { mode: 0o600 }))
  alice.publish()
  bob.receive(0)
  assert.equal(bob.overlay.node(copy)!.attributes.mode, 0o600)
  assert.ok(bob.deltas.at(-1)!.nodes.some(({ id }) => id === copy))
})

test('two devices settle a conflict alike: who then edits the file meets none', () => {
  const { world } = story(3, (a) => a.write('/r', '0'), [
    (a) => a.write('/r', 'a'),
    (b) => b.write('/r', 'b'),
    NOTHING,
  ])
  const [alice, bob, carol] = world.devices as [Device, Device, Device]
  alice.resolve('/r', 0)
  bob.resolve('/r', 0)
  bob.publish()
  // As after a crash: what came meanwhile is applied before the journal is published.
  assert.ok(alice.receive(1))
  assert.ok(carol.receive(1))
  carol.write('/r', 'c')
  assert.deepEqual(settled(world), ['/r=c'])
})
