/**
 * Proves what a device that comes and goes is promised: a pinned folder is here when `pin` says so
 * and stays so wherever it moves, reading and writing it waits for no peer, what is not here says
 * so, and what others did meanwhile is told. Real command line and daemons, without mounts.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { ExplainReport, WhereReport } from '../../../src/daemon/interface.ts'
import type {
  PinReport,
  PinRunReport,
  SinceOfflineReport,
  UnpinReport,
} from '../../../src/daemon/offline-interface.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const UNMOUNTED = { isMounted: false }

async function put(device: Device, target: string, bytes: string | Buffer): Promise<void> {
  await device.run(['put', '-', target], { input: bytes as string })
}

async function hasAll(device: Device, file: string): Promise<boolean> {
  const { holders } = await device.json<WhereReport>(['where', file])
  return holders.some(({ isSelf, isComplete }) => isSelf && isComplete)
}

const BIG = randomBytes(6_000_000)

/** Two devices; bob keeps nothing by himself, but policy files. */
async function createPair(t: Parameters<typeof createVolumeOfDevices>[0]) {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], UNMOUNTED)
  const policy = '[local.keep]\ndefault = "always"\n"device=bob" = "streamed"\n'
  await put(alice, '/.wormhole.toml', policy)
  await syncAll([alice, bob])
  await alice.run(['mkdir', '-p', '/jobs/deep', '/other'])
  await put(alice, '/jobs/a', 'text a')
  await put(alice, '/jobs/big', BIG)
  await put(alice, '/jobs/deep/b', 'text b')
  await put(alice, '/other/c', 'text c')
  await put(alice, '/other/d', 'text d')
  await syncAll([alice, bob])
  assert.equal(await hasAll(bob, '/jobs/a'), false)
  return { alice, bob }
}

test('what is pinned is here, follows the folder, and waits for nobody', async (t) => {
  const { alice, bob } = await createPair(t)
  const pins = async (): Promise<Record<string, string>> =>
    Object.fromEntries(
      (await bob.json<PinReport[]>(['pins'])).map(({ path: at, state }) => [at, state]),
    )
  const pinned = await bob.json<PinRunReport>(['pin', '/jobs/'])
  assert.deepEqual(
    [pinned.path, pinned.isAvailable, pinned.fetched, pinned.missing, pinned.unavailable],
    ['/jobs', true, { files: 3, bytes: BIG.length + 12 }, { files: 0, bytes: 0 }, []],
  )
  for (const file of ['/jobs/a', '/jobs/big', '/jobs/deep/b']) assert.ok(await hasAll(bob, file))
  assert.equal(await hasAll(bob, '/other/c'), false)
  const { notes } = await bob.json<ExplainReport>(['policy', 'explain', '/jobs/deep/b'])
  assert.deepEqual(
    notes.map(({ file }) => file),
    ['/jobs'],
  )

  // Something new appears in it.
  await put(alice, '/jobs/deep/c', 'another text')
  await put(alice, '/jobs/new', 'text new')
  await syncAll([alice, bob])
  for (const file of ['/jobs/deep/c', '/jobs/new']) {
    await waitFor(() => hasAll(bob, file), { what: `${file} is fetched` })
  }
  assert.deepEqual(await pins(), { '/jobs': 'available' })

  // A peer that is connected and never answers: whoever waits for it waits.
  const { daemonPid } = await alice.status()
  process.kill(daemonPid, 'SIGSTOP')
  let isStillWaiting = true
  const waiting = bob.run(['cat', '/other/d'], { codes: [1] }).finally(() => {
    isStillWaiting = false
  })
  try {
    assert.equal((await bob.run(['cat', '/jobs/a'])).stdout, 'text a')
    assert.equal((await bob.run(['cat', '/jobs/deep/b'])).stdout, 'text b')
    await put(bob, '/jobs/a', 'changed offline')
    assert.equal((await bob.run(['cat', '/jobs/a'])).stdout, 'changed offline')
    assert.ok(isStillWaiting, 'what is not here asks the peer')
    const failed = await waiting
    assert.match(failed.stderr, /CHUNK_UNAVAILABLE/)
  } finally {
    process.kill(daemonPid, 'SIGCONT')
  }
  await syncAll([alice, bob])

  await alice.stop()
  const got = path.join(bob.home, 'big')
  await bob.run(['get', '/jobs/big', got])
  assert.ok(fs.readFileSync(got).equals(BIG))
  const missing = await bob.run(['pin', '/other', '--json'], { codes: [1] })
  const report = JSON.parse(missing.stdout) as PinRunReport
  assert.deepEqual(
    [report.isAvailable, report.missing, report.unavailable.map((file) => file.path).sort()],
    [false, { files: 2, bytes: 12 }, ['/other/c', '/other/d']],
  )
  const unwaited = await bob.json<PinRunReport>(['pin', '/other', '--no-wait'])
  assert.deepEqual([unwaited.isAvailable, unwaited.isWaiting], [false, true])
  assert.deepEqual(await pins(), { '/jobs': 'available', '/other': 'incomplete' })

  // The wish survives a pulled plug, and is fulfilled once somebody has it.
  await bob.kill()
  await bob.run(['up'])
  assert.deepEqual(await pins(), { '/jobs': 'available', '/other': 'incomplete' })
  await alice.run(['up'])
  await waitFor(async () => (await pins())['/other'] === 'available', { what: '/other is here' })

  // A pin outlives what it holds.
  await alice.run(['rm', '-r', '/other'])
  await syncAll([alice, bob])
  assert.deepEqual(await pins(), { '/jobs': 'available', '/other': 'deleted' })
  await alice.run(['restore', '/other'])
  await syncAll([alice, bob])
  assert.deepEqual(await pins(), { '/jobs': 'available', '/other': 'available' })
  assert.deepEqual(await bob.json<UnpinReport>(['unpin', '/other']), {
    volume: report.volume,
    path: '/other',
  })
  const again = await bob.run(['unpin', '/other'], { codes: [1] })
  assert.match(again.stderr, /NOT_FOUND/)
  assert.ok(await hasAll(bob, '/other/d'), 'nothing is evicted')
})

