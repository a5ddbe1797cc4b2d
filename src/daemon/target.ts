/**
 * Which volume and which path inside it a person meant. A path is either inside the mount of a
 * volume, or starts at a volume's root. Purely by text: mounts are never touched from this thread.
 */
import path from 'node:path'
import { WormholeError } from '../errors.ts'
import type { HomeHandle, VolumeHandle } from './interface.ts'

/** Longest path that is taken: PATH_MAX of Linux. */
const PATH_BYTES_MAX = 4096

/** A person's words: `cwd` is where they stand (absolute), `volume` a name, an id or its start. */
export interface Words {
  readonly volume?: string | undefined
  readonly cwd: string
}

/**
 * The volume by name or id; without either, the one whose mount contains `cwd`, or the only one.
 * @throws `NOT_FOUND`, `BAD_ARGUMENT` when several fit.
 */
export function chooseVolume(home: HomeHandle, words: Words): VolumeHandle {
  const all = home.volumes()
  if (words.volume === undefined) {
    const mounted = volumeAround(all, words.cwd)
    if (mounted) return mounted
    if (all.length === 1) return all[0] as VolumeHandle
    if (all.length === 0) throw new WormholeError('NOT_FOUND', 'this home has no volume yet')
    throw new WormholeError(
      'BAD_ARGUMENT',
      `this home has several volumes (${listNames(all)}): name one with --volume`,
    )
  }
  const name = words.volume
  const named = all.filter((volume) => volume.name === name || volume.id === name)
  const fitting =
    named.length > 0 ? named : all.filter((volume) => name !== '' && volume.id.startsWith(name))
  if (fitting.length === 1) return fitting[0] as VolumeHandle
  if (fitting.length > 1) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `several volumes are called ${name}: give more of the id`,
    )
  }
  const known = all.length === 0 ? 'this home has none' : `there is ${listNames(all)}`
  throw new WormholeError('NOT_FOUND', `there is no volume ${name}; ${known}`)
}

/**
 * The volume and the path from its root (`/` first, no `.`, `..` or double slashes). An absolute
 * path inside a mount means that place, any other one starts at the root of the chosen volume; a
 * relative one must lead into a mount. A volume that is named overrides the mount of another.
 * Without a path: `cwd` if it is in a mount, else the root.
 * @throws `BAD_ARGUMENT`, `NAME_TOO_LONG`, and as `chooseVolume`.
 */
export function locate(
  home: HomeHandle,
  words: Words & { path?: string | undefined },
): { volume: VolumeHandle; path: string } {
  const given = words.path ?? words.cwd
  if (Buffer.byteLength(given) > PATH_BYTES_MAX) {
    throw new WormholeError('NAME_TOO_LONG', `a path has at most ${PATH_BYTES_MAX} bytes`)
  }
  if (given === '' || given.includes('\0')) {
    throw new WormholeError('BAD_ARGUMENT', `${JSON.stringify(given)} is not a path`)
  }
  const full = path.resolve(words.cwd, given)
  const chosen = words.volume === undefined ? undefined : chooseVolume(home, words)
  const mounted = volumeAround(home.volumes(), full)
  if (mounted && (chosen ?? mounted) === mounted) {
    const root = mounted.mountpoint as string
    return { volume: mounted, path: full === root ? '/' : full.slice(root.length) }
  }
  if (words.path !== undefined && !path.isAbsolute(given)) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `${given} does not lead into a mounted volume from here; ` +
        'a path from the root of a volume begins with /',
    )
  }
  return {
    volume: chosen ?? chooseVolume(home, words),
    path: words.path === undefined ? '/' : full,
  }
}

/** The volume in whose mount `full` lies; the innermost if mounts are nested. */
function volumeAround(volumes: VolumeHandle[], full: string): VolumeHandle | undefined {
  let best: VolumeHandle | undefined
  for (const volume of volumes) {
    const root = volume.mountpoint
    if (root === undefined || (full !== root && !full.startsWith(`${root}/`))) continue
    if (root.length > (best?.mountpoint?.length ?? -1)) best = volume
  }
  return best
}

function listNames(volumes: VolumeHandle[]): string {
  return volumes.map((volume) => volume.name).join(', ')
}
