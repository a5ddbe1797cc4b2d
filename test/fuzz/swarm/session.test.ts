/**
 * Proves that hostile messages end a session with a code, and neither crash the swarm nor disturb
 * its other peers. Random and mutated messages go to the decoder and to a live swarm, by seed.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import type { Link } from '../../../src/swarm/interface.ts'
import { decodeMessage, encodeMessage, VERSION_MAX } from '../../../src/swarm/wire.ts'
import { feedId } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { addressOf, createWorld, testDevice, VOLUME } from '../../helpers/swarm-world.ts'

const SEED = Number(process.env['SEED'] ?? 1)
const HASH = 'ef'.repeat(32)

/** A message as an honest peer would send it. */
function someMessage(random: SeededRandom): Buffer {
  const feed = feedId(testDevice(random.below(4)).device, random.below(3))
  const addresses = Array.from({ length: random.below(20) }, () => addressOf(random.bytes(4)))
  const head = { length: 1 + random.below(1000), hash: HASH }
  const id = random.below(100)
  const kinds = [
    { type: 'ping', token: id },
    { type: 'publish', id },
    { type: 'published', id, frontier: new Map([[feed, head]]) },
    { type: 'frontier', frontier: new Map([[feed, head]]) },
    { type: 'head', feed, head },
    { type: 'want', id, feed, fromSeq: random.below(10), bytesMax: 1 + random.below(10_000) },
    { type: 'entries', id, frames: [random.bytes(random.below(100))] },
    { type: 'ask', id, addresses },
    { type: 'have', id, has: addresses.map(() => true) },
    { type: 'get', priority: 'background', addresses },
    { type: 'chunk', address: addressOf(random.bytes(2)), sealed: random.bytes(50) },
    { type: 'lacking', addresses },
    { type: 'cancel', addresses },
    { type: 'addresses', known: [{ device: testDevice(1).device, addresses: ['9.9.9.9:9'] }] },
  ] as const
  return Buffer.concat(encodeMessage(kinds[random.below(kinds.length)]!))
}

/** The message with some bytes changed, cut off or added. */
function mutate(random: SeededRandom, message: Buffer): Buffer {
  const bytes = Buffer.from(message)
  for (let count = random.below(4); count > 0; count--) {
    bytes[random.below(bytes.length)] = random.below(256)
  }
  const dice = random.below(4)
  if (dice === 0) return bytes.subarray(0, random.below(bytes.length + 1))
  if (dice === 1) return Buffer.concat([bytes, random.bytes(random.below(20))])
  return bytes
}

test('the decoder refuses with PEER_MISBEHAVED, and nothing else', () => {
  const random = new SeededRandom(SEED)
  let refused = 0
  for (let round = 0; round < 50_000; round++) {
    const bytes =
      round % 2 === 0
        ? Buffer.from(random.bytes(random.below(80)))
        : mutate(random, someMessage(random))
    try {
      decodeMessage(bytes)
    } catch (error) {
      assert.ok(error instanceof WormholeError, `seed ${SEED} round ${round}: ${String(error)}`)
      assert.equal(error.code, 'PEER_MISBEHAVED')
      refused++
    }
  }
  assert.ok(refused > 10_000)
})

test('a hostile member is dropped; its victim goes on with the others', async () => {
  const world = await createWorld({ count: 2, seed: SEED })
  const random = new SeededRandom(SEED)
  const hostile = testDevice(9).device
  world.members.set.add(hostile)
  const [victim, other] = world.devices
  const links: Link[] = []
  const transport = world.network.transport(hostile, { isListening: false })
  await transport.start({ isAllowed: () => true, onLink: (link) => links.push(link) })
  const hello = Buffer.concat(
    encodeMessage({
      type: 'hello',
      versionMin: VERSION_MAX,
      versionMax: VERSION_MAX,
      volume: VOLUME,
      addresses: [],
    }),
  )
  let closedCount = 0
  for (let round = 0; round < 150; round++) {
    const address = world.network.addressOf(victim!.device)
    const signal = new AbortController().signal
    await world.clock.settle(transport.dial({ address }, { signal }), 1000)
    const link = links.at(-1)!
    let isClosed = false
    link.onClose = () => (isClosed = true)
    if (round % 10 !== 0) link.send([hello])
    for (let count = 0; count < 40; count++) {
      const message = someMessage(random)
      link.send([random.below(10) === 0 ? mutate(random, message) : message])
    }
    await world.clock.run(50)
    if (isClosed) closedCount++
    link.close()
  }
  assert.ok(closedCount > 20, `seed ${SEED}: dropped ${closedCount} times`)
  assert.ok(victim!.reports.some(({ code }) => code === 'PEER_MISBEHAVED'))
  world.members.set.delete(hostile)
  victim!.swarm.membersChanged()
  other!.log.append(Buffer.from('still here'))
  const feed = feedId(other!.device, 0)
  await world.clock.until(() => victim!.log.head(feed) !== undefined, 5000, 'others go on')
  await world.close()
})

test('another volume and another version end the session', async () => {
  for (const [changes, code] of [
    [{ volume: 'cd'.repeat(32) }, 'NOT_A_MEMBER'],
    [{ versionMin: VERSION_MAX + 1, versionMax: VERSION_MAX + 2 }, 'UPGRADE_NEEDED'],
  ] as const) {
    const world = await createWorld({ count: 1, seed: 1 })
    const peer = testDevice(9).device
    world.members.set.add(peer)
    const transport = world.network.transport(peer, { isListening: false })
    const links: Link[] = []
    await transport.start({ isAllowed: () => true, onLink: (link) => links.push(link) })
    const address = world.network.addressOf(world.devices[0]!.device)
    const signal = new AbortController().signal
    await world.clock.settle(transport.dial({ address }, { signal }), 1000)
    const hello = { type: 'hello', versionMin: 1, versionMax: 1, volume: VOLUME, addresses: [] }
    links[0]!.send(encodeMessage({ ...hello, ...changes } as never))
    await world.clock.run(100)
    assert.equal(world.devices[0]!.reports[0]?.code, code)
    await world.close()
  }
})
