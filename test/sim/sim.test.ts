/**
 * Proves the promises of whole volumes under faults (src/README.md): seeds that once found
 * something, then others, in order, for most of a minute (`npm run sim` goes beyond); and that the
 * simulator itself can be trusted: one seed gives one trace, and every planted bug is found by a
 * checker that must find it.
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
/** Wall time for seeds from `SIM_FIRST` on; one more may start just before it is over. */
const SEEDS_MS = Number(process.env['SIM_SECONDS'] ?? 45) * 1000
const FIRST_SEED = Number(process.env['SIM_FIRST'] ?? 1)
/** A planted bug must be found within so many seeds. */
const CANARY_SEEDS_MAX = 40

function assertOk(result: RunResult): void {
  const { failure, tail } = result
  if (!failure) return
  console.error([...tail.slice(-60), replayCommand(result)].join('\n'))
  throw failure.error
}

test('the same seed twice is the same run', async () => {
  for (const seed of [3, 8]) {
    const [first, second] = [await runSeed(seed), await runSeed(seed)]
    assert.equal(first.hash, second.hash, `seed ${seed}`)
  }
})

for (const [name, { says, foundBy }] of Object.entries(CANARIES)) {
  test(`a planted bug is found: ${says}`, async () => {
    const seen: string[] = []
    for (let seed = 1; seed <= CANARY_SEEDS_MAX; seed++) {
      const canary = name as CanaryName
      const hasRevocations = (foundBy as readonly string[]).includes('revocation')
      const { failure } = await runSeed(seed, { canary, stepCount: 120, hasRevocations })
      if (!failure) continue
      if ((foundBy as readonly string[]).includes(failure.checker)) return
      seen.push(`seed ${seed}: ${failure.error.message}`)
    }
    assert.fail(`not found in ${CANARY_SEEDS_MAX} seeds; others said:\n${seen.join('\n')}`)
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

test('many seeds', async (t) => {
  const startMs = performance.now()
  let seed = FIRST_SEED
  while (performance.now() - startMs < SEEDS_MS) assertOk(await runSeed(seed++))
  t.diagnostic(`seeds ${FIRST_SEED} to ${seed - 1}`)
})
