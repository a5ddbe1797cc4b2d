/**
 * Proves how a newcomer gets a snapshot: in ranges from one peer, from the next one when that is
 * gone, and not at all, with a report, when there is none or a wrong one; and how gaps of the log
 * are asked for. Time and peers are the test's.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import { Backfill } from '../../../src/swarm/backfill.ts'
import type { Outgoing } from '../../../src/swarm/channels.ts'
import { answerSnapshot, Newcomer, STATEMENT_PART } from '../../../src/swarm/newcomer.ts'
import type { SnapshotPort } from '../../../src/swarm/interface.ts'
import type { DeviceId, FeedId } from '../../../src/types.ts'
import { TestClock } from '../../helpers/volume-device.ts'
import { waitFor } from '../../helpers/process.ts'

const [ALICE, BOB] = ['aa'.repeat(32), 'bb'.repeat(32)] as [DeviceId, DeviceId]
const PART = 'cd'.repeat(32)
const CONTENT = Buffer.alloc(1_500_000, 'content ')

/** Fires nothing by itself. */
class StillClock extends TestClock {
  override setTimer() {
    return { cancel: () => undefined }
  }
}

/** A device that offers one part. */
const offering: SnapshotPort = {
  isWanted: async () => false,
  offer: async () => Buffer.from('statement'),
  read: async (hash, offset, bytesMax) =>
    hash === PART
      ? { sizeBytes: CONTENT.length, bytes: CONTENT.subarray(offset, offset + bytesMax) }
      : undefined,
  begin: async () => [],
  put: async () => undefined,
  finish: async () => undefined,
}

function newcomer(ports: Partial<SnapshotPort> = {}) {
  const told: string[] = []
  const sent: { to: DeviceId; message: Outgoing }[] = []
  const taken: Buffer[] = []
  const clock = new StillClock()
  const port: SnapshotPort = {
    ...offering,
    isWanted: async () => true,
    begin: async () => [{ hash: PART, sizeBytes: CONTENT.length }],
    put: async (_, bytes) => void taken.push(Buffer.from(bytes)),
    ...ports,
  }
  const made = new Newcomer({
    port,
    clock,
    send: (to, message) => void sent.push({ to, message }),
    onDone: (hasTaken) => told.push(hasTaken ? 'taken' : 'log'),
    onReport: ({ code }) => told.push(code),
  })
  /** Lets a device answer what it was asked. */
  const answer = async (peer: DeviceId, source = offering) => {
    for (const { to, message } of sent.splice(0)) {
      assert.ok(to === peer && message.type === 'snapshot-want')
      made.onAnswer(peer, await answerSnapshot(source, message))
    }
  }
  return { made, told, sent, taken, clock, answer }
}

test('a snapshot comes in ranges, and entries are held back until then', async () => {
  const { made, told, sent, taken, answer } = newcomer()
  await made.start()
  made.connected(ALICE)
  assert.ok(made.isHolding)
  await waitFor(async () => {
    await answer(ALICE)
    return told.length > 0
  })
  assert.deepEqual(told, ['taken'])
  assert.ok(taken.length === 1 && taken[0]?.equals(CONTENT))
  assert.ok(!made.isHolding && sent.length === 0)
})

test('a peer that goes is followed by the next one', async () => {
  const { made, told, sent, answer } = newcomer()
  await made.start()
  made.connected(ALICE)
  made.connected(BOB)
  await waitFor(() => sent.length > 0)
  sent.length = 0
  made.disconnected(ALICE)
  await waitFor(async () => {
    await answer(BOB)
    return told.includes('taken')
  })
  assert.deepEqual(told, ['PEER_UNREACHABLE', 'taken'])
})

