/**
 * What a device that lacks much does about it: a newcomer takes a snapshot (`newcomer.ts`), a log
 * with gaps has them filled (`backfill.ts`). And the answers for others who do.
 */
import type { Clock } from '../system.ts'
import type { DeviceId } from '../types.ts'
import { Backfill } from './backfill.ts'
import type { Outgoing } from './channels.ts'
import type { LogPort, SnapshotPort } from './interface.ts'
import { answerSnapshot, Newcomer } from './newcomer.ts'
import { deviceOf, type Peers } from './peers.ts'
import type { Effect, Replicator } from './replicator.ts'
import type { Reporter } from './reports.ts'
import type { Session } from './session.ts'
import type { Message } from './wire.ts'

/** Ports of `CatchUp`. */
export interface CatchUpOptions {
  readonly log: LogPort
  /** Absent where no snapshots are made or taken. */
  readonly snapshots?: SnapshotPort
  readonly clock: Clock
  readonly peers: Peers
  readonly replicator: Replicator
  readonly reporter: Reporter
  /** What follows for the log; not called late: the owner may be closed. */
  onEffects(effects: readonly Effect[]): void
}

/** See the head of this file. */
export class CatchUp {
  readonly #options: CatchUpOptions
  readonly #newcomer: Newcomer | undefined
  readonly #backfill: Backfill

  constructor(options: CatchUpOptions) {
    this.#options = options
    const { snapshots, clock, peers, log, replicator, reporter } = options
    const send = (to: DeviceId, message: Outgoing): void => void peers.get(to)?.send(message)
    this.#newcomer =
      snapshots &&
      new Newcomer({
        port: snapshots,
        clock,
        send,
        onDone: (hasTaken) => void this.#go(hasTaken),
        onReport: (report) =>
          reporter.report({ ...report, device: report.device && deviceOf(report.device) }),
      })
    this.#backfill = new Backfill({
      clock,
      send,
      gaps: () => log.gaps?.() ?? Promise.resolve([]),
      receive: (feed, frames) => log.receive(feed, frames),
      peers: ({ feed, to }) => replicator.holders(feed, to),
      isBusy: () => this.#newcomer?.isHolding === true || replicator.isFetching,
    })
    if (this.#newcomer) replicator.hold()
  }

  /** Finds out whether there is anything to do. */
  async start(): Promise<void> {
    await this.#newcomer?.start()
  }

  connected(peer: DeviceId): void {
    this.#newcomer?.connected(peer)
  }

  disconnected(peer: DeviceId): void {
    this.#newcomer?.disconnected(peer)
    this.#backfill.disconnected(peer)
  }

  /** A peer sent something; returns whether it belongs here. */
  onMessage(session: Session, peer: DeviceId, message: Message): boolean {
    if (message.type === 'snapshot') this.#newcomer?.onAnswer(peer, message)
    else if (message.type === 'snapshot-want') void this.#answer(session, message)
    else if (message.type !== 'entries' || !this.#backfill.isMine(message.id)) return false
    else this.#backfill.onEntries(peer, message.id, message.frames)
    return true
  }

  async #answer(
    session: Session,
    message: Extract<Message, { type: 'snapshot-want' }>,
  ): Promise<void> {
    session.send(await answerSnapshot(this.#options.snapshots, message))
  }

  /** To be called a few times a second. */
  tick(nowMs: number): void {
    this.#newcomer?.tick(nowMs)
    this.#backfill.tick(nowMs)
  }

  close(): void {
    this.#newcomer?.close()
  }

  /** From now on entries are fetched. */
  async #go(hasTaken: boolean): Promise<void> {
    const { log, clock, replicator, onEffects } = this.#options
    const nowMs = clock.monotonicMs()
    const effects: Effect[] = []
    if (hasTaken) {
      for (const [feed, head] of await log.frontier()) {
        effects.push(...replicator.onOwnHead(feed, head, nowMs))
      }
    }
    onEffects([...effects, ...replicator.release(nowMs)])
  }
}
