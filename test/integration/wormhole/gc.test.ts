/**
 * Proves that `wormhole gc` gives the space of deleted files back once the days of their history
 * are over and not before, that it keeps what files and history need, and that another device
 * decides for itself. Real daemons on loopback; the clock of one moves 40 days ahead in between.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { GcReport, StatusReport } from '../../../src/daemon/interface.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const LATER = fileURLToPath(new URL('../../helpers/later.cjs', import.meta.url))
const DAYS_MS = 40 * 24 * 3_600_000
const MIB = 1024 * 1024

/** Bytes that the packs of a device take on its disk. */
function packBytes(device: Device): number {
  const volumes = path.join(device.home, 'volumes')
  const packs = path.join(volumes, fs.readdirSync(volumes)[0] as string, 'packs')
  const names = fs.readdirSync(packs).filter((name) => name.startsWith('pack-'))
  return names.reduce((sum, name) => sum + fs.statSync(path.join(packs, name)).blocks * 512, 0)
}

async function gc(device: Device, ...options: string[]): Promise<GcReport> {
  const [report] = await device.json<GcReport[]>(['gc', ...options])
  return report ?? assert.fail('no report')
}

/** Restarts a device with its clock moved ahead. */
async function moveAhead(device: Device): Promise<void> {
  await device.run(['down'])
  device.env.NODE_OPTIONS = `--require ${LATER}`
  device.env.WORMHOLE_TEST_LATER_MS = String(DAYS_MS)
  await device.run(['up'])
}

test('deleted files give their space back when their days are over', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  const big = randomBytes(50 * MIB)
  const kept = randomBytes(8 * MIB)
  await alice.run(['put', '-', '/big'], { input: big })
  await alice.run(['put', '-', '/kept'], { input: kept })
  await alice.run(['put', '-', '/small'], { input: 'a small file' })
  await syncAll([alice, bob])
  await waitFor(() => packBytes(bob) > 57 * MIB)
  await alice.run(['rm', '/big'])
  await syncAll([alice, bob])

  const early = await gc(alice)
  assert.equal(early.postponed, undefined)
  assert.equal(early.freed.chunks, 0, 'the history still needs it')
  assert.ok(early.referenced.history.bytes >= big.length)
  assert.ok(early.referenced.tree.bytes >= kept.length)
  assert.ok(packBytes(alice) > 57 * MIB)

  await moveAhead(alice)
  const dry = await gc(alice, '--dry-run')
  assert.ok(dry.unused.bytes >= big.length)
  assert.equal(dry.freed.chunks, 0)
  assert.ok(packBytes(alice) > 57 * MIB)

  const late = await gc(alice)
  assert.deepEqual(late.freed, dry.unused)
  assert.equal(late.bytesNotReturned, 0)
  assert.ok(packBytes(alice) < 10 * MIB, `${packBytes(alice)} bytes are left`)
  assert.equal((await gc(alice)).unused.chunks, 0)
  const { volumes } = await alice.json<StatusReport>(['status'])
  assert.equal(volumes[0]?.collected?.freed.chunks, 0)
  assert.match((await alice.run(['gc', '--dry-run'])).stdout, /kept for files/)

  // What is left is whole, on both devices and after a restart; bob has decided nothing.
  assert.ok((await alice.run(['verify', '--json'])).stdout.includes('"isClean":true'))
  await alice.run(['down'])
  await alice.run(['up'])
  const copy = path.join(path.dirname(alice.home), 'copy')
  await alice.run(['get', '/kept', copy])
  assert.ok(fs.readFileSync(copy).equals(kept))
  assert.equal((await alice.run(['cat', '/small'])).stdout, 'a small file')
  assert.ok(packBytes(bob) > 57 * MIB)
  assert.equal((await gc(bob)).freed.chunks, 0)

  // The same bytes again are stored again, and reach bob, who has them.
  await alice.run(['put', '-', '/again'], { input: big })
  await syncAll([alice, bob])
  const again = path.join(path.dirname(bob.home), 'again')
  await bob.run(['get', '/again', again])
  assert.ok(fs.readFileSync(again).equals(big))
})
