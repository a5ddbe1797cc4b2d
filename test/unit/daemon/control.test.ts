/**
 * Proves that the control socket answers, streams with bounded memory, cancels, and survives
 * clients that break the protocol. A server with a fake home listens on a real Unix socket in this
 * process.
 */
import assert from 'node:assert/strict'
import { setMaxListeners } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { ControlClient } from '../../../src/daemon/client.ts'
import { FRAME_BYTES_MAX, WINDOW_BYTES, encodeMessage } from '../../../src/daemon/frames.ts'
import type { MethodName } from '../../../src/daemon/methods.ts'
import { VERSION } from '../../../src/daemon/version.ts'
import { serveFakeHome, temporaryDirectory, type ServedHome } from '../../helpers/cli.ts'
import { SimClock } from '../../helpers/sim-clock.ts'

const cwd = '/'

async function connect(t: TestContext, served: ServedHome): Promise<ControlClient> {
  const client = await ControlClient.connect(served.socket, VERSION)
  t.after(() => client.close())
  return client
}

async function until(isMet: () => boolean): Promise<void> {
  const endMs = performance.now() + 4000
  while (!isMet()) {
    assert.ok(performance.now() < endMs, 'the condition was not met in time')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function* repeat(piece: Buffer, times: number): AsyncGenerator<Buffer> {
  for (let index = 0; index < times; index++) yield piece
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const piece of pieces) parts.push(piece)
  return Buffer.concat(parts)
}

test('control: answers, and errors cross by code', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  const status = await client.call('status', { cwd })
  assert.equal(status.daemonPid, process.pid)
  assert.equal(status.volumes[0]?.name, 'photos')
  assert.ok(!('mountpoint' in (status.volumes[0] as object)), 'undefined fields are left out')
  await assert.rejects(client.call('where', { cwd, path: '/none' }), { code: 'NOT_FOUND' })
  await assert.rejects(client.call('where', { cwd } as never), { code: 'BAD_ARGUMENT' })
  await assert.rejects(client.call('status', { cwd, more: 1 } as never), { code: 'BAD_ARGUMENT' })
  await assert.rejects(client.call('toString' as MethodName, {} as never), { code: 'UNSUPPORTED' })
  assert.equal((fs.statSync(served.socket).mode & 0o777).toString(8), '600')
})

test('control: a bug in a method is reported with its stack, and the server goes on', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  const [volume] = served.home.list
  assert.ok(volume)
  volume.peers = () => Promise.reject(new TypeError('planted'))
  await assert.rejects(client.call('peers', { cwd }), (error: Error) => {
    assert.equal(error.message, 'planted')
    assert.match(error.stack ?? '', /control\.test/)
    return true
  })
  assert.ok(served.logger.lines.some(({ level, text }) => level === 'error' && text === 'planted'))
  assert.equal((await client.call('devices', { cwd })).length, 2)
})

test('control: results larger than a frame and than the window arrive whole', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  for (let index = 0; index < 20_000; index++) served.home.list[0]?.add(`/big/file-${index}`, '')
  const files = await client.call('list', { cwd, path: '/big' })
  assert.equal(files.length, 20_000)
  assert.ok(JSON.stringify(files).length > 2 * FRAME_BYTES_MAX)
})

test('control: streams both ways are whole, side by side on one connection', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  const piece = Buffer.alloc(700_000, 7)
  const paths = ['/a', '/b', '/c']
  const reports = await Promise.all(
    paths.map((each) => client.upload('write', { cwd, path: each, mode: 0o600 }, repeat(piece, 5))),
  )
  assert.deepEqual(
    reports.map(({ size, mode }) => [size, mode]),
    paths.map(() => [3_500_000, 0o600]),
  )
  for (const bytes of await Promise.all(
    paths.map((each) => collect(client.download('read', { cwd, path: each }))),
  )) {
    assert.ok(bytes.equals(Buffer.concat(Array(5).fill(piece))))
  }
  await client.upload('write', { cwd, path: '/empty' }, repeat(piece, 0))
  assert.equal((await collect(client.download('read', { cwd, path: '/empty' }))).length, 0)
  await assert.rejects(collect(client.download('read', { cwd, path: '/none' })), {
    code: 'NOT_FOUND',
  })
})

