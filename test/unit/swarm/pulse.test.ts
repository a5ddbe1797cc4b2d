/** Proves how often a swarm looks at the clock, and that what begins is looked at soon. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pulse } from '../../../src/swarm/pulse.ts'
import { SimClock } from '../../helpers/sim-clock.ts'

test('pulse: beats four times a second while something is under way, else twice', async () => {
  const clock = new SimClock()
  let isQuiet = false
  const beats: number[] = []
  const pulse = new Pulse(clock, (nowMs) => {
    beats.push(nowMs)
    return isQuiet
  })
  pulse.start()
  await clock.run(1000)
  assert.deepEqual(beats, [250, 500, 750, 1000])
  isQuiet = true
  await clock.run(1500)
  assert.deepEqual(beats.slice(4), [1250, 1750, 2250])
  pulse.stop()
  await clock.run(5000)
  assert.equal(beats.length, 7)
})

test('pulse: what begins while it is quiet is looked at after the short pause', async () => {
  const clock = new SimClock()
  const beats: number[] = []
  let isQuiet = true
  const pulse = new Pulse(clock, (nowMs) => {
    beats.push(nowMs)
    return isQuiet
  })
  pulse.start()
  await clock.run(300)
  isQuiet = false
  pulse.wake()
  pulse.wake()
  await clock.run(500)
  assert.deepEqual(beats, [250, 550, 800])
})

test('pulse: stopped within a beat, or before one, it stays so', async () => {
  const clock = new SimClock()
  let count = 0
  const pulse = new Pulse(clock, () => {
    count++
    pulse.stop()
    return true
  })
  pulse.start()
  await clock.run(2000)
  pulse.wake()
  await clock.run(2000)
  assert.equal(count, 1)
})
