/**
 * One round of `sync --wait`: every other member is reached or found unreachable, publishes what it
 * has pending, and then everyone who answered has what everyone who answered had.
 *
 * The goal is fixed once all have answered, so that a round ends even while somebody goes on
 * writing.
 */
import { WormholeError } from '../errors.ts'
import { sleep, type Clock } from '../system.ts'
import type { DeviceId, Frontier } from '../types.ts'
import { coversFrontier, Heads } from './frontiers.ts'
import type { SyncAnswer } from './interface.ts'

/** How long a member may take to be reached. */
const REACH_MS_MAX = 8000

/** What a round needs from the swarm. */
export interface SyncContext {
  readonly clock: Clock
  /** Members other than this device. */
  members(): { device: DeviceId; name: string }[]
  isConnected(device: DeviceId): boolean
  /** Looks and dials again; resolves when what was tried has ended. Never rejects. */
  reach(device: DeviceId): Promise<unknown>
  /** Publishes here; resolves with what is stored here then. */
  publish(): Promise<Frontier>
  /** Asks a connected device to publish; undefined when it went away. */
  askPublish(device: DeviceId): Promise<Frontier | undefined>
  ownFrontier(): Frontier
  peerFrontier(device: DeviceId): Frontier | undefined
  /** Calls back whenever one of the above may have changed. Returns how to stop it. */
  onChange(listener: () => void): () => void
}

/**
 * Runs one round.
 *
 * @throws {WormholeError} `ABORTED`; whatever `publish` throws.
 */
export async function syncRound(
  context: SyncContext,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<SyncAnswer[]> {
  const untilMs = context.clock.monotonicMs() + options.timeoutMs
  const wait = (condition: () => boolean, deadlineMs: number): Promise<boolean> =>
    waitFor(context, condition, Math.min(deadlineMs, untilMs), options.signal)
  const members = context.members()
  const states = new Map<DeviceId, SyncAnswer['state']>()
  const goals: Frontier[] = []
  const publishing = context.publish().then((frontier) => goals.push(frontier))
  const asking = members.map(async ({ device }) => {
    // A link that is lost before the answer came says nothing about the device: it is asked again.
    while (await reach(context, device, wait)) {
      const leftMs = Math.max(0, untilMs - context.clock.monotonicMs())
      const late = sleep(context.clock, leftMs).then(() => 'late' as const)
      const answer = await Promise.race([context.askPublish(device), late])
      if (answer === 'late' || options.signal?.aborted) {
        states.set(device, context.isConnected(device) ? 'timeout' : 'unreachable')
        return
      }
      if (answer) {
        goals.push(answer)
        return
      }
    }
    states.set(device, 'unreachable')
  })
  await abortable(Promise.all([publishing, ...asking]), options.signal)
  const others = members.filter(({ device }) => !states.has(device))
  const isDone = (device: DeviceId): boolean =>
    [context.ownFrontier(), context.peerFrontier(device)].every((frontier) => {
      const heads = new Heads(frontier)
      return goals.every((goal) => coversFrontier(heads, goal))
    })
  await wait(() => others.every(({ device }) => isDone(device)), untilMs)
  for (const { device } of others) {
    const failed = context.isConnected(device) ? 'timeout' : 'unreachable'
    states.set(device, isDone(device) ? 'in-sync' : failed)
  }
  return members.map(({ device, name }) => ({
    device,
    name,
    state: states.get(device) ?? 'timeout',
  }))
}

/** Waits until a device is connected or everything tried has failed. */
async function reach(
  context: SyncContext,
  device: DeviceId,
  wait: (condition: () => boolean, deadlineMs: number) => Promise<boolean>,
): Promise<boolean> {
  let isTried = false
  const deadlineMs = context.clock.monotonicMs() + REACH_MS_MAX
  let wake = (): void => {}
  void context.reach(device).then(() => {
    isTried = true
    wake()
  })
  const tried = new Promise<void>((resolve) => (wake = resolve))
  const connected = wait(() => context.isConnected(device) || isTried, deadlineMs)
  await Promise.race([tried, connected])
  if (context.isConnected(device)) return true
  if (!isTried) return false
  // The other side may be dialling at this moment, or the link was made and says hello.
  return wait(() => context.isConnected(device), context.clock.monotonicMs() + 500)
}

/** Resolves true once `condition` holds, false at the deadline. */
function waitFor(
  context: SyncContext,
  condition: () => boolean,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (condition()) return Promise.resolve(true)
  return new Promise((resolve, reject) => {
    const end = (settle: () => void): void => {
      stop()
      timer.cancel()
      signal?.removeEventListener('abort', abort)
      settle()
    }
    const abort = (): void => end(() => reject(aborted()))
    const stop = context.onChange(() => {
      if (condition()) end(() => resolve(true))
    })
    const leftMs = Math.max(0, deadlineMs - context.clock.monotonicMs())
    const timer = context.clock.setTimer(leftMs, () => end(() => resolve(condition())))
    if (signal?.aborted) abort()
    else signal?.addEventListener('abort', abort, { once: true })
  })
}

function aborted(): WormholeError {
  return new WormholeError('ABORTED', 'sync aborted')
}

/** `work`, or `ABORTED` as soon as the signal says so; the work itself goes on. */
function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(aborted())
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    void work.then(resolve, reject).then(() => signal.removeEventListener('abort', abort))
  })
}
