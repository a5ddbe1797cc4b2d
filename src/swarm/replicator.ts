/**
 * Log replication, decided but not done: a state machine that takes what happened and returns what
 * to send and store. No clock, no I/O, no waiting; `swarm.ts` carries the effects out.
 *
 * Each side tells its frontier once per connection and then every new head, its own at once and
 * those of others after a short pause (they are also the acknowledgement). Who lacks entries asks
 * one peer for the next range of that feed, at most one range per feed at a time; when the peer
 * fails, the next range is asked of another. W2: heads enter here only when their entries are
 * durable.
 *
 * A feed that forked has several heads. Feeds of a peer go by the peer's names for branches, own
 * ones by ours; what they have in common is the feed and the hashes. A head of a peer that is none
 * of ours and not longer than all of ours may be of a branch unknown here: the log is asked
 * (`prove`). Where a branch leaves what is held here is found by asking for earlier and earlier
 * entries, in steps that double.
 */
import type { ErrorCode } from '../errors.ts'
import {
  feedDevice,
  feedRoot,
  type DeviceId,
  type FeedHead,
  type FeedId,
  type Frontier,
} from '../types.ts'
import type { Outgoing } from './channels.ts'
import { coversFrontier, Heads } from './frontiers.ts'
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
  /** Find out whether this entry is held here, and call `onProved`. */
  | {
      readonly type: 'prove'
      readonly from: DeviceId
      readonly feed: FeedId
      readonly head: FeedHead
    }
  /** Call `flushHeads` after a short pause. */
  | { readonly type: 'flush-later' }

interface Distrust {
  untilMs: number
  backoffMs: number
  code: ErrorCode | undefined
}

interface PeerLog {
  /** What it has, as last told. */
  readonly frontier: Heads
  /** Whether its heads that are not longer than ours are held here; undefined: being asked. */
  readonly proofs: Map<FeedId, { readonly head: FeedHead; readonly isHeld: boolean | undefined }>
  /** Where to ask next for a branch that does not continue what is held here. */
  readonly cursors: Map<FeedId, { readonly fromSeq: number; readonly step: number }>
  hasTold: boolean
  /** What we told it. */
  readonly told: Map<FeedId, number>
  readonly distrust: Map<FeedId, Distrust>
  /** Asked too long ago; the answer is still welcome. */
  readonly late: Map<number, Range>
  bytesMax: number
  ranges: number
}

interface Range {
  readonly peer: DeviceId
  readonly id: number
  /** By the peer's name. */
  readonly feed: FeedId
  readonly fromSeq: number
  readonly askedMs: number
  /** Entries of the answer, while they are stored. */
  count: number
  isStoring: boolean
  /** A head of the feed has moved since it was asked for, however that became known. */
  hasNews: boolean
}

/** The log of one volume among connected peers. */
export class Replicator {
  readonly #self: DeviceId
  readonly #own: Heads
  readonly #peers = new Map<DeviceId, PeerLog>()
  /** By feed: branches of one are fetched one after the other. */
  readonly #ranges = new Map<FeedId, Range>()
  /** Feeds in which some peer may have what we have not. */
  readonly #behind = new Set<FeedId>()
  /** Feeds whose new head has not been told to everyone. */
  readonly #untold = new Set<FeedId>()
  #nextId = 1
  #isHeld = false

  constructor(self: DeviceId, own: Frontier) {
    this.#self = self
    this.#own = new Heads(own)
  }

  /** Until `release` nothing is asked for. */
  hold(): void {
    this.#isHeld = true
  }

  release(nowMs: number): Effect[] {
    this.#isHeld = false
    return this.#pump(nowMs)
  }

  get isFetching(): boolean {
    return this.#ranges.size > 0
  }

