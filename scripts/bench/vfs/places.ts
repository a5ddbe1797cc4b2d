/**
 * The places that the file system is compared in: the mount, a directory on the disk below it, and
 * that disk through bindfs, a passthrough file system in C. Rounds alternate between them, so that
 * all meet the same machine.
 */
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { median, type Report } from '../../measure.ts'
import { cpuSecondsOf, filesBelow, secondsOf, type BenchDevice } from '../../workload.ts'

/** Somewhere to work. */
export interface Place {
  /** Of the figures: nothing for the mount itself. */
  readonly prefix: '' | 'disk_' | 'bindfs_'
  readonly directory: string
  /** The files that hold the bytes in the end: dropped from memory before a cold read. */
  behind(): string[]
  /** CPU seconds of the process that serves it, so far. */
  serverCpuSeconds(): number
  /** Waits for what the server does after the program has ended. */
  settle(): Promise<void>
}

/** Values of one figure, a list for each place. */
export type Rounds = Map<Place['prefix'], { values: number[]; cpuSeconds: number; wall: number }>

/** What a figure is called, and what the mount must reach, given the medians of all places. */
export interface Compared {
  readonly figure: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  bar?(medians: Readonly<Partial<Record<Place['prefix'], number>>>): number | undefined
}

const BINDFS = '/usr/bin/bindfs'
const MOUNT_TRIES_MAX = 200

/** Why there is nothing to compare with; undefined when there is. */
export function whyNoBindfs(): string | undefined {
  return fs.existsSync(BINDFS) ? undefined : `${BINDFS} is not installed (Debian package bindfs)`
}

/** The mount of a device and the disk beside it; `withBindfs`: also that disk through bindfs. */
export async function withPlaces(
  device: BenchDevice,
  { withBindfs }: { readonly withBindfs: boolean },
  work: (places: readonly Place[]) => Promise<void>,
): Promise<void> {
  const root = path.dirname(device.home)
  const directoryOf = (name: string): string => {
    const directory = path.join(root, name)
    fs.mkdirSync(directory, { recursive: true })
    return directory
  }
  const mount: Place = {
    prefix: '',
    directory: device.mountpoint,
    behind: () => filesBelow(device.home).filter((file) => file.includes('/packs/')),
    serverCpuSeconds: () => cpuSecondsOf([device.daemonPid]),
    settle: async () => void (await device.run(['sync', '--wait', '--timeout', '120'])),
  }
  const disk: Place = {
    prefix: 'disk_',
    directory: directoryOf('beside'),
    behind: () => [],
    serverCpuSeconds: () => 0,
    settle: () => Promise.resolve(),
  }
  if (!withBindfs || whyNoBindfs() !== undefined) return work([mount, disk])
  const below = directoryOf('below')
  const directory = directoryOf('bindfs')
  const server = spawn(BINDFS, ['-f', below, directory], { stdio: 'inherit' })
  const pid = server.pid as number
  try {
    await mounted(directory)
    const bindfs: Place = {
      prefix: 'bindfs_',
      directory,
      behind: () => filesBelow(below),
      serverCpuSeconds: () => cpuSecondsOf([pid]),
      settle: () => Promise.resolve(),
    }
    await work([mount, bindfs, disk])
  } finally {
    spawnSync('umount', ['-l', directory])
    server.kill()
  }
}

async function mounted(directory: string): Promise<void> {
  const device = fs.statSync(path.dirname(directory)).dev
  for (let tries = 0; fs.statSync(directory).dev === device; tries++) {
    if (tries === MOUNT_TRIES_MAX) throw new Error('bindfs has not mounted')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** An empty account for each place. */
export function roundsOf(places: readonly Place[]): Rounds {
  return new Map(places.map(({ prefix }) => [prefix, { values: [], cpuSeconds: 0, wall: 0 }]))
}

/** One line for each place. */
export function tell(report: Report, rounds: Rounds, compared: Compared): void {
  const { figure, unit, better } = compared
  const medians: Partial<Record<Place['prefix'], number>> = {}
  for (const [prefix, { values }] of rounds) medians[prefix] = median(values)
  for (const [prefix, { cpuSeconds, wall }] of rounds) {
    const bar = prefix === '' ? compared.bar?.(medians) : undefined
    report.take(
      { name: `${prefix}${figure}`, unit, better, ...(bar === undefined ? {} : { bar }) },
      { value: medians[prefix] as number, cpuSeconds, wallSeconds: wall },
    )
  }
}

/**
 * Takes `count` rounds of something in each place by turns. CPU seconds are those of the server,
 * until it has nothing left to do.
 */
export async function compare(
  report: Report,
  places: readonly Place[],
  how: Compared & {
    readonly rounds: number
    /** Before each measurement, not counted. */
    prepare?(place: Place): void
    /** The value of one round. */
    work(place: Place, round: number): number
  },
): Promise<Rounds> {
  const rounds = roundsOf(places)
  for (let round = 0; round < how.rounds; round++) {
    for (const place of places) {
      how.prepare?.(place)
      const row = rounds.get(place.prefix) as { values: number[]; cpuSeconds: number; wall: number }
      const before = place.serverCpuSeconds()
      row.wall += secondsOf(() => row.values.push(how.work(place, round)))
      await place.settle()
      row.cpuSeconds += place.serverCpuSeconds() - before
    }
  }
  tell(report, rounds, how)
  return rounds
}
