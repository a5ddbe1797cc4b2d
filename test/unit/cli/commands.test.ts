/**
 * Proves what each command asks the daemon, prints as text and as JSON, and returns as exit code.
 * Command lines run in this process against a fake home behind a real control socket.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConflictReport } from '../../../src/daemon/interface.ts'
import { lockHome } from '../../../src/daemon/lock.ts'
import { runInProcess, serveFakeHome, temporaryDirectory, type Outcome } from '../../helpers/cli.ts'

function parsed(outcome: Outcome): unknown {
  assert.deepEqual({ code: outcome.code, stderr: outcome.stderr }, { code: 0, stderr: '' })
  assert.ok(outcome.stdout.endsWith('\n'))
  return JSON.parse(outcome.stdout)
}

/** What `--json` prints of a failure. */
interface Failed {
  readonly error: { readonly code: string }
}

const CONFLICT: ConflictReport = {
  path: '/report.txt',
  kind: 'content',
  strategy: 'copies',
  versions: [
    {
      version: 'v1',
      device: 'alice',
      deviceId: 'a',
      time: '2026-11-20T14:00:00.000Z',
      size: 5,
      state: 'current',
    },
    {
      version: 'v2',
      device: 'bob',
      deviceId: 'b',
      time: '2026-11-20T14:01:00.000Z',
      size: 6,
      state: 'past',
    },
  ],
}

test('cli: reports print exactly what the daemon says, with --json', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.add('/a.txt', 'abc')
  volume.conflictList = [CONFLICT]
  const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
  const status = parsed(await wormhole(['status', '--json'])) as Record<string, unknown>
  assert.deepEqual(status.volumes, [plain(await volume.status())])
  assert.deepEqual(status.device, home.device)
  const expected: [string[], unknown][] = [
    [['devices'], await volume.devices()],
    [['peers'], await volume.peers()],
    [['where', '/a.txt'], await volume.where('/a.txt')],
    [['history', '/a.txt'], await volume.history('/a.txt')],
    [['ls', '/'], await volume.list('/')],
    [['conflicts'], [CONFLICT]],
    [['policy', 'explain', '/a.txt'], await volume.policyExplain({ path: '/a.txt' })],
    [['policy', 'check'], { isValid: true, problems: [] }],
    [['sync'], volume.syncReport],
    [['invite', '--role', 'reader', '--uses', '2'], { invite: 'invite-reader-7-2' }],
  ]
  for (const [words, value] of expected) {
    assert.deepEqual(parsed(await wormhole([...words, '--json'])), plain(value), words.join(' '))
    assert.deepEqual(parsed(await wormhole(['--json', ...words])), plain(value), words.join(' '))
    const text = await wormhole(words)
    assert.equal(text.code, 0, text.stderr)
    assert.ok(text.stdout.length > 3)
  }
})

test('cli: the text of status, devices and conflicts', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  home.list[0]!.mountpoint = '/mnt/photos'
  home.list[0]!.conflictList = [CONFLICT]
  assert.match((await wormhole(['status'])).stdout, /mount +\/mnt\/photos\n.*\n +peers +1 of 2/)
  assert.match((await wormhole(['devices'])).stdout, /^DEVICE .*\nalice +writer +this device/)
  const { stdout } = await wormhole(['conflicts'])
  assert.match(stdout, /^\/report\.txt \(content\)\nN +DEVICE.*\n1 +alice.*\n2 +bob.*version v2\n$/)
})

