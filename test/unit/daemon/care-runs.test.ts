/**
 * Proves when a collection and a scrub start by themselves, that rot leads to a repair, that
 * verifying and collecting take turns, and that who asks ends what started by itself. Threads are
 * stubs that count; time is simulated.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CareRuns } from '../../../src/daemon/care-runs.ts'
import type { CareParts } from '../../../src/daemon/care.ts'
import type { LackingContent } from '../../../src/daemon/check-contents.ts'
import type { Logger } from '../../../src/daemon/logging.ts'
import type { VerifyPorts } from '../../../src/daemon/verify.ts'
import { hasCode, WormholeError } from '../../../src/errors.ts'
import { SimClock } from '../../helpers/sim-clock.ts'

const HOUR_MS = 3_600_000
const OPTIONS = { isDryRun: false, signal: new AbortController().signal }

const LOGGER = { info: () => undefined, warn: () => undefined } as unknown as Logger

/** A volume that has nothing to free, and tells how often it was asked. */
class Stub {
  readonly clock = new SimClock()
  readonly care: CareRuns
  beginCount = 0
  endCount = 0
  chunkCount = 5
  nextDueMs: number | undefined
  /** The walk over the index never ends. */
  isEndless = false
  storedBytes = 0
  /** Shares that were asked for, and what the next one finds. */
  readonly shares: number[] = []
  found = { chunks: 1, bytes: 10, damaged: 0, isIndexDamaged: false }
  /** What was verified, and whether what a file lacks can be had. */
  readonly verified: unknown[] = []
  hasPeer = true
  /** Looking for those files fails. */
  isBroken = false

  constructor() {
    const nothing = { chunks: 0, bytes: 0 }
    const used = { tree: nothing, conflicts: nothing, history: nothing, local: nothing }
    const collection = {
      begin: async () => void this.beginCount++,
      mark: async () => undefined,
      plan: async () => ({ used, young: nothing, unused: nothing, unknownNodes: 0 }),
      condemn: async () => 0,
      free: async () => undefined,
      finish: async () => ({ freed: nothing, packsRemoved: 0, bytesNotReturned: 0 }),
      end: async () => void this.endCount++,
    }
    const answers: Record<string, () => unknown> = {
      gcBegin: () => ({}),
      gcNext: () => ({ roots: [], isDone: !this.isEndless, nextDueMs: this.nextDueMs }),
      gcLater: () => ({ roots: [], isMore: false }),
      gcReferences: () => [],
    }
    const thread = { call: async (method: string) => answers[method]?.() }
    const chunks = {
      collection,
      stats: async () => ({ chunkCount: this.chunkCount, bytes: this.storedBytes }),
      sync: async () => undefined,
      scrub: async (bytesMax: number) => {
        this.shares.push(bytesMax)
        return this.found
      },
    }
    const parts = { threads: { crdt: thread, fs: thread, chunks } } as unknown as CareParts
    this.care = new CareRuns(
      () => parts,
      this.clock,
      () => this.#verifyPorts(),
    )
  }

  /** One file lacks one chunk. */
  #verifyPorts(): VerifyPorts {
    const lacking = { path: '/a', addresses: ['x'] } as unknown as LackingContent
    const finding = { part: 'contents', code: 'CHUNK_UNAVAILABLE', message: 'lacks' } as const
    const ports: Partial<VerifyPorts> = {
      clock: this.clock,
      check: async ({ parts, onNews }) => {
        this.verified.push(parts)
        if (this.isBroken) throw new WormholeError('IO_ERROR', 'the disk does not read')
        onNews({ type: 'finding', finding, lacking })
      },
      checkHome: () => [],
      missingEntries: async () => [],
      checkChunks: async () => undefined,
      wantAgain: async () => undefined,
      fetch: async () => undefined,
      hasChunk: () => this.hasPeer,
    }
    return ports as VerifyPorts
  }
}

