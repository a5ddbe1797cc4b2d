/** The part of hyperdht 6 that Wormhole uses; the package ships no types. */
declare module 'hyperdht' {
  interface DhtOptions {
    /** `host:port` of nodes to start from; without it the public ones. */
    bootstrap?: readonly string[]
    keyPair?: { publicKey: Buffer; secretKey: Buffer }
    /** Address to bind to. */
    host?: string
    /** Port, or a range of ports to try (`[0, 0]`: any). */
    port?: number | readonly [number, number]
    firewalled?: boolean
    ephemeral?: boolean
  }

  export default class DHT {
    constructor(options?: DhtOptions)
    static bootstrapper(port: number, host: string, options?: DhtOptions): DHT
    fullyBootstrapped(): Promise<void>
    address(): { host: string; port: number }
    destroy(options?: { force?: boolean }): Promise<void>
    on(event: string, listener: (...values: unknown[]) => void): this
  }
}
