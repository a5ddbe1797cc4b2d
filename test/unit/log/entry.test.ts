/**
 * Proves that an entry opens to what was sealed, for those with the keys, and that nothing else
 * passes. Round trips, every flipped byte, misplaced and malformed entries by real and false
 * authors.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { deflateRawSync } from 'node:zlib'
import { ByteWriter } from '../../../src/bytes.ts'
import {
  CONTROL_BYTES_MAX,
  decodeEntryFields,
  openEntry,
  sealEntry,
  TREE_BYTES_MAX,
  verifyFrame,
} from '../../../src/log/entry.ts'
import { encodeFrame, FRAME_BODY_BYTES_MAX } from '../../../src/log/frame.ts'
import { EMPTY_FRONTIER } from '../../../src/log/frontier.ts'
import type { ControlOp, EntryFrame, LogKeys } from '../../../src/log/interface.ts'
import { hash, seal, sign } from '../../../src/seal.ts'
import type { ActorId, DeviceId, FeedId, VolumeId } from '../../../src/types.ts'
import { feedId } from '../../../src/types.ts'
import { type Author, LogWorld, NOW_MS, treeOf } from './authors.ts'

const world = new LogWorld()
const { volume } = world
const keys = world.secrets.logKeys()

function open(frame: EntryFrame, previousFrontier = EMPTY_FRONTIER) {
  return openEntry(verifyFrame(frame.bytes, { volume, feed: frame.feed }), {
    volume,
    keys,
    previousFrontier,
  })
}

const OPS: ControlOp[] = [
  {
    type: 'invite',
    inviteKey: Buffer.alloc(32, 3),
    role: 'reader',
    expiresMs: NOW_MS,
    usesMax: 10,
  },
  {
    type: 'admit',
    device: 'ab'.repeat(32) as DeviceId,
    deviceName: 'Büro-Rechner',
    boxKey: Buffer.alloc(32, 4),
    inviteKey: Buffer.alloc(32, 3),
    signature: Buffer.alloc(64, 5),
  },
  { type: 'actor', actor: '0c'.repeat(16) as ActorId, deviceName: 'laptop' },
  { type: 'labels', labels: { region: 'eu', empty: '' } },
  { type: 'ack' },
  {
    type: 'revoke',
    device: 'ab'.repeat(32) as DeviceId,
    heads: [
      { feed: feedId('ab'.repeat(32) as DeviceId, 0), length: 3, hash: 'cd'.repeat(32) },
      { feed: feedId('ab'.repeat(32) as DeviceId, 70_000), length: 1, hash: 'ef'.repeat(32) },
    ],
  },
  { type: 'rotate', generation: 300_000, commitment: Buffer.alloc(32, 6) },
  {
    type: 'key',
    generation: 300_000,
    device: 'ab'.repeat(32) as DeviceId,
    sealed: Buffer.alloc(112, 7),
  },
]

test('the genesis entry names the volume and opens', () => {
  const entry = open(world.genesis)
  assert.equal(entry.hash, volume)
  assert.equal(entry.seq, 0)
  assert.equal(entry.control[0]?.type, 'genesis')
  assert.equal(entry.tree, undefined)
  assert.equal(entry.hasSealedTree, false)
})

test('every control operation and a tree part round-trip', () => {
  const author = world.author(2)
  const tree = {
    epoch: 3,
    coveredTo: 2 ** 40,
    changes: [
      { shard: 0, change: Buffer.from('first') },
      { shard: 4095, change: Buffer.alloc(5000, 'x') },
      { shard: 0, change: Buffer.from('again') },
    ],
  }
  const frame = author.write({ control: OPS, tree, hlc: NOW_MS * 1000 + 7 })
  assert.ok(frame.bytes.length < 2000, 'a tree part that compresses is deflated')
  const entry = open(frame)
  assert.deepEqual(entry.control, OPS)
  assert.deepEqual(entry.tree, tree)
  assert.equal(entry.hlc, NOW_MS * 1000 + 7)
  assert.equal(entry.previousHash, '0'.repeat(64))
  const stored = author.write({ tree: treeOf(world, 3000) })
  assert.equal(open(stored).tree?.changes[0]?.change.length, 3000)
})

test('a frontier is written as what is new in it and read in full', () => {
  const [a, b, c] = [world.author(3), world.author(4), world.author(5)] as [Author, Author, Author]
  b.write()
  c.write()
  const first = a.see(world.creator, b, c).write()
  const same = a.write()
  b.write()
  const newer = a.see(b).write()
  assert.ok(first.bytes.length - same.bytes.length > 3 * 60, 'an unchanged frontier costs nothing')
  const opened = [open(first)]
  opened.push(open(same, opened[0]?.frontier))
  opened.push(open(newer, opened[1]?.frontier))
  assert.deepEqual(opened[1]?.frontier, opened[0]?.frontier)
  assert.deepEqual(opened[2]?.frontier, a.frontier)
  assert.equal(opened[2]?.frontier.size, 3)
  assert.deepEqual(open(newer, new Map(a.frontier)).frontier, a.frontier, 'nothing falls back')
})

test('without the tree key there is no tree, without the control key nothing opens', () => {
  const frame = world.author(2).write({ tree: treeOf(world, 10) })
  const use = { volume, previousFrontier: EMPTY_FRONTIER }
  const storage = world.secrets.withoutTree().logKeys()
  const entry = openEntry(frame, { ...use, keys: storage })
  assert.equal(entry.tree, undefined)
  assert.equal(entry.hasSealedTree, true)
  const none: LogKeys = { currentGeneration: 0, control: () => undefined, tree: () => undefined }
  assert.throws(() => openEntry(frame, { ...use, keys: none }), { code: 'KEY_MISSING' })
  const rotated = world.secrets.rotate(world.random).logKeys()
  assert.equal(openEntry(frame, { ...use, keys: rotated }).tree?.changes.length, 1)
})

test('every flipped byte of a frame is refused, also with a mended checksum', () => {
  const { bytes, feed } = world.author(2).write({ control: OPS.slice(4), tree: treeOf(world, 40) })
  for (let at = 0; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes)
    flipped[at] = (flipped[at] as number) ^ 0x10
    assert.throws(() => verifyFrame(flipped, { volume, feed }), { code: 'ENTRY_INVALID' }, `${at}`)
    if (at < 8) continue
    const mended = encodeFrame(flipped.subarray(8))
    const code = at === 8 ? 'FORMAT_UNSUPPORTED' : 'ENTRY_INVALID'
    assert.throws(() => verifyFrame(mended, { volume, feed }), { code }, `mended ${at}`)
  }
})

test('an entry is valid in its own volume and feed only', () => {
  const { bytes, feed } = world.author(2).write()
  const other = world.author(3).feed
  const otherVolume = 'aa'.repeat(32) as VolumeId
  const code = 'ENTRY_INVALID'
  assert.throws(() => verifyFrame(bytes, { volume, feed: other }), { code })
  const generation = feedId(feed.slice(0, 64) as DeviceId, 1)
  assert.throws(() => verifyFrame(bytes, { volume, feed: generation }), { code })
  assert.throws(() => verifyFrame(bytes, { volume: otherVolume, feed }), { code })
  const { bytes: genesis, feed: creator } = world.genesis
  assert.throws(() => verifyFrame(genesis, { volume: otherVolume, feed: creator }), { code })
})

/** Signs any body as an author would, to reach the checks behind the signature. */
function forge(author: Author, plain: { control: Buffer; tree?: Buffer }): EntryFrame {
  const feedKey = author.identity.signing.publicKey
  const prefix = new ByteWriter()
    .raw(Buffer.from('wormhole/1/entry'))
    .hex(volume)
    .raw(feedKey)
    .u32(0)
    .finish()
  const about = (part: number): Buffer => new ByteWriter().raw(prefix).i64(0n).u8(part).finish()
  const control = seal(keys.control(0) as Buffer, plain.control, about(0), world.random)
  const tree = plain.tree && seal(keys.tree(0) as Buffer, plain.tree, about(1), world.random)
  const message = new ByteWriter()
    .raw(prefix)
    .i64(0n)
    .raw(Buffer.alloc(32))
    .u32(0)
    .raw(hash(control))
    .raw(tree ? hash(tree) : Buffer.alloc(32))
    .finish()
  const body = new ByteWriter()
    .u8(1)
    .u8(tree ? 1 : 0)
    .varint(0)
    .varint(0)
    .raw(Buffer.alloc(32))
  body.bytes(control)
  if (tree) body.bytes(tree)
  body.raw(sign(author.identity.signing.secretKey, message))
  return verifyFrame(encodeFrame(body.finish()), { volume, feed: author.feed })
}

