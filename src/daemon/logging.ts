/**
 * The daemon's log: JSON lines in `<home>/daemon.log` through pino, level from `WORMHOLE_LOG`
 * (default `info`). Written synchronously, so that the last line before a crash is there.
 *
 * Never log keys, invites, file contents or the parameters of requests. Fields with the names in
 * `SECRET_FIELDS` are replaced all the same.
 */
import fs from 'node:fs'
import pino from 'pino'
import { WormholeError, fromErrno } from '../errors.ts'
import type { Environment } from './paths.ts'

/** A log file is set aside as `.1` (replacing the last one) when it has grown to this size. */
const LOG_BYTES_MAX = 8 * 1024 * 1024
const LEVELS = ['debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
const SECRET_FIELDS = ['key', 'secret', 'invite', 'recoveryCode', 'passphrase']

/** How much is logged. */
export type LogLevel = (typeof LEVELS)[number]

/** What the daemon's parts write their log through. */
export interface Logger {
  debug(fields: object, text: string): void
  info(fields: object, text: string): void
  warn(fields: object, text: string): void
  error(fields: object, text: string): void
  fatal(fields: object, text: string): void
  /** A logger that adds `fields` to every line. */
  child(fields: Record<string, unknown>): Logger
}

/** `WORMHOLE_LOG`. @throws `BAD_ARGUMENT`. */
export function logLevel(env: Environment): LogLevel {
  const text = env.WORMHOLE_LOG
  if (!text) return 'info'
  const level = LEVELS.find((known) => known === text)
  if (!level) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `WORMHOLE_LOG is ${JSON.stringify(text)}; it must be one of ${LEVELS.join(', ')}`,
    )
  }
  return level
}

/** A logger that appends to `file` (mode 0600). @throws `IO_ERROR`, `NOT_PERMITTED`. */
export function openLogger(file: string, level: LogLevel): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: [...SECRET_FIELDS, ...SECRET_FIELDS.map((field) => `*.${field}`)],
    },
    new RotatingFile(file, LOG_BYTES_MAX),
  )
}

/** An append-only file that starts anew when it is full. Exported for its test. */
export class RotatingFile {
  readonly #file: string
  readonly #sizeBytesMax: number
  #descriptor: number
  #sizeBytes: number

  constructor(file: string, sizeBytesMax: number) {
    this.#file = file
    this.#sizeBytesMax = sizeBytesMax
    try {
      this.#descriptor = fs.openSync(file, 'a', 0o600)
      this.#sizeBytes = fs.fstatSync(this.#descriptor).size
    } catch (error) {
      throw fromErrno(error, `open ${file}`)
    }
  }

  /** Appends one line. A full disk loses the line: logging must not stop the daemon. */
  write(line: string): void {
    const bytes = Buffer.from(line)
    try {
      if (this.#sizeBytes > 0 && this.#sizeBytes + bytes.length > this.#sizeBytesMax) this.#rotate()
      this.#sizeBytes += fs.writeSync(this.#descriptor, bytes)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
    }
  }

  #rotate(): void {
    fs.renameSync(this.#file, `${this.#file}.1`)
    const full = this.#descriptor
    this.#descriptor = fs.openSync(this.#file, 'a', 0o600)
    this.#sizeBytes = 0
    fs.closeSync(full)
  }
}
