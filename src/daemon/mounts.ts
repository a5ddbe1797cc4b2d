/** Mounts of wormhole on this machine, for commands: their health, and detaching dead ones. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { systemDisk } from '../disk.ts'
import { systemRandom, type Clock } from '../system.ts'
import { MOUNT_TYPE, repairStale } from '../vfs/fuse/mount.ts'
import { decodeMountInfo, findMount } from '../vfs/fuse/mountinfo.ts'
import { HomeFilesStore } from './home-files.ts'

/** How long a mount may take to answer. */
const PROBE_MS_MAX = 2000

/** One mount. `dead`: its daemon is gone. `hung`: it does not answer. */
export interface MountHealth {
  readonly directory: string
  readonly state: 'alive' | 'dead' | 'hung'
}

/**
 * Every wormhole mount of this machine, each asked once by a process of its own: a thread that asks
 * a hung mount never comes back, and would keep its process from ending.
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

/**
 * Detaches the mounts that a daemon of this home left when it died. Call it while none serves it.
 * @returns where they were. @throws {WormholeError} `MOUNT_FAILED`, and what damaged settings say.
 */
export async function detachDeadMounts(home: string, clock: Clock): Promise<string[]> {
  const store = new HomeFilesStore({ home, disk: systemDisk, random: systemRandom })
  const detached: string[] = []
  for (const place of store.mountpoints()) {
    if (findMount(place) && (await repairStale(place, clock))) detached.push(place)
  }
  return detached
}

function probe(directory: string, clock: Clock): Promise<MountHealth['state']> {
  return new Promise((resolve) => {
    const child = spawn('stat', ['-f', '--', directory], { stdio: 'ignore' })
    const timer = clock.setTimer(PROBE_MS_MAX, () => {
      child.kill('SIGKILL')
      child.unref()
      resolve('hung')
    })
    const settle = (isAlive: boolean): void => {
      timer.cancel()
      resolve(isAlive ? 'alive' : 'dead')
    }
    child.once('error', () => settle(false))
    child.once('exit', (code) => settle(code === 0))
  })
}
