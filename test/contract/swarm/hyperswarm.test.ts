/**
 * Proves that Hyperswarm keeps the contract of `Transport`, finds devices by topic and joiners by
 * invite. On 127.0.0.1 with an own bootstrap node.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../../src/system.ts'
import {
  bootstrapNode,
  HyperswarmTransport,
  type HyperswarmOptions,
} from '../../../src/swarm/hyperswarm.ts'
import type { Link } from '../../../src/swarm/interface.ts'
import { testDevice } from '../../helpers/swarm-world.ts'
import { freeUdpPort, untilTrue } from '../../helpers/until.ts'
import { transportSuite } from './transport.ts'

const HOST = '127.0.0.1'

/** A DHT of one bootstrap node, and transports on it that are closed with it. */
async function openNet() {
  const node = await bootstrapNode({ host: HOST, port: await freeUdpPort() })
  const made: HyperswarmTransport[] = []
  return {
    node,
    open(index: number, options: Pick<HyperswarmOptions, 'topics' | 'lookFor'>) {
      const { keys, device } = testDevice(index)
      const bootstrap = [`${HOST}:${node.port}`]
      const transport = new HyperswarmTransport({
        keys,
        bootstrap,
        host: HOST,
        clock: systemClock,
        ...options,
      })
      made.push(transport)
      return { key: device, transport }
    },
    async close() {
      await Promise.all(made.map((transport) => transport.close()))
      await node.close()
    },
  }
}

transportSuite('hyperswarm', async () => {
  const dht = await openNet()
  return {
    station: (index) => dht.open(index, { topics: [Buffer.alloc(32, 9)] }),
    addressOf: () => undefined,
    until: untilTrue,
    close: dht.close,
  }
})

test('hyperswarm: members find each other by topic alone', { timeout: 30_000 }, async () => {
  const dht = await openNet()
  const links: Link[] = []
  for (const index of [0, 1, 2]) {
    const { transport } = dht.open(index, { topics: [Buffer.alloc(32, 1)] })
    await transport.start({ isAllowed: () => true, onLink: (link) => links.push(link) })
    await transport.refresh()
  }
  await untilTrue(() => links.length >= 6, 'three links, two ends each', 20_000)
  await dht.close()
})

test('hyperswarm: a joiner finds a member by invite', { timeout: 30_000 }, async () => {
  const dht = await openNet()
  const invite = testDevice(50)
  const member = dht.open(0, { topics: [Buffer.alloc(32, 1)] })
  const seen: string[] = []
  await member.transport.start({
    isAllowed: (key) => key === invite.device,
    onLink: (link) => seen.push(link.remoteKey),
  })
  member.transport.setInvites([invite.device])
  await member.transport.refresh()
  const joiner = dht.open(50, { topics: [], lookFor: invite.device })
  const found: string[] = []
  await joiner.transport.start({
    isAllowed: () => true,
    onLink: (link) => found.push(link.remoteKey),
  })
  await untilTrue(() => seen.length > 0 && found.length > 0, 'met', 20_000)
  assert.deepEqual([seen[0], found[0]], [invite.device, member.key])
  await dht.close()
})

test('hyperswarm: who was refused may come in later', { timeout: 30_000 }, async () => {
  const dht = await openNet()
  const topics = [Buffer.alloc(32, 1)]
  const [a, b] = [dht.open(0, { topics }), dht.open(1, { topics })]
  let isAllowed = false
  const links: Link[] = []
  await a.transport.start({ isAllowed: () => isAllowed, onLink: (link) => links.push(link) })
  await a.transport.refresh()
  await b.transport.start({ isAllowed: () => true, onLink: () => {} })
  await assert.rejects(b.transport.dial({ key: a.key }, { signal: AbortSignal.timeout(1500) }), {
    code: 'PEER_UNREACHABLE',
  })
  assert.equal(links.length, 0)
  isAllowed = true
  await b.transport.dial({ key: a.key }, { signal: AbortSignal.timeout(10_000) })
  await untilTrue(() => links.length > 0, 'let in')
  await dht.close()
})

test('hyperswarm: bootstrap node refuses a wildcard address', async () => {
  await assert.rejects(bootstrapNode({ host: '0.0.0.0', port: 4000 }), { code: 'BAD_ARGUMENT' })
})
