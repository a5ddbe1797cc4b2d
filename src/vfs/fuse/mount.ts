/** Mount points: checking, mounting, unmounting, repairing (mount(8), /proc/self/mountinfo). */
import { WormholeError } from '../../errors.ts'

/** Whether a file system is mounted exactly at `directory`. */
export async function isMounted(directory: string): Promise<boolean> {
  throw new WormholeError('MOUNT_UNAVAILABLE', `cannot look at ${directory} yet`)
}

/** Unmounts; `isLazy` detaches although files are open. @throws {WormholeError} `MOUNT_FAILED`. */
export async function unmount(
  directory: string,
  options: { readonly isLazy?: boolean } = {},
): Promise<void> {
  throw new WormholeError('MOUNT_FAILED', `cannot unmount ${directory} ${options.isLazy} yet`)
}

/** Removes a dead wormhole mount (`ENOTCONN`) at `directory`. @returns whether there was one. */
export async function repairStale(directory: string): Promise<boolean> {
  throw new WormholeError('MOUNT_FAILED', `cannot repair ${directory} yet`)
}
