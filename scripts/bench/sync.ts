/**
 * Two devices on this machine, each with a home and a real mount of its own, connected over the
 * loopback: how soon what one writes is there on the other.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import type { Device } from '../../test/helpers/process.ts'
import { percentile, type Group, type Report } from '../measure.ts'
import { cpuSecondsOf, createFiles, whyNoWorkload, withDevices, writeLarge } from '../workload.ts'

const LARGE_BYTES = 1024 ** 3
const SMALL_COUNT = 10_000
const SMALL_BYTES = 100
/** Files whose way is timed one by one. */
const SINGLE_COUNT = 200
/** Pause between looks: long enough to leave the processor to the daemons. */
const LOOK_MS = 0.5
const VISIBLE_MS_MAX = 30_000
const SYNC_TIMEOUT_S = 300

interface Pair {
  readonly alice: Device
  readonly bob: Device
  readonly cpuSeconds: () => number
}

const cell = new Int32Array(new SharedArrayBuffer(4))

/** Looks until a file has its size; returns when that was, in ms of `performance.now`. */
function waitForFile(name: string, sizeBytes: number): number {
  const deadlineMs = performance.now() + VISIBLE_MS_MAX
  while (fs.statSync(name, { throwIfNoEntry: false })?.size !== sizeBytes) {
    assert.ok(performance.now() < deadlineMs, `${name} is not there after ${VISIBLE_MS_MAX} ms`)
    Atomics.wait(cell, 0, 0, LOOK_MS)
  }
  return performance.now()
}

/** Files one after the other, each closed on one device and waited for on the other. */
function measureLatency(report: Report, { alice, bob, cpuSeconds }: Pair): void {
  const visible: number[] = []
  const readable: number[] = []
  const startMs = performance.now()
  const startCpu = cpuSeconds()
  for (let index = 0; index < SINGLE_COUNT; index++) {
    const content = `content ${index}\n`
    fs.writeFileSync(alice.path(`single-${index}`), content)
    const closedMs = performance.now()
    const name = bob.path(`single-${index}`)
    visible.push(waitForFile(name, content.length) - closedMs)
    assert.equal(fs.readFileSync(name, 'utf8'), content)
    readable.push(performance.now() - closedMs)
  }
  const cost = {
    cpuSeconds: cpuSeconds() - startCpu,
    wallSeconds: (performance.now() - startMs) / 1000,
  }
  const base = { unit: 'ms', better: 'lower' } as const
  report.take(
    { ...base, name: 'close_to_visible_p50', bar: 25 },
    { ...cost, value: percentile(visible, 0.5) },
  )
  report.take(
    { ...base, name: 'close_to_visible_p95' },
    { ...cost, value: percentile(visible, 0.95) },
  )
  report.take({ ...base, name: 'close_to_read_p50' }, { ...cost, value: percentile(readable, 0.5) })
}

/** Seconds from the first write until `sync --wait` on the other device says that all is there. */
async function secondsToSync(bob: Device, write: () => void): Promise<number> {
  const startMs = performance.now()
  write()
  const words = ['sync', '--wait', '--timeout', String(SYNC_TIMEOUT_S)]
  await bob.run(words, { timeoutMs: SYNC_TIMEOUT_S * 1000 + 5000 })
  return (performance.now() - startMs) / 1000
}

function hashOf(file: string): string {
  const hash = createHash('sha256')
  const into = Buffer.alloc(1024 * 1024)
  const descriptor = fs.openSync(file, 'r')
  for (let count = 1; count > 0;) {
    count = fs.readSync(descriptor, into, 0, into.length, null)
    hash.update(into.subarray(0, count))
  }
  fs.closeSync(descriptor)
  return hash.digest('hex')
}

/** @throws when the directory differs between the devices. */
function checkFiles({ alice, bob }: Pair, directory: string): void {
  const names = fs.readdirSync(alice.path(directory)).sort()
  assert.deepEqual(fs.readdirSync(bob.path(directory)).sort(), names)
  for (const name of names) {
    const here = fs.readFileSync(alice.path(directory, name))
    assert.ok(here.equals(fs.readFileSync(bob.path(directory, name))), `${name} differs`)
  }
}

async function measureMany(report: Report, pair: Pair): Promise<void> {
  const { alice, bob, cpuSeconds } = pair
  const seconds = { unit: 's', better: 'lower', cpuSeconds } as const
  await report.measure({ ...seconds, name: 'small_10k' }, () =>
    secondsToSync(bob, () => createFiles(alice.path('many'), SMALL_COUNT, SMALL_BYTES)),
  )
  checkFiles(pair, 'many')
  await report.measure({ ...seconds, unit: 'ms', name: 'rename_10k_visible' }, () => {
    fs.renameSync(alice.path('many'), alice.path('renamed'))
    const renamedMs = performance.now()
    return waitForFile(bob.path('renamed', 'file-0'), SMALL_BYTES) - renamedMs
  })
  assert.ok(!fs.existsSync(bob.path('many')))
}

async function measureLarge(report: Report, { alice, bob, cpuSeconds }: Pair): Promise<void> {
  const seconds = { unit: 's', better: 'lower', cpuSeconds } as const
  await report.measure({ ...seconds, name: 'large_1g' }, () =>
    secondsToSync(bob, () => writeLarge(alice.path('large'), LARGE_BYTES, 1)),
  )
  assert.equal(hashOf(bob.path('large')), hashOf(alice.path('large')))
}

async function run(report: Report): Promise<void> {
  await withDevices(['alice', 'bob'], async ({ alice, bob }) => {
    const cpuSeconds = (): number => cpuSecondsOf([alice.daemonPid, bob.daemonPid])
    const pair = { alice, bob, cpuSeconds }
    await bob.run(['sync', '--wait', '--require', '1'])
    measureLatency(report, pair)
    await measureMany(report, pair)
    await measureLarge(report, pair)
  })
}

/** See the file header. */
export const group: Group = {
  name: 'sync',
  about: 'two devices on the loopback: latency, many small files, a large one, a rename',
  whyNot: whyNoWorkload,
  run,
}
