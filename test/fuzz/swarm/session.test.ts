/**
 * Proves that hostile frames and messages end a session with a code, and neither crash the swarm,
 * make it buffer, nor disturb its other peers. Random and mutated messages go to the decoder, and
 * with hostile control frames of protomux to a live swarm, by seed.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import type { Link } from '../../../src/swarm/interface.ts'
import { CONTROL_BYTES_MAX, CONTROL_FRAMES_MAX } from '../../../src/swarm/channels.ts'
import {
  decodeMessage,
  encodeMessage,
  MESSAGES,
  VERSION_MAX,
  type ChannelName,
  type Message,
  type MessageType,
} from '../../../src/swarm/wire.ts'
import { feedId, type DeviceId } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import {
  addressOf,
  createWorld,
  testDevice,
  VOLUME,
  type World,
} from '../../helpers/swarm-world.ts'

const SEED = Number(process.env['SEED'] ?? 1)
const HASH = 'ef'.repeat(32)

const TYPES = Object.keys(MESSAGES) as MessageType[]
/** In the order in which a session opens them. */
const CHANNELS: readonly ChannelName[] = ['session', 'log', 'chunks']
const HELLO = {
  type: 'hello',
  versionMin: VERSION_MAX,
  versionMax: VERSION_MAX,
  volume: VOLUME,
  instance: '0102030405060708',
  addresses: [],
} as const

/** The frame of a message, if channels were opened in the order of a session. */
function frameOf(message: Message): Buffer {
  const { channel, type } = MESSAGES[message.type]
  return Buffer.concat([
    Buffer.from([CHANNELS.indexOf(channel) + 1, type]),
    ...encodeMessage(message),
  ])
}

/** The frame that opens a channel: control, open, id, name, no instance, handshake. */
function opening(id: number, name: string, handshake: Uint8Array = Buffer.alloc(0)): Buffer {
  const text = Buffer.from(name)
  return Buffer.concat([Buffer.from([0, 1, id, text.length]), text, Buffer.from([0]), handshake])
}

/** The frames with which a session begins. */
function openings(hello: Message = HELLO): Buffer[] {
  return CHANNELS.map((name, index) =>
    opening(
      index + 1,
      `wormhole/${name}`,
      name === 'session' ? encodeMessage(hello)[0] : undefined,
    ),
  )
}

/** A message as an honest peer would send it. */
function someMessage(random: SeededRandom): Message {
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
  return kinds[random.below(kinds.length)]!
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
    const message = someMessage(random)
    const isNoise = round % 2 === 0
    const type = isNoise ? TYPES[random.below(TYPES.length)]! : message.type
    const bytes = isNoise
      ? Buffer.from(random.bytes(random.below(80)))
      : mutate(random, Buffer.concat(encodeMessage(message)))
    try {
      decodeMessage(type, bytes)
    } catch (error) {
      assert.ok(error instanceof WormholeError, `seed ${SEED} round ${round}: ${String(error)}`)
      assert.equal(error.code, 'PEER_MISBEHAVED')
      refused++
    }
  }
  assert.ok(refused > 10_000)
})

/** A member that the test plays frame by frame, against a world of `count` devices. */
async function hostileWorld(count: number): Promise<{
  world: World
  device: DeviceId
  connect(): Promise<{ link: Link; isClosed(): boolean }>
}> {
  const world = await createWorld({ count, seed: SEED })
  const { device } = testDevice(9)
  world.members.set.add(device)
  const links: Link[] = []
  const transport = world.network.transport(device, { isListening: false })
  await transport.start({ isAllowed: () => true, onLink: (link) => links.push(link) })
  const address = world.network.addressOf(world.devices[0]!.device)
  return {
    world,
    device,
    async connect() {
      const { signal } = new AbortController()
      await world.clock.settle(transport.dial({ address }, { signal }), 1000)
      const link = links.at(-1)!
      let isClosed = false
      link.onClose = () => (isClosed = true)
      return { link, isClosed: () => isClosed }
    },
  }
}

/** A frame of anything but a message: control frames right and wrong, nested, cut, too long. */
function someControl(random: SeededRandom): Buffer {
  const id = random.below(8)
  const frames = [
    Buffer.from([0, random.below(256), ...random.bytes(random.below(12))]),
    opening(id, 'wormhole/session', random.bytes(random.below(80))),
    opening(id, `unknown/${random.below(100)}`),
    Buffer.from([0, 2, id]),
    Buffer.from([0, 3, id]),
    Buffer.from([0xfd + random.below(3), ...random.bytes(12)]),
    Buffer.from([0, 1, 1 + id, 0xff, ...random.bytes(9)]),
    Buffer.from([1 + id, random.below(256), ...random.bytes(random.below(40))]),
    Buffer.alloc(0),
  ]
  return frames[random.below(frames.length)]!
}

