/** Mounts of wormhole on this machine, for those outside the daemon: their list and their health. */
import fs from 'node:fs'
import { decodeMountInfo } from '../vfs/fuse/mountinfo.ts'
import { MOUNT_TYPE } from '../vfs/fuse/mount.ts'
import type { Clock } from '../system.ts'

/** How long a mount may take to answer. */
const PROBE_MS_MAX = 2000

/** One mount. `dead`: its daemon is gone. `hung`: it does not answer. */
export interface MountHealth {
  readonly directory: string
  readonly state: 'alive' | 'dead' | 'hung'
}

/**
 * Every wormhole mount of this machine, each asked once. The thread that asks a hung one stays
 * blocked, so the caller should end soon, and must not be the process that serves it.
 */
export async function probeMounts(clock: Clock): Promise<MountHealth[]> {
  const table = decodeMountInfo(fs.readFileSync('/proc/self/mountinfo', 'latin1'))
  const ours = table.filter(({ type }) => type === MOUNT_TYPE)
  return Promise.all(
    ours.map(async ({ mountPoint }) => {
      const directory = Buffer.from(mountPoint, 'latin1').toString('utf8')
      return { directory, state: await probe(directory, clock) }
    }),
  )
}

function probe(directory: string, clock: Clock): Promise<MountHealth['state']> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(PROBE_MS_MAX, () => resolve('hung'))
    fs.statfs(directory, (error) => {
      timer.cancel()
      resolve(error ? 'dead' : 'alive')
    })
  })
}
