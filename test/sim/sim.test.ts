/**
 * Proves the promises of whole volumes under faults (src/README.md): seeds that once found
 * something, then some others, the same on every machine (`npm run sim -- --minutes M` hunts); and
 * that the simulator itself can be trusted: one seed gives one trace, and every planted bug is
 * found by a checker that must find it.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { CANARIES, type CanaryName } from './canaries.ts'
import { replayCommand, runSeed, type RunResult } from './run.ts'

interface Regression {
  readonly seed: number
  readonly devices?: number
  readonly steps?: number
  readonly hasRevocations?: boolean
  readonly found: string
}

const REGRESSIONS = JSON.parse(
  readFileSync(new URL('./regressions.json', import.meta.url), 'utf8'),
) as Regression[]
/**
 * So many seeds from `SIM_FIRST` on, whatever the machine: what passes here passes elsewhere. About
 * two minutes beside other tests.
 */
const SEED_COUNT = Number(process.env['SIM_COUNT'] ?? 128)
const FIRST_SEED = Number(process.env['SIM_FIRST'] ?? 2)
/** A planted bug must be found within so many seeds from the first that is known to find it. */
const CANARY_SEEDS_MAX = 8

function assertOk(result: RunResult): void {
  const { failure, tail } = result
  if (!failure) return
  console.error([...tail.slice(-60), replayCommand(result)].join('\n'))
  throw failure.error
}

test('the same seed twice is the same run', async () => {
  for (const [seed, hasRevocations] of [
    [3, false],
    [7, false],
    [1194, true],
  ] as const) {
    const [first, second] = [
      await runSeed(seed, { hasRevocations }),
      await runSeed(seed, { hasRevocations }),
    ]
    assert.equal(first.hash, second.hash, `seed ${seed}`)
  }
})

for (const [name, { says, foundBy, from }] of Object.entries(CANARIES)) {
  test(`a planted bug is found: ${says}`, async () => {
    const seen: string[] = []
    for (let seed = from; seed < from + CANARY_SEEDS_MAX; seed++) {
      const canary = name as CanaryName
      const hasRevocations = (foundBy as readonly string[]).includes('revocation')
      const { failure } = await runSeed(seed, { canary, stepCount: 120, hasRevocations })
      if (!failure) continue
      if ((foundBy as readonly string[]).includes(failure.checker)) return
      seen.push(`seed ${seed}: ${failure.error.message}`)
    }
    const seeds = `${CANARY_SEEDS_MAX} seeds from ${from} on`
    assert.fail(`not found in ${seeds}; others said:\n${seen.join('\n')}`)
  })
}

for (const { seed, devices, steps, hasRevocations = false, found } of REGRESSIONS) {
  test(`seed ${seed}: ${found}`, async () => {
    const overrides = {
      ...(devices === undefined ? {} : { deviceCount: devices }),
      ...(steps === undefined ? {} : { stepCount: steps }),
      hasRevocations,
    }
    assertOk(await runSeed(seed, overrides))
  })
}

for (let seed = FIRST_SEED; seed < FIRST_SEED + SEED_COUNT; seed++) {
  test(`seed ${seed}`, async () => assertOk(await runSeed(seed)))
}
