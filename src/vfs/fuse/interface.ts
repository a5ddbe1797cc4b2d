/**
 * What the kernel mount offers to the fs thread. Types only; formats and orders: README.md.
 */
import type { Clock, Random } from '../../system.ts'
import type { FileSystem, KernelNotifier } from '../interface.ts'

/** How requests are read from `/dev/fuse`: README.md, "Transports". */
export type TransportKind = 'epoll' | 'pool'

/** How long the kernel may trust what it was told, in seconds. 0 makes it ask every time. */
export interface CacheTimes {
  readonly entryS: number
  readonly negativeS: number
  readonly attributesS: number
}

/** How to place a file system in the tree. */
export interface MountOptions {
  /** The directory to mount on. It must exist and be empty. */
  readonly directory: string
  /**
   * Shown by `df` and `mount`; a random tag is appended. Other than `[A-Za-z0-9._-]` becomes
   * `_`.
   */
  readonly fsName: string
  readonly isReadOnly?: boolean
  /** Mounts over a directory that has entries, which are hidden meanwhile. Default false. */
  readonly allowsNonEmpty?: boolean
}

/** Everything `serveMount` needs. */
export interface ServeOptions extends MountOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  readonly random: Random
  /** The compiled `notify-worker.js`, or a `.mjs` that boots it. Default: beside this module. */
  readonly notifyWorkerUrl?: URL
  /** Default: `epoll` where the runtime has it, else `pool`. */
  readonly transport?: TransportKind
  /** Default: a day each, because every change is notified. */
  readonly cacheTimes?: CacheTimes
  /** Told of each bug behind an `EIO`: anything thrown that is no `WormholeError`. */
  onBug(error: Error, operation: string): void
}

/** Why a mount ended. */
export interface MountEnd {
  /**
   * `closed`: by `close()`. `unmounted`: by somebody else. `failed`: the device broke or the
   * connection was aborted while it was in use (`umount -f`), see `error`.
   */
  readonly reason: 'closed' | 'unmounted' | 'failed'
  readonly error?: Error
}

/** `KernelNotifier` with a way to wait for the kernel. */
export interface SettlingNotifier extends KernelNotifier {
  /** Resolves when everything told before has reached the kernel (or the mount has ended). */
  settled(): Promise<void>
}

/** A mount being served. */
export interface ServedMount {
  /** The real path of the mount point. */
  readonly directory: string
  readonly transport: TransportKind
  readonly notifier: SettlingNotifier
  /**
   * Resolves, never rejects, when the mount is gone and every handle and node has been
   * released.
   */
  readonly ended: Promise<MountEnd>
  /** How often the kernel asked for each operation, by its name. */
  requestCounts(): Record<string, number>
  /** How many requests that makes. */
  requestCount(): number
  /**
   * Unmounts. While files are open elsewhere it detaches the mount, waits `graceMs` (default 2000)
   * for them, then cuts them off (`ENOTCONN`). Idempotent; resolves with `ended`.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
}
