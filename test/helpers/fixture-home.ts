/** What a device tells about its volume through the command line, without a mount. */
import { createHash } from 'node:crypto'
import type {
  ConflictReport,
  DeviceReport,
  ExplainReport,
  FileReport,
  VersionReport,
} from '../../src/daemon/interface.ts'
import type { Device } from './process.ts'

/** Everything that must come out of a stored home again. */
export interface HomeDescription {
  readonly files: readonly Record<string, unknown>[]
  readonly conflicts: readonly ConflictReport[]
  /** By path. */
  readonly history: Readonly<Record<string, readonly VersionReport[]>>
  readonly policy: readonly Pick<ExplainReport['values'][number], 'key' | 'value' | 'from'>[]
  readonly members: readonly unknown[]
}

async function describeFiles(
  device: Device,
  directory: string,
): Promise<Record<string, unknown>[]> {
  const lines: Record<string, unknown>[] = []
  for (const file of await device.json<FileReport[]>(['ls', directory])) {
    const { path, type, size, mode, uid, gid, mtime, target } = file
    const line: Record<string, unknown> = { path, type, size, mode, uid, gid, mtime, target }
    // Names that are no UTF-8 cannot be said on the command line.
    if (type === 'file' && !path.includes('\ufffd')) {
      const { stdout } = await device.run(['cat', path])
      line['sha256'] = createHash('sha256').update(stdout).digest('hex')
    }
    lines.push(line)
    if (type === 'directory') lines.push(...(await describeFiles(device, path)))
  }
  return lines
}

/** The policy keys that there were when the fixture was made. */
const POLICY_KEYS = ['conflicts.strategy', 'local.keep', 'history.days']

/** Asks for files with their contents, conflicts, history, policy and members. */
export async function describeDevice(
  device: Device,
  historyOf: readonly string[] = ['/notes/plan-b.txt', '/gone.txt', '/notes/shared.txt'],
): Promise<HomeDescription> {
  const files = await describeFiles(device, '/')
  const history: Record<string, VersionReport[]> = {}
  for (const path of historyOf) history[path] = await device.json(['history', path])
  const { values } = await device.json<ExplainReport>(['policy', 'explain', '/builds'])
  const members = await device.json<DeviceReport[]>(['devices'])
  // Fields that reports have got since are left out: what stands in fixtures is never changed.
  const conflicts = await device.json<ConflictReport[]>(['conflicts'])
  const description = {
    files,
    conflicts: conflicts.map(({ versions, ...rest }) => ({
      ...rest,
      versions: versions.map(({ deviceId, ...version }) => version),
    })),
    history,
    policy: values
      .filter(({ key }) => POLICY_KEYS.includes(key))
      .map(({ key, value, from }) => ({ key, value, from })),
    members: members.map(({ id, name, role, isSelf }) => ({ id, name, role, isSelf })),
  }
  return JSON.parse(JSON.stringify(description)) as HomeDescription
}
