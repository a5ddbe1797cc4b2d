/**
 * Runs commands in tests: as a process, or the compiled command line inside the test's own process,
 * which spares Node's start: most of what a short command costs.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import type { Io } from '../../src/cli/io.ts'
import type { run } from '../../src/cli/main.ts'

/** What a command did. */
export interface CommandResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** How one command is run. */
export interface CommandOptions {
  /** Killed after this; default 60 s. */
  readonly timeoutMs?: number
  /** Bytes for its standard input; default none. */
  readonly input?: string | Buffer
  /** Exit codes that are no failure; default only 0. `'any'` accepts all. */
  readonly codes?: readonly number[] | 'any'
  /** Variables on top of the device's. */
  readonly env?: Readonly<Record<string, string>>
}

const COMMAND_TIMEOUT_MS = 60_000
const main = new URL('../../dist/cli/main.js', import.meta.url)

/** Keeps what is printed. */
export class Catcher extends Writable {
  readonly #parts: Buffer[] = []

  get text(): string {
    return Buffer.concat(this.#parts).toString()
  }

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.#parts.push(Buffer.from(bytes))
    done()
  }
}

/** Runs a program to its end. Never rejects for an exit code; rejects on a timeout. */
export async function runProgram(
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { timeoutMs = COMMAND_TIMEOUT_MS, input } = options
  const [program, ...args] = words
  const child = spawn(program as string, args, { env: { ...env, ...options.env }, stdio: 'pipe' })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  // A program that ends without reading its input is judged by its exit code.
  child.stdin.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
  child.stdin.end(input)
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    child.kill('SIGKILL')
    child.stdout.destroy()
    child.stderr.destroy()
  }, timeoutMs)
  const [code, signal] = (await once(child, 'close').finally(() => clearTimeout(timer))) as [
    number | null,
    NodeJS.Signals | null,
  ]
  if (isLate) {
    throw new Error(`not done within ${timeoutMs} ms: ${words.join(' ')}\n${stdout}${stderr}`)
  }
  return { code, signal, stdout, stderr }
}

/**
 * Runs a command line of the compiled program in this process. A daemon that it starts is a
 * process, made of `restart`. Never rejects for an exit code; rejects on a timeout.
 */
export async function runHere(
  args: readonly string[],
  { env, restart }: Pick<Io, 'env' | 'restart'>,
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { timeoutMs = COMMAND_TIMEOUT_MS, input } = options
  const command = (await import(main.href)) as { run: typeof run }
  const stdout = new Catcher()
  const stderr = new Catcher()
  const abort = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs)
  })
  const io: Io = {
    stdin: Readable.from(input === undefined ? [] : [Buffer.from(input)]),
    stdout,
    stderr,
    env: { ...env, ...options.env },
    cwd: process.cwd(),
    signal: abort.signal,
    restart,
    loadHome: () => Promise.reject(new TypeError('a daemon has a process of its own')),
  }
  const code = await Promise.race([command.run(args, io), late])
  clearTimeout(timer)
  if (code === undefined) {
    abort.abort()
    const printed = `${stdout.text}${stderr.text}`
    throw new Error(`not done within ${timeoutMs} ms: ${args.join(' ')}\n${printed}`)
  }
  return { code, signal: null, stdout: stdout.text, stderr: stderr.text }
}
