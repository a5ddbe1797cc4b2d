/** The part of hyperswarm 4 that Wormhole uses; the package ships no types. */
declare module 'hyperswarm' {
  import type DHT from 'hyperdht'

  /** A Noise-encrypted stream over UDX that keeps message boundaries (streamx Duplex). */
  export interface SwarmConnection {
    readonly remotePublicKey: Buffer
    readonly isInitiator: boolean
    readonly rawBytesRead: number
    readonly rawBytesWritten: number
    readonly rawStream: { readonly remoteHost?: string; readonly remotePort?: number } | null
    write(message: Buffer): boolean
    end(): void
    destroy(error?: Error): void
    on(event: 'data', listener: (message: Buffer) => void): this
    on(event: 'drain' | 'end' | 'close', listener: () => void): this
    on(event: 'error', listener: (error: Error) => void): this
  }

  export interface SwarmPeer {
    readonly publicKey: Buffer
    readonly explicit: boolean
    readonly queued: boolean
    ban(isBanned: boolean): void
  }

  export interface Discovery {
    refresh(options?: { client?: boolean; server?: boolean }): Promise<unknown>
    destroy(): Promise<void>
  }

  export default class Hyperswarm {
    constructor(options: {
      keyPair: { publicKey: Buffer; secretKey: Buffer }
      dht: DHT
      /** True refuses. */
      firewall: (remotePublicKey: Buffer) => boolean
      maxPeers?: number
    })
    readonly peers: Map<string, SwarmPeer>
    join(topic: Buffer, options: { client: boolean; server: boolean }): Discovery
    joinPeer(publicKey: Buffer): void
    leavePeer(publicKey: Buffer): void
    destroy(options?: { force?: boolean }): Promise<void>
    on(event: 'connection', listener: (connection: SwarmConnection) => void): this
    on(event: 'ban', listener: (peer: SwarmPeer) => void): this
  }
}
