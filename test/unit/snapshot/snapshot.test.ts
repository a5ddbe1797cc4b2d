/**
 * Proves that a device which took a snapshot shows and does what the others do, gets the log behind
 * it and proves it, and that false, damaged and lost snapshots end with the tree of the log. Real
 * volumes in one thread on memory ports.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { decodeSnapshotLog, encodeSnapshotLog } from '../../../src/snapshot/log-part.ts'
import { Shelf } from '../../../src/snapshot/shelf.ts'
import { readUnproved } from '../../../src/snapshot/state.ts'
import { PartSeal, signStatement, verifyStatement } from '../../../src/snapshot/statement.ts'
import { feedDevice, nameFromText } from '../../../src/types.ts'
import {
  createTestVolume,
  deliver,
  seededRandom,
  TestDevice,
  treeText,
  type TestVolume,
} from '../../helpers/volume-device.ts'
import { backfill, makerOf, takeFrom, takerOf } from '../../helpers/snapshot-device.ts'

const OWNER = { mode: 0o644, uid: 0, gid: 0 }
const DIRECTORY = { mode: 0o755, uid: 0, gid: 0 }

interface Cast {
  readonly shared: TestVolume
  readonly alice: TestDevice
  readonly bob: TestDevice
  /** Admitted, with nothing of the log. */
  readonly carol: TestDevice
}

function openEmpty(shared: TestVolume, name: string, state?: TestDevice['state'], run = 0) {
  const fresh = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
  return TestDevice.open(shared, name, shared.id, state ?? fresh, run, false)
}

async function write(device: TestDevice, ...names: string[]): Promise<void> {
  const { overlay } = device
  for (const name of names) {
    device.do(overlay.createFile(overlay.root, nameFromText(name), OWNER).edit)
    await device.publish()
  }
}

/** Alice and bob have edited, together and apart; carol may join. */
async function cast(seed: string): Promise<Cast> {
  const shared = createTestVolume(seed)
  const alice = await TestDevice.open(shared, 'alice', seed)
  const bob = await openEmpty(shared, 'bob')
  const carol = await openEmpty(shared, 'carol')
  await alice.admit(bob.identity, 'bob', 'writer', shared)
  await alice.admit(carol.identity, 'carol', 'writer', shared)
  const { overlay } = alice
  alice.do(overlay.mkdir(overlay.root, nameFromText('docs'), DIRECTORY).edit)
  await write(alice, 'one', 'two', 'three')
  await deliver(alice, bob)
  await write(alice, 'both')
  await write(bob, 'both', 'four')
  await deliver(alice, bob)
  await deliver(bob, alice)
  return { shared, alice, bob, carol }
}

function isUnproved(device: TestDevice): boolean {
  return readUnproved((name) => device.tree.meta(name)) !== undefined
}

test('a newcomer takes a snapshot, goes on, fetches the log behind it and proves it', async () => {
  const { shared, alice, bob, carol } = await cast('takes')
  const taker = takerOf(carol, shared.secrets)
  assert.ok(taker.isWanted())
  await takeFrom(makerOf(alice, shared.secrets), taker)
  assert.equal(treeText(carol), treeText(alice))
  assert.deepEqual(carol.volume.frontier(), alice.volume.frontier())
  assert.equal(carol.volume.role(), 'writer')
  assert.ok(isUnproved(carol) && !taker.isWanted())
  // It has not got the older entries, and says so.
  assert.deepEqual(carol.volume.read(shared.genesis.feed, 0, 1000), [])

  await write(carol, 'from carol')
  await write(bob, 'from bob')
  for (const [from, to] of [
    [carol, alice],
    [bob, carol],
    [bob, alice],
    [carol, bob],
  ] as const) {
    await deliver(from, to)
  }
  await deliver(alice, carol)
  assert.equal(treeText(carol), treeText(alice))
  assert.equal(treeText(bob), treeText(alice))

  taker.poke()
  await taker.settled()
  assert.ok(isUnproved(carol))
  await backfill(alice, carol)
  for (const feed of carol.volume.frontier().keys()) assert.deepEqual(carol.feeds.gaps(feed), [])
  taker.poke()
  await taker.settled()
  assert.ok(!isUnproved(carol))
  assert.deepEqual(carol.problems, [])
  assert.equal(new Shelf(carol.state.disk, '/taken').statement(), undefined)

  // Now it is like any other: a third device gets all from it, the tree follows from the log.
  const dave = await openEmpty(shared, 'dave')
  await deliver(carol, dave)
  assert.equal(treeText(dave), treeText(alice))
  await carol.volume.close()
  const rows = new MemoryRowStore()
  const again = await openEmpty(shared, 'carol', { disk: carol.state.disk, rows }, 1)
  assert.equal(treeText(again), treeText(alice))
})

