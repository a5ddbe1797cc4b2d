/** What every `FeedStore` must do, whatever it stores on. */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { EntryFrame, FeedStore } from '../../../src/log/interface.ts'
import type { FeedHead, VolumeId } from '../../../src/types.ts'
import { type Author, LogWorld, treeOf } from '../../unit/log/authors.ts'

/** A place for a store: `open` again gives what was stored before. */
export interface FeedStorePlace {
  open(volume: VolumeId): FeedStore
  remove(): void
}

function hashes(frames: readonly EntryFrame[]): string[] {
  return frames.map((frame) => frame.hash)
}

/** Runs the suite; `create` makes an empty place. */
export function feedStoreSuite(name: string, create: () => FeedStorePlace): void {
  const run = (
    what: string,
    body: (store: FeedStore, world: LogWorld, reopen: () => Promise<FeedStore>) => Promise<void>,
  ): void => {
    test(`${name}: ${what}`, async (t) => {
      const place = create()
      const world = new LogWorld()
      let store = place.open(world.volume)
      t.after(async () => {
        await store.close()
        place.remove()
      })
      await body(store, world, async () => {
        await store.close()
        return (store = place.open(world.volume))
      })
    })
  }

  run('an empty store has no heads', async (store, world) => {
    assert.equal(store.frontier().size, 0)
    assert.equal(store.head(world.creator.feed), undefined)
    assert.deepEqual(store.read(world.creator.feed, 0, 1000), [])
  })

  run('what was appended is read back, also after reopening', async (store, world, reopen) => {
    const others = [world.creator, world.author(2), world.author(2, 1)]
    for (let index = 0; index < 60; index++) {
      for (const author of others) author.write({ tree: treeOf(world, index * 3) })
    }
    await store.append(others.flatMap((author) => author.frames))
    for (const isReopened of [false, true]) {
      const current = isReopened ? await reopen() : store
      for (const { feed, head, frames } of others) {
        assert.deepEqual(current.head(feed), head)
        assert.deepEqual(current.frontier().get(feed), head)
        assert.deepEqual(hashes(current.read(feed, 0, 1e9)), hashes(frames))
        for (const from of [0, 1, 31, 32, 33, 59]) {
          const frame = current.read(feed, from, 1)
          assert.equal(frame.length, 1)
          assert.deepEqual({ ...frame[0], bytes: 0 }, { ...frames[from], bytes: 0 })
          assert.deepEqual(Buffer.from(frame[0]?.bytes ?? []), frames[from]?.bytes)
        }
        assert.deepEqual(current.read(feed, 61, 1e9), [])
      }
    }
  })

  run('a read is bounded but makes progress', async (store, world) => {
    const author = world.author(2)
    for (let index = 0; index < 20; index++) author.write({ tree: treeOf(world, 500) })
    await store.append(author.frames)
    const size = author.frames[0]?.bytes.length ?? 0
    assert.equal(store.read(author.feed, 0, 0).length, 1)
    assert.equal(store.read(author.feed, 3, size * 3 + 5).length, 3)
    const found: EntryFrame[] = []
    while (found.length < 20) found.push(...store.read(author.feed, found.length, size * 6))
    assert.deepEqual(hashes(found), hashes(author.frames))
    const single = [0, 0, 1, 2, 2, 3, 19, 4, 5, 5, 6]
    const wanted = single.map((seq) => author.frames[seq]?.hash)
    assert.deepEqual(
      single.map((seq) => store.read(author.feed, seq, 1)[0]?.hash),
      wanted,
    )
  })

  run('frames held already are skipped', async (store, world) => {
    const author = world.author(2)
    for (let index = 0; index < 5; index++) author.write()
    await store.append(author.frames.slice(0, 3))
    await store.append(author.frames)
    await store.append([...author.frames, ...author.frames])
    assert.deepEqual(store.head(author.feed), author.head)
    assert.equal(store.read(author.feed, 0, 1e9).length, 5)
  })

  run('what follows nothing held is refused and changes nothing', async (store, world) => {
    const author = world.author(2)
    const twin = world.author(2)
    for (let index = 0; index < 5; index++) author.write()
    twin.write({ hlc: 1 })
    twin.write({ hlc: 1 })
    const code = 'ENTRY_INVALID'
    await assert.rejects(store.append(author.frames.slice(1)), { code }, 'a gap at the start')
    await store.append(author.frames.slice(0, 2))
    await assert.rejects(store.append(author.frames.slice(3)), { code }, 'a gap')
    await assert.rejects(store.append(twin.frames.slice(1)), { code }, 'of a branch unheard of')
    await assert.rejects(store.append([author.frames[2], twin.frames[1]] as EntryFrame[]), { code })
    assert.equal(store.head(author.feed)?.length, 2)
    await store.append(author.frames)
    assert.deepEqual(store.head(author.feed), author.head)
  })

  run('branches are kept beside each other', async (store, world, reopen) => {
    const author = world.author(2)
    for (let index = 0; index < 8; index++) author.write({ tree: treeOf(world, 300) })
    const twin = author.twin(3)
    for (let index = 0; index < 4; index++) twin.write({ tree: treeOf(world, 300) })
    const third = twin.twin(5)
    for (let index = 0; index < 4; index++) third.write({ tree: treeOf(world, 300) })
    await store.append(author.frames)
    await store.append(twin.frames.slice(0, 4))
    await store.append(third.frames)
    await Promise.all([store.append(twin.frames), store.append([author.write()])])
    for (const isReopened of [false, true]) {
      const current = isReopened ? await reopen() : store
      assert.equal(current.branches(author.feed).length, 3)
      for (const { frames, head } of [author, twin, third]) {
        const name = current.locate({ feed: author.feed, ...(head as FeedHead) }) ?? assert.fail()
        assert.deepEqual(current.head(name), head)
        assert.deepEqual(hashes(current.read(name, 0, 1e9)), hashes(frames))
        assert.deepEqual(hashes(current.read(name, 4, 1)), hashes(frames.slice(4, 5)))
        assert.equal(current.read(name, 2, 800).length, 1)
      }
      const nameOf = (head: FeedHead | undefined) =>
        current.locate({ feed: author.feed, ...(head ?? assert.fail()) }) ?? assert.fail()
      const first = nameOf(third.head)
      assert.deepEqual(current.origin(nameOf(twin.head)), {
        feed: first,
        length: 5,
        hash: twin.frames[4]?.hash,
      })
      assert.deepEqual(current.origin(first), {
        feed: author.feed,
        length: 3,
        hash: author.frames[2]?.hash,
      })
      assert.equal(current.origin(author.feed), undefined)
      assert.equal(
        current.locate({ feed: author.feed, length: 4, hash: twin.head?.hash ?? '' }),
        undefined,
      )
    }
  })

  run(
    'a run may start anywhere, and what is below is filled later',
    async (store, world, reopen) => {
      const author = world.author(2)
      for (let index = 0; index < 30; index++) author.write({ tree: treeOf(world, 300) })
      const { feed, frames, head } = author
      await store.append(frames.slice(10, 20), { mayStartRun: true })
      await store.append(frames.slice(20))
      assert.deepEqual(store.gaps(feed), [{ from: 0, to: 10, previousHash: frames[9]?.hash }])
      assert.deepEqual(store.head(feed), head)
      assert.deepEqual(store.read(feed, 0, 1e9), [])
      await store.append(frames.slice(0, 4))
      const again = await reopen()
      assert.deepEqual(again.gaps(feed), [{ from: 4, to: 10, previousHash: frames[9]?.hash }])
      await again.append(frames.slice(2, 12))
      assert.deepEqual(again.gaps(feed), [])
      for (const isReopened of [false, true]) {
        const current = isReopened ? await reopen() : again
        assert.deepEqual(hashes(current.read(feed, 0, 1e9)), hashes(frames))
        assert.deepEqual(current.branches(feed), [feed])
        assert.deepEqual(current.head(feed), head)
      }
    },
  )

  run('another branch does not fill a gap', async (store, world, reopen) => {
    const author = world.author(2)
    for (let index = 0; index < 12; index++) author.write()
    const twin = author.twin(4)
    for (let index = 0; index < 8; index++) twin.write()
    const { feed, frames } = author
    await store.append(frames.slice(8), { mayStartRun: true })
    await store.append(twin.frames.slice(0, 6))
    await store.append(twin.frames.slice(6))
    assert.equal(store.gaps(feed).length, 1)
    await store.append(frames)
    for (const isReopened of [false, true]) {
      const current = isReopened ? await reopen() : store
      assert.deepEqual(current.gaps(feed), [])
      for (const { frames: written, head } of [author, twin]) {
        const name = current.locate({ feed, ...(head as FeedHead) }) ?? assert.fail()
        assert.deepEqual(hashes(current.read(name, 0, 1e9)), hashes(written))
      }
    }
  })

  run('concurrent appends are grouped and keep their order', async (store, world, reopen) => {
    const authors = [world.author(2), world.author(3)] as [Author, Author]
    const appends: Promise<void>[] = []
    for (let index = 0; index < 50; index++) {
      for (const author of authors) appends.push(store.append([author.write()]))
    }
    const bad = store.append([world.author(9).write(), world.author(9).write({ hlc: 1 })])
    await assert.rejects(bad, { code: 'ENTRY_INVALID' })
    await Promise.all(appends)
    for (const { feed, head } of authors) assert.deepEqual((await reopen()).head(feed), head)
  })

  run('a closed store refuses', async (store, world) => {
    await store.append([world.genesis])
    await store.close()
    await store.close()
    await assert.rejects(store.append([world.creator.write()]), { code: 'VOLUME_CLOSED' })
  })
}
