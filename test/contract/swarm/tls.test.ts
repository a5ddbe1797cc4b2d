/**
 * Proves that TLS keeps the contract of `Transport`, and what is special to it: no link without a
 * certificate, with one of another kind, or by a resumed session. Over loopback.
 */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { certificateKey, deviceCertificate } from '../../../src/swarm/certificate.ts'
import type { Link } from '../../../src/swarm/interface.ts'
import { splitAddress } from '../../../src/swarm/link.ts'
import { TlsTransport } from '../../../src/swarm/tls.ts'
import { testDevice } from '../../helpers/swarm-world.ts'
import { untilTrue } from '../../helpers/until.ts'
import { transportSuite } from './transport.ts'

transportSuite('tls', async () => {
  const made: TlsTransport[] = []
  return {
    station(index) {
      const { keys, device } = testDevice(index)
      const transport = new TlsTransport({ keys, listen: { host: '127.0.0.1', port: 0 } })
      made.push(transport)
      return { key: device, transport }
    },
    addressOf: (station) => station.transport.addresses()[0],
    until: untilTrue,
    async close() {
      await Promise.all(made.map((transport) => transport.close()))
    },
  }
})

/** A listener that allows everybody; what it accepts lands in `links`. */
async function openListener() {
  const links: Link[] = []
  const { keys } = testDevice(0)
  const transport = new TlsTransport({ keys, listen: { host: '127.0.0.1', port: 0 } })
  await transport.start({ isAllowed: () => true, onLink: (link) => links.push(link) })
  return { transport, links, to: splitAddress(transport.addresses()[0]!)! }
}

/** Connects with these options and resolves when the server has closed the connection. */
async function connectAndLose(to: net.TcpNetConnectOpts, options: tls.ConnectionOptions) {
  const socket = tls.connect({ ...to, ...options, rejectUnauthorized: false })
  let received = 0
  socket.on('data', (bytes) => (received += bytes.length))
  socket.on('error', () => {})
  await new Promise<void>((resolve) => socket.on('close', () => resolve()))
  return received
}

test('tls: a client without a certificate gets no link and no byte', async () => {
  const { transport, links, to } = await openListener()
  assert.equal(await connectAndLose(to, { minVersion: 'TLSv1.3' }), 0)
  assert.equal(links.length, 0)
  await transport.close()
})

test('tls: older versions are refused, and so are strangers who speak no TLS', async () => {
  const { transport, links, to } = await openListener()
  const { certificate: cert, privateKey: key } = deviceCertificate(testDevice(1).keys)
  await connectAndLose(to, { cert, key, maxVersion: 'TLSv1.2' })
  const socket = net.connect(to)
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  socket.on('error', () => {})
  socket.on('data', () => {})
  socket.write('GET / HTTP/1.1\r\n\r\n')
  await closed
  assert.equal(links.length, 0)
  await transport.close()
})

test('tls: strangers who hold connections open keep nobody out', async () => {
  const { transport, links, to } = await openListener()
  const { keys, device } = testDevice(1)
  let closedCount = 0
  const idle = Array.from({ length: 600 }, () => net.connect(to))
  for (const socket of idle) socket.on('error', () => {}).on('close', () => closedCount++)
  await untilTrue(() => closedCount >= 600 - 256, 'the oldest are turned out')
  const late = new TlsTransport({ keys, listen: undefined })
  await late.start({ isAllowed: () => true, onLink: () => {} })
  await late.dial({ address: transport.addresses()[0]! }, { signal: AbortSignal.timeout(5000) })
  assert.equal(links[0]?.remoteKey, device)
  for (const socket of idle) socket.destroy()
  await late.close()
  await transport.close()
})

test('tls: a session cannot be resumed', async () => {
  const { transport, links, to } = await openListener()
  const { certificate: cert, privateKey: key } = deviceCertificate(testDevice(1).keys)
  const first = tls.connect({ ...to, cert, key, rejectUnauthorized: false })
  let session: Buffer | undefined
  first.on('session', (each) => (session = each))
  await untilTrue(() => links.length === 1 && session !== undefined, 'accepted')
  const second = tls.connect({ ...to, cert, key, session, rejectUnauthorized: false })
  await untilTrue(() => links.length === 2, 'accepted')
  assert.equal(second.isSessionReused(), false)
  assert.ok(second.getPeerX509Certificate())
  assert.equal(links[1]?.remoteKey, testDevice(1).device)
  first.destroy()
  second.destroy()
  await transport.close()
})

test('tls: a frame over the limit ends the link with a code', async () => {
  const { transport, links, to } = await openListener()
  const { certificate: cert, privateKey: key } = deviceCertificate(testDevice(1).keys)
  const socket = tls.connect({ ...to, cert, key, rejectUnauthorized: false })
  socket.on('error', () => {})
  await untilTrue(() => links.length === 1, 'accepted')
  const closes: (Error | undefined)[] = []
  links[0]!.onClose = (error) => closes.push(error)
  socket.write(Buffer.from('ffffff7f00', 'hex'))
  await untilTrue(() => closes.length === 1, 'closed')
  assert.equal((closes[0] as { code?: string }).code, 'PEER_MISBEHAVED')
  await transport.close()
})

test('certificate: holds the device key, is the same each time, and is self-signed', () => {
  for (let index = 0; index < 20; index++) {
    const { keys, device } = testDevice(index)
    const { certificate } = deviceCertificate(keys)
    const parsed = new X509Certificate(certificate)
    assert.equal(certificateKey(parsed), device)
    assert.ok(parsed.verify(parsed.publicKey))
    assert.equal(deviceCertificate(keys).certificate, certificate)
  }
})

test('tls: a listener that cannot listen says so', async () => {
  const { transport, to } = await openListener()
  const { keys } = testDevice(2)
  const second = new TlsTransport({ keys, listen: { host: '127.0.0.1', port: to.port } })
  await assert.rejects(second.start({ isAllowed: () => true, onLink: () => {} }), {
    code: 'IO_ERROR',
  })
  await transport.close()
})

test('the port of the last run is taken again, another one when somebody has it', async (t) => {
  const handlers = { isAllowed: () => false, onLink: () => {} }
  const listenAt = async (portLast: number): Promise<string> => {
    const keys = testDevice(portLast).keys
    const listen = { host: '127.0.0.1', port: 0, portLast }
    const transport = new TlsTransport({ keys, listen })
    await transport.start(handlers)
    t.after(() => transport.close())
    return transport.addresses()[0] as string
  }
  const first = new TlsTransport({
    keys: testDevice(1).keys,
    listen: { host: '127.0.0.1', port: 0 },
  })
  await first.start(handlers)
  const address = first.addresses()[0] as string
  const port = Number(address.split(':').pop())
  await first.close()
  assert.equal(await listenAt(port), address)
  assert.notEqual(await listenAt(port), address)
})
