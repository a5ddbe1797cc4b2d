/**
 * Proves that invalidations are encoded as the kernel wants, merged while a batch is under way,
 * and never lost or sent after the end. The thread is replaced by a recorder.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../../src/system.ts'
import type { FileName } from '../../../src/types.ts'
import {
  encodeBatch,
  Notifier,
  type NotifyReply,
  type NotifyRequest,
  type NotifyThread,
} from '../../../src/vfs/fuse/notify.ts'

class Recorder implements NotifyThread {
  readonly sent: NotifyRequest[] = []
  reply: (reply: NotifyReply) => void = () => undefined
  end: () => void = () => undefined
  readonly ended = new Promise<void>((resolve) => (this.end = resolve))

  send(request: NotifyRequest): void {
    this.sent.push(request)
    if ('stop' in request) this.end()
  }

  onReply(handle: (reply: NotifyReply) => void): void {
    this.reply = handle
  }

  /** How many notifications a batch holds. */
  count(index: number): number {
    const request = this.sent[index]
    if (!request || !('batch' in request)) return 0
    const view = Buffer.from(request.batch)
    let count = 0
    for (let at = 0; at < view.length; at += view.readUInt32LE(at)) count++
    return count
  }
}

test('notifications have the layout of the kernel header', () => {
  const batch = encodeBatch(new Set([2 ** 40 + 5]), new Map([[7, new Set(['\xff!'])]]))
  const expected =
    '28000000' +
    '02000000' +
    '0000000000000000' +
    '0500000000010000' +
    '00'.repeat(16) +
    '23000000' +
    '03000000' +
    '0000000000000000' +
    '0700000000000000' +
    '02000000' +
    '00000000' +
    'ff2100'
  assert.equal(batch.toString('hex'), expected)
})

test('one batch at a time, without duplicates; settled waits for the last', async () => {
  const thread = new Recorder()
  const bugs: string[] = []
  const notifier = new Notifier(thread, (error) => bugs.push(error.message))
  await notifier.settled()
  for (let index = 0; index < 10; index++) {
    notifier.invalidateInode(5)
    notifier.invalidateEntry(1, 'a' as FileName)
    notifier.invalidateEntry(2, 'a' as FileName)
  }
  let isSettled = false
  const settled = notifier.settled().then(() => (isSettled = true))
  await new Promise(setImmediate)
  assert.equal(thread.sent.length, 1)
  assert.equal(thread.count(0), 3)
  notifier.invalidateInode(5)
  notifier.invalidateInode(6)
  await new Promise(setImmediate)
  assert.equal(thread.sent.length, 1, 'the first batch is still under way')
  thread.reply({ unexpected: ['EINVAL: it was malformed'] })
  await new Promise(setImmediate)
  assert.equal(thread.count(1), 2, 'told again after it was sent')
  assert.equal(isSettled, false)
  thread.reply({ unexpected: [] })
  await settled
  assert.deepEqual(bugs, ['EINVAL: it was malformed'])
})

test('stop lets waiters go and sends nothing any more', async () => {
  const thread = new Recorder()
  const notifier = new Notifier(thread, assert.fail)
  notifier.invalidateInode(5)
  const settled = notifier.settled()
  assert.equal(await notifier.stop(systemClock), true)
  await settled
  notifier.invalidateInode(6)
  await new Promise(setImmediate)
  assert.deepEqual(thread.sent, [{ stop: true }])
})
