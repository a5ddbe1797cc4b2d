/** A device that joins a volume of many files: until it knows all of them, contents left out. */
import fs from 'node:fs'
import type { PeerReport } from '../../../src/daemon/interface.ts'
import { waitFor } from '../../../test/helpers/process.ts'
import type { GroupOptions, Report } from '../../measure.ts'
import { cpuSecondsOf } from '../../workload.ts'
import { buildHome, directoryOf } from './homes.ts'
import { CACHED, withHomes } from './many-files.ts'

const DIRECTORIES = 100
const FILES_EACH = 1000
const COUNT = DIRECTORIES * FILES_EACH

/** `join_100k`, `join_100k_bytes_per_file`. */
export async function measureJoin(
  report: Report,
  _directory: string,
  { keep }: GroupOptions,
): Promise<void> {
  await withHomes(['alice', 'bob'], async ({ alice, bob }) => {
    const shape = { directories: DIRECTORIES, filesEach: FILES_EACH, policy: CACHED }
    await buildHome(alice, shape, keep)
    await alice.run(['up'])
    const { daemonPid } = await alice.status()
    const { invite } = await alice.json<{ invite: string }>(['invite'])
    const startCpu = cpuSecondsOf([daemonPid])
    const startMs = performance.now()
    await bob.run(['join', invite, '--device', 'bob', '--mount', bob.mountpoint])
    await waitFor(async () => (await bob.status()).volumes[0]?.fileCount === COUNT, {
      timeoutMs: 120_000,
      what: 'bob knows all files',
    })
    const wallSeconds = (performance.now() - startMs) / 1000
    // What is fetched from now on is the log behind the snapshot, in the background.
    const peers = await bob.json<PeerReport[]>(['peers'])
    const pids = [daemonPid, (await bob.status()).daemonPid]
    const cost = { cpuSeconds: cpuSecondsOf(pids) - startCpu, wallSeconds }
    const listed = fs.readdirSync(bob.path(directoryOf(DIRECTORIES - 1))).length
    if (listed !== FILES_EACH) throw new Error(`${listed} names in the last directory`)
    const base = { better: 'lower' } as const
    report.take({ ...base, name: 'join_100k', unit: 's', bar: 10 }, { ...cost, value: wallSeconds })
    const bytes = peers.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0)
    report.take(
      { ...base, name: 'join_100k_bytes_per_file', unit: 'B', bar: 120 },
      { ...cost, value: bytes / COUNT },
    )
  })
}
