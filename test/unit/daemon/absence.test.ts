/**
 * Proves when a time without other devices begins and ends: by goodbye, by death of the process, by
 * sleep of the machine; and that a short gap is none. Clocks and files are plain objects.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Absence, isAbsenceState, type AbsenceState } from '../../../src/daemon/absence.ts'
import type { FeedId } from '../../../src/types.ts'

const FEED = 'f'.repeat(64) as FeedId
const MINUTE = 60_000
const HOUR = 60 * MINUTE

class World {
  wallMs = Date.UTC(2026, 10, 20)
  monotonicMs = 0
  length = 0
  newestMs = 0
  saved: AbsenceState | undefined
  failure: Error | undefined
  readonly problems: string[] = []
  absence = this.open()

  /** A new process, from what was saved. */
  open(): Absence {
    const clock = {
      nowMs: () => this.wallMs,
      nowNs: () => BigInt(this.wallMs) * 1_000_000n,
      monotonicMs: () => this.monotonicMs,
      setTimer: () => ({ cancel: () => undefined }),
    }
    this.absence = new Absence(this.saved && structuredClone(this.saved), {
      clock,
      lengths: async () => {
        const { length } = this
        await Promise.resolve()
        return [[FEED, length]]
      },
      newestMs: () => Promise.resolve(this.newestMs),
      save: (state) => {
        if (this.failure) throw this.failure
        assert.ok(isAbsenceState(JSON.parse(JSON.stringify(state))))
        this.saved = state
      },
      onProblem: ({ message }) => void this.problems.push(message),
    })
    return this.absence
  }

  pass(ms: number): void {
    this.wallMs += ms
    this.monotonicMs += ms
  }

  sleep(ms: number): void {
    this.wallMs += ms
  }

  /** The last absence: what was had, and how long it took. */
  async last(): Promise<[number, number] | undefined> {
    const last = (await this.absence.state())?.last
    return last && [last.had[0]?.[1] as number, last.toMs - last.fromMs]
  }
}

test('an absence lasts from the last device that goes to the first that comes', async () => {
  const world = new World()
  world.absence.connected()
  assert.equal(await world.last(), undefined, 'never been away')
  world.length = 7
  world.pass(HOUR)
  world.absence.alone()
  // What the next device brings is not what was had.
  world.length = 9
  assert.equal((await world.absence.state())?.now?.had[0]?.[1], 7)
  world.pass(3 * HOUR)
  world.absence.connected()
  world.length = 20
  assert.deepEqual(await world.last(), [7, 3 * HOUR])
  assert.equal(world.saved?.now, undefined)
  // A second device changes nothing, nor does a gap of seconds.
  world.absence.connected()
  world.absence.alone()
  world.pass(30_000)
  world.absence.connected()
  assert.deepEqual(await world.last(), [7, 3 * HOUR])
})

test('it goes on over a restart', async () => {
  const world = new World()
  world.absence.connected()
  world.length = 3
  world.absence.alone()
  await world.absence.close()
  world.pass(HOUR)
  world.monotonicMs = 0
  world.open()
  // What this device writes meanwhile is its own.
  world.length = 4
  world.pass(HOUR)
  world.absence.connected()
  assert.deepEqual(await world.last(), [3, 2 * HOUR])
})

test('who died while connected had what the log holds at the next start', async () => {
  const world = new World()
  world.absence.connected()
  await world.absence.state()
  world.length = 5
  world.pass(HOUR)
  world.newestMs = world.wallMs - 10 * MINUTE
  world.pass(5 * HOUR)
  world.open()
  world.absence.connected()
  world.length = 50
  assert.deepEqual(await world.last(), [5, 5 * HOUR + 10 * MINUTE])
})

test('a machine that sleeps while it is connected is away since then', async () => {
  for (const isGoneFirst of [true, false]) {
    const world = new World()
    world.absence.connected()
    world.pass(HOUR)
    world.length = 6
    world.sleep(8 * HOUR)
    // The dead link is noticed, or another device is there before that.
    world.pass(9000)
    if (isGoneFirst) {
      world.absence.alone()
      world.pass(2000)
    }
    world.absence.connected()
    world.length = 60
    const [had, tookMs] = (await world.last()) ?? []
    assert.equal(had, 6)
    assert.ok(Math.abs((tookMs as number) - 8 * HOUR) < MINUTE, `${tookMs}`)
    // A nap of seconds is none.
    world.sleep(10_000)
    world.absence.connected()
    assert.equal((await world.last())?.[0], 6)
  }
})

test('what cannot be saved is a problem, and the next one is saved', async () => {
  const world = new World()
  world.failure = new Error('disk full')
  world.absence.connected()
  await world.absence.close()
  assert.equal(world.problems.length, 1)
  world.failure = undefined
  world.absence.alone()
  await world.absence.close()
  assert.ok(world.saved?.now)
})

test('only a state is one', () => {
  const now = { had: [[FEED, 3]], fromMs: 5 }
  const good = { connectedMs: 1, now, last: { ...now, toMs: 9 } }
  assert.ok(isAbsenceState(good))
  assert.ok(isAbsenceState({ connectedMs: 1 }))
  const bad = [
    undefined,
    null,
    [],
    {},
    { connectedMs: '1' },
    { connectedMs: 1, now: { had: [[FEED]], fromMs: 5 } },
    { connectedMs: 1, now: { had: [[FEED, -1]], fromMs: 5 } },
    { connectedMs: 1, now: { had: {}, fromMs: 5 } },
    { connectedMs: 1, last: now },
  ]
  for (const value of bad) assert.equal(isAbsenceState(value), false, JSON.stringify(value))
})
