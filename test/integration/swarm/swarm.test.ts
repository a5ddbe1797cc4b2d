/**
 * Proves that swarms over real TLS, Hyperswarm and multicast DNS connect, prefer TLS, replicate,
 * fetch, come back after a broken link, and let joiners in by every way. On 127.0.0.1.
 */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { signingKeys } from '../../../src/seal.ts'
import { bootstrapNode } from '../../../src/swarm/hyperswarm.ts'
import type { KnownAddresses, NetworkOptions } from '../../../src/swarm/interface.ts'
import { createNetwork, requestAdmission } from '../../../src/swarm/network.ts'
import { Swarm } from '../../../src/swarm/swarm.ts'
import { systemClock, systemRandom } from '../../../src/system.ts'
import {
  isConverged,
  MemoryChunks,
  MemoryLog,
  MemoryMembers,
  testDevice,
  VOLUME,
  withCode,
  type WorldDevice,
} from '../../helpers/swarm-world.ts'
import { atEnd } from '../../helpers/teardown.ts'
import { freeUdpPort, untilTrue } from '../../helpers/until.ts'

const LOOPBACK = { bind: '127.0.0.1', tlsPort: 0, bootstrap: 'none', isMulticast: false } as const

/** Opens a swarm of test device `index`, closed at the end of the test. */
async function open(
  t: TestContext,
  index: number,
  members: MemoryMembers,
  options: { network?: NetworkOptions; addresses?: KnownAddresses[] } = {},
): Promise<WorldDevice & { saved: (readonly KnownAddresses[])[] }> {
  const { keys, device } = testDevice(index)
  const log = new MemoryLog(device, (author) => members.isMember(author))
  const chunks = new MemoryChunks()
  const saved: (readonly KnownAddresses[])[] = []
  const reports: WorldDevice['reports'] = []
  const network = options.network ?? LOOPBACK
  const topicKeys = [Buffer.alloc(32, 5)]
  const clock = systemClock
  const swarm = await Swarm.open({
    volume: VOLUME,
    device,
    log,
    members,
    chunks,
    clock,
    random: systemRandom,
    ...(await createNetwork({ network, keys, topicKeys, members, clock })),
    addresses: options.addresses ?? [],
    onAddresses: (known) => saved.push(known),
    onReport: (report) => reports.push(report),
  })
  atEnd(t, () => swarm.close())
  return { device, log, chunks, swarm, reports, saved }
}

function membersOf(count: number): MemoryMembers {
  const members = new MemoryMembers()
  for (let index = 0; index < count; index++) members.set.add(testDevice(index).device)
  return members
}

function addressesOf(device: WorldDevice): KnownAddresses[] {
  return [{ device: device.device, addresses: device.swarm.addresses() }]
}

test('TLS alone: a third device is found through the second', { timeout: 30_000 }, async (t) => {
  const members = membersOf(3)
  const a = await open(t, 0, members)
  const b = await open(t, 1, members, { addresses: addressesOf(a) })
  const c = await open(t, 2, members, { addresses: addressesOf(b) })
  for (const { log } of [a, b, c]) log.append(Buffer.from('entry'))
  await untilTrue(() => isConverged([a, b, c]) && a.log.feeds.size === 3, 'converged')
  await untilTrue(() => a.swarm.peers().every((peer) => peer.routes.length === 1), 'full mesh')
  const bytes = Buffer.alloc(700_000, 7)
  const address = c.chunks.add(bytes)
  await a.swarm.fetch([address], { priority: 'foreground' })
  assert.ok(a.chunks.has(address))
  const answers = await a.swarm.syncRound({ timeoutMs: 10_000 })
  assert.deepEqual(
    answers.map(({ state }) => state),
    ['in-sync', 'in-sync'],
  )
  await untilTrue(() => a.saved.length > 0, 'addresses handed out to be kept')
})

