/** `wormhole sync`. */
import type { SyncReport } from '../../daemon/interface.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, count, formatBytes } from '../format.ts'

/** How long a round may take that nobody waits for, and one that somebody does. */
const ROUND_SECONDS = 5
const WAIT_SECONDS = 60

/**
 * Asks every member. With `--wait` the exit code is 1 unless all who answered are equal in time;
 * with `--require` it is 1 if fewer members are.
 */
export async function sync(
  context: Context,
  _words: unknown,
  options: { wait?: boolean; timeout?: number; require?: number },
): Promise<number> {
  const seconds = options.timeout ?? (options.wait ? WAIT_SECONDS : ROUND_SECONDS)
  const line = context.progress()
  let report: SyncReport
  try {
    const require = options.require === undefined ? {} : { require: options.require }
    const params = { ...context.words, timeoutMs: Math.round(seconds * 1000), ...require }
    report = await context.call('sync', params, { onProgress: line.show })
  } finally {
    line.clear()
  }
  await context.report(report, () => describe(context, report, options.require))
  const equalCount = report.members.filter(({ state }) => state === 'in-sync').length
  const isEnough = equalCount >= (options.require ?? 0)
  return isEnough && (report.isInSync || !options.wait) ? EXIT_DONE : EXIT_ERROR
}

function describe(context: Context, report: SyncReport, required = 0): string {
  const { paint } = context
  const { missing, members } = report
  const lines = members.map(({ name, state }) => {
    const tone = state === 'in-sync' ? 'good' : 'warning'
    return `  ${clean(name)}: ${paint(tone, state === 'in-sync' ? 'in sync' : state)}`
  })
  const isAlone = members.length > 0 && members.every(({ state }) => state === 'unreachable')
  const isGood = report.isInSync && !isAlone
  const words = isAlone ? 'No other device answered' : report.isInSync ? 'In sync' : 'Not in sync'
  const result = paint(isGood ? 'good' : 'warning', words)
  lines.unshift(
    `${result} after ${report.seconds.toFixed(1)} s; ${count(members.length, 'member')} asked.`,
  )
  if (members.filter(({ state }) => state === 'in-sync').length < required) {
    lines.push(`Asked for: ${count(required, 'member')} in sync.`)
  }
  if (missing.files > 0) {
    lines.push(`Still to fetch: ${count(missing.files, 'file')}, ${formatBytes(missing.bytes)}.`)
  }
  for (const { code, message } of report.refused) {
    lines.push(paint('warning', `Not in the tree: ${clean(`${code}: ${message}`)}`))
  }
  return lines.join('\n')
}
