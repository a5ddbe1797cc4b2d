/** `wormhole status`, `devices`, `peers`, `where`, `history`: reports of the daemon as tables. */
import type {
  DeviceReport,
  StatusReport,
  VersionReport,
  VolumeStatus,
} from '../../daemon/interface.ts'
import { WormholeError } from '../../errors.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import { sinceOffline } from './since-offline.ts'
import { clean, count, formatBytes, formatTable, formatTime } from '../format.ts'

/** What is mounted, synced and missing; or what changed while this device was away. */
export async function status(
  context: Context,
  _words: unknown,
  options: { sinceOffline?: boolean; all?: boolean },
): Promise<number> {
  if (options.sinceOffline) return sinceOffline(context, options.all ?? false)
  if (options.all) throw new WormholeError('BAD_ARGUMENT', '--all belongs to --since-offline')
  const report = await context.call('status', context.words)
  await context.report(report, () => describeStatus(context, report))
  return EXIT_DONE
}

/** The status as text. */
export function describeStatus(context: Context, report: StatusReport): string {
  const head = `Device ${clean(report.device.name)}, home ${clean(report.home)}, daemon ${
    report.daemonPid
  } (${report.version})`
  if (report.volumes.length === 0) {
    return `${head}\nNo volume yet. Create one with: wormhole init, or: wormhole join <invite>`
  }
  return [head, ...report.volumes.map((volume) => describeVolume(context, volume))].join('\n\n')
}

function describeVolume(context: Context, volume: VolumeStatus): string {
  const { paint } = context
  const { missing } = volume
  const { mountFailure } = volume
  const failed = mountFailure === undefined ? '' : ` (failed at ${clean(mountFailure.directory)})`
  const mount = volume.mountpoint
    ? clean(volume.mountpoint)
    : paint('warning', `not mounted${failed}`)
  const rows: [string, string][] = [
    ['mount', mount],
    ['files', `${volume.fileCount}`],
    ['peers', `${volume.peersConnected} of ${volume.peersKnown} connected`],
    ['stored', `${formatBytes(volume.stored.bytes)} in ${count(volume.stored.chunks, 'chunk')}`],
    [
      'missing',
      missing.files === 0
        ? paint('good', 'nothing')
        : paint('warning', `${count(missing.files, 'file')}, ${formatBytes(missing.bytes)}`),
    ],
  ]
  if (volume.collected) {
    const { at, freed, postponed } = volume.collected
    const why = postponed === undefined ? '' : `; not more: ${clean(postponed)}`
    rows.push(['freed', `${formatBytes(freed.bytes)} on ${formatTime(at)}${why}`])
  }
  if (volume.scrubbed) rows.push(['checked', describeScrub(context, volume.scrubbed)])
  if (volume.pendingEdits > 0) rows.push(['pending', count(volume.pendingEdits, 'edit')])
  if (volume.conflicts > 0) {
    const text = `${volume.conflicts} (see: wormhole conflicts)`
    rows.push(['conflicts', paint('warning', text)])
  }
  const role = volume.revokedBy ? 'revoked' : volume.role
  const title = `${paint('strong', clean(volume.name))}  ${role}  ${volume.id.slice(0, 12)}`
  const lines = [title, ...rows.map(([name, text]) => `  ${name.padEnd(10)}${text}`)]
  for (const problem of volume.problems) {
    const where = problem.path === undefined ? '' : ` (${problem.path})`
    lines.push(
      `  ${paint('bad', 'problem')}   ${clean(`${problem.code}: ${problem.message}${where}`)}`,
    )
  }
  return lines.join('\n')
}

/** What was read again to find rot, and what became of that. */
function describeScrub(context: Context, scrubbed: NonNullable<VolumeStatus['scrubbed']>): string {
  const { at, bytes, damaged, isRepaired } = scrubbed
  const read = `${formatBytes(bytes)} read again, last on ${formatTime(at)}`
  if (isRepaired === undefined) return read
  const found = damaged > 0 ? `${count(damaged, 'chunk')} damaged` : 'the chunk index damaged'
  return isRepaired
    ? `${read}; ${found}, whole again`
    : `${read}; ${context.paint('warning', `${found} (see: wormhole verify --repair)`)}`
}

