/**
 * Proves that devices on one local network need nothing else to find each other: no bootstrap node,
 * no valid address. Two network namespaces on a bridge, with addresses that change; needs root.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CreatedReport, PeerReport, SyncReport } from '../../../src/daemon/interface.ts'
import { createNetwork, whyNoNetwork } from '../../helpers/netns.ts'
import { createDevices, waitFor, type Device } from '../../helpers/process.ts'

const skip = whyNoNetwork() ?? false

async function put(device: Device, path: string, text: string): Promise<void> {
  await device.run(['put', '-', path], { input: text })
}

async function cat(device: Device, path: string): Promise<string> {
  return (await device.run(['cat', path])).stdout
}

async function syncWithOne(device: Device): Promise<void> {
  const report = await device.json<SyncReport>([
    ...['sync', '--wait', '--require', '1', '--timeout', '20'],
  ])
  assert.deepEqual(
    report.members.map(({ state }) => state),
    ['in-sync'],
  )
}

test('multicast finds members and joiners, whatever addresses they had', { skip }, async (t) => {
  const network = createNetwork(t, ['alice', 'bob'])
  const env = { WORMHOLE_BIND: '0.0.0.0' }
  const { alice, bob } = createDevices(t, ['alice', 'bob'], { network, env })
  const { invite } = await alice.json<CreatedReport>(['init', '--name', 'lan'])
  await alice.stop()
  network.readdress('alice')
  await alice.run(['up'])
  // The invite names only where alice was.
  await bob.run(['join', invite as string])
  await put(alice, '/one', 'from alice')
  await syncWithOne(bob)
  assert.equal(await cat(bob, '/one'), 'from alice')

  await alice.stop()
  await bob.stop()
  network.readdress('alice')
  network.readdress('bob')
  await Promise.all([alice.run(['up']), bob.run(['up'])])
  await put(bob, '/two', 'from bob')
  await waitFor(async () => (await cat(alice, '/two')) === 'from bob', {
    what: 'alice has what bob wrote after both moved',
    onTimeout: () => `${alice.logs()}\n${bob.logs()}`,
  })
  const [peer] = await alice.json<PeerReport[]>(['peers'])
  assert.deepEqual(peer?.routes, ['tls'])

  network.readdress('bob')
  const fromMs = performance.now()
  await put(bob, '/three', 'from bob, elsewhere')
  await waitFor(async () => (await cat(alice, '/three')) === 'from bob, elsewhere', {
    what: 'alice has what bob wrote after he moved while running',
    timeoutMs: 8000,
    onTimeout: () => `${alice.logs()}\n${bob.logs()}`,
  })
  t.diagnostic(`connected again ${Math.round(performance.now() - fromMs)} ms after a new address`)
})
