/**
 * Proves that bad input and damaged state end in a clear error with a code: nothing is lost,
 * nothing hangs, other devices go on. Runs real daemons on loopback; mounts only where it is about
 * mounts.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { CreatedReport, FileReport, VolumeStatus } from '../../../src/daemon/interface.ts'
import { createDevices, createDirectory, whyNoMount, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

/** The error code that a failing command with `--json` prints. */
async function codeOf(device: Device, args: readonly string[], input?: string): Promise<string> {
  const options = input === undefined ? {} : { input }
  const result = await device.run([...args, '--json'], { codes: [1, 2], ...options })
  const printed = JSON.parse(result.stdout || result.stderr) as { error: { code: string } }
  return printed.error.code
}

async function put(device: Device, file: string, text: string): Promise<void> {
  await device.run(['put', '-', file], { input: text })
}

async function cat(device: Device, file: string): Promise<string> {
  return (await device.run(['cat', file])).stdout
}

test('put, ls, cat, get and rm without a mount; a second device reads it', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  await alice.run(['mkdir', '/docs'])
  await put(alice, '/docs/a.txt', 'hello')
  await syncAll([alice, bob])
  const listed = await bob.json<FileReport[]>(['ls', '/docs'])
  assert.deepEqual(
    listed.map(({ path: at, size, type }) => [at, size, type]),
    [['/docs/a.txt', 5, 'file']],
  )
  assert.equal(await cat(bob, '/docs/a.txt'), 'hello')
  await put(bob, '/docs/a.txt', 'hello from bob')
  await syncAll([bob, alice])
  assert.equal(await cat(alice, '/docs/a.txt'), 'hello from bob')
  const target = path.join(createDirectory(t), 'copy')
  await alice.run(['get', '/docs/a.txt', target])
  assert.equal(fs.readFileSync(target, 'utf8'), 'hello from bob')
  await alice.run(['rm', '/docs/a.txt'])
  await syncAll([alice, bob])
  assert.equal(await codeOf(bob, ['cat', '/docs/a.txt']), 'NOT_FOUND')
})

test('invites: garbage, mistyped, used up, expired; the volume goes on', async (t) => {
  const devices = createDevices(t, ['alice', 'bob', 'carol'])
  const { alice, bob, carol } = devices
  const created = await alice.json<CreatedReport>(['init', '--name', 'v', '--device', 'alice'])
  assert.equal(await codeOf(bob, ['join', 'garbage', '--device', 'bob']), 'INVITE_INVALID')
  const invite = created.invite as string
  const last = invite.slice(-2, -1) === 'q' ? 'p' : 'q'
  const mistyped = `${invite.slice(0, -2)}${last}${invite.slice(-1)}`
  assert.equal(await codeOf(bob, ['join', mistyped, '--device', 'bob']), 'INVITE_INVALID')
  const once = await alice.json<{ invite: string }>(['invite', '--uses', '1'])
  await bob.run(['join', once.invite, '--device', 'bob'])
  assert.equal(await codeOf(carol, ['join', once.invite, '--device', 'carol']), 'INVITE_USED_UP')
  // Good for 0.9 s; starting carol's command takes longer than what is left of it by then.
  const short = await alice.json<{ invite: string }>(['invite', '--days', '0.00001'])
  await new Promise((resolve) => setTimeout(resolve, 900))
  assert.equal(await codeOf(carol, ['join', short.invite, '--device', 'carol']), 'INVITE_EXPIRED')
  await put(bob, '/still', 'works')
  await syncAll([alice, bob])
  assert.equal(await cat(alice, '/still'), 'works')
})

test('the only admin burns: the recovery code makes a new one through any member', async (t) => {
  const { alice, bob, carol } = createDevices(t, ['alice', 'bob', 'carol'])
  const created = await alice.json<CreatedReport>(['init', '--name', 'v', '--device', 'alice'])
  await bob.run(['join', created.invite as string, '--device', 'bob'])
  await alice.kill()
  fs.rmSync(alice.home, { recursive: true })
  assert.equal(await codeOf(bob, ['invite']), 'NOT_PERMITTED')
  assert.equal(await codeOf(bob, ['invite', '--recovery', 'AAAA-BBBB']), 'BAD_ARGUMENT')
  const code = created.recoveryCode as string
  const { invite } = await bob.json<{ invite: string }>(['invite', '--recovery', code])
  await carol.run(['join', invite, '--device', 'carol'])
  assert.equal((await carol.status()).volumes[0]?.role, 'admin')
  await carol.run(['invite'])
})

