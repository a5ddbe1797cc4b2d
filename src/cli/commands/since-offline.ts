/** `wormhole status --since-offline`. */
import type { ChangeReport, SinceOfflineReport } from '../../daemon/offline-interface.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import { clean, formatTable, formatTime } from '../format.ts'

/** Changes that are shown without `--all`. */
const SHOWN_COUNT = 50

/** What other devices did, of every volume. */
export async function sinceOffline(context: Context, isAll: boolean): Promise<number> {
  const countMax = isAll ? Number.MAX_SAFE_INTEGER : SHOWN_COUNT
  const reports = await context.call('sinceOffline', { ...context.words, countMax })
  await context.report(reports, () =>
    reports.map((report) => describeSinceOffline(context, report)).join('\n\n'),
  )
  return EXIT_DONE
}

/** One volume as text. */
export function describeSinceOffline(context: Context, report: SinceOfflineReport): string {
  const { away, offlineSince, counts, changes, isComplete } = report
  const name = context.paint('strong', clean(report.name))
  const lines: string[] = []
  const now = offlineSince === undefined ? '' : `; offline again since ${formatTime(offlineSince)}`
  if (!away) {
    const since = offlineSince === undefined ? '' : `; offline since ${formatTime(offlineSince)}`
    const state = report.isConnected ? '' : since
    return `${name}: this device has not been alone for a minute or longer${state}.`
  }
  lines.push(`${name}: offline from ${formatTime(away.from)} to ${formatTime(away.to)}${now}`)
  const total = Object.values(counts).reduce((sum, value) => sum + value, 0)
  const more = isComplete ? '' : ', and more: the log of that time is not all here, or too long'
  if (total === 0)
    return [...lines, `  Nothing was changed by other devices since${more}.`].join('\n')
  const kinds = Object.entries(counts).filter(([, value]) => value > 0)
  const parts = kinds.map(([kind, value]) => `${value} ${kind}`)
  lines.push(`  Changed by other devices since: ${parts.join(', ')}${more}.`)
  const table = formatTable(
    ['CHANGE', 'PATH', 'DEVICE', 'TIME'].map((title) => ({ title })),
    changes.map((change) => [
      change.hasNewContent ? `${change.kind}, changed` : change.kind,
      pathOf(change),
      change.device,
      formatTime(change.time),
    ]),
  )
  lines.push(...table.split('\n').map((line) => `  ${line}`))
  if (total > changes.length) {
    lines.push(`  ${total - changes.length} older ones are not shown; --all shows them.`)
  }
  return lines.join('\n')
}

function pathOf({ path, type, from }: ChangeReport): string {
  const shown = type === 'directory' ? `${path}/` : path
  return from === undefined ? shown : `${shown} (was ${from}/)`
}
