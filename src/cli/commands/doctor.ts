/** `wormhole doctor`. */
import { checkMachine } from '../checks.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean } from '../format.ts'
import type { Check, DoctorReport } from '../interface.ts'

const MARKS = {
  ok: ['good', 'ok  '],
  warning: ['warning', 'warn'],
  failed: ['bad', 'FAIL'],
} as const

/** Checks the machine, the home and the daemon. Exit code 1 if a check failed. */
export async function doctor(context: Context): Promise<number> {
  const checks = await checkMachine(context)
  const report: DoctorReport = {
    isHealthy: checks.every(({ state }) => state !== 'failed'),
    checks,
  }
  await context.report(report, () => checks.map((check) => describe(context, check)).join('\n'))
  return report.isHealthy ? EXIT_DONE : EXIT_ERROR
}

function describe(context: Context, check: Check): string {
  const [tone, mark] = MARKS[check.state]
  const line = `${context.paint(tone, mark)}  ${check.name.padEnd(12)} ${clean(check.message)}`
  return check.advice === undefined
    ? line
    : `${line}\n      ${''.padEnd(12)} -> ${clean(check.advice)}`
}
