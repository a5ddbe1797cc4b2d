/**
 * The one error class of Wormhole and its closed table of codes.
 *
 * An operating error (a full disk, a peer that sends rubbish, bad input) is a `WormholeError` and
 * is recognised by `code`, never by its text. A bug is an `AssertionError` from `assert` and is
 * never caught in order to go on. Codes are append-only: never renamed, never reused.
 */

/** What a caller may do about an error: give up, try again later, or ask somebody else. */
export type Retry = 'never' | 'later' | 'elsewhere'

/** Every operating error with its retry advice. */
export const CODES = {
  ABORTED: 'never',
  ALREADY_EXISTS: 'never',
  BAD_ARGUMENT: 'never',
  BAD_HANDLE: 'never',
  CHUNK_CORRUPT: 'elsewhere',
  CHUNK_UNAVAILABLE: 'later',
  DAEMON_NOT_RUNNING: 'never',
  DAEMON_RUNNING: 'never',
  DISK_FULL: 'later',
  ENTRY_INVALID: 'never',
  FEED_CORRUPT: 'elsewhere',
  FEED_FORKED: 'never',
  FILE_TOO_LARGE: 'never',
  FORMAT_UNSUPPORTED: 'never',
  HOME_LOCKED: 'never',
  INDEX_CORRUPT: 'never',
  INVITE_EXPIRED: 'never',
  INVITE_INVALID: 'never',
  INVITE_USED_UP: 'never',
  IO_ERROR: 'later',
  IS_DIRECTORY: 'never',
  JOURNAL_CORRUPT: 'never',
  KEY_MISSING: 'never',
  LIMIT_EXCEEDED: 'never',
  LOG_LOST: 'never',
  MOUNT_FAILED: 'never',
  MOUNT_UNAVAILABLE: 'never',
  NAME_INVALID: 'never',
  NAME_TOO_LONG: 'never',
  NO_ATTRIBUTE: 'never',
  NOT_A_DIRECTORY: 'never',
  NOT_A_MEMBER: 'never',
  NOT_EMPTY: 'never',
  NOT_FOUND: 'never',
  NOT_PERMITTED: 'never',
  OUT_OF_RANGE: 'never',
  PEER_MISBEHAVED: 'elsewhere',
  PEER_UNREACHABLE: 'later',
  POLICY_INVALID: 'never',
  READ_ONLY: 'never',
  REVOKED: 'never',
  SNAPSHOT_INVALID: 'elsewhere',
  TIMEOUT: 'later',
  UNSUPPORTED: 'never',
  UPGRADE_NEEDED: 'never',
  VOLUME_CLOSED: 'never',
  WRITER_BROKEN: 'never',
} as const satisfies Record<string, Retry>

/** A stable name for one kind of operating error. */
export type ErrorCode = keyof typeof CODES

/** An operating error: expected, handled, and identified by `code`, never by text. */
export class WormholeError extends Error {
  override readonly name = 'WormholeError'
  readonly code: ErrorCode
  readonly retry: Retry

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    this.retry = CODES[code]
  }
}

/** Whether `error` is an operating error with this code. */
export function hasCode(error: unknown, code: ErrorCode): error is WormholeError {
  return error instanceof WormholeError && error.code === code
}

/** An error as plain data, to cross a thread or a socket. */
export interface ErrorData {
  code: ErrorCode | 'BUG'
  message: string
  stack?: string
}

/**
 * Encodes any thrown value; what is not a `WormholeError` becomes the code `BUG` with its
 * stack.
 */
export function errorToData(error: unknown): ErrorData {
  if (error instanceof WormholeError) return { code: error.code, message: error.message }
  if (error instanceof Error) {
    return { code: 'BUG', message: error.message, ...(error.stack ? { stack: error.stack } : {}) }
  }
  return { code: 'BUG', message: String(error) }
}

/** The reverse of `errorToData`. A `BUG` becomes a plain `Error` that carries the remote stack. */
export function errorFromData(data: ErrorData): Error {
  if (data.code !== 'BUG') return new WormholeError(data.code, data.message)
  const error = new Error(data.message)
  if (data.stack) error.stack = data.stack
  return error
}

/**
 * Turns an errno error of Node (`ENOSPC`, `EIO`, …) into a `WormholeError` that keeps the
 * cause.
 */
export function fromErrno(error: unknown, what: string): WormholeError {
  if (error instanceof WormholeError) return error
  const errno = (error as NodeJS.ErrnoException | undefined)?.code
  const text = error instanceof Error ? error.message : String(error)
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new WormholeError('DISK_FULL', `${what}: no space left on the disk`, { cause: error })
  }
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new WormholeError('NOT_PERMITTED', `${what}: ${text}`, { cause: error })
  }
  return new WormholeError('IO_ERROR', `${what}: ${text}`, { cause: error })
}
