/**
 * Proves that every message survives the wire, that readers keep the limits of the format, and that
 * frames survive any cut of the byte stream. Round trips of examples and of random cuts.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { FrameSplitter, frameHeader, joinAddress, splitAddress } from '../../../src/swarm/link.ts'
import {
  ADDRESSES_MAX,
  decodeMessage,
  encodeMessage,
  KNOWN_ADDRESSES_MAX,
  KNOWN_DEVICES_MAX,
  MESSAGES,
  type Message,
} from '../../../src/swarm/wire.ts'
import { branchId, feedId, type ChunkAddress } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { addressOf, testDevice, VOLUME, withCode } from '../../helpers/swarm-world.ts'

const DEVICE = testDevice(0).device
const FEED = feedId(DEVICE, 3)
const HASH = 'cd'.repeat(32)
const FRONTIER = new Map([
  [FEED, { length: 1_000_000, hash: HASH }],
  [feedId(DEVICE, 0), { length: 1, hash: HASH }],
])
const CHUNKS = ['a', 'b', 'c'].map((text) => addressOf(Buffer.from(text)))
const KNOWN = [{ device: DEVICE, addresses: ['10.0.0.1:80', '[::1]:9'] }]

const EXAMPLES: Message[] = [
  {
    type: 'hello',
    versionMin: 1,
    versionMax: 7,
    volume: VOLUME,
    instance: '0102030405060708',
    addresses: ['1.2.3.4:5'],
  },
  { type: 'ping', token: 0 },
  { type: 'pong', token: 2 ** 40 },
  { type: 'addresses', known: KNOWN },
  { type: 'publish', id: 5 },
  { type: 'published', id: 5, frontier: FRONTIER },
  { type: 'farewell', feed: FEED, frame: Buffer.from('the entry') },
  { type: 'frontier', frontier: new Map() },
  { type: 'head', feed: FEED, head: { length: 9, hash: HASH } },
  { type: 'want', id: 1, feed: FEED, fromSeq: 0, bytesMax: 1000 },
  { type: 'entries', id: 1, frames: [Buffer.from('one'), Buffer.alloc(0), Buffer.from('two')] },
  { type: 'ask', id: 1, addresses: CHUNKS },
  { type: 'have', id: 1, has: [true, false, true, true, false, false, false, false, true] },
  { type: 'get', priority: 'foreground', addresses: CHUNKS },
  { type: 'get', priority: 'background', addresses: [] },
  { type: 'chunk', address: CHUNKS[0] as ChunkAddress, sealed: Buffer.from('sealed') },
  { type: 'lacking', addresses: CHUNKS },
  { type: 'cancel', addresses: CHUNKS },
  {
    type: 'admission',
    request: {
      volume: VOLUME,
      inviteKey: HASH,
      device: DEVICE,
      deviceName: 'ünïcode',
      boxKey: Buffer.alloc(32, 1),
      signature: Buffer.alloc(64, 2),
    },
  },
  { type: 'admitted', sealedSecrets: Buffer.from('secrets'), known: KNOWN },
  { type: 'refused', code: 'INVITE_EXPIRED', message: 'zu spät' },
]

test('every message survives the wire, and no shorter or longer one is read', () => {
  for (const message of EXAMPLES) {
    const bytes = Buffer.concat(encodeMessage(message))
    assert.deepEqual(decodeMessage(message.type, bytes), message)
    assert.ok(bytes.length <= MESSAGES[message.type].bytesMax)
    if (message.type === 'chunk') continue
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(
        () => decodeMessage(message.type, bytes.subarray(0, length)),
        withCode('PEER_MISBEHAVED'),
        `${message.type} cut to ${length}`,
      )
    }
    assert.throws(
      () => decodeMessage(message.type, Buffer.concat([bytes, Buffer.alloc(1)])),
      withCode('PEER_MISBEHAVED'),
    )
  }
})

test('limits: counts, lengths and addresses', () => {
  const tooMany = Array.from({ length: ADDRESSES_MAX + 1 }, () => CHUNKS[0] as ChunkAddress)
  const asking = Buffer.concat(encodeMessage({ type: 'ask', id: 1, addresses: tooMany }))
  assert.throws(() => decodeMessage('ask', asking), withCode('PEER_MISBEHAVED'))
  const empty = { type: 'head', feed: FEED, head: { length: 0, hash: HASH } } as const
  assert.throws(
    () => decodeMessage('head', Buffer.concat(encodeMessage(empty))),
    withCode('PEER_MISBEHAVED'),
  )
  const told = ['evil.example:1', '1.2.3.4:0', '1.2.3.4:70000', 'x', '5.6.7.8:9']
  const addresses = encodeMessage({
    type: 'addresses',
    known: [{ device: DEVICE, addresses: told }],
  })
  assert.deepEqual(decodeMessage('addresses', Buffer.concat(addresses)), {
    type: 'addresses',
    known: [{ device: DEVICE, addresses: ['5.6.7.8:9'] }],
  })
  const many = Array.from({ length: 20 }, (_, port) => `1.1.1.1:${port + 1}`)
  const cut = encodeMessage({ type: 'addresses', known: [{ device: DEVICE, addresses: many }] })
  const read = decodeMessage('addresses', Buffer.concat(cut))
  assert.equal(read.type === 'addresses' && read.known[0]?.addresses.length, KNOWN_ADDRESSES_MAX)
  const code = encodeMessage({ type: 'refused', code: 'NO_SUCH' as never, message: '' })
  assert.deepEqual(decodeMessage('refused', Buffer.concat(code)), {
    type: 'refused',
    code: 'NOT_PERMITTED',
    message: '',
  })
})

test('the longest message that can be made is within its limit', () => {
  const feed = branchId(feedId(DEVICE, Number.MAX_SAFE_INTEGER), HASH)
  const [id, fromSeq] = [Number.MAX_SAFE_INTEGER, 2 ** 40]
  const addresses = Array<string>(KNOWN_ADDRESSES_MAX).fill(`[${'1234:'.repeat(7)}1234]:65535`)
  const chunks = Array<ChunkAddress>(ADDRESSES_MAX).fill(CHUNKS[0] as ChunkAddress)
  const longest: Message[] = [
    { ...(EXAMPLES[0] as Message & { type: 'hello' }), versionMax: id, addresses },
    { type: 'ping', token: id },
    { type: 'head', feed, head: { length: fromSeq, hash: HASH } },
    { type: 'want', id, feed, fromSeq, bytesMax: id },
    { type: 'ask', id, addresses: chunks },
    { type: 'have', id, has: chunks.map(() => true) },
    { type: 'get', priority: 'foreground', addresses: chunks },
    { type: 'lacking', addresses: chunks },
    { type: 'addresses', known: Array(KNOWN_DEVICES_MAX).fill({ device: DEVICE, addresses }) },
  ]
  for (const message of longest) {
    const bytes = Buffer.concat(encodeMessage(message))
    assert.ok(bytes.length <= MESSAGES[message.type].bytesMax, message.type)
    assert.deepEqual(decodeMessage(message.type, bytes), message)
  }
})

test('frames survive any cut of the stream', () => {
  const random = new SeededRandom(1)
  const messages = Array.from({ length: 300 }, (_, index) =>
    Buffer.from(random.bytes(index % 50 === 49 ? 40_000 : random.below(300))),
  )
  messages.push(Buffer.alloc(5 * 1024 * 1024, 7))
  const stream = Buffer.concat(messages.flatMap((each) => [frameHeader(each.length), each]))
  for (const cutMax of [1, 7, 100, 16_384, stream.length]) {
    const received: Buffer[] = []
    const splitter = new FrameSplitter((message) => received.push(message))
    const end = cutMax === 1 ? 20_000 : stream.length
    for (let at = 0; at < end;) {
      const next = Math.min(end, at + 1 + random.below(cutMax))
      splitter.push(stream.subarray(at, next))
      at = next
    }
    assert.ok(received.every((each, index) => each.equals(messages[index] as Buffer)))
    if (end === stream.length) assert.equal(received.length, messages.length)
  }
})

test('addresses are split and joined', () => {
  assert.deepEqual(splitAddress('[fe80::1]:80'), { host: 'fe80::1', port: 80 })
  assert.equal(splitAddress('10.0.0.1'), undefined)
  assert.equal(joinAddress('::ffff:10.0.0.1', 5), '10.0.0.1:5')
  assert.equal(joinAddress('::1', 5), '[::1]:5')
})

test('the example in the README is what is sent', () => {
  const feed = feedId('ab'.repeat(32) as never, 2)
  const bytes = encodeMessage({ type: 'want', id: 5, feed, fromSeq: 300, bytesMax: 65_536 })
  const readme = readFileSync(new URL('../../../src/swarm/README.md', import.meta.url), 'utf8')
  const example = /```\n02 02 (05 [0-9a-f ]+)\n```/.exec(readme)?.[1]?.replaceAll(' ', '')
  assert.equal(Buffer.concat(bytes).toString('hex'), example)
})
