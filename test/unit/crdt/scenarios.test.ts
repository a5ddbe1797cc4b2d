/**
 * Proves the merge rules of src/crdt/README.md on short stories of two to five devices. Each story
 * works apart, delivers everything, and compares what every device and a newcomer show.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { settled, story } from '../../model/crdt/story.ts'
import { contentOf, World, type Device } from '../../model/crdt/world.ts'

const NOTHING = (): void => undefined

test('a plain file, renamed and removed', () => {
  const { world, lines } = story(
    2,
    (a) => {
      a.mkdir('/d')
      a.write('/d/f', 'one')
    },
    [(a) => a.rename('/d/f', '/g')],
  )
  assert.deepEqual(lines, ['/d/', '/g=one'])
  world.devices[1]!.unlink('/g')
  world.devices[1]!.rmdir('/d')
  assert.deepEqual(settled(world), [])
})

test('directories moved into each other: the later move falls back', () => {
  const { lines } = story(
    2,
    (a) => {
      a.mkdir('/A')
      a.mkdir('/B')
      a.write('/A/f', '1')
    },
    [(a) => a.rename('/A', '/B/A'), (b) => b.rename('/B', '/A/B')],
  )
  assert.deepEqual(lines, ['/B/', '/B/A/', '/B/A/f=1'])
})

test('a cycle of three directories', () => {
  const { lines, world } = story(
    3,
    (a) => {
      for (const path of ['/A', '/B', '/C']) a.mkdir(path)
      a.write('/C/f', '1')
    },
    [(a) => a.rename('/A', '/B/A'), (b) => b.rename('/B', '/C/B'), (c) => c.rename('/C', '/A/C')],
  )
  assert.deepEqual(lines, ['/C/', '/C/B/', '/C/B/A/', '/C/f=1'])
  const { conflicts } = world.devices[0]!.overlay.conflicts({ countMax: 10 })
  assert.deepEqual(
    conflicts.map(({ kind, name }) => [kind, name]),
    [['cycle', 'C']],
  )
  world.devices[0]!.resolve('/C', 'both')
  assert.deepEqual(settled(world), lines)
  assert.deepEqual(world.devices[1]!.overlay.conflicts({ countMax: 10 }).conflicts, [])
})

test('one directory moved to two places: the later move wins', () => {
  const { lines } = story(
    2,
    (a) => {
      for (const path of ['/A', '/X', '/Y']) a.mkdir(path)
      a.write('/A/f', '1')
    },
    [(a) => a.rename('/A', '/X/A'), (b) => b.rename('/A', '/Y/A')],
  )
  assert.deepEqual(lines, ['/X/', '/Y/', '/Y/A/', '/Y/A/f=1'])
})

test('delete against update: the update survives', () => {
  const { lines } = story(2, (a) => a.write('/f', '1'), [
    (a) => a.unlink('/f'),
    (b) => b.write('/f', '2'),
  ])
  assert.deepEqual(lines, ['/f=2'])
})

test('delete against rename: the rename survives', () => {
  const { lines } = story(2, (a) => a.write('/f', '1'), [
    (a) => a.unlink('/f'),
    (b) => b.rename('/f', '/g'),
  ])
  assert.deepEqual(lines, ['/g=1'])
})

test('create against create: the older keeps the name, equal contents collapse', () => {
  const { lines, world } = story(2, NOTHING, [
    (a) => {
      a.write('/f.txt', '1')
      a.write('/same', 'x')
    },
    (b) => {
      b.write('/f.txt', '2')
      b.write('/same', 'x')
    },
  ])
  assert.equal(lines.length, 3)
  assert.match(lines[0]!, /^\/f \(conflict \d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d device1\)\.txt=2$/)
  assert.deepEqual(lines.slice(1), ['/f.txt=1', '/same=x'])
  // Removing the collapsed file removes its twin too.
  world.devices[0]!.unlink('/same')
  assert.equal(settled(world).length, 2)
  // Keeping the second version alone.
  world.devices[1]!.resolve('/f.txt', 1)
  assert.deepEqual(settled(world), ['/f.txt=2'])
})

test('mkdir against mkdir: one directory, which is renamed and removed as one', () => {
  const { lines, world } = story(2, NOTHING, [
    (a) => {
      a.mkdir('/d')
      a.write('/d/x', '1')
      a.mkdir('/d/sub')
    },
    (b) => {
      b.mkdir('/d')
      b.write('/d/y', '2')
      b.mkdir('/d/sub')
      b.write('/d/sub/z', '3')
    },
  ])
  assert.deepEqual(lines, ['/d/', '/d/sub/', '/d/sub/z=3', '/d/x=1', '/d/y=2'])
  world.devices[0]!.rename('/d', '/e')
  assert.deepEqual(settled(world), ['/e/', '/e/sub/', '/e/sub/z=3', '/e/x=1', '/e/y=2'])
  for (const path of ['/e/sub/z', '/e/x', '/e/y']) world.devices[1]!.unlink(path)
  world.devices[1]!.rmdir('/e/sub')
  world.devices[1]!.rmdir('/e')
  assert.deepEqual(settled(world), [])
})

test('rmdir against create inside and against move into it', () => {
  const { lines } = story(
    3,
    (a) => {
      a.mkdir('/d')
      a.write('/f', '1')
    },
    [(a) => a.rmdir('/d'), (b) => b.write('/d/new', '2'), (c) => c.rename('/f', '/d/f')],
  )
  assert.deepEqual(lines, ['/d/', '/d/f=1', '/d/new=2'])
})

test('hard links: one inode under many names, last one out', () => {
  const { world, lines } = story(
    2,
    (a) => {
      a.mkdir('/d')
      a.write('/f', '1')
      a.link('/f', '/d/g')
    },
    [(a) => a.unlink('/f'), (b) => b.write('/d/g', '2')],
  )
  assert.deepEqual(lines, ['/d/', '/d/g=2'])
  assert.equal(world.devices[0]!.overlay.node(world.devices[0]!.id('/d/g'))!.nlink, 1)
})

test('hard links all deleted against an update: the last name to go comes back', () => {
  const { lines } = story(
    3,
    (a) => {
      a.write('/f', '1')
      a.link('/f', '/g')
    },
    [(a) => a.unlink('/f'), (b) => b.unlink('/g'), (c) => c.write('/f', '2')],
  )
  assert.deepEqual(lines, ['/g=2'])
})

test('rename over an existing file against an edit of the victim', () => {
  const { lines } = story(
    2,
    (a) => {
      a.write('/new', 'n')
      a.write('/old', 'o')
    },
    [(a) => a.rename('/new', '/old'), (b) => b.write('/old', 'edited')],
  )
  assert.deepEqual(lines.map((line) => line.split('=')[1]).sort(), ['edited', 'n'])
})

test('exchange swaps two names', () => {
  const { lines } = story(
    2,
    (a) => {
      a.write('/x', '1')
      a.mkdir('/y')
    },
    [(a) => a.rename('/x', '/y', 'exchange')],
  )
  assert.deepEqual(lines, ['/x/', '/y=1'])
})

test('a file against a directory of one name: the directory keeps it', () => {
  const { world, lines } = story(2, NOTHING, [
    (a) => a.write('/n', '1'),
    (b) => {
      b.mkdir('/n')
      b.write('/n/in', '2')
    },
  ])
  assert.equal(lines.length, 3)
  assert.ok(lines.includes('/n/') && lines.includes('/n/in=2'))
  assert.throws(() => world.devices[0]!.resolve('/n', 1), { code: 'NOT_EMPTY' })
  world.devices[0]!.resolve('/n', 0)
  assert.deepEqual(settled(world), ['/n/', '/n/in=2'])
})

test('two people who resolve one conflict differently lose neither version', () => {
  const create = () =>
    story(2, NOTHING, [(a) => a.write('/f', '1'), (b) => b.write('/f', '2')]).world
  for (const [first, second, versions] of [
    [0, 1, '12'],
    [1, 0, '12'],
    ['both', 1, '12'],
    [0, 0, '1'],
  ] as const) {
    const world = create()
    world.devices[0]!.resolve('/f', first)
    world.devices[1]!.resolve('/f', second)
    const found = settled(world).map((line) => line.at(-1))
    assert.equal(found.sort().join(''), versions, `${first} against ${second}`)
  }
  const { world } = story(2, NOTHING, [(a) => a.mkdir('/n'), (b) => b.write('/n', '1')])
  world.devices[0]!.resolve('/n', 0)
  world.devices[1]!.resolve('/n', 1)
  const lines = settled(world)
  assert.equal(lines.length, 2)
  assert.ok(lines.includes('/n/'))
})

test('renaming a conflict copy makes it a file of its own', () => {
  const { world, lines } = story(2, (a) => a.write('/r.txt', '0'), [
    (a) => a.write('/r.txt', 'a'),
    (b) => b.write('/r.txt', 'b'),
  ])
  const copy = lines.find((line) => line.endsWith('=a'))!.slice(0, -2)
  world.devices[1]!.rename(copy, '/kept.txt')
  assert.ok(settled(world).includes('/kept.txt=a'))
})

test('last-writer-wins: one version is shown, the others are in the history', () => {
  const world = new World({
    seed: 1,
    deviceCount: 2,
    strategyOf: (policies) => (policies[0] === 'lww' ? 'last-writer-wins' : 'copies'),
  })
  const [a, b] = world.devices as [Device, Device]
  a.mkdir('/d')
  a.write('/d/f', '0')
  world.settle()
  a.write('/d/f', 'a')
  a.write('/d/new', '1')
  world.nowMs += 1000
  b.write('/d/f', 'b')
  b.write('/d/new', '2')
  assert.equal(settled(world).length, 5)
  b.setPolicy('/d', 'lww')
  assert.deepEqual(settled(world), ['/d/', '/d/f=b', '/d/new=2'])
  const versions = a.overlay.history(a.place('/d/f')).map(({ content, state }) => {
    return [content.kind === 'file' ? content.sizeBytes : 0, state]
  })
  assert.equal(versions.length, 3)
  assert.equal(versions.filter(([, state]) => state === 'current').length, 1)
  a.unlink('/d/new')
  assert.deepEqual(settled(world), ['/d/', '/d/f=b'])
  a.setPolicy('/d', '')
  assert.equal(settled(world).length, 3)
})

test('history survives deletion and is found by name', () => {
  const { world } = story(1, (a) => a.write('/f', '1'), [
    (a) => {
      a.write('/f', '2')
      a.publish()
      a.unlink('/f')
    },
  ])
  const [a] = world.devices as [Device]
  const versions = a.overlay.history({ parent: a.overlay.root, name: a.place('/f').name })
  assert.deepEqual(
    versions.map(({ state }) => state),
    ['past', 'past'],
  )
})

test('what is made and deleted between publications never reaches a change', () => {
  const world = new World({ seed: 1, deviceCount: 1 })
  const [a] = world.devices as [Device]
  a.mkdir('/t')
  a.write('/t/tmp', '1')
  a.write('/t/tmp', '2')
  a.link('/t/tmp', '/t/tmp2')
  a.unlink('/t/tmp')
  a.unlink('/t/tmp2')
  a.rmdir('/t')
  a.publish()
  const [entry] = world.feeds[0]!
  // Only the times of the root remain.
  assert.equal(entry!.changes.length, 1)
  assert.ok(entry!.changes[0]!.change.length < 130)
  assert.deepEqual(a.lines(), [])
})

test('a content based on an older version becomes a conflict, never an overwrite', () => {
  const world = new World({ seed: 1, deviceCount: 2 })
  const [a, b] = world.devices as [Device, Device]
  a.write('/f', '1')
  world.settle()
  const base = a.overlay.contentBase(a.id('/f'))
  b.write('/f', '2')
  world.settle()
  a.do(
    a.overlay.setContent(a.id('/f'), {
      ...contentOf('3'),
      mtimeNs: 5n,
      base,
    }),
  )
  assert.deepEqual(
    settled(world)
      .map((line) => line.split('=')[1])
      .sort(),
    ['2', '3'],
  )
})