test('cli: init and join pass everything on', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const options = [
    '--mount',
    'm',
    '--owner',
    'mounter',
    '--device',
    'd',
    '--label',
    'k=v',
    '--label',
    'x=',
  ]
  const init = ['init', '--another']
  const made = parsed(await wormhole([...init, ...options, '--json'], { cwd: '/base' }))
  const asked = {
    mount: '/base/m',
    owner: 'mounter',
    deviceName: 'd',
    labels: { k: 'v', x: '' },
  }
  assert.deepEqual(home.asked, { name: 'm', ...asked })
  assert.deepEqual((made as { invite: string }).invite, 'invite-1')
  const text = await wormhole([...init, '--name', 'n', '--device', 'd'])
  assert.match(text.stdout, /wormhole join invite-1/)
  assert.match(text.stdout, /Recovery code[^]*code-1/)
  parsed(await wormhole(['join', 'inv', ...options, '--json'], { cwd: '/base' }))
  assert.deepEqual(home.asked, { invite: 'inv', ...asked })
  parsed(await wormhole(['join', '-', '--device', 'd', '--json'], { input: 'abc\n' }))
  assert.deepEqual((home.asked as { invite: string }).invite, 'abc')
  const old = await wormhole(['join', 'old'])
  assert.equal(old.code, 1)
  assert.match(old.stderr, /^wormhole: INVITE_EXPIRED: the invite is too old\. Ask for a new one/)
  assert.equal((await wormhole(['init', '--label', 'novalue'])).code, 2)
})

test('cli: a second init says which volume there is', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const second = await wormhole(['init', '--name', 'more'])
  assert.deepEqual([second.code, home.list.length], [1, 1])
  assert.match(second.stderr, /^wormhole: ALREADY_EXISTS: this home has the volume photos already/)
  assert.match(second.stderr, /`wormhole init --another` makes one more\.?\n$/)
  home.list.pop()
  assert.equal((await wormhole(['init', '--name', 'first'])).code, 0)
})

test('cli: up names what could not be mounted, and tries again', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  assert.equal((await wormhole(['up'])).code, 0)
  const failure = { directory: '/m', code: 'MOUNT_FAILED', message: '/m is not empty' }
  volume.mountFailure = failure
  const up = await wormhole(['up'])
  assert.equal(up.code, 1)
  assert.match(up.stdout, /mount +not mounted \(failed at \/m\)/)
  assert.equal(up.stderr, 'wormhole: MOUNT_FAILED: photos is not mounted at /m: /m is not empty\n')
  const { code, stdout } = await wormhole(['up', '--json'])
  assert.equal(code, 1)
  assert.deepEqual(JSON.parse(stdout).volumes[0].mountFailure, failure)
  volume.canMount = true
  assert.deepEqual((await wormhole(['up'])).code, 0)
  assert.equal(volume.mountpoint, '/m')
})

test('cli: up in the foreground leaves a running daemon alone', async (t) => {
  const { wormhole } = await serveFakeHome(t)
  const second = await wormhole(['up', '--foreground'])
  assert.equal(second.code, 1)
  assert.match(second.stderr, /^wormhole: DAEMON_RUNNING: .*Stop it first with: wormhole down\.\n$/)
  const { stderr } = await wormhole(['up', '--foreground', '--json'])
  assert.equal((JSON.parse(stderr) as Failed).error.code, 'DAEMON_RUNNING')
})

test('cli: a daemon that does not stop in time is TIMEOUT', async (t) => {
  const { wormhole } = await serveFakeHome(t, { isStopping: false })
  const down = await wormhole(['down', '--timeout', '0.1'])
  assert.equal(down.code, 1)
  assert.match(down.stderr, /^wormhole: TIMEOUT: the daemon is still stopping after 0\.1 s\. Try/)
  const { stderr } = await wormhole(['down', '--timeout', '0.1', '--json'])
  assert.equal((JSON.parse(stderr) as Failed).error.code, 'TIMEOUT')
})

