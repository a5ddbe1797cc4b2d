/**
 * Mount points: checking, mounting, unmounting, repairing. By mount(8) and umount(8) as root, by
 * fusermount3 as anybody else.
 */
import fs from 'node:fs'
import path from 'node:path'
import { WormholeError } from '../../errors.ts'
import type { Clock } from '../../system.ts'
import { isRoot, runCommand, unmountWords } from './command.ts'
import { mountAsUser } from './fusermount.ts'
import { findMount } from './mountinfo.ts'
import type { MountOptions } from './interface.ts'

/** The type by which our mounts are known in the mount table. */
export const MOUNT_TYPE = 'fuse.wormhole'
const DEVICE_PATH = '/dev/fuse'
/** Longest that a file system may take to show whether it is alive. */
const PROBE_MS_MAX = 5_000
const READ_AHEAD_KIB = 1024

type Errno = NodeJS.ErrnoException

/** Whether a file system is mounted exactly at `directory`. */
export async function isMounted(directory: string): Promise<boolean> {
  return findMount(await realDirectory(directory)) !== undefined
}

/**
 * Unmounts what is mounted at `directory`; nothing mounted there is no error.
 *
 * @param options.isLazy detach now, although files are open; they keep working.
 * @param options.isForced cut off everything under way and detach (`ENOTCONN` for open files).
 * @throws {WormholeError} `MOUNT_FAILED`, in particular while files are open there.
 */
export async function unmount(
  directory: string,
  options: { readonly isLazy?: boolean; readonly isForced?: boolean } = {},
): Promise<void> {
  const place = await realDirectory(directory)
  if (!findMount(place)) return
  const problem = await runCommand(unmountWords(place, options))
  if (problem === undefined || !findMount(place)) return
  throw new WormholeError('MOUNT_FAILED', `cannot unmount ${place}: ${problem}`)
}

/**
 * Removes dead wormhole mounts (their daemon was killed, every access says `ENOTCONN`) at
 * `directory`. A living mount, and one of another type, stays. @returns whether there was a dead
 * one.
 */
export async function repairStale(directory: string, clock: Clock): Promise<boolean> {
  const place = await realDirectory(directory)
  let isRepaired = false
  while (findMount(place)?.type === MOUNT_TYPE && (await isDead(place, clock))) {
    await unmount(place, { isLazy: true })
    isRepaired = true
  }
  return isRepaired
}

/**
 * Makes sure that `directory` can become a mount point, repairing a stale one.
 * @returns its real path.
 * @throws {WormholeError} `MOUNT_FAILED` with the reason and what to do.
 */
export async function checkMountPoint(
  { directory, allowsNonEmpty }: Pick<MountOptions, 'directory' | 'allowsNonEmpty'>,
  clock: Clock,
): Promise<string> {
  await repairStale(directory, clock)
  const place = await realDirectory(directory)
  const existing = findMount(place)
  if (existing) {
    throw new WormholeError(
      'MOUNT_FAILED',
      `${place} is already a mount point of ${existing.source} (${existing.type}); ` +
        'unmount it, or choose another directory',
    )
  }
  const entries = await fs.promises.readdir(place).catch((error: Errno) => {
    const why = error.code === 'ENOTDIR' ? 'is not a directory' : `cannot be read: ${error.message}`
    throw new WormholeError('MOUNT_FAILED', `${place} ${why}`, { cause: error })
  })
  if (entries.length > 0 && !allowsNonEmpty) {
    throw new WormholeError(
      'MOUNT_FAILED',
      `${place} is not empty; a mount would hide what is in it. Choose an empty directory`,
    )
  }
  return place
}

/**
 * The source shown in the mount table: a readable name and a tag that tells this mount from
 * others.
 */
export function mountSource(fsName: string, tag: Uint8Array): string {
  return `${fsName.replace(/[^A-Za-z0-9._-]/g, '_')}@${Buffer.from(tag).toString('hex')}`
}

