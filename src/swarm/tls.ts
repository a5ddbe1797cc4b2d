/**
 * `Transport` over direct TLS 1.3 (RFC 8446), mutually authenticated by device keys.
 *
 * Both sides read the Ed25519 key out of the peer's certificate and compare it before they use the
 * first byte: the initiator with the key it dialled (and `isAllowed`), the other with `isAllowed`.
 * TLS proves the possession of that key (CertificateVerify). Sessions are never resumed: a resumed
 * client sees no certificate. A peer without certificate is dropped.
 *
 * The listener's first message is empty and says "accepted": without it an initiator would take a
 * finished handshake for a welcome (in TLS 1.3 it ends before the server has seen the client).
 */
import { constants, type X509Certificate } from 'node:crypto'
import os from 'node:os'
import type net from 'node:net'
import tls from 'node:tls'
import { WormholeError } from '../errors.ts'
import type { SigningKeys } from '../seal.ts'
import { certificateKey, deviceCertificate } from './certificate.ts'
import type { Transport, TransportHandlers } from './interface.ts'
import { BaseLink, FrameSplitter, frameHeader, joinAddress, splitAddress } from './link.ts'

/**
 * A dial that no host has answered is given up: a fresh one asks sooner than the kernel, which
 * doubles its pauses, and so a link that comes back is noticed sooner.
 */
const CONNECT_MS_MAX = 2500
/** A handshake that takes longer is given up. */
const HANDSHAKE_MS_MAX = 8000
/** How long a closing link may take to deliver what was sent. */
const LINGER_MS_MAX = 2000
/**
 * Connections that have not shown a key yet. When there are more the oldest goes, so that strangers
 * who hold theirs open keep nobody out.
 */
const UNKNOWN_MAX = 256
/** Names the protocol to the TLS layer (RFC 7301). */
const ALPN = 'wormhole/1'

/** Options of `TlsTransport`. */
export interface TlsOptions {
  /** The device's keys, or an invite's. */
  readonly keys: SigningKeys
  /**
   * Where to listen; undefined: dial only. Port 0 lets the system choose; `portLast` is tried
   * before it, so that others find this device where it was.
   */
  readonly listen:
    { readonly host: string; readonly port: number; readonly portLast?: number } | undefined
}

class TlsLink extends BaseLink {
  readonly #socket: tls.TLSSocket

  constructor(socket: tls.TLSSocket, remoteKey: string, isInitiator: boolean) {
    super({
      remoteKey,
      isInitiator,
      route: 'tls',
      remoteAddress: joinAddress(socket.remoteAddress ?? '', socket.remotePort ?? 0),
    })
    this.#socket = socket
    const splitter = new FrameSplitter((message) => this.deliver(message))
    socket.on('data', (piece: Buffer) => {
      try {
        splitter.push(piece)
      } catch (error) {
        this.close(error as Error)
      }
    })
    socket.on('drain', () => this.onDrain())
    socket.on('error', (error) => this.finish(error))
    socket.on('end', () => this.close())
    socket.on('close', () => this.finish(undefined))
  }

  get receivedBytes(): number {
    return this.#socket.bytesRead
  }

  get sentBytes(): number {
    return this.#socket.bytesWritten
  }

  send(parts: readonly Uint8Array[]): boolean {
    const length = this.lengthOf(parts)
    if (this.isClosed) return true
    const socket = this.#socket
    // One writev, thus one encryption pass and as few records as possible.
    socket.cork()
    let isWelcome = socket.write(frameHeader(length))
    for (const part of parts) isWelcome = socket.write(part)
    socket.uncork()
    return isWelcome
  }

  close(error?: Error): void {
    if (!this.finish(error)) return
    this.#socket.setTimeout(LINGER_MS_MAX, () => this.#socket.destroy())
    this.#socket.destroySoon()
  }
}

/** The raw key of the peer, once the handshake is done. */
function remoteKeyOf(socket: tls.TLSSocket): string | undefined {
  if (socket.isSessionReused()) return undefined
  const certificate: X509Certificate | undefined = socket.getPeerX509Certificate()
  return certificate && certificateKey(certificate)
}

/** Direct TLS connections of one volume on this device. */
export class TlsTransport implements Transport {
  readonly route = 'tls'
  readonly #options: TlsOptions
  readonly #credentials: { cert: string; key: string }
  readonly #sockets = new Set<net.Socket>()
  /**
   * Connections to the listener without a finished handshake by the peer's address, oldest
   * first.
   */
  readonly #unknown = new Map<string, net.Socket>()
  #server: tls.Server | undefined
  #handlers: TransportHandlers | undefined
  #isClosed = false

  constructor(options: TlsOptions) {
    this.#options = options
    const { certificate, privateKey } = deviceCertificate(options.keys)
    this.#credentials = { cert: certificate, key: privateKey }
  }

  /** @throws {WormholeError} `IO_ERROR` when the port cannot be listened on. */
  async start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers
    const { listen } = this.#options
    if (!listen) return
    const server = tls.createServer({
      ...this.#credentials,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: false,
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout: HANDSHAKE_MS_MAX,
      ALPNProtocols: [ALPN],
    })
    server.on('connection', (socket) => this.#meet(socket))
    server.on('secureConnection', (socket) => this.#accept(socket))
    // The server destroys the socket itself; strangers' failed handshakes are not our errors.
    server.on('tlsClientError', (_error, socket) => socket.destroy())
    const ports = listen.port === 0 && listen.portLast ? [listen.portLast, 0] : [listen.port]
    for (const [index, port] of ports.entries()) {
      const failure = await listenOn(server, listen.host, port)
      if (!failure) break
      if (index < ports.length - 1) continue
      const message = `cannot listen on ${listen.host}:${port}: ${failure.message}`
      throw new WormholeError('IO_ERROR', message, { cause: failure })
    }
    this.#server = server
  }

  #track(socket: net.Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    // Errors before authentication concern nobody; 'close' follows.
    socket.on('error', () => socket.destroy())
  }

