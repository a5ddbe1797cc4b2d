/**
 * Proves who is in and who may do what, whatever the order of arrival. Real entries by several
 * authors are folded in causal orders, among them forged, late, repeated and forbidden ones.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { createActor } from '../../../src/log/actors.ts'
import { openEntry } from '../../../src/log/entry.ts'
import { EMPTY_FRONTIER, frontierHas } from '../../../src/log/frontier.ts'
import type { ControlOp, Entry, EntryFrame } from '../../../src/log/interface.ts'
import {
  admissionMessage,
  MemberTable,
  signAdmission,
  type FoldResult,
} from '../../../src/log/membership.ts'
import { signingKeys } from '../../../src/seal.ts'
import { branchId, feedId, type ActorId, type VolumeId } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { type Author, LogWorld, NOW_MS, treeOf } from './authors.ts'

const DAY_MS = 24 * 3600 * 1000
const INVITE_SEED = Buffer.alloc(32, 0x17)

/** An actor of an author's feed. */
function actorOf({ feed }: Author, seed = 0): ActorId {
  return createActor(feed, new SeededRandom(seed))
}

/** A table and the entries it folded, in the order of calls. */
class Folder {
  readonly world: LogWorld
  table: MemberTable

  constructor(world: LogWorld) {
    this.world = world
    this.table = new MemberTable(world.volume)
  }

  open(frame: EntryFrame): Entry {
    return openEntry(frame, {
      volume: this.world.volume,
      keys: this.world.secrets.logKeys(),
      previousFrontier: this.table.frontierOf(frame.feed),
    })
  }

  fold(...frames: EntryFrame[]): FoldResult {
    const results = frames.map((frame) => this.table.fold(this.open(frame)))
    return results.at(-1) as FoldResult
  }
}

function inviteOp(changes: Partial<ControlOp & { type: 'invite' }> = {}): ControlOp {
  return {
    type: 'invite',
    inviteKey: signingKeys(INVITE_SEED).publicKey,
    role: 'writer',
    expiresMs: NOW_MS + DAY_MS,
    usesMax: 2,
    ...changes,
  }
}

function requestOf(world: LogWorld, joiner: Author, seed = INVITE_SEED) {
  const { device, box } = joiner.identity
  const request = { volume: world.volume, device, boxKey: box.publicKey, deviceName: 'bob' }
  return { ...request, ...signAdmission(seed, request) }
}

function admitOp(world: LogWorld, joiner: Author, seed = INVITE_SEED): ControlOp {
  const { volume: _, ...request } = requestOf(world, joiner, seed)
  return { type: 'admit', ...request }
}

/** A volume where the creator has written an invite. */
function invited(changes: Partial<ControlOp & { type: 'invite' }> = {}) {
  const world = new LogWorld()
  const folder = new Folder(world)
  const invite = world.creator.write({ control: [inviteOp(changes)] })
  folder.fold(world.genesis, invite)
  return { world, folder, invite, creator: world.creator, bob: world.author(2) }
}

/** The same, with bob let in by the creator. */
function joined(changes: Partial<ControlOp & { type: 'invite' }> = {}) {
  const start = invited(changes)
  const { world, folder, creator, bob } = start
  const admit = creator.write({ control: [admitOp(world, bob)] })
  folder.fold(admit)
  bob.see(creator)
  return { ...start, admit }
}

test('the genesis makes its author an admin', () => {
  const world = new LogWorld()
  const folder = new Folder(world)
  assert.equal(folder.table.isMember(world.creator.identity.device), false)
  assert.deepEqual(folder.fold(world.genesis).verdict, { state: 'valid' })
  const [member, ...others] = folder.table.members()
  assert.equal(others.length, 0)
  assert.equal(member?.role, 'admin')
  assert.equal(member?.name, 'alice')
  assert.equal(folder.table.volumeName, 'photos')
  assert.deepEqual(member?.admittedBy, {
    feed: world.creator.feed,
    seq: 0,
    hash: world.genesis.hash,
  })
})

test('an invite lets a device in, which then writes', () => {
  const { folder, bob, world } = joined()
  const { table } = folder
  assert.equal(table.member(bob.identity.device)?.role, 'writer')
  assert.equal(table.member(bob.identity.device)?.name, 'bob')
  assert.equal(table.usesLeft(signingKeys(INVITE_SEED).publicKey.toString('hex')), 1)
  const frame = bob.write({ tree: treeOf(world, 9), control: [{ type: 'ack' }] })
  assert.equal(folder.fold(frame).verdict.state, 'valid')
})