/** Who is in the volume. */
export async function devices(context: Context): Promise<number> {
  const report = await context.call('devices', context.words)
  const titles = ['DEVICE', 'ROLE', 'STATE', 'LAST ENTRY', 'ID']
  const isLabelled = report.some(({ labels }) => labels !== undefined)
  if (isLabelled) titles.push('LABELS')
  await context.report(report, () =>
    formatTable(
      titles.map((title) => ({ title })),
      report.map((device) => [
        device.name,
        device.role ?? '-',
        stateOf(device),
        formatTime(device.lastEntryAt),
        device.id.slice(0, 12),
        ...(isLabelled ? [labelsOf(device)] : []),
      ]),
    ),
  )
  return EXIT_DONE
}

function labelsOf({ labels = {} }: DeviceReport): string {
  return Object.entries(labels)
    .map((pair) => pair.join('='))
    .join(' ')
}

function stateOf({ isSelf, isConnected, isInSync, revoked }: DeviceReport): string {
  if (revoked) {
    const aside = revoked.aside > 0 ? `, ${revoked.aside} of its entries aside` : ''
    return `revoked ${formatTime(revoked.at)} by ${clean(revoked.by)}${aside}`
  }
  if (isSelf) return 'this device'
  return `${isConnected ? 'connected' : 'away'}${isInSync ? ', in sync' : ''}`
}

/** Connected devices. */
export async function peers(context: Context): Promise<number> {
  const report = await context.call('peers', context.words)
  const rate = (bytes: number | undefined): string =>
    bytes === undefined ? '-' : `${formatBytes(bytes)}/s`
  await context.report(report, () => {
    if (report.length === 0) return 'No device is connected.'
    return formatTable(
      [
        { title: 'PEER' },
        { title: 'ROUTES' },
        { title: 'ADDRESS' },
        { title: 'RTT', isNumber: true },
        { title: 'SPEED', isNumber: true },
        { title: 'SENT', isNumber: true },
        { title: 'RECEIVED', isNumber: true },
        { title: 'STATE' },
      ],
      report.map((peer) => [
        peer.name,
        peer.routes.join('+'),
        peer.address,
        peer.rttMs === undefined ? '-' : `${peer.rttMs.toFixed(peer.rttMs < 10 ? 1 : 0)} ms`,
        rate(peer.receiveBytesPerSecond),
        formatBytes(peer.sentBytes),
        formatBytes(peer.receivedBytes),
        peer.isInSync ? 'in sync' : 'behind',
      ]),
    )
  })
  return EXIT_DONE
}

/** Which devices hold the bytes of a file. */
export async function where(context: Context, [path]: [string]): Promise<number> {
  const report = await context.call('where', { ...context.words, path })
  await context.report(report, () => {
    const title = `${clean(report.path)}: ${formatBytes(report.size)} in ${count(
      report.chunks,
      'chunk',
    )}, ${report.copies === 1 ? '1 complete copy' : `${report.copies} complete copies`}`
    const rows = report.holders.map((holder) => [
      holder.isSelf ? `${holder.name} (this device)` : holder.name,
      `${holder.chunks}`,
      holder.isComplete ? 'all' : `${share(holder.chunks, report.chunks)}%`,
    ])
    const table = formatTable(
      [{ title: 'DEVICE' }, { title: 'CHUNKS', isNumber: true }, { title: 'HAS', isNumber: true }],
      rows,
    )
    const unknown =
      report.unknown.length === 0
        ? []
        : [`Not asked (away): ${report.unknown.map(clean).join(', ')}`]
    return [title, table, ...unknown].join('\n')
  })
  return EXIT_DONE
}

function share(part: number, whole: number): number {
  return whole === 0 ? 100 : Math.floor((part / whole) * 100)
}

/** The versions of a file. */
export async function history(context: Context, [path]: [string]): Promise<number> {
  const report = await context.call('history', { ...context.words, path })
  await context.report(report, () => describeVersions(report))
  return EXIT_DONE
}

function describeVersions(versions: VersionReport[]): string {
  return formatTable(
    [
      { title: 'VERSION' },
      { title: 'TIME' },
      { title: 'DEVICE' },
      { title: 'SIZE', isNumber: true },
      { title: 'STATE' },
    ],
    versions.map((version) => [
      version.version,
      formatTime(version.time),
      version.device,
      formatBytes(version.size),
      version.state,
    ]),
  )
}
