/** Pins of a fake volume: what is missing is set by the test. */
import type { OnProgress } from '../../src/daemon/frames.ts'
import type {
  PinHandle,
  PinReport,
  PinRunReport,
  UnpinReport,
} from '../../src/daemon/offline-interface.ts'
import { WormholeError } from '../../src/errors.ts'

type RunReport = Omit<PinRunReport, 'volume'>

/** See the head of this file. */
export class FakePins implements PinHandle {
  readonly pinned: string[] = []
  /** Files that no device has. */
  unavailable: RunReport['unavailable'] = []
  /** Whether waiting goes on until it is aborted. */
  isEndless = false
  /** How often somebody has begun to wait. */
  waitCount = 0

  async pin(path: string): Promise<{ path: string }> {
    this.pinned.push(path)
    return { path }
  }

  async wait(path: string, signal: AbortSignal, onProgress: OnProgress): Promise<RunReport> {
    this.waitCount++
    onProgress({ text: 'fetching', done: 1024, total: 4096 })
    if (!this.isEndless) return this.#report(path)
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    throw new WormholeError('ABORTED', 'interrupted')
  }

  async look(path: string): Promise<RunReport> {
    return { ...this.#report(path), isWaiting: this.unavailable.length > 0, unavailable: [] }
  }

  #report(path: string): RunReport {
    const files = this.unavailable.length
    const bytes = this.unavailable.reduce((sum, { size }) => sum + size, 0)
    return {
      path,
      isAvailable: files === 0,
      isWaiting: false,
      fetched: { files: 2, bytes: 4096 },
      missing: { files, bytes },
      unavailable: this.unavailable,
      seconds: 1.5,
    }
  }

  async unpin(path: string): Promise<Omit<UnpinReport, 'volume'>> {
    if (!this.pinned.includes(path)) throw new WormholeError('NOT_FOUND', `${path} is not pinned`)
    return { path, pinnedBy: '/' }
  }

  async list(): Promise<PinReport[]> {
    const missing = { files: this.unavailable.length, bytes: 0 }
    const state = missing.files > 0 ? 'incomplete' : 'available'
    return this.pinned.map((path) => ({ path, state, missing }))
  }
}
