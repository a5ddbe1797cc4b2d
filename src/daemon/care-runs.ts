/**
 * Care for the volume that takes its time, one at a time: `verify`, `gc`, and what starts by itself
 * every hour. That is a collection, at most once a day, when there may be something to free; and a
 * scrub: a share of the chunks is read again, so that each is about once a month. Rot that it finds
 * starts a verification with repair. Whoever asks for something else ends what started by itself.
 */
import { errorToData, WormholeError } from '../errors.ts'
import { systemClock, type Clock, type Timer } from '../system.ts'
import { carePorts, type CareParts } from './care.ts'
import type { CheckPart } from './check-order.ts'
import { runGc, type GcOutcome, type GcPorts } from './gc.ts'
import type { VolumeHandle, VolumeStatus } from './interface.ts'
import type { Logger } from './logging.ts'
import { runVerify, type VerifyPorts } from './verify.ts'

/** How often is looked at what is due. */
const LOOK_MS = 3_600_000
/** Between two that start by themselves; and when there is no sign that anything can be freed. */
const DAY_MS = 24 * 3_600_000
const IDLE_MS = 7 * DAY_MS
/** Every chunk is read again once in so many hours; a small store sooner. */
const SCRUB_HOURS = 30 * 24
const SCRUB_BYTES_MIN = 64 * 1024 * 1024

type Verify = typeof runVerify
type OnProgress = Parameters<VolumeHandle['gc']>[1]

/** See the head of this file. */
export class CareRuns {
  readonly #parts: () => CareParts
  /** Set by `start`: what runs before is told to nobody. */
  #logger: Logger | undefined
  readonly #clock: Clock
  readonly #ports: () => VerifyPorts
  /** What runs or waits. */
  readonly #runs = new Set<AbortController>()
  #isClosed = false
  #lane: Promise<unknown> = Promise.resolve()
  /** Ends what runs by itself. */
  #automatic: AbortController | undefined
  #timer: Timer | undefined
  #last: (GcOutcome & { readonly endMs: number; readonly chunkCount: number }) | undefined
  #scrubbed: VolumeStatus['scrubbed']

  constructor(
    parts: () => CareParts,
    clock: Clock = systemClock,
    ports: () => VerifyPorts = () => carePorts(parts),
  ) {
    this.#parts = parts
    this.#clock = clock
    this.#ports = ports
  }

  /** Looks now and then at what is due. */
  start(logger: Logger): void {
    this.#logger = logger
    this.#arm()
  }

  #arm(): void {
    if (this.#isClosed) return
    this.#timer = this.#clock.setTimer(LOOK_MS, () => void this.#look())
  }

  verify(options: Parameters<Verify>[1], onProgress: OnProgress): ReturnType<Verify> {
    return this.#run(options.signal, (signal) =>
      runVerify(this.#ports(), { ...options, signal }, onProgress),
    )
  }

  async gc(
    options: { readonly isDryRun: boolean; readonly signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<GcOutcome['report']> {
    return this.#run(options.signal, (signal) => this.#collect({ ...options, signal }, onProgress))
  }

  /** For `status`. */
  status(): Pick<VolumeStatus, 'collected' | 'scrubbed'> {
    const scrubbed = this.#scrubbed ? { scrubbed: this.#scrubbed } : {}
    if (!this.#last) return scrubbed
    const { report, endMs } = this.#last
    const { freed, postponed } = report
    const at = new Date(endMs).toISOString()
    const collected = { at, freed, ...(postponed === undefined ? {} : { postponed }) }
    return { collected, ...scrubbed }
  }

  /** Runs when everything before is over; what started by itself is ended. */
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

  async #look(): Promise<void> {
    await this.#byItself('collecting unused chunks', async (run) => {
      if (!(await this.#isDue())) return
      await run((signal) => this.#collect({ isDryRun: false, signal }, () => undefined))
    })
    await this.#byItself('reading chunks again', (run) => run((signal) => this.#scrub(signal)))
    this.#arm()
  }

  /** Never rejects: what could not be done now is tried when it is looked at again. */
  async #byItself(
    what: string,
    work: (run: (step: (signal: AbortSignal) => Promise<unknown>) => Promise<unknown>) => unknown,
  ): Promise<void> {
    const abort = new AbortController()
    try {
      await work((step) => {
        const running = this.#run(abort.signal, step)
        this.#automatic = abort
        return running
      })
    } catch (error) {
      if (!abort.signal.aborted && !this.#isClosed) {
        this.#logger?.warn({ error: errorToData(error) }, `${what} failed`)
      }
    } finally {
      if (this.#automatic === abort) this.#automatic = undefined
    }
  }

  /** Reads this hour's share; what is damaged is fetched again, as `verify --repair` does. */
  async #scrub(signal: AbortSignal): Promise<void> {
    const { chunks } = this.#parts().threads
    const { bytes } = await chunks.stats()
    const share = Math.max(SCRUB_BYTES_MIN, Math.ceil(bytes / SCRUB_HOURS))
    const report = await chunks.scrub(share, signal)
    const before = this.#scrubbed ?? { at: '', chunks: 0, bytes: 0, damaged: 0 }
    this.#scrubbed = {
      ...before,
      at: new Date(this.#clock.nowMs()).toISOString(),
      chunks: before.chunks + report.chunks,
      bytes: before.bytes + report.bytes,
      damaged: before.damaged + report.damaged,
    }
    if (report.damaged === 0 && !report.isIndexDamaged) return
    // Until it is known: the repair may be ended, or fail.
    this.#scrubbed = { ...this.#scrubbed, isRepaired: false }
    this.#logger?.warn({ ...report }, 'stored chunks are damaged: fetching them again')
    // The index log on disk no longer lists what is forgotten: that is what files lack.
    await chunks.sync()
    const parts: CheckPart[] = report.isIndexDamaged ? ['packs', 'contents'] : ['contents']
    const options = { isRepair: true, isRebuild: false, parts, signal }
    const { isClean, findings } = await runVerify(this.#ports(), options, () => undefined)
    this.#scrubbed = { ...this.#scrubbed, isRepaired: isClean }
    this.#logger?.info({ isClean, findings: findings.length }, 'fetched what was damaged')
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
