/** `wormhole version`. */
import { VERSION } from '../../daemon/version.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import type { VersionReport } from '../interface.ts'

/** Which version this is. Does not ask the daemon. */
export async function version(context: Context): Promise<number> {
  const report: VersionReport = {
    version: VERSION,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  }
  await context.report(
    report,
    () => `wormhole ${report.version} (node ${report.node}, ${report.platform})`,
  )
  return EXIT_DONE
}