test('control: a slow reader stops the daemon from reading ahead, and others go on', async (t) => {
  const served = await serveFakeHome(t)
  const [volume] = served.home.list
  assert.ok(volume)
  volume.add('/large', Buffer.alloc(40 * WINDOW_BYTES))
  const client = await connect(t, served)
  const pieces = client.download('read', { cwd, path: '/large' })
  await pieces.next()
  for (let round = 0; round < 50; round++) await client.call('devices', { cwd })
  assert.ok(volume.pieces * 100_000 <= 2 * WINDOW_BYTES, `${volume.pieces} pieces were read`)
  await pieces.return(undefined)
  await until(() => volume.signals[0]?.aborted === true)
  assert.equal((await client.call('devices', { cwd })).length, 2)
})

test('control: a slow writer in the daemon stops the client from sending', async (t) => {
  const served = await serveFakeHome(t)
  const [volume] = served.home.list
  assert.ok(volume)
  let open!: () => void
  volume.gate = new Promise((resolve) => (open = resolve))
  const client = await connect(t, served)
  let given = 0
  async function* source(): AsyncGenerator<Buffer> {
    for (; given < 200; given++) yield Buffer.alloc(100_000)
  }
  const done = client.upload('write', { cwd, path: '/slow' }, source())
  for (let round = 0; round < 20; round++) await client.call('devices', { cwd })
  assert.ok(given * 100_000 <= WINDOW_BYTES + 100_000, `${given} pieces were taken`)
  open()
  assert.equal((await done).size, 20_000_000)
})

test('control: a source that fails cancels the upload, and an abort any request', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  async function* broken(): AsyncGenerator<Buffer> {
    yield Buffer.from('some')
    throw new Error('the source broke')
  }
  await assert.rejects(client.upload('write', { cwd, path: '/x' }, broken()), /source broke/)
  assert.equal(served.home.list[0]?.nodes.has('/x'), false)

  const abort = new AbortController()
  const params = { cwd, timeoutMs: 3_600_000 }
  let text = ''
  const waiting = client.call('sync', params, {
    signal: abort.signal,
    onProgress: (progress) => {
      text = progress.text
      abort.abort()
    },
  })
  await assert.rejects(waiting, { code: 'ABORTED' })
  assert.equal(text, 'asking')
  await until(() => served.home.list[0]?.signals[0]?.aborted === true)
})

test('control: a client that leaves aborts its requests only', async (t) => {
  const served = await serveFakeHome(t)
  const [first, second] = [await connect(t, served), await connect(t, served)]
  const waiting = first.call('sync', { cwd, timeoutMs: 3_600_000 })
  await second.call('devices', { cwd })
  await until(() => served.home.list[0]?.signals.length === 1)
  first.close()
  await assert.rejects(waiting, { code: 'ABORTED' })
  await until(() => served.home.list[0]?.signals[0]?.aborted === true)
  assert.equal((await second.call('devices', { cwd })).length, 2)
})

/** Sends raw bytes and resolves when the server has closed the connection. */
function sendRaw(socketPath: string, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath, () => socket.write(bytes))
    socket.on('data', () => {})
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') reject(error)
    })
    socket.once('close', () => resolve())
  })
}

