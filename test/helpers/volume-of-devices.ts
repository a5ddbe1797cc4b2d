/** A running volume of several devices: daemons, and mounts where this machine has them. */
import type { CreatedReport, SyncReport } from '../../src/daemon/interface.ts'
import { createDevices, type Device, type DeviceOptions } from './process.ts'
import type { Teardown } from './teardown.ts'

/** How a volume is made. */
export interface VolumeOfDevicesOptions extends DeviceOptions {
  /** Default true. */
  readonly isMounted?: boolean
}

/** Starts the first device's volume and lets the others join it, in order. */
export async function createVolumeOfDevices<Name extends string>(
  t: Teardown,
  names: readonly [Name, ...Name[]],
  options: VolumeOfDevicesOptions = {},
): Promise<Record<Name, Device> & { invite: string }> {
  const devices = createDevices(t, names, options)
  const [first, ...rest] = names
  const mountOf = (device: Device): string[] =>
    options.isMounted === false ? [] : ['--mount', device.mountpoint]
  const founder = devices[first]
  const { invite } = await founder.json<CreatedReport>([
    'init',
    '--name',
    'test',
    '--device',
    first,
    ...mountOf(founder),
  ])
  if (invite === undefined) throw new Error('init printed no invite')
  for (const name of rest) {
    const device = devices[name]
    await device.run(['join', invite, '--device', name, ...mountOf(device)])
  }
  return { ...devices, invite }
}

/** `wormhole sync --wait` on each device in turn; the last one has seen what all others had. */
export async function syncAll(devices: readonly Device[], timeoutS = 60): Promise<void> {
  for (const device of [...devices, ...devices.slice(0, -1)]) {
    await device.json<SyncReport>(['sync', '--wait', '--timeout', String(timeoutS)], {
      timeoutMs: (timeoutS + 10) * 1000,
    })
  }
}
