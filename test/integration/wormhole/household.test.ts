/**
 * Proves, on a household of three devices, that what a policy says is what happens: one folder with
 * a copy on the NAS, one that the laptop has with it, one that is scratch. The laptop is away while
 * everybody edits; afterwards tree, conflicts and explanations are the same on all three.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import type {
  ConflictReport,
  DeviceReport,
  ExplainReport,
  FileReport,
  WhereReport,
} from '../../../src/daemon/interface.ts'
import { createDevices, type Device } from '../../helpers/process.ts'
import { syncAll } from '../../helpers/volume-of-devices.ts'

const NAMES = ['nas', 'desktop', 'laptop'] as const
const POLICIES: Record<string, string> = {
  '/photos': `
[replication]
copies = 2
[placement]
require = ["device=nas"]
[local.keep]
default = "cached"
"tier=hdd" = "always"
"device=desktop" = "always"
`,
  '/jobs': `
[conflicts]
strategy = "copies"
[local.keep]
default = "cached"
"device=laptop" = "always"
`,
  '/scratch': `
conflicts.strategy = "last-writer-wins"
replication.copies = 1
local.keep = { "device=laptop" = "streamed" }
`,
}

async function put(device: Device, file: string, text: string): Promise<void> {
  await device.run(['put', '-', file], { input: text })
}

/** Every path of the volume, with the digest of what it holds. */
async function contents(device: Device): Promise<[path: string, digest: string][]> {
  const found: [string, string][] = []
  for (const directory of ['/', ...Object.keys(POLICIES)]) {
    for (const { path, type } of await device.json<FileReport[]>(['ls', directory])) {
      if (type === 'directory') continue
      const { stdout } = await device.run(['cat', path])
      found.push([path, createHash('sha256').update(stdout).digest('hex')])
    }
  }
  return found.sort()
}

async function holders(device: Device, file: string): Promise<string[]> {
  const report = await device.json<WhereReport>(['where', file])
  return report.holders
    .filter(({ isComplete }) => isComplete)
    .map(({ name }) => name)
    .sort()
}

test('three devices, three folders, the laptop away: all as the policies say', async (t) => {
  const { nas, desktop, laptop } = createDevices(t, NAMES)
  const labels = ['--label', 'region=eu', '--label', 'tier=hdd']
  const { invite } = await nas.json<{ invite: string }>(['init', '--device', 'nas', ...labels])
  await desktop.run(['join', invite, '--device', 'desktop'])
  await laptop.run(['join', invite, '--device', 'laptop'])
  const all = [nas, desktop, laptop]
  const listed = await laptop.json<DeviceReport[]>(['devices'])
  assert.deepEqual(listed.find(({ name }) => name === 'nas')?.labels, { region: 'eu', tier: 'hdd' })
  assert.match((await laptop.run(['devices'])).stdout, /LABELS\n.*region=eu tier=hdd/s)
  for (const [folder, policy] of Object.entries(POLICIES)) {
    await desktop.run(['mkdir', folder])
    await put(desktop, `${folder}/.wormhole.toml`, policy)
    await put(desktop, `${folder}/plan`, `first plan of ${folder}`)
  }
  await syncAll(all)
  assert.deepEqual(await holders(desktop, '/photos/plan'), ['desktop', 'nas'])
  assert.deepEqual(await holders(desktop, '/jobs/plan'), ['desktop', 'laptop'])
  assert.deepEqual(await holders(desktop, '/scratch/plan'), ['desktop', 'nas'])

  await laptop.run(['down'])
  for (const folder of Object.keys(POLICIES)) await put(nas, `${folder}/plan`, `nas ${folder}`)
  await put(desktop, '/photos/new', 'picture')
  await syncAll([nas, desktop])
  await nas.run(['down'])
  await desktop.run(['down'])
  // On the train: what the laptop keeps is there, and it edits without having seen the others.
  await laptop.run(['up'])
  assert.equal((await laptop.run(['cat', '/jobs/plan'])).stdout, 'first plan of /jobs')
  for (const folder of ['/jobs', '/scratch']) {
    await put(laptop, `${folder}/plan`, `laptop ${folder}`)
  }
  await nas.run(['up'])
  await desktop.run(['up'])
  await syncAll(all)

  const [first, ...others] = await Promise.all(all.map(contents))
  for (const other of others) assert.deepEqual(other, first)
  const paths = first?.map(([path]) => path) ?? []
  assert.equal(paths.filter((path) => path.startsWith('/jobs/plan (conflict ')).length, 1)
  assert.equal(paths.filter((path) => path.startsWith('/scratch/')).length, 2, 'no copy there')
  for (const device of all) {
    assert.equal((await device.run(['cat', '/scratch/plan'])).stdout, 'laptop /scratch')
    assert.equal((await device.run(['cat', '/photos/plan'])).stdout, 'nas /photos')
  }

  const conflicts = await Promise.all(all.map((one) => one.json<ConflictReport[]>(['conflicts'])))
  for (const other of conflicts.slice(1)) assert.deepEqual(other, conflicts[0])
  const work = conflicts[0]?.find(({ path }) => path === '/jobs/plan')
  assert.deepEqual(work?.versions.map(({ device }) => device).sort(), ['laptop', 'nas'])

  for (const name of NAMES) {
    for (const folder of Object.keys(POLICIES)) {
      const words = ['policy', 'explain', `${folder}/plan`, '--device', name]
      const reports = await Promise.all(all.map((one) => one.json<ExplainReport>(words)))
      for (const other of reports.slice(1)) assert.deepEqual(other, reports[0])
      const values = new Map(reports[0]?.values.map((value) => [value.key, value]))
      assert.deepEqual(reports[0]?.notes, [])
      const keep = values.get('local.keep')
      const expected = {
        '/photos': { nas: 'always', desktop: 'always', laptop: 'cached' },
        '/jobs': { nas: 'cached', desktop: 'cached', laptop: 'always' },
        '/scratch': { nas: 'always', desktop: 'always', laptop: 'streamed' },
      }[folder]
      assert.equal(keep?.value, expected?.[name], `${folder} on ${name}`)
      const isSet = keep?.reason === 'set'
      assert.equal(isSet, folder !== '/scratch' || name === 'laptop')
      if (isSet) assert.equal(keep?.from, `${folder}/.wormhole.toml`)
    }
  }
  const photos = await laptop.json<ExplainReport>(['policy', 'explain', '/photos'])
  const required = photos.values.find(({ key }) => key === 'placement.require')
  assert.deepEqual([required?.value, required?.line], [['device=nas'], 5])
  assert.equal(required?.pending, 'not enforced yet')
})
