/** `wormhole verify`. */
import type { FindingReport, VerifyReport } from '../../daemon/interface.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, count, formatBytes } from '../format.ts'
import { ensureDaemon } from '../launch.ts'

/**
 * Checks everything this device keeps; starts the daemon if it does not run. Exit code 1 if
 * findings are left.
 */
export async function verify(
  context: Context,
  _words: unknown,
  options: { repair?: boolean; rebuild?: boolean },
): Promise<number> {
  await ensureDaemon(context)
  const line = context.progress()
  let reports: VerifyReport[]
  try {
    const params = {
      ...context.words,
      isRepair: options.repair ?? false,
      isRebuild: options.rebuild ?? false,
    }
    reports = await context.call('verify', params, { onProgress: line.show })
  } finally {
    line.clear()
  }
  await context.report(reports, () => reports.map((each) => describe(context, each)).join('\n'))
  return reports.every(({ isClean }) => isClean) ? EXIT_DONE : EXIT_ERROR
}

function describe({ paint }: Context, report: VerifyReport): string {
  const left = report.findings.filter(({ isRepaired }) => !isRepaired).length
  const repaired = report.findings.length - left
  const tone = report.isClean ? 'good' : 'bad'
  const words = [
    left === 0 ? 'nothing is damaged' : count(left, 'finding'),
    ...(repaired > 0 ? [`${repaired} repaired`] : []),
    ...(report.isRebuilt ? ['the index was built anew'] : []),
  ]
  const read = `${formatBytes(report.bytes)} read in ${report.seconds.toFixed(1)} s`
  const title = `${clean(report.name)}: ${paint(tone, words.join(', '))}; ${read}.`
  return [title, ...report.findings.map((finding) => describeFinding(finding))].join('\n')
}

function describeFinding(finding: FindingReport): string {
  const { part, code, message, path, offset, files } = finding
  const at = offset === undefined ? '' : `, offset ${offset}`
  const isPlace = path !== undefined && part !== 'contents'
  const place = isPlace ? ` (${path}${at})` : ''
  const chunk = finding.address === undefined ? '' : `; chunk ${finding.address.slice(0, 16)}`
  const used = files === undefined ? '' : `; used by ${files.join(', ')}`
  const what = clean(`${part}: ${code}: ${message}${place}${chunk}${used}`)
  if (finding.isRepaired) return `  ${what}; repaired`
  return `  ${what}; ${clean(finding.consequence)}; ${clean(finding.advice)}`
}
