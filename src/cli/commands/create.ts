/** `wormhole init` and `wormhole join`. */
import path from 'node:path'
import { hostname } from 'node:os'
import { WormholeError } from '../../errors.ts'
import type { CreatedReport } from '../../daemon/interface.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean } from '../format.ts'
import { ensureDaemon } from '../launch.ts'

/** An invite is a short line; whatever is longer is not one. */
const INVITE_BYTES_MAX = 64 * 1024

interface DeviceOptions {
  mount?: string
  owner?: string
  device?: string
  label?: string[]
}

/** Creates a volume. */
export async function init(
  context: Context,
  _words: unknown,
  options: DeviceOptions & { name?: string; another?: boolean },
): Promise<number> {
  const device = deviceParams(context, options)
  const name = options.name ?? (device.mount ? path.basename(device.mount) : 'wormhole')
  if (name.trim() === '') throw new WormholeError('BAD_ARGUMENT', 'the volume needs a name')
  await ensureDaemon(context)
  const isAnother = options.another ?? false
  const report = await context.call('create', { name, isAnother, ...device })
  await context.report(report, () => describe(context, report, 'Created'))
  return exitCode(report)
}

/** Joins a volume. */
export async function join(
  context: Context,
  [word]: [string],
  options: DeviceOptions,
): Promise<number> {
  const device = deviceParams(context, options)
  const invite = word === '-' ? await readInvite(context) : word.trim()
  if (invite === '') throw new WormholeError('BAD_ARGUMENT', 'the invite is empty')
  await ensureDaemon(context)
  const line = context.progress()
  try {
    const report = await context.call('join', { invite, ...device }, { onProgress: line.show })
    line.clear()
    await context.report(report, () => describe(context, report, 'Joined'))
    return exitCode(report)
  } finally {
    line.clear()
  }
}

/** The volume is there in any case; without the mount that was asked for, not all is done. */
function exitCode(report: CreatedReport): number {
  return report.warning === undefined ? EXIT_DONE : EXIT_ERROR
}

function deviceParams(
  context: Context,
  options: DeviceOptions,
): { mount?: string; owner?: string; deviceName: string; labels: Record<string, string> } {
  const labels: Record<string, string> = {}
  for (const text of options.label ?? []) {
    const match = /^([A-Za-z0-9][\w.-]*)=(.*)$/.exec(text)
    if (!match) {
      throw new WormholeError('BAD_ARGUMENT', `the label ${JSON.stringify(text)} is not key=value`)
    }
    labels[match[1] as string] = match[2] as string
  }
  const deviceName = options.device ?? hostname()
  if (deviceName.trim() === '') throw new WormholeError('BAD_ARGUMENT', 'the device needs a name')
  const mount = options.mount === undefined ? {} : { mount: context.localPath(options.mount) }
  const owner = options.owner === undefined ? {} : { owner: options.owner }
  return { ...mount, ...owner, deviceName, labels }
}

async function readInvite(context: Context): Promise<string> {
  let text = ''
  for await (const piece of context.io.stdin) {
    text += String(piece)
    if (text.length > INVITE_BYTES_MAX) throw new WormholeError('BAD_ARGUMENT', 'not an invite')
  }
  return text.trim()
}

function describe(context: Context, report: CreatedReport, verb: string): string {
  const { paint } = context
  const place = report.mountpoint === undefined ? 'not mounted' : `mounted at ${report.mountpoint}`
  const lines = [
    `${verb} volume ${paint('strong', clean(report.name))} as device ${clean(report.device)}, ` +
      `${clean(place)}.`,
  ]
  if (report.warning !== undefined) lines.push(paint('warning', clean(report.warning)))
  if (report.invite !== undefined) {
    lines.push('', 'On another device run:', `  wormhole join ${clean(report.invite)}`)
  }
  if (report.recoveryCode !== undefined) {
    lines.push(
      '',
      'Recovery code, shown only now. Write it down and keep it away from this machine:',
      `  ${paint('strong', clean(report.recoveryCode))}`,
    )
  }
  return lines.join('\n')
}
