/** `wormhole up`, `down` and the hidden `daemon`: the life of the daemon. */
import { runDaemon } from '../../daemon/daemon.ts'
import { readHolder } from '../../daemon/holder.ts'
import { isHomeLocked } from '../../daemon/lock.ts'
import { detachDeadMounts } from '../../daemon/mounts.ts'
import { WormholeError, hasCode } from '../../errors.ts'
import { systemClock } from '../../system.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import { clean } from '../format.ts'
import type { DownReport } from '../interface.ts'
import { waitForEnd } from '../launch.ts'

/** Serves the home in this process until it is told to stop. */
export async function daemon(context: Context): Promise<number> {
  const { io } = context
  await runDaemon({
    env: io.env,
    cwd: io.cwd,
    openHome: await io.loadHome(),
    onReady: ({ pid, home }) => io.stderr.write(`wormhole: serving ${home} (process ${pid})\n`),
  })
  return EXIT_DONE
}

/** Stops the daemon; one that does not run is stopped already, but may have left dead mounts. */
export async function down(
  context: Context,
  _words: unknown,
  options: { timeout: number },
): Promise<number> {
  const report = await stop(context, options.timeout * 1000)
  await context.report(report, () =>
    [
      report.isStopped ? 'The daemon has stopped.' : 'The daemon was not running.',
      ...(report.detached ?? []).map((place) => `Detached its dead mount ${clean(place)}.`),
    ].join('\n'),
  )
  return EXIT_DONE
}

async function stop(context: Context, timeoutMs: number): Promise<DownReport> {
  try {
    const { pid } = await context.call('stop', {})
    await waitForEnd(context.home, timeoutMs)
    return { isStopped: true, pid }
  } catch (error) {
    if (!hasCode(error, 'DAEMON_NOT_RUNNING')) throw error
  }
  // It may be starting or stopping: then the signal reaches it, and the lock tells when it is over.
  if (!isHomeLocked(context.home)) {
    const detached = await detachDeadMounts(context.home, systemClock)
    return detached.length === 0 ? { isStopped: false } : { isStopped: false, detached }
  }
  const pid = readHolder(context.home)?.pid
  if (pid === undefined) {
    throw new WormholeError(
      'HOME_LOCKED',
      `a process that does not say which it is holds the home ${context.home}: it has just ` +
        'started, or is of another version and has to be stopped by its process id',
    )
  }
  signalProcess(pid)
  await waitForEnd(context.home, timeoutMs)
  return { isStopped: true, pid }
}

function signalProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch (error) {
    // It has just ended.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
