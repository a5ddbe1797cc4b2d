/** Large files from front to end, and how long others wait meanwhile. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { percentile, type Report } from '../../measure.ts'
import {
  cpuSecondsOf,
  dropPages,
  readLarge,
  secondsOf,
  STATX_LIBRARY,
  writeLarge,
  type BenchDevice,
} from '../../workload.ts'
import { compare, roundsOf, tell, type Place } from './places.ts'

/** Of every large file here. */
export const LARGE_BYTES = 1024 ** 3
const WRITE_ROUNDS = 5
const READ_ROUNDS = 3
const MEGABYTES = LARGE_BYTES / 1e6
/** The mount must write at this share of the disk's rate, or at that rate if it is less. */
const WRITE_SHARE = 0.4
const WRITE_MAX = 350
const WRITE_CPU_MAX = 3.2
const READ_COLD = 400
/** CPU of the server while the kernel answers from its cache: two ticks of the clock. */
const READ_WARM_CPU_MAX = 0.03
const WAIT_MS_MAX = 10

/** The file that `measureLarge` leaves in each place. */
export function largeFile(place: Place): string {
  return path.join(place.directory, 'large')
}

let stamp = 1

/** `write_fsync`, `write_fsync_cpu`, `read_cold`, `read_warm`, `read_warm_cpu`. */
export async function measureLarge(report: Report, places: readonly Place[]): Promise<void> {
  const unit = 'MB/s'
  const written = await compare(report, places, {
    figure: 'write_fsync',
    unit,
    better: 'higher',
    bar: ({ disk_: disk = Infinity }) => Math.min(WRITE_SHARE * disk, WRITE_MAX),
    rounds: WRITE_ROUNDS,
    work: (place) =>
      MEGABYTES / secondsOf(() => writeLarge(largeFile(place), LARGE_BYTES, stamp++)),
  })
  const cpu = roundsOf(places)
  for (const [prefix, row] of written) {
    const each = row.cpuSeconds / WRITE_ROUNDS
    cpu.set(prefix, { values: [each], cpuSeconds: row.cpuSeconds, wall: row.wall })
  }
  const writeCpu = { figure: 'write_fsync_cpu', unit: 's cpu/GiB', better: 'lower' } as const
  tell(report, cpu, { ...writeCpu, bar: () => WRITE_CPU_MAX })
  const read = (place: Place): number => MEGABYTES / secondsOf(() => readLarge(largeFile(place)))
  const drop = (place: Place): void => dropPages([largeFile(place), ...place.behind()])
  const reading = { unit, better: 'higher', rounds: READ_ROUNDS, work: read } as const
  await compare(report, places, {
    ...reading,
    figure: 'read_cold',
    bar: () => READ_COLD,
    prepare: drop,
  })
  const warm = await compare(report, places, { ...reading, figure: 'read_warm' })
  for (const row of warm.values()) row.values = [row.cpuSeconds / READ_ROUNDS]
  const warmCpu = { figure: 'read_warm_cpu', unit: 's cpu', better: 'lower' } as const
  tell(report, warm, { ...warmCpu, bar: () => READ_WARM_CPU_MAX })
}

/** Asks for attributes every 2 ms until its input ends; prints how many ms each answer took. */
const PROBE = `${STATX_LIBRARY}
import select, time
while not select.select([sys.stdin], [], [], 0.002)[0]:
    start = time.perf_counter()
    statx(sys.argv[1])
    print((time.perf_counter() - start) * 1000)`

/**
 * `wait_p99`: what a program waits for the attributes of another file, while 1 GiB is written here
 * and sent to the other device. This is how long the serving thread does nothing else.
 */
export async function measureWait(
  report: Report,
  { alice, bob }: Record<'alice' | 'bob', BenchDevice>,
): Promise<void> {
  fs.writeFileSync(alice.path('asked'), 'x')
  const pids = [alice.daemonPid, bob.daemonPid]
  const before = cpuSecondsOf(pids)
  const startMs = performance.now()
  const probe = spawn('python3', ['-u', '-c', PROBE, alice.path('asked')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let text = ''
  probe.stdout.setEncoding('latin1').on('data', (more: string) => (text += more))
  const writer = spawn('dd', [
    'if=/dev/urandom',
    `of=${alice.path('sent')}`,
    'bs=1M',
    `count=${LARGE_BYTES / 1024 ** 2}`,
    'conv=fsync',
    'status=none',
  ])
  const [code] = (await once(writer, 'close')) as [number]
  await alice.run(['sync', '--wait', '--require', '1', '--timeout', '300'])
  probe.stdin.end()
  await once(probe, 'close')
  if (code !== 0) throw new Error(`dd ended with code ${code}`)
  const values = text.trim().split('\n').map(Number)
  report.take(
    { name: 'wait_p99', unit: 'ms', better: 'lower', bar: WAIT_MS_MAX },
    {
      value: percentile(values, 0.99),
      cpuSeconds: cpuSecondsOf(pids) - before,
      wallSeconds: (performance.now() - startMs) / 1000,
    },
  )
}