const EMPTY_CONTROL = Buffer.from([1, 0, 0, 0])

test('the forged entry of these tests is a right one', () => {
  assert.deepEqual(open(forge(world.author(6), { control: EMPTY_CONTROL })).control, [])
})

test('malformed control parts are refused', () => {
  const author = world.author(6)
  const own = new ByteWriter().u8(1).varint(0).varint(1).hex(author.identity.device).varint(0)
  own.varint(1).raw(Buffer.alloc(32)).varint(0)
  const cases: Record<string, Buffer> = {
    nothing: Buffer.alloc(0),
    'cut off': EMPTY_CONTROL.subarray(0, 3),
    'too long': Buffer.concat([EMPTY_CONTROL, Buffer.alloc(1)]),
    'own feed in the frontier': own.finish(),
    'huge frontier': new ByteWriter()
      .u8(1)
      .varint(0)
      .varint(2 ** 40)
      .finish(),
    'huge count of operations': new ByteWriter()
      .u8(1)
      .varint(0)
      .varint(0)
      .varint(2 ** 40)
      .finish(),
    'operation that is no map': new ByteWriter()
      .raw(EMPTY_CONTROL.subarray(0, 3))
      .varint(1)
      .bytes(Buffer.from([0x93]))
      .finish(),
    'beyond the limit': Buffer.alloc(CONTROL_BYTES_MAX + 1),
  }
  for (const [name, control] of Object.entries(cases)) {
    assert.throws(() => open(forge(author, { control })), { code: 'ENTRY_INVALID' }, name)
  }
  const newer = Buffer.from([2, 0, 0, 0])
  assert.throws(() => open(forge(author, { control: newer })), { code: 'FORMAT_UNSUPPORTED' })
})