test('cli: revoke wants to be sure, and to know who is meant', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  const bob = 'bob'.padEnd(64, '0')
  const refused = async (words: string[], message: RegExp): Promise<void> => {
    const { code, stderr, stdout } = await wormhole(['revoke', ...words])
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, message)
  }
  await refused(['bob'], /not on a terminal.*--yes/)
  await refused(['bob', '--json'], /--yes/)
  await refused(['erin', '--yes'], /there is no device erin/)
  await refused(['alice', '--yes'], /the device you are on/)
  await refused(['bo', '--yes'], /there is no device bo/)
  const all = await volume.devices()
  volume.devices = async () => [...all, { ...(all[1] as (typeof all)[0]), id: 'c'.repeat(64) }]
  await refused(['bob', '--yes'], new RegExp(`several devices.*${bob}.*cccc`, 's'))
  volume.devices = async () => all
  assert.deepEqual(volume.revoked, [])
  const text = await wormhole(['revoke', 'bob', '--yes'])
  assert.equal(text.code, 0)
  assert.match(text.stdout, /^Revoked bob .*2 devices left, 1 admin.*keeps what it has/s)
  const json = await wormhole(['revoke', 'bob', '--yes', '--json'])
  assert.equal((parsed(json) as { device: { id: string } }).device.id, bob)
  assert.deepEqual(volume.revoked, [bob, bob])
  const revoked = { at: '2026-11-20T14:03:22.000Z', by: 'alice', aside: 3 }
  volume.devices = async () => [{ ...(all[1] as (typeof all)[0]), role: undefined, revoked }]
  assert.match(
    (await wormhole(['devices'])).stdout,
    /bob +- +revoked .* by alice, 3 of its entries/,
  )
})

test('cli: down does not call a daemon stopped that nobody can name', async (t) => {
  const home = temporaryDirectory(t)
  const lock = lockHome(home)
  t.after(() => lock.release())
  const { code, stderr } = await runInProcess(['down', '--json'], { WORMHOLE_HOME: home })
  assert.equal(code, 1)
  assert.equal((JSON.parse(stderr) as Failed).error.code, 'HOME_LOCKED')
})

test('cli: the recovery code makes an invite for an admin', async (t) => {
  const { wormhole } = await serveFakeHome(t)
  assert.equal((await wormhole(['invite', '--recovery', 'code-1'])).stdout, 'invite-recovery\n')
  assert.equal((await wormhole(['invite', '--recovery', 'wrong'])).code, 2)
})

test('cli: exit codes of sync and policy check', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  assert.equal((await wormhole(['sync', '--wait', '--require', '1'])).code, 0)
  assert.equal((await wormhole(['sync', '--wait', '--require', '2'])).code, 1)
  volume.syncReport = { ...volume.syncReport, isInSync: false, missing: { files: 2, bytes: 2048 } }
  const late = await wormhole(['sync', '--wait', '--timeout', '1'])
  assert.equal(late.code, 1)
  assert.match(late.stdout, /Not in sync.*\n {2}bob: in sync\nStill to fetch: 2 files, 2 KiB\./)
  assert.equal((await wormhole(['sync'])).code, 0)
  volume.syncReport = {
    ...volume.syncReport,
    isInSync: true,
    missing: { files: 0, bytes: 0 },
    refused: [{ code: 'ENTRY_INVALID', message: 'entry 7 of device b is refused: no' }],
  }
  const warned = await wormhole(['sync', '--wait'])
  assert.equal(warned.code, 0)
  assert.match(warned.stdout, /^In sync.*\nNot in the tree: ENTRY_INVALID: entry 7 of device b /ms)
  volume.policyProblems = [{ file: '/.wormhole.toml', line: 3, column: 1, message: 'no' }]
  const check = await wormhole(['policy', 'check'])
  assert.deepEqual([check.code, check.stdout], [1, '/.wormhole.toml:3:1: no\n'])
})

test('cli: conflicts are resolved by number, or kept', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.conflictList = [CONFLICT]
  const resolve = ['conflicts', 'resolve', '/report.txt', '--keep']
  assert.deepEqual(parsed(await wormhole([...resolve, '9', '--json'])), CONFLICT)
  assert.match((await wormhole([...resolve, '9'])).stdout, /^Still in conflict/)
  assert.equal(parsed(await wormhole([...resolve, 'both', '--json'])), null)
  assert.equal((await wormhole([...resolve, '1'])).code, 1)
  assert.equal((await wormhole([...resolve, '0'])).code, 2)
  assert.equal((await wormhole(['conflicts', 'resolve', '/report.txt'])).code, 2)
  assert.equal((await wormhole(['conflicts'])).stdout, 'No conflicts.\n')
})

