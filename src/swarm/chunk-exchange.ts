/**
 * Getting chunks: which to ask of whom, and when to ask somebody else. A state machine with
 * callbacks; time comes in through the clock and `tick`, bytes leave through `ChunkPeer.send`.
 *
 * Several peers are asked at once; each has a window of bytes in flight that follows its measured
 * throughput, so that a faster peer is asked more often. A chunk counts once the store has checked
 * its digest (R1); a peer that sent other bytes is asked no more. When nothing is left to ask, the
 * oldest open requests are asked of a second peer. What is open survives any disconnection.
 */
import type { ChunkFetcher } from '../chunks/interface.ts'
import { WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { ChunkAddress, DeviceId } from '../types.ts'
import { FetchJob, Want, type Priority } from './chunk-wants.ts'
import { ExchangePeer, type ChunkPeer } from './exchange-peer.ts'
import type { ChunkPort, SwarmReport } from './interface.ts'
import { ADDRESSES_MAX } from './wire.ts'

/** Wants that are being worked on; the others wait in line. Bounds the work per arrival. */
const ACTIVE_MAX = 512
/** Chunks received and not yet stored: no more is asked for beyond this many bytes. */
const STORING_BYTES_MAX = 64 * 1024 * 1024
/** Peers asked for one chunk at a time. */
const SOURCES_MAX = 2
/** A request must be this old before a second peer is asked. */
const DUPLICATE_MS_MIN = 100
/** How long a peer that lacked a chunk is not asked about it again. */
const REASK_MS = 2000
/** How long a peer that sent wrong bytes is asked for nothing. */
const LIAR_MS = 10 * 60 * 1000

/** What the exchange needs. */
export interface ChunkExchangeOptions {
  readonly clock: Clock
  readonly chunks: ChunkPort
  readonly absentMsMax: number
  readonly stalledMsMax: number
  readonly onReport: (report: SwarmReport) => void
}

/** Fetches chunks from connected peers. */
export class ChunkExchange implements ChunkFetcher {
  readonly #options: ChunkExchangeOptions
  readonly #peers = new Map<DeviceId, ExchangePeer>()
  readonly #liars = new Map<DeviceId, number>()
  readonly #wants = new Map<ChunkAddress, Want>()
  /** Wants in line, in order of asking; worked on from the front. */
  readonly #waiting = { foreground: new Set<Want>(), background: new Set<Want>() }
  readonly #active = new Set<Want>()
  /** The active wants that are asked of nobody, foreground ones apart. */
  readonly #unassigned = { foreground: new Set<Want>(), background: new Set<Want>() }
  readonly #jobs = new Set<FetchJob>()
  /** Since when nobody is connected; meaningless while somebody is. */
  #aloneSinceMs: number
  #storingBytes = 0
  #isPumpDue = false

  constructor(options: ChunkExchangeOptions) {
    this.#options = options
    this.#aloneSinceMs = options.clock.monotonicMs()
  }

  fetch(
    addresses: readonly ChunkAddress[],
    options: { priority: Priority; signal?: AbortSignal },
  ): Promise<void> {
    const { signal } = options
    if (signal?.aborted) return Promise.reject(new WormholeError('ABORTED', 'fetch aborted'))
    const missing = addresses.filter((address) => !this.#options.chunks.has(address))
    if (missing.length === 0) return Promise.resolve()
    const nowMs = this.#options.clock.monotonicMs()
    if (this.#peers.size === 0 && nowMs - this.#aloneSinceMs >= this.#options.absentMsMax) {
      const alone = new WormholeError('CHUNK_UNAVAILABLE', 'no other device is connected')
      return Promise.reject(alone)
    }
    return new Promise((resolve, reject) => {
      const job = new FetchJob(options.priority, nowMs, (error) => {
        this.#jobs.delete(job)
        signal?.removeEventListener('abort', abort)
        this.#abandon(job)
        if (error) reject(error)
        else resolve()
      })
      const abort = (): void => job.finish(new WormholeError('ABORTED', 'fetch aborted'))
      signal?.addEventListener('abort', abort, { once: true })
      this.#jobs.add(job)
      for (const address of missing) this.#enlist(address, job)
      this.#pumpSoon()
    })
  }

  #enlist(address: ChunkAddress, job: FetchJob): void {
    let want = this.#wants.get(address)
    if (want === undefined) {
      want = new Want(address, job.priority)
      this.#wants.set(address, want)
      this.#waiting[want.priority].add(want)
    } else if (job.priority === 'foreground' && want.priority === 'background') {
      this.#promote(want)
    }
    want.jobs.add(job)
    job.wants.add(want)
  }

  /** A background want that somebody now waits for goes to the front, and is asked for again. */
  #promote(want: Want): void {
    want.priority = 'foreground'
    if (this.#waiting.background.delete(want)) this.#waiting.foreground.add(want)
    else if (this.#unassigned.background.delete(want)) this.#unassigned.foreground.add(want)
    else {
      for (const device of want.sources) {
        this.#peers.get(device)?.get('foreground', [want.address])
      }
    }
  }

  /** A job is over: wants that nobody else waits for are dropped. */
  #abandon(job: FetchJob): void {
    for (const want of job.wants) {
      want.jobs.delete(job)
      if (want.jobs.size === 0 && !want.isStoring) this.#forget(want)
    }
    job.wants.clear()
    this.#pumpSoon()
  }

  #forget(want: Want): void {
    this.#wants.delete(want.address)
    this.#waiting[want.priority].delete(want)
    this.#active.delete(want)
    this.#unassigned[want.priority].delete(want)
    for (const device of want.sources) this.#peers.get(device)?.cancel(want.address)
    want.sources.clear()
  }

  /** A device became reachable, or by a better link. */
  connect(peer: ChunkPeer): void {
    const nowMs = this.#options.clock.monotonicMs()
    const untilMs = this.#liars.get(peer.device)
    if (untilMs !== undefined && untilMs > nowMs) return
    this.#liars.delete(peer.device)
    const known = this.#peers.get(peer.device)
    if (known) known.relink(peer)
    else this.#peers.set(peer.device, new ExchangePeer(peer, nowMs))
    this.#pumpSoon()
  }

  /** A link of the device closed (`isGone`: its last one): what was asked of it is open again. */
  disconnect(device: DeviceId, isGone: boolean): void {
    const peer = this.#peers.get(device)
    if (!peer) return
    for (const address of peer.release()) this.#unassign(address, device)
    peer.dropAsks()
    if (isGone) {
      this.#peers.delete(device)
      if (this.#peers.size === 0) this.#aloneSinceMs = this.#options.clock.monotonicMs()
      for (const want of this.#active) want.knowledge.delete(device)
    }
    this.#pumpSoon()
  }

  /** Received bytes per second of a device, measured while it was asked for chunks. */
  rate(device: DeviceId): number | undefined {
    return this.#peers.get(device)?.measuredRate
  }

  /** Asks one connected device which chunks it has; undefined when it cannot say in time. */
  async ask(
    device: DeviceId,
    addresses: readonly ChunkAddress[],
    timeoutMs: number,
  ): Promise<boolean[] | undefined> {
    const has: boolean[] = []
    for (let at = 0; at < addresses.length; at += ADDRESSES_MAX) {
      const batch = addresses.slice(at, at + ADDRESSES_MAX)
      const answer = await this.#askBatch(device, batch, timeoutMs)
      if (!answer) return undefined
      has.push(...answer)
    }
    return has
  }

  #askBatch(
    device: DeviceId,
    batch: readonly ChunkAddress[],
    timeoutMs: number,
  ): Promise<readonly boolean[] | undefined> {
    return new Promise((resolve) => {
      const peer = this.#peers.get(device)
      if (!peer) return resolve(undefined)
      const timer = this.#options.clock.setTimer(timeoutMs, () => resolve(undefined))
      peer.ask(batch, (has) => {
        timer.cancel()
        resolve(has)
      })
    })
  }

  /** The answer to `ask`. @throws {WormholeError} `PEER_MISBEHAVED`. */
  onHave(device: DeviceId, id: number, has: readonly boolean[]): void {
    this.#peers.get(device)?.onHave(id, has)
  }

  /** A peer has not got what we asked for. */
  onLacking(device: DeviceId, addresses: readonly ChunkAddress[]): void {
    const peer = this.#peers.get(device)
    const nowMs = this.#options.clock.monotonicMs()
    for (const address of addresses) {
      if (!peer?.finish(address)) continue
      this.#wants.get(address)?.knowledge.set(device, { has: false, sinceMs: nowMs })
      this.#unassign(address, device)
    }
    this.#pumpSoon()
  }

  /** A chunk arrived. Those that nobody waits for any more are dropped. */
  onChunk(device: DeviceId, address: ChunkAddress, sealed: Uint8Array): void {
    const peer = this.#peers.get(device)
    const nowMs = this.#options.clock.monotonicMs()
    peer?.arrived(address, sealed.length, nowMs)
    const want = this.#wants.get(address)
    want?.sources.delete(device)
    if (peer && want && !want.isStoring) {
      void this.#store(device, want, sealed)
    }
    this.#pumpSoon()
  }

  /** Never rejects: whatever happens ends in the jobs that wait for the chunk. */
  async #store(device: DeviceId, want: Want, sealed: Uint8Array): Promise<void> {
    want.isStoring = true
    this.#unassigned[want.priority].delete(want)
    this.#storingBytes += sealed.length
    try {
      await this.#options.chunks.write(want.address, sealed)
      this.#forget(want)
      const nowMs = this.#options.clock.monotonicMs()
      for (const job of want.jobs) job.done(want, nowMs)
    } catch (error) {
      want.isStoring = false
      if (error instanceof WormholeError && error.code === 'CHUNK_CORRUPT') {
        this.#expose(device)
        if (want.jobs.size === 0) this.#forget(want)
        else this.#unassign(want.address, device)
      } else {
        this.#forget(want)
        for (const job of [...want.jobs]) job.finish(error as Error)
      }
    } finally {
      this.#storingBytes -= sealed.length
      this.#pumpSoon()
    }
  }

  /** A peer sent wrong bytes: nothing is asked of it for a while. */
  #expose(device: DeviceId): void {
    this.#liars.set(device, this.#options.clock.monotonicMs() + LIAR_MS)
    this.disconnect(device, true)
    this.#options.onReport({
      code: 'PEER_MISBEHAVED',
      device,
      message: 'sent a chunk whose bytes do not match its address; asked for none any more',
    })
  }

  #unassign(address: ChunkAddress, device: DeviceId): void {
    const want = this.#wants.get(address)
    if (!want) return
    want.sources.delete(device)
    if (want.sources.size === 0 && !want.isStoring && this.#active.has(want)) {
      this.#unassigned[want.priority].add(want)
    }
  }

  /** One pump per turn of the event loop, however much happened in it. */
  #pumpSoon(): void {
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    queueMicrotask(() => {
      this.#isPumpDue = false
      this.#pump(this.#options.clock.monotonicMs())
    })
  }

  #pump(nowMs: number): void {
    this.#activate('foreground')
    this.#activate('background')
    for (const peer of this.#peers.values()) {
      this.#inquire(peer, nowMs)
      if (this.#storingBytes > STORING_BYTES_MAX) continue
      this.#fill(peer, 'foreground', nowMs)
      if (peer.isHungry()) this.#fill(peer, 'background', nowMs)
      this.#duplicate(peer, nowMs)
    }
  }

  #activate(priority: Priority): void {
    const waiting = this.#waiting[priority]
    for (const want of waiting) {
      // Foreground wants may exceed the bound: they are few and somebody waits.
      if (priority === 'background' && this.#active.size >= ACTIVE_MAX) return
      waiting.delete(want)
      this.#active.add(want)
      this.#unassigned[priority].add(want)
    }
  }

  /** Asks a peer about the active wants it was not asked about. */
  #inquire(peer: ExchangePeer, nowMs: number): void {
    if (peer.isAsking) return
    const batch: ChunkAddress[] = []
    for (const want of this.#active) {
      const known = want.knowledge.get(peer.device)
      const isStale = known !== undefined && !known.has && nowMs - known.sinceMs > REASK_MS
      if (known !== undefined && !isStale) continue
      batch.push(want.address)
      if (batch.length === ADDRESSES_MAX) break
    }
    if (batch.length === 0) return
    peer.ask(batch, (has) => {
      if (!has) return
      const sinceMs = this.#options.clock.monotonicMs()
      for (const [index, address] of batch.entries()) {
        const want = this.#wants.get(address)
        want?.knowledge.set(peer.device, { has: has[index] === true, sinceMs })
      }
      this.#pumpSoon()
    })
  }

  /** Gives a peer as much as its window takes. */
  #fill(peer: ExchangePeer, priority: Priority, nowMs: number): void {
    const batch: ChunkAddress[] = []
    for (const want of this.#unassigned[priority]) {
      if (!peer.hasRoom(batch.length)) break
      if (!this.#mayServe(peer, want)) continue
      batch.push(want.address)
      want.sources.add(peer.device)
      want.absentSinceMs = undefined
      this.#unassigned[priority].delete(want)
      if (batch.length === ADDRESSES_MAX) break
    }
    if (batch.length > 0) peer.request(priority, batch, nowMs)
  }

  /**
   * Whether to ask a peer for a want: it has it; or somebody waits and nobody is known to have it
   * yet, so that a single read costs one round trip, not two.
   */
  #mayServe(peer: ExchangePeer, want: Want): boolean {
    const known = want.knowledge.get(peer.device)
    if (known) return known.has
    if (want.priority === 'background') return false
    for (const other of want.knowledge.values()) if (other.has) return false
    return true
  }

  /** End game: an idle peer is asked for what others were asked long ago. */
  #duplicate(peer: ExchangePeer, nowMs: number): void {
    if (this.#unassigned.foreground.size > 0 || this.#unassigned.background.size > 0) return
    if (this.#waiting.background.size > 0) return
    for (const want of this.#active) {
      if (!peer.hasRoom(0)) return
      if (want.isStoring || want.sources.size === 0 || want.sources.size >= SOURCES_MAX) continue
      if (want.sources.has(peer.device) || !want.knowledge.get(peer.device)?.has) continue
      const [device] = want.sources
      const askedMs = this.#peers.get(device as DeviceId)?.askedMs(want.address) ?? nowMs
      const expectedMs = Math.max(DUPLICATE_MS_MIN, 2 * peer.expectedMs())
      if (nowMs - askedMs < expectedMs) continue
      want.sources.add(peer.device)
      peer.request(want.priority, [want.address], nowMs)
    }
  }

  /** Whether something is being fetched. */
  get isBusy(): boolean {
    return this.#jobs.size > 0
  }

  /** To be called a few times a second: stalls, absent chunks, time-outs. */
  tick(nowMs: number): void {
    for (const [device, peer] of this.#peers) {
      if (!peer.isStalled(nowMs)) continue
      for (const address of peer.release()) {
        this.#wants.get(address)?.knowledge.set(device, { has: false, sinceMs: nowMs })
        this.#unassign(address, device)
      }
    }
    for (const want of this.#active) this.#checkAbsent(want, nowMs)
    for (const job of this.#jobs) {
      if (nowMs - job.progressMs > this.#options.stalledMsMax) {
        const left = job.wants.size
        job.finish(
          new WormholeError('CHUNK_UNAVAILABLE', `no progress: ${left} chunks did not arrive`),
        )
      }
    }
    if (this.#jobs.size > 0) this.#pump(nowMs)
  }

  /** A chunk that no connected device has is given up for now; the others go on. */
  #checkAbsent(want: Want, nowMs: number): void {
    if (want.isStoring || want.sources.size > 0) {
      want.absentSinceMs = undefined
      return
    }
    for (const [device, peer] of this.#peers) {
      const known = want.knowledge.get(device)
      if (known ? known.has : peer.isAsking) {
        want.absentSinceMs = undefined
        return
      }
    }
    want.absentSinceMs ??= this.#peers.size === 0 ? this.#aloneSinceMs : nowMs
    if (nowMs - want.absentSinceMs < this.#options.absentMsMax) return
    this.#forget(want)
    for (const job of [...want.jobs]) job.miss(want, nowMs)
  }

  /** Fails everything that is open. */
  close(): void {
    const closed = new WormholeError('VOLUME_CLOSED', 'the swarm is closed')
    for (const job of [...this.#jobs]) job.finish(closed)
    for (const peer of this.#peers.values()) peer.dropAsks()
    this.#peers.clear()
  }
}
