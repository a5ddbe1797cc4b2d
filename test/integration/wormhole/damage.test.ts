/**
 * Proves that no damage to one file of a home shows wrong bytes, ends a daemon or harms a peer: it
 * starts and heals, or refuses to start and says why. Seeded: which file of which kind, and whether
 * it is flipped, cut or deleted.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { VerifyReport } from '../../../src/daemon/interface.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const SEED = 20261120
const ROUNDS = 14
const FILES = 8

/** Codes by which a start may be refused, and a file that cannot be had now. */
const REFUSALS = /KEY_MISSING|IO_ERROR|FORMAT_UNSUPPORTED/

function textOf(index: number): string {
  return `file ${index} `.repeat(500 * (index + 1))
}

/** Everything that a home keeps of its volume, and its identity. */
function stateFiles(device: Device): string[] {
  const found: string[] = []
  const walk = (directory: string): void => {
    for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
      const file = path.join(directory, entry.name)
      if (entry.isDirectory()) walk(file)
      else if (entry.name !== 'lock.mdb') found.push(file)
    }
  }
  walk(path.join(device.home, 'volumes'))
  return [...found.sort(), path.join(device.home, 'identity')]
}

function damage(file: string, how: number, random: SeededRandom): string {
  const size = fs.statSync(file).size
  if (how === 0) {
    fs.rmSync(file)
    return 'deleted'
  }
  const at = random.below(Math.max(1, size))
  if (how === 1) {
    fs.truncateSync(file, at)
    return `cut at ${at} of ${size}`
  }
  const bytes = fs.readFileSync(file)
  bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8))
  fs.writeFileSync(file, bytes)
  return `byte ${at} of ${size} flipped`
}

async function checkFiles(device: Device, what: string): Promise<void> {
  for (let index = 0; index < FILES; index++) {
    const { code, stdout, stderr } = await device.run(['cat', `/f${index}`], { codes: [0, 1] })
    if (code === 0) assert.equal(stdout, textOf(index), `${what}: /f${index}`)
    else assert.match(stderr, /CHUNK_UNAVAILABLE|CHUNK_CORRUPT/, `${what}: /f${index}`)
  }
}

test('one damaged file: right bytes or a clear refusal, and peers heal it', async (t) => {
  const random = new SeededRandom(SEED)
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  for (let index = 0; index < FILES; index++) {
    await alice.run(['put', '-', `/f${index}`], { input: textOf(index) })
  }
  await syncAll([alice, bob])
  await bob.stop()
  const backup = `${bob.home}.backup`
  fs.cpSync(bob.home, backup, { recursive: true })
  t.after(() => fs.rmSync(backup, { recursive: true, force: true }))
  for (let round = 0; round < ROUNDS; round++) {
    fs.rmSync(bob.home, { recursive: true })
    fs.cpSync(backup, bob.home, { recursive: true })
    const files = stateFiles(bob)
    const file = files[random.below(files.length)] as string
    const done = damage(file, random.below(4), random)
    const what = `seed ${SEED}, round ${round}: ${path.relative(bob.home, file)} ${done}`
    const up = await bob.run(['up'], { codes: [0, 1] })
    if (up.code === 1) {
      assert.match(up.stderr, REFUSALS, what)
      continue
    }
    await checkFiles(bob, what)
    await waitFor(
      async () => {
        const { stdout } = await bob.run(['verify', '--repair', '--json'], { codes: [0, 1] })
        return (JSON.parse(stdout) as VerifyReport[])[0]?.isClean
      },
      { timeoutMs: 60_000, what: `${what}: it heals` },
    )
    for (let index = 0; index < FILES; index++) {
      assert.equal((await bob.run(['cat', `/f${index}`])).stdout, textOf(index), what)
    }
    await bob.stop()
  }
  assert.equal((await alice.run(['cat', '/f0'])).stdout, textOf(0))
})
