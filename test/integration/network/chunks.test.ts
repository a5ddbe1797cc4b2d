/**
 * Proves that a reader notices nothing when one of two sources dies in the middle of a file, and
 * that it gets an error in time, never other bytes, when the last one does. Daemons on loopback
 * are stopped and killed while a reader that does not read holds the transfer open.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import type { WhereReport } from '../../../src/daemon/interface.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const MIB = 1024 * 1024
const FILE_BYTES = 48 * MIB
/** A fetch that brings nothing ends after 20 s. */
const GIVE_UP_MS_MAX = 30_000

interface Reading {
  readonly child: ChildProcess
  readonly pieces: Buffer[]
  readonly errors: string[]
}

/** `wormhole cat` that has printed its first bytes and waits for somebody to read on. */
async function startReading(device: Device, path: string): Promise<Reading> {
  const [program, ...args] = device.words(['cat', path])
  const child = spawn(program as string, args, {
    env: device.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const reading: Reading = { child, pieces: [], errors: [] }
  child.stderr?.setEncoding('utf8').on('data', (text: string) => reading.errors.push(text))
  await once(child.stdout!, 'readable')
  return reading
}

/** Reads what is left; resolves with the exit code. */
async function readOn({ child, pieces }: Reading): Promise<number | null> {
  child.stdout!.on('data', (piece: Buffer) => pieces.push(piece))
  const [code] = (await once(child, 'close')) as [number | null]
  return code
}

async function where(device: Device, path: string): Promise<[string, boolean][]> {
  const { holders } = await device.json<WhereReport>(['where', path])
  const [self, ...others] = holders.map(({ name, isComplete }): [string, boolean] => [
    name,
    isComplete,
  ])
  return [self as [string, boolean], ...others.sort()]
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

test('sources die while a file is read', async (t) => {
  const names = ['alice', 'bob', 'carol'] as const
  const { alice, bob, carol } = await createVolumeOfDevices(t, names, { isMounted: false })
  await alice.run(['put', '-', '/.wormhole.toml'], { input: '[local]\nkeep = "cached"\n' })
  const files = ['/one', '/two'].map((path) => ({ path, bytes: randomBytes(FILE_BYTES) }))
  for (const { path, bytes } of files) await alice.run(['put', '-', path], { input: bytes })
  await syncAll([alice, bob, carol])
  const [one, two] = files as [(typeof files)[0], (typeof files)[0]]
  assert.deepEqual(await where(bob, one.path), [
    ['bob', false],
    ['alice', true],
    ['carol', false],
  ])
  const copied = await startReading(bob, one.path)
  assert.equal(await readOn(copied), 0)
  assert.equal(digest(Buffer.concat(copied.pieces)), digest(one.bytes))

  const complete = await where(carol, one.path)
  assert.deepEqual(complete, [
    ['carol', false],
    ['alice', true],
    ['bob', true],
  ])

  // Both have it. The one that hangs (and so keeps its connection) costs time, not bytes.
  const first = await startReading(carol, one.path)
  const { daemonPid } = await alice.status()
  process.kill(daemonPid, 'SIGSTOP')
  t.after(() => alice.pids().forEach((pid) => process.kill(pid, 'SIGCONT')))
  assert.equal(await readOn(first), 0, first.errors.join(''))
  assert.equal(digest(Buffer.concat(first.pieces)), digest(one.bytes))
  process.kill(daemonPid, 'SIGCONT')

  await waitFor(async () => (await carol.status()).volumes[0]?.peersConnected === 2, {
    what: 'alice is back',
  })
  // Only alice has the second file.
  const second = await startReading(carol, two.path)
  await alice.kill()
  const fromMs = performance.now()
  const code = await readOn(second)
  const tookMs = performance.now() - fromMs
  assert.notEqual(code, 0)
  assert.match(second.errors.join(''), /CHUNK_UNAVAILABLE/)
  assert.ok(tookMs < GIVE_UP_MS_MAX, `gave up after ${Math.round(tookMs)} ms`)
  const got = Buffer.concat(second.pieces)
  assert.ok(got.length < FILE_BYTES && got.equals(two.bytes.subarray(0, got.length)))
  const holders = await carol.json<WhereReport>(['where', two.path])
  assert.deepEqual([holders.copies, holders.unknown], [0, ['alice']])

  // Bob has not even the list of its chunks.
  const away = await bob.json<WhereReport>(['where', two.path])
  assert.deepEqual([away.copies, away.unknown], [0, ['alice']])

  const third = startReading(carol, two.path)
  await alice.run(['up'])
  const again = await third
  assert.equal(await readOn(again), 0, again.errors.join(''))
  assert.equal(digest(Buffer.concat(again.pieces)), digest(two.bytes))
})