  /** A connection to the listener, from anybody. */
  #meet(socket: net.Socket): void {
    this.#track(socket)
    const from = joinAddress(socket.remoteAddress ?? '', socket.remotePort ?? 0)
    this.#unknown.set(from, socket)
    socket.on('close', () => {
      if (this.#unknown.get(from) === socket) this.#unknown.delete(from)
    })
    const [oldest] = this.#unknown.values()
    if (this.#unknown.size > UNKNOWN_MAX) oldest?.destroy()
  }

  #accept(socket: tls.TLSSocket): void {
    this.#unknown.delete(joinAddress(socket.remoteAddress ?? '', socket.remotePort ?? 0))
    const remoteKey = remoteKeyOf(socket)
    socket.on('error', () => socket.destroy())
    if (remoteKey === undefined || !this.#handlers?.isAllowed(remoteKey)) {
      socket.destroy()
      return
    }
    socket.setNoDelay(true)
    const link = new TlsLink(socket, remoteKey, false)
    link.send([])
    this.#handlers.onLink(link)
  }

  addresses(): string[] {
    const bound = this.#server?.address()
    if (!bound || typeof bound === 'string') return []
    if (bound.address !== '0.0.0.0' && bound.address !== '::') {
      return [joinAddress(bound.address, bound.port)]
    }
    return interfaceAddresses().map((host) => joinAddress(host, bound.port))
  }

  async dial(
    target: { readonly key?: string; readonly address?: string },
    options: { readonly signal: AbortSignal },
  ): Promise<void> {
    const to = target.address === undefined ? undefined : splitAddress(target.address)
    if (!to || this.#isClosed) {
      throw new WormholeError('PEER_UNREACHABLE', `no address to dial: ${target.address ?? ''}`)
    }
    if (options.signal.aborted) throw new WormholeError('ABORTED', 'dial aborted')
    const socket = tls.connect({
      ...this.#credentials,
      host: to.host,
      port: to.port,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      rejectUnauthorized: false,
      ALPNProtocols: [ALPN],
    })
    this.#track(socket)
    const abort = (): void => {
      socket.destroy(new WormholeError('ABORTED', `dialling ${target.address} aborted`))
    }
    options.signal.addEventListener('abort', abort, { once: true })
    socket.setTimeout(CONNECT_MS_MAX, () =>
      socket.destroy(new WormholeError('PEER_UNREACHABLE', `${target.address} does not answer`)),
    )
    socket.once('connect', () => socket.setTimeout(HANDSHAKE_MS_MAX))
    try {
      await this.#handshake(socket, target)
    } catch (error) {
      socket.destroy()
      if (error instanceof WormholeError) throw error
      throw new WormholeError('PEER_UNREACHABLE', `cannot reach ${target.address}`, {
        cause: error,
      })
    } finally {
      options.signal.removeEventListener('abort', abort)
      socket.setTimeout(0)
    }
  }

  /** Waits for the handshake, checks the key, waits for the peer's acceptance, makes the link. */
  #handshake(
    socket: tls.TLSSocket,
    target: { readonly key?: string; readonly address?: string },
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      let isSecure = false
      socket.once('error', reject)
      socket.once('close', () =>
        reject(
          isSecure
            ? new WormholeError('NOT_A_MEMBER', `${target.address} does not accept this device`)
            : new WormholeError('PEER_UNREACHABLE', `${target.address} closed the connection`),
        ),
      )
      socket.once('secureConnect', () => {
        isSecure = true
        const remoteKey = remoteKeyOf(socket)
        const isExpected = target.key === undefined || remoteKey === target.key
        if (remoteKey === undefined || !isExpected || !this.#handlers?.isAllowed(remoteKey)) {
          reject(new WormholeError('NOT_A_MEMBER', `${target.address} is not the device expected`))
          return
        }
        socket.setNoDelay(true)
        const link = new TlsLink(socket, remoteKey, true)
        link.onMessage = (message) => {
          link.onMessage = () => {}
          if (message.length !== 0) {
            reject(new WormholeError('PEER_MISBEHAVED', `${target.address} skipped its acceptance`))
            return
          }
          this.#handlers?.onLink(link)
          resolve()
        }
      })
    })
  }

  /** Nothing to forget: every dial is a fresh attempt. */
  async refresh(): Promise<void> {}

  async close(): Promise<void> {
    this.#isClosed = true
    const server = this.#server
    this.#server = undefined
    const closed = new Promise<void>((resolve) =>
      server ? server.close(() => resolve()) : resolve(),
    )
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}

/** Addresses of this machine that others may reach: IPv4, loopback only when there is no other. */
function interfaceAddresses(): string[] {
  const all = Object.values(os.networkInterfaces()).flatMap((list) => list ?? [])
  const inet = all.filter((entry) => entry.family === 'IPv4')
  const external = inet.filter((entry) => !entry.internal)
  return (external.length > 0 ? external : inet).map((entry) => entry.address)
}

/** Why it does not listen there; undefined when it does. */
function listenOn(server: tls.Server, host: string, port: number): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const fail = (error: Error): void => resolve(error)
    server.once('error', fail)
    server.listen(port, host, () => {
      server.off('error', fail)
      resolve(undefined)
    })
  })
}
