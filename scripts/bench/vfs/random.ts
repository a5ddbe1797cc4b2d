/** Small reads and writes at random places of large files. */
import fs from 'node:fs'
import path from 'node:path'
import { median, type Report } from '../../measure.ts'
import { python, secondsOf, type BenchDevice } from '../../workload.ts'
import { LARGE_BYTES, largeFile } from './large.ts'
import { compare, type Place } from './places.ts'

const ROUNDS = 3
/** A part of a large file that fits into the cache of opened chunks. */
const CACHED_BYTES = 32 * 1024 ** 2
const CACHED_COUNT = 40_000
const UNCACHED_COUNT = 6_000
const BAR_CACHED = 20_000
const BAR_CONTENT_DEFINED = 3_000
const BAR_FIXED = 8_000
const SYNCED_BYTES = 64 * 1024 ** 2
const SYNCED_COUNT = 200
/** The mount may take this times as long as the disk. */
const SYNCED_TIMES = 2
const REWRITES = 20
const REWRITE_MS_MAX = 20
const NEW_MEDIAN_MAX = 1024 ** 2
const NEW_WORST_MAX = 2.2 * 1024 ** 2
const NEW_SCATTERED_MAX = 192 * 1024

/** Reads 4 KiB at random places below a size, without the kernel's cache; prints the seconds. */
const DIRECT_READS = `
import mmap, os, random, sys, time
descriptor = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
count, size = int(sys.argv[2]), int(sys.argv[3])
random.seed(int(sys.argv[4]))
into = [mmap.mmap(-1, 4096)]
places = [random.randrange(size // 4096) * 4096 for _ in range(count)]
start = time.perf_counter()
for place in places:
    if os.preadv(descriptor, into, place) != 4096: sys.exit('a read is short')
print(time.perf_counter() - start)`

/** Writes 4 KiB at random places, each with fsync; prints the seconds. */
const SYNCED_WRITES = `
import os, random, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR)
count, size = int(sys.argv[2]), int(sys.argv[3])
random.seed(int(sys.argv[4]))
start = time.perf_counter()
for _ in range(count):
    os.pwrite(descriptor, os.urandom(4096), random.randrange(size // 4096) * 4096)
    os.fsync(descriptor)
print(time.perf_counter() - start)`

/** Writes a file in pieces of 64 KiB in a random order. */
const SCATTERED = `
import os, random, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
places = list(range(0, int(sys.argv[2]), 65536))
random.seed(1)
random.shuffle(places)
for place in places: os.pwrite(descriptor, os.urandom(65536), place)
os.fsync(descriptor)
os.close(descriptor)`

/** Where `measureRandom` has written at random offsets. */
function scatteredFile(place: Place): string {
  return path.join(place.directory, 'scattered')
}

/** `read_4k_cached`, `read_4k`, `read_4k_fixed`, `write_4k_fsync`. */
export async function measureRandom(report: Report, places: readonly Place[]): Promise<void> {
  for (const place of places) {
    python(SCATTERED, [scatteredFile(place), String(LARGE_BYTES)])
    fs.writeFileSync(path.join(place.directory, 'synced'), Buffer.alloc(SYNCED_BYTES, 'synced '))
    await place.settle()
  }
  const reads = (
    figure: string,
    fileOf: (place: Place) => string,
    range: { readonly count: number; readonly size: number; readonly bar: number },
  ) =>
    compare(report, places, {
      figure,
      unit: 'reads/s',
      better: 'higher',
      bar: () => range.bar,
      rounds: ROUNDS,
      work: (place, round) => {
        const words = [fileOf(place), String(range.count), String(range.size), String(round)]
        return range.count / Number(python(DIRECT_READS, words))
      },
    })
  const cached = { count: CACHED_COUNT, size: CACHED_BYTES, bar: BAR_CACHED }
  await reads('read_4k_cached', largeFile, cached)
  const all = { count: UNCACHED_COUNT, size: LARGE_BYTES }
  await reads('read_4k', largeFile, { ...all, bar: BAR_CONTENT_DEFINED })
  await reads('read_4k_fixed', scatteredFile, { ...all, bar: BAR_FIXED })
  await compare(report, places, {
    figure: 'write_4k_fsync',
    unit: 'writes/s',
    better: 'higher',
    bar: ({ disk_: disk }) => (disk === undefined ? undefined : disk / SYNCED_TIMES),
    rounds: ROUNDS,
    work: (place, round) => {
      const file = path.join(place.directory, 'synced')
      const words = [file, String(SYNCED_COUNT), String(SYNCED_BYTES), String(round)]
      return SYNCED_COUNT / Number(python(SYNCED_WRITES, words))
    },
  })
}

async function storedBytes(device: BenchDevice): Promise<number> {
  const [volume] = (await device.status()).volumes
  if (!volume) throw new Error('there is no volume')
  return volume.stored.bytes
}

/**
 * `rewrite`, `rewrite_new`, `rewrite_new_worst` of a file written from front to end, and
 * `rewrite_scattered`, `rewrite_scattered_new` of one written at random offsets: 4 KiB changed, and
 * the file closed, at 20 places.
 */
export async function measureRewrite(
  report: Report,
  device: BenchDevice,
  place: Place,
): Promise<void> {
  for (const name of ['rewrite', 'rewrite_scattered'] as const) {
    const isScattered = name === 'rewrite_scattered'
    const file = isScattered ? scatteredFile(place) : largeFile(place)
    const milliseconds: number[] = []
    const stored: number[] = []
    const cpuBefore = place.serverCpuSeconds()
    const startMs = performance.now()
    await place.settle()
    let before = await storedBytes(device)
    for (let index = 0; index < REWRITES; index++) {
      const bytes = Buffer.alloc(4096, `rewritten ${index} `)
      const offset = Math.floor((LARGE_BYTES / REWRITES) * (index + 0.37))
      const seconds = secondsOf(() => {
        const descriptor = fs.openSync(file, 'r+')
        fs.writeSync(descriptor, bytes, 0, bytes.length, offset)
        fs.closeSync(descriptor)
      })
      milliseconds.push(seconds * 1000)
      await place.settle()
      const after = await storedBytes(device)
      stored.push(after - before)
      before = after
    }
    const spent = {
      cpuSeconds: place.serverCpuSeconds() - cpuBefore,
      wallSeconds: (performance.now() - startMs) / 1000,
    }
    const lower = { unit: 'bytes', better: 'lower' } as const
    const bar = isScattered ? NEW_SCATTERED_MAX : NEW_MEDIAN_MAX
    const time = { name, unit: 'ms', better: 'lower', bar: REWRITE_MS_MAX } as const
    report.take(time, { ...spent, value: median(milliseconds) })
    report.take({ ...lower, name: `${name}_new`, bar }, { ...spent, value: median(stored) })
    const worst = isScattered ? {} : { bar: NEW_WORST_MAX }
    report.take(
      { ...lower, name: `${name}_new_worst`, ...worst },
      { ...spent, value: Math.max(...stored) },
    )
  }
}
