/**
 * Log replication, decided but not done: a state machine that takes what happened and returns what
 * to send and store. No clock, no I/O, no waiting; `swarm.ts` carries the effects out.
 *
 * Each side tells its frontier once per connection and then every new head, its own at once and
 * those of others after a short pause (they are also the acknowledgement). Who lacks entries asks
 * one peer for the next range of that feed, at most one range per feed at a time; when the peer
 * fails, the next range is asked of another. W2: heads enter here only when their entries are
 * durable.
 */
import type { ErrorCode } from '../errors.ts'
import { feedDevice, type DeviceId, type FeedHead, type FeedId, type Frontier } from '../types.ts'
import type { Outgoing } from './channels.ts'
import { coversFrontier } from './frontiers.ts'
import { FEEDS_MAX } from './wire.ts'

/** Bytes asked for in one range. Adapts between these to the speed of the peer. */
const RANGE_BYTES_MAX = 1024 * 1024
const RANGE_BYTES_MIN = 16 * 1024
/** Ranges asked of one peer at a time. */
const RANGES_PER_PEER_MAX = 4
/** Ranges being stored or on their way, all peers together: bounds memory. */
const RANGES_MAX = 8
/** An answer that takes longer is sought elsewhere, and still welcome when it comes. */
const ANSWER_MS_MAX = 20_000
/** A peer that failed to bring a feed on is left alone for so long; doubles with each failure. */
const DISTRUST_MS_MIN = 500
const DISTRUST_MS_MAX = 60_000

/** What to do. */
export type Effect =
  | { readonly type: 'send'; readonly to: DeviceId; readonly message: Outgoing }
  | {
      readonly type: 'store'
      readonly from: DeviceId
      readonly feed: FeedId
      readonly frames: readonly Uint8Array[]
    }
  /** Call `flushHeads` after a short pause. */
  | { readonly type: 'flush-later' }
  | {
      readonly type: 'report'
      readonly code: ErrorCode
      readonly device: DeviceId
      readonly message: string
    }

interface Distrust {
  untilMs: number
  backoffMs: number
  code: ErrorCode | undefined
}

interface PeerLog {
  /** What it has, as last told. */
  frontier: Map<FeedId, FeedHead>
  hasTold: boolean
  /** What we told it. */
  readonly told: Map<FeedId, number>
  readonly distrust: Map<FeedId, Distrust>
  readonly forks: Set<FeedId>
  /** Asked too long ago; the answer is still welcome. */
  readonly late: Map<number, FeedId>
  bytesMax: number
  ranges: number
}

interface Range {
  readonly peer: DeviceId
  readonly id: number
  readonly fromSeq: number
  readonly askedMs: number
  isStoring: boolean
}

/** The log of one volume among connected peers. */
export class Replicator {
  readonly #self: DeviceId
  #own: Map<FeedId, FeedHead>
  readonly #peers = new Map<DeviceId, PeerLog>()
  readonly #ranges = new Map<FeedId, Range>()
  /** Feeds in which some peer may be ahead of us. */
  readonly #behind = new Set<FeedId>()
  /** Feeds whose new head has not been told to everyone. */
  readonly #untold = new Set<FeedId>()
  #nextId = 1

  constructor(self: DeviceId, own: Frontier) {
    this.#self = self
    this.#own = new Map(own)
  }

  /** What is stored here. */
  frontier(): Frontier {
    return this.#own
  }

  /** What a connected peer has, as it last told; undefined before it did. */
  peerFrontier(peer: DeviceId): Frontier | undefined {
    const log = this.#peers.get(peer)
    return log?.hasTold ? log.frontier : undefined
  }

  /** Whether a connected peer and this device last had exactly the same. */
  isInSync(peer: DeviceId): boolean {
    const told = this.peerFrontier(peer)
    return told !== undefined && coversFrontier(this.#own, told) && coversFrontier(told, this.#own)
  }

  /** A peer is connected. */
  onConnect(peer: DeviceId): Effect[] {
    if (this.#peers.has(peer)) return []
    this.#peers.set(peer, {
      frontier: new Map(),
      hasTold: false,
      told: new Map(),
      distrust: new Map(),
      forks: new Set(),
      late: new Map(),
      bytesMax: RANGE_BYTES_MAX / 4,
      ranges: 0,
    })
    return this.tellFrontier(peer)
  }

