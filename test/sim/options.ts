/**
 * What one integer decides about a run: how many devices, what their users do, what goes wrong and
 * how often. Every run leaves some kinds of operation and of fault out entirely (Groce et al.,
 * "Swarm Testing", 2012): what is rare among everything is frequent in some run.
 */
import { SeededRandom } from '../helpers/sim-clock.ts'
import type { CanaryName } from './canaries.ts'

/** What users do, with its weight among the others. */
export const ACTIONS = {
  write: 22,
  overwrite: 8,
  append: 10,
  truncate: 4,
  hold: 8,
  useHeld: 10,
  remove: 6,
  rename: 9,
  exchange: 2,
  makeDirectory: 7,
  removeDirectory: 4,
  saveByRename: 6,
  link: 4,
  symlink: 3,
  chmod: 3,
  xattr: 3,
  policy: 2,
  resolve: 4,
  temporary: 4,
  big: 1,
  read: 5,
  sync: 3,
  drain: 3,
} as const

/** One kind of user operation. */
export type ActionName = keyof typeof ACTIONS

/** What goes wrong, with its weight among the others. */
export const FAULTS = {
  kill: 6,
  powerCut: 6,
  die: 8,
  cleanStop: 2,
  fullDisk: 4,
  failedSync: 2,
  flippedChunk: 3,
  partition: 8,
  oneWay: 3,
  brokenLinks: 5,
  doubleLinks: 4,
  clockJump: 3,
  steadyKill: 4,
  steadyPowerCut: 4,
  restored: 3,
} as const

/** What goes wrong in some runs only; those without it stay what they were before it existed. */
const RARE_FAULTS = {
  copiedHome: 3,
  copiedProcess: 3,
  flippedLog: 4,
  flippedJournal: 4,
} as const

/** One kind of fault. */
export type FaultName = keyof typeof FAULTS | keyof typeof RARE_FAULTS

/** Of 100 runs so many have a rare kind of fault. */
const RARE_PERCENT = 15
const RARE_SALT = 1002

/** Everything about a run. */
export interface SimOptions {
  readonly seed: number
  /** Devices at the end; the first founds the volume, the others join on the way. */
  readonly deviceCount: number
  readonly stepCount: number
  readonly actions: ReadonlyMap<ActionName, number>
  readonly faults: ReadonlyMap<FaultName, number>
  /** Of 100 steps so many are faults. */
  readonly faultPercent: number
  /** Longest time that passes after a step, in ms. */
  readonly pauseMsMax: number
  readonly network: {
    readonly delayMsMin: number
    readonly delayMsMax: number
    readonly bytesPerMs: number | undefined
  }
  /** Longest delay of a message between two threads of one daemon. */
  readonly threadDelayMsMax: number
  /** Wall clocks are wrong by at most this, to either side. */
  readonly skewMsMax: number
  /** Newcomers take snapshots instead of the log. */
  readonly hasSnapshots: boolean
  /** Devices collect unused chunks now and then, beside everything else. */
  readonly hasCollections: boolean
  /** A member writes what no honest device would. */
  readonly hasMallory: boolean
  /** Admins revoke devices. */
  readonly hasRevocations: boolean
  /** A planted bug, to see that it is found. */
  readonly canary: CanaryName | undefined
}

/** What a caller may fix. */
export interface SimOverrides {
  readonly deviceCount?: number
  readonly stepCount?: number
  readonly hasRevocations?: boolean
  readonly canary?: CanaryName
}

/** Derives a run from its seed. Pure. */
export function optionsOf(seed: number, overrides: SimOverrides = {}): SimOptions {
  const random = new SeededRandom(seed * 2654435761 + 17)
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)] as T
  const some = <Name extends string>(all: Readonly<Record<Name, number>>): Map<Name, number> => {
    const entries = Object.entries(all) as [Name, number][]
    return new Map(entries.filter(() => random.below(100) >= 18))
  }
  const deviceCount = 2 + random.below(5)
  const actions = some(ACTIONS)
  actions.set('write', ACTIONS.write)
  if (random.below(100) >= 20) actions.delete('policy')
  const faults = new Map<FaultName, number>(some(FAULTS))
  const rare = new SeededRandom(seed ^ RARE_SALT)
  for (const [name, weight] of Object.entries(RARE_FAULTS) as [FaultName, number][]) {
    if (rare.below(100) < RARE_PERCENT) faults.set(name, weight)
  }
  const isCalm = random.below(100) < 15
  const delayMsMin = pick([0, 1, 1, 5, 40])
  // Drawn also when a caller fixes it: the rest is to be the same.
  const stepCount = pick([60, 120, 200, 300])
  return {
    seed,
    deviceCount: overrides.deviceCount ?? deviceCount,
    stepCount: overrides.stepCount ?? stepCount,
    actions,
    faults,
    faultPercent: isCalm ? 0 : pick([3, 8, 15, 30]),
    pauseMsMax: pick([20, 200, 200, 2000]),
    network: {
      delayMsMin,
      delayMsMax: delayMsMin + pick([0, 3, 30, 200]),
      bytesPerMs: pick([undefined, undefined, 1000, 50]),
    },
    threadDelayMsMax: pick([0, 1, 5, 60]),
    skewMsMax: pick([0, 50, 5000, 200_000]),
    hasSnapshots: rare.below(100) < RARE_PERCENT,
    hasCollections: new SeededRandom(seed ^ 0x2545f491).below(2) === 0,
    hasMallory: random.below(100) < 12,
    // Drawn last: what is older keeps its runs.
    hasRevocations: overrides.hasRevocations ?? random.below(100) < 35,
    canary: overrides.canary,
  }
}

/** Chooses by weight. Undefined when there is nothing. */
export function choose<T>(weights: ReadonlyMap<T, number>, random: SeededRandom): T | undefined {
  let total = 0
  for (const weight of weights.values()) total += weight
  let at = random.below(Math.max(1, total))
  for (const [name, weight] of weights) {
    at -= weight
    if (at < 0) return name
  }
  return undefined
}
