/**
 * A real mount beside the disk below it and beside bindfs, with the same work in one run. Rows of
 * one section are taken together; `--only` runs the sections that have a figure of that name.
 */
import type { Group, GroupOptions, Report } from '../measure.ts'
import { whyNoWorkload, withDevices, type BenchDevice } from '../workload.ts'
import { measureGetattr } from './vfs/getattr.ts'
import { measureLarge, measureWait } from './vfs/large.ts'
import { whyNoBindfs, withPlaces, type Place } from './vfs/places.ts'
import { measureRandom, measureRewrite } from './vfs/random.ts'
import { measureGit, measureSmall } from './vfs/small.ts'

const SMALL = ['small_create', 'small_stat', 'small_read', 'small_unlink', 'small_cpu']
const LARGE = ['write_fsync', 'write_fsync_cpu', 'read_cold', 'read_warm', 'read_warm_cpu']
const RANDOM = ['read_4k', 'read_4k_cached', 'read_4k_fixed', 'write_4k_fsync']
const REWRITE = ['rewrite', 'rewrite_scattered']

/** Runs `work` with a new device, its mount and what it is compared with. */
function placed(
  withBindfs: boolean,
  work: (places: readonly Place[], device: BenchDevice) => Promise<void>,
): Promise<void> {
  return withDevices(['alice'], ({ alice }) =>
    withPlaces(alice, { withBindfs }, (places) => work(places, alice)),
  )
}

async function run(report: Report, { only }: GroupOptions): Promise<void> {
  const isWanted = (figures: readonly string[]): boolean =>
    only.length === 0 || only.some((start) => figures.some((name) => name.startsWith(start)))
  const reason = whyNoBindfs()
  if (reason !== undefined)
    console.error(`vfs: rows of bindfs, and bars by it, left out: ${reason}`)
  if (isWanted(['getattr', 'getattr_free_cores'])) {
    await withDevices(['alice'], ({ alice }) => measureGetattr(report, alice))
  }
  if (isWanted([...SMALL, 'small_create_cpu'])) {
    await placed(true, (places) => measureSmall(report, places))
  }
  if (isWanted(['git'])) await placed(true, (places) => measureGit(report, places))
  if (isWanted([...LARGE, ...RANDOM, ...REWRITE])) {
    await placed(false, async (places, device) => {
      await measureLarge(report, places)
      if (!isWanted([...RANDOM, ...REWRITE])) return
      await measureRandom(report, places)
      if (isWanted(REWRITE)) await measureRewrite(report, device, places[0] as Place)
    })
  }
  if (isWanted(['wait_p99'])) {
    await withDevices(['alice', 'bob'], (devices) => measureWait(report, devices))
  }
}

/** See the file header. */
export const group: Group = {
  name: 'vfs',
  about: 'a real mount next to the disk and to bindfs: small files, large files, random access',
  whyNot: whyNoWorkload,
  run,
}
