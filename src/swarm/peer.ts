/** One connected device: its sessions, one per link, and what serves each of them. */
import type { DeviceId } from '../types.ts'
import type { Outgoing } from './channels.ts'
import { ChunkServer } from './chunk-server.ts'
import type { ChunkPeer } from './exchange-peer.ts'
import type { ChunkPort, LogPort, Route } from './interface.ts'
import { LogServer } from './log-server.ts'
import type { Session } from './session.ts'

/** Links of one device at a time; the oldest goes when there are more. */
const SESSIONS_MAX = 4
/** Two links of the same kind, both alive: after so long the younger is closed. */
const DUPLICATE_MS = 6000

interface Servers {
  readonly log: LogServer
  readonly chunks: ChunkServer
}

/** A device with at least one session that said hello. */
export class Peer implements ChunkPeer {
  /** Key among peers: the device, and of a second process under it also the instance. */
  readonly device: DeviceId
  readonly instance: string
  readonly #sessions = new Map<Session, Servers>()
  #closedSentBytes = 0
  #closedReceivedBytes = 0

  constructor(device: DeviceId, instance: string) {
    this.device = device
    this.instance = instance
  }

  /** When its present links were made, the newest first to count. */
  get openedMs(): number {
    return this.newest()?.openedMs ?? Infinity
  }

  /** Whether nothing speaks against its life. */
  get isProven(): boolean {
    const best = this.best()
    return best !== undefined && !best.isSuspect && !best.isProbed
  }

  /** Asks all links for a sign of life. */
  probe(): void {
    for (const session of this.#sessions.keys()) session.probe()
  }

  get isConnected(): boolean {
    return this.#sessions.size > 0
  }

  /** Takes up a session. An older one of the same kind must show that it lives. */
  add(session: Session, ports: { log: LogPort; chunks: ChunkPort }): void {
    for (const other of this.#sessions.keys()) {
      if (other.link.route === session.link.route) other.probe()
    }
    this.#sessions.set(session, {
      log: new LogServer(session, ports.log),
      chunks: new ChunkServer(session, ports.chunks),
    })
    if (this.#sessions.size > SESSIONS_MAX) {
      const [oldest] = this.#sessions.keys()
      oldest?.close()
    }
  }

  /** Drops a session that is closed. */
  remove(session: Session): void {
    const servers = this.#sessions.get(session)
    if (!servers) return
    this.#sessions.delete(session)
    this.#closedSentBytes += session.link.sentBytes
    this.#closedReceivedBytes += session.link.receivedBytes
    servers.log.wake()
    servers.chunks.wake()
  }

  /** What serves a session; undefined when it is not (or no longer) one of this peer. */
  servers(session: Session): Servers | undefined {
    return this.#sessions.get(session)
  }

  sessions(): Session[] {
    return [...this.#sessions.keys()]
  }

  /** The session that was opened last. */
  newest(): Session | undefined {
    return [...this.#sessions.keys()].at(-1)
  }

  /**
   * The session to use: one that lives, direct TLS before Hyperswarm, then the oldest. One that
   * must still show that it lives comes after all that need not.
   */
  best(): Session | undefined {
    let best: Session | undefined
    let bestRank = -1
    for (const session of this.#sessions.keys()) {
      if (session.isClosed) continue
      const life = session.isSuspect ? 0 : session.isProbed ? 2 : 4
      const rank = life + (session.link.route === 'tls' ? 1 : 0)
      if (rank > bestRank) [best, bestRank] = [session, rank]
    }
    return best
  }

  /** Whether there is a link of this kind that nothing speaks against. */
  hasLiveLink(route: Route): boolean {
    for (const session of this.#sessions.keys()) {
      if (session.link.route === route && !session.isSuspect) return true
    }
    return false
  }

  /** Whether every link may be dead. */
  get isSuspect(): boolean {
    return this.best()?.isSuspect ?? true
  }

  routes(): Route[] {
    return [...new Set([...this.#sessions.keys()].map((session) => session.link.route))]
  }

  send(message: Outgoing): void {
    this.best()?.send(message)
  }

  receivedBytes(): number {
    let total = this.#closedReceivedBytes
    for (const session of this.#sessions.keys()) total += session.link.receivedBytes
    return total
  }

  sentBytes(): number {
    let total = this.#closedSentBytes
    for (const session of this.#sessions.keys()) total += session.link.sentBytes
    return total
  }

  rttMs(): number | undefined {
    return this.best()?.rttMs
  }

  /**
   * Gives up links that may be dead when another one lives, so that what was sent over them is sent
   * again at once.
   */
  closeSuspects(): void {
    if (this.#sessions.size < 2 || this.isSuspect) return
    for (const session of this.#sessions.keys()) {
      if (session.isSuspect) session.fail('PEER_UNREACHABLE', 'silent while another link is not')
    }
  }

  /**
   * Closes links that are one too many. Only one of the two devices may do this, so that they never
   * close each other's choice.
   */
  closeDuplicates(nowMs: number): void {
    const kept = new Set<Route>()
    for (const session of this.#sessions.keys()) {
      const { route } = session.link
      if (kept.has(route) && nowMs - session.openedMs > DUPLICATE_MS) session.close()
      kept.add(route)
    }
  }
}
