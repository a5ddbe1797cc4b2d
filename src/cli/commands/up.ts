/** `wormhole up`. */
import { EXIT_DONE, type Context } from '../context.ts'
import { ensureDaemon } from '../launch.ts'
import { describeStatus } from './reports.ts'

/** Starts the daemon if it does not run, and says what it serves. */
export async function up(
  context: Context,
  _words: unknown,
  options: { foreground?: boolean },
): Promise<number> {
  if (options.foreground) {
    const { daemon } = await import('./process.ts')
    return daemon(context)
  }
  await ensureDaemon(context)
  const report = await context.call('status', context.words)
  await context.report(report, () => describeStatus(context, report))
  return EXIT_DONE
}
