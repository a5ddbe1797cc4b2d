/**
 * Proves what is told of a time without any device: new, changed, renamed, brought back and deleted
 * things of others, and nothing else, whatever the slices in which the log is read. Real volumes on
 * memory ports; entries travel when the test says so.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Edit } from '../../../src/crdt/interface.ts'
import type { RecordView } from '../../../src/crdt/past.ts'
import { ChangeQueries } from '../../../src/daemon/change-queries.ts'
import { LogChanges, type LogChange } from '../../../src/daemon/log-changes.ts'
import type { Clock } from '../../../src/system.ts'
import type { FeedId, FileName, Hlc, InodeId } from '../../../src/types.ts'
import {
  createTestVolume,
  deliver,
  TestClock,
  TestDevice,
  type TestVolume,
} from '../../helpers/volume-device.ts'

const ATTRIBUTES = { mode: 0o644, uid: 0, gid: 0 }
const EMPTY = { ref: { type: 'empty' } as const, sizeBytes: 0 }
const chunk = (byte: string) => ({
  ref: { type: 'chunk' as const, address: byte.repeat(64) as never },
  sizeBytes: 1,
})
const name = (text: string): FileName => text as FileName

class Story {
  readonly shared: TestVolume
  readonly alice: TestDevice
  readonly bob: TestDevice
  readonly clock: TestClock
  since = new Map<FeedId, number>()

  private constructor(shared: TestVolume, clock: TestClock, alice: TestDevice, bob: TestDevice) {
    this.shared = shared
    this.clock = clock
    this.alice = alice
    this.bob = bob
  }

  static async begin(seed: string): Promise<Story> {
    const clock = new TestClock()
    const shared = createTestVolume(seed, clock)
    const alice = await TestDevice.open(shared, 'alice', seed)
    const bob = await TestDevice.open(shared, 'bob', seed)
    await alice.admit(bob.identity, 'bob', 'writer', shared)
    return new Story(shared, clock, alice, bob)
  }

  async settle(): Promise<void> {
    for (const device of [this.alice, this.bob]) await device.publish()
    await deliver(this.alice, this.bob)
    await deliver(this.bob, this.alice)
  }

  /** Bob loses everybody: what he has now is what he knows. */
  async leave(): Promise<void> {
    await this.settle()
    for (const [feed, { length }] of this.bob.volume.frontier()) this.since.set(feed, length)
  }

  /** Time passes with each edit, and one entry holds it. */
  async do(device: TestDevice, edit: (overlay: TestDevice['overlay']) => Edit): Promise<void> {
    this.clock.ms += 1000
    device.do(edit(device.overlay))
    await device.publish()
  }

  async file(device: TestDevice, parent: InodeId, text: string): Promise<InodeId> {
    let id: InodeId | undefined
    await this.do(device, (overlay) => {
      const created = overlay.createFile(parent, name(text), { ...ATTRIBUTES, content: EMPTY })
      id = created.id
      return created.edit
    })
    return id as InodeId
  }

  async directory(device: TestDevice, parent: InodeId, text: string): Promise<InodeId> {
    let id: InodeId | undefined
    await this.do(device, (overlay) => {
      const created = overlay.mkdir(parent, name(text), ATTRIBUTES)
      id = created.id
      return created.edit
    })
    return id as InodeId
  }

  queries(clock: Clock = this.clock): ChangeQueries {
    const { bob, shared } = this
    const log = new LogChanges({
      volume: shared.id,
      device: bob.identity.device,
      feeds: bob.feeds,
      keys: bob.keys,
      clock,
      applied: () => bob.volume.appliedFrontier(),
    })
    return new ChangeQueries({
      overlay: bob.overlay,
      vfs: { breathe: () => Promise.resolve() },
      logChanges: (query) => Promise.resolve(log.slice(query)),
    })
  }

  async told(countMax = 100): Promise<string[]> {
    const answer = await this.queries().changesSince({ since: this.since, countMax })
    assert.ok(answer.isComplete)
    return answer.changes.map(({ kind, path, from, hasNewContent }) =>
      [kind, path, ...(from ? [`from ${from}`] : []), ...(hasNewContent ? ['content'] : [])].join(
        ' ',
      ),
    )
  }
}

