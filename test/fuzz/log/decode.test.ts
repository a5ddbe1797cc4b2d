/**
 * Proves that no bytes make a decoder of the log do anything but answer or throw a `WormholeError`.
 * Random bytes, mutated right ones and hostile lengths, from a printed seed; FUZZ_RUNS for more.
 */
import assert from 'node:assert/strict'
import process from 'node:process'
import test from 'node:test'
import { ByteReader } from '../../../src/bytes.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { decodeOp, encodeOp, OP_BYTES_MAX } from '../../../src/log/control.ts'
import { decodeEntryFields, verifyFrame } from '../../../src/log/entry.ts'
import { DiskFeedStore } from '../../../src/log/feeds.ts'
import { encodeFrame } from '../../../src/log/frame.ts'
import { readFrontier } from '../../../src/log/frontier.ts'
import { inspectSegment } from '../../../src/log/inspect.ts'
import { decodeInvite, encodeInvite } from '../../../src/log/invite.ts'
import { DiskJournal } from '../../../src/log/journal.ts'
import { decodeRecoveryCode, encodeRecoveryCode, VolumeSecrets } from '../../../src/log/keys.ts'
import { decodeFeedProgress, decodeMemberState } from '../../../src/log/member-rows.ts'
import { FUZZ_SEED, fuzzDecoder } from '../../helpers/hostile-bytes.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { LogWorld, treeOf } from '../../unit/log/authors.ts'

const random = new SeededRandom(FUZZ_SEED)
const world = new LogWorld(FUZZ_SEED)
const author = world.author(2)
const frame = author.see(world.creator).write({
  control: [{ type: 'labels', labels: { a: 'b' } }],
  tree: treeOf(world, 50),
})

function fuzz(name: string, sample: Uint8Array, decode: (bytes: Buffer) => unknown): void {
  fuzzDecoder(name, random, sample, decode)
}

const { volume } = world
const body = Buffer.from(frame.bytes.subarray(8))
const op = encodeOp({ type: 'labels', labels: { region: 'eu', disk: 'fast' } })
const invite = encodeInvite({
  volume,
  seed: random.bytes(32),
  bootstrap: ['a.example:1'],
  addresses: ['[::1]:2'],
})
const text = (decode: (value: string) => unknown) => (bytes: Buffer) =>
  decode(bytes.toString('latin1'))

fuzz('verifyFrame', frame.bytes, (bytes) => verifyFrame(bytes, { volume, feed: author.feed }))
fuzz('verifyFrame with a right checksum', body, (bytes) => {
  if (bytes.length > 0) verifyFrame(encodeFrame(bytes), { volume, feed: author.feed })
})
fuzz('decodeEntryFields', body, decodeEntryFields)
fuzz('decodeOp', op, decodeOp)
const heads = [{ feed: author.feed, length: 9, hash: frame.hash }]
const revoke = encodeOp({ type: 'revoke', device: author.identity.device, heads })
fuzz('decodeOp of a revocation', revoke, decodeOp)
fuzz('readFrontier', Buffer.concat([Buffer.from([1]), Buffer.alloc(66, 1)]), (bytes) =>
  readFrontier(new ByteReader(bytes)),
)
fuzz('VolumeSecrets.decode', world.secrets.encode(), (bytes) => VolumeSecrets.decode(bytes))
fuzz('decodeInvite', Buffer.from(invite), text(decodeInvite))
fuzz(
  'decodeRecoveryCode',
  Buffer.from(encodeRecoveryCode(random.bytes(32))),
  text(decodeRecoveryCode),
)
fuzz('decodeFeedProgress', Buffer.from([1, 5, 0]), decodeFeedProgress)
fuzz('decodeMemberState', Buffer.from([0x81, 0xa7, 0x76]), decodeMemberState)

const directory = `/feeds/${author.feed}`
const disk = new MemoryDisk()
await DiskFeedStore.open({ disk, random, directory: '/feeds', volume }).append([frame])
const file = disk.readFileSync(`${directory}/0000000000000000.seg`) as Buffer

/** A disk with one file of these bytes. */
function diskWith(path: string, bytes: Buffer): MemoryDisk {
  const result = new MemoryDisk()
  result.makeDirectorySync(path.slice(0, path.lastIndexOf('/')))
  result.openSync(path, { create: true }).writeSync(0, [bytes])
  return result
}

fuzz('a feed segment', file, (bytes) => {
  const segment = diskWith(`${directory}/0000000000000000.seg`, bytes)
  const store = DiskFeedStore.open({ disk: segment, random, directory: '/feeds', volume })
  store.read(author.feed, 0, 1e6)
})
fuzz('inspectSegment', file, (bytes) => inspectSegment(bytes, { hasHex: true }))

const journalDisk = new MemoryDisk()
const key = Buffer.alloc(32, 1)
const journal = DiskJournal.open({ disk: journalDisk, random, directory: '/journal', key })
journal.append(1, Buffer.from('record'))
await journal.sync()
const journalFile = journalDisk.readFileSync('/journal/0000000000000001.seg') as Buffer

fuzz('a journal segment', journalFile, (bytes) => {
  const segment = diskWith('/journal/0000000000000001.seg', bytes)
  const opened = DiskJournal.open({ disk: segment, random, directory: '/journal', key })
  for (const record of opened.replay()) assert.ok(record.number > 0)
})

test('nested lengths that promise much allocate little', () => {
  const nested = (step: number[]): Buffer =>
    Buffer.concat(
      Array.from({ length: Math.floor(OP_BYTES_MAX / step.length) }, () => Buffer.from(step)),
    )
  const before = process.memoryUsage().rss
  for (const step of [
    [0xdc, 0, 64],
    [0xdd, 0, 0, 0, 64],
    [0x91],
    [0x81, 0xa1, 0x61],
    [0xdf, 0, 0, 0, 64, 0xa1, 0x61],
  ]) {
    assert.throws(() => decodeOp(nested(step)), { code: 'ENTRY_INVALID' })
  }
  for (const promise of [
    [0xdd, 0xff, 0xff, 0xff, 0xff],
    [0xdf, 0xff, 0xff, 0xff, 0xff],
    [0xc6, 0xff, 0xff, 0xff, 0xff],
  ]) {
    assert.throws(() => decodeOp(Buffer.from(promise)), { code: 'ENTRY_INVALID' })
  }
  assert.throws(() => decodeOp(Buffer.alloc(OP_BYTES_MAX + 1)), { code: 'ENTRY_INVALID' })
  assert.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024)
})