test('what others did while this device was away is told when it is back', async (t) => {
  const { alice, bob } = await createPair(t)
  const since = async (...words: string[]): Promise<SinceOfflineReport> => {
    const [report] = await bob.json<SinceOfflineReport[]>(['status', '--since-offline', ...words])
    assert.ok(report)
    return report
  }
  const never = await since()
  assert.deepEqual([never.away, never.changes, never.isConnected], [undefined, [], true])
  await bob.stop()

  // A moment is no absence: an hour must have passed.
  const [volume] = fs.readdirSync(path.join(bob.home, 'volumes'))
  const file = path.join(bob.home, 'volumes', volume as string, 'volume.json')
  const settings = JSON.parse(fs.readFileSync(file, 'utf8'))
  settings.absence.now.fromMs -= 3_600_000
  fs.writeFileSync(file, JSON.stringify(settings))

  await put(alice, '/jobs/a', 'changed by alice')
  await put(alice, '/jobs/fresh', 'new')
  await alice.run(['rm', '/other/c'])
  await put(alice, '/gone', 'came')
  await alice.run(['rm', '/gone'])
  await bob.run(['up'])
  await put(bob, '/by-bob', 'own')
  await syncAll([alice, bob])
  const report = await since()
  const kinds = Object.fromEntries(report.changes.map((change) => [change.path, change.kind]))
  assert.deepEqual(kinds, {
    '/jobs/a': 'changed',
    '/jobs/fresh': 'new',
    '/other/c': 'deleted',
  })
  assert.ok(report.changes.every(({ device }) => device === 'alice'))
  assert.deepEqual([report.isComplete, report.counts.new, report.counts.deleted], [true, 1, 1])
  const away = report.away as { from: string; to: string }
  assert.ok(Date.parse(away.to) - Date.parse(away.from) > 3_000_000)
  const text = (await bob.run(['status', '--since-offline'])).stdout
  assert.match(text, /changed +\/jobs\/a +alice/)

  // It is remembered over a restart, and a short one does not replace it.
  await bob.stop()
  await bob.run(['up'])
  await syncAll([alice, bob])
  assert.deepEqual((await since()).away, away)
})
