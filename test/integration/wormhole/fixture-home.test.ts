/**
 * Proves that today's program reads what format version 1 left on a disk: a stored home with every
 * kind of file, conflicts, history, a policy, an invite and a journal that was not published yet
 * gives the description that was stored with it. Once as it is, once with the index built anew.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { StatusReport } from '../../../src/daemon/interface.ts'
import { describeDevice, type HomeDescription } from '../../helpers/fixture-home.ts'
import { createDevices, type Device } from '../../helpers/process.ts'
import type { Teardown } from '../../helpers/teardown.ts'

const fixture = fileURLToPath(new URL('../../fixtures/home/v1', import.meta.url))
const expected = JSON.parse(
  fs.readFileSync(path.join(fixture, 'expected.json'), 'utf8'),
) as HomeDescription

/** A device with a copy of the stored home, which mounts nothing. */
function restoreHome(t: Teardown): { device: Device; volume: string } {
  const { alice } = createDevices(t, ['alice'])
  fs.cpSync(path.join(fixture, 'home'), alice.home, { recursive: true })
  const volumes = path.join(alice.home, 'volumes')
  const volume = path.join(volumes, fs.readdirSync(volumes)[0] as string)
  const file = path.join(volume, 'volume.json')
  const { mountpoint, ...settings } = JSON.parse(fs.readFileSync(file, 'utf8'))
  assert.ok(mountpoint)
  fs.writeFileSync(file, JSON.stringify(settings))
  return { device: alice, volume }
}

async function problemsOf(device: Device): Promise<string[]> {
  const { volumes } = await device.json<StatusReport>(['status'])
  return (volumes[0]?.problems ?? []).map(({ code }) => code)
}

test('a home of format version 1 is read whole', async (t) => {
  const { device } = restoreHome(t)
  await device.run(['up'])
  assert.deepEqual(await describeDevice(device), expected)
  assert.deepEqual(await problemsOf(device), [])
})

test('so is its log, when there is no index', async (t) => {
  const { device, volume } = restoreHome(t)
  fs.rmSync(path.join(volume, 'index'), { recursive: true })
  await device.run(['up'])
  assert.deepEqual(await describeDevice(device), expected)
})
