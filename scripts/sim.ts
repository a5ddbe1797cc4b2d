/**
 * The simulator from the command line: `npm run sim -- [--seed S] [--seeds N | --minutes M]
 * [--devices D] [--steps N] [--revocations on|off] [--canary NAME] [--trace] [--no-shrink]`. Runs
 * seeds from S on (default: one that the clock chooses), and ends with 0, or with 72 and the
 * command that shows the failure again (71: a promise about time), as README.md says.
 */
import { parseArgs } from 'node:util'
import { CANARIES, type CanaryName } from '../test/sim/canaries.ts'
import type { SimOverrides } from '../test/sim/options.ts'
import { replayCommand, runSeed, shrink, type RunResult } from '../test/sim/run.ts'

const USAGE =
  'usage: npm run sim -- [--seed S] [--seeds N | --minutes M] [--devices 2..6] [--steps N]\n' +
  `                      [--revocations on|off] [--trace] [--no-shrink]\n` +
  `                      [--canary ${Object.keys(CANARIES).join('|')}]`
const SEEDS_DEFAULT = 5

interface Arguments {
  readonly seed: number
  readonly seeds: number
  readonly minutes: number | undefined
  readonly overrides: SimOverrides
  readonly isTraced: boolean
  readonly isShrunk: boolean
}

function parse(): Arguments | undefined {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string' },
        seeds: { type: 'string' },
        minutes: { type: 'string' },
        devices: { type: 'string' },
        steps: { type: 'string' },
        revocations: { type: 'string' },
        canary: { type: 'string' },
        trace: { type: 'boolean', default: false },
        'no-shrink': { type: 'boolean', default: false },
      },
    })
    const number = (text: string | undefined): number | undefined =>
      text === undefined ? undefined : Number(text)
    const { canary, revocations } = values
    const numbers = [values.seed, values.seeds, values.minutes, values.devices, values.steps]
    const isNumber = numbers.every((text) => text === undefined || Number(text) >= 0)
    const isSwitch = revocations === undefined || ['on', 'off'].includes(revocations)
    if (!isNumber || !isSwitch || (canary !== undefined && !(canary in CANARIES))) return undefined
    const deviceCount = number(values.devices)
    const stepCount = number(values.steps)
    const minutes = number(values.minutes)
    const seeds = minutes === undefined && values.seed !== undefined ? 1 : SEEDS_DEFAULT
    return {
      seed: number(values.seed) ?? Math.floor(Date.now() / 1000) % 1_000_000_000,
      seeds: number(values.seeds) ?? (minutes === undefined ? seeds : Infinity),
      minutes,
      overrides: {
        ...(deviceCount === undefined
          ? {}
          : { deviceCount: Math.min(6, Math.max(2, deviceCount)) }),
        ...(stepCount === undefined ? {} : { stepCount }),
        ...(revocations === undefined ? {} : { hasRevocations: revocations === 'on' }),
        ...(canary === undefined ? {} : { canary: canary as CanaryName }),
      },
      isTraced: values.trace,
      isShrunk: !values['no-shrink'],
    }
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

function describe(result: RunResult): string {
  const { seed, options, simulatedMs, hash, failure } = result
  const size = `${options.deviceCount} devices, ${options.stepCount} steps`
  const time = `${(simulatedMs / 1000).toFixed(0)} simulated s`
  return `seed ${seed}: ${failure ? 'FAILED' : 'ok'} (${size}, ${time}, trace ${hash})`
}

async function report(result: RunResult, args: Arguments): Promise<number> {
  const { failure } = result
  if (!failure) return 0
  console.log(failure.error.stack ?? failure.error.message)
  for (let { cause } = failure.error; cause instanceof Error; cause = cause.cause as Error) {
    console.log(`caused by ${cause.stack}`)
  }
  if (!args.isTraced && args.isShrunk) {
    const small = await shrink(result, args.overrides)
    console.log(`${describe(small)}\n  ${small.tail.slice(-30).join('\n  ')}`)
    console.log(`shorter: ${replayCommand(small)}`)
  }
  console.log(`again: ${replayCommand(result)}`)
  return failure.checker === 'liveness' ? 71 : 72
}

async function main(): Promise<number> {
  const args = parse()
  if (!args) {
    console.error(USAGE)
    return 2
  }
  const startMs = performance.now()
  const deadlineMs = startMs + (args.minutes ?? Infinity) * 60_000
  let [ran, code] = [0, 0]
  const failed: number[] = []
  for (let seed = args.seed; ran < args.seeds && performance.now() < deadlineMs; seed++, ran++) {
    const print = args.isTraced ? (line: string) => console.log(line) : undefined
    const result = await runSeed(seed, args.overrides, print)
    console.log(describe(result))
    const verdict = await report(result, args)
    if (verdict === 0) continue
    failed.push(seed)
    code ||= verdict
  }
  const { user, system } = process.cpuUsage()
  const cpu = ((user + system) / 1e6).toFixed(1)
  const wall = ((performance.now() - startMs) / 1000).toFixed(1)
  const which = failed.length > 0 ? `: ${failed.join(' ')}` : ''
  console.log(`${ran} seeds, ${failed.length} failed${which}; ${cpu} CPU s, ${wall} s`)
  return code
}

process.exitCode = await main()
