/**
 * Proves that `wormhole verify` names damage of every kind of file, repairs what peers have or what
 * follows from other files, and says so in JSON and by exit code. Damages the homes of real daemons
 * on loopback, running and stopped.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { FindingReport, VerifyReport } from '../../../src/daemon/interface.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

async function put(device: Device, file: string, text: string): Promise<void> {
  await device.run(['put', '-', file], { input: text })
}

async function cat(device: Device, file: string): Promise<string> {
  return (await device.run(['cat', file])).stdout
}

function volumeFile(device: Device, ...names: string[]): string {
  const root = path.join(device.home, 'volumes')
  return path.join(root, fs.readdirSync(root)[0] as string, ...names)
}

function largestIn(directory: string, pattern: RegExp): string {
  const files = fs
    .readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(directory, name))
    .filter((file) => pattern.test(file) && fs.statSync(file).isFile())
  files.sort((a, b) => fs.statSync(b).size - fs.statSync(a).size)
  return files[0] ?? assert.fail(`a file like ${pattern} in ${directory}`)
}

function flip(file: string, at: number): void {
  const descriptor = fs.openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  fs.readSync(descriptor, byte, 0, 1, at)
  byte[0] = (byte[0] as number) ^ 0x40
  fs.writeSync(descriptor, byte, 0, 1, at)
  fs.closeSync(descriptor)
}

/** Runs `verify --json`; the exit code must say what the report says. */
async function verify(device: Device, ...options: string[]): Promise<VerifyReport> {
  const result = await device.run(['verify', ...options, '--json'], { codes: [0, 1] })
  assert.ok(result.stdout.startsWith('['), result.stdout + result.stderr)
  const [report] = JSON.parse(result.stdout) as VerifyReport[]
  assert.ok(report)
  assert.equal(result.code, report.isClean ? 0 : 1)
  assert.equal(
    report.isClean,
    report.findings.every(({ isRepaired }) => isRepaired),
  )
  return report
}

function partsOf(findings: readonly FindingReport[]): string[] {
  return [...new Set(findings.map(({ part }) => part))].sort()
}

test('nothing is damaged: exit code 0, in use and after a restart', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  for (let index = 0; index < 5; index++) await put(alice, `/f${index}`, `text ${index}`)
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    const report = await verify(device)
    assert.deepEqual(report.findings, [])
    assert.ok(report.bytes > 500)
  }
  await alice.stop()
  assert.deepEqual((await verify(alice)).findings, [], 'it starts the daemon')
  const text = await alice.run(['verify'])
  assert.match(text.stdout, /^test: nothing is damaged; /)
})

test('damaged chunks are named with their files and fetched again', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  const text = 'the same text again and again '.repeat(4000)
  await put(alice, '/wanted', text)
  await put(alice, '/other', 'small')
  await syncAll([alice, bob])
  const pack = largestIn(volumeFile(bob, 'packs'), /pack-/)
  flip(pack, Math.floor(fs.statSync(pack).size / 2))
  const found = await verify(bob)
  const [finding] = found.findings
  assert.equal(found.findings.length, 1, JSON.stringify(found.findings))
  assert.equal(finding?.code, 'CHUNK_CORRUPT')
  assert.equal(finding?.path, pack)
  assert.deepEqual(finding?.files, ['/wanted'])
  assert.match(finding?.address ?? '', /^[0-9a-f]{64}$/)
  const repaired = await verify(bob, '--repair')
  assert.deepEqual(
    repaired.findings.map(({ isRepaired }) => isRepaired),
    [true],
  )
  assert.deepEqual((await verify(bob)).findings, [])
  await alice.stop()
  assert.equal(await cat(bob, '/wanted'), text)
})

test('a lost pack and a lost chunk index: found after a restart, fetched again', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  await put(alice, '/a', 'one '.repeat(5000))
  await put(alice, '/b', 'two '.repeat(5000))
  await syncAll([alice, bob])
  await bob.stop()
  for (const name of fs.readdirSync(volumeFile(bob, 'packs'))) {
    fs.rmSync(volumeFile(bob, 'packs', name))
  }
  const found = await verify(bob)
  assert.deepEqual(partsOf(found.findings), ['contents'])
  assert.deepEqual(found.findings.map((finding) => finding.path).sort(), ['/a', '/b'])
  assert.ok((await verify(bob, '--repair')).isClean)
  fs.writeFileSync(volumeFile(bob, 'packs', 'index'), 'rot')
  assert.deepEqual(partsOf((await verify(bob)).findings), ['packs'])
  await verify(bob, '--repair')
  assert.deepEqual((await verify(bob)).findings, [])
  await alice.stop()
  assert.equal(await cat(bob, '/b'), 'two '.repeat(5000))
})