test('a reader may look and not touch', async (t) => {
  const { alice, bob } = createDevices(t, ['alice', 'bob'])
  await alice.run(['init', '--name', 'v', '--device', 'alice'])
  await put(alice, '/f', 'text')
  const { invite } = await alice.json<{ invite: string }>(['invite', '--role', 'reader'])
  await bob.run(['join', invite, '--device', 'bob'])
  await syncAll([alice, bob])
  assert.equal(await cat(bob, '/f'), 'text')
  assert.equal(await codeOf(bob, ['put', '-', '/g'], 'x'), 'READ_ONLY')
  assert.equal(await codeOf(bob, ['rm', '/f']), 'READ_ONLY')
  assert.equal(await codeOf(bob, ['invite']), 'NOT_PERMITTED')
  if (whyNoMount() === undefined) {
    await bob.run(['mount', bob.mountpoint])
    assert.throws(() => fs.writeFileSync(bob.path('g'), 'x'), { code: 'EROFS' })
    assert.equal(fs.readFileSync(bob.path('f'), 'utf8'), 'text')
  }
})

test('mount points: missing, occupied, a file', { skip: whyNoMount() ?? false }, async (t) => {
  const { alice } = createDevices(t, ['alice'])
  const directory = createDirectory(t)
  const missing = path.join(directory, 'missing')
  const init = ['init', '--name', 'v', '--device', 'alice']
  assert.equal(await codeOf(alice, [...init, '--mount', missing]), 'MOUNT_FAILED')
  assert.deepEqual((await alice.status()).volumes, [], 'nothing was made')
  await alice.run(init)
  assert.equal(await codeOf(alice, ['mount', missing]), 'MOUNT_FAILED')
  fs.writeFileSync(path.join(directory, 'file'), 'mine')
  assert.equal(await codeOf(alice, ['mount', directory]), 'MOUNT_FAILED')
  assert.equal(await codeOf(alice, ['mount', path.join(directory, 'file')]), 'MOUNT_FAILED')
  assert.equal(fs.readFileSync(path.join(directory, 'file'), 'utf8'), 'mine')
  await alice.run(['mount', alice.mountpoint])
  fs.writeFileSync(alice.path('f'), 'works')
})

test('a second daemon on the same home is refused by name of the first', async (t) => {
  const { alice } = createDevices(t, ['alice'])
  await alice.run(['init', '--name', 'v', '--device', 'alice'])
  const { daemonPid } = await alice.status()
  const second = await alice.run(['daemon'], { codes: 'any', timeoutMs: 15_000 })
  assert.notEqual(second.code, 0)
  assert.match(second.stdout + second.stderr, /HOME_LOCKED|DAEMON_RUNNING/)
  assert.match(second.stdout + second.stderr, new RegExp(String(daemonPid)))
  assert.equal((await alice.status()).daemonPid, daemonPid)
})

/** The newest file below a directory whose name ends so, and that has bytes. */
function newestFile(directory: string, pattern: RegExp): string {
  const names = fs.readdirSync(directory, { recursive: true, encoding: 'utf8' })
  const found = names
    .map((name) => path.join(directory, name))
    .filter((file) => pattern.test(file) && fs.statSync(file).isFile() && fs.statSync(file).size)
    .sort((a, b) => fs.statSync(b).size - fs.statSync(a).size)[0]
  assert.ok(found, `a file like ${pattern} in ${directory}: ${names.join(' ')}`)
  return found
}

/** Changes one byte in the middle of a file. */
function flip(file: string, at: number): void {
  const bytes = fs.readFileSync(file)
  bytes[at] = (bytes[at] as number) ^ 0x40
  fs.writeFileSync(file, bytes)
}

function volumeDirectory(device: Device): string {
  const root = path.join(device.home, 'volumes')
  return path.join(root, fs.readdirSync(root)[0] as string)
}

test('a flipped byte in a log segment is told; everything is there, on both devices', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  for (let index = 0; index < 5; index++) await put(alice, `/f${index}`, `text ${index}`)
  await syncAll([alice, bob])
  await alice.stop()
  flip(newestFile(path.join(volumeDirectory(alice), 'log'), /./), 900)
  await put(bob, '/g', 'goes on')
  await alice.run(['up'])
  for (let index = 0; index < 5; index++)
    assert.equal(await cat(alice, `/f${index}`), `text ${index}`)
  const { problems } = (await alice.status()).volumes[0] as VolumeStatus
  assert.ok(
    problems.some(({ code }) => code === 'FEED_CORRUPT'),
    JSON.stringify(problems),
  )
  await put(alice, '/h', 'too')
  await syncAll([alice, bob])
  assert.equal(await cat(bob, '/h'), 'too')
  assert.equal(await cat(alice, '/g'), 'goes on')
})

