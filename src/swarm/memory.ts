/**
 * `Transport` inside one process: a simulated network with delay, bandwidth, partitions and broken
 * links, deterministic with a simulated clock. Links behave like TCP: ordered and reliable; what is
 * sent into a partition waits and is delivered when it heals, unless a side has given up by then.
 */
import { WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { Route, Transport, TransportHandlers } from './interface.ts'
import { BaseLink } from './link.ts'

/** Bytes under way on a link before `send` says wait. */
const QUEUED_BYTES_MAX = 256 * 1024

/** How messages travel. */
export interface MemoryNetworkOptions {
  readonly clock: Clock
  readonly delayMs: number
  /** Of each direction of each link; unlimited when undefined. */
  readonly bytesPerMs?: number
}

class MemoryLink extends BaseLink {
  readonly #network: MemoryNetwork
  /** Names of the machines at its ends. */
  readonly localHost: string
  readonly remoteHost: string
  peer!: MemoryLink
  receivedBytes = 0
  sentBytes = 0
  #queued: { message: Buffer; isClose: boolean }[] = []
  #queuedBytes = 0
  #freeAtMs = 0
  #isDrainDue = false
  /** Nothing arrives any more, and nobody is told. */
  isStuck = false

  constructor(
    network: MemoryNetwork,
    about: {
      localHost: string
      remoteHost: string
      remoteKey: string
      isInitiator: boolean
      route: Route
    },
  ) {
    super({ ...about, remoteAddress: network.addressOf(about.remoteHost) })
    this.#network = network
    this.localHost = about.localHost
    this.remoteHost = about.remoteHost
  }

  send(parts: readonly Uint8Array[]): boolean {
    const length = this.lengthOf(parts)
    if (this.isClosed) return true
    this.sentBytes += length
    this.#enqueue({ message: Buffer.concat(parts), isClose: false })
    if (this.#queuedBytes < QUEUED_BYTES_MAX) return true
    this.#isDrainDue = true
    return false
  }

  close(error?: Error): void {
    if (this.finish(error)) this.#enqueue({ message: Buffer.alloc(0), isClose: true })
  }

  #enqueue(item: { message: Buffer; isClose: boolean }): void {
    this.#queued.push(item)
    this.#queuedBytes += item.message.length
    const { clock, delayMs, bytesPerMs } = this.#network.options
    const nowMs = clock.monotonicMs()
    const takesMs = bytesPerMs === undefined ? 0 : item.message.length / bytesPerMs
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + takesMs
    clock.setTimer(this.#freeAtMs - nowMs + delayMs, () => this.pump())
  }

  /** Delivers the next message, if the network lets it through. */
  pump(): void {
    if (this.isStuck || this.#network.isCut(this.localHost, this.remoteHost)) return
    const item = this.#queued.shift()
    if (!item) return
    this.#queuedBytes -= item.message.length
    this.peer.arrive(item)
    if (this.#isDrainDue && this.#queuedBytes < QUEUED_BYTES_MAX && !this.isClosed) {
      this.#isDrainDue = false
      this.onDrain()
    }
  }

  /** What waited for the partition to heal. */
  get waiting(): number {
    return this.#queued.length
  }

  arrive(item: { message: Buffer; isClose: boolean }): void {
    this.receivedBytes += item.message.length
    if (item.isClose) {
      this.#network.forget(this)
      this.close()
    } else this.deliver(item.message)
  }

  /** The link breaks at both ends, unless already closed. */
  breakNow(error: Error): void {
    this.#queued = []
    this.finish(error)
  }
}

interface Host {
  readonly key: string
  readonly address: string
  readonly isListening: boolean
  handlers: TransportHandlers | undefined
}

/** The simulated network. */
export class MemoryNetwork {
  readonly options: MemoryNetworkOptions
  readonly #hosts = new Map<string, Host>()
  readonly #links = new Set<MemoryLink>()
  #isCut: (from: string, to: string) => boolean = () => false

  constructor(options: MemoryNetworkOptions) {
    this.options = options
  }

  /**
   * The transport of one device. Its address is `10.0.x.y:1`, in order of creation; a device that
   * starts again keeps it. `host` names the machine, if several have the key; by default the key
   * does.
   */
  transport(
    key: string,
    options: { isListening: boolean; route?: Route; host?: string },
  ): Transport {
    const number = this.#hosts.size + 1
    const name = options.host ?? key
    const host: Host = {
      key,
      address: this.#hosts.get(name)?.address ?? `10.0.${number >>> 8}.${number & 255}:1`,
      isListening: options.isListening,
      handlers: undefined,
    }
    this.#hosts.set(name, host)
    return new MemoryTransport(this, name, host, options.route ?? 'tls')
  }

  addressOf(host: string): string {
    return this.#hosts.get(host)?.address ?? ''
  }

  /** Only members of one group reach each other; who is in none is alone with its like. */
  partition(groups: readonly (readonly string[])[]): void {
    const groupOf = (host: string): number => groups.findIndex((group) => group.includes(host))
    this.cut((from, to) => groupOf(from) !== groupOf(to))
  }

  /** What `isCut` says does not get through; it need not be the same in both directions. */
  cut(isCut: (from: string, to: string) => boolean): void {
    this.#isCut = isCut
  }

  /**
   * Everyone reaches everyone; what waited is delivered. `isForgotten`: links that were cut stay
   * silent for ever, as when a router in between has forgotten them.
   */
  heal(options: { isForgotten?: boolean } = {}): void {
    for (const link of options.isForgotten ? this.#links : []) {
      link.isStuck ||= this.isCut(link.localHost, link.remoteHost)
    }
    this.#isCut = () => false
    for (const link of this.#links) {
      for (let count = link.waiting; count > 0; count--) {
        this.options.clock.setTimer(this.options.delayMs, () => link.pump())
      }
    }
  }

  /** A link that is closed at both ends, or will be once its close has arrived. */
  forget(link: MemoryLink): void {
    this.#links.delete(link)
  }

  isCut(from: string, to: string): boolean {
    return this.#isCut(from, to)
  }

  /** A device loses its power: it accepts nothing more, and its peers are not told. */
  vanish(name: string): void {
    const host = this.#hosts.get(name)
    if (host) host.handlers = undefined
    for (const link of this.#links) {
      if (link.remoteHost === name || link.localHost === name) link.isStuck = true
    }
  }

  /** A device's process dies: its kernel closes the links, and it accepts nothing more. */
  die(name: string): void {
    const host = this.#hosts.get(name)
    if (host) host.handlers = undefined
    this.breakLinks(name)
  }

  /** Breaks every link of a device at both ends. */
  breakLinks(name: string): void {
    const error = new WormholeError('PEER_UNREACHABLE', 'link broken')
    for (const link of this.#links) {
      if (link.remoteHost !== name && link.localHost !== name) continue
      this.#links.delete(link)
      link.breakNow(error)
    }
  }

  /** Makes a link between two devices and tells both. @throws {WormholeError} as `dial`. */
  connect(from: string, to: { key?: string; address?: string }, route: Route): void {
    const all = [...this.#hosts].filter(([, host]) =>
      to.address === undefined ? host.key === to.key : host.address === to.address,
    )
    const [name, host] = all.find(([, { handlers }]) => handlers) ?? []
    const isCut = name !== undefined && (this.isCut(from, name) || this.isCut(name, from))
    if (!name || !host?.handlers || !host.isListening || isCut) {
      throw new WormholeError('PEER_UNREACHABLE', `${to.address ?? to.key} does not answer`)
    }
    const self = this.#hosts.get(from) as Host
    const { key } = host
    const isExpected = to.key === undefined || to.key === key
    if (!isExpected || !self.handlers?.isAllowed(key) || !host.handlers.isAllowed(self.key)) {
      throw new WormholeError('NOT_A_MEMBER', `${key.slice(0, 8)} does not accept this device`)
    }
    const out = new MemoryLink(this, {
      localHost: from,
      remoteHost: name,
      remoteKey: key,
      isInitiator: true,
      route,
    })
    const inward = new MemoryLink(this, {
      localHost: name,
      remoteHost: from,
      remoteKey: self.key,
      isInitiator: false,
      route,
    })
    out.peer = inward
    inward.peer = out
    this.#links.add(out).add(inward)
    host.handlers.onLink(inward)
    self.handlers.onLink(out)
  }
}

class MemoryTransport implements Transport {
  readonly route: Route
  readonly #network: MemoryNetwork
  readonly #name: string
  readonly #host: Host

  constructor(network: MemoryNetwork, name: string, host: Host, route: Route) {
    this.#network = network
    this.#name = name
    this.#host = host
    this.route = route
  }

  async start(handlers: TransportHandlers): Promise<void> {
    this.#host.handlers = handlers
  }

  addresses(): string[] {
    return this.#host.isListening ? [this.#host.address] : []
  }

  async dial(
    target: { readonly key?: string; readonly address?: string },
    options: { readonly signal: AbortSignal },
  ): Promise<void> {
    const { clock, delayMs } = this.#network.options
    await new Promise<void>((resolve) => clock.setTimer(2 * delayMs, resolve))
    if (options.signal.aborted) throw new WormholeError('ABORTED', 'dial aborted')
    this.#network.connect(this.#name, target, this.route)
  }

  async refresh(): Promise<void> {}

  async close(): Promise<void> {
    this.#host.handlers = undefined
    this.#network.breakLinks(this.#name)
  }
}
