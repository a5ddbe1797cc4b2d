/** Runs seeds, and makes failing runs shorter. */
import { Failure, type Checker } from './failure.ts'
import { finish } from './finish.ts'
import { optionsOf, type SimOptions, type SimOverrides } from './options.ts'
import { Simulation } from './simulation.ts'

/** What came of one run. */
export interface RunResult {
  readonly seed: number
  readonly options: SimOptions
  /** Hash of everything that happened. */
  readonly hash: string
  readonly simulatedMs: number
  readonly counts: ReadonlyMap<string, number>
  readonly failure: { readonly checker: Checker; readonly error: Error } | undefined
  /** The newest lines of the trace. */
  readonly tail: readonly string[]
}

/** Runs one seed. Never rejects: whatever is thrown is the failure. */
export async function runSeed(
  seed: number,
  overrides: SimOverrides = {},
  print?: (line: string) => void,
): Promise<RunResult> {
  const options = optionsOf(seed, overrides)
  const simulation = new Simulation(options, print)
  let failure: RunResult['failure']
  const stray: unknown[] = []
  const onStray = (error: unknown): void => void stray.push(error)
  process.on('unhandledRejection', onStray)
  try {
    await simulation.found()
    for (let step = 0; step < options.stepCount && stray.length === 0; step++) {
      await simulation.step(step)
    }
    if (stray.length === 0) await finish(simulation)
    simulation.checkProblems()
    if (stray.length > 0) throw stray[0]
  } catch (error) {
    const checker = error instanceof Failure ? error.checker : 'bug'
    failure = { checker, error: error instanceof Error ? error : new Error(String(error)) }
  } finally {
    for (const device of simulation.devices) device.kill()
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', onStray)
  }
  return {
    seed,
    options,
    hash: simulation.trace.digest(),
    simulatedMs: simulation.clock.monotonicMs(),
    counts: simulation.counts,
    failure,
    tail: simulation.trace.tail(),
  }
}

/** Looks for fewer steps and devices that break the same promise. */
export async function shrink(failed: RunResult, overrides: SimOverrides): Promise<RunResult> {
  let best = failed
  const attempt = async (change: SimOverrides): Promise<boolean> => {
    const result = await runSeed(failed.seed, { ...overrides, ...known(best), ...change })
    if (result.failure?.checker !== failed.failure?.checker) return false
    best = result
    return true
  }
  for (let steps = best.options.stepCount >> 1; steps > 2; steps >>= 1) {
    if (!(await attempt({ stepCount: steps }))) break
  }
  for (const part of [0.6, 0.75, 0.9]) {
    if (await attempt({ stepCount: Math.floor(best.options.stepCount * part) })) break
  }
  for (let devices = best.options.deviceCount - 1; devices >= 2; devices--) {
    if (!(await attempt({ deviceCount: devices }))) break
  }
  return best
}

function known({ options }: RunResult): SimOverrides {
  return { stepCount: options.stepCount, deviceCount: options.deviceCount }
}

/** The command that shows a run again. */
export function replayCommand({ options, seed }: RunResult): string {
  const { canary, stepCount, deviceCount, hasRevocations } = options
  const planted = canary === undefined ? '' : ` --canary ${canary}`
  const size = `--steps ${stepCount} --devices ${deviceCount}`
  const revocations = `--revocations ${hasRevocations ? 'on' : 'off'}`
  return `npm run sim -- --seed ${seed} ${size} ${revocations}${planted} --trace`
}