/**
 * Mounts a new FUSE connection at `place`. Set-user-ID bits and device files of the volume have no
 * effect: other members could have planted them. A mount of root lets other users in by mode bits;
 * one of anybody else is private, also against root.
 *
 * @returns the descriptor of the connection, which the caller closes.
 * @throws {WormholeError} `MOUNT_UNAVAILABLE` (this machine or user cannot mount), `MOUNT_FAILED`.
 */
export async function attach(
  place: string,
  source: string,
  { isReadOnly }: Pick<MountOptions, 'isReadOnly'>,
): Promise<number> {
  const settings = ['default_permissions', 'nosuid', 'nodev', 'noatime']
  if (isReadOnly) settings.push('ro')
  if (!isRoot()) {
    const subtype = MOUNT_TYPE.slice(MOUNT_TYPE.indexOf('.') + 1)
    return mountAsUser(place, [`fsname=${source}`, `subtype=${subtype}`, ...settings])
  }
  const descriptor = openDevice()
  const gid = process.getegid?.() ?? 0
  settings.push('fd=3', 'rootmode=40000', 'user_id=0', `group_id=${gid}`, 'allow_other')
  const words = ['mount', '-i', '-t', MOUNT_TYPE, '-o', settings.join(','), source, place]
  const problem = await runCommand(words, { descriptor })
  if (problem === undefined) return descriptor
  fs.closeSync(descriptor)
  throw new WormholeError('MOUNT_FAILED', `cannot mount ${place}: ${problem}`)
}

/** Opens the FUSE device. @throws {WormholeError} `MOUNT_UNAVAILABLE` with what to do. */
function openDevice(): number {
  try {
    return fs.openSync(DEVICE_PATH, fs.constants.O_RDWR)
  } catch (error) {
    const { code, message } = error as Errno
    const advice =
      code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO'
        ? 'load the kernel module (modprobe fuse), or give the container the device ' +
          '(--device /dev/fuse --cap-add SYS_ADMIN)'
        : 'run the daemon as root'
    throw new WormholeError(
      'MOUNT_UNAVAILABLE',
      `cannot use ${DEVICE_PATH} (${message}): ${advice}`,
      { cause: error },
    )
  }
}

/**
 * Lets the kernel read ahead as much as one request carries (its default is 128 KiB). Without the
 * right to do so the default stays.
 */
export async function widenReadAhead(place: string, onBug: (error: Error) => void): Promise<void> {
  const device = findMount(place)?.device
  if (device === undefined) return
  try {
    await fs.promises.writeFile(`/sys/class/bdi/${device}/read_ahead_kb`, `${READ_AHEAD_KIB}\n`)
  } catch (error) {
    const { code } = error as Errno
    if (code !== 'ENOENT' && code !== 'EACCES' && code !== 'EROFS') onBug(error as Error)
  }
}

/** The real path of a directory, also if a dead mount covers it. */
async function realDirectory(directory: string): Promise<string> {
  const absolute = path.resolve(directory)
  try {
    return await fs.promises.realpath(absolute)
  } catch (error) {
    const { code, message } = error as Errno
    if (code === 'ENOTCONN') {
      return path.join(await fs.promises.realpath(path.dirname(absolute)), path.basename(absolute))
    }
    const why = code === 'ENOENT' ? 'does not exist; create it first' : `is unusable: ${message}`
    throw new WormholeError('MOUNT_FAILED', `${absolute} ${why}`, { cause: error })
  }
}

/**
 * Whether nobody serves the mount at `place` any more. One that does not answer in time lives.
 * Asked with statfs(2), which the kernel always passes on: it answers stat(2) of a dead mount from
 * its cache.
 */
function isDead(place: string, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(PROBE_MS_MAX, () => resolve(false))
    fs.statfs(place, (error) => {
      timer.cancel()
      resolve(error?.code === 'ENOTCONN')
    })
  })
}
