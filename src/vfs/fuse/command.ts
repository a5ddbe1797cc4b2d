/** Runs mount(8) and its relatives, from a thread that may serve mounts. */
import { spawn } from 'node:child_process'

/** Longest that such a command may take. */
const COMMAND_MS_MAX = 10_000

/**
 * Runs a command, `descriptor` as its fd 3. @returns undefined, or why it failed.
 *
 * A shell searches PATH for it: a spawn of ours would block this thread while it searches, for ever
 * if PATH leads into a mount that this thread serves.
 */
export function runCommand(
  words: readonly string[],
  options: { readonly descriptor?: number; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<string | undefined> {
  const { descriptor, env } = options
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', 'exec "$0" "$@"', ...words], {
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C', ...env },
      stdio: ['ignore', 'ignore', 'pipe', ...(descriptor === undefined ? [] : [descriptor])],
      timeout: COMMAND_MS_MAX,
      killSignal: 'SIGKILL',
    })
    let text = ''
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    child.on('error', (error) => resolve(error.message))
    child.on('close', (status, signal) => {
      if (status === 0) resolve(undefined)
      else resolve(text.trim() || `${words[0]} ended with ${signal ?? status}`)
    })
  })
}

/** Whether this process may call mount(2) itself: as root, or as root of a user namespace. */
export function isRoot(): boolean {
  return process.geteuid?.() === 0
}

/** The words that unmount a real path: `isLazy` detaches it now, `isForced` also cuts it off. */
export function unmountWords(
  place: string,
  options: { readonly isLazy?: boolean; readonly isForced?: boolean } = {},
): string[] {
  const isDetaching = options.isLazy === true || options.isForced === true
  if (!isRoot()) return ['fusermount3', '-u', ...(isDetaching ? ['-z'] : []), '--', place]
  return [
    'umount',
    '-i',
    '-c',
    ...(options.isForced ? ['-f'] : []),
    ...(isDetaching ? ['-l'] : []),
    place,
  ]
}
