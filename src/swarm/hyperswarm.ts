/**
 * `Transport` over Hyperswarm: discovery through a DHT, hole punching, and Noise-encrypted streams
 * over UDX, authenticated by the same Ed25519 device keys as TLS. It reaches devices without a
 * known address; bulk goes over TLS where there is a choice (a sixth of the CPU per byte).
 *
 * Facts behind the options: with fewer than about six DHT nodes the default options half-open and
 * hang, so with own bootstrap nodes every device is declared open (`firewalled: false`), which must
 * never be done with the public DHT behind a NAT. Hyperswarm bans a key that its firewall refused
 * once and for all; here the ban is lifted at once, because a stranger may be a member a moment
 * later. Its own retries back off to ten minutes, hence `refresh`.
 */
import { isIPv4 } from 'node:net'
import DHT from 'hyperdht'
import Hyperswarm, { type Discovery, type SwarmConnection } from 'hyperswarm'
import { fromErrno, WormholeError } from '../errors.ts'
import { hash, type SigningKeys } from '../seal.ts'
import { sleep, type Clock, type Timer } from '../system.ts'
import type { Transport, TransportHandlers } from './interface.ts'
import { BaseLink, joinAddress } from './link.ts'

/** Pause between two attempts to reach a key while somebody waits. */
const ATTEMPT_MS = 700
/**
 * When a meeting point is looked at again: whoever came a moment later is found soon. Hyperswarm
 * itself looks every ten minutes. A joiner keeps looking at the pace of the first.
 */
const LOOK_AGAIN_MS = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000]
/** How long leaving the DHT politely may take. */
const FAREWELL_MS_MAX = 1500
/** And closing without leaving. */
const FORCED_MS_MAX = 500
/** How long looking again may take before the caller goes on. */
const REFRESH_MS_MAX = 3000
/** How long a closing link may take to deliver what was sent. */
const LINGER_MS_MAX = 1000

/** Options of `HyperswarmTransport`. */
export interface HyperswarmOptions {
  /** The device's keys, or an invite's. */
  readonly keys: SigningKeys
  /** Meeting points of the volume, 32 bytes each; none for a joiner. */
  readonly topics: readonly Buffer[]
  /** A joiner's invite key: it looks for members at that invite's meeting point. */
  readonly lookFor?: string
  /** Own bootstrap nodes (`host:port`), or the public ones. */
  readonly bootstrap: readonly string[] | 'default'
  /** Address to bind to; `0.0.0.0` for all. */
  readonly host: string
  readonly clock: Clock
}

/** Where joiners and members meet before admission: known to whoever has the invite. */
export function inviteTopic(inviteKey: string): Buffer {
  return hash(Buffer.from('wormhole/1/invite topic', 'utf8'), Buffer.from(inviteKey, 'hex'))
}

class HyperswarmLink extends BaseLink {
  readonly #connection: SwarmConnection
  readonly #clock: Clock

  constructor(connection: SwarmConnection, clock: Clock) {
    const raw = connection.rawStream
    super({
      remoteKey: connection.remotePublicKey.toString('hex'),
      route: 'hyperswarm',
      isInitiator: connection.isInitiator,
      remoteAddress: joinAddress(raw?.remoteHost ?? '', raw?.remotePort ?? 0),
    })
    this.#connection = connection
    this.#clock = clock
    connection.on('data', (message) => this.deliver(message))
    connection.on('drain', () => this.onDrain())
    connection.on('error', (error) => this.finish(error))
    connection.on('end', () => this.close())
    connection.on('close', () => this.finish(undefined))
  }

  get receivedBytes(): number {
    return this.#connection.rawBytesRead
  }

  get sentBytes(): number {
    return this.#connection.rawBytesWritten
  }

  send(parts: readonly Uint8Array[]): boolean {
    this.lengthOf(parts)
    if (this.isClosed) return true
    return this.#connection.write(Buffer.concat(parts))
  }

  close(error?: Error): void {
    if (!this.finish(error)) return
    this.#connection.end()
    this.#clock.setTimer(LINGER_MS_MAX, () => this.#connection.destroy())
  }
}

