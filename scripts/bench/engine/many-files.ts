/** What a daemon does with many files: starting, answering, listing, and nothing at all. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { createDevices, type Device } from '../../../test/helpers/process.ts'
import type { Teardown } from '../../../test/helpers/teardown.ts'
import { volumePaths } from '../../../src/daemon/threads.ts'
import { nameFromText, type InodeId } from '../../../src/types.ts'
import { median, percentile, type GroupOptions, type Report } from '../../measure.ts'
import { cpuSecondsOf, dropPages, filesBelow, readLarge } from '../../workload.ts'
import { nameOf } from './device.ts'
import { buildHome, directoryOf, openHome } from './homes.ts'
import { ownCpuSeconds } from './rates.ts'

const ROUNDS = 3
const FILES_EACH = 1000
const LOOKUP_COUNT = 200_000
const IDLE_MINUTES = 1
/** Before a daemon is called idle: what joining and mounting left to do is done by then. */
const SETTLE_MS = 20_000
/** Contents stay where they are until they are read: the list of them is as long as the tree. */
export const CACHED = '{"local":{"keep":"cached"}}'

type Devices<Name extends string> = Record<Name, Device>

/** Runs `work` with devices that have no home yet. */
export async function withHomes<Name extends string>(
  names: readonly Name[],
  work: (devices: Devices<Name>) => Promise<void>,
): Promise<void> {
  const ends: (() => void | Promise<void>)[] = []
  const t: Teardown = { after: (end) => void ends.push(end) }
  try {
    await work(createDevices(t, names))
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

/** A line of `/proc/<pid>/status`, in MB. */
function megabytesOf(pid: number, field: 'RssAnon' | 'VmRSS'): number {
  const text = fs.readFileSync(`/proc/${pid}/status`, 'latin1')
  const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]
  return (Number(kibibytes) * 1024) / 1e6
}

function runLs(words: readonly string[]): void {
  const result = spawnSync('ls', words, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`ls ${words.join(' ')}: ${result.stderr}`)
}

/** Everything a start after a reboot reads from the disk, the program included. */
function dropHome(device: Device): void {
  dropPages(filesBelow(device.home))
  fs.writeFileSync('/proc/sys/vm/drop_caches', '3')
}

/** One start; returns its seconds until `ls` answered. */
async function start(device: Device, directory: string): Promise<number> {
  dropHome(device)
  const startMs = performance.now()
  await device.run(['up'])
  runLs([device.path(directory)])
  return (performance.now() - startMs) / 1000
}

/** Starts of a daemon that has nothing in memory. */
async function measureStarts(report: Report, device: Device, name: string, bars: Bars) {
  const seconds: number[] = []
  const anonymous: number[] = []
  const resident: number[] = []
  let cpuSeconds = 0
  for (let round = 0; round < ROUNDS; round++) {
    seconds.push(await start(device, directoryOf(round)))
    const { daemonPid } = await device.status()
    cpuSeconds += cpuSecondsOf([daemonPid])
    anonymous.push(megabytesOf(daemonPid, 'RssAnon'))
    resident.push(megabytesOf(daemonPid, 'VmRSS'))
    await device.stop()
  }
  const wallSeconds = seconds.reduce((sum, value) => sum + value, 0)
  const cost = { cpuSeconds, wallSeconds }
  const base = { better: 'lower' } as const
  const { seconds: bar, megabytes } = bars
  report.take({ ...base, name, unit: 's', bar }, { ...cost, value: median(seconds) })
  report.take(
    { ...base, name: `${name}_rss_anon`, unit: 'MB', bar: megabytes },
    { ...cost, value: median(anonymous) },
  )
  report.take({ ...base, name: `${name}_rss`, unit: 'MB' }, { ...cost, value: median(resident) })
}

interface Bars {
  readonly seconds: number
  readonly megabytes: number
}

/** The rate at which a volume is built: contents, edits, journal, log, index. */
async function build(
  report: Report,
  device: Device,
  name: string,
  directories: number,
  { keep }: GroupOptions,
): Promise<void> {
  const startCpu = ownCpuSeconds()
  const wallSeconds = await buildHome(device, { directories, filesEach: FILES_EACH }, keep)
  if (wallSeconds === undefined) return
  const cost = { cpuSeconds: ownCpuSeconds() - startCpu, wallSeconds }
  const figure = { name: `${name}_build`, unit: 'files/s', better: 'higher' } as const
  report.take(figure, { ...cost, value: (directories * FILES_EACH) / wallSeconds })
}

/** `up_100k` and what goes with it. */
export async function measureUp100k(
  report: Report,
  _directory: string,
  options: GroupOptions,
): Promise<void> {
  await withHomes(['alice'], async ({ alice }) => {
    await build(report, alice, 'up_100k', 100, options)
    await measureStarts(report, alice, 'up_100k', { seconds: 1, megabytes: 200 })
  })
}

/** `up_1m` and what goes with it, `lookup_p99`. */
export async function measureUp1m(
  report: Report,
  _directory: string,
  options: GroupOptions,
): Promise<void> {
  await withHomes(['alice'], async ({ alice }) => {
    await build(report, alice, 'up_1m', 1000, options)
    await measureStarts(report, alice, 'up_1m', { seconds: 2, megabytes: 500 })
    await measureLookups(report, alice.home)
  })
}

/** From a name in a directory to its inode and attributes, names picked at random. */
async function measureLookups(report: Report, home: string): Promise<void> {
  const { device, directory } = await openHome(home)
  const { overlay } = device
  // What is measured is the program, not the disk: the index is in the page cache.
  for (const file of filesBelow(volumePaths(directory).index)) readLarge(file)
  const directories: InodeId[] = []
  for (let index = 0; ; index++) {
    const found = overlay.lookup(overlay.root, nameFromText(directoryOf(index)))
    if (!found) break
    directories.push(found.id)
  }
  const startMs = performance.now()
  const startCpu = ownCpuSeconds()
  const micros = new Array<number>(LOOKUP_COUNT)
  let state = 1
  const pick = (count: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * count)
  }
  // The first pass maps the pages of the index and brings the code to speed.
  for (let pass = 0; pass < 2; pass++) {
    for (let index = 0; index < LOOKUP_COUNT; index++) {
      const parent = directories[pick(directories.length)] as InodeId
      const name = nameFromText(nameOf(pick(FILES_EACH)))
      const beforeMs = performance.now()
      const found = overlay.lookup(parent, name)
      const node = found && overlay.node(found.id)
      micros[index] = (performance.now() - beforeMs) * 1000
      if (!node) throw new Error(`${name} is missing`)
    }
  }
  const cost = {
    cpuSeconds: ownCpuSeconds() - startCpu,
    wallSeconds: (performance.now() - startMs) / 1000,
  }
  const base = { unit: 'µs', better: 'lower' } as const
  report.take({ ...base, name: 'lookup_p50' }, { ...cost, value: percentile(micros, 0.5) })
  report.take(
    { ...base, name: 'lookup_p99', bar: 50 },
    { ...cost, value: percentile(micros, 0.99) },
  )
  await device.close()
}

