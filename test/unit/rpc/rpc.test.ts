/**
 * Proves that calls, results, errors with their codes, aborts, events and transferred buffers
 * cross a message port, and that closing ends every wait. Both ends run in one thread over a
 * MessageChannel.
 */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { hasCode, WormholeError } from '../../../src/errors.ts'
import { connect, serve, Transferred, type CallContext } from '../../../src/rpc.ts'

const handlers = {
  add: (args: { a: number; b: number }) => args.a + args.b,
  later: async (args: { text: string }) => {
    await Promise.resolve()
    return args.text.toUpperCase()
  },
  full: () => {
    throw new WormholeError('DISK_FULL', 'no space left')
  },
  bug: () => {
    throw new TypeError('oops')
  },
  bytes: (args: { bytes: Uint8Array }) => {
    const bytes = args.bytes.map((byte) => byte + 1)
    return new Transferred({ bytes }, [bytes.buffer as ArrayBuffer])
  },
  forever: (_args: null, context: CallContext) =>
    new Promise<string>((_resolve, reject) => {
      context.signal.addEventListener('abort', () => reject(new WormholeError('ABORTED', 'x')))
    }),
  unclonable: () => () => 1,
}

function createPair(t: TestContext) {
  const { port1, port2 } = new MessageChannel()
  const server = serve(port1, handlers)
  const client = connect<typeof handlers>(port2)
  t.after(() => {
    server.close()
    client.close()
  })
  return { server, client }
}

test('calls return values and errors keep their codes', async (t) => {
  const { client } = createPair(t)
  assert.equal(await client.call('add', { a: 2, b: 3 }), 5)
  assert.equal(await client.call('later', { text: 'abc' }), 'ABC')
  await assert.rejects(client.call('full', undefined), (error) => hasCode(error, 'DISK_FULL'))
  await assert.rejects(client.call('bug', undefined), (error: Error) => {
    assert.equal(error.message, 'oops')
    assert.match(error.stack ?? '', /TypeError/)
    return true
  })
  await assert.rejects(client.call('toString' as 'bug', undefined), /no such method/)
  await assert.rejects(client.call('unclonable', undefined), /could not be cloned/)
})

test('buffers move in both directions', async (t) => {
  const { client } = createPair(t)
  const bytes = new Uint8Array([1, 2, 3])
  const call = client.call('bytes', { bytes }, { transfer: [bytes.buffer] })
  assert.equal(bytes.length, 0, 'detached here')
  assert.deepEqual([...(await call).bytes], [2, 3, 4])
})

test('an abort ends the wait here and the work there', async (t) => {
  const { server, client } = createPair(t)
  const controller = new AbortController()
  const call = client.call('forever', null, { signal: controller.signal })
  controller.abort()
  await assert.rejects(call, (error) => hasCode(error, 'ABORTED'))
  await assert.rejects(client.call('add', { a: 1, b: 1 }, { signal: controller.signal }), /gave up/)
  const echoed = new Promise((resolve) => server.on('ping', resolve))
  client.emit('ping', { n: 1 })
  assert.deepEqual(await echoed, { n: 1 })
})

test('closing fails pending and later calls on both sides', async (t) => {
  const { server, client } = createPair(t)
  const pending = client.call('forever', null)
  const closed = new Promise<void>((resolve) => client.onClose(resolve))
  await client.call('add', { a: 0, b: 0 })
  server.close()
  await assert.rejects(pending, (error) => hasCode(error, 'VOLUME_CLOSED'))
  await closed
  await assert.rejects(client.call('add', { a: 1, b: 1 }), (error) =>
    hasCode(error, 'VOLUME_CLOSED'),
  )
  client.emit('ping', 1)
})
