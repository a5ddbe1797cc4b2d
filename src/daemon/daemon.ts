/**
 * The life of the daemon's process: the home's lock, the log, the home itself, the control socket,
 * signals, and an orderly end.
 *
 * Order of the start: lock, log, home, socket, and only then the socket's address in the lock file.
 * The end goes back the same way. Whoever can connect finds an open home.
 */
import { WormholeError } from '../errors.ts'
import { systemDisk } from '../disk.ts'
import { systemClock, systemRandom } from '../system.ts'
import type { Clock, Disk, Random } from '../system.ts'
import { serveControl } from './control.ts'
import { makePrivateDirectory } from './holder.ts'
import type { HomeHandle } from './interface.ts'
import { lockHome, type HomeLock } from './lock.ts'
import { logLevel, openLogger, type Logger } from './logging.ts'
import { homeDirectory, homeFiles, networkOptions, socketPath } from './paths.ts'
import type { Environment, NetworkOptions } from './paths.ts'
import { VERSION } from './version.ts'

/** What opening a home needs. The home's lock is held and its directory exists (0700). */
export interface HomeOptions extends NetworkOptions {
  /** Absolute. */
  readonly home: string
  readonly clock: Clock
  readonly random: Random
  readonly disk: Disk
  readonly logger: Logger
}

/**
 * Opens every volume of a home and mounts again what was mounted. A mount that fails is a problem
 * in that volume's status, not a failure. Implemented by `home.ts`.
 */
export type OpenHome = (options: HomeOptions) => Promise<HomeHandle>

/** How a daemon is run. */
export interface DaemonOptions {
  readonly env: Environment
  readonly cwd: string
  readonly openHome: OpenHome
  /** Called when clients can connect. */
  onReady(holder: { pid: number; socket: string; home: string }): void
}

/** The exit code of a bug. */
export const EXIT_BUG = 70

/**
 * Serves the home that `env` names until SIGTERM, SIGINT, SIGHUP or a client's `stop`. A second
 * signal ends the process at once. Runs once per process: it owns its signals and its uncaught
 * errors.
 *
 * @throws `HOME_LOCKED`, `BAD_ARGUMENT` for the environment, `NOT_PERMITTED`, and what opening the
 *   home throws.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { env } = options
  const uid = process.getuid?.() ?? 0
  const home = homeDirectory(env, options.cwd)
  const network = networkOptions(env)
  const level = logLevel(env)
  const socket = socketPath(env, uid, home)
  makePrivateDirectory(home, uid)
  const lock = lockHome(home)
  try {
    lock.describe({ pid: process.pid, version: VERSION, socket: undefined })
    const logger = openLogger(homeFiles(home).log, level)
    const stop = watchProcess(logger)
    try {
      await serveHome({ ...options, home, uid, network, socket, lock, logger, stop })
    } finally {
      stop.forget()
    }
  } finally {
    lock.release()
  }
}

interface Served extends DaemonOptions {
  readonly home: string
  readonly uid: number
  readonly network: NetworkOptions
  readonly socket: string
  readonly lock: HomeLock
  readonly logger: Logger
  readonly stop: StopSignal
}

async function serveHome(options: Served): Promise<void> {
  const { home, uid, network, socket, lock, logger, stop } = options
  logger.info({ pid: process.pid, version: VERSION, node: process.version, home }, 'starting')
  const handle = await openLogged(options)
  const failures: unknown[] = []
  try {
    const control = await serveControl({
      socket,
      uid,
      home: handle,
      clock: systemClock,
      logger: logger.child({ part: 'control' }),
      onStop: () => stop.ask('a client asked'),
    })
    try {
      lock.describe({ pid: process.pid, version: VERSION, socket })
      logger.info({ socket, bootstrap: network.bootstrap?.length, bind: network.bind }, 'ready')
      options.onReady({ pid: process.pid, socket, home })
      logger.info({ reason: await stop.asked }, 'stopping')
    } finally {
      await control.close()
    }
  } catch (error) {
    failures.push(error)
  }
  try {
    await handle.close()
  } catch (error) {
    failures.push(error)
  }
  for (const error of failures) logError(logger, error, 'stopping failed')
  if (failures.length > 1) throw new AggregateError(failures, 'the daemon did not stop cleanly')
  if (failures.length === 1) throw failures[0]
  logger.info({}, 'stopped')
}

async function openLogged(options: Served): Promise<HomeHandle> {
  const { home, network, logger } = options
  try {
    return await options.openHome({
      home,
      clock: systemClock,
      random: systemRandom,
      disk: systemDisk,
      logger,
      ...network,
    })
  } catch (error) {
    logError(logger, error, 'the home cannot be opened')
    throw error
  }
}

interface StopSignal {
  /** Resolves with the reason once somebody asked. */
  readonly asked: Promise<string>
  ask(reason: string): void
  /** Gives the process's signals back. */
  forget(): void
}

function watchProcess(logger: Logger): StopSignal {
  let ask!: (reason: string) => void
  const asked = new Promise<string>((resolve) => (ask = resolve))
  let signalCount = 0
  const onSignal = (name: NodeJS.Signals): void => {
    signalCount++
    if (signalCount === 1) return ask(name)
    logger.warn({ signal: name }, 'ended by force')
    process.exit(1)
  }
  const onBug = (error: unknown): void => {
    logError(logger, error, 'ended by a bug')
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
    process.exit(EXIT_BUG)
  }
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
  for (const name of signals) process.on(name, onSignal)
  process.on('uncaughtException', onBug)
  process.on('unhandledRejection', onBug)
  return {
    asked,
    ask,
    forget() {
      for (const name of signals) process.off(name, onSignal)
      process.off('uncaughtException', onBug)
      process.off('unhandledRejection', onBug)
    },
  }
}

function logError(logger: Logger, error: unknown, text: string): void {
  const isExpected = error instanceof WormholeError
  const fields = {
    error: error instanceof Error ? error.message : String(error),
    ...(isExpected ? { code: error.code } : {}),
    ...(error instanceof Error && !isExpected ? { stack: error.stack } : {}),
  }
  if (isExpected) logger.error(fields, text)
  else logger.fatal(fields, text)
}
