/**
 * What a person, or a script, learns about a failure, and the exit code that goes with it.
 *
 * Text on standard error: `wormhole: CODE: what happened and why. What to do next.` With `--json`
 * one object on standard error instead, and nothing on standard output:
 * `{"error":{"code","message","hint"}}`.
 */
import { WormholeError, fromErrno, type ErrorCode } from '../errors.ts'
import { clean, formatJson } from './format.ts'

/** The command line is wrong, or an argument of it. */
export const EXIT_USAGE = 2
/** A bug: never caught in order to go on. */
export const EXIT_BUG = 70
/** Ctrl-C, as shells count it: 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130

/** What to do next. A message that says it itself has none here. */
const HINTS: Record<ErrorCode, string> = {
  ABORTED: '',
  ALREADY_EXISTS: 'Choose another name, or remove what is there first.',
  BAD_ARGUMENT: 'See: wormhole help.',
  BAD_HANDLE: '',
  CHUNK_CORRUPT: 'The bytes on disk are damaged; another device that has them repairs it.',
  CHUNK_UNAVAILABLE: 'No connected device has the bytes. See: wormhole where PATH.',
  DAEMON_NOT_RUNNING: 'Start it with: wormhole up.',
  DAEMON_RUNNING: 'Stop it first with: wormhole down.',
  DISK_FULL: 'Free some space and try again; nothing that was acknowledged is lost.',
  ENTRY_INVALID: 'See the log file of the daemon: wormhole doctor names it.',
  FEED_CORRUPT: 'See: wormhole verify.',
  FEED_FORKED: 'Of two copies of a home, give one a home of its own: wormhole join.',
  FILE_TOO_LARGE: '',
  FORMAT_UNSUPPORTED: 'It was written by another version: upgrade this program.',
  HOME_LOCKED: 'See: wormhole status. For a second device on this machine set WORMHOLE_HOME.',
  INDEX_CORRUPT: 'See: wormhole verify.',
  INVITE_EXPIRED: 'Ask for a new one, made with: wormhole invite.',
  INVITE_INVALID: 'Copy the whole invite again, or ask for a new one.',
  INVITE_USED_UP: 'Ask for a new one, made with: wormhole invite --uses N.',
  IO_ERROR: 'See: wormhole doctor.',
  IS_DIRECTORY: 'Give the path of a file; put, get and rm take directories with -r.',
  JOURNAL_CORRUPT: 'See: wormhole verify.',
  KEY_MISSING: 'This device was not given that key.',
  LIMIT_EXCEEDED: '',
  LOG_LOST: 'See: wormhole verify.',
  MOUNT_FAILED: 'See: wormhole doctor.',
  MOUNT_UNAVAILABLE: 'wormhole ls, cat, put and get work without a mount. See: wormhole doctor.',
  NAME_INVALID: 'A name has 1 to 255 bytes, no "/", and is not "." or "..".',
  NAME_TOO_LONG: 'A name has at most 255 bytes.',
  NO_ATTRIBUTE: '',
  NOT_A_DIRECTORY: 'A part of the path is a file.',
  NOT_A_MEMBER: 'An admin admits devices with: wormhole invite.',
  NOT_EMPTY: 'Remove what is in it, or use: wormhole rm -r.',
  NOT_FOUND: 'See what there is: wormhole status, wormhole ls.',
  NOT_PERMITTED: '',
  OUT_OF_RANGE: '',
  PEER_MISBEHAVED: 'See: wormhole peers.',
  PEER_UNREACHABLE: 'Check that a member is online. See: wormhole peers, wormhole doctor.',
  POLICY_INVALID: 'See: wormhole policy check.',
  READ_ONLY: 'An admin can change it. See: wormhole status, wormhole policy explain PATH.',
  REVOKED: 'An admin lets devices in again with: wormhole invite.',
  SNAPSHOT_INVALID: 'Nothing to do: the log is fetched instead.',
  TIMEOUT: 'Try again, or allow more time with --timeout. See: wormhole peers.',
  UNSUPPORTED: 'After an upgrade restart the daemon: wormhole down; wormhole up.',
  UPGRADE_NEEDED: 'After an upgrade restart the daemon: wormhole down; wormhole up.',
  VOLUME_CLOSED: 'Start it with: wormhole up.',
  WRITER_BROKEN: 'Restart the daemon after fixing the disk: wormhole down; wormhole up.',
}

/** A failure, ready to print. */
export interface Failure {
  readonly code: ErrorCode | 'BUG'
  readonly message: string
  readonly hint: string
  readonly exitCode: number
  readonly stack: string | undefined
}

/** Anything thrown, judged. `isInterrupted`: Ctrl-C was pressed, which explains an abort. */
export function describeFailure(thrown: unknown, isInterrupted: boolean): Failure {
  const error = isErrno(thrown) ? fromErrno(thrown, `cannot ${thrown.syscall}`) : thrown
  if (!(error instanceof WormholeError)) {
    return {
      code: 'BUG',
      message: error instanceof Error ? error.message : String(error),
      hint: 'This is a bug of wormhole; please report it with the lines below.',
      exitCode: EXIT_BUG,
      stack: error instanceof Error ? error.stack : undefined,
    }
  }
  const { code, message } = error
  let exitCode = code === 'BAD_ARGUMENT' ? EXIT_USAGE : 1
  if (code === 'ABORTED' && isInterrupted) exitCode = EXIT_INTERRUPTED
  // A message that names commands says itself what to do.
  const hint = message.includes('`wormhole ') ? '' : HINTS[code]
  return { code, message, hint, exitCode, stack: undefined }
}

/** What the system refused, a file of this machine for example, is not a bug of ours. */
function isErrno(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'errno' in error && 'syscall' in error
}

/** The text or JSON for standard error, with its line end. */
export function formatFailure(failure: Failure, isJson: boolean): string {
  const { code, message, hint, stack } = failure
  if (isJson) return `${formatJson({ error: { code, message, hint } })}\n`
  if (failure.exitCode === EXIT_INTERRUPTED) return 'wormhole: interrupted\n'
  const lines = clean(message.replace(/\n+$/, ' ')).replaceAll('\\x0a', '\n')
  const sentence = /[.!?:]$/.test(lines) || lines.includes('\n') ? lines : `${lines}.`
  const gap = lines.includes('\n') ? '\n' : ' '
  const trace = stack === undefined ? '' : `${clean(stack).replaceAll('\\x0a', '\n')}\n`
  return `wormhole: ${code}: ${sentence}${hint === '' ? '' : gap + hint}\n${trace}`
}
