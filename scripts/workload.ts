/**
 * What the benchmarks on real mounts share: devices, their CPU time, and files to write and read.
 * Everything here is synchronous: the daemons that do the work are other processes.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { createDevices, whyNoMount, type Device } from '../test/helpers/process.ts'
import type { Teardown } from '../test/helpers/teardown.ts'

const MIB = 1024 * 1024
/** A block of a large file that differs from every other one by its stamp. */
const STAMP_EVERY_BYTES = 4096
/** What `/proc/<pid>/stat` counts in: USER_HZ, 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100

/** Bytes that no layer below can compress or deduplicate: a xorshift32 stream. */
export function noise(count: number): Buffer {
  const words = new Uint32Array(count / 4)
  let state = 0x9e3779b9
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[index] = state
  }
  return Buffer.from(words.buffer)
}

/** Seconds that `work` takes on the wall. */
export function secondsOf(work: () => void): number {
  const startMs = performance.now()
  work()
  return (performance.now() - startMs) / 1000
}

/** User and system seconds of processes so far, all their threads together. */
export function cpuSecondsOf(pids: readonly number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command's name may hold anything, its last parenthesis may not be missed.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks / TICKS_PER_SECOND
}

/** User and system seconds so far of all processes that this one started and that have ended. */
export function childCpuSeconds(): number {
  const text = fs.readFileSync('/proc/self/stat', 'latin1')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND
}

/** Why the programs that these benchmarks use are not here; undefined when they are. */
export function whyNoWorkload(): string | undefined {
  const python = spawnSync('python3', ['--version'])
  return whyNoMount() ?? (python.status === 0 ? undefined : 'python3 is not installed')
}

/**
 * Runs a Python program and returns what it prints: some system calls cannot be made from Node, and
 * it starts in 20 ms. @throws when it fails.
 */
export function python(program: string, words: readonly string[]): string {
  const result = spawnSync('python3', ['-c', program, ...words], { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`python3: ${result.stderr}`)
  return result.stdout
}

/** Python: `statx(name)` must not be answered from the kernel's cache. */
export const STATX_LIBRARY = `
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS = -100, 0x2000, 0x7ff
buffer = ctypes.create_string_buffer(256)
def statx(name):
    if libc.statx(AT_FDCWD, name.encode(), AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, buffer) != 0:
        sys.exit(f'statx: errno {ctypes.get_errno()}')`

/** Takes the cached pages of files out of memory, as far as they are clean. */
export function dropPages(files: readonly string[]): void {
  const program = `
import os, sys
for name in sys.argv[1:]:
    descriptor = os.open(name, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)`
  python(program, files)
}

/** Writes `sizeBytes` that occur nowhere else as long as `stamp` differs, then `fsync`s. */
export function writeLarge(file: string, sizeBytes: number, stamp: number): void {
  const piece = noise(MIB)
  const descriptor = fs.openSync(file, 'w')
  for (let at = 0; at < sizeBytes; at += piece.length) {
    for (let offset = 0; offset < piece.length; offset += STAMP_EVERY_BYTES) {
      piece.writeDoubleLE(stamp + (at + offset) / 2 ** 40, offset)
    }
    fs.writeSync(descriptor, piece)
  }
  fs.fsyncSync(descriptor)
  fs.closeSync(descriptor)
}

/** Reads a file from front to end in pieces of 1 MiB. */
export function readLarge(file: string): void {
  const into = Buffer.alloc(MIB)
  const descriptor = fs.openSync(file, 'r')
  while (fs.readSync(descriptor, into, 0, into.length, null) > 0);
  fs.closeSync(descriptor)
}

/** Makes a directory of `count` different files of `sizeBytes`. */
export function createFiles(directory: string, count: number, sizeBytes: number): void {
  const content = Buffer.alloc(sizeBytes, 'small ')
  fs.mkdirSync(directory)
  for (let index = 0; index < count; index++) {
    content.write(`${directory} ${index} `.slice(-sizeBytes))
    fs.writeFileSync(path.join(directory, `file-${index}`), content)
  }
}

/** All files below a directory. */
export function filesBelow(directory: string): string[] {
  return fs
    .readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
}

/** A device that runs, with the process that serves it. */
export type BenchDevice = Device & { readonly daemonPid: number }

/** Runs `work` with mounted devices of one volume, the first of which made it; cleans up. */
export async function withDevices<Name extends string>(
  names: readonly [Name, ...Name[]],
  work: (devices: Record<Name, BenchDevice>) => Promise<void>,
): Promise<void> {
  const ends: (() => void | Promise<void>)[] = []
  const t: Teardown = { after: (end) => void ends.push(end) }
  try {
    const devices = createDevices(t, names)
    let invite: string | undefined
    const running: [Name, BenchDevice][] = []
    for (const name of names) {
      const device = devices[name]
      const how = invite === undefined ? ['init', '--name', 'bench'] : ['join', invite]
      const words = [...how, '--device', name, '--mount', device.mountpoint]
      const created = await device.json<{ invite?: string }>(words)
      invite ??= created.invite
      const { daemonPid } = await device.status()
      running.push([name, Object.assign(device, { daemonPid })])
    }
    await work(Object.fromEntries(running) as Record<Name, BenchDevice>)
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

/** Ctrl-C takes mounts and daemons down too: the helpers clean up when the process exits. */
process.once('SIGINT', () => process.exit(130))
