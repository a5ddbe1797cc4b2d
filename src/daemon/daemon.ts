/** The life of the daemon's process. */
import type { Clock, Disk, Random } from '../system.ts'
import type { HomeHandle } from './interface.ts'
import type { Logger } from './logging.ts'
import type { NetworkOptions } from './paths.ts'

/** What opening a home needs. The home's lock is held and its directory exists (0700). */
export interface HomeOptions extends NetworkOptions {
  /** Absolute. */
  readonly home: string
  readonly clock: Clock
  readonly random: Random
  readonly disk: Disk
  readonly logger: Logger
}

/**
 * Opens every volume of a home and mounts again what was mounted. A mount that fails is a problem of
 * that volume's status, not a failure. Implemented by `home.ts`.
 */
export type OpenHome = (options: HomeOptions) => Promise<HomeHandle>
