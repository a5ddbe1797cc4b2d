/**
 * One volume's connections to its other devices: composition of transports, sessions, replicator,
 * chunk exchange, dialler and admission. It carries out what those decide.
 *
 * Invariants: heads are announced only when durable (W2, by `LogPort.onHead`); bytes of chunks
 * count only once the store has checked them (R1, in `chunk-exchange.ts`); a link to a key that is
 * neither a member's nor an open invite's carries nothing.
 */
import type { ChunkFetcher } from '../chunks/interface.ts'
import { WormholeError } from '../errors.ts'
import type { Timer } from '../system.ts'
import type { ChunkAddress, DeviceId, Frontier } from '../types.ts'
import { AddressBook } from './address-book.ts'
import { AdmissionDesk } from './admission.ts'
import { CatchUp } from './catch-up.ts'
import { ChunkExchange } from './chunk-exchange.ts'
import { Dialer } from './dialer.ts'
import { Farewells } from './farewells.ts'
import type {
  ChunkHolder,
  KnownAddresses,
  Link,
  PeerInfo,
  SwarmLimits,
  SwarmOptions,
  SyncAnswer,
} from './interface.ts'
import { LogWork } from './log-work.ts'
import { NetworkWatch } from './network-watch.ts'
import { deviceOf, peerInfo, Peers } from './peers.ts'
import { PublishAsks } from './publish-asks.ts'
import { Pulse } from './pulse.ts'
import { Replicator, type Effect } from './replicator.ts'
import { Reporter } from './reports.ts'
import { Session, type SessionHandlers } from './session.ts'
import { syncRound, type SyncContext } from './sync-round.ts'
import { INSTANCE_BYTES, type Message } from './wire.ts'

/** Pause before heads of other devices' feeds are passed on, so that several go as one. */
const FLUSH_MS = 40
/** Pause before changed addresses are handed out to be persisted. */
const SAVE_MS = 2000

const LIMITS: SwarmLimits = {
  silenceMsMax: 9000,
  redialMsMax: 1500,
  absentMsMax: 4000,
  stalledMsMax: 20_000,
}

/** See the file header. */
export class Swarm implements ChunkFetcher {
  readonly #options: SwarmOptions
  readonly #limits: SwarmLimits
  readonly #replicator: Replicator
  readonly #logWork: LogWork
  readonly #catchUp: CatchUp
  readonly #exchange: ChunkExchange
  readonly #book: AddressBook
  readonly #dialer: Dialer
  readonly #desk: AdmissionDesk
  readonly #farewells: Farewells
  readonly #peers = new Peers()
  readonly #instance: string
  /** Sessions that have not said hello. */
  readonly #strangers = new Set<Session>()
  readonly #publishAsks = new PublishAsks()
  readonly #listeners = new Set<() => void>()
  readonly #handlers: SessionHandlers
  readonly #reporter: Reporter
  readonly #network: NetworkWatch
  readonly #pulse: Pulse
  #flush: Timer | undefined
  #save: Timer | undefined
  #isClosed = false