test('each kind is told once, the newest first, and own changes are not', async () => {
  const story = await Story.begin('kinds')
  const { alice, bob } = story
  const { root } = alice.overlay
  const docs = await story.directory(alice, root, 'docs')
  const old = await story.directory(alice, docs, 'old')
  await story.file(alice, old, 'kept')
  const edited = await story.file(alice, docs, 'edited')
  const touched = await story.file(alice, docs, 'touched')
  await story.file(alice, docs, 'removed')
  await story.file(alice, docs, 'moved')
  const saved = await story.file(alice, docs, 'saved')
  await story.file(alice, docs, 'restored')
  await story.file(alice, docs, 'mine')
  await story.do(alice, (overlay) => overlay.unlink(docs, name('restored')))
  await story.leave()
  assert.deepEqual(await story.told(), [])

  const write = { ...chunk('a'), mtimeNs: 1n }
  await story.do(alice, (overlay) => overlay.setContent(edited, write))
  await story.do(alice, (overlay) => overlay.setContent(edited, { ...chunk('b'), mtimeNs: 2n }))
  await story.do(alice, (overlay) => overlay.setAttributes(touched, { mode: 0o600 }))
  await story.do(alice, (overlay) => overlay.unlink(docs, name('removed')))
  const place = (parent: InodeId, text: string) => ({ parent, name: name(text) })
  await story.do(alice, (overlay) =>
    overlay.rename(place(docs, 'moved'), place(root, 'moved here'), 'replace'),
  )
  await story.do(alice, (overlay) =>
    overlay.rename(place(docs, 'saved'), place(docs, 'saved again'), 'replace'),
  )
  await story.do(alice, (overlay) => overlay.setContent(saved, { ...chunk('c'), mtimeNs: 1n }))
  await story.do(alice, (overlay) =>
    overlay.rename(place(docs, 'old'), place(root, 'older'), 'replace'),
  )
  await story.do(alice, (overlay) =>
    overlay.rename(place(root, 'older'), place(root, 'oldest'), 'replace'),
  )
  const [gone] = alice.overlay.deletedNames(docs).filter((each) => each.name === 'restored')
  assert.ok(gone)
  await story.do(alice, (overlay) => overlay.undelete(gone.record, place(docs, 'restored')))
  await story.file(alice, docs, 'new')
  await story.file(alice, docs, 'came and went')
  await story.do(alice, (overlay) => overlay.unlink(docs, name('came and went')))
  await story.do(alice, (overlay) => overlay.link(edited, root, name('linked')))
  // Bob, offline: his own changes, and one that hides what alice did.
  await story.file(bob, docs, 'of bob')
  await story.do(bob, (overlay) => overlay.unlink(docs, name('mine')))
  await story.settle()
  const told = await story.told()
  assert.deepEqual(told, [
    'new /linked',
    'new /docs/new',
    'back /docs/restored',
    'renamed /oldest from /docs/old',
    'renamed /docs/saved again content',
    'renamed /moved here',
    'deleted /docs/removed',
    'attributes /docs/touched',
    'changed /docs/edited',
  ])
  const { counts, changes } = await story
    .queries()
    .changesSince({ since: story.since, countMax: 2 })
  assert.deepEqual([counts.new, counts.renamed, changes.length], [2, 3, 2])
  assert.ok(changes.every(({ device }) => device === alice.identity.device))

  // In slices of one read each, the answer is the same.
  let ms = 0
  const hasty = new TestClock()
  hasty.monotonicMs = () => (ms += 1000)
  const slow = await story.queries(hasty).changesSince({ since: story.since, countMax: 100 })
  assert.deepEqual(
    slow.changes.map(({ path }) => path),
    (await story.queries().changesSince({ since: story.since, countMax: 100 })).changes.map(
      ({ path }) => path,
    ),
  )
})

test('what lay in a deleted folder is told under its old path', async () => {
  const story = await Story.begin('folder')
  const { alice } = story
  const { root } = alice.overlay
  const docs = await story.directory(alice, root, 'docs')
  const deep = await story.directory(alice, docs, 'deep')
  await story.file(alice, deep, 'file')
  await story.leave()
  await story.do(alice, (overlay) => overlay.unlink(deep, name('file')))
  await story.do(alice, (overlay) => overlay.rmdir(docs, name('deep')))
  await story.do(alice, (overlay) => overlay.rmdir(root, name('docs')))
  await story.settle()
  assert.deepEqual(await story.told(), [
    'deleted /docs',
    'deleted /docs/deep',
    'deleted /docs/deep/file',
  ])
})

test('what was refused took no effect, and is not told', async () => {
  const story = await Story.begin('refused')
  const { alice, bob } = story
  const file = await story.file(alice, alice.overlay.root, 'file')
  await story.leave()
  const hlc = (Date.UTC(2027, 0, 1) * 1000) as Hlc
  const made = { record: file, device: alice.identity.device, hlc, isNew: false }
  const unknown = `${file.slice(0, 10)}zzzzzz` as InodeId
  const changes = [
    { ...made, content: hlc },
    { ...made, record: unknown, placed: hlc, isNew: true },
  ]
  const ask = async (change: LogChange): Promise<number> => {
    const queries = new ChangeQueries({
      overlay: bob.overlay,
      vfs: { breathe: () => Promise.resolve() },
      logChanges: () => Promise.resolve({ changes: [change], isComplete: true }),
    })
    return (await queries.changesSince({ since: new Map(), countMax: 9 })).changes.length
  }
  for (const change of changes) assert.equal(await ask(change), 0)
  const { stamps } = bob.overlay.recordView(file) as RecordView
  assert.equal(await ask({ ...made, content: stamps.C }), 1)
})

test('entries that cannot be read make the answer incomplete', async () => {
  const story = await Story.begin('gap')
  const { alice, bob, shared } = story
  await story.leave()
  await story.file(alice, alice.overlay.root, 'one')
  await story.file(alice, alice.overlay.root, 'two')
  await story.settle()
  const ask = async (read: typeof bob.feeds.read): Promise<[boolean, number]> => {
    const log = new LogChanges({
      volume: shared.id,
      device: bob.identity.device,
      feeds: { read, origin: (feed) => bob.feeds.origin(feed) },
      keys: bob.keys,
      clock: story.clock,
      applied: () => bob.volume.appliedFrontier(),
    })
    const { isComplete, changes } = log.slice({ since: story.since })
    return [isComplete, changes.length]
  }
  const read: typeof bob.feeds.read = (feed, from, bytes) => bob.feeds.read(feed, from, bytes)
  const [isComplete, count] = await ask(read)
  assert.equal(isComplete, true)
  assert.ok(count >= 2)
  assert.deepEqual(await ask(() => []), [false, 0])
  const later = await ask((feed, from, bytes) => read(feed, from, bytes).slice(1))
  assert.equal(later[0], false)
  assert.ok(later[1] < count && later[1] > 0)
})
