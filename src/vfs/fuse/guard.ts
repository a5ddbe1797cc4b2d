/**
 * The guard: a detached shell that unmounts when the daemon dies, by whatever death.
 *
 * It holds the read end of a pipe from the daemon. `done` means that the daemon has unmounted; the end
 * of the pipe without it means that the daemon is gone, and the guard detaches the mount, but only if
 * the topmost mount at that place still carries the random tag of this one.
 */
import { spawn } from 'node:child_process'

/**
 * `$1` mount point, `$2` the same as mountinfo writes it, `$3` source with the tag. Only `umount` is
 * run from disk; it neither resolves the path (the mount is dead) nor calls a helper.
 */
const SCRIPT = `
trap '' INT TERM HUP QUIT
read -r word
[ "$word" = done ] && exit 0
topmost=
while read -r id parent device root point rest; do
  [ "$point" = "$2" ] || continue
  topmost=\${rest#* - }
done < /proc/self/mountinfo
case "$topmost" in
  "fuse.wormhole $3 "*) exec umount -i -c -l "$1" ;;
esac
`

/** A guard that watches over one mount. */
export interface Guard {
  /** The mount is gone, or never came: the guard ends. Idempotent. */
  dismiss(): void
}

/** A path as `/proc/self/mountinfo` shows it (fs/proc_namespace.c: seq_path). */
export function escapeMountPoint(directory: string): string {
  return directory.replace(
    /[ \t\n\\]/g,
    (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
  )
}

/** Starts a guard for the mount of `source` at `directory` (a real path). Do so before mounting. */
export function startGuard(options: {
  readonly directory: string
  readonly source: string
  onBug(error: Error, operation: string): void
}): Guard {
  const { directory, source, onBug } = options
  const point = escapeMountPoint(directory)
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'wormhole-guard', directory, point, source], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.on('error', (error) => onBug(error, 'guard'))
  child.stdin.on('error', (error: NodeJS.ErrnoException) => {
    // The guard was killed before us: nothing to tell it.
    if (error.code !== 'EPIPE') onBug(error, 'guard')
  })
  child.unref()
  const pipe = child.stdin as typeof child.stdin & { unref?: () => void }
  pipe.unref?.()
  let isDismissed = false
  return {
    dismiss() {
      if (isDismissed) return
      isDismissed = true
      child.stdin.end('done\n')
    },
  }
}
