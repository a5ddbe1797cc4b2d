/** How far fetching is, in bytes, for a person who waits. */
import type { PeerInfo } from '../swarm/interface.ts'
import type { FetchDuty } from './fetch-duty.ts'
import type { Progress } from './frames.ts'

/** A peer that sent less than this meanwhile only kept its connection alive. */
const SOURCE_BYTES_MIN = 4096

/** What the counts of peers are taken from. */
export type PeerCounts = () => readonly Pick<PeerInfo, 'device' | 'receivedBytes'>[]

/** Counts the devices that send. */
export class SourceCounter {
  readonly #peers: PeerCounts
  #received = new Map<string, number>()

  constructor(peers: PeerCounts) {
    this.#peers = peers
    this.count()
  }

  /** Devices that sent something since it was asked before. */
  count(): number {
    const before = this.#received
    this.#received = new Map(this.#peers().map((peer) => [peer.device, peer.receivedBytes]))
    let count = 0
    for (const [device, bytes] of this.#received) {
      if (bytes - (before.get(device) ?? 0) >= SOURCE_BYTES_MIN) count++
    }
    return count
  }
}

/** Follows a duty from its making until `close`. */
export class FetchGauge {
  readonly #duty: FetchDuty
  readonly #sources: SourceCounter
  readonly #unwatch: () => void
  #fetchedBytes = 0
  #totalBytes = 0

  constructor(duty: FetchDuty, peers: PeerCounts) {
    this.#duty = duty
    this.#sources = new SourceCounter(peers)
    this.#unwatch = duty.watch((wants) => {
      for (const { sizeBytes } of wants) this.#fetchedBytes += sizeBytes
    })
  }

  /** Counts what is to be fetched: a walk over the whole list. */
  async measure(): Promise<void> {
    const { bytes } = await this.#duty.owed()
    this.#totalBytes = this.#fetchedBytes + bytes
  }

  progress(): Progress {
    const done = this.#fetchedBytes + this.#duty.arrivedBytes(() => true)
    const total = Math.max(this.#totalBytes, done)
    return { text: 'fetching', done, total, isBytes: true, sourceCount: this.#sources.count() }
  }

  close(): void {
    this.#unwatch()
  }
}