test('malformed tree parts are refused, and nothing is inflated beyond what was announced', () => {
  const author = world.author(6)
  const deflated = (raw: Buffer, size: number): Buffer =>
    new ByteWriter().u8(1).u8(1).varint(size).raw(deflateRawSync(raw)).finish()
  const changes = (count: number): ByteWriter => new ByteWriter().varint(0).varint(0).varint(count)
  const stored = (writer: ByteWriter): Buffer =>
    Buffer.concat([Buffer.from([1, 0]), writer.finish()])
  const cases: Record<string, Buffer> = {
    nothing: Buffer.alloc(0),
    'unknown codec': Buffer.from([1, 2, 0, 0, 0]),
    'shard 4096': stored(changes(1).varint(4096).bytes(Buffer.from('x'))),
    'empty change': stored(changes(1).varint(0).bytes(Buffer.alloc(0))),
    'more changes than bytes': stored(changes(60000)),
    'huge count': stored(changes(2 ** 40)),
    'trailing bytes': stored(changes(0).u8(0)),
    'a bomb': deflated(Buffer.alloc(16 * 1024 * 1024), 100),
    'an announced bomb': deflated(Buffer.alloc(64), TREE_BYTES_MAX + 1),
    'shorter than announced': deflated(Buffer.from([0, 0, 0]), 4),
    'no deflate stream': Buffer.from([1, 1, 3, 0xff, 0xff, 0xff]),
  }
  for (const [name, tree] of Object.entries(cases)) {
    const run = (): unknown => open(forge(author, { control: EMPTY_CONTROL, tree }))
    assert.throws(run, { code: 'ENTRY_INVALID' }, name)
  }
  const newer = { control: EMPTY_CONTROL, tree: Buffer.from([2, 0]) }
  assert.throws(() => open(forge(author, newer)), { code: 'FORMAT_UNSUPPORTED' })
})

test('what does not fit a frame is refused before it is written', () => {
  const author = world.author(7)
  const tree = treeOf(world, 10)
  const change = Buffer.concat(Array.from({ length: 9 }, () => randomMiB()))
  assert.throws(() => author.write({ tree: { ...tree, changes: [{ shard: 0, change }] } }), {
    code: 'LIMIT_EXCEEDED',
  })
  const zeros = Buffer.alloc(FRAME_BODY_BYTES_MAX)
  const fits = author.write({ tree: { ...tree, changes: [{ shard: 0, change: zeros }] } })
  assert.equal(open(fits).tree?.changes[0]?.change.length, zeros.length)
  const name = 'x'.repeat(300)
  const op: ControlOp = { type: 'actor', actor: '00'.repeat(16) as ActorId, deviceName: name }
  assert.throws(() => author.write({ control: [op] }), { code: 'BAD_ARGUMENT' })
})

function randomMiB(): Buffer {
  const block = Buffer.from(world.random.bytes(32))
  return Buffer.concat(
    Array.from({ length: 32768 }, (_, index) => hash(block, Buffer.from(`${index}`))),
  )
}

test('only the genesis entry may say it is one, and only first', () => {
  const { signing } = world.creator.identity
  const place = { volume: undefined, feed: world.creator.feed, previousFrontier: EMPTY_FRONTIER }
  const body = { control: [], tree: undefined, frontier: EMPTY_FRONTIER, hlc: 0 }
  const use = { keys, signing, random: world.random }
  const second = sealEntry(body, { ...place, head: undefined }, use)
  const run = (): unknown => verifyFrame(second.bytes, { volume, feed: second.feed as FeedId })
  assert.throws(run, { code: 'ENTRY_INVALID' }, 'a second genesis')
  const bytes = Buffer.from(world.creator.write().bytes.subarray(8))
  bytes[1] = (bytes[1] as number) | 2
  assert.throws(() => decodeEntryFields(bytes), { code: 'ENTRY_INVALID' })
})
