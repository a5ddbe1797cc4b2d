/** Small files: the four things that are done with them, and git, which does all of them. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import type { Report } from '../../measure.ts'
import { createFiles, python } from '../../workload.ts'
import { compare, roundsOf, tell, type Compared, type Place } from './places.ts'

const COUNT = 10_000
const BYTES = 100
const ROUNDS = 3
const PHASES = ['create', 'stat', 'read', 'unlink'] as const
/** No phase may take longer than this times what bindfs takes. */
const WALL_MAX = 1.5
/** Server CPU, everything included, by that of bindfs. */
const CPU_MAX = 4

const GIT_DIRECTORIES = 30
const GIT_FILES_EACH = 100

/** Each phase over all files; prints the seconds of each. */
const WORK = `
import json, os, sys, time
directory, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.mkdir(directory)
names = [f'{directory}/file-{index}' for index in range(count)]
def create():
    for index, name in enumerate(names):
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, f'{name} {index} '.encode().ljust(size, b'.')[-size:])
        os.close(descriptor)
def stat():
    for name in names:
        if os.stat(name).st_size != size: sys.exit('a file has another size')
def read():
    for name in names:
        descriptor = os.open(name, os.O_RDONLY)
        if len(os.read(descriptor, 2 * size)) != size: sys.exit('a file is short')
        os.close(descriptor)
def unlink():
    for name in names: os.unlink(name)
seconds = {}
for phase in (create, stat, read, unlink):
    start = time.perf_counter()
    phase()
    seconds[phase.__name__] = time.perf_counter() - start
os.rmdir(directory)
print(json.dumps(seconds))`

const CREATE_ONLY = WORK.replace('(create, stat, read, unlink)', '(create,)').replace(
  'os.rmdir(directory)\n',
  '',
)

type Seconds = Record<(typeof PHASES)[number], number>

function takesAtMost(times: number): NonNullable<Compared['bar']> {
  return ({ bindfs_: other }) => (other === undefined ? undefined : other * times)
}

/** `small_create`, `small_stat`, `small_read`, `small_unlink`, `small_cpu`, `small_create_cpu`. */
export async function measureSmall(report: Report, places: readonly Place[]): Promise<void> {
  const phases = PHASES.map((phase) => ({ phase, rounds: roundsOf(places) }))
  const whole = roundsOf(places)
  const creating = roundsOf(places)
  for (let round = 0; round < ROUNDS; round++) {
    for (const place of places) {
      const words = [path.join(place.directory, `small-${round}`), String(COUNT), String(BYTES)]
      const before = place.serverCpuSeconds()
      const seconds = JSON.parse(python(WORK, words)) as Seconds
      await place.settle()
      const cpu = place.serverCpuSeconds() - before
      let wall = 0
      for (const { phase, rounds } of phases) {
        wall += seconds[phase]
        add(rounds.get(place.prefix), seconds[phase], 0, seconds[phase])
      }
      add(whole.get(place.prefix), cpu, cpu, wall)
    }
    // Files that stay: nothing of their publication is spared by an early end.
    for (const place of places) {
      const words = [path.join(place.directory, `kept-${round}`), String(COUNT), String(BYTES)]
      const before = place.serverCpuSeconds()
      const seconds = JSON.parse(python(CREATE_ONLY, words)) as Seconds
      await place.settle()
      const cpu = place.serverCpuSeconds() - before
      add(creating.get(place.prefix), cpu, cpu, seconds.create)
    }
  }
  for (const { phase, rounds } of phases) {
    const bar = takesAtMost(WALL_MAX)
    tell(report, rounds, { figure: `small_${phase}`, unit: 's', better: 'lower', bar })
  }
  const bar = takesAtMost(CPU_MAX)
  tell(report, whole, { figure: 'small_cpu', unit: 's cpu', better: 'lower', bar })
  tell(report, creating, { figure: 'small_create_cpu', unit: 's cpu', better: 'lower' })
}

function add(
  row: { values: number[]; cpuSeconds: number; wall: number } | undefined,
  value: number,
  cpuSeconds: number,
  wall: number,
): void {
  if (!row) throw new Error('no such place')
  row.values.push(value)
  row.cpuSeconds += cpuSeconds
  row.wall += wall
}

function git(directory: string, ...words: string[]): void {
  const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' }
  const { status, stderr } = spawnSync('git', words, { cwd: directory, env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`git ${words.join(' ')}: ${stderr}`)
}

/** `git`: init, add, commit and status of 3,000 files that are there. */
export async function measureGit(report: Report, places: readonly Place[]): Promise<void> {
  let count = 0
  const directoryOf = (place: Place): string => path.join(place.directory, `git-${count}`)
  await compare(report, places, {
    figure: 'git',
    unit: 's',
    better: 'lower',
    bar: takesAtMost(1),
    rounds: ROUNDS,
    prepare: (place) => {
      count++
      fs.mkdirSync(directoryOf(place))
      for (let index = 0; index < GIT_DIRECTORIES; index++) {
        createFiles(path.join(directoryOf(place), `part-${index}`), GIT_FILES_EACH, 2000)
      }
    },
    work: (place) => {
      const directory = directoryOf(place)
      const startMs = performance.now()
      git(directory, 'init', '-q')
      git(directory, 'add', '.')
      git(directory, '-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', 'all')
      git(directory, 'status')
      return (performance.now() - startMs) / 1000
    },
  })
}
