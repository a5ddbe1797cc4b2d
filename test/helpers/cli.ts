/** Runs command lines in tests: in this process against a served fake home, or as a child. */
import { spawn, type ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Io } from '../../src/cli/io.ts'
import { run } from '../../src/cli/main.ts'
import { serveControl, type ControlServer } from '../../src/daemon/control.ts'
import { lockHome } from '../../src/daemon/lock.ts'
import type { Logger } from '../../src/daemon/logging.ts'
import { socketPath } from '../../src/daemon/paths.ts'
import { VERSION } from '../../src/daemon/version.ts'
import { systemClock } from '../../src/system.ts'
import { Catcher } from './command.ts'
import { FakeHome, openFakeHome } from './fake-home.ts'

/** What a command line did. */
export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A logger that keeps its lines. */
export function memoryLogger(): Logger & { readonly lines: { level: string; text: string }[] } {
  const lines: { level: string; text: string }[] = []
  const at = (level: string) => (_fields: object, text: string) => void lines.push({ level, text })
  const logger = {
    lines,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    fatal: at('fatal'),
    child: () => logger,
  }
  return logger
}

/** A temporary directory (0700) that is removed after the test. */
export function temporaryDirectory(t: TestContext): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'wh-'))
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A served fake home and a way to run commands against it. */
export interface ServedHome {
  readonly home: FakeHome
  readonly env: Record<string, string>
  readonly socket: string
  readonly server: ControlServer
  readonly logger: ReturnType<typeof memoryLogger>
  /** Runs a command line in this process. */
  wormhole(words: string[], options?: RunOptions): Promise<Outcome>
}

/** How a command line is run. */
export interface RunOptions {
  readonly input?: string | Buffer
  readonly cwd?: string
  readonly signal?: AbortSignal
  readonly env?: Record<string, string>
}

/**
 * Serves a fake home with one volume `photos`, as the daemon would, until the test ends.
 * `isStopping` false: it answers a request to stop and goes on.
 */
export async function serveFakeHome(
  t: TestContext,
  { isStopping = true }: { isStopping?: boolean } = {},
): Promise<ServedHome> {
  const directory = temporaryDirectory(t)
  const env = { WORMHOLE_HOME: path.join(directory, 'home'), WORMHOLE_RUNTIME: directory }
  fs.mkdirSync(env.WORMHOLE_HOME)
  const uid = process.getuid?.() ?? 0
  const socket = socketPath(env, uid, env.WORMHOLE_HOME)
  const home = new FakeHome(env.WORMHOLE_HOME)
  home.addVolume('photos')
  const logger = memoryLogger()
  const lock = lockHome(env.WORMHOLE_HOME)
  const server = await serveControl({
    socket,
    uid,
    home,
    clock: systemClock,
    logger,
    onStop: () => {
      if (isStopping) void server.close().then(() => lock.release())
    },
  })
  lock.describe({ pid: process.pid, version: VERSION, socket })
  t.after(async () => {
    await server.close()
    lock.release()
  })
  return {
    home,
    env,
    socket,
    server,
    logger,
    wormhole: (words, options = {}) => runInProcess(words, env, options),
  }
}

/** Runs a command line in this process, with its output caught. */
export async function runInProcess(
  words: string[],
  env: Record<string, string>,
  options: RunOptions = {},
): Promise<Outcome> {
  const stdout = new Catcher()
  const stderr = new Catcher()
  const io: Io = {
    stdin: Readable.from(options.input === undefined ? [] : [Buffer.from(options.input)]),
    stdout,
    stderr,
    env: { ...env, ...options.env },
    cwd: options.cwd ?? '/',
    signal: options.signal ?? new AbortController().signal,
    restart: programWords(),
    loadHome: async () => openFakeHome,
  }
  const code = await run(words, io)
  return { code, stdout: stdout.text, stderr: stderr.text }
}

/** What starts the program with a fake home; works from any directory. */
export function programWords(): string[] {
  const loader = new URL('../../scripts/typescript.mjs', import.meta.url).href
  const program = fileURLToPath(new URL('./fake-wormhole.ts', import.meta.url))
  return [process.execPath, '--import', loader, program]
}

/** Starts the program with a fake home as a child process. */
export function startChild(words: string[], env: Record<string, string>, cwd = '/'): ChildProcess {
  const [program, ...before] = programWords() as [string, ...string[]]
  return spawn(program, [...before, ...words], {
    cwd,
    env: { PATH: process.env.PATH, HOME: '/nonexistent', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** Waits for a child process to end; a signal counts as 128 and its usual number. */
export async function finish(child: ChildProcess): Promise<Outcome> {
  const parts = { stdout: '', stderr: '' }
  child.stdout?.on('data', (piece) => (parts.stdout += String(piece)))
  child.stderr?.on('data', (piece) => (parts.stderr += String(piece)))
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (exitCode, signal) =>
      resolve(exitCode ?? 128 + (os.constants.signals[signal as NodeJS.Signals] ?? 0)),
    )
  })
  return { code, ...parts }
}

/** Runs a command line as a child process. */
export function runChild(
  words: string[],
  env: Record<string, string>,
  cwd?: string,
): Promise<Outcome> {
  return finish(startChild(words, env, cwd))
}
