/** A disk that a process loses when it dies, between any two of its operations. */
import type { MemoryDisk } from '../../src/disk-memory.ts'
import { WormholeError } from '../../src/errors.ts'
import type { Disk, DiskFile } from '../../src/system.ts'

/** One run of the daemon. Dies at the operation that `fuse` counts down to. */
export class MortalProcess {
  isAlive = true
  /** Operations until death; undefined: immortal. */
  fuse: number | undefined
  diedMs: number | undefined
  readonly #nowMs: () => number
  readonly #onDeath: () => void

  /** `onDeath` runs once, at the moment of death. */
  constructor(nowMs: () => number = () => 0, onDeath: () => void = () => {}) {
    this.#nowMs = nowMs
    this.#onDeath = onDeath
  }

  die(): void {
    if (!this.isAlive) return
    this.isAlive = false
    this.diedMs = this.#nowMs()
    this.#onDeath()
  }

  /** Before an operation of disk or index. */
  step(): void {
    if (this.fuse !== undefined && --this.fuse <= 0) this.die()
    if (!this.isAlive) throw new WormholeError('IO_ERROR', 'the process is dead')
  }
}

/** A disk that a dead process cannot reach any more. `onOperation` hears of every call. */
export function guardDisk(
  disk: MemoryDisk,
  process: MortalProcess,
  onOperation: (name: string, args: readonly unknown[]) => void = () => {},
): Disk {
  const guard = <T extends object>(target: T): T =>
    new Proxy(target, {
      get: (object, key) => {
        const value = Reflect.get(object, key) as unknown
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          // A dead process closes nothing itself: the kernel does.
          if (key === 'close' && !process.isAlive) return undefined
          process.step()
          onOperation(key as string, args)
          const result = (value as (...all: unknown[]) => unknown).apply(object, args)
          return key === 'openSync' ? guard(result as DiskFile) : result
        }
      },
    })
  return guard(disk as Disk)
}
