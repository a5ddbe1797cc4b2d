/**
 * One `wormhole sync --wait`: publish what is pending here, ask every known member to do the same,
 * wait for equal frontiers, then for the contents that this device keeps.
 */
import { FetchGauge, type PeerCounts } from './fetch-gauge.ts'
import { WormholeError } from '../errors.ts'
import type { SyncAnswer } from '../swarm/interface.ts'
import type { Clock } from '../system.ts'
import type { FetchDuty } from './fetch-duty.ts'
import type { OnProgress } from './frames.ts'
import type { SyncReport } from './interface.ts'

const PROGRESS_MS = 250
/** Pause between two looks at what is missing. */
const LOOK_MS = 500

/** What a run needs of its volume. */
export interface SyncPorts {
  readonly clock: Clock
  readonly duty: FetchDuty
  readonly peers: PeerCounts
  /** Publishes everything pending on this device. */
  drain(): Promise<void>
  syncRound(options: { timeoutMs: number; signal: AbortSignal }): Promise<SyncAnswer[]>
  /** Resolves when everything that arrived has been applied. */
  settled(): Promise<void>
  /** What arrived and is not in the tree. */
  refused(): SyncReport['refused']
}

/** Runs it. @throws {WormholeError} `ABORTED`, and what publishing here throws. */
export async function runSync(
  ports: SyncPorts,
  options: { timeoutMs: number; require: number | undefined; signal: AbortSignal },
  onProgress: OnProgress,
): Promise<SyncReport> {
  const { clock, duty } = ports
  const { timeoutMs, signal } = options
  const startMs = clock.monotonicMs()
  onProgress({ text: 'publishing', done: 0, total: 0 })
  await ports.drain()
  onProgress({ text: 'asking every device', done: 0, total: 0 })
  const answers = await ports.syncRound({ timeoutMs, signal })
  await ports.settled()
  const answered = answers.filter((answer) => answer.state === 'in-sync').length
  // Whoever answered may still be fetching itself what it will then have for us: ask again until
  // the time is over. With nobody there one look is enough.
  const deadlineMs = answered > 0 ? startMs + timeoutMs : startMs
  await fetchShown(ports, deadlineMs, signal, onProgress)
  const { missing } = duty
  const isEnough = options.require === undefined || answered >= options.require
  const isTimedOut = answers.some((answer) => answer.state === 'timeout')
  return {
    isInSync: isEnough && !isTimedOut && missing.files === 0,
    members: answers.map(({ device, name, state }) => ({ id: device, name, state })),
    missing,
    refused: ports.refused().map(({ code, message }) => ({ code, message })),
    seconds: (clock.monotonicMs() - startMs) / 1000,
  }
}

/** `fetchMissing` with progress. */
async function fetchShown(
  ports: SyncPorts,
  deadlineMs: number,
  signal: AbortSignal,
  onProgress: OnProgress,
): Promise<void> {
  const { clock, duty, peers } = ports
  const gauge = new FetchGauge(duty, peers)
  let timer = clock.setTimer(PROGRESS_MS, tick)
  function tick(): void {
    onProgress(gauge.progress())
    timer = clock.setTimer(PROGRESS_MS, tick)
  }
  try {
    await gauge.measure()
    await fetchMissing(ports, deadlineMs, signal)
  } finally {
    timer.cancel()
    gauge.close()
  }
}

/** Has everything fetched that this device keeps; at least one look at it. */
export async function fetchMissing(
  { clock, duty }: Pick<SyncPorts, 'clock' | 'duty'>,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<void> {
  duty.poke()
  for (;;) {
    const leftMs = Math.max(LOOK_MS, deadlineMs - clock.monotonicMs())
    await Promise.race([duty.idle(), waitOrAbort(clock, leftMs, signal)])
    if (duty.missing.files === 0 || clock.monotonicMs() + LOOK_MS >= deadlineMs) return
    await waitOrAbort(clock, LOOK_MS, signal)
    duty.retry()
  }
}

/** Resolves after `ms`; rejects with `ABORTED` when the signal fires. */
export function waitOrAbort(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimer(ms, () => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
    const onAbort = (): void => {
      timer.cancel()
      reject(new WormholeError('ABORTED', 'interrupted'))
    }
    signal.addEventListener('abort', onAbort, { once: true })
  })
}
