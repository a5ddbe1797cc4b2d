/** The process around a command, as a port: tests run commands without one. */
import type { Readable, Writable } from 'node:stream'
import type { Environment } from '../daemon/paths.ts'
import type { OpenHome } from '../daemon/daemon.ts'

/** A place to print. */
export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number }

/** What a command may touch of its process. */
export interface Io {
  readonly stdin: Readable
  readonly stdout: Output
  readonly stderr: Output
  readonly env: Environment
  readonly cwd: string
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal
  /** What to run, without the command's own words, to start this program again. */
  readonly restart: readonly string[]
  /** Loads what the daemon serves. */
  loadHome(): Promise<OpenHome>
}

/** Writes, and waits when the reader is slow. A reader that left (EPIPE) is not an error: false. */
export function write(output: Writable, bytes: Uint8Array | string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    output.write(bytes, (error) => {
      if (!error) resolve(true)
      else if ((error as NodeJS.ErrnoException).code === 'EPIPE') resolve(false)
      else reject(error)
    })
  })
}
