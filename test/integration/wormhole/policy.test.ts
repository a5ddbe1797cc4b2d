/**
 * Proves that a policy says the same on every device and each device does its part of it, and that
 * policy files are judged, begun and described without a daemon. Real command line and daemons,
 * without mounts.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type {
  ExplainReport,
  PolicyCheckReport,
  StatusReport,
  VerifyReport,
  WhereReport,
} from '../../../src/daemon/interface.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'
import { createDevices, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const FILE = '.wormhole.toml'
const UNMOUNTED = { isMounted: false }

async function put(device: Device, target: string, text: string | Buffer): Promise<void> {
  await device.run(['put', '-', target], { input: text.toString() })
}

async function explain(device: Device, ...words: string[]): Promise<ExplainReport> {
  return device.json<ExplainReport>(['policy', 'explain', ...words])
}

/** What is said of one key. */
function rule(report: ExplainReport, key: string): ExplainReport['values'][number] {
  const found = report.values.find((value) => value.key === key)
  assert.ok(found, key)
  return found
}

async function holders(device: Device, file: string): Promise<string[]> {
  const report = await device.json<WhereReport>(['where', file])
  return report.holders
    .filter(({ isComplete }) => isComplete)
    .map(({ name }) => name)
    .sort()
}

test('each device keeps what the policy says of its name and its labels', async (t) => {
  const devices = createDevices(t, ['alice', 'bob', 'carol'])
  const { alice, bob, carol } = devices
  const { invite } = await alice.json<{ invite: string }>(['init', '--device', 'alice'])
  await bob.run(['join', invite, '--device', 'bob'])
  await carol.run(['join', invite, '--device', 'carol', '--label', 'tier=ssd'])
  const all = [alice, bob, carol]
  await alice.run(['mkdir', '/jobs'])
  const policy = [
    '[local]',
    'prefetch = "1 KB"',
    '[local.keep]',
    'default = "always"',
    '"device=bob" = "cached"',
    '"tier=ssd" = "streamed"',
  ].join('\n')
  await put(alice, `/jobs/${FILE}`, policy)
  await put(alice, '/jobs/big', 'x'.repeat(5_000))
  await put(alice, '/jobs/small', 'y'.repeat(500))
  await put(alice, '/beside', 'z'.repeat(5_001))
  await syncAll(all)
  assert.deepEqual(await holders(alice, '/beside'), ['alice', 'bob', 'carol'])
  assert.deepEqual(await holders(alice, '/jobs/big'), ['alice'])
  assert.deepEqual(await holders(alice, '/jobs/small'), ['alice', 'bob'], 'prefetched on bob')
  for (const device of all) {
    const from = `/jobs/${FILE}`
    const keeps = await Promise.all(
      ['alice', 'bob', 'carol'].map(async (name) => {
        const found = rule(await explain(device, '/jobs/big', '--device', name), 'local.keep')
        return [found.value, found.from, found.label, found.pending !== undefined]
      }),
    )
    assert.deepEqual(keeps, [
      ['always', from, 'default', false],
      ['cached', from, 'device=bob', false],
      ['streamed', from, 'tier=ssd', true],
    ])
    const [verified] = await device.json<VerifyReport[]>(['verify'])
    assert.equal(verified?.isClean, true, JSON.stringify(verified?.findings))
  }
  const here = await explain(carol, '/jobs/big')
  assert.deepEqual([here.device, rule(here, 'local.keep').value], ['carol', 'streamed'])
  assert.deepEqual([rule(here, 'local.keep').line, here.notes], [6, []], 'policy files are kept')
  const nobody = await alice.run(['policy', 'explain', '/', '--device', 'dave'], { codes: [1] })
  assert.match(nobody.stderr, /NOT_FOUND.*dave/)
  // It follows when the policy does.
  await put(alice, `/jobs/${FILE}`, '[local]\nkeep = "always"\n')
  await syncAll(all)
  assert.deepEqual(await holders(alice, '/jobs/big'), ['alice', 'bob', 'carol'])
})

test('explain says what is not enforced, and which file says something else', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], UNMOUNTED)
  await put(
    alice,
    `/${FILE}`,
    'ignore = ["*.tmp"]\nreplication.copies = 3\nlimits.quota = "2 GB"\nhistory.days = 5\n',
  )
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    const report = await explain(device, '/')
    assert.deepEqual(report.notes, [])
    assert.equal(rule(report, 'limits.quota').value, 2_000_000_000)
    assert.equal(rule(report, 'history.days').pending, undefined)
    const text = (await device.run(['policy', 'explain', '/'])).stdout
    assert.match(text, new RegExp(`What holds for / on ${device === alice ? 'alice' : 'bob'}`))
    assert.match(text, /replication\.copies +3 +\/\.wormhole\.toml:2 +not enforced yet/)
    assert.match(text, /limits\.quota +2 GB +\/\.wormhole\.toml:3 +not enforced yet/)
    assert.match(text, /history\.days +5 +\/\.wormhole\.toml:4 *\n/)
    assert.match(text, /Settings of one device may add limits to these and weaken none/)
  }
  await put(bob, `/${FILE}`, 'history.days = "many"\n')
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    const report = await explain(device, '/')
    assert.equal(rule(report, 'history.days').value, 5, 'the last valid text holds')
    assert.deepEqual(
      report.notes.map(({ file }) => file),
      [`/${FILE}`],
    )
    assert.match(report.notes[0]?.message ?? '', /it has mistakes/)
  }
})