test('cli: all conflicts are settled after a look, never unasked', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.conflictList = [CONFLICT]
  const all = ['conflicts', 'resolve', '--all', '--keep', 'newest']
  const look = await wormhole([...all, '--dry-run'])
  assert.match(look.stdout, /^\/report\.txt: would keep version 1 of 2, alice, /)
  const unasked = await wormhole(all)
  assert.equal(unasked.code, 2, 'nobody can be asked in a pipe')
  assert.match(unasked.stderr, /add --yes/)
  assert.deepEqual(volume.conflictList, [CONFLICT])
  const done = await wormhole([...all, '--yes'])
  assert.deepEqual([done.code, volume.conflictList], [0, []])
  assert.match(done.stdout, /: kept version 1 of 2/)
})

test('cli: a conflict is shown with what differs', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.add('/a.txt', 'one\ntwo\n')
  volume.add('/a (conflict).txt', 'one\nthree\n')
  const versions = CONFLICT.versions.map((version, index) => ({
    ...version,
    path: ['/a.txt', '/a (conflict).txt'][index] as string,
  }))
  volume.conflictList = [{ ...CONFLICT, path: '/a.txt', versions }]
  const { stdout } = await wormhole(['conflicts', 'show', '/a.txt'])
  assert.match(stdout, /^-two\n\+three$/m)
  assert.match(stdout, /^--- 1 alice\t\d/m, 'tabs stay')
  volume.add('/a.txt', 'one\0two')
  const binary = await wormhole(['conflicts', 'show', '/a.txt'])
  assert.match(binary.stdout, /Version 2 is not compared/)
  assert.equal((await wormhole(['conflicts', 'show', '/none'])).code, 1)
})

test('cli: restore passes the moment on and says what came back', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  const restored = await wormhole(['restore', '/a', '--at', '2026-11-20T14:00:00Z', '--to', '/b'])
  assert.deepEqual([restored.code, restored.stdout], [0, '/a: restored, 3 B\n'])
  await wormhole(['restore', '/a', '--at', 'abcd1234', '--dry-run'])
  const bad = await wormhole(['restore', '/a', '--at', 'yesterday'])
  assert.equal(bad.code, 2)
  assert.deepEqual(volume.restored, [
    { path: '/a', isPreview: false, atMs: Date.UTC(2026, 10, 20, 14), to: '/b' },
    { path: '/a', isPreview: true, version: 'abcd1234' },
  ])
})

test('cli: ls, mkdir, rm, mount, unmount', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.add('/file', 'x')
  assert.equal((await wormhole(['mkdir', '/d', '/d/e'])).code, 0)
  assert.equal((await wormhole(['mkdir', '/d'])).code, 1)
  assert.equal((await wormhole(['mkdir', '-p', '/d', '/x/y/z'])).code, 0)
  assert.ok(volume.nodes.has('/x/y/z'))
  assert.equal((await wormhole(['mkdir', '-p', '/file'])).code, 1)
  assert.equal((await wormhole(['ls'])).stdout, 'd/\nfile\nx/\n')
  assert.match((await wormhole(['ls', '-l'])).stdout, /drwxr-xr-x .* d\/\n/)
  assert.equal((await wormhole(['rm', '/d'])).code, 1)
  assert.equal((await wormhole(['rm', '-r', '/d', '/x'])).code, 0)
  assert.deepEqual(parsed(await wormhole(['mount', 'm', '--json'], { cwd: '/w' })), {
    volume: 'photos',
    mountpoint: '/w/m',
  })
  assert.equal((await wormhole(['ls'], { cwd: '/w/m' })).stdout, 'file\n')
  assert.equal((await wormhole(['ls', 'm/file'], { cwd: '/w' })).stdout, 'file\n')
  assert.equal((await wormhole(['ls', 'file'], { cwd: '/w' })).code, 2)
  assert.equal((await wormhole(['unmount', '/elsewhere'])).code, 1)
  const unmounted = await wormhole(['unmount', '/w/m'])
  assert.equal(unmounted.stdout, 'Volume photos is unmounted from /w/m.\n')
  assert.equal((await wormhole(['unmount'])).stdout, 'Volume photos is not mounted.\n')
  assert.equal(volume.mountpoint, undefined)
})

