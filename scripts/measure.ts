/**
 * What benchmark groups share: how a figure is taken, and how it is told.
 *
 * A figure is one JSON line. CPU seconds stand beside wall seconds, because wall time alone says
 * little on a machine that does other work.
 */

/** What a figure is called and what would be good. */
export interface Figure {
  /** Stable name within its group: words with underscores, the unit left out. */
  readonly name: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** The value that must be reached; absent when there is none, as for a baseline. */
  readonly bar?: number
  /**
   * CPU seconds used so far by whatever does the work, when that is not (only) this process, such
   * as a daemon.
   */
  readonly cpuSeconds?: () => number
}

/** One line of output. Fields are only ever added. */
export interface FigureLine {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly better: 'higher' | 'lower'
  readonly bar: number | null
  readonly ok: boolean
  readonly cpu_s: number
  readonly wall_s: number
}

/** A value that was taken elsewhere, with the seconds it took. */
export interface Sample {
  readonly value: number
  readonly cpuSeconds: number
  readonly wallSeconds: number
}

/** Takes the figures of one group. */
export interface Report {
  /** Runs `work`, which returns the value; prints the line; returns the value. */
  measure(figure: Figure, work: () => number | Promise<number>): Promise<number>
  /** Prints the line of a figure that came with others: interleaved rounds, percentiles. */
  take(figure: Figure, sample: Sample): void
}

/** Benchmarks that belong together; each file in scripts/bench/ exports one as `group`. */
export interface Group {
  readonly name: string
  /** One sentence for the list of groups. */
  readonly about: string
  /** Needs what is not everywhere (root, /dev/fuse, …): a reason not to run; undefined to run. */
  whyNot?(): string | undefined
  run(report: Report, options: GroupOptions): Promise<void>
}

/** What the command line asks of a group. Groups ignore what they do not know. */
export interface GroupOptions {
  /** Figures to take, by the start of their names; empty: all. */
  readonly only: readonly string[]
  /** Directory where volumes that take long to build are kept for the next run. */
  readonly keep?: string
  /** How long to watch what does nothing. */
  readonly minutes?: number
}

/** Four significant digits: more would be noise. */
function rounded(value: number): number {
  return Number(value.toPrecision(4))
}

/** CPU seconds, user and system, of this process and all its threads. */
function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** A report that gives each line to `print`, with the group's name before that of the figure. */
export function createReport(group: string, print: (line: FigureLine) => void): Report {
  function take(figure: Figure, { value, cpuSeconds, wallSeconds }: Sample): void {
    const { name, unit, better, bar } = figure
    const isReached = bar === undefined || (better === 'higher' ? value >= bar : value <= bar)
    print({
      name: `${group}.${name}`,
      value: rounded(value),
      unit,
      better,
      bar: bar ?? null,
      ok: isReached && Number.isFinite(value),
      cpu_s: rounded(cpuSeconds),
      wall_s: rounded(wallSeconds),
    })
  }
  return {
    take,
    async measure(figure, work) {
      const { cpuSeconds = ownCpuSeconds } = figure
      const startMs = performance.now()
      const startCpu = cpuSeconds()
      const value = await work()
      const wallSeconds = (performance.now() - startMs) / 1000
      take(figure, { value, cpuSeconds: cpuSeconds() - startCpu, wallSeconds })
      return value
    },
  }
}

/** The value that `share` (0 to 1) of the values do not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** The middle value; the mean of the two middle ones for an even count. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >>> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