test('a stranger, and a member that does not know of its admission yet, count as empty', () => {
  const { folder, world, creator } = invited()
  const stranger = world.author(7).see(creator)
  assert.equal(folder.fold(stranger.write({ control: [{ type: 'ack' }] })).verdict.state, 'empty')
  const early = world.author(2)
  const frame = early.write({ tree: treeOf(world, 5) })
  folder.fold(creator.write({ control: [admitOp(world, early)] }))
  assert.equal(folder.fold(frame).verdict.state, 'empty', 'although the table knows it by now')
  assert.equal(folder.fold(early.see(creator).write()).verdict.state, 'valid')
})

test('a reader writes acknowledgements but no tree', () => {
  const { folder, bob, world } = joined({ role: 'reader' })
  assert.equal(folder.fold(bob.write({ control: [{ type: 'ack' }] })).verdict.state, 'valid')
  const actor: ControlOp = { type: 'actor', actor: actorOf(bob), deviceName: 'bob' }
  const result = folder.fold(bob.write({ tree: treeOf(world, 5), control: [actor] }))
  assert.deepEqual(result.verdict, { state: 'empty', reason: 'a reader changes the tree' })
  assert.deepEqual(result.actors, [], 'nothing of the entry counts')
  assert.equal(folder.fold(bob.write({ control: [actor] })).actors.length, 1)
})

test('only admins invite', () => {
  const { folder, bob } = joined()
  const inviteKey = Buffer.alloc(32, 5)
  const result = folder.fold(bob.write({ control: [inviteOp({ inviteKey, role: 'admin' })] }))
  assert.equal(result.verdict.state, 'valid')
  assert.match(result.problems[0] as string, /invite ignored: only admins invite/)
  assert.equal(folder.table.usesLeft(inviteKey.toString('hex')), 0)
})

test('an invited admin invites, and so does who holds the recovery code', () => {
  const { folder, world, bob } = joined({ role: 'admin' })
  const inviteKey = Buffer.alloc(32, 5)
  assert.deepEqual(folder.fold(bob.write({ control: [inviteOp({ inviteKey })] })).problems, [])
  const carol = world.author(3)
  const late = NOW_MS + 3650 * DAY_MS
  const admit = bob.write({
    control: [admitOp(world, carol, world.recoverySeed)],
    hlc: late * 1000,
  })
  folder.fold(admit)
  assert.equal(folder.table.member(carol.identity.device)?.role, 'admin')
  const recovery = folder.table.openInvites(late).find((invite) => invite.isRecovery)
  assert.equal(recovery?.usesLeft, Infinity)
})

test('forged, unknown, expired and used-up admissions are ignored and reported', () => {
  const { folder, world, creator } = invited()
  const [b, c, d] = [world.author(2), world.author(3), world.author(4)] as [Author, Author, Author]
  const right = admitOp(world, b) as ControlOp & { type: 'admit' }
  const cases: [RegExp, ControlOp, number?][] = [
    [/did not sign/, { ...right, signature: Buffer.alloc(64, 1) }],
    [/did not sign/, { ...right, deviceName: 'mallory' }],
    [/did not sign/, { ...right, boxKey: Buffer.alloc(32, 1) }],
    [/did not sign/, { ...right, device: c.identity.device }],
    [/not in its past/, admitOp(world, b, Buffer.alloc(32, 0x99))],
    [/had expired/, right, NOW_MS + DAY_MS + 1],
  ]
  for (const [problem, op, nowMs = NOW_MS] of cases) {
    const result = folder.fold(creator.write({ control: [op], hlc: nowMs * 1000 }))
    assert.match(result.problems[0] as string, problem)
    assert.equal(folder.table.members().length, 1)
  }
  folder.fold(creator.write({ control: [right, admitOp(world, c)] }))
  const result = folder.fold(creator.write({ control: [admitOp(world, d)] }))
  assert.match(result.problems[0] as string, /used up/)
  assert.equal(folder.table.members().length, 3)
  assert.deepEqual(folder.fold(creator.write({ control: [right] })).problems, [], 'again is fine')
})

test('an invite used too often during a partition lets all of them in, and says so', () => {
  const { folder, world, creator, bob } = joined()
  folder.fold(bob.write())
  const [c, d] = [world.author(3), world.author(4)] as [Author, Author]
  const here = creator.write({ control: [admitOp(world, c)] })
  const there = bob.write({ control: [admitOp(world, d)] })
  assert.deepEqual(folder.fold(here).problems, [])
  assert.match(folder.fold(there).problems[0] as string, /let in 3 devices, 2 were allowed/)
  assert.equal(folder.table.members().length, 4)
  assert.equal(folder.table.openInvites(NOW_MS).filter((invite) => !invite.isRecovery).length, 0)
})