test('without a snapshot, with a wrong one, or alone the log is fetched', async () => {
  const none = newcomer()
  await none.made.start()
  none.made.connected(ALICE)
  await waitFor(async () => {
    await none.answer(ALICE, { ...offering, offer: async () => undefined })
    return none.told.length > 0
  })
  assert.deepEqual(none.told, ['log'])

  const wrong = newcomer({
    finish: () => Promise.reject(new WormholeError('SNAPSHOT_INVALID', 'a lie')),
  })
  await wrong.made.start()
  wrong.made.connected(ALICE)
  await waitFor(async () => {
    await wrong.answer(ALICE)
    return wrong.told.length > 1
  })
  assert.deepEqual(wrong.told, ['SNAPSHOT_INVALID', 'log'])

  const short = newcomer()
  await short.made.start()
  short.made.connected(ALICE)
  const cut = { ...offering, read: async () => ({ sizeBytes: 12, bytes: Buffer.alloc(12) }) }
  await waitFor(async () => {
    await short.answer(ALICE, cut)
    return short.told.length > 1
  })
  assert.deepEqual(short.told, ['SNAPSHOT_INVALID', 'log'])

  const alone = newcomer()
  await alone.made.start()
  alone.made.tick(alone.clock.ms + 1000)
  assert.deepEqual(alone.told, [])
  alone.made.tick(alone.clock.ms + 6000)
  assert.deepEqual(alone.told, ['log'])

  const complete = newcomer({ isWanted: async () => false })
  await complete.made.start()
  assert.deepEqual(complete.told, ['log'])
})

test('a question for nothing known is answered with nothing', async () => {
  const want = { type: 'snapshot-want', id: 7, hash: 'ee'.repeat(32), offset: 0 } as const
  const failing: SnapshotPort = {
    ...offering,
    offer: () => Promise.reject(new WormholeError('DISK_FULL', 'no room')),
  }
  for (const [port, hash] of [
    [undefined, STATEMENT_PART],
    [offering, want.hash],
    [failing, STATEMENT_PART],
  ] as const) {
    const { id, sizeBytes, bytes } = await answerSnapshot(port, { ...want, hash })
    assert.deepEqual([id, sizeBytes, bytes.length], [7, 0, 0])
  }
})

test('a gap is filled range by range, from whoever has it', async () => {
  const feed = `${ALICE}.0` as FeedId
  const clock = new StillClock()
  const sent: { to: DeviceId; message: Outgoing }[] = []
  let from = 0
  let isBusy = true
  const backfill = new Backfill({
    clock,
    gaps: async () => (from < 3 ? [{ feed, from, to: 3 }] : []),
    receive: async (_, frames) => {
      from += frames.length
      return 'stored'
    },
    peers: () => [ALICE, BOB],
    isBusy: () => isBusy,
    send: (to, message) => void sent.push({ to, message }),
  })
  backfill.tick(clock.ms)
  assert.equal(sent.length, 0)
  isBusy = false
  backfill.tick((clock.ms += 3000))
  await waitFor(() => sent.length === 1)
  const lastId = (): number => (sent.at(-1)?.message as { id: number }).id
  assert.ok(sent[0]?.to === ALICE && backfill.isMine(lastId()) && !backfill.isMine(5))
  // Alice has not got them: bob is asked, and then for the rest.
  backfill.onEntries(ALICE, lastId(), [])
  await waitFor(() => sent.length === 2)
  assert.equal(sent[1]?.to, BOB)
  backfill.onEntries(ALICE, lastId(), [Buffer.alloc(1)])
  backfill.onEntries(BOB, lastId(), [Buffer.alloc(1), Buffer.alloc(1)])
  await waitFor(() => sent.length === 3)
  assert.equal((sent[2]?.message as { fromSeq: number }).fromSeq, 2)
  backfill.disconnected(BOB)
  backfill.tick((clock.ms += 40_000))
  await waitFor(() => sent.length === 4)
  assert.equal(sent[3]?.to, ALICE)
  backfill.onEntries(ALICE, lastId(), [Buffer.alloc(1)])
  await waitFor(() => from === 3)
})