test('a device that lags is served by a newcomer once that has the log', async () => {
  const { shared, alice, bob, carol } = await cast('lags')
  await write(alice, 'bob has not seen this')
  await write(bob, 'nor alice this')
  const taker = takerOf(carol, shared.secrets)
  await takeFrom(makerOf(alice, shared.secrets), taker)
  await backfill(alice, carol)
  // From now on alice is gone.
  await deliver(carol, bob)
  await deliver(bob, carol)
  assert.equal(treeText(bob), treeText(carol))
  assert.match(treeText(carol), /nor alice this/)
  taker.poke()
  await taker.settled()
  assert.deepEqual([...carol.problems, ...bob.problems], [])
})

test('the index is lost before the log is here: the kept snapshot is loaded again', async () => {
  const { shared, alice, carol } = await cast('lost')
  await takeFrom(makerOf(alice, shared.secrets), takerOf(carol, shared.secrets))
  await write(carol, 'from carol')
  await deliver(carol, alice)
  await carol.volume.close()
  const state = { disk: carol.state.disk, rows: new MemoryRowStore() }
  const again = await openEmpty(shared, 'carol', state, 1)
  assert.equal(treeText(again), '')
  const taker = takerOf(again, shared.secrets)
  await taker.restore()
  await again.volume.settled()
  assert.equal(treeText(again), treeText(alice))
  assert.ok(isUnproved(again))
  await backfill(alice, again)
  taker.poke()
  await taker.settled()
  assert.ok(!isUnproved(again))
  assert.equal(treeText(again), treeText(alice))
})

test('what was published before the index was lost is not published again', async () => {
  const { shared, alice, carol } = await cast('replayed')
  await takeFrom(makerOf(alice, shared.secrets), takerOf(carol, shared.secrets))
  const { overlay } = carol
  carol.do(overlay.createFile(overlay.root, nameFromText('from carol'), OWNER).edit)
  const edits = [...overlay.pending()]
  await carol.publish()
  await carol.volume.close()
  const state = { disk: carol.state.disk, rows: new MemoryRowStore() }
  const again = await openEmpty(shared, 'carol', state, 1)
  // The journal is replayed, and submitted before anything behind the snapshot is applied.
  for (const edit of edits) again.overlay.apply(edit)
  await takerOf(again, shared.secrets).restore()
  await again.volume.settled()
  const { device } = carol.identity
  const own = [...again.volume.frontier().keys()].filter((feed) => feedDevice(feed) === device)
  assert.equal(own.length, 1)
  await deliver(again, alice)
  assert.equal(treeText(again), treeText(alice))
})

test('a damaged part is refused, and the log is taken instead', async () => {
  const { shared, alice, carol } = await cast('damaged')
  const taker = takerOf(carol, shared.secrets)
  const flip = (bytes: Buffer, index: number): Buffer => {
    if (index === 1) bytes[40] = (bytes[40] as number) ^ 1
    return bytes
  }
  const code = { code: 'SNAPSHOT_INVALID' }
  await assert.rejects(takeFrom(makerOf(alice, shared.secrets), taker, flip), code)
  await assert.rejects(taker.finish(), code)
  assert.equal(carol.volume.frontier().size, 0)
  await deliver(alice, carol)
  assert.equal(treeText(carol), treeText(alice))
})

test('a disk that fails in the middle of taking: nothing is written upon half of it', async () => {
  const { shared, alice, carol } = await cast('half')
  const [maker, taker] = [makerOf(alice, shared.secrets), takerOf(carol, shared.secrets)]
  const statement = (await maker.offer()) ?? assert.fail('no snapshot is offered')
  for (const { hash } of taker.begin(statement)) {
    taker.put(hash, maker.read(hash, 0, Number.MAX_SAFE_INTEGER)?.bytes as Buffer)
  }
  const { disk } = carol.state
  disk.syncFailures = 1
  await assert.rejects(taker.finish(), { code: 'IO_ERROR' })
  assert.equal(treeText(carol), '')
  assert.equal(carol.volume.role(), undefined)
  const { overlay } = carol
  carol.do(overlay.createFile(overlay.root, nameFromText('too early'), OWNER).edit)
  await assert.rejects(carol.publish(), { code: 'NOT_A_MEMBER' })
  await carol.volume.close().catch(() => undefined)
  // The daemon starts again: what it has got goes on as a log.
  const again = await openEmpty(shared, 'carol', { disk, rows: carol.state.rows }, 1)
  await takerOf(again, shared.secrets).restore()
  await backfill(alice, again)
  await deliver(alice, again)
  assert.equal(treeText(again), treeText(alice))
  await write(again, 'from carol')
  await deliver(again, alice)
  assert.match(treeText(alice), /from carol/)
  assert.equal(treeText(again), treeText(alice))
})

