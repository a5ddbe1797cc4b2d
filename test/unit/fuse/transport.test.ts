/**
 * Proves that a read that finds nothing does not end a transport: the kernel announces a request,
 * its caller is killed, and the request is gone when it is read (EAGAIN). Two transports on one
 * FIFO take each other's messages the same way. And that looking for the next request ends.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { startTransport } from '../../../src/vfs/fuse/transport.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'
import { untilTrue } from '../../helpers/until.ts'

test('epoll: a message that somebody else took is not the end', async (t) => {
  const file = path.join(temporaryDirectory(t), 'fifo')
  execFileSync('mkfifo', [file])
  const flags = fs.constants.O_RDWR | fs.constants.O_NONBLOCK
  const writer = fs.openSync(file, flags)
  t.after(() => fs.closeSync(writer))
  let taken = 0
  const ends: (Error | undefined)[] = []
  const transports = [1, 2].map(() =>
    startTransport(
      {
        descriptor: fs.openSync(file, flags),
        onRequest: (_request, length) => (taken += length),
        onEnd: (error) => void ends.push(error),
      },
      'epoll',
    ),
  )
  for (let round = 1; round <= 20; round++) {
    fs.writeSync(writer, 'four')
    await untilTrue(() => taken === 4 * round, `message ${round} is taken`)
  }
  // Both have been woken by each message; only now could an end that was taken for one show.
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(ends, [])
  await Promise.all(transports.map((transport) => transport.close()))
})

test('epoll: the next message is looked for while they come, and not when they end', async (t) => {
  const file = path.join(temporaryDirectory(t), 'fifo')
  execFileSync('mkfifo', [file])
  const flags = fs.constants.O_RDWR | fs.constants.O_NONBLOCK
  const writer = fs.openSync(file, flags)
  t.after(() => fs.closeSync(writer))
  let taken = 0
  // Time passes only when it is looked at: 0.06 ms from each answer to the next message.
  let looks = 0
  const clock = { monotonicMs: () => looks++ * 0.06 }
  const transport = startTransport(
    {
      descriptor: fs.openSync(file, flags),
      clock,
      onRequest: (_request, length) => (taken += length),
      onEnd: () => assert.fail('it has not ended'),
    },
    'epoll',
  )
  for (let round = 1; round <= 40; round++) {
    fs.writeSync(writer, 'four')
    await untilTrue(() => taken === 4 * round, `message ${round} is taken`)
  }
  assert.ok(looks > 80, `${looks} times for 40 messages`)
  await new Promise((resolve) => setTimeout(resolve, 20))
  const before = looks
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(looks, before)
  await transport.close()
})
