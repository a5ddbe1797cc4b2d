/**
 * Devices for tests: each has its own home in a temporary directory and runs the compiled command
 * line, as a user would. What a test starts is gone when it ends, whatever happens in between.
 *
 * The processes of a device have a `WORMHOLE_HOME` in their environment that names a directory this
 * test made: no other process is ever signalled.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { StatusReport } from '../../src/daemon/interface.ts'
import { runHere, runProgram, type CommandOptions, type CommandResult } from './command.ts'
import type { Network } from './netns.ts'
import { HomeProcesses } from './pids.ts'
import { atEnd, atEndOrExit, type Teardown } from './teardown.ts'

/** How devices are made. */
export interface DeviceOptions {
  /** Puts each device into its own network; default: all on 127.0.0.1. */
  readonly network?: Network
  /** `host:port` of a bootstrap node, or `none` (the default). See `startBootstrap`. */
  readonly bootstrap?: string
  /** More environment for all devices. */
  readonly env?: Readonly<Record<string, string>>
  /** Runs the devices as this user and group, with their homes and mount points. Default: root. */
  readonly uid?: number
  /** Every command is a process, as on a shell; default: most run inside the test's. */
  readonly isCommandProcess?: boolean
}

/** Commands that serve, or that try out the network they are in. */
const PROCESS_COMMANDS = ['bootstrap', 'daemon', 'doctor']

const bin = fileURLToPath(new URL('../../bin/wormhole.js', import.meta.url))
const STOP_TIMEOUT_MS = 20_000
const LOG_LINES_SHOWN = 40

/** Why nothing can be mounted here; undefined when it can. For `test(…, { skip })`. */
export function whyNoMount(): string | undefined {
  if (!fs.existsSync('/dev/fuse')) return '/dev/fuse does not exist'
  if (process.getuid?.() !== 0) return 'mounting needs root here'
  return undefined
}

/** The words before a program that make it run as an ordinary user. */
export function asUser(uid: number): string[] {
  return ['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups']
}

/** Why no ordinary user can mount here; undefined when `uid` can, once /dev/fuse lets him. */
export function whyNoUserMount(uid: number): string | undefined {
  const why = whyNoMount()
  if (why !== undefined) return why
  if (spawnSync('fusermount3', ['--version']).status !== 0) {
    return 'optional: fusermount3 is not installed'
  }
  const [program, ...args] = [...asUser(uid), 'test', '-r', bin]
  if (spawnSync(program as string, args).status === 0) return undefined
  return 'optional: other users cannot read this project'
}

/** Waits for a condition. Not a sleep: it ends as soon as the condition holds. */
export interface WaitOptions {
  /** Default 10 s. */
  readonly timeoutMs?: number
  readonly intervalMs?: number
  /** What is waited for, for the message. */
  readonly what?: string
  /** More text for the message, such as logs. */
  readonly onTimeout?: () => string
}