test('a device says its name, its labels and its actors', () => {
  const { folder, bob, creator } = joined()
  const actor = actorOf(bob)
  const control: ControlOp[] = [
    { type: 'actor', actor, deviceName: 'bob on the road' },
    { type: 'labels', labels: { region: 'eu' } },
  ]
  const result = folder.fold(bob.write({ control }))
  const { device } = bob.identity
  assert.deepEqual(result.actors, [{ actor, device, deviceName: 'bob on the road' }])
  assert.equal(folder.table.member(device)?.name, 'bob on the road')
  assert.deepEqual(folder.table.member(device)?.labels, { region: 'eu' })
  assert.deepEqual([...folder.table.actorsOf(feedId(device, 0))], [actor])
  const thief = folder.fold(creator.see(bob).write({ control: control.slice(0, 1) }))
  assert.match(thief.problems[0] as string, /of another feed/)
  const early = folder.fold(
    creator.write({ control: control.slice(0, 1), frontier: new Map(creator.frontier) }),
  )
  assert.deepEqual(early.actors, [])
})

test('actors of a branch follow from its past, also of one that has the name of its feed', () => {
  // As for who took a snapshot: the newest entries came first, those below went on elsewhere.
  const { world, folder, bob } = joined()
  const [mine, other] = [actorOf(bob, 1), actorOf(bob, 2)]
  const below = branchId(bob.feed, 'b'.repeat(64))
  const announce = (actor: ActorId): ControlOp[] => [{ type: 'actor', actor, deviceName: 'bob' }]
  const first = bob.write({ control: announce(mine) })
  const elsewhere = bob.twin(1).write({ control: announce(other) })
  for (const frame of [first, elsewhere]) folder.fold({ ...frame, feed: below })
  const previousFrontier = new Map([
    ...folder.table.frontierOf(below),
    [below, { length: 1, hash: first.hash }] as const,
  ])
  const keys = world.secrets.logKeys()
  const second = openEntry(bob.write(), { volume: world.volume, keys, previousFrontier })
  folder.table.fold(second)
  assert.deepEqual([...folder.table.actorsFor(second)], [mine])
  assert.deepEqual([...folder.table.actorsFor(folder.open(bob.write()))], [mine])
})

test('operations of a newer version stop the feed, not the table', () => {
  const { folder, bob } = joined()
  const unknown: ControlOp = { type: 'unknown', bytes: Buffer.from('81a474797065a3666f6f', 'hex') }
  const frame = bob.write({ control: [unknown] })
  assert.deepEqual(folder.open(frame).control, [unknown])
  assert.equal(folder.fold(frame).verdict.state, 'unknown')
  assert.equal(folder.table.foldedLength(bob.feed), 0)
})

test('an entry that does not open is stepped over', () => {
  const { folder, bob } = joined()
  folder.table.skip(bob.write(), EMPTY_FRONTIER)
  folder.table.skip(bob.frames[0] as EntryFrame, EMPTY_FRONTIER)
  assert.equal(folder.table.foldedLength(bob.feed), 1)
})

test('requests are checked as the fold will check them', () => {
  const { folder, world, bob, creator } = invited()
  const { table } = folder
  const request = requestOf(world, bob)
  const inviteKey = request.inviteKey.toString('hex')
  const ask = (changes: object = {}, nowMs = NOW_MS): unknown =>
    table.checkAdmission({ ...request, inviteKey, ...changes }, nowMs)
  assert.deepEqual(ask(), admitOp(world, bob))
  const invalid = { code: 'INVITE_INVALID' }
  assert.throws(() => ask({ volume: 'ab'.repeat(32) as VolumeId }), invalid)
  assert.throws(() => ask({ inviteKey: 'ab'.repeat(32) }), invalid)
  assert.throws(() => ask({ inviteKey: 'nonsense' }), invalid)
  assert.throws(() => ask({ deviceName: 'mallory' }), invalid)
  assert.throws(() => ask({ signature: Buffer.alloc(3) }), invalid)
  assert.throws(() => ask({}, NOW_MS + DAY_MS + 1), { code: 'INVITE_EXPIRED' })
  folder.fold(creator.write({ control: [3, 4].map((seed) => admitOp(world, world.author(seed))) }))
  assert.throws(() => ask(), { code: 'INVITE_USED_UP' })
  const again = requestOf(world, world.author(3))
  assert.equal(table.checkAdmission({ ...again, inviteKey }, NOW_MS).type, 'admit')
})

