/**
 * Fetching entries that are missing below the heads of feeds: those before a snapshot, and those
 * that a disk has lost. One range at a time, after everything newer; what one peer lacks another
 * one is asked for.
 */
import { WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { DeviceId, FeedId } from '../types.ts'
import type { Outgoing } from './channels.ts'

/** Ids of these requests lie above those of the replicator. */
const ID_MIN = 2 ** 40
const RANGE_BYTES = 512 * 1024
const ANSWER_MS_MAX = 20_000
/** How often it looks whether something is missing, while nothing is. */
const LOOK_MS = 2000
/** A peer that lacked entries of a feed is asked for them again after this. */
const LACKING_MS = 30_000

/** Entries from `from` up to, not including, `to` are missing in a feed. */
export interface Missing {
  readonly feed: FeedId
  readonly from: number
  readonly to: number
}

/** What a backfill needs. */
export interface BackfillOptions {
  readonly clock: Clock
  /** What is missing now. */
  gaps(): Promise<readonly Missing[]>
  /** `detached`: what the first one follows is not here. */
  receive(feed: FeedId, frames: readonly Uint8Array[]): Promise<'stored' | 'detached'>
  /** Connected peers that may have them. */
  peers(missing: Missing): DeviceId[]
  /** Whether newer entries are being fetched: they go first. */
  isBusy(): boolean
  send(to: DeviceId, message: Outgoing): void
}

interface Asked {
  readonly peer: DeviceId
  readonly id: number
  readonly missing: Missing
  readonly fromSeq: number
  readonly sinceMs: number
  isStoring: boolean
}

/** Where a peer is asked next, whose entries follow others than those that fill a gap so far. */
interface Place {
  /** End of the gap. */
  readonly to: number
  readonly fromSeq: number
  /** How far back the last step went; 0 once it goes forward again. */
  readonly step: number
}

/** See the head of this file. */
export class Backfill {
  readonly #options: BackfillOptions
  readonly #lacking = new Map<string, number>()
  /** By peer and feed. */
  readonly #places = new Map<string, Place>()
  #asked: Asked | undefined
  /** What was answered last. If that is missing still, the answer was of another branch. */
  #answered: Asked | undefined
  #isLooking = false
  #lookMs = 0
  #nextId = ID_MIN

  constructor(options: BackfillOptions) {
    this.#options = options
  }

  /** Whether an answer belongs here. */
  isMine(id: number): boolean {
    return id >= ID_MIN
  }

  /** To be called a few times a second. */
  tick(nowMs: number): void {
    const asked = this.#asked
    if (asked && !asked.isStoring && nowMs - asked.sinceMs > ANSWER_MS_MAX) this.#lacks(asked)
    if (!this.#asked && nowMs >= this.#lookMs) void this.#look()
  }

  /** The peer's answer; none: it has not got them. */
  onEntries(peer: DeviceId, id: number, frames: readonly Uint8Array[]): void {
    const asked = this.#asked
    if (asked?.id !== id || asked.peer !== peer || asked.isStoring) return
    if (frames.length === 0) this.#lacks(asked)
    else void this.#store(asked, frames)
  }

  disconnected(peer: DeviceId): void {
    if (this.#asked?.peer === peer && !this.#asked.isStoring) this.#asked = undefined
    for (const known of [this.#lacking, this.#places]) {
      for (const key of known.keys()) if (key.startsWith(peer)) known.delete(key)
    }
  }

  #lacks({ peer, missing }: Asked): void {
    this.#lacking.set(peer + missing.feed, this.#options.clock.monotonicMs() + LACKING_MS)
    this.#places.delete(peer + missing.feed)
    this.#asked = undefined
    void this.#look()
  }

  /** Never rejects for an operating error: the peer is asked again later. */
  async #store(asked: Asked, frames: readonly Uint8Array[]): Promise<void> {
    asked.isStoring = true
    try {
      const result = await this.#options.receive(asked.missing.feed, frames)
      if (!this.#moves(asked, result, frames.length)) this.#answered = asked
      this.#asked = undefined
      await this.#look()
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      this.#lacks(asked)
    }
  }

  /**
   * What fills a gap so far may be of another branch than the one above it: what comes next follows
   * nothing here then. The peer is asked for earlier and earlier entries, until one follows what is
   * here, and from there on. Returns whether it is to be asked again.
   */
  #moves({ peer, missing, fromSeq }: Asked, result: 'stored' | 'detached', count: number): boolean {
    const key = peer + missing.feed
    const { to } = missing
    const place = this.#places.get(key)
    const before = place?.to === to ? place : undefined
    this.#places.delete(key)
    if (result === 'detached') {
      if (fromSeq === 0 || before?.step === 0) return false
      const step = before ? 2 * before.step : 1
      this.#places.set(key, { to, fromSeq: Math.max(0, fromSeq - step), step })
      return true
    }
    if (before === undefined || fromSeq + count >= to) return false
    this.#places.set(key, { to, fromSeq: fromSeq + count, step: 0 })
    return true
  }

  /** Asks for the next range, if something is missing and somebody may have it. */
  async #look(): Promise<void> {
    const { clock, isBusy } = this.#options
    this.#lookMs = clock.monotonicMs() + LOOK_MS
    if (this.#isLooking || this.#asked || isBusy()) return
    this.#isLooking = true
    try {
      const gaps = await this.#options.gaps()
      const nowMs = clock.monotonicMs()
      const answered = this.#answered
      this.#answered = undefined
      for (const missing of gaps) {
        if (answered && isSame(missing, answered.missing)) {
          this.#lacking.set(answered.peer + missing.feed, nowMs + LACKING_MS)
        }
        const isAble = (peer: DeviceId): boolean =>
          (this.#lacking.get(peer + missing.feed) ?? 0) <= nowMs
        const peer = this.#options.peers(missing).find(isAble)
        if (peer === undefined) continue
        const id = this.#nextId++
        const { feed, from, to } = missing
        const place = this.#places.get(peer + feed)
        const fromSeq = place?.to === to ? place.fromSeq : from
        this.#asked = { peer, id, missing, fromSeq, sinceMs: nowMs, isStoring: false }
        const message = { type: 'want', id, feed, fromSeq, bytesMax: RANGE_BYTES } as const
        return this.#options.send(peer, message)
      }
    } catch (error) {
      // The volume is closing, or cannot say: there is a next time.
      if (!(error instanceof WormholeError)) throw error
    } finally {
      this.#isLooking = false
    }
  }
}

function isSame(a: Missing, b: Missing): boolean {
  return a.feed === b.feed && a.from === b.from && a.to === b.to
}
