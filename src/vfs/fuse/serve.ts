/** Composition of one kernel mount on the thread that calls it. */
import { WormholeError } from '../../errors.ts'
import type { ServedMount, ServeOptions } from './interface.ts'

/**
 * Mounts a file system and serves it on this thread (a worker thread, never one that touches the
 * mount synchronously). Resolves when the kernel has agreed on the protocol.
 *
 * @throws {WormholeError} `MOUNT_UNAVAILABLE` (this machine or user cannot mount), `MOUNT_FAILED`
 *   (this directory cannot be a mount point).
 */
export async function serveMount(options: ServeOptions): Promise<ServedMount> {
  throw new WormholeError('MOUNT_UNAVAILABLE', `cannot mount ${options.directory} yet`)
}
