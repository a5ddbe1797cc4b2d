/**
 * Proves that two devices that are never online together have everything from each other through a
 * third, memberships included, and that a device that was away for long catches up. Three network
 * namespaces of which one is always cut off; needs root.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { DeviceReport, SyncReport } from '../../../src/daemon/interface.ts'
import { createNetwork, whyNoNetwork } from '../../helpers/netns.ts'
import { createDevices, createDirectory, waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices } from '../../helpers/volume-of-devices.ts'

const skip = whyNoNetwork() ?? false
const FILES = 200

async function names(device: Device): Promise<string[]> {
  return (await device.json<DeviceReport[]>(['devices'])).map(({ name }) => name).sort()
}

/** Equal with one other device; whoever is cut off does not count. */
async function syncWith(device: Device, other: Device): Promise<void> {
  const words = ['sync', '--wait', '--require', '1', '--timeout', '30']
  const report = await device.json<SyncReport>(words)
  const state = report.members.find(({ name }) => name === other.name)?.state
  assert.equal(state, 'in-sync', `${device.name}: ${JSON.stringify(report)}`)
}

function writeMany(directory: string, text: string): string {
  fs.mkdirSync(directory, { recursive: true })
  for (let index = 0; index < FILES; index++) {
    fs.writeFileSync(path.join(directory, `file${index}`), `${text} ${index}`)
  }
  return directory
}

function contents(directory: string): Map<string, string> {
  const files = fs.readdirSync(directory).sort()
  return new Map(files.map((name) => [name, fs.readFileSync(path.join(directory, name), 'utf8')]))
}

test('what alice and carol do reaches the other through bob', { skip }, async (t) => {
  const network = createNetwork(t, ['alice', 'bob', 'carol'])
  const options = { network, isMounted: false }
  const { alice, bob, invite } = await createVolumeOfDevices(t, ['alice', 'bob'], options)
  const { carol } = createDevices(t, ['carol'], { network })
  const scratch = createDirectory(t)
  await alice.run(['put', '-', '/from-alice'], { input: 'alice' })
  await syncWith(bob, alice)

  network.cut('alice')
  await carol.run(['join', invite, '--device', 'carol'])
  await syncWith(carol, bob)
  assert.equal((await carol.run(['cat', '/from-alice'])).stdout, 'alice')
  await carol.run(['put', '-', '/from-carol'], { input: 'carol' })
  await syncWith(bob, carol)
  assert.deepEqual(await names(carol), ['alice', 'bob', 'carol'])

  network.cut('carol')
  network.heal('alice')
  await syncWith(alice, bob)
  assert.deepEqual(await names(alice), ['alice', 'bob', 'carol'])
  assert.equal((await alice.run(['cat', '/from-carol'])).stdout, 'carol')

  // Carol has been cut off since then.
  const byAlice = writeMany(path.join(scratch, 'alice'), 'alice')
  const byCarol = writeMany(path.join(scratch, 'carol'), 'carol')
  await carol.run(['put', '-r', byCarol, '/many-carol'])
  await alice.run(['put', '-r', byAlice, '/many-alice'])
  await syncWith(alice, bob)
  // Bob is to pass contents on, too: his own wait ends when he has them.
  await syncWith(bob, alice)
  network.cut('alice')
  network.heal('carol')
  await syncWith(carol, bob)
  await syncWith(bob, carol)
  network.cut('carol')
  network.heal('alice')
  await syncWith(alice, bob)
  for (const device of [alice, bob, carol]) {
    for (const [name, source] of [
      ['alice', byAlice],
      ['carol', byCarol],
    ] as const) {
      const copy = path.join(scratch, `${device.name}-${name}`)
      await device.run(['get', '-r', `/many-${name}`, copy])
      assert.deepEqual(contents(copy), contents(source), `${device.name} has what ${name} wrote`)
    }
  }

  network.heal('carol')
  await waitFor(
    async () => {
      const devices = await alice.json<DeviceReport[]>(['devices'])
      return devices.every(({ isConnected, isInSync }) => isConnected && isInSync)
    },
    { timeoutMs: 10_000, what: 'alice, who never met carol, is in sync with everybody' },
  )
})
