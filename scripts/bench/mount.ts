/**
 * One device's real mount next to the disk that its home is on. Rounds of mount and disk alternate,
 * so that both meet the same machine.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { median, type Group, type Report } from '../measure.ts'
import {
  cpuSecondsOf,
  createFiles,
  dropPages,
  filesBelow,
  readLarge,
  runPython,
  secondsOf,
  whyNoWorkload,
  withDevices,
  writeLarge,
} from '../workload.ts'

const LARGE_BYTES = 1024 ** 3
const GETATTR_COUNT = 50_000
const SMALL_COUNT = 10_000
const SMALL_BYTES = 100
const ROUNDS = 3

/** statx(2) that must not be answered from the kernel's cache. */
const STATX = `
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
name = sys.argv[1].encode()
AT_FDCWD, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS = -100, 0x2000, 0x7ff
buffer = ctypes.create_string_buffer(256)
for _ in range(int(sys.argv[2])):
    if libc.statx(AT_FDCWD, name, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, buffer) != 0:
        sys.exit(f'statx: errno {ctypes.get_errno()}')`

interface Place {
  /** Of the figures: nothing for the mount itself. */
  readonly prefix: string
  readonly directory: string
  /** The files that hold the bytes in the end: dropped from memory before a cold read. */
  behind(): string[]
}

/** What is measured in both places by turns. */
interface Comparison {
  readonly figure: string
  readonly unit: string
  /** Before each measurement, not counted. */
  prepare?(place: Place): void
  /** The value of one round. */
  work(place: Place, round: number): number
}

class Series {
  readonly values: number[] = []
  cpuSeconds = 0
  wallSeconds = 0
}

/** Prints one line for each place. CPU seconds are those of the daemon and of this process. */
function compare(
  report: Report,
  places: readonly Place[],
  cpuSeconds: () => number,
  { figure, unit, prepare, work }: Comparison,
): void {
  const rows = places.map((place) => ({ place, series: new Series() }))
  for (let round = 0; round < ROUNDS; round++) {
    for (const { place, series } of rows) {
      prepare?.(place)
      const before = cpuSeconds()
      series.wallSeconds += secondsOf(() => series.values.push(work(place, round)))
      series.cpuSeconds += cpuSeconds() - before
    }
  }
  for (const { place, series } of rows) {
    const name = `${place.prefix}${figure}`
    report.take({ name, unit, better: 'higher' }, { ...series, value: median(series.values) })
  }
}

/** Lets all threads of a process run on these cores only (`taskset` of util-linux). */
function pin(pid: number, cores: string): void {
  const result = spawnSync('taskset', ['-a', '-c', '-p', cores, String(pid)], { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`taskset: ${result.stderr}`)
}

/**
 * CPU microseconds of the daemon per request; what the caller spends is not counted. Where caller
 * and daemon run decides more than the code: on two idle cores each request wakes a sleeping core,
 * which a virtual machine charges to the daemon. So it is measured both on one core and free.
 */
async function measureGetattr(report: Report, file: string, daemonPid: number): Promise<void> {
  fs.writeFileSync(file, 'x')
  const cpuSeconds = (): number => cpuSecondsOf([daemonPid])
  const ask = (): void => runPython(STATX, [file, String(GETATTR_COUNT)])
  for (const [name, cores] of [
    ['getattr', '0'],
    ['getattr_free_cores', `0-${availableParallelism() - 1}`],
  ] as const) {
    for (const pid of [daemonPid, process.pid]) pin(pid, cores)
    ask()
    await report.measure({ name, unit: 'µs cpu', better: 'lower', cpuSeconds }, () => {
      const values: number[] = []
      for (let round = 0; round < ROUNDS; round++) {
        const before = cpuSeconds()
        ask()
        values.push(((cpuSeconds() - before) / GETATTR_COUNT) * 1e6)
      }
      return median(values)
    })
  }
}

function measureLarge(report: Report, places: readonly Place[], cpuSeconds: () => number): void {
  const large = ({ directory }: Place): string => path.join(directory, 'large')
  const megabytes = LARGE_BYTES / 1e6
  const unit = 'MB/s'
  let stamp = 1
  compare(report, places, cpuSeconds, {
    figure: 'write_fsync',
    unit,
    work: (place) => megabytes / secondsOf(() => writeLarge(large(place), LARGE_BYTES, stamp++)),
  })
  const read = (place: Place): number => megabytes / secondsOf(() => readLarge(large(place)))
  const drop = (place: Place): void => dropPages([large(place), ...place.behind()])
  compare(report, places, cpuSeconds, { figure: 'read_cold', unit, prepare: drop, work: read })
  compare(report, places, cpuSeconds, { figure: 'read_warm', unit, work: read })
}

async function run(report: Report): Promise<void> {
  await withDevices(['alice'], async ({ alice }) => {
    const both = (): number => cpuSecondsOf([alice.daemonPid, process.pid])
    const beside = path.join(path.dirname(alice.home), 'beside')
    fs.mkdirSync(beside)
    const packs = (): string[] => filesBelow(alice.home).filter((file) => file.includes('/packs/'))
    const places: Place[] = [
      { prefix: '', directory: alice.mountpoint, behind: packs },
      { prefix: 'disk_', directory: beside, behind: () => [] },
    ]
    await measureGetattr(report, alice.path('stat'), alice.daemonPid)
    compare(report, places, both, {
      figure: 'create_100b',
      unit: 'files/s',
      work: ({ directory }, round) => {
        const many = path.join(directory, `many-${round}`)
        return SMALL_COUNT / secondsOf(() => createFiles(many, SMALL_COUNT, SMALL_BYTES))
      },
    })
    await alice.run(['sync', '--wait'])
    measureLarge(report, places, both)
  })
}

/** See the file header. */
export const group: Group = {
  name: 'mount',
  about: 'a real mount next to the disk below it: attributes, small files, large files',
  whyNot: whyNoWorkload,
  run,
}
