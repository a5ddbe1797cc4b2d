/**
 * The ports to time and chance. Everything that needs "now", a timer or random bytes takes these as
 * parameters, so that a whole volume can run in a simulator. Only this file, and files named after
 * a technology, touch the real ones.
 */
import { randomFillSync } from 'node:crypto'
import type { Hlc } from './types.ts'

/** A pending timer. */
export interface Timer {
  /** Stops the timer; stopping twice or after it fired does nothing. */
  cancel(): void
}

/** Time as one device sees it. */
export interface Clock {
  /** Wall clock, integer milliseconds since 1970. May jump. */
  nowMs(): number
  /** Wall clock, nanoseconds since 1970. */
  nowNs(): bigint
  /** Milliseconds that only grow, from an arbitrary start. */
  monotonicMs(): number
  /** Calls `fire` once after `delayMs`. Does not keep the process alive. */
  setTimer(delayMs: number, fire: () => void): Timer
}

/** A source of unpredictable bytes. */
export interface Random {
  /** `count` fresh bytes, owned by the caller. */
  bytes(count: number): Uint8Array
}

let anchorMs = 0
let anchorMonotonicMs = 0

/**
 * Node's wall clock has milliseconds only: the monotonic clock fills in what lies below, and is
 * anchored anew whenever the two differ by more than 2 ms (the wall clock was set, or drifts).
 */
function systemNowNs(): bigint {
  const monotonicMs = performance.now()
  const wallMs = Date.now()
  let nowMs = anchorMs + (monotonicMs - anchorMonotonicMs)
  if (Math.abs(nowMs - wallMs) > 2) {
    anchorMs = wallMs
    anchorMonotonicMs = monotonicMs
    nowMs = wallMs
  }
  return BigInt(Math.floor(nowMs * 1000)) * 1000n
}

/** The clock of this machine. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  nowNs: systemNowNs,
  monotonicMs: () => performance.now(),
  setTimer(delayMs, fire) {
    const handle = setTimeout(fire, delayMs)
    handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}

/** The operating system's random generator. */
export const systemRandom: Random = {
  bytes: (count) => randomFillSync(new Uint8Array(count)),
}

/** Resolves after `delayMs` on this clock. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(delayMs, resolve))
}

/**
 * A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014) in one number.
 *
 * `tick` gives stamps that only grow on this device and exceed everything observed. A stamp from a
 * peer may pull us at most `HLC_AHEAD_MS_MAX` ahead of the wall clock: beyond that it is ignored
 * for our own stamps, and never altered.
 */
export class HybridClock {
  readonly #clock: Clock
  #last: number

  constructor(clock: Clock, last = 0) {
    this.#clock = clock
    this.#last = last
  }

  /** The greatest stamp given or observed. */
  get last(): number {
    return this.#last
  }

  /** A new stamp. */
  tick(): Hlc {
    this.#last = Math.max(this.#clock.nowMs() * 1000, this.#last + 1)
    return this.#last as Hlc
  }

  /** Takes note of a stamp that has been applied. */
  observe(stamp: number): void {
    if (stamp > (this.#clock.nowMs() + HLC_AHEAD_MS_MAX) * 1000) return
    if (stamp > this.#last) this.#last = stamp
  }
}

/** How far ahead of our wall clock a peer's stamp may pull ours: 5 minutes. */
export const HLC_AHEAD_MS_MAX = 5 * 60 * 1000

/** An open file. Offsets and sizes are bytes. */
export interface DiskFile {
  /** Reads up to `into.length` bytes at `offset`; returns how many there were. Blocks. */
  readSync(offset: number, into: Uint8Array): number
  /** As `readSync`, without blocking the thread. */
  read(offset: number, into: Uint8Array): Promise<number>
  /**
   * Writes all the parts at `offset`, one after the other. When it returns the bytes survive the
   * death of this process, not a power cut. @throws {WormholeError} `DISK_FULL`, `IO_ERROR`.
   */
  writeSync(offset: number, parts: readonly Uint8Array[]): void
  /** Makes everything written so far, and the size, survive a power cut (`fdatasync`). */
  sync(): Promise<void>
  /** As `sync`, blocking. */
  syncSync(): void
  sizeSync(): number
  truncateSync(sizeBytes: number): void
  /** Frees the blocks of a range; it reads as zeros afterwards. The size stays. */
  punchSync(offset: number, length: number): void
  close(): void
}

/**
 * The port to stable storage: few verbs, so that a simulator can lose, tear and reorder what was
 * not synced. Paths are absolute. Absence is not an error: `readFileSync` returns undefined.
 */
export interface Disk {
  /** Opens for reading and writing; `create` makes a missing file (mode 0600). */
  openSync(path: string, options?: { create?: boolean; readOnly?: boolean }): DiskFile
  readFileSync(path: string): Buffer | undefined
  /** Replaces a file whole: temporary file, sync, rename, directory sync. Mode 0600. */
  replaceFileSync(path: string, bytes: Uint8Array): void
  /** Names in a directory, sorted; none if it is missing. */
  listSync(directory: string): string[]
  makeDirectorySync(directory: string): void
  removeSync(path: string): void
  renameSync(from: string, to: string): void
  /** Makes creations, renames and removals in `directory` survive a power cut. */
  syncDirectorySync(directory: string): void
  /** Free and total bytes of the file system that holds `path`. */
  spaceSync(path: string): { freeBytes: number; totalBytes: number }
}
