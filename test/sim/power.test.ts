/**
 * Proves what a power cut may take: at every moment of a recorded run, with what was not synced
 * dropped, kept, torn or reordered, and with an index that is older, lost or newer than the log,
 * the device opens, shows a tree that was, misses nothing acknowledged, goes on and converges.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Survivors } from '../../src/disk-memory.ts'
import { PowerRun, type IndexState } from '../helpers/power-run.ts'
import { SeededRandom } from '../helpers/sim-clock.ts'

const SEEDS = (process.env['POWER_SEEDS'] ?? '1,2,3').split(',').map(Number)
const STEPS = Number(process.env['POWER_STEPS'] ?? 70)
/** Cases per seed; `all`: every moment, every way. `moment,survivors,index`: that one. */
const CASES = process.env['POWER_CASES'] ?? '25'

const SURVIVORS: readonly Survivors[] = ['none', 'all', 'some', 'torn']
const INDEXES: readonly IndexState[] = ['kept', 'older', 'lost', 'newer']

interface Case {
  readonly moment: number
  readonly survivors: Survivors
  readonly index: IndexState
}

function* allCases(momentCount: number): Generator<Case> {
  for (let moment = 0; moment <= momentCount; moment++) {
    for (const survivors of SURVIVORS) {
      for (const index of INDEXES) yield { moment, survivors, index }
    }
  }
}

function* someCases(momentCount: number, count: number, random: SeededRandom): Generator<Case> {
  for (let index = 0; index < count; index++) {
    yield {
      moment: random.below(momentCount + 1),
      survivors: SURVIVORS[random.below(4)] as Survivors,
      index: INDEXES[random.below(4)] as IndexState,
    }
  }
}

function casesOf(run: PowerRun, first: number): Iterable<Case> {
  const later = (found: Case): Case => ({ ...found, moment: first + found.moment })
  const count = run.operationCount - first
  if (CASES.includes(',')) {
    const [moment, survivors, index] = CASES.split(',') as [string, Survivors, IndexState]
    return [{ moment: Number(moment), survivors, index }]
  }
  const cases =
    CASES === 'all' ? allCases(count) : someCases(count, Number(CASES), new SeededRandom(run.seed))
  return [...cases].map(later)
}

for (const seed of SEEDS) {
  test(`the power fails at any moment, seed ${seed}`, async (t) => {
    const run = await PowerRun.record(seed, STEPS)
    // Before its first step the device has no volume that anybody relies on.
    const first = run.steps[0]?.to ?? 0
    let count = 0
    for (const { moment, survivors, index } of casesOf(run, first)) {
      const random = new SeededRandom(moment)
      try {
        await run.check(moment, { survivors, random }, index)
        count++
      } catch (error) {
        const tried = `POWER_CASES=${moment},${survivors},${index}`
        console.error(`POWER_SEEDS=${seed} POWER_STEPS=${STEPS} ${tried} shows this again`)
        throw error
      }
    }
    t.diagnostic(
      `${count} cuts in ${run.operationCount - first} moments, ${run.steps.length} steps`,
    )
  })
}

test('a device that lies about its syncs is found out', async () => {
  const run = await PowerRun.record(1, STEPS, { isLying: true })
  const random = new SeededRandom(1)
  await assert.rejects(run.check(run.operationCount, { survivors: 'none', random }, 'kept'))
  await assert.rejects(run.check(run.operationCount, { survivors: 'none', random }, 'lost'))
})