test('the signed message tells every field apart', () => {
  const world = new LogWorld()
  const request = requestOf(world, world.author(2))
  const base = admissionMessage(request).toString('hex')
  const changes = [
    { volume: 'ab'.repeat(32) as VolumeId },
    { inviteKey: Buffer.alloc(32) },
    { device: world.author(3).identity.device },
    { boxKey: Buffer.alloc(32) },
    { deviceName: 'bo' },
  ]
  for (const change of changes) {
    assert.notEqual(admissionMessage({ ...request, ...change }).toString('hex'), base)
  }
})

/** Everything a table shows. */
function show(table: MemberTable): unknown {
  return {
    name: table.volumeName,
    members: table
      .members()
      .map((member) => ({ ...member, boxKey: Buffer.from(member.boxKey).toString('hex') })),
    invites: table.openInvites(NOW_MS).sort((a, b) => (a.inviteKey < b.inviteKey ? -1 : 1)),
    actors: table.members().map(({ device }) => [...table.actorsOf(feedId(device, 0))].sort()),
  }
}

test('every causal order gives the same table, and so does putting it away in between', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = new LogWorld(seed)
    const random = new SeededRandom(seed)
    const authors = [world.creator, ...[2, 3, 4, 5].map((number) => world.author(number))]
    const frames: EntryFrame[] = [world.genesis]
    const pick = (): Author => authors[random.below(authors.length)] as Author
    const ops = (): ControlOp => {
      const invitePick = random.below(4)
      const choices: ControlOp[] = [
        inviteOp({
          inviteKey: signingKeys(Buffer.alloc(32, invitePick)).publicKey,
          role: invitePick === 0 ? 'admin' : 'reader',
        }),
        admitOp(world, pick(), Buffer.alloc(32, invitePick)),
        admitOp(world, pick(), world.recoverySeed),
        {
          type: 'actor',
          actor: actorOf(pick(), invitePick),
          deviceName: `n${seed}`,
        },
        { type: 'labels', labels: { k: `${random.below(99)}` } },
      ]
      return choices[random.below(choices.length)] as ControlOp
    }
    for (let step = 0; step < 40; step++) {
      const author = pick()
      if (author.head && random.below(2) === 0) author.see(pick())
      else author.see(world.creator)
      const tree = random.below(5) === 0 ? treeOf(world, 4) : undefined
      frames.push(author.write({ control: [ops(), ops()], tree, hlc: NOW_MS * 1000 + step }))
    }
    const tables = [0, 1, 2].map(() => foldInSomeOrder(world, frames, random))
    for (const table of tables)
      assert.deepEqual(show(table), show(tables[0] as MemberTable), `seed ${seed}`)
  }
})

function foldInSomeOrder(world: LogWorld, frames: EntryFrame[], random: SeededRandom): MemberTable {
  const folder = new Folder(world)
  const rows = new Map<string, Uint8Array>()
  const waiting = [...frames]
  while (waiting.length > 0) {
    const ready = waiting.filter((frame) => {
      if (folder.table.foldedLength(frame.feed) !== frame.seq) return false
      const { frontier } = folder.open(frame)
      return [...frontier].every(([feed, { length }]) => folder.table.foldedLength(feed) >= length)
    })
    const frame = ready[random.below(ready.length)] as EntryFrame
    const entry = folder.open(frame)
    folder.table.fold(entry)
    folder.table.fold(entry)
    waiting.splice(waiting.indexOf(frame), 1)
    for (const [key, row] of folder.table.takeRows()) rows.set(key, row)
    if (random.below(4) === 0) {
      folder.table = MemberTable.restore(world.volume, (key) => rows.get(key))
    }
  }
  assert.equal(
    frontierHas(folder.table.frontierOf(world.creator.feed), world.creator.feed, 0),
    false,
  )
  return folder.table
}

test('an entry that changes no member dirties one small row', () => {
  const { folder, bob } = joined()
  folder.fold(bob.write())
  const rows = folder.table.takeRows()
  assert.deepEqual([...rows.keys()].length, 3, 'members and two feeds')
  folder.fold(bob.write())
  const next = folder.table.takeRows()
  assert.deepEqual([...next.keys()], [`log/feed/${bob.feed}`])
  assert.ok((next.get(`log/feed/${bob.feed}`)?.length ?? 999) < 100)
  assert.equal(folder.table.takeRows().size, 0)
  const broken = (): unknown => MemberTable.restore(folder.world.volume, () => Buffer.from([0xc1]))
  assert.throws(broken, { code: 'INDEX_CORRUPT' })
})
