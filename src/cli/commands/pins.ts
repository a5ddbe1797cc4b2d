/** `wormhole pin`, `unpin`, `pins`. */
import type { PinReport, PinRunReport, UnpinReport } from '../../daemon/offline-interface.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, count, formatBytes, formatTable } from '../format.ts'

/** Files that are named as text. */
const NAMED_COUNT = 10
const STAYS =
  'Nothing is freed: what is here stays until wormhole can evict files that others hold.'

/**
 * Notes the wish, then waits until it is fulfilled. The exit code is 1 when some of it cannot be
 * had now.
 */
export async function pin(
  context: Context,
  [path]: [string],
  options: { wait?: boolean },
): Promise<number> {
  const isAwaited = options.wait ?? true
  const params = { ...context.words, path }
  await context.call('pin', params)
  const line = context.progress()
  let report: PinRunReport
  try {
    report = await context.call('pinReport', { ...params, isAwaited }, { onProgress: line.show })
  } catch (error) {
    line.clear()
    context.warn(
      `${clean(path)} stays pinned: what is missing comes in the background; ` +
        '`wormhole pins` shows it, `wormhole unpin` ends it',
    )
    throw error
  } finally {
    line.clear()
  }
  await context.report(report, () => describePin(context, report))
  return report.isAvailable || report.isWaiting ? EXIT_DONE : EXIT_ERROR
}

/** The outcome as text. */
export function describePin(context: Context, report: PinRunReport): string {
  const { fetched, missing, unavailable } = report
  const path = clean(report.path)
  const { paint } = context
  const amount = `${count(fetched.files, 'file')}, ${formatBytes(fetched.bytes)}`
  const came = fetched.files === 0 ? '' : ` (${amount} in ${report.seconds.toFixed(1)} s)`
  if (report.isAvailable) return `${path}: ${paint('good', 'available offline')}${came}`
  const left = `${count(missing.files, 'file')}, ${formatBytes(missing.bytes)}`
  if (report.isWaiting) return `${path}: pinned; ${left} to fetch in the background`
  const names = unavailable.slice(0, NAMED_COUNT).map((file) => `  ${clean(file.path)}`)
  const others = missing.files - names.length
  return [
    `${path}: ${paint('warning', 'not complete')}${came}; no connected device has ${left}:`,
    ...names,
    ...(others > 0 ? [`  and ${others} more`] : []),
    'It stays pinned: they come as soon as a device that has them is connected.',
  ].join('\n')
}

/** Ends a pin. */
export async function unpin(context: Context, [path]: [string]): Promise<number> {
  const report = await context.call('unpin', { ...context.words, path })
  await context.report(report, () => describeUnpin(report))
  return EXIT_DONE
}

function describeUnpin({ path, pinnedBy }: UnpinReport): string {
  const by = pinnedBy === undefined ? '' : `; it is still kept by the pin of ${clean(pinnedBy)}`
  return `${clean(path)}: not pinned any more${by}. ${STAYS}`
}

/** What is pinned. */
export async function pins(context: Context): Promise<number> {
  const report = await context.call('pins', context.words)
  await context.report(report, () => {
    if (report.length === 0) return 'Nothing is pinned on this device.'
    return formatTable(
      [{ title: 'PATH' }, { title: 'STATE' }, { title: 'MISSING', isNumber: true }],
      report.map((each) => [each.path, STATES[each.state], missingOf(each)]),
    )
  })
  return EXIT_DONE
}

const STATES: Readonly<Record<PinReport['state'], string>> = {
  available: 'available offline',
  incomplete: 'not complete',
  deleted: 'deleted',
}

function missingOf({ missing }: PinReport): string {
  if (missing.files === 0) return '-'
  return `${count(missing.files, 'file')}, ${formatBytes(missing.bytes)}`
}
