/**
 * Care for the volume that takes its time, one at a time: `verify` and `gc`. A collection also
 * starts by itself, an hour after the daemon did and then at most once a day, when there may be
 * something to free; whoever asks for something else ends it.
 */
import { errorToData, WormholeError } from '../errors.ts'
import { systemClock, type Clock, type Timer } from '../system.ts'
import { carePorts, type CareParts } from './care.ts'
import { runGc, type GcOutcome, type GcPorts } from './gc.ts'
import type { VolumeHandle, VolumeStatus } from './interface.ts'
import type { Logger } from './logging.ts'
import { runVerify } from './verify.ts'

/** How often is looked whether a collection is due. */
const LOOK_MS = 3_600_000
/** Between two that start by themselves; and when there is no sign that anything can be freed. */
const DAY_MS = 24 * 3_600_000
const IDLE_MS = 7 * DAY_MS

type Verify = typeof runVerify
type OnProgress = Parameters<VolumeHandle['gc']>[1]

/** See the head of this file. */
export class CareRuns {
  readonly #parts: () => CareParts
  /** Set by `start`: what runs before is told to nobody. */
  #logger: Logger | undefined
  readonly #clock: Clock
  /** What runs or waits. */
  readonly #runs = new Set<AbortController>()
  #isClosed = false
  #lane: Promise<unknown> = Promise.resolve()
  /** Ends the collection that runs by itself. */
  #automatic: AbortController | undefined
  #timer: Timer | undefined
  #last: (GcOutcome & { readonly endMs: number; readonly chunkCount: number }) | undefined

  constructor(parts: () => CareParts, clock: Clock = systemClock) {
    this.#parts = parts
    this.#clock = clock
  }

  /** Looks now and then whether a collection is due. */
  start(logger: Logger): void {
    this.#logger = logger
    this.#arm()
  }

  #arm(): void {
    if (this.#isClosed) return
    this.#timer = this.#clock.setTimer(LOOK_MS, () => void this.#look())
  }

  verify(options: Parameters<Verify>[1], onProgress: OnProgress): ReturnType<Verify> {
    const ports = carePorts(this.#parts)
    return this.#run(options.signal, (signal) =>
      runVerify(ports, { ...options, signal }, onProgress),
    )
  }

  async gc(
    options: { readonly isDryRun: boolean; readonly signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<GcOutcome['report']> {
    return this.#run(options.signal, (signal) => this.#collect({ ...options, signal }, onProgress))
  }

  /** For `status`. */
  status(): Pick<VolumeStatus, 'collected'> {
    if (!this.#last) return {}
    const { report, endMs } = this.#last
    const { freed, postponed } = report
    const at = new Date(endMs).toISOString()
    return { collected: { at, freed, ...(postponed === undefined ? {} : { postponed }) } }
  }

  /** Runs when everything before is over; a collection that started by itself is ended. */
  #run<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#automatic?.abort()
    const run = new AbortController()
    const abort = (): void => run.abort()
    if (signal.aborted || this.#isClosed) abort()
    signal.addEventListener('abort', abort, { once: true })
    this.#runs.add(run)
    const result = this.#lane.then(() => {
      if (run.signal.aborted) throw new WormholeError('ABORTED', 'interrupted')
      return work(run.signal)
    })
    this.#lane = result
      .catch(() => undefined)
      .then(() => {
        this.#runs.delete(run)
        signal.removeEventListener('abort', abort)
      })
    return result
  }

  async #collect(
    options: { readonly isDryRun: boolean; readonly signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<GcOutcome['report']> {
    const outcome = await runGc(gcPorts(this.#parts(), this.#clock), options, onProgress)
    if (!options.isDryRun) {
      const { chunkCount } = await this.#parts().threads.chunks.stats()
      this.#last = { ...outcome, endMs: this.#clock.nowMs(), chunkCount }
    }
    const { unused, freed, postponed, seconds } = outcome.report
    this.#logger?.info({ unused, freed, postponed, seconds }, 'collected unused chunks')
    return outcome.report
  }

  /** Never rejects: what could not be done now is tried when it is looked at again. */
  async #look(): Promise<void> {
    const abort = new AbortController()
    try {
      if (await this.#isDue()) {
        const options = { isDryRun: false, signal: abort.signal }
        const running = this.#run(abort.signal, (signal) =>
          this.#collect({ ...options, signal }, () => undefined),
        )
        this.#automatic = abort
        await running
      }
    } catch (error) {
      if (!abort.signal.aborted && !this.#isClosed) {
        this.#logger?.warn({ error: errorToData(error) }, 'collecting unused chunks failed')
      }
    } finally {
      this.#automatic = undefined
      this.#arm()
    }
  }

  /** Whether something may have become free: chunks came, or days are over. */
  async #isDue(): Promise<boolean> {
    if (!this.#last) return true
    const { endMs, chunkCount, nextDueMs, report } = this.#last
    const nowMs = this.#clock.nowMs()
    if (nowMs - endMs < DAY_MS && nowMs >= endMs) return false
    if (report.postponed !== undefined || nowMs - endMs >= IDLE_MS) return true
    if (nextDueMs !== undefined && nextDueMs <= nowMs) return true
    return (await this.#parts().threads.chunks.stats()).chunkCount > chunkCount
  }

  /** Ends what runs. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const run of this.#runs) run.abort()
    this.#timer?.cancel()
    await this.#lane
  }
}

function gcPorts({ threads }: CareParts, clock: Clock): GcPorts {
  const { crdt, fs, chunks } = threads
  return {
    clock,
    collection: chunks.collection,
    roots: {
      begin: () => crdt.call('gcBegin'),
      next: () => crdt.call('gcNext'),
      later: () => crdt.call('gcLater'),
      end: () => crdt.call('gcEnd'),
    },
    held: () => fs.call('gcHeld'),
    references: () => fs.call('gcReferences'),
  }
}