test('a hostile member is dropped; its victim goes on with the others', async () => {
  const { world, device, connect } = await hostileWorld(2)
  const random = new SeededRandom(SEED)
  const [victim, other] = world.devices
  let closedCount = 0
  for (let round = 0; round < 300; round++) {
    const { link, isClosed } = await connect()
    if (round % 10 !== 0) for (const frame of openings()) link.send([frame])
    for (let count = 0; count < 40; count++) {
      const frame = frameOf(someMessage(random))
      const dice = random.below(20)
      if (dice === 0 && round % 2 === 0) link.send([someControl(random)])
      else link.send([dice === 1 ? mutate(random, frame) : frame])
    }
    await world.clock.run(50)
    if (isClosed()) closedCount++
    link.close()
  }
  assert.ok(closedCount > 40, `seed ${SEED}: dropped ${closedCount} times`)
  assert.ok(victim!.reports.some(({ code }) => code === 'PEER_MISBEHAVED'))
  world.members.set.delete(device)
  victim!.swarm.membersChanged()
  other!.log.append(Buffer.from('still here'))
  const feed = feedId(other!.device, 0)
  await world.clock.until(() => victim!.log.head(feed) !== undefined, 5000, 'others go on')
  await world.close()
})

test('what protomux would allow and a session must not', async () => {
  const { world, connect } = await hostileWorld(1)
  const [session = Buffer.alloc(0), log = Buffer.alloc(0)] = openings()
  // A batch in a batch in a batch: protomux recurses as deep as they go, and the process ends.
  const batch = Buffer.from([0, 0, 0xfe, 0xff, 0xff, 0xff, 0])
  const nested = Buffer.concat([Buffer.from([0]), ...Array<Buffer>(100_000).fill(batch)])
  const attempts: Record<string, Buffer[]> = {
    'a batch': [session, Buffer.from([0, 0, 1, 2, 0, 1])],
    'nested batches': [nested],
    'channel 0': [opening(0, 'wormhole/log')],
    'a channel out of turn': [opening(9, 'wormhole/log')],
    'a message before the hello': [opening(1, 'wormhole/log'), Buffer.from([1, 0, 0])],
    'a message in a channel never opened': [session, Buffer.from([7, 0, 1])],
    'a second hello under the same id': [session, session],
    'a channel closed': [session, log, Buffer.from([0, 3, 2])],
    'a channel rejected': [session, Buffer.from([0, 2, 2])],
    'a long control frame': [opening(1, 'x', Buffer.alloc(CONTROL_BYTES_MAX))],
    'a name cut off': [Buffer.from([0, 1, 1, 200, 1])],
    'an endless name': [Buffer.from([0, 1, 1, 0xff, ...Buffer.alloc(8, 0xff)])],
    'many channels': Array.from({ length: CONTROL_FRAMES_MAX + 1 }, () => opening(1, 'unknown')),
    'a message over its limit': [session, Buffer.from([1, 0, ...Buffer.alloc(9, 0x80)])],
    'an id of several bytes': [session, Buffer.from([0xfd, 1, 0, 0, 0])],
  }
  for (const [name, frames] of Object.entries(attempts)) {
    const { link, isClosed } = await connect()
    for (const frame of frames) link.send([frame])
    await world.clock.until(isClosed, 1000, `${name} ends the session`)
    assert.equal(world.devices[0]!.reports.at(-1)?.code, 'PEER_MISBEHAVED', name)
    await world.clock.run(61_000)
  }
  await world.close()
})

test('unknown channels are rejected, unknown messages ignored; the session goes on', async () => {
  const { world, connect } = await hostileWorld(1)
  const { link, isClosed } = await connect()
  const answers: Buffer[] = []
  link.onMessage = (frame) => answers.push(frame)
  for (const frame of [...openings(), opening(4, 'wormhole/newer'), opening(5, 'wormhole/log')]) {
    link.send([frame])
  }
  // Nothing is kept for a channel that was rejected, however much arrives.
  for (let count = 0; count < 100; count++) link.send([Buffer.from([4, 0]), Buffer.alloc(100_000)])
  link.send([Buffer.from([1, 99, 1, 2, 3])])
  link.send([frameOf({ type: 'ping', token: 77 })])
  const pong = frameOf({ type: 'pong', token: 77 })
  await world.clock.until(() => answers.some((each) => each.equals(pong)), 1000, 'an answer')
  for (const id of [4, 5]) assert.ok(answers.some((each) => each.equals(Buffer.from([0, 2, id]))))
  assert.equal(isClosed(), false)
  await world.close()
})

test('another volume and another version end the session', async () => {
  for (const [changes, code] of [
    [{ volume: 'cd'.repeat(32) }, 'NOT_A_MEMBER'],
    [{ versionMin: VERSION_MAX + 1, versionMax: VERSION_MAX + 2 }, 'UPGRADE_NEEDED'],
  ] as const) {
    const { world, connect } = await hostileWorld(1)
    const { link } = await connect()
    for (const frame of openings({ ...HELLO, ...changes } as Message)) link.send([frame])
    await world.clock.run(100)
    assert.equal(world.devices[0]!.reports[0]?.code, code)
    await world.close()
  }
})
