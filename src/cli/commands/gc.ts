/** `wormhole gc`. */
import type { ChunkTally, GcReport } from '../../daemon/interface.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, count, formatBytes } from '../format.ts'
import { ensureDaemon } from '../launch.ts'

/**
 * Frees chunks that nothing needs; starts the daemon if it does not run. Exit code 1 if it was
 * postponed.
 */
export async function gc(
  context: Context,
  _words: unknown,
  options: { dryRun?: boolean },
): Promise<number> {
  await ensureDaemon(context)
  const line = context.progress()
  let reports: GcReport[]
  try {
    const params = { ...context.words, isDryRun: options.dryRun ?? false }
    reports = await context.call('gc', params, { onProgress: line.show })
  } finally {
    line.clear()
  }
  await context.report(reports, () => reports.map((each) => describe(context, each)).join('\n'))
  return reports.every(({ postponed }) => postponed === undefined) ? EXIT_DONE : EXIT_ERROR
}

function describe({ paint }: Context, report: GcReport): string {
  const { isDryRun, postponed, referenced, young, unused, freed, bytesNotReturned } = report
  const title =
    postponed !== undefined
      ? paint('bad', `freed ${tally(freed)}; not more now: ${clean(postponed)}`)
      : isDryRun
        ? `${tally(unused)} could be freed`
        : paint('good', `freed ${tally(freed)}`)
  const uses: [string, ChunkTally][] = [
    ['files', referenced.tree],
    ['losing versions of conflicts', referenced.conflicts],
    ['history, deleted files included', referenced.history],
    ['open files and unpublished changes', referenced.local],
    ['written during this run', young],
  ]
  const lines = [`${clean(report.name)}: ${title} in ${report.seconds.toFixed(1)} s.`]
  for (const [use, kept] of uses)
    if (kept.chunks > 0) lines.push(`  kept for ${use}: ${tally(kept)}`)
  if (bytesNotReturned > 0) {
    const bytes = formatBytes(bytesNotReturned)
    lines.push(`  ${bytes} of it stay in use: this file system punches no holes`)
  }
  return lines.join('\n')
}

function tally({ chunks, bytes }: ChunkTally): string {
  return `${formatBytes(bytes)} in ${count(chunks, 'chunk')}`
}
