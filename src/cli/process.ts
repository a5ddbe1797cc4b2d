/** A command line as a real process: its streams, Ctrl-C, and its end. */
import type { OpenHome } from '../daemon/daemon.ts'
import { EXIT_INTERRUPTED } from './errors.ts'
import type { Io } from './io.ts'
import { run } from './main.ts'

/** Keeps the process alive while a command waits for something that does not, such as a timer. */
const KEEP_ALIVE_MS = 1 << 30

async function loadSystemHome(): Promise<OpenHome> {
  return (await import('../daemon/home.ts')).openHome
}

/**
 * Where the command was given. The directory itself may be gone, or in a mount whose daemon has
 * ended; then by the name that the shell has for it.
 */
function workingDirectory(): string {
  try {
    return process.cwd()
  } catch {
    const { PWD } = process.env
    return PWD?.startsWith('/') ? PWD : '/'
  }
}

/**
 * Runs this process's command line and ends the process with its exit code. The first Ctrl-C
 * cancels the command, the second ends the process at once.
 */
export async function runProcess(
  loadHome: () => Promise<OpenHome> = loadSystemHome,
): Promise<void> {
  const abort = new AbortController()
  const interrupt = (): void => {
    if (abort.signal.aborted) process.exit(EXIT_INTERRUPTED)
    abort.abort()
  }
  process.on('SIGINT', interrupt)
  // A reader that left is noticed by the write that failed.
  for (const output of [process.stdout, process.stderr]) output.on('error', () => {})
  const keepAlive = setInterval(() => {}, KEEP_ALIVE_MS)
  const io: Io = {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: workingDirectory(),
    signal: abort.signal,
    restart: [process.execPath, ...process.execArgv, process.argv[1] as string],
    loadHome,
  }
  const exitCode = await run(process.argv.slice(2), io)
  clearInterval(keepAlive)
  process.exit(exitCode)
}
