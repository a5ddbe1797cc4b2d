/** What every command works with: the daemon, the output, and the words common to all commands. */
import path from 'node:path'
import { ControlClient, type CallOptions } from '../daemon/client.ts'
import { WormholeError } from '../errors.ts'
import { readHolder } from '../daemon/holder.ts'
import type { MethodName, MethodParams, MethodResult } from '../daemon/methods.ts'
import { homeDirectory } from '../daemon/paths.ts'
import { VERSION } from '../daemon/version.ts'
import { systemClock } from '../system.ts'
import { formatJson, painter, type Paint } from './format.ts'
import { write, type Io } from './io.ts'
import { progressLine, type ProgressLine } from './progress.ts'

/** What a command's function returns. */
export const EXIT_DONE = 0
export const EXIT_ERROR = 1

/** One run of one command. */
export class Context {
  readonly io: Io
  readonly isJson: boolean
  /** Given with `--volume`. */
  readonly volume: string | undefined
  readonly paint: Paint
  #client: ControlClient | undefined

  constructor(io: Io, options: { isJson: boolean; volume: string | undefined }) {
    this.io = io
    this.isJson = options.isJson
    this.volume = options.volume
    this.paint = painter(io.stdout, io.env)
  }

  /** The home this command is about. Absolute. */
  get home(): string {
    return homeDirectory(this.io.env, this.io.cwd)
  }

  /** The parameters that say which volume is meant. */
  get words(): { volume?: string; cwd: string } {
    return { cwd: this.io.cwd, ...(this.volume === undefined ? {} : { volume: this.volume }) }
  }

  /** A path given by a person on this machine's file system. */
  localPath(text: string): string {
    return path.resolve(this.io.cwd, text)
  }

  /** The running daemon; one connection per command. @throws `DAEMON_NOT_RUNNING`. */
  async connect(): Promise<ControlClient> {
    if (this.#client) return this.#client
    const socket = readHolder(this.home)?.socket
    if (socket === undefined) {
      throw new WormholeError('DAEMON_NOT_RUNNING', `no daemon serves the home ${this.home}`)
    }
    this.#client = await ControlClient.connect(socket, VERSION)
    return this.#client
  }

  /** Asks the running daemon; Ctrl-C cancels the request. */
  async call<M extends MethodName>(
    method: M,
    params: MethodParams<M>,
    options: Omit<CallOptions, 'signal'> = {},
  ): Promise<MethodResult<M>> {
    const client = await this.connect()
    return client.call(method, params, { ...options, signal: this.io.signal })
  }

  /** Prints a report: as JSON on one line, or as the text for people. */
  async report(value: unknown, text: () => string): Promise<void> {
    await this.print(this.isJson ? formatJson(value) : text())
  }

  /** Prints text and a line end; nothing for an empty text. */
  async print(text: string): Promise<void> {
    if (text !== '') await write(this.io.stdout, `${text}\n`)
  }

  /** Says something to the person that is not the result. */
  warn(text: string): void {
    this.io.stderr.write(`wormhole: ${text}\n`)
  }

  /** A progress line on standard error; silent with `--json` and in a pipe. */
  progress(): ProgressLine {
    if (this.isJson) return { show() {}, clear() {} }
    return progressLine(this.io.stderr, () => systemClock.monotonicMs())
  }

  /** Ends the connection. */
  close(): void {
    this.#client?.close()
  }
}