  /** Connected peers whose feed is at least so long. */
  holders(feed: FeedId, length: number): DeviceId[] {
    const peers = [...this.#peers].filter(([, log]) => log.frontier.reaches(feed, length))
    return peers.map(([peer]) => peer)
  }

  /** What is stored here. */
  frontier(): Frontier {
    return this.#own.map
  }

  /** What a connected peer has, as it last told; undefined before it did. */
  peerFrontier(peer: DeviceId): Frontier | undefined {
    const log = this.#peers.get(peer)
    return log?.hasTold ? log.frontier.map : undefined
  }

  /** Whether a connected peer and this device last had exactly the same. */
  isInSync(peer: DeviceId): boolean {
    const log = this.#peers.get(peer)
    if (!log?.hasTold || [...log.proofs.values()].some(({ isHeld }) => isHeld !== true))
      return false
    const { frontier } = log
    return coversFrontier(this.#own, frontier.map) && coversFrontier(frontier, this.#own.map)
  }

  /** A peer is connected. */
  onConnect(peer: DeviceId): Effect[] {
    if (this.#peers.has(peer)) return []
    this.#peers.set(peer, {
      frontier: new Heads(),
      proofs: new Map(),
      cursors: new Map(),
      hasTold: false,
      told: new Map(),
      distrust: new Map(),
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
    for (const [feed, head] of this.#own.map) log.told.set(feed, head.length)
    return [{ type: 'send', to: peer, message: { type: 'frontier', frontier: this.#own.map } }]
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
    if (!isLate) {
      log.frontier.clear()
      log.proofs.clear()
    }
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
    if (!log || (log.frontier.map.size >= FEEDS_MAX && !log.frontier.get(feed))) return []
    log.frontier.set(feed, head)
    const effects: Effect[] = []
    this.#compare(peer, log, feed, head, effects)
    if (this.#behind.has(feedRoot(feed))) effects.push(...this.#pumpFeed(feedRoot(feed), nowMs))
    return effects
  }

  #compare(peer: DeviceId, log: PeerLog, feed: FeedId, head: FeedHead, effects: Effect[]): void {
    const coverage = this.#coverage(log, feed, head)
    if (coverage !== 'unknown') {
      if (coverage === 'missing') this.#behind.add(feedRoot(feed))
      return
    }
    if (sameHead(log.proofs.get(feed)?.head, head)) return
    log.proofs.set(feed, { head, isHeld: undefined })
    effects.push({ type: 'prove', from: peer, feed, head })
  }

  /** Whether the head of a peer's branch is held here. */
  #coverage(log: PeerLog, feed: FeedId, head: FeedHead): 'held' | 'missing' | 'unknown' {
    if (this.#own.hasHead(feed, head)) {
      log.proofs.delete(feed)
      log.cursors.delete(feed)
      return 'held'
    }
    if (!this.#own.reaches(feed, head.length)) return 'missing'
    const proof = log.proofs.get(feed)
    if (proof === undefined || !sameHead(proof.head, head)) return 'unknown'
    return proof.isHeld === undefined ? 'unknown' : proof.isHeld ? 'held' : 'missing'
  }

  /** What the log said about an entry; undefined when it could not. */
  onProved(
    peer: DeviceId,
    feed: FeedId,
    head: FeedHead,
    isHeld: boolean | undefined,
    nowMs: number,
  ): Effect[] {
    const log = this.#peers.get(peer)
    if (!log || !sameHead(log.proofs.get(feed)?.head, head)) return []
    if (isHeld === undefined) {
      log.proofs.delete(feed)
      return []
    }
    log.proofs.set(feed, { head, isHeld })
    if (isHeld) {
      log.cursors.delete(feed)
      return []
    }
    this.#behind.add(feedRoot(feed))
    return this.#pumpFeed(feedRoot(feed), nowMs)
  }

  /** A new head is durable here (W2). */
  onOwnHead(feed: FeedId, head: FeedHead, nowMs: number): Effect[] {
    const before = this.#own.get(feed)
    if (before !== undefined && before.length > head.length) return []
    if (sameHead(before, head)) return []
    this.#own.set(feed, head)
    this.#untold.add(feed)
    const range = this.#ranges.get(feedRoot(feed))
    if (range) range.hasNews = true
    const effects: Effect[] =
      feedDevice(feed) === this.#self ? this.flushHeads() : [{ type: 'flush-later' }]
    return [...effects, ...this.#forgiveStrangers(nowMs)]
  }

  /** Tells every peer the heads it has not been told. */
  flushHeads(): Effect[] {
    const effects: Effect[] = []
    for (const feed of this.#untold) {
      const head = this.#own.get(feed)
      if (head === undefined) continue
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
    const range = this.#asked(peer, log, answer.id, nowMs)
    if (range === undefined) return []
    const feed = feedRoot(range.feed)
    if (answer.frames.length === 0) {
      this.#release(feed)
      this.#distrust(log, range.feed, undefined, nowMs)
      return this.#pump(nowMs)
    }
    range.count = answer.frames.length
    return [{ type: 'store', from: peer, feed, frames: answer.frames }]
  }

  /** The range that request `id` was about; marks it as being stored. */
  #asked(peer: DeviceId, log: PeerLog, id: number, nowMs: number): Range | undefined {
    const late = log.late.get(id)
    if (late !== undefined) {
      log.late.delete(id)
      const root = feedRoot(late.feed)
      if (this.#ranges.has(root)) return undefined
      this.#ranges.set(root, late)
      log.ranges++
      return Object.assign(late, { isStoring: true, hasNews: false })
    }
    for (const range of this.#ranges.values()) {
      if (range.id !== id || range.peer !== peer || range.isStoring) continue
      range.isStoring = true
      const isQuick = nowMs - range.askedMs < ANSWER_MS_MAX / 20
      if (isQuick) log.bytesMax = Math.min(RANGE_BYTES_MAX, log.bytesMax * 2)
      return range
    }
    return undefined
  }

  /**
   * What came of a `store`: the own frontier read afterwards, `detached` when what the first entry
   * follows is not here, or the code of its failure. Without progress the peer is not asked for
   * that feed for a while.
   */
  onStored(
    from: DeviceId,
    feed: FeedId,
    result: { readonly frontier: Frontier } | { readonly code: ErrorCode } | 'detached',
    nowMs: number,
  ): Effect[] {
    const range = this.#release(feed)
    const log = this.#peers.get(from)
    const effects: Effect[] = []
    if (result === 'detached') {
      if (log && range) this.#stepBack(log, range, nowMs)
    } else if ('code' in result) {
      if (log && range) this.#distrust(log, range.feed, result.code, nowMs)
    } else {
      const isChanged = this.#takeFrontier(result.frontier, nowMs, effects)
      if (log && range) this.#advance(log, range, isChanged || range.hasNews, nowMs)
      for (const [peer, other] of this.#peers) this.#compareAgain(peer, other, feed, effects)
    }
    return [...effects, ...this.#pump(nowMs)]
  }

  /** Takes over what is stored here; returns whether anything is new. */
  #takeFrontier(frontier: Frontier, nowMs: number, effects: Effect[]): boolean {
    let isChanged = false
    for (const [name, head] of frontier) {
      if (!sameHead(this.#own.get(name), head)) isChanged = true
      effects.push(...this.onOwnHead(name, head, nowMs))
    }
    for (const name of [...this.#own.map.keys()]) if (!frontier.has(name)) this.#own.delete(name)
    return isChanged
  }

  #advance(log: PeerLog, range: Range, isChanged: boolean, nowMs: number): void {
    const { feed, fromSeq, count } = range
    const isStepping = log.cursors.has(feed)
    if (isStepping) log.cursors.set(feed, { fromSeq: fromSeq + count, step: 1 })
    const told = log.frontier.get(feed)
    if (isChanged || isStepping) log.distrust.delete(feed)
    else if (told && this.#coverage(log, feed, told) !== 'held') {
      this.#distrust(log, feed, undefined, nowMs)
    }
  }

  /** The branch leaves what is held here further down. */
  #stepBack(log: PeerLog, { feed, fromSeq }: Range, nowMs: number): void {
    const step = log.cursors.get(feed)?.step ?? 1
    log.cursors.set(feed, { fromSeq: Math.max(0, fromSeq - step), step: 2 * step })
    if (fromSeq === 0) this.#distrust(log, feed, undefined, nowMs)
  }

  /** What was missing of a peer's branches may be here now. */
  #compareAgain(peer: DeviceId, log: PeerLog, feed: FeedId, effects: Effect[]): void {
    for (const name of log.frontier.names(feed)) {
      if (log.proofs.get(name)?.isHeld === false) log.proofs.delete(name)
      const head = log.frontier.get(name)
      if (head) this.#compare(peer, log, name, head, effects)
    }
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
      log.late.set(range.id, range)
      this.#distrust(log, range.feed, undefined, nowMs)
    }
    return this.#pump(nowMs)
  }

  #release(feed: FeedId): Range | undefined {
    const range = this.#ranges.get(feed)
    this.#ranges.delete(feed)
    const log = range && this.#peers.get(range.peer)
    if (log && log.ranges > 0) log.ranges--
    return range
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
    if (this.#isHeld || this.#ranges.has(feed) || this.#ranges.size >= RANGES_MAX) return []
    let best: { peer: DeviceId; log: PeerLog; name: FeedId } | undefined
    let isBehind = false
    for (const [peer, log] of this.#peers) {
      for (const name of log.frontier.names(feed)) {
        if (this.#coverage(log, name, log.frontier.get(name) as FeedHead) !== 'missing') continue
        isBehind = true
        if (log.ranges >= RANGES_PER_PEER_MAX) continue
        if ((log.distrust.get(name)?.untilMs ?? 0) > nowMs) continue
        if (!best || log.ranges < best.log.ranges) best = { peer, log, name }
      }
    }
    if (!isBehind) this.#behind.delete(feed)
    if (!best) return []
    const { peer, log, name } = best
    const fromSeq = log.cursors.get(name)?.fromSeq ?? this.#likelyStart(log, name)
    const id = this.#nextId++
    const asked = { feed: name, fromSeq, askedMs: nowMs, count: 0 }
    this.#ranges.set(feed, { peer, id, ...asked, isStoring: false, hasNews: false })
    log.ranges++
    const message = { type: 'want', id, feed: name, fromSeq, bytesMax: log.bytesMax } as const
    return [{ type: 'send', to: peer, message }]
  }

  /** Where what is held here of a peer's branch most likely ends. */
  #likelyStart(log: PeerLog, name: FeedId): number {
    const { length } = log.frontier.get(name) as FeedHead
    const held = this.#own.lengthBelow(name, length)
    return held === 0 && this.#own.reaches(name, 1) ? length - 1 : held
  }
}

function sameHead(a: FeedHead | undefined, b: FeedHead): boolean {
  return a?.length === b.length && a.hash === b.hash
}