/**
 * Calls `condition` until it gives something truthy, and returns that. What it throws counts as
 * "not yet" and is the cause of the error in the end.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<NonNullable<T>> {
  const { timeoutMs = 10_000, intervalMs = 20, what = condition.toString(), onTimeout } = options
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    let cause: unknown
    try {
      const value = await condition()
      if (value) return value
    } catch (error) {
      cause = error
    }
    if (performance.now() >= deadlineMs) {
      const text = `not within ${timeoutMs} ms: ${what}`
      throw new Error(onTimeout ? `${text}\n${onTimeout()}` : text, { cause })
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs))
  }
}

/** A temporary directory that is removed at the end of `t`, with what is still mounted in it. */
export function createDirectory(t: Teardown, name = 'test'): string {
  const directory = fs.mkdtempSync(path.join(tmpdir(), `wormhole-${name}-`))
  atEndOrExit(t, () => {
    unmountBelow(directory)
    fs.rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

/** The mount points below `directory`, innermost first. */
export function mountsBelow(directory: string): string[] {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .map((text) => text.replaceAll(/\\(\d{3})/g, (_, octal: string) => unescapeOctal(octal)))
    .filter((mountpoint) => mountpoint.startsWith(`${directory}/`))
    .reverse()
}

function unescapeOctal(digits: string): string {
  return String.fromCharCode(Number.parseInt(digits, 8))
}

function unmountBelow(directory: string): void {
  for (const mountpoint of mountsBelow(directory)) {
    const result = spawnSync('umount', ['-l', mountpoint], { encoding: 'utf8' })
    if (result.status !== 0) throw new Error(`umount ${mountpoint}: ${result.stderr}`)
  }
}

function tail(file: string): string {
  if (!fs.existsSync(file)) return ''
  const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN)
  return [`--- ${file}`, ...lines].join('\n')
}

/** One device of a test. */
export class Device {
  readonly name: string
  /** `WORMHOLE_HOME`. */
  readonly home: string
  /** An empty directory to mount on. */
  readonly mountpoint: string
  readonly env: NodeJS.ProcessEnv
  readonly #prefix: readonly string[]
  readonly #isCommandProcess: boolean
  readonly #processes: HomeProcesses

  constructor(options: {
    name: string
    directory: string
    env: NodeJS.ProcessEnv
    prefix: readonly string[]
    isCommandProcess: boolean
  }) {
    this.name = options.name
    this.home = path.join(options.directory, 'home')
    this.mountpoint = path.join(options.directory, 'mount')
    this.#prefix = options.prefix
    this.#isCommandProcess = options.isCommandProcess
    this.#processes = new HomeProcesses(this.home)
    this.env = { ...options.env, HOME: options.directory, WORMHOLE_HOME: this.home }
    fs.mkdirSync(this.mountpoint, { recursive: true })
  }

  /** A path below the mount point. */
  path(...names: string[]): string {
    return path.join(this.mountpoint, ...names)
  }

  /** The program and arguments of `wormhole …` on this device, for who starts it himself. */
  words(args: readonly string[]): string[] {
    return [...this.#prefix, process.execPath, bin, ...args]
  }

  /**
   * Runs `wormhole …` on this device. The command is a process if it needs to be, or if the device
   * was made so.
   *
   * @throws when the exit code is none of `codes`, with the output and the end of the logs.
   */
  async run(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const isProcess =
      this.#isCommandProcess ||
      PROCESS_COMMANDS.includes(args[0] ?? '') ||
      args.includes('--foreground')
    const result = isProcess
      ? await runProgram(this.words(args), this.env, options)
      : await runHere(args, { env: this.env, restart: this.words([]) }, options)
    this.#processes.list()
    const codes = options.codes ?? [0]
    if (codes !== 'any' && !codes.includes(result.code ?? -1)) {
      const { code, signal, stdout, stderr } = result
      const command = `${this.name}: wormhole ${args.join(' ')}`
      throw new Error(`${command}: exit ${code ?? signal}\n${stdout}${stderr}\n${this.logs()}`)
    }
    return result
  }

  /** Runs a command with `--json` and returns what it printed. */
  async json<T>(args: readonly string[], options: CommandOptions = {}): Promise<T> {
    const { stdout } = await this.run([...args, '--json'], options)
    return JSON.parse(stdout) as T
  }

  /** What `wormhole status` says. */
  status(): Promise<StatusReport> {
    return this.json<StatusReport>(['status'])
  }

  /** Processes of this device, those that it started included. */
  pids(): number[] {
    return this.#processes.list()
  }

  /** Pulls the plug: SIGKILL to everything of this device, and waits until it is gone. */
  async kill(): Promise<void> {
    await waitFor(() => this.#processes.signal('SIGKILL') === 0, {
      timeoutMs: STOP_TIMEOUT_MS,
      what: `${this.name} is gone after SIGKILL`,
    })
  }

  /** Kills the daemon only: its helpers notice by themselves. */
  async killDaemon(): Promise<void> {
    const { daemonPid } = await this.status()
    process.kill(daemonPid, 'SIGKILL')
    await waitFor(() => !this.pids().includes(daemonPid), {
      timeoutMs: STOP_TIMEOUT_MS,
      what: `the daemon of ${this.name} is gone after SIGKILL`,
    })
  }

  /** Stops the daemon in an orderly way and waits until every process is gone. */
  async stop(): Promise<void> {
    if (this.pids().length === 0) return
    await this.run(['down'], { timeoutMs: STOP_TIMEOUT_MS })
    await waitFor(() => this.pids().length === 0, {
      timeoutMs: STOP_TIMEOUT_MS,
      what: `${this.name} is gone after "down"`,
      onTimeout: () => this.logs(),
    })
  }

  /** The end of the daemon's logs. */
  logs(): string {
    return ['daemon.log', 'daemon.err'].map((name) => tail(path.join(this.home, name))).join('\n')
  }

  /** Last resort, synchronous. */
  abandon(): void {
    this.#processes.signal('SIGKILL')
  }
}

/** Variables of a device must come from the test only. */
function baseEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env, NO_COLOR: '1' }
  for (const name of Object.keys(env)) {
    const isForeign = name.startsWith('WORMHOLE_') || name.startsWith('XDG_')
    if (isForeign || name === 'NODE_OPTIONS' || name === 'NODE_TEST_CONTEXT') {
      delete (env as NodeJS.ProcessEnv)[name]
    }
  }
  return env
}

