/** `wormhole policy check` and `wormhole policy explain`. */
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, formatTable } from '../format.ts'

/** Validates policy files; exit code 1 if there is a problem. */
export async function check(context: Context, [path]: [string | undefined]): Promise<number> {
  const report = await context.call('policyCheck', { ...context.words, path: path ?? '/' })
  await context.report(report, () =>
    report.isValid && report.problems.length === 0
      ? 'All policy files are valid.'
      : report.problems
          .map(({ file, line, column, message }) => clean(`${file}:${line}:${column}: ${message}`))
          .join('\n'),
  )
  return report.isValid ? EXIT_DONE : EXIT_ERROR
}

/** Which rule decides what. */
export async function explain(context: Context, [path]: [string]): Promise<number> {
  const report = await context.call('policyExplain', { ...context.words, path })
  await context.report(report, () =>
    formatTable(
      [{ title: 'KEY' }, { title: 'VALUE' }, { title: 'FROM' }],
      report.values.map(({ key, value, from, line }) => [
        key,
        String(value),
        line === undefined ? from : `${from}:${line}`,
      ]),
    ),
  )
  return EXIT_DONE
}
