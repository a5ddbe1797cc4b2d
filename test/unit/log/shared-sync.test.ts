/**
 * Proves where a sync runs: with who waits while syncs are fast, in another thread otherwise; and
 * that it covers what was written before it wherever it runs.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { SharedSync } from '../../../src/log/shared-sync.ts'
import type { DiskFile } from '../../../src/system.ts'

/** So many fast ones in a row are asked for. */
const ENOUGH = 8

/** A disk whose syncs take a while. */
class SlowDisk {
  nowMs = 0
  takesMs = 0.2
  written = 0
  durable = 0
  here = 0
  elsewhere = 0
  failure: Error | undefined
  broken: Error | undefined
  /** Syncs elsewhere that have not ended. */
  readonly waiting: (() => void)[] = []
  readonly syncs: SharedSync

  constructor(hasClock = true) {
    const sync = (): void => {
      this.nowMs += this.takesMs
      if (this.failure) throw this.failure
    }
    const file = {
      syncSync: () => {
        this.here++
        sync()
      },
      sync: async () => {
        this.elsewhere++
        await new Promise<void>((resolve) => this.waiting.push(resolve))
        sync()
      },
    } as Partial<DiskFile> as DiskFile
    this.syncs = new SharedSync({
      begin: () => {
        const upTo = this.written
        return { file, done: () => void (this.durable = Math.max(this.durable, upTo)) }
      },
      failed: (error) => void (this.broken ??= error),
      clock: hasClock ? { monotonicMs: () => this.nowMs } : undefined,
    })
  }

  /** Writes something and waits until it is durable. */
  async writeAndSync(): Promise<void> {
    const upTo = ++this.written
    const done = this.syncs.hurry()
    while (this.durable < upTo && !this.broken) {
      this.waiting.shift()?.()
      await new Promise((resolve) => setImmediate(resolve))
    }
    await done
  }
}

test('a disk that has been fast is waited for in this thread', async () => {
  const disk = new SlowDisk()
  for (let count = 0; count < ENOUGH; count++) await disk.writeAndSync()
  assert.deepEqual([disk.here, disk.elsewhere], [0, ENOUGH])
  disk.written++
  const done = disk.syncs.hurry()
  assert.equal(disk.durable, disk.written, 'durable before anything else runs')
  await done
  assert.deepEqual([disk.here, disk.elsewhere], [1, ENOUGH])
})

test('a slow disk holds this thread up once in so many syncs at most', async () => {
  const disk = new SlowDisk()
  for (let count = 0; count < 100; count++) {
    disk.takesMs = count % 20 < 10 ? 0.1 : 30
    await disk.writeAndSync()
  }
  // Ten fast ones, ten slow ones: two of each ten fast ones are here, and the first slow one.
  assert.ok(disk.here > 0 && disk.here <= 15, `${disk.here} of 100`)
  const slow = new SlowDisk()
  slow.takesMs = 10
  for (let count = 0; count < 100; count++) await slow.writeAndSync()
  assert.equal(slow.here, 0)
})

test('without a clock every sync runs elsewhere', async () => {
  const disk = new SlowDisk(false)
  for (let count = 0; count < 30; count++) await disk.writeAndSync()
  assert.equal(disk.here, 0)
})

test('who comes while a sync runs elsewhere shares the next one', async () => {
  const disk = new SlowDisk()
  for (let count = 0; count < ENOUGH; count++) await disk.writeAndSync()
  disk.written++
  const running = disk.syncs.join()
  disk.written++
  const later = [disk.syncs.hurry(), disk.syncs.hurry()]
  assert.equal(disk.here, 0)
  await disk.writeAndSync()
  await Promise.all([running, ...later])
  assert.equal(disk.elsewhere, ENOUGH + 2)
})

test('a sync that fails here is told like any other', async () => {
  const disk = new SlowDisk()
  for (let count = 0; count < ENOUGH; count++) await disk.writeAndSync()
  disk.failure = new Error('the device failed')
  disk.written++
  await assert.rejects(disk.syncs.hurry(), /the device failed/)
  assert.equal(disk.broken, disk.failure)
  assert.equal(disk.durable, disk.written - 1)
})
