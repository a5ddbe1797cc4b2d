/**
 * Proves that whoever is not a member does not disturb those who are: garbage, a device of another
 * volume, clients without a certificate and a thousand connections, at the listener of a device in
 * the middle of a transfer. Real daemons on loopback.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { test } from 'node:test'
import tls from 'node:tls'
import type { SyncReport } from '../../../src/daemon/interface.ts'
import { signingKeys } from '../../../src/seal.ts'
import { deviceCertificate } from '../../../src/swarm/certificate.ts'
import { createDevices } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const CONNECTIONS = 1000
const FILE_BYTES = 32 * 1024 * 1024

/** Where the only volume of a home listens. */
function portOf(home: string): number {
  const [volume] = fs.readdirSync(path.join(home, 'volumes'))
  const file = path.join(home, 'volumes', volume as string, 'volume.json')
  return (JSON.parse(fs.readFileSync(file, 'utf8')) as { tlsPort: number }).tlsPort
}

/** Connects, sends, and waits until the other side has had enough. Returns what it said. */
async function knock(port: number, bytes: Buffer): Promise<number> {
  const socket = net.connect(port, '127.0.0.1')
  let receivedBytes = 0
  socket.on('data', (piece) => (receivedBytes += piece.length))
  socket.on('error', () => {})
  socket.write(bytes)
  socket.setTimeout(12_000, () => socket.destroy(new Error('kept open')))
  // `once` would reject for the error that a stranger must expect.
  await new Promise<void>((resolve) => socket.on('close', () => resolve()))
  return receivedBytes
}

/** A whole TLS handshake; resolves with the bytes of the protocol that came before the close. */
async function shake(port: number, credentials: { cert?: string; key?: string }): Promise<number> {
  const socket = tls.connect({
    ...credentials,
    port,
    host: '127.0.0.1',
    minVersion: 'TLSv1.3',
    rejectUnauthorized: false,
    ALPNProtocols: ['wormhole/1'],
  })
  let receivedBytes = 0
  socket.on('data', (piece: Buffer) => (receivedBytes += piece.length))
  socket.on('error', () => {})
  await new Promise<void>((resolve) => socket.on('close', () => resolve()))
  return receivedBytes
}

test('strangers at the door disturb nobody inside', async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { isMounted: false })
  const { eve } = createDevices(t, ['eve'])
  await eve.run(['init', '--name', 'other', '--device', 'eve'])
  await syncAll([alice, bob])
  const port = portOf(alice.home)
  const stranger = deviceCertificate(signingKeys(randomBytes(32)))
  assert.equal(await shake(port, {}), 0, 'without a certificate')
  const credentials = { cert: stranger.certificate, key: stranger.privateKey }
  assert.equal(await shake(port, credentials), 0, 'with a key that nobody knows')

  const file = randomBytes(FILE_BYTES)
  await alice.run(['put', '-', '/file'], { input: file })
  const crowd = Array.from({ length: CONNECTIONS }, (_, index) =>
    index % 2 === 0 ? knock(port, randomBytes(200)) : shake(port, credentials),
  )
  const report = await bob.json<SyncReport>(['sync', '--wait', '--require', '1', '--timeout', '20'])
  assert.deepEqual([report.isInSync, report.missing.files], [true, 0])
  const said = await Promise.all(crowd)
  t.diagnostic(`synced within ${report.seconds} s while ${said.length} strangers knocked`)

  // Half-open ones are held for a while; then there is room again for everybody.
  const held = Array.from({ length: 600 }, () => net.connect(port, '127.0.0.1'))
  for (const socket of held) socket.on('error', () => {})
  t.after(() => held.forEach((socket) => socket.destroy()))
  await alice.run(['put', '-', '/more'], { input: 'more' })
  await bob.run(['sync', '--wait', '--require', '1', '--timeout', '10'])
  await bob.stop()
  await bob.run(['up'])
  await bob.run(['sync', '--wait', '--require', '1', '--timeout', '20'])
  const status = await alice.status()
  assert.deepEqual(status.volumes[0]?.problems, [])
})
