/**
 * Proves that a full disk stops writing with ENOSPC, lets reading go on and loses nothing that was
 * acknowledged; with room again everything recovers without a restart. Journal, packs, log and
 * index lie on a small file system of their own, by turns.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { waitFor, whyNoMount, type Device } from '../helpers/process.ts'
import { compareTrees } from '../helpers/tree.ts'
import { createVolumeOfDevices, syncAll } from '../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? false
const FILE_BYTES = 40_000
const FILES_MAX = 400

function command(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  assert.equal(status, 0, `${program} ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** Moves a directory to a file system of its own with so little room. */
function moveToSmall(directory: string, roomBytes: number): void {
  const aside = `${directory}.aside`
  fs.renameSync(directory, aside)
  fs.mkdirSync(directory, { mode: 0o700 })
  command('mount', '-t', 'tmpfs', '-o', 'mode=700,size=256m', 'tmpfs', directory)
  command('cp', '-a', '-T', aside, directory)
  fs.rmSync(aside, { recursive: true })
  const { blocks, bfree, bsize } = fs.statfsSync(directory)
  resize(directory, (blocks - bfree) * bsize + roomBytes)
}

function resize(directory: string, bytes: number): void {
  command('mount', '-o', `remount,size=${bytes}`, directory)
}

function writeSynced(file: string, bytes: Buffer): void {
  const descriptor = fs.openSync(file, 'w')
  try {
    fs.writeSync(descriptor, bytes)
    fs.fsyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

async function isFull(device: Device): Promise<boolean> {
  const { volumes } = await device.status()
  return volumes.some(({ problems }) => problems.some(({ code }) => code === 'DISK_FULL'))
}

/** Writes until the disk is full; returns what was acknowledged, and whether a program was told. */
async function fill(device: Device): Promise<{ kept: Map<string, Buffer>; isTold: boolean }> {
  const kept = new Map<string, Buffer>()
  for (let count = 0; count < FILES_MAX; count++) {
    const bytes = randomBytes(FILE_BYTES)
    try {
      writeSynced(device.path(`file${count}`), bytes)
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
      return { kept, isTold: true }
    }
    kept.set(`file${count}`, bytes)
    if (count % 10 === 9 && (await isFull(device))) return { kept, isTold: false }
  }
  // What the journal took goes to its place in the background.
  await waitFor(() => isFull(device), {
    timeoutMs: 60_000,
    what: `${FILES_MAX} files were written and the disk is full`,
    onTimeout: () => device.logs(),
  })
  return { kept, isTold: false }
}

for (const [part, roomBytes] of [
  ['journal', 300_000],
  ['packs', 1_000_000],
  ['log', 12_000],
  ['index', 60_000],
] as const) {
  test(`no space for the ${part}, then room again`, { skip }, async (t) => {
    const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
    fs.writeFileSync(alice.path('before'), 'written before')
    await syncAll([alice, bob])
    const volumes = path.join(alice.home, 'volumes')
    const place = path.join(volumes, fs.readdirSync(volumes)[0] ?? '', part)
    await alice.stop()
    moveToSmall(place, roomBytes)
    await alice.run(['up'])

    const { kept, isTold } = await fill(alice)
    t.diagnostic(`${kept.size} files fitted; a program was told: ${isTold}`)
    assert.equal(fs.readFileSync(alice.path('before'), 'utf8'), 'written before')
    for (const [name, bytes] of kept) {
      assert.ok(fs.readFileSync(alice.path(name)).equals(bytes), `${name} while the disk is full`)
    }

    resize(place, 256 * 1024 * 1024)
    await waitFor(
      () => {
        writeSynced(alice.path('after'), Buffer.from('written after'))
        return true
      },
      { timeoutMs: 60_000, intervalMs: 500, what: 'writing works again' },
    )
    await waitFor(async () => (await alice.status()).volumes[0]?.pendingEdits === 0, {
      timeoutMs: 60_000,
      what: 'everything is published',
      onTimeout: () => alice.logs(),
    })
    await syncAll([alice, bob])
    for (const [name, bytes] of kept) {
      assert.ok(fs.readFileSync(bob.path(name)).equals(bytes), `${name} on the other device`)
    }
    assert.deepEqual(compareTrees(alice.mountpoint, bob.mountpoint), [])
  })
}
