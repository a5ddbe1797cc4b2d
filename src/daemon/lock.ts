/**
 * Claims on the file system: one process per home, and directories that nobody else may enter.
 *
 * `<home>/daemon.lock` is held with an advisory lock (fcntl(2) open file description lock) as long
 * as the daemon lives, so that it ends with the process, however that ends. Its content, one JSON
 * object, says who holds it and where the control socket is; without the lock it means nothing. The
 * file is never removed: a removed lock file could be held twice.
 */
import fs from 'node:fs'
import fsx from 'fs-native-extensions'
import { WormholeError, fromErrno } from '../errors.ts'
import { lockFileId, readHolder, type Holder } from './holder.ts'
import { homeFiles } from './paths.ts'

/** A held home. */
export interface HomeLock {
  /** Writes who holds it, for those who find it locked and for clients. */
  describe(holder: Holder): void
  /** Lets go. Idempotent. */
  release(): void
}

/** Takes the lock of an existing home. @throws `HOME_LOCKED` naming the process that holds it. */
export function lockHome(home: string): HomeLock {
  const file = homeFiles(home).lock
  const descriptor = openLockFile(file)
  if (!fsx.tryLock(descriptor)) {
    fs.closeSync(descriptor)
    const holder = readHolder(home)
    const who = holder === undefined ? 'another process' : `process ${holder.pid}`
    throw new WormholeError('HOME_LOCKED', `${who} is using the home ${home}`)
  }
  let isHeld = true
  return {
    describe(holder) {
      fs.ftruncateSync(descriptor, 0)
      const file = lockFileId(fs.fstatSync(descriptor))
      fs.writeSync(descriptor, JSON.stringify({ ...holder, file }), 0)
    },
    release() {
      if (!isHeld) return
      isHeld = false
      fs.ftruncateSync(descriptor, 0)
      fsx.unlock(descriptor)
      fs.closeSync(descriptor)
    },
  }
}

/** Whether a process holds the lock of `home` right now. */
export function isHomeLocked(home: string): boolean {
  const file = homeFiles(home).lock
  if (!fs.existsSync(file)) return false
  const descriptor = openLockFile(file)
  try {
    if (!fsx.tryLock(descriptor)) return true
    fsx.unlock(descriptor)
    return false
  } finally {
    fs.closeSync(descriptor)
  }
}

function openLockFile(file: string): number {
  try {
    return fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600)
  } catch (error) {
    throw fromErrno(error, `open ${file}`)
  }
}