test('control: garbage ends its own connection and nothing else', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  const hello = encodeMessage({ hello: 1, version: VERSION })
  const raw = (text: string): Buffer => Buffer.from(text, 'hex')
  const request = encodeMessage({ id: 1, method: 'sync', params: { cwd, timeoutMs: 3_600_000 } })
  const cases: Record<string, Buffer> = {
    'not a frame': Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    'a frame of 4 GiB': raw('ffffffff00'),
    'an empty frame': raw('00000000'),
    'an unknown kind': raw('0200000009ff'),
    'not msgpack': raw('0300000000c1c1'),
    'not a map': raw('020000000001'),
    'no hello': request,
    'another protocol': encodeMessage({ hello: 99, version: 'x' }),
    'an id of 0': Buffer.concat([hello, encodeMessage({ id: 0, cancel: true })]),
    'one id twice': Buffer.concat([hello, request, request]),
    'a grant of too much': Buffer.concat([hello, request, encodeMessage({ id: 1, more: 5 })]),
    'data beyond the window': Buffer.concat([
      hello,
      request,
      ...Array<Buffer>(5).fill(Buffer.concat([raw('050004000101000000'), Buffer.alloc(262_144)])),
    ]),
  }
  for (const [name, bytes] of Object.entries(cases)) {
    await sendRaw(served.socket, bytes)
    assert.equal((await client.call('devices', { cwd })).length, 2, name)
  }
  const dropped = served.logger.lines.filter(({ text }) => text.includes('dropped'))
  assert.equal(dropped.length, Object.keys(cases).length)
})

test('control: frames may be cut anywhere', async (t) => {
  const served = await serveFakeHome(t)
  const bytes = Buffer.concat([
    encodeMessage({ hello: 1, version: VERSION }),
    encodeMessage({ id: 1, method: 'devices', params: { cwd } }),
  ])
  const socket = net.connect(served.socket)
  t.after(() => socket.destroy())
  let received = 0
  socket.on('data', (part: Buffer) => (received += part.length))
  socket.setNoDelay(true)
  for (const byte of bytes) {
    await new Promise((resolve) => socket.write(Buffer.of(byte), resolve))
  }
  await until(() => received > 300)
})

test('control: too many requests at a time are refused one by one', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  const abort = new AbortController()
  setMaxListeners(100, abort.signal)
  const options = { signal: abort.signal }
  const params = { cwd, timeoutMs: 3_600_000 }
  const waiting = Array.from({ length: 64 }, () => client.call('sync', params, options))
  await assert.rejects(client.call('devices', { cwd }), { code: 'LIMIT_EXCEEDED' })
  abort.abort()
  for (const result of await Promise.allSettled(waiting)) assert.equal(result.status, 'rejected')
  await until(() => served.home.list[0]?.signals.every(({ aborted }) => aborted) === true)
  assert.equal((await client.call('devices', { cwd })).length, 2)
})

test('control: closing aborts what runs, and the socket disappears', async (t) => {
  const served = await serveFakeHome(t)
  const client = await connect(t, served)
  const waiting = client.call('sync', { cwd, timeoutMs: 3_600_000 })
  await client.call('devices', { cwd })
  const closed = served.server.close()
  await assert.rejects(waiting, { code: 'ABORTED', message: 'the daemon is stopping' })
  await closed
  assert.equal(fs.existsSync(served.socket), false)
  await assert.rejects(client.call('devices', { cwd }), { code: 'DAEMON_NOT_RUNNING' })
  await assert.rejects(ControlClient.connect(served.socket, VERSION), {
    code: 'DAEMON_NOT_RUNNING',
  })
})

test('control: a client finds out about a daemon of another protocol, or none', async (t) => {
  const served = await serveFakeHome(t)
  const file = path.join(path.dirname(served.socket), 'other.sock')
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.write(encodeMessage({ hello: 2, version: '9.0.0' }))
  })
  t.after(() => server.close())
  await new Promise<void>((resolve) => server.listen(file, resolve))
  await assert.rejects(ControlClient.connect(file, VERSION), { code: 'UPGRADE_NEEDED' })
})

test('control: a daemon that says nothing is TIMEOUT, not an endless wait', async (t) => {
  const socket = path.join(temporaryDirectory(t), 'silent.sock')
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  t.after(() => server.close())
  const clock = new SimClock()
  const connected = ControlClient.connect(socket, VERSION, clock)
  await assert.rejects(clock.settle(connected, 10_000), { code: 'TIMEOUT' })
})
