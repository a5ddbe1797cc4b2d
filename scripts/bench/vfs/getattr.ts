/** What one request costs the daemon. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { availableParallelism } from 'node:os'
import process from 'node:process'
import { median, type Report } from '../../measure.ts'
import { cpuSecondsOf, python, STATX_LIBRARY, type BenchDevice } from '../../workload.ts'

const COUNT = 50_000
const ROUNDS = 3
const BAR = 8

const STATX = `${STATX_LIBRARY}
for _ in range(int(sys.argv[2])): statx(sys.argv[1])`

/** Lets all threads of a process run on these cores only (`taskset` of util-linux). */
function pin(pid: number, cores: string): void {
  const result = spawnSync('taskset', ['-a', '-c', '-p', cores, String(pid)], { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`taskset: ${result.stderr}`)
}

/**
 * `getattr`, `getattr_free_cores`: CPU microseconds of the daemon per request; what the caller
 * spends is not counted. Where caller and daemon run decides more than the code: on two idle cores
 * each request wakes a sleeping core, which a virtual machine charges to the daemon. So it is
 * measured both on one core and free.
 */
export async function measureGetattr(report: Report, device: BenchDevice): Promise<void> {
  const file = device.path('stat')
  const { daemonPid } = device
  fs.writeFileSync(file, 'x')
  const cpuSeconds = (): number => cpuSecondsOf([daemonPid])
  const ask = (): void => void python(STATX, [file, String(COUNT)])
  for (const [name, cores, bar] of [
    ['getattr', '0', { bar: BAR }],
    ['getattr_free_cores', `0-${availableParallelism() - 1}`, {}],
  ] as const) {
    for (const pid of [daemonPid, process.pid]) pin(pid, cores)
    ask()
    const figure = { name, unit: 'µs cpu', better: 'lower', cpuSeconds, ...bar } as const
    await report.measure(figure, () => {
      const values: number[] = []
      for (let round = 0; round < ROUNDS; round++) {
        const before = cpuSeconds()
        ask()
        values.push(((cpuSeconds() - before) / COUNT) * 1e6)
      }
      return median(values)
    })
  }
}
