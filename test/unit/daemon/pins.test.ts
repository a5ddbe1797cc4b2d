/**
 * Proves what lies at or below a pin: by inode, so that renames change nothing, through merged
 * directories, further names of files and conflict copies; and when something old has come there.
 * Trees of the model of merging, in one thread.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkContents } from '../../../src/daemon/check-contents.ts'
import { Pins } from '../../../src/daemon/pins.ts'
import { parsePolicy } from '../../../src/policy/parse.ts'
import type { InodeId } from '../../../src/types.ts'
import { settled, story } from '../../model/crdt/story.ts'
import type { Device } from '../../model/crdt/world.ts'

function createPins(device: Device, pins: InodeId[]): Pins {
  const { overlay } = device
  const vfs = { paths: { stat: (at: string) => ({ inode: device.id(at) }) } } as never
  return new Pins({ overlay, vfs, pins, told: () => Promise.resolve() })
}

/** Which of these paths are pinned. */
function pinned(device: Device, pins: Pins, paths: string[]): string[] {
  const isPinned = pins.checker()
  const idOf = (path: string): InodeId => (path === '/' ? device.overlay.root : device.id(path))
  return paths.filter((path) => isPinned(idOf(path)))
}

function tree(device: Device): void {
  device.mkdir('/jobs')
  device.mkdir('/jobs/deep')
  device.mkdir('/other')
  device.write('/jobs/a', 'a')
  device.write('/jobs/deep/b', 'b')
  device.write('/other/c', 'c')
}

const ALL = ['/', '/jobs', '/jobs/deep', '/other', '/jobs/a', '/jobs/deep/b', '/other/c']

test('at and below the pinned inode, wherever it goes', async () => {
  const { world } = story(1, tree, [])
  const [a] = world.devices as [Device]
  const work = a.id('/jobs')
  const below = ['/jobs', '/jobs/deep', '/jobs/a', '/jobs/deep/b']
  assert.deepEqual(pinned(a, createPins(a, []), ALL), [])
  assert.deepEqual(pinned(a, createPins(a, [work]), ALL), below)
  assert.deepEqual(pinned(a, createPins(a, [a.overlay.root]), ALL), ALL)
  assert.deepEqual(pinned(a, createPins(a, [a.id('/other/c')]), ALL), ['/other/c'])
  assert.equal(createPins(a, [work]).above(a.id('/jobs/deep/b')), '/jobs')
  a.rename('/jobs', '/other/job')
  const pins = createPins(a, [work])
  assert.deepEqual(pinned(a, pins, ['/other', '/other/job/deep/b', '/other/c']), [
    '/other/job/deep/b',
  ])
  assert.equal(pins.above(a.id('/other/job/a')), '/other/job')
  assert.deepEqual(
    await pins.handlers.belowPins({
      inodes: [a.id('/other/job/a')],
      pins: [a.id('/other'), work, a.id('/other/c')],
    }),
    [[0, 1]],
  )
  assert.deepEqual(pins.handlers.placesOf([work, `${work.slice(0, 10)}zzzzzz` as InodeId]), [
    '/other/job',
    undefined,
  ])
})

test('a deleted folder holds nothing, and holds again when it is back', () => {
  const { world } = story(1, tree, [])
  const [a] = world.devices as [Device]
  const other = a.id('/other')
  const file = a.id('/other/c')
  const pins = createPins(a, [other])
  a.unlink('/other/c')
  assert.equal(pins.checker()(file), false)
  a.rmdir('/other')
  assert.deepEqual(pins.handlers.placesOf([other]), [undefined])
  for (const path of ['/other', '/other/c']) {
    const place = a.place(path)
    const gone = a.overlay.deletedNames(place.parent).find(({ name }) => name === place.name)
    a.do(a.overlay.undelete((gone as { record: InodeId }).record, place))
  }
  assert.equal(pins.checker()(file), true)
})

test('any name of a file counts', () => {
  const { world } = story(1, tree, [])
  const [a] = world.devices as [Device]
  const pins = createPins(a, [a.id('/jobs')])
  a.link('/other/c', '/jobs/deep/also')
  assert.ok(pins.checker()(a.id('/other/c')))
  a.unlink('/jobs/deep/also')
  assert.equal(pins.checker()(a.id('/other/c')), false)
})

test('directories that merged are one, and losers of a conflict stay with their file', () => {
  const made: InodeId[] = []
  const { world } = story(2, tree, [
    (a) => {
      a.mkdir('/both')
      a.write('/both/of a', 'x')
      a.write('/jobs/a', 'by a')
      made.push(a.id('/both'))
    },
    (b) => {
      b.mkdir('/both')
      b.write('/both/of b', 'y')
      b.write('/jobs/a', 'by b')
      made.push(b.id('/both'))
    },
  ])
  settled(world)
  for (const device of world.devices as Device[]) {
    for (const pin of made) {
      assert.deepEqual(pinned(device, createPins(device, [pin]), ['/both/of a', '/both/of b']), [
        '/both/of a',
        '/both/of b',
      ])
    }
    const work = device.id('/jobs')
    const { entries } = device.overlay.list(work, { countMax: 9 })
    const copy = entries.find(({ name }) => name.includes('(conflict'))
    assert.ok(copy)
    const { inode } = createPins(device, []).handlers.pinTarget(`/jobs/${copy.name}`)
    assert.equal(inode, device.id('/jobs/a'), 'what is pinned is the file')
  }
})

test('what was there before and comes below a pin is told, and nothing else', () => {
  const { world } = story(2, tree, [])
  const [a, b] = world.devices as [Device, Device]
  const pins = createPins(b, [b.id('/jobs')])
  const isTold = (change: () => void): boolean => {
    b.deltas.length = 0
    change()
    settled(world)
    return b.deltas.some((delta) => pins.hasMovedIn(delta))
  }
  assert.equal(
    isTold(() => a.write('/jobs/new', 'n')),
    false,
    'new: main hears of it anyway',
  )
  assert.equal(
    isTold(() => a.write('/jobs/a', 'changed')),
    false,
  )
  assert.equal(
    isTold(() => a.rename('/other/c', '/other/d')),
    false,
  )
  assert.equal(
    isTold(() => a.rename('/other/d', '/jobs/d')),
    true,
  )
  assert.equal(
    isTold(() => a.rename('/other', '/jobs/other')),
    true,
  )
  assert.equal(
    isTold(() => a.rename('/jobs/d', '/d')),
    false,
    'it leaves',
  )
  assert.equal(
    isTold(() => a.link('/d', '/jobs/deep/d')),
    true,
  )
  assert.equal(createPins(b, []).hasMovedIn({ nodes: [], dirents: [], contents: [] }), false)
})

test('a check misses what is pinned, although its folder is not kept', async () => {
  const { world } = story(1, tree, [])
  const [a] = world.devices as [Device]
  const parsed = parsePolicy(Buffer.from('local.keep = "streamed"'))
  assert.ok('canonical' in parsed)
  a.setPolicy('/', parsed.canonical)
  settled(world)
  const lackingOf = async (pins: InodeId[]): Promise<string[]> => {
    const found: string[] = []
    const ports = {
      rows: a.rows,
      reader: { addresses: () => Promise.resolve([]) },
      labels: {},
      pins,
      isGood: () => false,
    }
    for await (const { lacking } of checkContents(ports)) {
      for (const { path } of lacking) found.push(path)
    }
    return found.sort()
  }
  assert.deepEqual(await lackingOf([]), [])
  assert.deepEqual(await lackingOf([a.id('/jobs')]), ['/jobs/a', '/jobs/deep/b'])
})
