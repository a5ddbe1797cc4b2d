/**
 * What the daemon offers for devices that come and go: pins, and what changed meanwhile. Plain data
 * as in `interface.ts`: what `--json` prints, so fields are only ever added. Types only.
 */
import type { OnProgress } from './frames.ts'

/**
 * What happened to a name. `attributes`: mode, owner, times or extended attributes, and no byte.
 * `renamed`: moved or renamed. `back`: where it had been before: brought back, renamed back, or
 * settled there.
 */
export type ChangeKind = 'new' | 'changed' | 'attributes' | 'renamed' | 'back' | 'deleted'

/** One change in `wormhole status --since-offline`. */
export interface ChangeReport {
  /** Where it is now, or was when it was deleted. */
  path: string
  kind: ChangeKind
  type: 'directory' | 'file' | 'symlink' | 'special'
  /** Of a renamed directory: where it was. Of files the log does not say. */
  from?: string
  /** It was renamed and its content is another one, too. */
  hasNewContent?: true
  /** Who did the newest of it, and when. */
  device: string
  deviceId: string
  time: string
}

/** `wormhole status --since-offline`, one per volume. */
export interface SinceOfflineReport {
  volume: string
  name: string
  isConnected: boolean
  /** Since when nobody has been connected; absent while somebody is, or before anybody ever was. */
  offlineSince?: string
  /** The last absence that is over; absent when there was none. */
  away?: { from: string; to: string }
  /** What other devices did and this one received since `away.from`, by kind. */
  counts: Record<ChangeKind, number>
  /** Some of it could not be looked at: there is more. */
  isComplete: boolean
  /** The newest first; as many as were asked for. */
  changes: ChangeReport[]
}

/** A pin of this device, in `wormhole pins`. */
export interface PinReport {
  path: string
  /** `deleted`: it is not there any more; should it come back, the pin holds. */
  state: 'available' | 'incomplete' | 'deleted'
  missing: { files: number; bytes: number }
}

/** `wormhole pin`. */
export interface PinRunReport {
  volume: string
  path: string
  /** Everything at and below the path is here. */
  isAvailable: boolean
  /** Not waited for: the rest comes in the background. */
  isWaiting: boolean
  /** What was brought by this run. */
  fetched: { files: number; bytes: number }
  missing: { files: number; bytes: number }
  /** Files that no connected device has; the first of them. */
  unavailable: { path: string; size: number }[]
  seconds: number
}

/** `wormhole unpin`. Frees nothing: what is here stays until chunks can be evicted. */
export interface UnpinReport {
  volume: string
  path: string
  /** Another pin that still holds the path here; absent when there is none. */
  pinnedBy?: string
}

/** What this device keeps beyond what policies say. Implemented by `pin-board.ts`. */
export interface PinHandle {
  /** Notes the wish, durably, and begins with it. Resolves with the path in the volume. */
  pin(path: string): Promise<{ path: string }>
  /**
   * Resolves when everything at and below a pinned path is here, or nobody who is connected has the
   * rest. Calls `onProgress`, in bytes, a few times a second.
   */
  wait(
    path: string,
    signal: AbortSignal,
    onProgress: OnProgress,
  ): Promise<Omit<PinRunReport, 'volume'>>
  /** What is missing of a pinned path just now. */
  look(path: string): Promise<Omit<PinRunReport, 'volume'>>
  /** @throws {WormholeError} `NOT_FOUND` when the path is not pinned itself. */
  unpin(path: string): Promise<Omit<UnpinReport, 'volume'>>
  list(): Promise<PinReport[]>
}