/**
 * Makes one device per name, without starting anything: use `run(['init', …])` and so on.
 *
 * At the end of `t` each device that still runs is stopped with `down`; a device that does not stop
 * is killed, and the test fails.
 */
export function createDevices<Name extends string>(
  t: Teardown,
  names: readonly Name[],
  options: DeviceOptions = {},
): Record<Name, Device> {
  const { network, bootstrap = 'none', uid } = options
  const directory = createDirectory(t)
  if (uid !== undefined) fs.chownSync(directory, uid, uid)
  const devices = names.map((name) => {
    const env = {
      ...baseEnvironment(),
      WORMHOLE_RUNTIME: path.join(directory, 'run'),
      WORMHOLE_BIND: network?.address(name) ?? '127.0.0.1',
      WORMHOLE_BOOTSTRAP: bootstrap,
      ...options.env,
    }
    const prefix = [...(network?.prefix(name) ?? []), ...(uid === undefined ? [] : asUser(uid))]
    const device = new Device({
      name,
      directory: path.join(directory, name),
      env,
      prefix,
      isCommandProcess: options.isCommandProcess ?? uid !== undefined,
    })
    if (uid !== undefined) {
      for (const place of [path.dirname(device.home), device.mountpoint]) {
        fs.chownSync(place, uid, uid)
      }
    }
    return device
  })
  atEndOrExit(t, () => devices.forEach((device) => device.abandon()))
  atEnd(t, () => stopAll(devices))
  return Object.fromEntries(devices.map((device) => [device.name, device])) as Record<Name, Device>
}

async function stopAll(devices: readonly Device[]): Promise<void> {
  const results = await Promise.allSettled(devices.map((device) => device.stop()))
  const errors = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as Error] : [],
  )
  devices.forEach((device) => device.abandon())
  if (errors.length > 0) throw new AggregateError(errors, 'not every device stopped')
}

/** A UDP port that is free now. */
async function findFreePort(): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  await once(socket, 'close')
  return port
}

/**
 * Starts `wormhole bootstrap` and waits until it answers. Returns `host:port` for
 * `DeviceOptions.bootstrap`. Ends with `t`.
 */
export async function startBootstrap(t: Teardown, network?: Network): Promise<string> {
  const host = network?.hub.address ?? '127.0.0.1'
  const port = network === undefined ? await findFreePort() : 49737
  const home = createDirectory(t, 'bootstrap')
  const args = [process.execPath, bin, 'bootstrap', '--port', String(port), '--host', host]
  const [program, ...rest] = [...(network?.hub.prefix ?? []), ...args]
  const child: ChildProcess = spawn(program as string, rest, {
    env: { ...baseEnvironment(), WORMHOLE_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  atEndOrExit(t, () => child.kill('SIGKILL'))
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (said += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (said += text))
  await waitFor(() => said.includes(String(port)) || child.exitCode !== null, {
    what: `the bootstrap node says its port ${port}`,
    onTimeout: () => said,
  })
  if (child.exitCode !== null) throw new Error(`the bootstrap node ended: ${said}`)
  return `${host}:${port}`
}