  /** Tells a peer all we have. */
  tellFrontier(peer: DeviceId): Effect[] {
    const log = this.#peers.get(peer)
    if (!log) return []
    for (const [feed, head] of this.#own) log.told.set(feed, head.length)
    return [{ type: 'send', to: peer, message: { type: 'frontier', frontier: this.#own } }]
  }

  /** A peer is gone: its ranges are asked of others. */
  onDisconnect(peer: DeviceId, nowMs: number): Effect[] {
    this.#peers.delete(peer)
    for (const [feed, range] of this.#ranges) {
      if (range.peer === peer && !range.isStoring) this.#ranges.delete(feed)
    }
    return this.#pump(nowMs)
  }

  /** One of several links of a peer is gone, and with it what was on its way. */
  onRelink(peer: DeviceId): Effect[] {
    const log = this.#peers.get(peer)
    if (!log) return []
    for (const [feed, range] of this.#ranges) {
      if (range.peer === peer && !range.isStoring) this.#release(feed)
    }
    return this.tellFrontier(peer)
  }

  /**
   * A peer told all it has. `isLate`: by a link that is not its newest, so that heads told by a
   * newer link may have overtaken it; else it may have less than before (a restored home).
   */
  onFrontier(peer: DeviceId, frontier: Frontier, nowMs: number, isLate = false): Effect[] {
    const log = this.#peers.get(peer)
    if (!log) return []
    if (!isLate) log.frontier.clear()
    log.hasTold = true
    const effects: Effect[] = []
    for (const [feed, head] of frontier) {
      if ((log.frontier.get(feed)?.length ?? 0) > head.length) continue
      log.frontier.set(feed, head)
      this.#compare(peer, log, feed, head, effects)
    }
    return [...effects, ...this.#pump(nowMs)]
  }

  /** A peer told a new head of one feed. */
  onHead(peer: DeviceId, feed: FeedId, head: FeedHead, nowMs: number): Effect[] {
    const log = this.#peers.get(peer)
    if (!log || (log.frontier.size >= FEEDS_MAX && !log.frontier.has(feed))) return []
    log.frontier.set(feed, head)
    const effects: Effect[] = []
    this.#compare(peer, log, feed, head, effects)
    if (this.#behind.has(feed)) effects.push(...this.#pumpFeed(feed, nowMs))
    return effects
  }

  #compare(peer: DeviceId, log: PeerLog, feed: FeedId, head: FeedHead, effects: Effect[]): void {
    const own = this.#own.get(feed)
    if (own === undefined || own.length < head.length) this.#behind.add(feed)
    else if (own.length === head.length && own.hash !== head.hash && !log.forks.has(feed)) {
      log.forks.add(feed)
      const message = `feed ${feed.slice(0, 8)} has two branches at entry ${head.length - 1}`
      effects.push({ type: 'report', code: 'ENTRY_INVALID', device: peer, message })
    }
  }

  /** A new head is durable here (W2). */
  onOwnHead(feed: FeedId, head: FeedHead, nowMs: number): Effect[] {
    const before = this.#own.get(feed)
    if (before !== undefined && before.length > head.length) return []
    if (before?.length === head.length && before.hash === head.hash) return []
    this.#own.set(feed, head)
    this.#untold.add(feed)
    const effects: Effect[] =
      feedDevice(feed) === this.#self ? this.flushHeads() : [{ type: 'flush-later' }]
    return [...effects, ...this.#forgiveStrangers(nowMs)]
  }

  /** Tells every peer the heads it has not been told. */
  flushHeads(): Effect[] {
    const effects: Effect[] = []
    for (const feed of this.#untold) {
      const head = this.#own.get(feed) as FeedHead
      for (const [peer, log] of this.#peers) {
        if (log.told.get(feed) === head.length) continue
        log.told.set(feed, head.length)
        effects.push({ type: 'send', to: peer, message: { type: 'head', feed, head } })
      }
    }
    this.#untold.clear()
    return effects
  }

  /** A peer answered. Answers nobody asked for are ignored. */
  onEntries(
    peer: DeviceId,
    answer: { readonly id: number; readonly frames: readonly Uint8Array[] },
    nowMs: number,
  ): Effect[] {
    const log = this.#peers.get(peer)
    if (!log) return []
    const feed = this.#asked(peer, log, answer.id, nowMs)
    if (feed === undefined) return []
    if (answer.frames.length === 0) {
      this.#release(feed)
      this.#distrust(log, feed, undefined, nowMs)
      return this.#pump(nowMs)
    }
    return [{ type: 'store', from: peer, feed, frames: answer.frames }]
  }

  /** The feed that request `id` was about; marks it as being stored. */
  #asked(peer: DeviceId, log: PeerLog, id: number, nowMs: number): FeedId | undefined {
    const late = log.late.get(id)
    if (late !== undefined) {
      log.late.delete(id)
      if (this.#ranges.has(late)) return undefined
      const fromSeq = this.#own.get(late)?.length ?? 0
      this.#ranges.set(late, { peer, id, fromSeq, askedMs: nowMs, isStoring: true })
      log.ranges++
      return late
    }
    for (const [feed, range] of this.#ranges) {
      if (range.id !== id || range.peer !== peer || range.isStoring) continue
      range.isStoring = true
      const isQuick = nowMs - range.askedMs < ANSWER_MS_MAX / 20
      if (isQuick) log.bytesMax = Math.min(RANGE_BYTES_MAX, log.bytesMax * 2)
      return feed
    }
    return undefined
  }

  /**
   * What came of a `store`: the own frontier read afterwards, or the code of its failure. Without
   * progress the peer is not asked for that feed for a while.
   */
  onStored(
    from: DeviceId,
    feed: FeedId,
    result: { readonly frontier: Frontier } | { readonly code: ErrorCode },
    nowMs: number,
  ): Effect[] {
    const fromSeq = this.#ranges.get(feed)?.fromSeq ?? 0
    this.#release(feed)
    const log = this.#peers.get(from)
    const effects: Effect[] = []
    if ('code' in result) {
      if (log) this.#distrust(log, feed, result.code, nowMs)
    } else {
      for (const [stored, head] of result.frontier) {
        effects.push(...this.onOwnHead(stored, head, nowMs))
      }
      const told = log?.frontier.get(feed)?.length ?? 0
      const after = this.#own.get(feed)?.length ?? 0
      if (after > fromSeq) log?.distrust.delete(feed)
      else if (log && told > after) this.#distrust(log, feed, undefined, nowMs)
    }
    return [...effects, ...this.#pump(nowMs)]
  }

  /** To be called a few times a second. */
  onTick(nowMs: number): Effect[] {
    for (const [feed, range] of this.#ranges) {
      if (range.isStoring || nowMs - range.askedMs < ANSWER_MS_MAX) continue
      const log = this.#peers.get(range.peer)
      this.#release(feed)
      if (!log) continue
      log.bytesMax = Math.max(RANGE_BYTES_MIN, log.bytesMax / 2)
      if (log.late.size >= RANGES_PER_PEER_MAX) log.late.clear()
      log.late.set(range.id, feed)
      this.#distrust(log, feed, undefined, nowMs)
    }
    return this.#pump(nowMs)
  }

  #release(feed: FeedId): void {
    const range = this.#ranges.get(feed)
    if (!range) return
    this.#ranges.delete(feed)
    const log = this.#peers.get(range.peer)
    if (log && log.ranges > 0) log.ranges--
  }

  #distrust(log: PeerLog, feed: FeedId, code: ErrorCode | undefined, nowMs: number): void {
    const before = log.distrust.get(feed)
    const backoffMs = Math.min(DISTRUST_MS_MAX, before ? before.backoffMs * 2 : DISTRUST_MS_MIN)
    log.distrust.set(feed, { untilMs: nowMs + backoffMs, backoffMs, code })
  }

  /** A feed refused because its author is unknown may be fine after any other progress. */
  #forgiveStrangers(nowMs: number): Effect[] {
    let isChanged = false
    for (const log of this.#peers.values()) {
      for (const [feed, distrust] of log.distrust) {
        if (distrust.code !== 'NOT_A_MEMBER') continue
        log.distrust.delete(feed)
        isChanged = true
      }
    }
    return isChanged ? this.#pump(nowMs) : []
  }

  #pump(nowMs: number): Effect[] {
    const effects: Effect[] = []
    for (const feed of this.#behind) effects.push(...this.#pumpFeed(feed, nowMs))
    return effects
  }

  /** Asks for the next range of a feed if somebody has it and nobody has been asked. */
  #pumpFeed(feed: FeedId, nowMs: number): Effect[] {
    if (this.#ranges.has(feed) || this.#ranges.size >= RANGES_MAX) return []
    const fromSeq = this.#own.get(feed)?.length ?? 0
    let best: { peer: DeviceId; log: PeerLog } | undefined
    let isBehind = false
    for (const [peer, log] of this.#peers) {
      if ((log.frontier.get(feed)?.length ?? 0) <= fromSeq) continue
      isBehind = true
      if (log.ranges >= RANGES_PER_PEER_MAX) continue
      if ((log.distrust.get(feed)?.untilMs ?? 0) > nowMs) continue
      if (!best || log.ranges < best.log.ranges) best = { peer, log }
    }
    if (!isBehind) this.#behind.delete(feed)
    if (!best) return []
    const id = this.#nextId++
    const range = { peer: best.peer, id, fromSeq, askedMs: nowMs, isStoring: false }
    this.#ranges.set(feed, range)
    best.log.ranges++
    const bytesMax = best.log.bytesMax
    return [{ type: 'send', to: best.peer, message: { type: 'want', id, feed, fromSeq, bytesMax } }]
  }
}
