/**
 * The `Disk` port on the real file system. Every file and directory it makes is private (0600,
 * 0700).
 */
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { fromErrno } from './errors.ts'
import type { Disk, DiskFile } from './system.ts'

type NativeExtensions = typeof import('fs-native-extensions')

/** Loaded when a hole is punched, which is rare: not by every thread at its start. */
function nativeExtensions(): NativeExtensions['default'] {
  return createRequire(import.meta.url)('fs-native-extensions') as NativeExtensions['default']
}

const readAsync = promisify(fs.read)
const fdatasyncAsync = promisify(fs.fdatasync)

class RealFile implements DiskFile {
  readonly #descriptor: number
  readonly #path: string
  #isOpen = true

  constructor(descriptor: number, filePath: string) {
    this.#descriptor = descriptor
    this.#path = filePath
  }

  #guard<T>(what: string, run: () => T): T {
    try {
      return run()
    } catch (error) {
      throw fromErrno(error, `${what} ${this.#path}`)
    }
  }

  readSync(offset: number, into: Uint8Array): number {
    return this.#guard('read', () => {
      let count = 0
      while (count < into.length) {
        const got = fs.readSync(this.#descriptor, into, count, into.length - count, offset + count)
        if (got === 0) break
        count += got
      }
      return count
    })
  }

  async read(offset: number, into: Uint8Array): Promise<number> {
    try {
      let count = 0
      while (count < into.length) {
        const { bytesRead } = await readAsync(
          this.#descriptor,
          into,
          count,
          into.length - count,
          offset + count,
        )
        if (bytesRead === 0) break
        count += bytesRead
      }
      return count
    } catch (error) {
      throw fromErrno(error, `read ${this.#path}`)
    }
  }

  writeSync(offset: number, parts: readonly Uint8Array[]): void {
    this.#guard('write', () => {
      let total = 0
      for (const part of parts) total += part.length
      let done = fs.writevSync(this.#descriptor, parts as Uint8Array[], offset)
      if (done === total) return
      const rest = Buffer.concat(parts).subarray(done)
      for (let at = 0; at < rest.length;) {
        const wrote = fs.writeSync(this.#descriptor, rest, at, rest.length - at, offset + done)
        at += wrote
        done += wrote
      }
    })
  }

  async sync(): Promise<void> {
    try {
      await fdatasyncAsync(this.#descriptor)
    } catch (error) {
      throw fromErrno(error, `sync ${this.#path}`)
    }
  }

  syncSync(): void {
    this.#guard('sync', () => fs.fdatasyncSync(this.#descriptor))
  }

  sizeSync(): number {
    return this.#guard('stat', () => fs.fstatSync(this.#descriptor).size)
  }

  truncateSync(sizeBytes: number): void {
    this.#guard('truncate', () => fs.ftruncateSync(this.#descriptor, sizeBytes))
  }

  punchSync(offset: number, length: number): void {
    this.#guard('punch a hole in', () =>
      nativeExtensions().trimSync(this.#descriptor, offset, length),
    )
  }

  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#guard('close', () => fs.closeSync(this.#descriptor))
  }
}

function guard<T>(what: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw fromErrno(error, what)
  }
}

/** This machine's disk. */
export const systemDisk: Disk = {
  openSync(filePath, options = {}) {
    const { O_RDWR, O_RDONLY, O_CREAT } = fs.constants
    const flags = (options.readOnly ? O_RDONLY : O_RDWR) | (options.create ? O_CREAT : 0)
    return guard(`open ${filePath}`, () => {
      return new RealFile(fs.openSync(filePath, flags, 0o600), filePath)
    })
  },
  readFileSync(filePath) {
    try {
      return fs.readFileSync(filePath)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw fromErrno(error, `read ${filePath}`)
    }
  },
  replaceFileSync(filePath, bytes) {
    guard(`write ${filePath}`, () => {
      const temporary = `${filePath}.new`
      const descriptor = fs.openSync(temporary, 'w', 0o600)
      try {
        fs.writeFileSync(descriptor, bytes)
        fs.fsyncSync(descriptor)
      } finally {
        fs.closeSync(descriptor)
      }
      fs.renameSync(temporary, filePath)
    })
    this.syncDirectorySync(path.dirname(filePath))
  },
  listSync(directory) {
    try {
      return fs.readdirSync(directory).sort()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw fromErrno(error, `list ${directory}`)
    }
  },
  makeDirectorySync(directory) {
    guard(`make ${directory}`, () => fs.mkdirSync(directory, { recursive: true, mode: 0o700 }))
  },
  removeSync(filePath) {
    guard(`remove ${filePath}`, () => fs.rmSync(filePath, { recursive: true, force: true }))
  },
  renameSync(from, to) {
    guard(`rename ${from}`, () => fs.renameSync(from, to))
  },
  syncDirectorySync(directory) {
    guard(`sync ${directory}`, () => {
      const descriptor = fs.openSync(directory, 'r')
      try {
        fs.fsyncSync(descriptor)
      } finally {
        fs.closeSync(descriptor)
      }
    })
  },
  spaceSync(filePath) {
    return guard(`stat ${filePath}`, () => {
      const stat = fs.statfsSync(filePath)
      return { freeBytes: stat.bavail * stat.bsize, totalBytes: stat.blocks * stat.bsize }
    })
  },
}
