/**
 * The unmounter: a shell that unmounts for the daemon. It never touches a mount that does not carry
 * the random tag of its own.
 *
 * The daemon does not run umount(8) itself: starting a program blocks the serving thread until the
 * new process has closed its copies of the daemon's files, and closing one that lies in the mount
 * is a FLUSH request to that very thread. Measured: it hangs for good.
 *
 * It reads words from a pipe: `unmount` and `force` are answered with what umount(8) says and a
 * line `=<status>`; `done`, or the end of the pipe, ends it. When the daemon dies the mount stays
 * as it is, dead: README.md, decision 6.
 */
import { spawn } from 'node:child_process'
import { WormholeError } from '../../errors.ts'
import { unmountWords } from './command.ts'
import { unmount } from './mount.ts'

/**
 * `$1` mount point, `$2` the same as mountinfo writes it, `$3` source with the tag. Neither command
 * resolves the path (the mount may be dead).
 */
function script(): string {
  const words = (isForced: boolean): string => unmountWords('"$1"', { isForced }).join(' ')
  return `
trap '' INT TERM HUP QUIT PIPE
ours() {
  topmost=
  while read -r id parent device root point rest; do
    [ "$point" = "$2" ] && topmost=\${rest#* - }
  done < /proc/self/mountinfo
  case "$topmost" in "fuse.wormhole $3 "*) return 0 ;; esac
  return 1
}
while read -r word; do
  case "$word" in done) exit 0 ;; esac
  if ours "$@"; then
    case "$word" in force) ${words(true)} 2>&1 ;; *) ${words(false)} 2>&1 ;; esac
  fi
  echo "=$?"
done`
}

/** Unmounts one mount. */
export interface Unmounter {
  /**
   * Unmounts, if the mount is still there. `isForced` cuts off everything under way and detaches.
   * One call at a time. @throws {WormholeError} `MOUNT_FAILED`, in particular while files are open.
   */
  unmount(options: { readonly isForced: boolean }): Promise<void>
  /** The mount is gone, or never came: the shell ends. Idempotent. */
  dismiss(): void
}

/** A path as `/proc/self/mountinfo` shows it (fs/proc_namespace.c: seq_path). */
export function escapeMountPoint(directory: string): string {
  return directory.replace(
    /[ \t\n\\]/g,
    (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
  )
}

/** Starts one for the mount of `source` at `directory` (a real path). Do so before mounting. */
export function startUnmounter(options: {
  readonly directory: string
  readonly source: string
  onBug(error: Error, operation: string): void
}): Unmounter {
  const { directory, source, onBug } = options
  const point = escapeMountPoint(directory)
  const child = spawn('/bin/sh', ['-c', script(), 'wormhole-unmounter', directory, point, source], {
    cwd: '/',
    detached: true,
    env: { ...process.env, LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  let answer: (text: string | undefined) => void = () => undefined
  let text = ''
  let isGone = false
  child.on('error', (error) => onBug(error, 'unmounter'))
  child.once('close', () => {
    isGone = true
    answer(undefined)
  })
  child.stdin.on('error', (error: NodeJS.ErrnoException) => {
    // It was killed before us: nothing to tell it.
    if (error.code !== 'EPIPE') onBug(error, 'unmounter')
  })
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
    if (/^=\d+\n$/m.test(text)) answer(text)
  })
  child.unref()
  for (const pipe of [child.stdin, child.stdout]) (pipe as { unref?: () => void }).unref?.()

  const ask = (word: string): Promise<string | undefined> =>
    new Promise((resolve) => {
      text = ''
      answer = resolve
      child.stdin.write(`${word}\n`)
    })
  return {
    async unmount({ isForced }) {
      const said = isGone ? undefined : await ask(isForced ? 'force' : 'unmount')
      if (said === undefined) return unmount(directory, { isForced })
      const problem = said.replace(/^=\d+\n$/m, '').trim()
      if (said.endsWith('=0\n')) return
      throw new WormholeError('MOUNT_FAILED', `cannot unmount ${directory}: ${problem}`)
    },
    dismiss() {
      if (!child.stdin.writableEnded) child.stdin.end('done\n')
    },
  }
}
