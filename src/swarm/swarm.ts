import type { ChunkFetcher } from '../chunks/interface.ts'
import type { ChunkAddress } from '../types.ts'
import type { ChunkHolder, PeerInfo, SwarmOptions, SyncAnswer } from './interface.ts'

/** One volume's connections to its other devices: log replication, chunk exchange, admission. */
export class Swarm implements ChunkFetcher {
  readonly #options: SwarmOptions

  private constructor(options: SwarmOptions) {
    this.#options = options
  }

  /** Starts listening, looking and dialling. Transports and beacon belong to the swarm. */
  static async open(options: SwarmOptions): Promise<Swarm> {
    return new Swarm(options)
  }

  /** `host:port` where peers reach this device now: hints for an invite. */
  addresses(): string[] {
    return this.#options.transports.flatMap((transport) => transport.addresses())
  }

  /** To be called when membership or invites changed: closes what is not allowed any more. */
  membersChanged(): void {}

  async fetch(
    _addresses: readonly ChunkAddress[],
    _options: { priority: 'foreground' | 'background'; signal?: AbortSignal },
  ): Promise<void> {}

  /** Which connected devices have which of these chunks (`wormhole where`). */
  async where(
    _addresses: readonly ChunkAddress[],
    _options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<ChunkHolder[]> {
    return []
  }

  /** Known members other than this device, connected or not. */
  peers(): PeerInfo[] {
    return []
  }

  /** Network change: forget back-offs, check links, look again now. */
  async refresh(): Promise<void> {}

  /**
   * Asks EVERY other member to publish what it has pending, and waits until each has what we have
   * and we have what it has, or until it fails. One answer per other member.
   */
  async syncRound(_options: { timeoutMs: number; signal?: AbortSignal }): Promise<SyncAnswer[]> {
    return []
  }

  /** Idempotent. */
  async close(): Promise<void> {}
}
