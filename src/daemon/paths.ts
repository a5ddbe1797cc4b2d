/**
 * Where one home keeps its files, where its control socket is, and what the environment says about
 * the network. Pure: nothing here touches the disk.
 *
 * | Variable | Meaning |
 * | --- | --- |
 * | `WORMHOLE_HOME` | all state of one device; default `$XDG_DATA_HOME/wormhole` |
 * | `WORMHOLE_RUNTIME` | directory of the control socket; default `$XDG_RUNTIME_DIR/wormhole` |
 * | `WORMHOLE_BOOTSTRAP` | `host:port,…`, or `none` for no DHT at all |
 * | `WORMHOLE_BIND` | `address` or `address:port` to listen on |
 */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import path from 'node:path'
import { WormholeError } from '../errors.ts'

/** Variables of a process; `process.env` has this shape. */
export type Environment = Readonly<Record<string, string | undefined>>

/** A network address. `port` 0 lets the system choose when it is listened on. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** What the environment says about the network. */
export interface NetworkOptions {
  /** Undefined: the public bootstrap nodes. Empty: no DHT. */
  readonly bootstrap: readonly Address[] | undefined
  /** Undefined: every interface, a port of the system's choice. */
  readonly bind: Address | undefined
}

/** The files of one home that belong to the process, not to a volume. Absolute paths. */
export interface HomeFiles {
  readonly home: string
  /** Held locked by the daemon; contains who it is. See lock.ts. */
  readonly lock: string
  /** JSON lines of the logger. */
  readonly log: string
  /** Standard error of a daemon in the background: what the logger could not say. */
  readonly errors: string
}

/**
 * Longest path of a Unix socket: `sun_path` has 108 bytes with its NUL (unix(7)). Node binds a
 * truncated path beyond that and reports success, so it is checked here.
 */
export const SOCKET_PATH_BYTES_MAX = 107

/** The home directory that this environment names. Absolute. @throws `BAD_ARGUMENT`. */
export function homeDirectory(env: Environment, cwd: string): string {
  if (env.WORMHOLE_HOME) return path.resolve(cwd, env.WORMHOLE_HOME)
  const base = env.XDG_DATA_HOME
  if (base && path.isAbsolute(base)) return path.join(base, 'wormhole')
  if (!env.HOME || !path.isAbsolute(env.HOME)) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      'there is no home directory: neither WORMHOLE_HOME nor HOME is set',
    )
  }
  return path.join(env.HOME, '.local', 'share', 'wormhole')
}

/** The process's files in `home`. */
export function homeFiles(home: string): HomeFiles {
  return {
    home,
    lock: path.join(home, 'daemon.lock'),
    log: path.join(home, 'daemon.log'),
    errors: path.join(home, 'daemon.err'),
  }
}

/** 8 hex digits that tell the homes of one user apart. */
export function homeTag(home: string): string {
  return createHash('sha256').update(home).digest('hex').slice(0, 8)
}

/** The private directory of control sockets; lock.ts makes and checks it. Absolute. */
export function runtimeDirectory(env: Environment, uid: number): string {
  if (env.WORMHOLE_RUNTIME) return path.resolve('/', env.WORMHOLE_RUNTIME)
  const base = env.XDG_RUNTIME_DIR
  if (base && path.isAbsolute(base)) return path.join(base, 'wormhole')
  return `/tmp/wormhole-${uid}`
}

/** The control socket of `home`. @throws `BAD_ARGUMENT` when the kernel would cut the path. */
export function socketPath(env: Environment, uid: number, home: string): string {
  const socket = path.join(runtimeDirectory(env, uid), `${homeTag(home)}.sock`)
  const lengthBytes = Buffer.byteLength(socket)
  if (lengthBytes > SOCKET_PATH_BYTES_MAX) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `the control socket's path has ${lengthBytes} bytes, at most ${SOCKET_PATH_BYTES_MAX} ` +
        `are possible: ${socket}; set WORMHOLE_RUNTIME to a shorter directory`,
    )
  }
  return socket
}

/** `WORMHOLE_BOOTSTRAP` and `WORMHOLE_BIND`. @throws `BAD_ARGUMENT` naming the variable. */
export function networkOptions(env: Environment): NetworkOptions {
  return {
    bootstrap: parseBootstrap(env.WORMHOLE_BOOTSTRAP),
    bind: parseBind(env.WORMHOLE_BIND),
  }
}

/** `host:port,…`; `none` is empty; unset or blank is undefined. @throws `BAD_ARGUMENT`. */
export function parseBootstrap(text: string | undefined): readonly Address[] | undefined {
  const value = text?.trim()
  if (!value) return undefined
  if (value === 'none') return []
  return value.split(',').map((part) => {
    const address = splitAddress(part.trim())
    if (address?.port === undefined || address.port === 0) {
      throw new WormholeError(
        'BAD_ARGUMENT',
        `WORMHOLE_BOOTSTRAP has ${JSON.stringify(part)}; it must be "none" or host:port,host:port`,
      )
    }
    return { host: address.host, port: address.port }
  })
}

/** `address` or `address:port`, IPv6 with a port in brackets. @throws `BAD_ARGUMENT`. */
export function parseBind(text: string | undefined): Address | undefined {
  const value = text?.trim()
  if (!value) return undefined
  const address = splitAddress(value)
  if (!address || isIP(address.host) === 0) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `WORMHOLE_BIND is ${JSON.stringify(value)}; it must be an IP address of this machine, ` +
        'as in 192.168.1.5, 192.168.1.5:4900 or [fd00::1]:4900',
    )
  }
  return { host: address.host, port: address.port ?? 0 }
}

/** Splits at the port's colon; undefined when this is not an address. */
function splitAddress(text: string): { host: string; port: number | undefined } | undefined {
  if (isIP(text) !== 0) return { host: text, port: undefined }
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  if (!match || !host) return undefined
  if (match[1] !== undefined && isIP(match[1]) !== 6) return undefined
  const port = match[3] === undefined ? undefined : Number(match[3])
  return port !== undefined && port > 65535 ? undefined : { host, port }
}
