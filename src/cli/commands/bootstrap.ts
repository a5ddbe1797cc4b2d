/** `wormhole bootstrap`: an own DHT bootstrap node in the foreground. */
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import { openBootstrapNode } from '../../daemon/bootstrap.ts'
import { networkOptions } from '../../daemon/paths.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import type { BootstrapReport } from '../interface.ts'

/** Runs until Ctrl-C or SIGTERM; being stopped is what ends it well, so the exit code is 0. */
export async function bootstrap(
  context: Context,
  _words: unknown,
  options: { port: number; host?: string },
): Promise<number> {
  const host = options.host ?? networkOptions(context.io.env).bind?.host ?? firstAddress()
  const node = await openBootstrapNode({ host, port: options.port })
  // Before the address is told: who reads it may stop the node at once.
  const stopped = Promise.race([aborted(context.io.signal), once(process, 'SIGTERM')])
  const report: BootstrapReport = { host: node.host, port: node.port }
  await context.report(
    report,
    () =>
      `Bootstrap node at ${report.host}:${report.port}. Devices use it with ` +
      `WORMHOLE_BOOTSTRAP=${report.host}:${report.port}`,
  )
  await stopped
  await node.close()
  return EXIT_DONE
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : once(signal, 'abort')
}

/** The first IPv4 address of this machine that others may reach; loopback without a network. */
function firstAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const found = all.find(({ family, internal }) => family === 'IPv4' && !internal)
  return found?.address ?? '127.0.0.1'
}
