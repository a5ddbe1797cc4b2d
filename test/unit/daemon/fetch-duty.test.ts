/**
 * What the fetch duty looks at: the list of wants may be as long as the tree, so only its start, a
 * change of policy and a waiting user may walk it whole. The list, the peers and the clock are
 * plain objects, and every request to the list is counted.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ContentRef } from '../../../src/crdt/interface.ts'
import type { Want, WantsQuery } from '../../../src/crdt/wants.ts'
import { FetchDuty } from '../../../src/daemon/fetch-duty.ts'
import { hasCode, WormholeError } from '../../../src/errors.ts'
import type { ChunkAddress, InodeId } from '../../../src/types.ts'
import { SimClock } from '../../helpers/sim-clock.ts'

class World {
  readonly clock = new SimClock()
  readonly list = new Map<string, Want>()
  readonly held = new Set<string>()
  /** Chunks that some peer has. */
  readonly offered = new Set<string>()
  readonly unkept = new Set<string>()
  readonly problems: string[] = []
  /** Wants given out, by page and by key. */
  walked = 0
  asked = 0
  failure: WormholeError | undefined
  /** Chunks of manifests. */
  readonly manifests = new Map<string, ChunkAddress[]>()
  /** Runs while a fetch is under way. */
  onFetch = (): void => {}
  readonly duty = new FetchDuty({
    clock: this.clock,
    wants: (query) => Promise.resolve(this.#wants(query)),
    fetched: (keys) => {
      for (const key of keys) this.list.delete(key)
      return Promise.resolve()
    },
    keptUpTo: (inodes) =>
      Promise.resolve(inodes.map((inode) => (this.unkept.has(inode) ? 0 : Infinity))),
    has: (address) => this.held.has(address),
    fetch: (addresses) => this.#fetch(addresses),
    addresses: ({ ref }) => Promise.resolve(this.manifests.get(addressIn(ref)) ?? []),
    sync: () => Promise.resolve(),
    hasPeers: () => true,
    onProblem: ({ code }) => void this.problems.push(code),
  })

  add(name: string): string {
    const key = name.padEnd(16, '.')
    const address = `chunk of ${key}` as ChunkAddress
    const ref = { type: 'chunk', address } as const
    this.list.set(key, { key, inode: key as InodeId, version: '', ref, sizeBytes: 10 })
    return key
  }

  offer(key: string): void {
    this.offered.add(`chunk of ${key}`)
  }

  #wants(query: WantsQuery): Want[] {
    if (this.failure) throw this.failure
    if ('keys' in query) {
      const found = query.keys.flatMap((key) => this.list.get(key) ?? [])
      this.asked += found.length
      return found
    }
    const after = query.after ?? ''
    const keys = [...this.list.keys()].filter((key) => key > after).sort()
    const page = keys.slice(0, query.countMax).map((key) => this.list.get(key) as Want)
    this.walked += page.length
    return page
  }

  async #fetch(addresses: readonly ChunkAddress[]): Promise<void> {
    const hasBefore = addresses.every((address) => this.offered.has(address))
    await Promise.resolve()
    this.onFetch()
    if (!hasBefore) throw new WormholeError('CHUNK_UNAVAILABLE', 'nobody has it')
    for (const address of addresses) this.held.add(address)
  }
}

function addressIn(ref: ContentRef): string {
  return ref.type === 'empty' ? '' : ref.address
}

/** A world with 1,000 contents that are not kept, walked once. */
async function openWorld(): Promise<World> {
  const world = new World()
  for (let index = 0; index < 1000; index++) {
    world.unkept.add(world.add(`cached-${String(index).padStart(4, '0')}`))
  }
  world.duty.poke()
  await world.duty.idle()
  assert.equal(world.walked, 1000)
  assert.deepEqual(world.duty.missing, { files: 0, bytes: 0 })
  world.walked = 0
  return world
}

test('a new content is fetched without walking what is not kept', async () => {
  const world = await openWorld()
  const key = world.add('new')
  world.offer(key)
  world.duty.add([key])
  await world.duty.idle()
  assert.equal(world.list.has(key), false)
  assert.deepEqual([world.walked, world.asked], [0, 1])
  await world.duty.close()
})

test('what is owed is counted without fetching, and without what is not kept', async () => {
  const world = await openWorld()
  for (let index = 0; index < 300; index++) world.offer(world.add(`kept-${index}`))
  assert.deepEqual(await world.duty.owed(), { files: 300, bytes: 3000 })
  assert.equal(world.held.size, 0)
  await world.duty.close()
})

