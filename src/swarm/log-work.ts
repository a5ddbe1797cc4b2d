/** What the replicator asks of the log: storing entries, and looking whether one is held. */
import { WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import { feedRoot } from '../types.ts'
import type { LogPort } from './interface.ts'
import { deviceOf } from './peers.ts'
import type { Effect, Replicator } from './replicator.ts'
import type { Reporter } from './reports.ts'

/** Ports of `LogWork`. */
export interface LogWorkOptions {
  readonly log: LogPort
  readonly clock: Clock
  readonly replicator: Replicator
  readonly reporter: Reporter
  /** What follows from the answer of the log; not called late: the owner may be closed. */
  onEffects(effects: readonly Effect[]): void
}

/** Never rejects for an operating error: the replicator decides what follows from it. */
export class LogWork {
  readonly #options: LogWorkOptions

  constructor(options: LogWorkOptions) {
    this.#options = options
  }

  /** Stores what a peer sent. */
  async store({ from, feed, frames }: Extract<Effect, { type: 'store' }>): Promise<void> {
    const { log, clock, replicator, reporter, onEffects } = this.#options
    try {
      const isStored = (await log.receive(feed, frames)) === 'stored'
      const result = isStored ? { frontier: await log.frontier() } : 'detached'
      onEffects(replicator.onStored(from, feed, result, clock.monotonicMs()))
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      const { code } = error
      const message = `entries of ${feed.slice(0, 8)} refused: ${error.message}`
      const isReported = code !== 'NOT_A_MEMBER' && code !== 'VOLUME_CLOSED'
      if (isReported) reporter.report({ code, device: deviceOf(from), message })
      onEffects(replicator.onStored(from, feed, { code }, clock.monotonicMs()))
    }
  }

  /** Looks whether the head of a peer's branch is held here. */
  async prove({ from, feed, head }: Extract<Effect, { type: 'prove' }>): Promise<void> {
    const { log, clock, replicator, onEffects } = this.#options
    let isHeld: boolean | undefined
    try {
      isHeld = (await log.holds([{ feed: feedRoot(feed), ...head }]))[0]
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
    }
    onEffects(replicator.onProved(from, feed, head, isHeld, clock.monotonicMs()))
  }
}
