/** `wormhole bootstrap`: an own DHT bootstrap node in the foreground. */
import { once } from 'node:events'
import { openBootstrapNode } from '../../daemon/bootstrap.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import type { BootstrapReport } from '../interface.ts'

/** Runs until Ctrl-C or SIGTERM; being stopped is what ends it well, so the exit code is 0. */
export async function bootstrap(
  context: Context,
  _words: unknown,
  options: { port: number; host: string },
): Promise<number> {
  const node = await openBootstrapNode({ host: options.host, port: options.port })
  const report: BootstrapReport = { host: node.host, port: node.port }
  await context.report(
    report,
    () =>
      `Bootstrap node at ${report.host}:${report.port}. Devices use it with ` +
      `WORMHOLE_BOOTSTRAP=<address>:${report.port}`,
  )
  await Promise.race([aborted(context.io.signal), once(process, 'SIGTERM')])
  await node.close()
  return EXIT_DONE
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : once(signal, 'abort')
}