/** Hyperswarm connections of one volume on this device, or of a joiner. */
export class HyperswarmTransport implements Transport {
  readonly route = 'hyperswarm'
  readonly #options: HyperswarmOptions
  readonly #discoveries = new Map<string, Discovery>()
  /** Keys with an open link, and who waits for one. */
  readonly #open = new Map<string, number>()
  readonly #waiting = new Map<string, Set<() => void>>()
  #handlers: TransportHandlers | undefined
  #topics: readonly Buffer[]
  #inviteKeys: readonly string[] = []
  #swarm: Hyperswarm | undefined
  #dht: DHT | undefined

  constructor(options: HyperswarmOptions) {
    this.#options = options
    this.#topics = options.topics
  }

  async start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers
    const { keys, bootstrap, host, lookFor } = this.#options
    const dht =
      bootstrap === 'default'
        ? new DHT({ keyPair: keys, host })
        : new DHT({ keyPair: keys, host, bootstrap, firewalled: false, port: [0, 0] })
    const swarm = new Hyperswarm({
      keyPair: keys,
      dht,
      firewall: (key) => !handlers.isAllowed(key.toString('hex')),
    })
    swarm.on('ban', (peer) => {
      peer.ban(false)
      if (!peer.explicit && !peer.queued) swarm.peers.delete(peer.publicKey.toString('hex'))
    })
    swarm.on('connection', (connection) => this.#accept(connection))
    this.#swarm = swarm
    this.#dht = dht
    this.#joinAll()
    if (lookFor) this.#join(inviteTopic(lookFor), { client: true, server: false })
  }

  setInvites(inviteKeys: readonly string[]): void {
    this.#inviteKeys = inviteKeys
    this.#joinAll()
  }

  setTopics(topics: readonly Buffer[]): void {
    this.#topics = topics
    this.#joinAll()
  }

