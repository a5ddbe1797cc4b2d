/** Real mounts for tests: a server in a worker thread, clients as child processes. */
import { spawn } from 'node:child_process'
import { accessSync, constants, mkdirSync, mkdtempSync, rmdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import type { TestContext } from 'node:test'
import { unmount } from '../../../src/vfs/fuse/mount.ts'
import type { ServerData, ServerReply, ServerRequest } from './server.ts'

export const BOOT = new URL('./boot.mjs', import.meta.url)
export const SERVER = new URL('./server.ts', import.meta.url).href
/** Longest that one command may take before it counts as hung. */
const COMMAND_MS_MAX = 60_000

/** Why mount tests cannot run here, or false. */
export const skip: string | false = reasonToSkip()

function reasonToSkip(): string | false {
  if (process.geteuid?.() !== 0) return 'mount tests need root'
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
    return false
  } catch (error) {
    return `mount tests need /dev/fuse: ${String(error)}`
  }
}

/** How a command ended. */
export interface CommandResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `sh -ex -c script` in a directory. Killed, with status null, when it hangs. */
export function run(script: string, cwd = '/'): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn('sh', ['-e', '-x', '-c', script], {
      cwd,
      timeout: COMMAND_MS_MAX,
      killSignal: 'SIGKILL',
      env: {
        ...process.env,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_NOSYSTEM: '1',
        LC_ALL: 'C',
      },
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('latin1').on('data', (piece: string) => (stdout += piece))
    child.stderr.setEncoding('latin1').on('data', (piece: string) => (stderr += piece))
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}

/** An empty directory that disappears with the test. */
export function createMountPoint(t: TestContext, name = 'mount'): string {
  const parent = mkdtempSync(path.join(os.tmpdir(), 'wormhole-fuse-'))
  const directory = path.join(parent, name)
  mkdirSync(directory)
  t.after(async () => {
    await unmount(directory, { isForced: true })
    rmdirSync(directory)
    rmdirSync(parent)
  })
  return directory
}

/** A mount being served by a worker thread. */
export interface TestMount {
  readonly directory: string
  /** Asks the server (`commands` of server.ts). Errors carry the `code` of the far side. */
  ask<T>(call: string, ...parameters: unknown[]): Promise<T>
  /** Runs a script in the mount; fails the test unless it ends with 0. @returns its output. */
  run(script: string): Promise<string>
}

/** Mounts a `MemoryFileSystem` for one test. */
export async function createMount(
  t: TestContext,
  options: Omit<ServerData, 'directory'> & { directory?: string } = {},
): Promise<TestMount> {
  const directory = options.directory ?? createMountPoint(t)
  const server: ServerData = { ...options, directory }
  const worker = new Worker(BOOT, {
    workerData: { module: SERVER, server },
    execArgv: [],
    trackUnmanagedFds: false,
  })
  const waiting = new Map<number, (reply: ServerReply) => void>()
  worker.on('message', (reply: ServerReply) => waiting.get(reply.id)?.(reply))
  let ending: string | undefined
  const end = (why: string): void => {
    ending ??= why
    for (const [id, resolve] of waiting) resolve({ id, error: { message: why, code: undefined } })
  }
  worker.on('error', (error) => end(String(error)))
  worker.on('exit', () => end('the server has ended'))
  let nextId = 1
  const ask = async <T>(call: string, ...parameters: unknown[]): Promise<T> => {
    if (ending !== undefined) throw new Error(ending)
    const id = nextId++
    const { value, error } = await new Promise<ServerReply>((resolve) => {
      waiting.set(id, resolve)
      worker.postMessage({ id, call, parameters } satisfies ServerRequest)
    })
    waiting.delete(id)
    if (error) throw Object.assign(new Error(error.message), { code: error.code })
    return value as T
  }
  t.after(async () => {
    await ask('close').catch(() => undefined)
    await worker.terminate()
  })
  await ask('transport')
  return {
    directory,
    ask,
    async run(script) {
      const { status, stdout, stderr } = await run(script, directory)
      if (status !== 0) throw new Error(`ended with ${status}: ${stderr.slice(-1000)}\n${stdout}`)
      return stdout
    },
  }
}