  private constructor(options: SwarmOptions, own: Frontier) {
    const { clock, random, device, volume, members, transports } = options
    this.#options = options
    this.#instance = Buffer.from(random.bytes(INSTANCE_BYTES)).toString('hex')
    this.#limits = { ...LIMITS, ...options.limits }
    this.#replicator = new Replicator(device, own)
    this.#pulse = new Pulse(clock, (nowMs) => this.#beat(nowMs))
    this.#network = new NetworkWatch(options.networkFingerprint ?? (() => ''))
    this.#reporter = new Reporter(clock, options.onReport)
    const onEffects = (effects: readonly Effect[]): void => {
      if (this.#isClosed) return
      this.#carryOut(effects)
      this.#changed()
    }
    this.#logWork = new LogWork({
      log: options.log,
      clock,
      replicator: this.#replicator,
      reporter: this.#reporter,
      onEffects,
    })
    this.#catchUp = new CatchUp({
      ...options,
      peers: this.#peers,
      replicator: this.#replicator,
      reporter: this.#reporter,
      onEffects,
    })
    this.#exchange = new ChunkExchange({
      clock,
      chunks: options.chunks,
      absentMsMax: this.#limits.absentMsMax,
      stalledMsMax: this.#limits.stalledMsMax,
      onReport: ({ code, device, message }) =>
        this.#reporter.report({ code, device: device && deviceOf(device), message }),
    })
    this.#book = new AddressBook(options.addresses ?? [], () => this.#saveSoon())
    const pauseMsMax = this.#limits.redialMsMax
    const book = this.#book
    this.#dialer = new Dialer({ self: device, clock, random, book, transports, pauseMsMax })
    const addresses = (): KnownAddresses[] => this.#knownAddresses()
    this.#desk = new AdmissionDesk({ volume, members, clock, addresses })
    const instance = this.#instance
    this.#farewells = new Farewells({ ...options, ...this.#limits, instance })
    this.#handlers = {
      onReady: (session, told) => this.#onReady(session, told),
      onMessage: (session, message) => this.#onMessage(session, message),
      onDrain: (session) => this.#onDrain(session),
      onClose: (session, error) => this.#onClose(session, error),
    }
  }

  /**
   * Starts listening, looking and dialling. Transports and beacon belong to the swarm from now on.
   *
   * @throws {WormholeError} `IO_ERROR` when a transport cannot listen; nothing runs then.
   */
  static async open(options: SwarmOptions): Promise<Swarm> {
    const swarm = new Swarm(options, await options.log.frontier())
    try {
      await swarm.#start()
    } catch (error) {
      await swarm.close()
      throw error
    }
    return swarm
  }

  async #start(): Promise<void> {
    const { transports, members, log, beacon, clock } = this.#options
    const isKnown = (key: string): boolean =>
      members.isMember(key as DeviceId) || members.isOpenInvite(key)
    const handlers = {
      isAllowed: (key: string): boolean =>
        !this.#isClosed && (isKnown(key) || this.#farewells.isRevoked(key)),
      onLink: (link: Link): void => this.#onLink(link),
    }
    await Promise.all(transports.map((transport) => transport.start(handlers)))
    log.onHead((feed, head) => {
      if (this.#isClosed) return
      this.#carryOut(this.#replicator.onOwnHead(feed, head, clock.monotonicMs()))
    })
    await beacon?.start(({ device, address }) => {
      if (device === undefined || !members.isMember(device)) return
      this.#book.learn(device, [address])
    })
    this.membersChanged()
    this.#pulse.start()
    void this.#catchUp.start()
  }

  /** `host:port` where peers reach this device now: hints for an invite. */
  addresses(): string[] {
    return this.#options.transports.flatMap((transport) => transport.addresses())
  }

  /** To be called when membership or invites changed: closes what is not allowed any more. */
  membersChanged(): void {
    if (this.#isClosed) return
    const { members, transports } = this.#options
    for (const session of this.#sessions()) {
      if (!members.isMember(session.device)) this.#farewells.end(session)
    }
    this.#book.keepOnly((device) => members.isMember(device))
    this.#pulse.wake()
    const inviteKeys = members.openInvites()
    for (const transport of transports) transport.setInvites?.(inviteKeys)
    this.#updateBeacon()
  }

  /** As `ChunkFetcher` says. When chunks that nobody has fail: `SwarmLimits.absentMsMax`. */
  fetch(
    addresses: readonly ChunkAddress[],
    options: { priority: 'foreground' | 'background'; signal?: AbortSignal },
  ): Promise<void> {
    if (this.#isClosed) {
      return Promise.reject(new WormholeError('VOLUME_CLOSED', 'the swarm is closed'))
    }
    this.#pulse.wake()
    return this.#exchange.fetch(addresses, options)
  }

  /** Which connected devices have which of these chunks. Who cannot say in time is left out. */
  async where(
    addresses: readonly ChunkAddress[],
    options: { timeoutMs: number },
  ): Promise<ChunkHolder[]> {
    const answers = this.#otherMembers().map(async ({ device, name }) => {
      const has = await this.#exchange.ask(device, addresses, options.timeoutMs)
      return has && { device, name, has }
    })
    return (await Promise.all(answers)).filter((answer) => answer !== undefined)
  }

  /** Known members other than this device, connected or not. */
  peers(): PeerInfo[] {
    return this.#otherMembers().map(({ device, name }) => {
      const peers = this.#peers.of(device)
      return {
        ...peerInfo(peers, this.#book.of(device)[0] ?? ''),
        device,
        name,
        receiveBytesPerSecond: this.#exchange.rate(device),
        isInSync: this.#replicator.isInSync(this.#peers.keyOf(device)),
      }
    })
  }

  /** Network change: forget back-offs, check links, look again now. */
  async refresh(): Promise<void> {
    if (this.#isClosed) return
    for (const session of this.#sessions()) session.probe()
    this.#pulse.wake()
    this.#dialer.hurry()
    this.#updateBeacon()
    this.#options.beacon?.refresh()
    await Promise.all(this.#options.transports.map((transport) => transport.refresh()))
  }

  /**
   * Asks EVERY other member to publish what it has pending, and waits until everyone who answered
   * has what everyone who answered had. One answer per other member.
   *
   * @throws {WormholeError} `ABORTED`; whatever publishing here throws.
   */
  syncRound(options: { timeoutMs: number; signal?: AbortSignal }): Promise<SyncAnswer[]> {
    const refreshed = this.refresh()
    const context: SyncContext = {
      clock: this.#options.clock,
      members: () => this.#otherMembers(),
      isConnected: (device) => this.#peers.isConnected(device),
      reach: (device) =>
        this.#peers.isConnected(device)
          ? Promise.resolve()
          : Promise.all([this.#dialer.dialNow(device), refreshed]),
      publish: () => this.#publish(),
      askPublish: (device) =>
        this.#publishAsks.open(device, (id) =>
          this.#peers.of(device)[0]?.send({ type: 'publish', id }),
        ),
      ownFrontier: () => this.#replicator.frontier(),
      peerFrontier: (device) => this.#replicator.peerFrontier(this.#peers.keyOf(device)),
      onChange: (listener) => {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      },
    }
    return syncRound(context, options)
  }

  /** Idempotent. Open fetches fail with `VOLUME_CLOSED`. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#pulse.stop()
    for (const timer of [this.#flush, this.#save]) timer?.cancel()
    if (this.#save) this.#options.onAddresses?.(this.#book.all())
    this.#dialer.close()
    this.#exchange.close()
    this.#catchUp.close()
    this.#desk.close()
    this.#farewells.close()
    for (const session of this.#sessions()) session.close()
    const parts = [...this.#options.transports, this.#options.beacon]
    const closed = await Promise.allSettled(parts.map((part) => part?.close()))
    const errors = closed.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
    if (errors.length > 0) throw new AggregateError(errors, 'closing the swarm failed')
  }

  // Links and sessions

  #onLink(link: Link): void {
    const { members, volume, clock } = this.#options
    const key = link.remoteKey
    if (this.#isClosed || key === this.#options.device) link.close()
    else if (members.isMember(key as DeviceId)) {
      const silenceMsMax = this.#limits.silenceMsMax
      const addresses = this.addresses()
      const [handlers, instance] = [this.#handlers, this.#instance]
      const session = { link, volume, clock, silenceMsMax, instance, addresses, handlers }
      this.#strangers.add(new Session(session))
      this.#pulse.wake()
    } else if (members.isOpenInvite(key)) this.#desk.serve(link)
    else if (this.#farewells.isRevoked(key)) this.#farewells.serve(link)
    else link.close()
  }

  #onReady(session: Session, told: readonly string[]): void {
    this.#strangers.delete(session)
    this.#book.learnFromLink(session.link, told)
    const peer = this.#peers.add(session, this.#options)
    this.#options.onPeer?.(session.device)
    this.#exchange.connect(peer)
    session.send({ type: 'addresses', known: this.#knownAddresses() })
    this.#carryOut(this.#replicator.onConnect(peer.device))
    this.#catchUp.connected(peer.device)
    this.#changed()
  }

  #onMessage(session: Session, message: Message): void {
    const nowMs = this.#options.clock.monotonicMs()
    const peer = this.#peers.peerOf(session)
    const servers = peer?.servers(session)
    if (!peer || !servers) return
    const { device } = peer
    if (this.#catchUp.onMessage(session, device, message)) return
    switch (message.type) {
      case 'addresses':
        for (const known of message.known) {
          const { members, device: self } = this.#options
          if (known.device !== self) this.#book.hear(known, members.isMember(known.device))
        }
        return
      case 'publish':
        return void this.#answerPublish(session, message.id)
      case 'farewell':
        return this.#options.members.onFarewell?.(message)
      case 'published':
        this.#carryOut(this.#replicator.onFrontier(device, message.frontier, nowMs))
        this.#publishAsks.answer(session.device, message.id, message.frontier)
        break
      case 'frontier': {
        const isLate = peer.newest() !== session
        this.#carryOut(this.#replicator.onFrontier(device, message.frontier, nowMs, isLate))
        break
      }
      case 'head':
        this.#carryOut(this.#replicator.onHead(device, message.feed, message.head, nowMs))
        break
      case 'want':
        return servers.log.want(message)
      case 'entries':
        return this.#carryOut(this.#replicator.onEntries(device, message, nowMs))
      case 'ask': {
        const has = message.addresses.map((address) => this.#options.chunks.has(address))
        return void session.send({ type: 'have', id: message.id, has })
      }
      case 'have':
        return this.#exchange.onHave(device, message.id, message.has)
      case 'get':
        return servers.chunks.get(message.priority, message.addresses)
      case 'cancel':
        return servers.chunks.cancel(message.addresses)
      case 'chunk':
        return this.#exchange.onChunk(device, message.address, message.sealed)
      case 'lacking':
        return this.#exchange.onLacking(device, message.addresses)
      default:
        throw new WormholeError('PEER_MISBEHAVED', `${message.type} does not belong here`)
    }
    this.#changed()
  }

  #onDrain(session: Session): void {
    const servers = this.#peers.peerOf(session)?.servers(session)
    servers?.log.wake()
    servers?.chunks.wake()
  }

  #onClose(session: Session, error: Error | undefined): void {
    const { device } = session
    this.#strangers.delete(session)
    this.#pulse.wake()
    if (error instanceof WormholeError && error.code !== 'PEER_UNREACHABLE') {
      this.#dialer.holdOff(device)
      this.#reporter.report({ code: error.code, device, message: error.message })
    }
    const peer = this.#peers.peerOf(session)
    if (!peer) return
    this.#peers.remove(session)
    this.#publishAsks.drop(device)
    const isGone = !peer.isConnected
    this.#exchange.disconnect(peer.device, isGone)
    if (isGone) {
      this.#catchUp.disconnected(peer.device)
      this.#carryOut(this.#replicator.onDisconnect(peer.device, this.#options.clock.monotonicMs()))
      if (this.#peers.isEmpty) this.#options.onAlone?.()
    } else {
      // What was on its way on the closed link is lost: both sides start from their frontiers.
      this.#carryOut(this.#replicator.onRelink(peer.device))
    }
    this.#changed()
  }

  #sessions(): Session[] {
    return [...this.#strangers, ...this.#peers.sessions()]
  }

  #otherMembers(): { device: DeviceId; name: string }[] {
    const { members, device } = this.#options
    return members.devices().filter((member) => member.device !== device)
  }

  // Log

  #carryOut(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.type === 'send') this.#peers.get(effect.to)?.send(effect.message)
      else if (effect.type === 'store') void this.#logWork.store(effect)
      else if (effect.type === 'prove') void this.#logWork.prove(effect)
      else this.#flushSoon()
    }
    if (effects.length > 0) this.#changed()
  }

  #flushSoon(): void {
    if (this.#flush) return
    this.#flush = this.#options.clock.setTimer(FLUSH_MS, () => {
      this.#flush = undefined
      this.#carryOut(this.#replicator.flushHeads())
    })
  }

  async #publish(): Promise<Frontier> {
    const { log, clock } = this.#options
    await log.publish()
    for (const [feed, head] of await log.frontier()) {
      this.#carryOut(this.#replicator.onOwnHead(feed, head, clock.monotonicMs()))
    }
    return new Map(this.#replicator.frontier())
  }

  /**
   * What cannot be published here is not the peer's business (and has been reported here, a bug
   * too): it gets what there is.
   */
  async #answerPublish(session: Session, id: number): Promise<void> {
    const frontier = await this.#publish().catch(() => this.#replicator.frontier())
    session.send({ type: 'published', id, frontier })
  }

  // Time and addresses

  /** Looks at everything that needs time; returns whether nothing is under way. */
  #beat(nowMs: number): boolean {
    const sessions = this.#sessions()
    for (const session of sessions) session.tick(nowMs)
    for (const peer of this.#peers.values()) {
      peer.closeSuspects()
      if (this.#options.device < peer.device) peer.closeDuplicates(nowMs)
    }
    this.#watchTwins(nowMs)
    this.#carryOut(this.#replicator.onTick(nowMs))
    this.#exchange.tick(nowMs)
    this.#catchUp.tick(nowMs)
    const absent = this.#peers.absent(this.#otherMembers())
    this.#dialer.tick(absent, nowMs)
    if (this.#network.isChanged(nowMs)) void this.refresh()
    if (absent.length > 0 || this.#exchange.isBusy || this.#replicator.isFetching) return false
    return sessions.every((session) => session.isReady && !session.isProbed)
  }

  #watchTwins(nowMs: number): void {
    for (const device of this.#peers.twins(nowMs)) {
      const name = this.#otherMembers().find((member) => member.device === device)?.name
      const message = `device ${name ?? device.slice(0, 8)} runs in two places at once`
      this.#reporter.report({ code: 'FEED_FORKED', device, message })
    }
  }

  #updateBeacon(): void {
    const { beacon, members } = this.#options
    beacon?.update({ addresses: this.addresses(), inviteKeys: members.openInvites() })
  }

  /** This device first. */
  #knownAddresses(): KnownAddresses[] {
    const own = { device: this.#options.device, addresses: this.addresses() }
    return [own, ...this.#book.all()]
  }

  #saveSoon(): void {
    if (this.#isClosed) return
    this.#save ??= this.#options.clock.setTimer(SAVE_MS, () => {
      this.#save = undefined
      this.#options.onAddresses?.(this.#book.all())
    })
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener()
  }
}
