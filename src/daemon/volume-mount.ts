/** Where one volume is mounted: mounting, coming back after a failure. Lives on the main thread. */
import { WormholeError } from '../errors.ts'
import type { Rpc } from '../rpc.ts'
import type { Clock } from '../system.ts'
import type { OwnerChoice } from '../vfs/interface.ts'
import type { FsApi } from './fs-thread.ts'
import type { VolumeSettings } from './home-files.ts'
import type { VolumeStatus } from './interface.ts'
import type { Logger } from './logging.ts'

/** A mount that broke comes back by itself, but not twice within so long. */
const REMOUNT_PAUSE_MS = 10_000

/** What a mount needs of its volume. */
export interface VolumeMountPorts {
  readonly clock: Clock
  readonly logger: Logger
  fs(): Rpc<FsApi>
  name(): string
  settings(): VolumeSettings
  save(changes: Partial<VolumeSettings>): void
  report(error: unknown): void
  isClosed(): boolean
}

/** See the head of this file. */
export class VolumeMount {
  readonly #ports: VolumeMountPorts
  #mountpoint: string | undefined
  #failure: VolumeStatus['mountFailure']
  #remountedMs = -Infinity

  constructor(ports: VolumeMountPorts) {
    this.#ports = ports
  }

  /** Where it is mounted now. */
  get mountpoint(): string | undefined {
    return this.#mountpoint
  }

  /** Its part of the status. */
  get status(): Pick<VolumeStatus, 'mountpoint' | 'mountFailure'> {
    const mountFailure = this.#failure
    return { mountpoint: this.#mountpoint, ...(mountFailure ? { mountFailure } : {}) }
  }

  /** As `VolumeHandle.mount`. */
  async mount(directory: string, owner?: OwnerChoice): Promise<{ mountpoint: string }> {
    const { clock, logger, fs, name, settings, save } = this.#ports
    if (this.#mountpoint !== undefined) {
      const isSame = owner === undefined || owner === settings().owner
      if (this.#mountpoint === directory && isSame) return { mountpoint: directory }
      const message = `it is mounted at ${this.#mountpoint} already: \`wormhole unmount\` first`
      throw new WormholeError('ALREADY_EXISTS', message)
    }
    const { repairStale } = await import('../vfs/fuse/mount.ts')
    if (await repairStale(directory, clock)) logger.info({ directory }, 'removed a dead mount')
    // A mount of an ordinary user is private: numbers of other machines would lock him out.
    const chosen = owner ?? settings().owner ?? (process.geteuid?.() === 0 ? 'numeric' : 'mounter')
    const args = { directory, fsName: `wormhole-${name()}`, owner: chosen }
    const { mountpoint } = await fs().call('mount', args)
    this.#mountpoint = mountpoint
    this.#failure = undefined
    save({ mountpoint: directory, ...(owner ? { owner } : {}) })
    return { mountpoint }
  }

  async unmount(): Promise<void> {
    await this.#ports.fs().call('unmount', undefined)
    this.#mountpoint = undefined
    this.#failure = undefined
  }

  /** As `VolumeHandle.restoreMount`. */
  async restore(): Promise<void> {
    const { mountpoint: directory } = this.#ports.settings()
    if (directory === undefined) return
    try {
      await this.mount(directory)
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      this.#ports.report(error)
      this.#failure = { directory, code: error.code, message: error.message }
    }
  }

  /** It is mounted no more; one that broke comes back, since nobody asked for that. */
  ended(end: { readonly reason: string; readonly message?: string }): void {
    this.#ports.logger.info({ ...end }, 'unmounted')
    this.#mountpoint = undefined
    if (end.reason === 'failed') void this.#remount(end.message)
  }

  /** Unless that was just tried. */
  async #remount(message = 'it ended'): Promise<void> {
    const { clock, settings, report, isClosed } = this.#ports
    const nowMs = clock.monotonicMs()
    const { mountpoint: directory = '' } = settings()
    const failure = new WormholeError('MOUNT_FAILED', `the mount broke: ${message}`)
    report(failure)
    this.#failure = { directory, code: failure.code, message: failure.message }
    const isAgain = nowMs - this.#remountedMs < REMOUNT_PAUSE_MS
    this.#remountedMs = nowMs
    if (isAgain || isClosed()) return
    await this.restore().catch((error: unknown) => report(error))
  }
}
