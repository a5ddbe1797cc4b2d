/**
 * Starts the daemon in the background: detached, standard error in `<home>/daemon.err`, log in
 * `<home>/daemon.log`. A start that fails shows what the new process had to say.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import { ControlClient } from '../daemon/client.ts'
import { WormholeError, hasCode } from '../errors.ts'
import { makePrivateDirectory, readHolder } from '../daemon/holder.ts'
import { isHomeLocked } from '../daemon/lock.ts'
import { homeFiles, networkOptions, socketPath } from '../daemon/paths.ts'
import { VERSION } from '../daemon/version.ts'
import { sleep, systemClock } from '../system.ts'
import type { Context } from './context.ts'

/** How long opening a home may take: a journal to replay, mounts to make. */
const START_MS_MAX = 120_000
/** How often the new daemon is asked. */
const POLL_MS = 20
/** How much of a failed start is shown. */
const TAIL_BYTES_MAX = 2000
/** The errors file starts anew beyond this size. */
const ERRORS_BYTES_MAX = 1024 * 1024

/** Makes sure that a daemon serves the home. @throws `TIMEOUT`, and what its start failed with. */
export async function ensureDaemon(context: Context): Promise<{ isStarted: boolean }> {
  try {
    await context.connect()
    return { isStarted: false }
  } catch (error) {
    if (!hasCode(error, 'DAEMON_NOT_RUNNING')) throw error
  }
  const { home, io } = context
  const uid = process.getuid?.() ?? 0
  // What is wrong with the environment is said here, not in the tail of a log.
  networkOptions(io.env)
  socketPath(io.env, uid, home)
  makePrivateDirectory(home, uid)
  const marks = markLogs(home)
  const child = spawnDaemon(context)
  try {
    await waitForDaemon(context, child, marks)
  } finally {
    child.unref()
  }
  await context.connect()
  return { isStarted: true }
}

function spawnDaemon(context: Context): ChildProcess {
  const { home, io } = context
  const errors = homeFiles(home).errors
  const isFull = fs.existsSync(errors) && fs.statSync(errors).size > ERRORS_BYTES_MAX
  const descriptor = fs.openSync(errors, isFull ? 'w' : 'a', 0o600)
  try {
    const [program, ...words] = io.restart as [string, ...string[]]
    return spawn(program, [...words, 'daemon'], {
      // Not inside a mount, which a working directory would keep busy.
      cwd: home,
      detached: true,
      env: { ...io.env, WORMHOLE_HOME: home },
      stdio: ['ignore', descriptor, descriptor],
    })
  } finally {
    fs.closeSync(descriptor)
  }
}

async function waitForDaemon(
  context: Context,
  child: ChildProcess,
  marks: LogMark[],
): Promise<void> {
  const line = context.progress()
  let exit: string | undefined
  child.once('exit', (code, signal) => (exit = signal ?? `exit code ${code}`))
  child.once('error', (error) => (exit = error.message))
  const startMs = systemClock.monotonicMs()
  try {
    for (;;) {
      const pid = await answeringPid(context.home)
      // A process of ours that came second is waited for: it must not outlive this command.
      if (pid !== undefined && (pid === child.pid || exit !== undefined)) return
      if (context.io.signal.aborted) throw new WormholeError('ABORTED', 'interrupted')
      // Another process may have been faster: then its daemon is the one to wait for.
      if (exit !== undefined && !isHomeLocked(context.home)) {
        throw new WormholeError(
          'DAEMON_NOT_RUNNING',
          `the daemon did not start (${exit}). It said:\n${readTail(marks)}`,
        )
      }
      const waitedMs = systemClock.monotonicMs() - startMs
      if (waitedMs > START_MS_MAX) {
        throw new WormholeError(
          'TIMEOUT',
          `the daemon is still starting after ${START_MS_MAX / 1000} seconds`,
        )
      }
      line.show({ text: 'starting the daemon', done: 0, total: 0 })
      await sleep(systemClock, POLL_MS)
    }
  } finally {
    line.clear()
  }
}

/** The process that serves the home, if one answers. */
async function answeringPid(home: string): Promise<number | undefined> {
  const holder = readHolder(home)
  if (holder?.socket === undefined) return undefined
  try {
    const client = await ControlClient.connect(holder.socket, VERSION)
    client.close()
    return holder.pid
  } catch (error) {
    if (hasCode(error, 'DAEMON_NOT_RUNNING')) return undefined
    throw error
  }
}

/** Waits for the daemon to have let go of the home. @throws `TIMEOUT`. */
export async function waitForEnd(home: string, timeoutMs: number): Promise<void> {
  const startMs = systemClock.monotonicMs()
  while (isHomeLocked(home)) {
    if (systemClock.monotonicMs() - startMs > timeoutMs) {
      throw new WormholeError('TIMEOUT', `the daemon is still stopping after ${timeoutMs / 1000} s`)
    }
    await sleep(systemClock, POLL_MS)
  }
}

interface LogMark {
  readonly file: string
  readonly sizeBytes: number
}

function markLogs(home: string): LogMark[] {
  const files = homeFiles(home)
  return [files.errors, files.log].map((file) => ({
    file,
    sizeBytes: fs.existsSync(file) ? fs.statSync(file).size : 0,
  }))
}

/** What was written after the marks: standard error if there is any, else the log. */
function readTail(marks: LogMark[]): string {
  for (const { file, sizeBytes } of marks) {
    if (!fs.existsSync(file)) continue
    const text = fs.readFileSync(file).subarray(sizeBytes).subarray(-TAIL_BYTES_MAX).toString()
    const lines = text.split('\n').filter((line) => line.trim() !== '')
    if (lines.length > 0)
      return lines
        .slice(-12)
        .map((line) => `  ${line}`)
        .join('\n')
  }
  return '  (nothing)'
}