test('cli: a policy file is begun in a volume that is not mounted', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.add('/photos/a', 'x')
  assert.equal((await wormhole(['policy', 'init', '/photos'])).code, 0)
  const file = '/photos/.wormhole.toml'
  const { bytes } = volume.nodes.get(file) ?? {}
  assert.match(String(bytes), /^\[conflicts\]$/m)
  const again = await wormhole(['policy', 'init', '/photos', '--for', 'web'])
  assert.match(again.stderr, /^wormhole: ALREADY_EXISTS: /)
  assert.equal(volume.nodes.get(file)?.bytes, bytes, 'nothing is replaced')
  const nowhere = await wormhole(['policy', 'init', '/none'])
  assert.match(nowhere.stderr, /^wormhole: NOT_FOUND: neither this machine nor a volume/)
})

test('cli: status tells what was read again, and what is still damaged', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  const line = async (): Promise<string | undefined> =>
    /checked +(.*)/.exec((await wormhole(['status'])).stdout)?.[1]
  assert.equal(await line(), undefined)
  const read = { at: '2026-11-20T14:00:00.000Z', chunks: 9, bytes: 2048, damaged: 0 }
  volume.scrubbed = read
  assert.match((await line()) ?? '', /^2 KiB read again, last on 2026-11-20 \S+$/)
  volume.scrubbed = { ...read, damaged: 1, isRepaired: true }
  assert.match((await line()) ?? '', /; 1 chunk damaged, whole again$/)
  volume.scrubbed = { ...read, isRepaired: false }
  assert.match((await line()) ?? '', /the chunk index damaged \(see: wormhole verify --repair\)$/)
})

test('cli: several volumes need a name', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  home.addVolume('music').add('/song', 'la')
  const unclear = await wormhole(['ls', '/', '--json'])
  assert.deepEqual([unclear.code, unclear.stdout], [2, ''])
  const { error } = JSON.parse(unclear.stderr) as { error: { code: string; message: string } }
  assert.equal(error.code, 'BAD_ARGUMENT')
  assert.match(error.message, /photos, music/)
  assert.equal((await wormhole(['ls', '/', '--volume', 'music'])).stdout, 'song\n')
  assert.equal((await wormhole(['--volume', 'music', 'ls', '/'])).stdout, 'song\n')
  assert.equal((await wormhole(['ls', '/', '--volume', 'none'])).code, 1)
})

test('cli: usage errors are 2, bugs 70, Ctrl-C 130', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const wrong = [['stats'], ['ls', '--what'], ['where'], ['ls', '/', '/'], ['policy'], []]
  for (const words of wrong) {
    const outcome = await wormhole(words)
    assert.deepEqual([outcome.code, outcome.stdout], [2, ''], words.join(' '))
    assert.notEqual(outcome.stderr, '')
  }
  assert.match((await wormhole(['stats'])).stderr, /Did you mean status/)
  assert.match((await wormhole(['ls', '--lon'])).stderr, /Did you mean --long/)
  assert.equal((await wormhole(['invite', '--uses', '0'])).code, 2)
  assert.equal((await wormhole(['invite', '--role', 'king'])).code, 2)
  const usage = await wormhole(['where', '--json'])
  assert.equal(JSON.parse(usage.stderr).error.code, 'BAD_ARGUMENT')

  home.list[0]!.devices = () => Promise.reject(new TypeError('planted'))
  const bug = await wormhole(['devices'])
  assert.equal(bug.code, 70)
  assert.match(bug.stderr, /^wormhole: BUG: planted\. This is a bug[^]*commands\.test/)

  const abort = new AbortController()
  const waiting = wormhole(['sync', '--wait', '--timeout', '3600'], { signal: abort.signal })
  while (home.list[0]!.signals.length === 0) await new Promise((resolve) => setImmediate(resolve))
  abort.abort()
  assert.deepEqual(await waiting, { code: 130, stdout: '', stderr: 'wormhole: interrupted\n' })
})