test('a flipped byte in the log of the only device: nothing vanishes, others get it', async (t) => {
  const { alice, bob } = createDevices(t, ['alice', 'bob'])
  const { invite } = await alice.json<CreatedReport>(['init', '--name', 'v', '--device', 'alice'])
  for (let index = 0; index < 5; index++) await put(alice, `/f${index}`, `text ${index}`)
  const before = (await alice.run(['ls', '-l', '/'])).stdout
  await alice.stop()
  flip(newestFile(path.join(volumeDirectory(alice), 'log'), /./), 1300)
  await alice.run(['up'])
  assert.equal((await alice.run(['ls', '-l', '/'])).stdout, before)
  const { problems } = (await alice.status()).volumes[0] as VolumeStatus
  assert.ok(
    problems.some(({ code }) => code === 'LOG_LOST'),
    JSON.stringify(problems),
  )
  await put(alice, '/later', 'text')
  await bob.run(['join', invite as string, '--device', 'bob'])
  await syncAll([alice, bob])
  assert.equal(await cat(bob, '/later'), 'text')
  for (let index = 0; index < 5; index++)
    assert.equal(await cat(bob, `/f${index}`), `text ${index}`)
})

test('a flipped byte in a pack is found when read, and fetched again from a peer', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  const text = 'the same text again and again '.repeat(4000)
  await put(alice, '/f', text)
  await syncAll([alice, bob])
  assert.equal(await cat(bob, '/f'), text)
  await bob.stop()
  const pack = newestFile(path.join(volumeDirectory(bob), 'packs'), /pack/)
  flip(pack, fs.statSync(pack).size - 100)
  await bob.run(['up'])
  assert.equal(await cat(bob, '/f'), text)
})

test('the index lost: it is rebuilt from the log', async (t) => {
  const { alice } = await createVolumeOfDevices(t, ['alice'], { isMounted: false })
  await alice.run(['mkdir', '/d'])
  await put(alice, '/d/f', 'text')
  await alice.stop()
  fs.rmSync(path.join(volumeDirectory(alice), 'index'), { recursive: true })
  await alice.run(['up'])
  assert.equal(await cat(alice, '/d/f'), 'text')
})

test('a flipped byte in the index is found at the start; it is rebuilt', async (t) => {
  const { alice } = await createVolumeOfDevices(t, ['alice'], { isMounted: false })
  await put(alice, '/f', 'text')
  await alice.stop()
  const index = path.join(volumeDirectory(alice), 'index', 'data.mdb')
  const bytes = fs.readFileSync(index)
  // The row of the applied frontier: its key lies in clear before the sealed value.
  for (let at = bytes.indexOf('frontier'); at >= 0; at = bytes.indexOf('frontier', at + 1)) {
    bytes[at + 30] = (bytes[at + 30] as number) ^ 1
  }
  fs.writeFileSync(index, bytes)
  await alice.run(['up'])
  assert.equal(await cat(alice, '/f'), 'text')
  const { problems } = (await alice.status()).volumes[0] as VolumeStatus
  assert.deepEqual(
    problems.map(({ code }) => code),
    ['INDEX_CORRUPT'],
  )
})

const noSmallDisk = process.getuid?.() === 0 ? false : 'a small disk needs root'

test('a full disk refuses writes, keeps reads, and recovers', { skip: noSmallDisk }, async (t) => {
  const { alice } = createDevices(t, ['alice'])
  fs.mkdirSync(alice.home, { recursive: true })
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'small', alice.home])
  assert.equal(mounted.status, 0, String(mounted.stderr))
  t.after(async () => {
    await alice.stop()
    spawnSync('umount', ['-l', alice.home])
  })
  await alice.run(['init', '--name', 'v', '--device', 'alice'])
  await put(alice, '/small', 'kept')
  const big = Buffer.alloc(40 * 1024 * 1024)
  for (let at = 0; at < big.length; at += 4) big.writeUInt32LE((at * 2654435761) >>> 0, at)
  const result = await alice.run(['put', '-', '/big', '--json'], { input: big, codes: 'any' })
  assert.equal(result.code, 1)
  assert.match(result.stdout + result.stderr, /DISK_FULL/)
  assert.equal(await cat(alice, '/small'), 'kept')
  assert.equal(spawnSync('mount', ['-o', 'remount,size=200m', alice.home]).status, 0)
  await put(alice, '/later', 'room again')
  assert.equal(await cat(alice, '/later'), 'room again')
})
