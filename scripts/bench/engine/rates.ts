/** Rates per CPU second of what takes turns in this process. */
import { median, type Report } from '../../measure.ts'

/** One side of what takes turns. */
export interface RateRow {
  readonly figure: { readonly name: string; readonly bar: number }
  /** Does its part of one round. */
  work(): void | Promise<void>
}

/** CPU seconds of this process so far, all threads and the garbage collector included. */
export function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/**
 * Runs the rows by turns and takes the median of their rates per CPU second. One more round goes
 * before, for the compiler.
 */
export async function takeRates(
  report: Report,
  options: { readonly rounds: number; readonly count: number; readonly rows: readonly RateRow[] },
): Promise<void> {
  const { rounds, count, rows } = options
  const series = rows.map((row) => ({ row, rates: [] as number[], cpuSeconds: 0, wallSeconds: 0 }))
  for (let round = 0; round <= rounds; round++) {
    for (const one of series) {
      const startMs = performance.now()
      const startCpu = ownCpuSeconds()
      await one.row.work()
      const cpuSeconds = ownCpuSeconds() - startCpu
      if (round === 0) continue
      one.cpuSeconds += cpuSeconds
      one.wallSeconds += (performance.now() - startMs) / 1000
      one.rates.push(count / cpuSeconds)
    }
  }
  for (const { row, rates, ...cost } of series) {
    const figure = { ...row.figure, unit: '1/cpu s', better: 'higher' } as const
    report.take(figure, { ...cost, value: median(rates) })
  }
}
