/** `wormhole restore`. */
import type { RestoreReport } from '../../daemon/interface.ts'
import { systemClock } from '../../system.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, count, formatBytes } from '../format.ts'
import { decodeMoment } from '../moment.ts'

/** More lines help nobody: `--json` has them all. */
const LINES_MAX = 20

/** Brings back what was deleted or changed. The exit code is 1 when something was skipped. */
export async function restore(
  context: Context,
  [path]: [string],
  options: { at?: string; to?: string; dryRun?: boolean },
): Promise<number> {
  const moment = options.at === undefined ? {} : decodeMoment(options.at, systemClock.nowMs())
  const report = await context.call('restore', {
    ...context.words,
    path,
    ...moment,
    ...(options.to === undefined ? {} : { to: options.to }),
    isPreview: options.dryRun ?? false,
  })
  await context.report(report, () => describe(report))
  return report.items.every(({ action }) => action !== 'skipped') ? EXIT_DONE : EXIT_ERROR
}

function describe({ items, isPreview }: RestoreReport): string {
  if (items.length === 0) return 'Nothing to do: everything is as it was then.'
  const lines = items.slice(0, LINES_MAX).map(({ path, action, size, reason }) => {
    const verb = isPreview && action !== 'skipped' ? `would be ${action}` : action
    return clean(
      `${path}: ${verb}${size > 0 ? `, ${formatBytes(size)}` : ''}${reason ? `: ${reason}` : ''}`,
    )
  })
  const more = items.length - lines.length
  if (more > 0) lines.push(`… and ${count(more, 'more entry').replace('entrys', 'entries')}`)
  return lines.join('\n')
}
