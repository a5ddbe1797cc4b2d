/**
 * Proves what a revocation does on whole volumes: what of the revoked device counts is the same on
 * every device in whatever order entries arrive, keys change for those that stay, and nobody else
 * can read what is written later. Real log and tree on memory ports; entries travel when the test
 * says so.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { feedDevice, type FeedId } from '../../../src/types.ts'
import {
  applied,
  asideOf,
  assertSame,
  copyOf,
  create,
  createVolume,
  exchange,
  isMember,
  join,
  opens,
  revoke,
  shows,
} from '../../helpers/revoking.ts'
import { admitTo, deliver, giveFeed, TestDevice, treeText } from '../../helpers/volume-device.ts'

test('what the admin has seen counts, what it has not is kept aside on every device', async () => {
  const { alice, bob, carol } = await createVolume('prefix', { bob: 'writer', carol: 'writer' })
  await create(carol, 'before')
  await deliver(carol, alice)
  await create(carol, 'after')
  await revoke(alice, carol)
  await deliver(carol, bob)
  // Bob hears of the revocation first, and of both files later.
  const late = await createVolume('prefix', { bob: 'writer', carol: 'writer' })
  assert.equal(late.shared.id, alice.volume.id)
  await deliver(alice, late.bob)
  await deliver(carol, late.bob)
  await deliver(carol, alice)
  await deliver(late.bob, alice)
  assert.equal(isMember(late.bob, carol), false)
  for (const device of [alice, late.bob]) {
    assert.equal(shows(device, 'before'), true, device.name)
    assert.equal(shows(device, 'after'), false, device.name)
    assert.equal(asideOf(device, carol), 1)
  }
  assertSame(alice, late.bob)
})

test('what somebody had applied before it heard of the revocation counts everywhere', async () => {
  const { alice, bob, carol } = await createVolume('seen', { bob: 'writer', carol: 'writer' })
  await create(carol, 'seen by bob')
  await deliver(carol, bob)
  await revoke(alice, carol)
  await deliver(carol, alice)
  assert.equal(shows(alice, 'seen by bob'), false, 'nobody vouches for it yet')
  await deliver(alice, bob)
  assert.equal(shows(bob, 'seen by bob'), true)
  assert.equal(isMember(bob, carol), false)
  // Bob has answered the revocation without being asked to.
  await deliver(bob, alice)
  assert.equal(shows(alice, 'seen by bob'), true)
  assert.equal(asideOf(alice, carol), 0)
  assertSame(alice, bob)
})

test('edits made on top of what is kept aside elsewhere bring it back', async () => {
  const { alice, bob, carol } = await createVolume('on top', { bob: 'writer', carol: 'writer' })
  await create(carol, 'one')
  await deliver(carol, bob)
  await create(bob, 'two')
  await revoke(alice, carol)
  await exchange(alice, bob)
  assertSame(alice, bob)
  assert.equal(shows(alice, 'one') && shows(alice, 'two'), true)
})

test('a revoked device learns it, and writes nothing more', async () => {
  const { alice, carol } = await createVolume('itself', { carol: 'writer' })
  await revoke(alice, carol)
  await deliver(alice, carol)
  assert.equal(carol.volume.role(), undefined)
  assert.equal(carol.volume.turns.revokedBy(carol.volume.members)?.device, alice.identity.device)
  await assert.rejects(create(carol, 'x'), { code: 'REVOKED' })
})

test('who was let in by a copy of a home gets the keys that its twin has made', async () => {
  const seed = 'twins'
  const { shared, alice, bob, erin } = await createVolume(seed, { bob: 'writer', erin: 'writer' })
  const { disk, rows } = alice.state
  const state = { disk: disk.copy(), rows: copyOf(rows), secrets: alice.keys.secrets }
  const twin = await TestDevice.open(shared, 'alice', seed, state, 1)
  await revoke(twin, erin)
  await create(twin, 'sealed with the new keys')
  const frank = await join(alice, 'frank', shared, seed)
  await create(frank, 'sealed with the old ones')
  // The two never meet but through others.
  for (let round = 0; round < 3; round++) {
    await exchange(alice, bob, frank)
    await exchange(twin, bob, frank)
  }
  assert.equal(shows(frank, 'sealed with the new keys'), true)
  // Only names of branches differ.
  for (const device of [bob, twin, frank]) {
    assert.equal(treeText(device), treeText(alice))
    assert.equal(applied(device), applied(alice))
  }
  await create(alice, 'later')
  await exchange(alice, bob, frank)
  assert.equal(shows(frank, 'later'), true)
  assert.equal(opens(erin, frank, alice.volume.ownFeed), false)
})

test('what a copy of a home had applied counts when its twin revokes the author', async () => {
  const seed = 'twin answers'
  const { shared, alice, bob, carol } = await createVolume(seed, { bob: 'writer', carol: 'writer' })
  const { disk, rows } = alice.state
  const state = { disk: disk.copy(), rows: copyOf(rows), secrets: alice.keys.secrets }
  const twin = await TestDevice.open(shared, 'alice', seed, state, 1)
  await create(carol, 'seen by alice')
  await deliver(carol, alice)
  await revoke(twin, carol)
  for (let round = 0; round < 2; round++) {
    await exchange(twin, bob)
    await exchange(alice, bob)
  }
  for (const device of [alice, bob, twin]) {
    assert.equal(shows(device, 'seen by alice'), true)
    assert.equal(applied(device), applied(alice))
  }
})

test('a farewell is believed when an admin signed it, and survives a restart', async () => {
  const seed = 'farewell'
  const { shared, alice, bob, carol } = await createVolume(seed, { bob: 'writer', carol: 'writer' })
  await create(alice, 'not at carol')
  await revoke(alice, carol)
  await deliver(alice, bob)
  const farewell = bob.volume.turns.farewell(bob.volume.members, carol.identity.device)
  assert.ok(farewell)
  const [other] = alice.feeds.read(alice.volume.ownFeed, 1, 1)
  assert.ok(other)
  await assert.rejects(carol.volume.takeFarewell({ feed: farewell.feed, frame: other.bytes }), {
    code: 'NOT_PERMITTED',
  })
  const flipped = Buffer.from(farewell.frame)
  flipped[flipped.length - 1] = (flipped.at(-1) as number) ^ 1
  await assert.rejects(carol.volume.takeFarewell({ feed: farewell.feed, frame: flipped }), {
    code: 'ENTRY_INVALID',
  })
  assert.equal(carol.volume.role(), 'writer')
  await carol.volume.takeFarewell(farewell)
  assert.equal(carol.volume.role(), undefined)
  await carol.volume.close()
  const again = await TestDevice.open(shared, 'carol', seed, carol.state, 1)
  assert.equal(again.volume.turns.revokedBy(again.volume.members)?.device, alice.identity.device)
  await assert.rejects(create(again, 'x'), { code: 'REVOKED' })
})

test('two admins that revoke each other: both are out where both were heard of', async () => {
  const roles = { bob: 'admin', carol: 'writer', dave: 'writer' } as const
  const { alice, bob, carol, dave } = await createVolume('mutual', roles)
  await revoke(alice, bob)
  await revoke(bob, alice)
  await deliver(alice, carol)
  await deliver(bob, dave)
  assert.deepEqual([isMember(carol, bob), isMember(dave, alice)], [false, false])
  await exchange(carol, dave)
  assertSame(carol, dave)
  assert.deepEqual([isMember(carol, bob), isMember(carol, alice)], [false, false])
})

test('two admins that revoke each other: the one that others know first stays', async () => {
  const roles = { bob: 'admin', carol: 'writer', dave: 'writer' } as const
  const { alice, bob, carol, dave } = await createVolume('first', roles)
  await revoke(alice, bob)
  await revoke(bob, alice)
  await deliver(alice, carol)
  await deliver(alice, dave)
  await deliver(bob, carol)
  await exchange(alice, carol, dave)
  assertSame(alice, carol, dave)
  assert.equal(isMember(dave, alice), true)
  assert.equal(asideOf(dave, bob), 1)
})

test('whom a revoked admin lets in without anybody knowing is not in', async () => {
  const seed = 'late admission'
  const roles = { bob: 'admin', carol: 'writer' } as const
  const { shared, alice, bob, carol } = await createVolume(seed, roles)
  await revoke(alice, bob)
  const erin = await join(bob, 'erin', shared, seed)
  await create(erin, 'by erin')
  await exchange(alice, carol)
  for (const to of [alice, carol]) for (const from of [bob, erin]) await deliver(from, to)
  await exchange(alice, carol)
  assertSame(alice, carol)
  assert.equal(isMember(alice, erin), false)
  assert.equal(shows(carol, 'by erin'), false)
})

test('whom an admin lets in stays when a member knew it before the revocation', async () => {
  const seed = 'early admission'
  const roles = { bob: 'admin', carol: 'writer' } as const
  const { shared, alice, bob, carol } = await createVolume(seed, roles)
  const erin = await join(bob, 'erin', shared, seed)
  await create(erin, 'by erin')
  for (const from of [bob, erin]) await deliver(from, carol)
  await revoke(alice, bob)
  await exchange(alice, carol, erin)
  assertSame(alice, carol, erin)
  assert.equal(isMember(alice, erin), true)
  assert.equal(shows(alice, 'by erin'), true)
})

test('a revocation ends the invites made before it, not the recovery key', async () => {
  const { alice, carol } = await createVolume('invites', { carol: 'writer' })
  const nowMs = Date.UTC(2026, 10, 20, 15)
  const { members } = alice.volume
  await alice.volume.write([
    {
      type: 'invite',
      inviteKey: Buffer.alloc(32, 9),
      role: 'writer',
      expiresMs: nowMs + 1e6,
      usesMax: 5,
    },
  ])
  assert.equal(members.openInvites(nowMs).length, 2)
  await revoke(alice, carol)
  const open = alice.volume.members.openInvites(nowMs)
  assert.deepEqual(
    open.map(({ isRecovery }) => isRecovery),
    [true],
  )
})

test('a device that is let in again goes on, and what was kept aside counts', async () => {
  const seed = 'again'
  const roles = { bob: 'writer', carol: 'writer' } as const
  const { shared, alice, bob, carol } = await createVolume(seed, roles)
  await revoke(alice, carol)
  await create(carol, 'aside')
  await deliver(carol, alice)
  await exchange(alice, bob)
  assert.equal(shows(alice, 'aside'), false)
  await admitTo(alice.volume, carol.identity, 'carol again', shared)
  await carol.volume.close()
  carol.state.secrets = alice.keys.secrets
  const again = await TestDevice.open(shared, 'carol', seed, carol.state, 1)
  await exchange(alice, bob, again)
  assert.equal(again.volume.role(), 'writer')
  await create(again, 'back')
  await exchange(alice, bob, again)
  assertSame(alice, bob, again)
  assert.equal(shows(bob, 'aside') && shows(bob, 'back'), true)
  assert.equal(again.keys.currentGeneration, alice.keys.currentGeneration)
})

test('branches of a revoked device count up to what was known of each', async () => {
  const seed = 'fork'
  const { shared, alice, bob, carol } = await createVolume(seed, { bob: 'writer', carol: 'writer' })
  const copy = await TestDevice.open(
    shared,
    'carol',
    seed,
    { disk: carol.state.disk.copy(), rows: copyOf(carol.state.rows) },
    7,
  )
  await create(carol, 'left')
  await create(copy, 'right')
  for (const from of [carol, copy]) await deliver(from, alice)
  await create(carol, 'left later')
  await create(copy, 'right later')
  await revoke(alice, carol)
  for (const from of [copy, carol]) await deliver(from, bob)
  const fresh = await TestDevice.open(shared, 'dave', seed)
  await alice.admit(fresh.identity, 'dave', 'writer', shared)
  fresh.state.secrets = alice.keys.secrets
  await exchange(alice, bob)
  for (const from of [copy, carol]) await deliver(from, alice)
  await exchange(alice, bob)
  assertSame(alice, bob)
  assert.equal(shows(alice, 'left') && shows(alice, 'right'), true)
})

test('later entries are sealed for those who stay, also for one that was away', async () => {
  const { alice, bob, carol } = await createVolume('keys', { bob: 'writer', carol: 'writer' })
  await create(alice, 'old')
  await deliver(alice, carol)
  assert.equal(opens(carol, alice, alice.volume.ownFeed), true)
  await revoke(alice, carol)
  assert.equal(opens(carol, alice, alice.volume.ownFeed), true, 'it may read that it is out')
  await create(alice, 'secret')
  assert.equal(opens(carol, alice, alice.volume.ownFeed), false)
  assert.deepEqual(carol.keys.secrets.generations(), [0])
  await deliver(alice, bob)
  assert.equal(shows(bob, 'secret'), true)
  assert.equal(bob.keys.currentGeneration, alice.keys.currentGeneration)
  await create(bob, 'secret of bob')
  assert.equal(opens(carol, bob, bob.volume.ownFeed), false)
  assert.equal(opens(alice, bob, bob.volume.ownFeed), true)
  // Whatever carol is given: it does not open, and she does not take it for damage.
  await deliver(alice, carol)
  await deliver(bob, carol)
  assert.equal(shows(carol, 'secret'), false)
})

test('who joins later holds every generation, reads old and new', async () => {
  const seed = 'joins later'
  const { shared, alice, carol } = await createVolume(seed, { carol: 'writer' })
  await create(carol, 'old')
  await deliver(carol, alice)
  await revoke(alice, carol)
  await create(alice, 'new')
  const erin = await join(alice, 'erin', shared, seed)
  assert.equal(shows(erin, 'old') && shows(erin, 'new'), true)
  await create(erin, 'first of erin')
  assert.equal(opens(carol, erin, erin.volume.ownFeed), false, 'from her first entry on')
  await deliver(erin, alice)
  assertSame(alice, erin)
})

test('whom a member lets in that does not know of the revocation is handed the keys', async () => {
  const seed = 'handed'
  const { shared, alice, bob, carol } = await createVolume(seed, { bob: 'admin', carol: 'writer' })
  await revoke(alice, carol)
  await create(alice, 'new')
  const erin = await join(bob, 'erin', shared, seed)
  await deliver(alice, erin)
  assert.equal(shows(erin, 'new'), false)
  assert.ok(erin.problems.some((problem) => problem.startsWith('KEY_MISSING')))
  await deliver(alice, bob)
  await deliver(bob, erin)
  assert.equal(shows(erin, 'new'), true)
  await exchange(alice, bob, erin)
  assertSame(alice, bob, erin)
})

test('two admins revoke two devices at once: in the end neither can read', async () => {
  const roles = { bob: 'admin', carol: 'writer', dave: 'writer', erin: 'writer' } as const
  const { alice, bob, carol, dave, erin } = await createVolume('both', roles)
  await revoke(alice, carol)
  await revoke(bob, dave)
  assert.notEqual(alice.keys.currentGeneration, bob.keys.currentGeneration)
  await exchange(alice, bob, erin)
  assertSame(alice, bob, erin)
  for (const device of [alice, bob, erin]) await create(device, `by ${device.name}`)
  // Dave was handed alice's generation, carol was handed bob's.
  for (const out of [carol, dave]) {
    for (const from of [alice, bob, erin]) await deliver(from, out)
    for (const from of [alice, bob, erin])
      assert.equal(opens(out, from, from.volume.ownFeed), false)
  }
})

test('a device that dies between log, secrets and index is handed the keys again', async () => {
  for (const isKept of [false, true]) {
    const seed = `crash ${isKept}`
    const { shared, alice, bob, carol } = await createVolume(seed, {
      bob: 'writer',
      carol: 'writer',
    })
    await revoke(alice, carol)
    await create(alice, 'new')
    const rows = copyOf(bob.state.rows)
    await deliver(alice, bob)
    await bob.volume.close()
    // The index is that of before; the file of secrets was written, or was not.
    const state = { disk: bob.state.disk, rows, ...(isKept ? { secrets: bob.keys.secrets } : {}) }
    const again = await TestDevice.open(shared, 'bob', seed, state, 1)
    await again.volume.settled()
    assert.equal(shows(again, 'new'), true)
    await exchange(alice, again)
    assertSame(alice, again)
  }
})

test('an admin that dies while it revokes has revoked, and seals what others open', async () => {
  const seed = 'author dies'
  const { shared, alice, bob, carol } = await createVolume(seed, { bob: 'writer', carol: 'writer' })
  const before = copyOf(alice.state.rows)
  await revoke(alice, carol)
  await alice.volume.close()
  const state = { disk: alice.state.disk, rows: before }
  const again = await TestDevice.open(shared, 'alice', seed, state, 1)
  await create(again, 'after')
  await deliver(again, bob)
  assert.equal(isMember(bob, carol), false)
  assert.equal(shows(bob, 'after'), true)
  assert.equal(opens(carol, again, again.volume.ownFeed), false)
})

test('nobody but an admin revokes, and nobody itself', async () => {
  const { alice, bob, carol } = await createVolume('rights', { bob: 'writer', carol: 'writer' })
  await assert.rejects(revoke(bob, carol), { code: 'NOT_PERMITTED' })
  await assert.rejects(revoke(alice, alice), { code: 'BAD_ARGUMENT' })
  await revoke(alice, carol)
  await assert.rejects(revoke(alice, carol), { code: 'NOT_A_MEMBER' })
  const forged = alice.volume.turns.revocation(alice.volume.members, bob.identity.device)
  await bob.volume.write([...forged])
  await exchange(alice, bob)
  assert.equal(isMember(alice, bob), true)
  assert.ok(alice.problems.some((problem) => problem.includes('only admins revoke')))
})

test('a reader that is there answers too', async () => {
  const { alice, bob, carol } = await createVolume('reader', { bob: 'reader', carol: 'writer' })
  await create(carol, 'seen by a reader')
  await deliver(carol, bob)
  await revoke(alice, carol)
  await deliver(carol, alice)
  await exchange(alice, bob)
  assertSame(alice, bob)
  assert.equal(shows(alice, 'seen by a reader'), true)
})

test('an index that is made anew does not take what was kept aside', async () => {
  const seed = 'rebuilt'
  const { shared, alice, bob, carol } = await createVolume(seed, { bob: 'writer', carol: 'admin' })
  await revoke(alice, carol)
  await deliver(alice, bob)
  await create(carol, 'aside')
  for (const to of [alice, bob]) await deliver(carol, to)
  await exchange(alice, bob)
  for (const device of [alice, bob]) {
    await device.volume.close()
    const { disk } = device.state
    const state = { disk, rows: new MemoryRowStore(), secrets: device.keys.secrets }
    const again = await TestDevice.open(shared, device.name, seed, state, 1)
    await again.volume.settled()
    assert.equal(shows(again, 'aside'), false, device.name)
    assert.equal(asideOf(again, carol), 1, device.name)
  }
})

test('who joins later does not take what was kept aside, whatever arrives first', async () => {
  const seed = 'newcomer'
  const { shared, alice, bob, carol } = await createVolume(seed, { bob: 'writer', carol: 'admin' })
  await revoke(alice, carol)
  await deliver(alice, bob)
  await create(carol, 'aside')
  for (const to of [alice, bob]) await deliver(carol, to)
  await exchange(alice, bob)
  const identity = (await TestDevice.open(shared, 'erin', seed)).identity
  await admitTo(alice.volume, identity, 'erin', shared)
  await exchange(alice, bob)
  for (const isGuided of [true, false]) {
    const state = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
    const erin = await TestDevice.open(
      shared,
      'erin',
      seed,
      {
        ...state,
        secrets: alice.keys.secrets,
        ...(isGuided ? { guide: alice.identity.device } : {}),
      },
      1,
    )
    // Carol's feed comes whole before anything else.
    const feeds = [...alice.volume.frontier().keys()]
    const rank = (feed: FeedId): number => (feedDevice(feed) === carol.identity.device ? 0 : 1)
    const founding = alice.volume.ownFeed
    await giveFeed(alice.volume, erin.volume, founding, 1)
    for (const feed of feeds.sort((a, b) => rank(a) - rank(b))) {
      await giveFeed(alice.volume, erin.volume, feed)
    }
    await erin.volume.settled()
    assert.equal(erin.volume.role(), 'writer')
    // Without knowing who let it in, the order of arrival decides: this is what the guide is for.
    if (isGuided) assert.equal(shows(erin, 'aside'), false)
  }
})
