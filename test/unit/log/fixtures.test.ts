/**
 * Proves that what version 1 wrote is still read, and that the document's example is what inspect
 * prints. Opens the stored files of test/fixtures/log/v1 and compares.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { openEntry } from '../../../src/log/entry.ts'
import { DiskFeedStore } from '../../../src/log/feeds.ts'
import { EMPTY_FRONTIER } from '../../../src/log/frontier.ts'
import { inspectSegment } from '../../../src/log/inspect.ts'
import { decodeInvite } from '../../../src/log/invite.ts'
import { DiskJournal } from '../../../src/log/journal.ts'
import { decodeRecoveryCode, VolumeSecrets } from '../../../src/log/keys.ts'
import type { Disk } from '../../../src/system.ts'
import type { FeedHead, FeedId, VolumeId } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

function fixture(name: string): Buffer {
  return readFileSync(fileURLToPath(new URL(`../../fixtures/log/v1/${name}`, import.meta.url)))
}

const expected = JSON.parse(fixture('expected.json').toString()) as {
  volume: VolumeId
  feed: FeedId
  secrets: string
  head: FeedHead
  journalKey: string
  records: string[]
  seed: string
  invite: string
  recoveryCode: string
}

/** A disk on which a fixture is the only file of a directory. */
function diskWith(name: string, directory: string, file: string): Disk {
  const disk = new MemoryDisk()
  disk.makeDirectorySync(directory)
  disk.openSync(`${directory}/${file}`, { create: true }).writeSync(0, [fixture(name)])
  return disk
}

test('a feed of version 1 opens', () => {
  const { volume, feed, head } = expected
  const disk = diskWith('feed.seg', `/feeds/${feed}`, '0000000000000000.seg')
  const random = new SeededRandom(1)
  const store = DiskFeedStore.open({ disk, random, directory: '/feeds', volume })
  assert.deepEqual(store.head(feed), head)
  assert.equal([...store.verify()].length, 1)
  const keys = VolumeSecrets.decode(Buffer.from(expected.secrets, 'hex')).logKeys()
  const entries = store
    .read(feed, 0, 1e6)
    .map((frame) => openEntry(frame, { volume, keys, previousFrontier: EMPTY_FRONTIER }))
  assert.deepEqual(
    entries.map((entry) => entry.control.map((op) => op.type)),
    [['genesis'], ['actor'], ['ack']],
  )
  assert.equal(Buffer.from(entries[1]?.tree?.changes[0]?.change ?? []).toString(), 'change')
  assert.equal(entries[1]?.tree?.coveredTo, 3)
})

test('a journal of version 1 opens', () => {
  const disk = diskWith('journal.seg', '/journal', '0000000000000001.seg')
  const key = Buffer.from(expected.journalKey, 'hex')
  const random = new SeededRandom(1)
  const journal = DiskJournal.open({ disk, random, directory: '/journal', key })
  const texts = [...journal.replay()].map((record) => Buffer.from(record.bytes).toString())
  assert.deepEqual(texts, expected.records)
  assert.equal(journal.nextNumber, 3)
})

test('an invite and a recovery code of version 1 are read', () => {
  const invite = decodeInvite(expected.invite)
  assert.equal(invite.volume, expected.volume)
  assert.equal(Buffer.from(invite.seed).toString('hex'), expected.seed)
  assert.deepEqual(invite.bootstrap, ['example.org:1'])
  assert.equal(decodeRecoveryCode(expected.recoveryCode).toString('hex'), expected.seed)
})

test('the worked examples of the document are what inspect prints', () => {
  const document = readFileSync(
    fileURLToPath(new URL('../../../src/log/README.md', import.meta.url)),
    'utf8',
  )
  const feed = inspectSegment(fixture('feed.seg'))
  const journal = inspectSegment(fixture('journal.seg'), { hasHex: true })
  assert.ok(feed.isSound && journal.isSound)
  assert.ok(document.includes(feed.lines.join('\n')), 'the feed')
  assert.ok(document.includes(journal.lines.join('\n')), 'the journal')
})

test('inspect says where a file goes wrong', () => {
  const bytes = fixture('feed.seg')
  bytes[500] = (bytes[500] as number) ^ 1
  const { lines, isSound } = inspectSegment(bytes)
  assert.equal(isSound, false)
  assert.match(lines.at(-1) as string, /^ +487 +460 {2}BAD/)
})