/** `ls_100k`, `ls_l_100k`: the first listing after a start. */
export async function measureLs(
  report: Report,
  _directory: string,
  options: GroupOptions,
): Promise<void> {
  await withHomes(['alice'], async ({ alice }) => {
    await buildHome(alice, { directories: 1, filesEach: 100_000 }, options.keep)
    for (const [name, flag, bar] of [
      ['ls_100k', '-f', 1],
      ['ls_l_100k', '-l', undefined],
    ] as const) {
      const seconds: number[] = []
      let cpuSeconds = 0
      for (let round = 0; round < ROUNDS; round++) {
        await alice.run(['up'])
        const { daemonPid } = await alice.status()
        const before = cpuSecondsOf([daemonPid])
        const startMs = performance.now()
        runLs([flag, alice.path(directoryOf(0))])
        seconds.push((performance.now() - startMs) / 1000)
        cpuSeconds += cpuSecondsOf([daemonPid]) - before
        await alice.stop()
      }
      const figure = { name, unit: 's', better: 'lower', ...(bar === undefined ? {} : { bar }) }
      report.take(figure as typeof figure & { better: 'lower' }, {
        value: median(seconds),
        cpuSeconds,
        wallSeconds: seconds.reduce((sum, value) => sum + value, 0),
      })
    }
  })
}

/** `idle_cpu`, `idle_growth`: of the daemon that does worst of three that are connected. */
export async function measureIdle(
  report: Report,
  _directory: string,
  { keep, minutes = IDLE_MINUTES }: GroupOptions,
): Promise<void> {
  await withHomes(['alice', 'bob', 'carol'], async ({ alice, bob, carol }) => {
    await buildHome(alice, { directories: 100, filesEach: FILES_EACH, policy: CACHED }, keep)
    await alice.run(['up'])
    const { invite } = await alice.json<{ invite: string }>(['invite'])
    for (const device of [bob, carol]) {
      const words = ['join', invite, '--device', device.name, '--mount', device.mountpoint]
      await device.run(words)
    }
    for (const device of [bob, carol]) {
      await device.run(['sync', '--wait', '--require', '2', '--timeout', '120'], {
        timeoutMs: 130_000,
      })
    }
    const pids: number[] = []
    for (const device of [alice, bob, carol]) pids.push((await device.status()).daemonPid)
    await setTimeout(SETTLE_MS)
    const sample = () =>
      pids.map((pid) => ({ cpu: cpuSecondsOf([pid]), memory: megabytesOf(pid, 'RssAnon') }))
    const startMs = performance.now()
    const before = sample()
    await setTimeout(minutes * 60_000)
    const after = sample()
    const wallSeconds = (performance.now() - startMs) / 1000
    const spent = after.map(({ cpu }, index) => cpu - (before[index]?.cpu ?? 0))
    const grown = after.map(({ memory }, index) => memory - (before[index]?.memory ?? 0))
    const cost = { cpuSeconds: spent.reduce((sum, value) => sum + value, 0), wallSeconds }
    const base = { better: 'lower' } as const
    report.take(
      { ...base, name: 'idle_cpu', unit: '% of a core', bar: 0.5 },
      { ...cost, value: (Math.max(...spent) / wallSeconds) * 100 },
    )
    report.take(
      { ...base, name: 'idle_growth', unit: 'MB', bar: 5 },
      { ...cost, value: Math.max(...grown) },
    )
    const most = Math.max(...after.map(({ memory }) => memory))
    report.take({ ...base, name: 'idle_rss_anon', unit: 'MB' }, { ...cost, value: most })
  })
}