test('cli: help and version need no daemon and no home', async () => {
  for (const words of [['help'], ['--help'], ['help', 'sync'], ['conflicts', '--help']]) {
    const { code, stdout, stderr } = await runInProcess(words, {})
    assert.deepEqual([code, stderr], [0, ''], words.join(' '))
    assert.match(stdout, /^Usage: wormhole/)
    assert.ok(!stdout.includes('daemon  '), 'hidden commands are not shown')
  }
  assert.match((await runInProcess(['--version'], {})).stdout, /^\d+\.\d+\.\d+\n$/)
  const { stdout } = await runInProcess(['version', '--json'], {})
  assert.deepEqual(Object.keys(JSON.parse(stdout)), ['version', 'node', 'platform'])
})

test('cli: without a daemon', async () => {
  const env = { WORMHOLE_HOME: '/nonexistent/home' }
  const outcome = await runInProcess(['status'], env)
  assert.equal(outcome.code, 1)
  assert.equal(
    outcome.stderr,
    'wormhole: DAEMON_NOT_RUNNING: no daemon serves the home /nonexistent/home. ' +
      'Start it with: wormhole up.\n',
  )
  assert.equal((await runInProcess(['down'], env)).stdout, 'The daemon was not running.\n')
  assert.equal((await runInProcess(['status'], {})).code, 2)
})

test('cli: gc says what it freed and what is kept for what, or why not', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  const dry = await wormhole(['gc', '--dry-run'])
  assert.deepEqual([dry.code, dry.stderr], [0, ''])
  assert.match(dry.stdout, /12.* in 3 chunks could be freed/)
  assert.match(dry.stdout, /kept for files: 8.* in 2 chunks\n {2}kept for history/)
  const done = await wormhole(['gc'])
  assert.match(done.stdout, /freed 12.* in 3 chunks/)
  const json = await wormhole(['gc', '--json'])
  const [report] = JSON.parse(json.stdout) as { freed: unknown; isDryRun: boolean }[]
  assert.deepEqual([report?.freed, report?.isDryRun], [{ chunks: 3, bytes: 12_288 }, false])
  volume.postponed = 'entries of the log are missing'
  const not = await wormhole(['gc'])
  assert.equal(not.code, 1)
  assert.match(not.stdout, /freed 0.*not more now: entries of the log are missing/)
})

test('cli: verify names what it found, and exits 1 while something is left', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const [volume] = home.list
  assert.ok(volume)
  const clean = await wormhole(['verify'])
  assert.deepEqual([clean.code, clean.stderr], [0, ''])
  assert.match(clean.stdout, /nothing is damaged/)
  volume.findings = [
    {
      part: 'packs',
      code: 'CHUNK_CORRUPT',
      message: 'its digest is wrong',
      path: '/home/packs/pack-00000000',
      offset: 40,
      address: 'a'.repeat(64),
      files: ['/a.txt'],
      consequence: 'read from other devices',
      advice: 'repair it',
      isRepaired: false,
    },
  ]
  const found = await wormhole(['verify'])
  assert.equal(found.code, 1)
  assert.match(
    found.stdout,
    /1 finding.*\n {2}packs: CHUNK_CORRUPT: .*offset 40.*\/a\.txt.*repair it/,
  )
  const json = await wormhole(['verify', '--json'])
  assert.equal(json.code, 1)
  const [report] = JSON.parse(json.stdout) as { isClean: boolean; findings: unknown[] }[]
  assert.deepEqual([report?.isClean, report?.findings], [false, volume.findings])
  const repaired = await wormhole(['verify', '--repair', '--rebuild'])
  assert.equal(repaired.code, 0, repaired.stderr)
  assert.match(repaired.stdout, /1 repaired, the index was built anew/)
})