test('by itself: after an hour, then daily if something may have become free', async () => {
  const stub = new Stub()
  stub.care.start(LOGGER)
  await stub.clock.run(HOUR_MS - 1000)
  assert.equal(stub.beginCount, 0)
  await stub.clock.run(2000)
  assert.equal(stub.beginCount, 1)
  assert.equal(stub.care.status().collected?.freed.chunks, 0)
  stub.chunkCount++
  await stub.clock.run(22 * HOUR_MS)
  assert.equal(stub.beginCount, 1, 'not twice a day')
  await stub.clock.run(3 * HOUR_MS)
  assert.equal(stub.beginCount, 2, 'there are new chunks')
  await stub.clock.run(3 * 24 * HOUR_MS)
  assert.equal(stub.beginCount, 2, 'nothing is new')
  stub.nextDueMs = stub.clock.nowMs() + 50 * HOUR_MS
  await stub.care.gc(OPTIONS, () => undefined)
  await stub.clock.run(49 * HOUR_MS)
  assert.equal(stub.beginCount, 3)
  await stub.clock.run(3 * HOUR_MS)
  assert.equal(stub.beginCount, 4, 'the days of something are over')
  stub.nextDueMs = undefined
  await stub.care.gc(OPTIONS, () => undefined)
  await stub.clock.run(8 * 24 * HOUR_MS)
  assert.equal(stub.beginCount, 6, 'a week has passed')
  await stub.care.close()
  await stub.clock.run(30 * 24 * HOUR_MS)
  assert.equal(stub.beginCount, 6)
})

test('who asks ends a collection that started by itself; others take turns', async () => {
  const stub = new Stub()
  stub.isEndless = true
  stub.care.start(LOGGER)
  await stub.clock.run(HOUR_MS + 1000)
  assert.deepEqual([stub.beginCount, stub.endCount], [1, 0])
  const first = stub.care.gc(OPTIONS, () => undefined)
  await stub.clock.run(1000)
  assert.deepEqual([stub.beginCount, stub.endCount], [2, 1])
  const second = stub.care.gc(OPTIONS, () => undefined)
  await stub.clock.run(1000)
  assert.equal(stub.beginCount, 2, 'it waits for the one before')
  stub.isEndless = false
  await stub.clock.run(1000)
  await Promise.all([first, second])
  assert.equal(stub.beginCount, 3)

  stub.isEndless = true
  const third = stub.care.gc(OPTIONS, () => undefined)
  const isAborted = assert.rejects(third, (error) => hasCode(error, 'ABORTED'))
  await stub.clock.run(1000)
  await stub.clock.settle(stub.care.close(), 1000)
  await isAborted
  assert.equal(stub.endCount, 4)
})

test('every hour a share is read again, and what has rotted is fetched again', async () => {
  const stub = new Stub()
  const MIB = 1024 * 1024
  stub.care.start(LOGGER)
  await stub.clock.run(2 * HOUR_MS + 1000)
  assert.deepEqual(stub.shares, [64 * MIB, 64 * MIB])
  stub.storedBytes = 7_200_000 * MIB
  await stub.clock.run(HOUR_MS)
  assert.equal(stub.shares.at(-1), 10_000 * MIB, 'all of it in 30 days')
  const { at, ...sum } = stub.care.status().scrubbed ?? {}
  assert.deepEqual(sum, { chunks: 3, bytes: 30, damaged: 0 })
  assert.equal(at, new Date(stub.clock.nowMs() - 1000).toISOString())
  assert.deepEqual(stub.verified, [])

  stub.found = { ...stub.found, damaged: 1 }
  stub.hasPeer = false
  await stub.clock.run(HOUR_MS)
  assert.deepEqual(stub.verified, [['contents']])
  assert.deepEqual(stub.care.status().scrubbed?.isRepaired, false)
  stub.hasPeer = true
  stub.found = { ...stub.found, damaged: 0, isIndexDamaged: true }
  await stub.clock.run(HOUR_MS)
  assert.deepEqual(stub.verified.at(-1), ['packs', 'contents'])
  stub.found = { ...stub.found, isIndexDamaged: false }
  await stub.clock.run(HOUR_MS)
  const { damaged, isRepaired } = stub.care.status().scrubbed ?? {}
  assert.deepEqual([damaged, isRepaired], [1, true])
  stub.found = { ...stub.found, damaged: 2 }
  stub.isBroken = true
  await stub.clock.run(HOUR_MS)
  const last = stub.care.status().scrubbed ?? {}
  assert.deepEqual(
    { ...last, at: '' },
    { at: '', chunks: 7, bytes: 70, damaged: 3, isRepaired: false },
  )
  await stub.care.close()
  await stub.clock.run(HOUR_MS * 5)
  assert.equal(stub.shares.length, 7)
})
