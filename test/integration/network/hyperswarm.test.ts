/**
 * Proves that devices that cannot reach each other by TCP or multicast still meet through an own
 * bootstrap node, and that contents then travel over the Hyperswarm connection. Sites behind a
 * router that drops TCP, as network namespaces; needs root.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { PeerReport, SyncReport } from '../../../src/daemon/interface.ts'
import { createNetwork, whyNoNetwork } from '../../helpers/netns.ts'
import { startBootstrap, waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices } from '../../helpers/volume-of-devices.ts'

const skip = whyNoNetwork() ?? false
const MIB = 1024 * 1024

async function cat(device: Device, path: string): Promise<Buffer> {
  const { stdout } = await device.run(['cat', path])
  return Buffer.from(stdout, 'latin1')
}

test('without TCP and multicast: join, entries and chunks', { skip }, async (t) => {
  const network = createNetwork(t, ['alice', 'bob'], 'sites')
  network.blockTcp()
  const bootstrap = await startBootstrap(t, network)
  const options = { network, bootstrap, isMounted: false }
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], options)
  // Text, so that what `cat` prints can be compared.
  const big = randomBytes(4 * MIB).toString('base64')
  await alice.run(['put', '-', '/big'], { input: big })
  const report = await bob.json<SyncReport>(['sync', '--wait', '--require', '1'])
  assert.equal(report.missing.files, 0)
  assert.ok((await cat(bob, '/big')).equals(Buffer.from(big)))
  const [peer] = await bob.json<PeerReport[]>(['peers'])
  assert.deepEqual(peer?.routes, ['hyperswarm'])
  assert.ok(peer.receivedBytes > 4 * MIB, `${peer.receivedBytes} bytes came that way`)

  for (const interrupt of ['cut', 'isolate'] as const) {
    network[interrupt]('bob')
    await alice.run(['put', '-', `/${interrupt}`], { input: 'written meanwhile' })
    await waitFor(async () => (await bob.status()).volumes[0]?.peersConnected === 0, {
      timeoutMs: 15_000,
      what: 'bob knows that he is alone',
    })
    network.heal('bob')
    const fromMs = performance.now()
    await waitFor(
      async () => (await bob.run(['cat', `/${interrupt}`], { codes: 'any' })).code === 0,
      {
        timeoutMs: 30_000,
        what: `bob has what was written while his network was gone (${interrupt})`,
        onTimeout: () => bob.logs(),
      },
    )
    t.diagnostic(`${interrupt}: back after ${Math.round(performance.now() - fromMs)} ms`)
  }
})