  /** Meets where it should, and nowhere else. */
  #joinAll(): void {
    const { lookFor } = this.#options
    const invites = this.#inviteKeys.map((key) => inviteTopic(key))
    const own = lookFor === undefined ? [] : [inviteTopic(lookFor)]
    const all = [...this.#topics, ...invites, ...own]
    const kept = new Set(all.map((topic) => topic.toString('hex')))
    for (const [name, discovery] of this.#discoveries) {
      if (kept.has(name)) continue
      this.#discoveries.delete(name)
      // It destroys what it can; the network may be gone, which changes nothing for us.
      void discovery.destroy().catch(() => {})
    }
    for (const topic of this.#topics) this.#join(topic, { client: true, server: true })
    for (const topic of invites) this.#join(topic, { client: false, server: true })
  }

  #join(topic: Buffer, role: { client: boolean; server: boolean }): void {
    const name = topic.toString('hex')
    if (!this.#swarm || this.#discoveries.has(name)) return
    this.#discoveries.set(name, this.#swarm.join(topic, role))
    if (role.client) this.#lookAgain(name, 0)
  }

  #lookAgain(name: string, round: number): void {
    const isJoiner = this.#options.lookFor !== undefined
    const delayMs = LOOK_AGAIN_MS[isJoiner ? 1 : round]
    if (delayMs === undefined) return
    this.#options.clock.setTimer(delayMs, () => {
      const discovery = this.#discoveries.get(name)
      if (!discovery || !this.#swarm) return
      // A refresh that fails is tried again, here or by Hyperswarm.
      void discovery.refresh().catch(() => {})
      this.#lookAgain(name, round + 1)
    })
  }

  #accept(connection: SwarmConnection): void {
    const key = connection.remotePublicKey.toString('hex')
    // Without a listener an error would end the process; 'close' follows.
    connection.on('error', () => {})
    if (!this.#handlers?.isAllowed(key)) {
      connection.destroy()
      return
    }
    this.#open.set(key, (this.#open.get(key) ?? 0) + 1)
    connection.on('close', () => {
      const count = (this.#open.get(key) ?? 1) - 1
      if (count > 0) this.#open.set(key, count)
      else this.#open.delete(key)
    })
    this.#handlers.onLink(new HyperswarmLink(connection, this.#options.clock))
    for (const wake of this.#waiting.get(key) ?? []) wake()
  }

  /** It is found by its key, not by an address. */
  addresses(): string[] {
    return []
  }

  async dial(
    target: { readonly key?: string; readonly address?: string },
    options: { readonly signal: AbortSignal },
  ): Promise<void> {
    const { key } = target
    const swarm = this.#swarm
    if (key === undefined || !swarm) throw new WormholeError('PEER_UNREACHABLE', 'no key to dial')
    if (!this.#handlers?.isAllowed(key)) {
      throw new WormholeError('NOT_A_MEMBER', `${key.slice(0, 8)} may not be connected to`)
    }
    if (this.#open.has(key)) return
    const { signal } = options
    if (signal.aborted) throw new WormholeError('ABORTED', 'dial aborted')
    const waiting = this.#waiting.get(key) ?? new Set()
    this.#waiting.set(key, waiting)
    await new Promise<void>((resolve, reject) => {
      let timer: Timer | undefined
      const attempt = (): void => {
        startAfresh(swarm, key)
        timer = this.#options.clock.setTimer(ATTEMPT_MS, attempt)
      }
      const end = (): void => {
        timer?.cancel()
        signal.removeEventListener('abort', abort)
        waiting.delete(wake)
        if (waiting.size > 0) return
        this.#waiting.delete(key)
        swarm.leavePeer(Buffer.from(key, 'hex'))
      }
      const wake = (): void => {
        end()
        resolve()
      }
      const abort = (): void => {
        end()
        reject(new WormholeError('PEER_UNREACHABLE', `${key.slice(0, 8)} was not found in time`))
      }
      waiting.add(wake)
      signal.addEventListener('abort', abort, { once: true })
      attempt()
    })
  }

  async refresh(): Promise<void> {
    const looking = [...this.#discoveries.values()].map((discovery) => discovery.refresh())
    await Promise.race([Promise.allSettled(looking), sleep(this.#options.clock, REFRESH_MS_MAX)])
  }

  async close(): Promise<void> {
    const [swarm, dht] = [this.#swarm, this.#dht]
    this.#swarm = undefined
    this.#handlers = undefined
    if (!swarm || !dht) return
    const { clock } = this.#options
    const left = await Promise.race([
      swarm.destroy().then(() => true),
      sleep(clock, FAREWELL_MS_MAX).then(() => false),
    ])
    // Nobody heard the farewell (no network): others will notice. The sockets close at once.
    if (!left) await Promise.race([dht.destroy({ force: true }), sleep(clock, FORCED_MS_MAX)])
  }
}

/**
 * Lets Hyperswarm try a key as if for the first time; after a failure it would wait 5 seconds, then
 * 15, then 10 minutes. Nothing happens while it is trying.
 */
function startAfresh(swarm: Hyperswarm, key: string): void {
  const publicKey = Buffer.from(key, 'hex')
  swarm.leavePeer(publicKey)
  swarm.peers.delete(key)
  swarm.joinPeer(publicKey)
}

/**
 * An own DHT bootstrap node (`wormhole bootstrap`).
 *
 * @param options - `host` is the IPv4 address under which devices reach it, never `0.0.0.0`.
 * @throws {WormholeError} `IO_ERROR` when the port cannot be bound, `BAD_ARGUMENT`.
 */
export async function bootstrapNode(options: {
  readonly host: string
  readonly port: number
}): Promise<{ host: string; port: number; close(): Promise<void> }> {
  const { host, port } = options
  if (!isIPv4(host) || host === '0.0.0.0' || !(port >= 1 && port <= 65535)) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `a bootstrap node needs the IPv4 address and port that devices dial, not ${host}:${port}`,
    )
  }
  let node: DHT
  try {
    node = DHT.bootstrapper(port, host, { host })
    await node.fullyBootstrapped()
  } catch (error) {
    throw fromErrno(error, `cannot listen on ${host}:${port}`)
  }
  return { host, port: node.address().port, close: () => node.destroy() }
}
