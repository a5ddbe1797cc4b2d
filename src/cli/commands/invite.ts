/** `wormhole invite`. */
import type { Role } from '../../types.ts'
import { EXIT_DONE, type Context } from '../context.ts'

/** Makes an invite. The text output is the invite alone, ready for a pipe. */
export async function invite(
  context: Context,
  _words: unknown,
  options: { role: Role; days: number; uses: number; recovery?: string },
): Promise<number> {
  const { role, days, uses, recovery } = options
  const params = { role, days, uses, ...(recovery === undefined ? {} : { recovery }) }
  const report = await context.call('createInvite', { ...context.words, ...params })
  await context.report(report, () => report.invite)
  return EXIT_DONE
}
