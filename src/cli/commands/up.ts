/** `wormhole up`. */
import { WormholeError } from '../../errors.ts'
import { readHolder } from '../../daemon/holder.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean } from '../format.ts'
import { ensureDaemon } from '../launch.ts'
import { describeStatus } from './reports.ts'

/**
 * Starts the daemon if it does not run, and says what it serves. The exit code is 1 when a volume
 * could not be mounted again where it was; everything else runs then.
 */
export async function up(
  context: Context,
  _words: unknown,
  options: { foreground?: boolean },
): Promise<number> {
  if (options.foreground) return foreground(context)
  const { isStarted } = await ensureDaemon(context)
  // What could not be mounted when the daemon started may be possible by now.
  if (!isStarted) await context.call('restoreMounts', {})
  const report = await context.call('status', context.words)
  await context.report(report, () => describeStatus(context, report))
  const failures = report.volumes.flatMap(({ name, mountFailure }) =>
    mountFailure ? [{ name, ...mountFailure }] : [],
  )
  for (const { name, directory, code, message } of failures) {
    context.warn(`${code}: ${clean(name)} is not mounted at ${clean(directory)}: ${clean(message)}`)
  }
  return failures.length === 0 ? EXIT_DONE : EXIT_ERROR
}

/** @throws `DAEMON_RUNNING` when another process serves the home. */
async function foreground(context: Context): Promise<number> {
  const { isHomeLocked } = await import('../../daemon/lock.ts')
  if (isHomeLocked(context.home)) {
    const pid = readHolder(context.home)?.pid
    throw new WormholeError(
      'DAEMON_RUNNING',
      `process ${pid ?? 'unknown'} serves the home ${context.home} already`,
    )
  }
  const { daemon } = await import('./process.ts')
  return daemon(context)
}
