/** `wormhole conflicts` and `wormhole conflicts resolve`. */
import type { ConflictReport } from '../../daemon/interface.ts'
import { WormholeError } from '../../errors.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import { clean, formatBytes, formatTable, formatTime } from '../format.ts'

/** Lists conflicts, in the whole volume or below a path. */
export async function conflicts(context: Context, [path]: [string | undefined]): Promise<number> {
  const report = await context.call('conflicts', { ...context.words, path: path ?? '/' })
  await context.report(report, () =>
    report.length === 0
      ? 'No conflicts.'
      : report.map((conflict) => describe(context, conflict)).join('\n\n'),
  )
  return EXIT_DONE
}

/** Settles one conflict. Prints the conflict that is left, if any. */
export async function resolve(
  context: Context,
  [path]: [string],
  options: { keep: string },
): Promise<number> {
  const isNumber = /^[1-9]\d{0,5}$/.test(options.keep)
  if (!isNumber && options.keep !== 'both') {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `--keep is ${JSON.stringify(options.keep)}; it must be a version's number or "both"`,
    )
  }
  const keep = isNumber ? { keep: Number(options.keep) } : {}
  const report = await context.call('resolveConflict', { ...context.words, path, ...keep })
  await context.report(report, () =>
    report === null ? 'Resolved.' : `Still in conflict:\n${describe(context, report)}`,
  )
  return EXIT_DONE
}

function describe(context: Context, conflict: ConflictReport): string {
  const title = `${context.paint('strong', clean(conflict.path))} (${conflict.kind})`
  const table = formatTable(
    [
      { title: 'N', isNumber: true },
      { title: 'DEVICE' },
      { title: 'TIME' },
      { title: 'SIZE', isNumber: true },
      { title: 'STATE' },
      { title: 'PATH' },
    ],
    conflict.versions.map((version, index) => [
      `${index + 1}`,
      version.device,
      formatTime(version.time),
      formatBytes(version.size),
      version.state,
      version.path ?? `version ${version.version}`,
    ]),
  )
  return `${title}\n${table}`
}