test('Hyperswarm finds, then TLS carries', { timeout: 40_000 }, async (t) => {
  const node = await bootstrapNode({ host: '127.0.0.1', port: await freeUdpPort() })
  atEnd(t, () => node.close())
  const network = { ...LOOPBACK, bootstrap: [`127.0.0.1:${node.port}`] }
  const members = membersOf(2)
  const a = await open(t, 0, members, { network })
  const b = await open(t, 1, members, { network })
  await untilTrue(
    () => a.swarm.peers()[0]!.routes.length === 2 && b.swarm.peers()[0]!.routes.length === 2,
    'both routes',
    20_000,
  )
  const address = a.chunks.add(Buffer.alloc(100_000, 1))
  await b.swarm.fetch([address], { priority: 'background' })
  assert.equal(b.chunks.writeCount, 1)
})

test('multicast alone connects two devices', { timeout: 30_000 }, async (t) => {
  const network = { ...LOOPBACK, isMulticast: true }
  const members = membersOf(2)
  const a = await open(t, 0, members, { network })
  await open(t, 1, members, { network })
  await untilTrue(() => a.swarm.peers()[0]!.routes.includes('tls'), 'found')
})

test('a device that restarts elsewhere is back within seconds', { timeout: 30_000 }, async (t) => {
  const members = membersOf(2)
  const a = await open(t, 0, members)
  const first = await open(t, 1, members, { addresses: addressesOf(a) })
  await untilTrue(() => a.swarm.peers()[0]!.routes.length === 1, 'connected')
  await first.swarm.close()
  await untilTrue(() => a.swarm.peers()[0]!.routes.length === 0, 'gone')
  a.log.append(Buffer.from('meanwhile'))
  const fromMs = performance.now()
  const second = await open(t, 1, members, { addresses: addressesOf(a) })
  await untilTrue(() => second.log.feeds.size === 1, 'caught up')
  assert.ok(performance.now() - fromMs < 3000)
})

for (const way of ['address', 'multicast', 'Hyperswarm'] as const) {
  test(`a joiner gets in by ${way}`, { timeout: 40_000 }, async (t) => {
    const node = await bootstrapNode({ host: '127.0.0.1', port: await freeUdpPort() })
    atEnd(t, () => node.close())
    const network = {
      ...LOOPBACK,
      isMulticast: way === 'multicast',
      bootstrap: way === 'Hyperswarm' ? [`127.0.0.1:${node.port}`] : ('none' as const),
    }
    const members = membersOf(1)
    const seed = Buffer.alloc(32, 77)
    const inviteKey = signingKeys(seed).publicKey.toString('hex')
    members.invites.set(inviteKey, { usesLeft: 1, isExpired: false })
    const host = await open(t, 0, members, { network })
    const { device } = testDevice(1)
    const admission = await requestAdmission({
      invite: {
        volume: VOLUME,
        seed,
        bootstrap: [],
        addresses: way === 'address' ? host.swarm.addresses() : [],
      },
      request: {
        volume: VOLUME,
        inviteKey,
        device,
        deviceName: 'new',
        boxKey: Buffer.alloc(32),
        signature: Buffer.alloc(64),
      },
      network,
      clock: systemClock,
      timeoutMs: 20_000,
    })
    assert.equal(admission.member, host.device)
    const joined = await open(t, 1, members, { addresses: [...admission.addresses] })
    await untilTrue(() => joined.swarm.peers()[0]!.routes.includes('tls'), 'connected')
  })
}

test('an unknown invite is refused, over TLS too', { timeout: 30_000 }, async (t) => {
  const host = await open(t, 0, membersOf(1))
  const seed = Buffer.alloc(32, 78)
  const joining = requestAdmission({
    invite: { volume: VOLUME, seed, bootstrap: [], addresses: host.swarm.addresses() },
    request: {
      volume: VOLUME,
      inviteKey: signingKeys(seed).publicKey.toString('hex'),
      device: testDevice(1).device,
      deviceName: 'new',
      boxKey: Buffer.alloc(32),
      signature: Buffer.alloc(64),
    },
    network: LOOPBACK,
    clock: systemClock,
    timeoutMs: 1500,
  })
  await assert.rejects(joining, withCode('INVITE_INVALID'))
})
