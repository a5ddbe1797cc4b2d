/**
 * Proves which contents of an index are needed: all values of what lives, the history, and of what
 * was deleted the last content for the days of its folder. And that a watch tells what came since.
 * Devices of the model, whose clock is moved by days.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ContentRoots, type NeededContent } from '../../../src/crdt/content-roots.ts'
import { Overlay } from '../../../src/crdt/overlay.ts'
import type { HistoryDaysOf } from '../../../src/crdt/retention.ts'
import type { Hlc } from '../../../src/types.ts'
import { textOf, World, type Device } from '../../model/crdt/world.ts'

const DAY_MS = 86_400_000
/** Policies in these tests are the number of days. */
const daysOf: HistoryDaysOf = (policies) => Number(policies[0] ?? 30)

function rootsOf(device: Device): ContentRoots {
  const now = (device.world.nowMs * 1000) as Hlc
  return new ContentRoots({ rows: device.rows, now, daysOf })
}

function told(contents: Iterable<NeededContent>): string[] {
  return [...contents].map(({ use, ref }) => `${use} ${textOf(ref)}`).sort()
}

function needed(device: Device): string[] {
  return told([...rootsOf(device).walk()].flat())
}

function pass(device: Device, days: number): void {
  device.world.nowMs += days * DAY_MS
  device.writer.forgetHistory({ now: (device.world.nowMs * 1000) as Hlc, daysOf })
  device.writer.commit(new Map())
  device.overlay.cover(0)
}

test('files, losers of conflicts and replaced versions are needed', () => {
  const world = new World({ seed: 5, deviceCount: 2 })
  const [alice, bob] = world.devices as [Device, Device]
  alice.write('/f', 'one')
  alice.publish()
  bob.receive(0)
  alice.write('/f', 'two')
  bob.write('/f', 'three')
  alice.publish()
  bob.publish()
  alice.receive(1)
  const uses = needed(alice)
  assert.equal(uses.length, 3)
  assert.ok(uses.includes('history one'))
  assert.equal(uses.filter((line) => line.startsWith('tree')).length, 1)
  assert.equal(uses.filter((line) => line.startsWith('conflicts')).length, 1)
})

test('a deleted file is needed for the days of its folder, from its last name on', () => {
  const [device] = new World({ seed: 6, deviceCount: 1 }).devices as [Device]
  device.mkdir('/long')
  device.setPolicy('/long', '100')
  device.write('/gone', 'short')
  device.write('/long/gone', 'long')
  device.write('/linked', 'linked')
  device.link('/linked', '/second')
  device.publish()
  device.unlink('/gone')
  device.unlink('/long/gone')
  device.unlink('/linked')
  device.publish()
  assert.deepEqual(needed(device), ['history long', 'history short', 'tree linked'])
  pass(device, 20)
  device.unlink('/second')
  device.publish()
  pass(device, 9)
  assert.deepEqual(needed(device), ['history linked', 'history long', 'history short'])
  const roots = rootsOf(device)
  for (const page of roots.walk()) void page
  const dueMs = (roots.nextDue as number) / 1000
  assert.ok(
    dueMs > device.world.nowMs && dueMs <= device.world.nowMs + DAY_MS,
    'the first that goes',
  )
  pass(device, 2)
  assert.deepEqual(needed(device), ['history linked', 'history long'])
  pass(device, 20)
  assert.deepEqual(needed(device), ['history long'])
  pass(device, 60)
  assert.deepEqual(needed(device), [])
})

test('the history lists of a deleted file what is needed, and no more', () => {
  const [device] = new World({ seed: 8, deviceCount: 1 }).devices as [Device]
  const overlay = new Overlay({
    rows: device.rows,
    random: device.world.dice,
    tick: () => device.tick(),
    nowNs: () => BigInt(device.world.nowMs) * 1_000_000n,
    strategyOf: () => 'copies',
    daysOf,
  })
  device.write('/f', 'one')
  device.publish()
  const inode = device.id('/f')
  device.unlink('/f')
  device.publish()
  pass(device, 29)
  overlay.cover(0)
  const at = (device.world.nowMs * 1000) as Hlc
  assert.equal(overlay.history({ inode }).length, 1)
  assert.equal(overlay.versionAt(inode, at)?.version, overlay.history({ inode })[0]?.version)
  pass(device, 2)
  overlay.cover(0)
  assert.deepEqual(overlay.history({ inode }), [])
  assert.equal(overlay.versionAt(inode, at), undefined)
  assert.deepEqual(needed(device), [])
})

test('a watch tells contents that came, and those that a name brought back', () => {
  const world = new World({ seed: 7, deviceCount: 2 })
  const [alice, bob] = world.devices as [Device, Device]
  alice.write('/f', 'one')
  alice.link('/f', '/g')
  alice.publish()
  bob.receive(0)
  alice.unlink('/f')
  alice.unlink('/g')
  alice.publish()
  pass(alice, 40)
  assert.deepEqual(needed(alice), [])

  const { watch } = alice.writer
  watch.start()
  const later = (): string[] => {
    const roots = rootsOf(alice)
    const inodes = watch.take(1000)
    return told(inodes.flatMap((inode) => [...roots.of(inode)]))
  }
  assert.deepEqual(later(), [])
  // Bob knew nothing of the removal and moved the second name: only its own record changes.
  bob.rename('/g', '/back')
  bob.publish()
  alice.receive(1)
  assert.ok(later().includes('tree one'))
  alice.write('/new', 'two')
  alice.publish()
  assert.ok(later().includes('tree two'))
  assert.deepEqual(later(), [])
  watch.stop()
  assert.equal(watch.isBroken, false)
})
