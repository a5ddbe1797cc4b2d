/** Who holds a home, as the lock file tells it, and private directories. Cheap to load. */
import fs from 'node:fs'
import { WormholeError, fromErrno } from '../errors.ts'
import { homeFiles } from './paths.ts'

/** The process that serves a home. */
export interface Holder {
  readonly pid: number
  readonly version: string
  /** Absolute path of the control socket; undefined while the home is being opened. */
  readonly socket: string | undefined
}

/**
 * What tells this lock file from a copy of it in another home (`cp -a` of a home that is served):
 * whoever believed the copy would talk to the daemon of the original.
 */
export function lockFileId({ dev, ino }: fs.Stats): string {
  return `${dev}:${ino}`
}

/**
 * Who last held `home`; undefined when nobody did, it was released, or the lock file is a copy.
 * Says nothing about now.
 */
export function readHolder(home: string): Holder | undefined {
  let text: string
  let file: string
  try {
    text = fs.readFileSync(homeFiles(home).lock, 'utf8')
    file = lockFileId(fs.statSync(homeFiles(home).lock))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fromErrno(error, `read ${homeFiles(home).lock}`)
  }
  return parseHolder(text, file)
}

/** Undefined for anything that is not a whole holder: the daemon may be writing it right now. */
function parseHolder(text: string, file: string): Holder | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { pid, version, socket, file: written } = value as Record<string, unknown>
  if (written !== file || typeof pid !== 'number' || typeof version !== 'string') return undefined
  return { pid, version, socket: typeof socket === 'string' ? socket : undefined }
}

/** Makes `directory` with its parents (0700), or closes an own one. @throws `NOT_PERMITTED`. */
export function makePrivateDirectory(directory: string, uid: number): void {
  const stat = makeOwnDirectory(directory, uid)
  if ((stat.mode & 0o077) !== 0) fs.chmodSync(directory, 0o700)
}

/**
 * Makes the directory of control sockets, or makes sure that nobody else could have prepared it: it
 * may lie in `/tmp`. @throws `NOT_PERMITTED` for a foreign, open or linked one.
 */
export function claimRuntimeDirectory(directory: string, uid: number): void {
  const stat = makeOwnDirectory(directory, uid)
  if ((stat.mode & 0o077) !== 0) {
    const mode = (stat.mode & 0o777).toString(8)
    throw new WormholeError(
      'NOT_PERMITTED',
      `others may enter ${directory} (mode ${mode}), so the control socket cannot be there; ` +
        `run: chmod 700 ${directory}`,
    )
  }
}

function makeOwnDirectory(directory: string, uid: number): fs.Stats {
  let stat: fs.Stats
  try {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
    stat = fs.lstatSync(directory)
  } catch (error) {
    throw fromErrno(error, `make ${directory}`)
  }
  if (!stat.isDirectory() || stat.uid !== uid) {
    throw new WormholeError(
      'NOT_PERMITTED',
      `${directory} is not a directory of user ${uid} (owner ${stat.uid}); it is not used`,
    )
  }
  return stat
}
