/**
 * Proves that a person who waits sees bytes of the whole list, also while single contents come, and
 * only devices that send. A gauge over a duty that is told what to say.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Want } from '../../../src/crdt/wants.ts'
import type { FetchDuty } from '../../../src/daemon/fetch-duty.ts'
import { FetchGauge, SourceCounter } from '../../../src/daemon/fetch-gauge.ts'
import type { DeviceId } from '../../../src/types.ts'

const [BOB, CAROL] = ['b', 'c'].map((letter) => letter.repeat(64) as DeviceId) as [
  DeviceId,
  DeviceId,
]

test('gauge: what was fetched, what is on its way, and all that is owed', async () => {
  let onFetched: (wants: readonly Want[]) => void = () => {}
  let arrived = 0
  let isWatched = true
  const duty = {
    owed: () => Promise.resolve({ files: 3, bytes: 300 }),
    arrivedBytes: () => arrived,
    watch: (told: typeof onFetched) => {
      onFetched = told
      return () => void (isWatched = false)
    },
  }
  const gauge = new FetchGauge(duty as unknown as FetchDuty, () => [])
  onFetched([{ sizeBytes: 100 } as Want])
  await gauge.measure()
  arrived = 50
  const { done, total } = gauge.progress()
  assert.deepEqual([done, total], [150, 400])
  onFetched([{ sizeBytes: 500 } as Want])
  const after = gauge.progress()
  assert.deepEqual([after.done, after.total], [650, 650], 'never more than the whole')
  gauge.close()
  assert.equal(isWatched, false)
})

test('gauge: a device that only keeps its connection alive is no source', () => {
  const received = new Map([
    [BOB, 10_000],
    [CAROL, 0],
  ])
  const counter = new SourceCounter(() =>
    [...received].map(([device, receivedBytes]) => ({ device, receivedBytes })),
  )
  assert.equal(counter.count(), 0)
  received.set(BOB, 30_000).set(CAROL, 100)
  assert.equal(counter.count(), 1)
  received.set(CAROL, 100_000)
  assert.equal(counter.count(), 1)
  assert.equal(counter.count(), 0)
})