test('a flipped byte in the log: it starts, goes on, and heals by itself', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  for (let index = 0; index < 6; index++) await put(alice, `/f${index}`, `text ${index}`)
  await syncAll([alice, bob])
  await bob.stop()
  const { id } = (await alice.status()).device
  const runs = fs.readdirSync(volumeFile(bob, 'log')).filter((name) => name.startsWith(id))
  flip(largestIn(volumeFile(bob, 'log', runs[0] as string), /seg$/), 900)
  await bob.run(['up'])
  assert.equal(await cat(bob, '/f5'), 'text 5')
  await put(bob, '/by-bob', 'goes on')
  await syncAll([bob, alice])
  assert.equal(await cat(alice, '/by-bob'), 'goes on')
  const { problems } = (await bob.status()).volumes[0] ?? { problems: [] }
  assert.ok(
    problems.some(({ code }) => code === 'FEED_CORRUPT'),
    JSON.stringify(problems),
  )
  await waitFor(async () => (await verify(bob)).isClean, {
    timeoutMs: 30_000,
    what: 'the lost entries come back',
  })
})

test('a flipped byte in the log of a running daemon: named, then repaired', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  for (let index = 0; index < 6; index++) await put(alice, `/f${index}`, `text ${index}`)
  await syncAll([alice, bob])
  const { id } = (await alice.status()).device
  const runs = fs.readdirSync(volumeFile(bob, 'log')).filter((name) => name.startsWith(id))
  const segment = largestIn(volumeFile(bob, 'log', runs[0] as string), /seg$/)
  flip(segment, 900)
  const found = await verify(bob)
  assert.deepEqual(partsOf(found.findings), ['log'])
  assert.ok(found.findings.some((finding) => finding.path === segment && finding.offset))
  const repaired = await verify(bob, '--repair')
  assert.ok(repaired.isClean, JSON.stringify(repaired.findings))
  assert.deepEqual((await verify(bob)).findings, [])
  await put(bob, '/later', 'works')
  assert.equal(await cat(bob, '/f3'), 'text 3')
})

test('the index: rebuilt from the log, mounted state and contents stay', async (t) => {
  const { alice } = await createVolumeOfDevices(t, ['alice'], { isMounted: false })
  await alice.run(['mkdir', '/d'])
  for (let index = 0; index < 5; index++) await put(alice, `/d/f${index}`, `text ${index}`)
  const before = (await alice.run(['ls', '-l', '/d'])).stdout
  const report = await verify(alice, '--rebuild')
  assert.equal(report.isRebuilt, true)
  assert.equal((await alice.run(['ls', '-l', '/d'])).stdout, before)
  assert.equal(fs.existsSync(`${volumeFile(alice, 'index')}.old`), false)
  await put(alice, '/d/later', 'works')
  assert.equal(await cat(alice, '/d/f3'), 'text 3')
  assert.deepEqual((await verify(alice)).findings, [])
})

test('an index that ends the process which opens it: the next start goes on without', async (t) => {
  const { alice } = await createVolumeOfDevices(t, ['alice'], { isMounted: false })
  for (let index = 0; index < 5; index++) await put(alice, `/f${index}`, `text ${index}`)
  await alice.stop()
  const file = volumeFile(alice, 'index', 'data.mdb')
  const bytes = fs.readFileSync(file)
  // Flags, lower and upper of the headers of all pages but the two that name the root.
  for (let page = 2 * 4096; page < bytes.length; page += 4096)
    bytes.fill(0xa7, page + 10, page + 16)
  fs.writeFileSync(file, bytes)
  await alice.run(['up'], { codes: 'any' })
  await alice.run(['up'])
  for (let index = 0; index < 5; index++)
    assert.equal(await cat(alice, `/f${index}`), `text ${index}`)
  assert.ok((await verify(alice)).isClean)
  assert.equal(fs.existsSync(`${volumeFile(alice, 'index')}.opening`), false)
})

test('keys and settings are written anew while the daemon still knows them', async (t) => {
  const { alice } = await createVolumeOfDevices(t, ['alice'], { isMounted: false })
  await put(alice, '/f', 'text')
  for (const file of [volumeFile(alice, 'secrets'), path.join(alice.home, 'identity')]) {
    flip(file, 20)
    assert.deepEqual(partsOf((await verify(alice)).findings), ['home'])
    assert.ok((await verify(alice, '--repair')).isClean)
  }
  fs.writeFileSync(volumeFile(alice, 'volume.json'), '{')
  assert.ok((await verify(alice, '--repair')).isClean)
  await alice.stop()
  await alice.run(['up'])
  assert.equal(await cat(alice, '/f'), 'text')
})