test('what nobody has is counted, and asked for again, also when a peer comes', async () => {
  const world = await openWorld()
  const [one, two, gone] = ['one', 'two', 'gone'].map((name) => world.add(name))
  world.duty.add([one, two, gone] as string[])
  await world.duty.idle()
  assert.deepEqual(world.duty.missing, { files: 3, bytes: 30 })
  world.list.delete(gone as string)
  world.offer(one as string)
  world.duty.retry()
  await world.duty.idle()
  assert.deepEqual(world.duty.missing, { files: 1, bytes: 10 })
  world.offer(two as string)
  await world.clock.run(15_000)
  await world.duty.idle()
  assert.deepEqual(world.duty.missing, { files: 0, bytes: 0 })
  assert.equal(world.list.size, 1000)
  assert.equal(world.walked, 0)
  await world.duty.close()
})

test('a change of policy, and an hour, have the whole list looked at', async () => {
  const world = await openWorld()
  const first = [...world.list.keys()][0] as string
  world.offer(first)
  world.unkept.delete(first)
  world.duty.poke()
  await world.duty.idle()
  assert.equal(world.list.has(first), false)
  world.walked = 0
  await world.clock.run(3_600_000)
  await world.duty.idle()
  assert.equal(world.walked, 999)
  await world.duty.close()
})

test('after a failure it waits, then finishes what was due', async () => {
  const world = await openWorld()
  const key = world.add('new')
  world.offer(key)
  world.failure = new WormholeError('IO_ERROR', 'broken')
  world.duty.add([key])
  await world.duty.idle()
  assert.deepEqual(world.problems, ['IO_ERROR'])
  world.failure = undefined
  await world.clock.run(15_000)
  await world.duty.idle()
  assert.equal(world.list.has(key), false)
  await world.duty.close()
})

test('who comes while a fetch fails is asked at once, not at the next retry', async () => {
  for (const come of ['retry', 'poke', 'add'] as const) {
    const world = await openWorld()
    const key = world.add('late')
    world.onFetch = () => {
      world.onFetch = () => {}
      world.offer(key)
      if (come === 'add') world.duty.add([key])
      else world.duty[come]()
    }
    world.duty.add([key])
    await world.duty.idle()
    assert.equal(world.list.has(key), false, come)
    await world.duty.close()
  }
})

test('what is new behind the place that a walk has reached is found', async () => {
  const world = await openWorld()
  const [first, last] = [world.add('aaa'), 'aaaa'.padEnd(16, '.')]
  world.offer(first)
  world.onFetch = () => {
    world.onFetch = () => {}
    world.add('aaaa')
    world.offer(last)
    world.duty.poke()
  }
  world.duty.poke()
  await world.duty.idle()
  assert.equal(world.list.has(first), false)
  assert.equal(world.list.has(last), false)
  await world.duty.close()
})

test('a closed volume ends it without a word', async () => {
  const world = await openWorld()
  world.failure = new WormholeError('VOLUME_CLOSED', 'closed')
  world.duty.poke()
  await world.duty.idle()
  assert.deepEqual(world.problems, [])
  await world.duty.close()
})

test('what arrives of a large content is told while it comes, and when it is whole', async () => {
  const world = await openWorld()
  const key = world.add('large')
  const root = 'root of large' as ChunkAddress
  const chunks = [0, 1, 2, 3].map((index) => `large ${index}` as ChunkAddress)
  const want = world.list.get(key) as Want
  world.list.set(key, { ...want, ref: { type: 'manifest', address: root }, sizeBytes: 1000 })
  world.manifests.set(root, chunks)
  for (const chunk of chunks) world.offered.add(chunk)
  const told: string[] = []
  const arrived: number[] = []
  const unwatch = world.duty.watch((wants) => told.push(...wants.map((want) => want.key)))
  world.onFetch = () => {
    for (const chunk of chunks.slice(0, 3)) {
      arrived.push(world.duty.arrivedBytes((asked) => asked === key))
      world.held.add(chunk)
    }
    arrived.push(world.duty.arrivedBytes(() => true))
    assert.equal(
      world.duty.arrivedBytes(() => false),
      0,
    )
  }
  world.duty.add([key])
  await world.duty.idle()
  assert.deepEqual([arrived, told], [[0, 250, 500, 750], [key]])
  assert.equal(
    world.duty.arrivedBytes(() => true),
    0,
  )
  unwatch()
  world.offer(world.add('small'))
  world.duty.add(['small'.padEnd(16, '.')])
  await world.duty.idle()
  assert.deepEqual(told, [key])
  // Why a pass ended early is known until the next one.
  const failure = (): unknown => world.duty.failure
  assert.equal(failure(), undefined)
  world.failure = new WormholeError('DISK_FULL', 'planted')
  world.duty.add(['x'])
  await world.duty.idle()
  assert.ok(hasCode(failure(), 'DISK_FULL'))
  await world.duty.close()
})
