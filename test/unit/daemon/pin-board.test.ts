/**
 * Proves when `pin` ends and with what: when everything is here, when nobody has the rest, when it
 * is interrupted; that the wish is durable before anything else is done; and what each pin lacks.
 * The list of wants, the fetch duty and the fs thread are plain objects.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Want, WantsQuery } from '../../../src/crdt/wants.ts'
import type { Progress } from '../../../src/daemon/frames.ts'
import type { Pin } from '../../../src/daemon/home-files.ts'
import { PinBoard, type PinBoardPorts } from '../../../src/daemon/pin-board.ts'
import { WormholeError } from '../../../src/errors.ts'
import type { ChunkAddress, InodeId } from '../../../src/types.ts'
import { SimClock } from '../../helpers/sim-clock.ts'
import { withCode } from '../../helpers/swarm-world.ts'

/** Inodes are paths here. */
class World {
  readonly clock = new SimClock()
  readonly wants = new Map<string, Want>()
  readonly events: string[] = []
  readonly deleted = new Set<string>()
  pins: readonly Pin[] = []
  peers = 1
  failure: WormholeError | undefined
  chunkCount = 0
  /** One pass of the duty; none leaves it at rest. */
  pass: (() => Promise<void>) | undefined
  #idle: Promise<void> = Promise.resolve()
  #onFetched: (wants: readonly Want[]) => void = () => {}
  readonly progress: Progress[] = []
  readonly board = new PinBoard(this.#ports())

  constructor() {
    // Time passes in small steps, also while only promises settle.
    const tick = (): void => void this.clock.setTimer(50, tick)
    tick()
  }

  add(path: string, sizeBytes = 10): void {
    const ref = { type: 'chunk', address: path as ChunkAddress } as const
    this.wants.set(path, { key: path, inode: path as InodeId, version: '', ref, sizeBytes })
  }

  fetch(...paths: string[]): void {
    const wants = paths.map((path) => this.wants.get(path) as Want)
    for (const path of paths) this.wants.delete(path)
    this.chunkCount += paths.length
    this.#onFetched(wants)
  }

  wait(path: string, signal = new AbortController().signal) {
    return this.board.wait(path, signal, (progress) => this.progress.push(progress))
  }

  #ports(): PinBoardPorts {
    const fs = {
      setPins: (pins: readonly string[]) => void this.events.push(`set ${pins.join()}`),
      pinTarget: (path: string) => {
        const clean = path === '/' ? path : path.replace(/\/+$/, '')
        if (this.deleted.has(clean)) throw new WormholeError('NOT_FOUND', 'gone')
        return { inode: clean, path: clean }
      },
      placesOf: (inodes: readonly string[]) =>
        inodes.map((inode) => (this.deleted.has(inode) ? undefined : inode)),
      belowPins: ({ inodes, pins }: { inodes: string[]; pins: string[] }) =>
        inodes.map((inode) =>
          pins.flatMap((pin, at) =>
            pin === '/' || inode === pin || inode.startsWith(`${pin}/`) ? [at] : [],
          ),
        ),
    } as unknown as Record<string, (args: unknown) => unknown>
    return {
      clock: this.clock,
      pins: () => this.pins,
      save: (pins) => {
        this.events.push(`save ${pins.map(({ path }) => path).join()}`)
        this.pins = pins
      },
      fs: (async (method: string, args: unknown) => fs[method]?.(args)) as PinBoardPorts['fs'],
      wants: (query: WantsQuery) => {
        assert.ok('countMax' in query)
        const { after = '', countMax } = query
        const keys = [...this.wants.keys()].filter((key) => key > after).sort()
        return Promise.resolve(keys.slice(0, countMax).map((key) => this.wants.get(key) as Want))
      },
      duty: () => ({
        add: () => void (this.#idle = this.pass?.() ?? Promise.resolve()),
        poke: () => void this.events.push('poke'),
        idle: () => this.#idle,
        watch: (onFetched) => {
          this.#onFetched = onFetched
          return () => void (this.#onFetched = () => this.events.push('late'))
        },
        arrivedBytes: () => 0,
        failure: this.failure,
      }),
      hasPeers: () => this.peers > 0,
      peers: () => [],
      seek: () => {
        this.events.push('seek')
        return Promise.resolve()
      },
      chunkCount: () => Promise.resolve(this.chunkCount),
    }
  }
}

async function openWorld(...paths: string[]): Promise<World> {
  const world = new World()
  for (const path of paths) world.add(path)
  await world.board.pin('/jobs')
  assert.deepEqual(world.events, ['save /jobs', 'set /jobs', 'poke'])
  world.events.length = 0
  return world
}

test('it ends when everything below is here, also what came meanwhile', async () => {
  const world = await openWorld('/jobs/a', '/jobs/b', '/other/c')
  const passes = [['/jobs/a'], ['/jobs/b', '/jobs/late']]
  world.pass = async () => {
    await new Promise<void>((resolve) => world.clock.setTimer(2000, resolve))
    world.fetch(...(passes.shift() ?? []))
    if (passes.length === 1) world.add('/jobs/late', 5)
  }
  const report = await world.clock.settle(world.wait('/jobs/'), 60_000)
  assert.deepEqual(
    [report.isAvailable, report.fetched, report.missing],
    [true, { files: 3, bytes: 25 }, { files: 0, bytes: 0 }],
  )
  const first = { text: 'fetching', done: 0, total: 20, isBytes: true, sourceCount: 0 }
  assert.deepEqual(world.progress[0], first)
  assert.deepEqual(world.progress.at(-1)?.total, 25)
  assert.ok(world.wants.has('/other/c'), 'nobody asked for that')
  assert.deepEqual(world.events, [])
})

test('what nobody has ends it after passes without progress, and is named', async () => {
  const world = await openWorld('/jobs/a', '/jobs/nowhere')
  let passes = 0
  world.pass = async () => {
    passes++
    await new Promise<void>((resolve) => world.clock.setTimer(4000, resolve))
    if (passes === 1) world.fetch('/jobs/a')
  }
  const report = await world.clock.settle(world.wait('/jobs'), 60_000)
  assert.deepEqual(
    [report.isAvailable, report.fetched.files, report.missing, report.unavailable],
    [false, 1, { files: 1, bytes: 10 }, [{ path: '/jobs/nowhere', size: 10 }]],
  )
  assert.equal(passes, 3, 'one with progress, two without')
  assert.equal(world.pins.length, 1, 'the wish stays')
})

test('with nobody there it looks for somebody, but not for long', async () => {
  const world = await openWorld('/jobs/a')
  world.peers = 0
  const fromMs = world.clock.monotonicMs()
  const report = await world.clock.settle(world.wait('/jobs'), 60_000)
  assert.equal(report.isAvailable, false)
  assert.deepEqual(world.events, ['seek'])
  assert.ok(world.clock.monotonicMs() - fromMs < 10_000)
  world.clock.setTimer(2000, () => (world.peers = 1))
  world.pass = () => Promise.resolve(world.fetch('/jobs/a'))
  assert.equal((await world.clock.settle(world.wait('/jobs'), 60_000)).isAvailable, true)
})

test('a disk that is full is said, not that nobody has it', async () => {
  const world = await openWorld('/jobs/a')
  world.failure = new WormholeError('DISK_FULL', 'no space')
  await assert.rejects(world.clock.settle(world.wait('/jobs'), 60_000), withCode('DISK_FULL'))
  assert.equal(world.pins.length, 1)
})

test('interrupted, the wish stays', async () => {
  const world = await openWorld('/jobs/a')
  world.pass = () => new Promise(() => {})
  const abort = new AbortController()
  const waiting = world.wait('/jobs', abort.signal)
  const aborted = assert.rejects(waiting, withCode('ABORTED'))
  await world.clock.run(3000)
  abort.abort()
  await aborted
  assert.equal(world.pins.length, 1)
  await assert.rejects(world.wait('/jobs', abort.signal), withCode('ABORTED'))
})

test('each pin lacks what is below it; one that is deleted keeps its name', async () => {
  const world = await openWorld('/jobs/deep/a', '/jobs/b', '/other/c')
  await world.board.pin('/jobs/deep')
  await world.board.pin('/other')
  await world.board.pin('/jobs')
  world.deleted.add('/other')
  assert.deepEqual(await world.board.list(), [
    { path: '/jobs/deep', state: 'incomplete', missing: { files: 1, bytes: 10 } },
    { path: '/other', state: 'deleted', missing: { files: 1, bytes: 10 } },
    { path: '/jobs', state: 'incomplete', missing: { files: 2, bytes: 20 } },
  ])
  const look = await world.board.look('/jobs')
  assert.deepEqual([look.isWaiting, look.missing.files, look.unavailable], [true, 2, []])
  world.events.length = 0
  assert.deepEqual(await world.board.unpin('/jobs/deep/'), {
    path: '/jobs/deep',
    pinnedBy: '/jobs',
  })
  assert.deepEqual(world.events, ['save /other,/jobs', 'set /other,/jobs', 'poke'])
  assert.deepEqual(await world.board.unpin('/other'), { path: '/other' })
  await assert.rejects(world.board.unpin('/jobs/b'), withCode('NOT_FOUND'))
  await assert.rejects(world.wait('/other'), withCode('NOT_FOUND'))
})

test('a list of wants longer than a page is walked whole', async () => {
  const world = await openWorld()
  for (let index = 0; index < 2500; index++) world.add(`/jobs/${index}`)
  assert.deepEqual((await world.board.look('/jobs')).missing, { files: 2500, bytes: 25_000 })
})