test('limits and read-only folders bind the devices of writers', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], UNMOUNTED)
  await alice.run(['mkdir', '/published'])
  await put(alice, '/published/price', '100')
  await put(alice, `/published/${FILE}`, 'access.readonly = true\nlimits.file_size = 10\n')
  await syncAll([alice, bob])
  const refused = async (words: string[], code: RegExp, input = ''): Promise<void> => {
    const { stderr } = await bob.run(words, { codes: [1], input })
    assert.match(stderr, code, words.join(' '))
  }
  await refused(['put', '-', '/published/price'], /READ_ONLY.*only admins/, '1')
  await refused(['rm', '/published/price'], /READ_ONLY/)
  await refused(['mkdir', '/published/new'], /READ_ONLY/)
  assert.equal((await bob.run(['cat', '/published/price'])).stdout, '100')
  await put(bob, '/elsewhere', 'x'.repeat(100))
  const large = await alice.run(['put', '-', '/published/long'], {
    codes: [1],
    input: 'x'.repeat(11),
  })
  assert.match(large.stderr, /FILE_TOO_LARGE.*limits\.file_size/)
  await put(alice, '/published/price', '200')
  await put(alice, `/published/${FILE}`, 'access.readonly = false # over\n')
  await syncAll([alice, bob])
  await put(bob, '/published/price', 'x'.repeat(11))
})

test('conflicts of a quiet folder are listed, and not counted', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], UNMOUNTED)
  await alice.run(['mkdir', '/quiet'])
  await put(alice, `/quiet/${FILE}`, 'conflicts.notify = false\n')
  for (const name of ['/quiet/f', '/f']) await put(alice, name, 'both')
  await syncAll([alice, bob])
  await bob.run(['down'])
  for (const name of ['/quiet/f', '/f']) await put(alice, name, 'of alice')
  await alice.run(['down'])
  await bob.run(['up'])
  for (const name of ['/quiet/f', '/f']) await put(bob, name, 'of bob')
  await alice.run(['up'])
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    const found = await device.json<{ path: string; isQuiet?: true }[]>(['conflicts'])
    assert.deepEqual(
      found.map(({ path, isQuiet }) => [path, isQuiet]),
      [
        ['/f', undefined],
        ['/quiet/f', true],
      ],
    )
    const { volumes } = await device.json<StatusReport>(['status'])
    assert.equal(volumes[0]?.conflicts, 1)
  }
})

test('policy files are begun, judged and described without a daemon', async (t) => {
  const { alice } = createDevices(t, ['alice'])
  const scratch = temporaryDirectory(t)
  const file = path.join(scratch, FILE)
  const made = await alice.json<{ file: string; for: string }>(['policy', 'init', scratch])
  assert.deepEqual(made, { file, for: 'personal' })
  const template = fs.readFileSync(file, 'utf8')
  const again = await alice.run(['policy', 'init', scratch, '--for', 'web'], { codes: [1] })
  assert.match(again.stderr, /^wormhole: ALREADY_EXISTS: .* is there already/)
  assert.equal(fs.readFileSync(file, 'utf8'), template, 'nothing is replaced')
  const nowhere = await alice.run(['policy', 'init', path.join(scratch, 'nowhere')], { codes: [1] })
  assert.match(nowhere.stderr, /^wormhole: NOT_FOUND: neither this machine nor/)
  await alice.run(['policy', 'init', scratch, '--for', 'nobody'], { codes: [2] })
  const files = [file]
  for (const purpose of ['company', 'laboratory', 'web']) {
    const other = path.join(scratch, `${purpose}.toml`)
    fs.writeFileSync(other, (await alice.run(['policy', 'init', '-', '--for', purpose])).stdout)
    files.push(other)
  }
  const good = await alice.run(['policy', 'check', ...files])
  assert.equal(good.stdout, 'All policy files are valid.\n')

  const bad = path.join(scratch, 'bad.toml')
  fs.writeFileSync(bad, 'copys = 3\n[local]\nkeep = "cach"\n')
  const words = ['policy', 'check', file, bad]
  const text = await alice.run(words, { codes: [1] })
  assert.match(text.stdout, /bad\.toml:1:1: unknown key "copys".*"replication\.copies"/)
  assert.match(text.stdout, /bad\.toml:3:8: local\.keep may not be "cach"; did you mean "cached"/)
  const json = await alice.run([...words, '--json'], { codes: [1] })
  const report = JSON.parse(json.stdout) as PolicyCheckReport
  assert.equal(report.isValid, false)
  assert.deepEqual(
    report.problems.map(({ file, line, column, found, meant }) => [
      file,
      line,
      column,
      found,
      meant,
    ]),
    [
      [bad, 1, 1, '"copys"', 'replication.copies'],
      [bad, 3, 8, '"cach"', 'cached'],
    ],
  )
  const missing = await alice.run(['policy', 'check', path.join(scratch, 'no')], { codes: [1] })
  assert.match(missing.stderr, /NOT_FOUND: .* is no file of this machine/)
  const none = await alice.run(['policy', 'check'], { codes: [1] })
  assert.match(none.stderr, /DAEMON_NOT_RUNNING/)

  const schema = JSON.parse((await alice.run(['policy', 'schema'])).stdout) as {
    properties: Record<string, unknown>
  }
  assert.ok('placement' in schema.properties)
  const page = new URL('../../../src/policy/reference.md', import.meta.url)
  for (const table of Object.keys(schema.properties)) {
    assert.match(fs.readFileSync(page, 'utf8'), new RegExp(`^## \\[?${table}\\]?$`, 'm'))
  }
})
