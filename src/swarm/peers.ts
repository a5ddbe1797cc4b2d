/**
 * The connected devices. A device key is one peer, unless two processes run under it at once (a
 * home that was copied): then each has its say, under a key of its own.
 *
 * A process that was started again also is a second one, until the links of the first are known to
 * be dead. So it is a twin only if both have shown that they live.
 */
import type { DeviceId } from '../types.ts'
import type { ChunkPort, LogPort, PeerInfo } from './interface.ts'
import { Peer } from './peer.ts'
import type { Session } from './session.ts'

/** How long two processes under one key must both live before that is told. */
const TWIN_MS = 5000

/** The device behind a peer's key. */
export function deviceOf(key: DeviceId): DeviceId {
  return key.slice(0, 64) as DeviceId
}

/** See the head of this file. */
export class Peers {
  /** By device; of a second process by device and instance. */
  readonly #peers = new Map<DeviceId, Peer>()
  readonly #told = new Set<DeviceId>()
  /** Peers that are the second process of a device. Hardly ever any. */
  #secondCount = 0

  get(key: DeviceId): Peer | undefined {
    return this.#peers.get(key)
  }

  get isEmpty(): boolean {
    return this.#peers.size === 0
  }

  values(): IterableIterator<Peer> {
    return this.#peers.values()
  }

  /** The processes of a device. */
  of(device: DeviceId): Peer[] {
    const first = this.#peers.get(device)
    if (this.#secondCount === 0) return first ? [first] : []
    return [...this.#peers.values()].filter((peer) => deviceOf(peer.device) === device)
  }

  /** Key of a process of a device, if one is connected. */
  keyOf(device: DeviceId): DeviceId {
    return this.of(device)[0]?.device ?? device
  }

  isConnected(device: DeviceId): boolean {
    return this.of(device).length > 0
  }

  /** All sessions that said hello. */
  sessions(): Session[] {
    const sessions: Session[] = []
    for (const peer of this.#peers.values()) sessions.push(...peer.sessions())
    return sessions
  }

  /** Those of the devices without a direct link that lives; `isAlone`: none of another kind. */
  absent(devices: readonly { device: DeviceId }[]): { device: DeviceId; isAlone: boolean }[] {
    const absent: { device: DeviceId; isAlone: boolean }[] = []
    for (const { device } of devices) {
      const peers = this.of(device)
      if (peers.some((peer) => peer.hasLiveLink('tls'))) continue
      absent.push({ device, isAlone: peers.every((peer) => peer.isSuspect) })
    }
    return absent
  }

  peerOf(session: Session): Peer | undefined {
    return this.of(session.device).find((peer) => peer.servers(session) !== undefined)
  }

  /** Takes up a session that said hello; other processes of its device must show that they live. */
  add(session: Session, ports: { log: LogPort; chunks: ChunkPort }): Peer {
    const { device, instance } = session
    const others = this.of(device)
    let peer = others.find((other) => other.instance === instance)
    if (peer === undefined) {
      for (const other of others) other.probe()
      const key = this.#peers.has(device) ? (`${device}#${instance}` as DeviceId) : device
      peer = new Peer(key, instance)
      this.#peers.set(key, peer)
      if (key !== device) this.#secondCount++
    }
    peer.add(session, ports)
    return peer
  }

  /** Drops a session that is closed, and the peer with its last one. */
  remove(session: Session): void {
    const peer = this.peerOf(session)
    peer?.remove(session)
    if (!peer || peer.isConnected) return
    this.#peers.delete(peer.device)
    if (peer.device !== session.device) this.#secondCount--
  }

  /** Devices that run in two places; each is told once. */
  twins(nowMs: number): DeviceId[] {
    const found: DeviceId[] = []
    for (const peer of this.#peers.values()) {
      const device = deviceOf(peer.device)
      if (peer.device === device || this.#told.has(device)) continue
      const peers = this.of(device)
      const isAlive = (each: Peer): boolean => each.isProven && nowMs - each.openedMs > TWIN_MS
      if (peers.length < 2 || !peers.every(isAlive)) continue
      this.#told.add(device)
      found.push(device)
    }
    return found
  }
}

/** What the links of a device's processes show about it. `address`: without any. */
export function peerInfo(
  peers: readonly Peer[],
  address: string,
): Pick<PeerInfo, 'routes' | 'address' | 'rttMs' | 'sentBytes' | 'receivedBytes'> {
  const [peer] = peers
  return {
    routes: [...new Set(peers.flatMap((each) => each.routes()))],
    address: peer?.best()?.link.remoteAddress ?? address,
    rttMs: peer?.rttMs(),
    sentBytes: peer?.sentBytes() ?? 0,
    receivedBytes: peer?.receivedBytes() ?? 0,
  }
}