test('a snapshot that grows old is made anew, one of a small log is not made', async () => {
  const { shared, alice } = await cast('old')
  const maker = makerOf(alice, shared.secrets)
  const first = await maker.offer()
  assert.deepEqual(await maker.offer(), first)
  await write(alice, 'five', 'six', 'seven', 'eight')
  assert.notDeepEqual(await maker.offer(), first)
  const directory = new Shelf(alice.state.disk, '/offered')
  directory.clear()
  assert.equal(maker.read('ab'.repeat(32), 0, 10), undefined)
})

/** A snapshot by alice of which the log part says something else. */
async function lie(
  { shared, alice }: Cast,
  change: (log: ReturnType<typeof decodeSnapshotLog>) => void,
  author = alice,
): Promise<{ statement: Buffer; shelf: Shelf }> {
  const shelf = new Shelf(alice.state.disk, '/offered')
  const bytes = (await makerOf(alice, shared.secrets).offer()) as Uint8Array
  const told = verifyStatement(bytes, shared.id)
  const seal = new PartSeal(shared.id, shared.secrets.logKeys())
  const [part, ...others] = told.parts
  const log = decodeSnapshotLog(
    seal.open('log', shelf.part(part?.hash as string) as Buffer, told.keyGeneration),
  )
  change(log)
  const sealed = seal.seal('log', encodeSnapshotLog(log), seededRandom('lie'))
  shelf.putPart(sealed.part.hash, sealed.bytes)
  const { identity } = author
  const statement = signStatement(
    { ...told, author: identity.device, parts: [sealed.part, ...others] },
    identity.signing,
  )
  return { statement, shelf }
}

async function take(
  device: TestDevice,
  shared: TestVolume,
  { statement, shelf }: { statement: Buffer; shelf: Shelf },
) {
  const taker = takerOf(device, shared.secrets)
  for (const { hash } of taker.begin(statement)) taker.put(hash, shelf.part(hash) as Buffer)
  await taker.finish()
  return taker
}

test('a lie about members is found out once the log is here', async () => {
  const actors = await cast('lie')
  const { shared, alice, bob, carol } = actors
  const lying = await lie(actors, ({ members }) => {
    const [bobs] = members.admissions.filter(({ device }) => device === bob.identity.device)
    Object.assign(bobs as object, { role: 'admin' })
  })
  const taker = await take(carol, shared, lying)
  assert.equal(carol.volume.members.member(bob.identity.device)?.role, 'admin')
  await backfill(alice, carol)
  taker.poke()
  await taker.settled()
  await carol.volume.settled()
  assert.match(carol.problems.join('\n'), /SNAPSHOT_INVALID: the snapshot by device/)
  assert.equal(carol.volume.members.member(bob.identity.device)?.role, 'writer')
  assert.equal(treeText(carol), treeText(alice))
})

test('an author who is no writer, and one who does not know us, are refused at once', async () => {
  const actors = await cast('author')
  const { shared, carol, bob } = actors
  const stranger = await openEmpty(shared, 'stranger')
  const code = { code: 'SNAPSHOT_INVALID' }
  await assert.rejects(take(carol, shared, await lie(actors, () => undefined, stranger)), code)
  const reader = await lie(
    actors,
    ({ members }) => {
      for (const row of members.admissions) {
        if (row.device === bob.identity.device) Object.assign(row, { role: 'reader' })
      }
    },
    bob,
  )
  await assert.rejects(take(carol, shared, reader), code)
  const forgetful = await lie(actors, ({ members }) => {
    const own = members.admissions.findIndex(({ device }) => device === carol.identity.device)
    members.admissions.splice(own, 1)
  })
  await assert.rejects(take(carol, shared, forgetful), code)
  assert.equal(carol.volume.frontier().size, 0)
})

test('a statement with another signature, volume or size is refused', async () => {
  const { shared, alice, carol } = await cast('statement')
  const taker = takerOf(carol, shared.secrets)
  const statement = Buffer.from((await makerOf(alice, shared.secrets).offer()) as Uint8Array)
  const code = { code: 'SNAPSHOT_INVALID' }
  for (const at of [1, 40, 80, 120, statement.length - 1]) {
    const changed = Buffer.from(statement)
    changed[at] = (changed[at] as number) ^ 1
    assert.throws(() => taker.begin(changed), code, `byte ${at}`)
  }
  assert.throws(() => taker.begin(statement.subarray(0, 100)), code)
  assert.throws(() => taker.begin(Buffer.alloc(0)), code)
  const newer = Buffer.from(statement)
  newer[0] = 2
  assert.throws(() => taker.begin(newer), { code: 'FORMAT_UNSUPPORTED' })
  const other = createTestVolume('statement/other')
  assert.throws(() => verifyStatement(statement, other.id), code)
})
