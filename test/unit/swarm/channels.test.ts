/**
 * Proves what channels promise beside carrying messages: the hello comes first and nothing waits
 * for an answer, bulk is not copied, and what a peer does not read is bounded. Both ends are driven
 * by hand over links that the test holds.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Channels } from '../../../src/swarm/channels.ts'
import { BaseLink } from '../../../src/swarm/link.ts'
import type { Message } from '../../../src/swarm/wire.ts'
import { feedId } from '../../../src/types.ts'
import { addressOf, testDevice, VOLUME, withCode } from '../../helpers/swarm-world.ts'

const HELLO = {
  type: 'hello',
  versionMin: 1,
  versionMax: 1,
  volume: VOLUME,
  instance: '0102030405060708',
  addresses: ['1.2.3.4:5'],
} as const
const SEALED = Buffer.alloc(1024 * 1024, 7)
const CHUNK = { type: 'chunk', address: addressOf(SEALED), sealed: SEALED } as const

/** A link whose frames are kept until the test carries them over. */
class HeldLink extends BaseLink {
  readonly receivedBytes = 0
  readonly sentBytes = 0
  readonly sent: (readonly Uint8Array[])[] = []
  isWelcome = true
  error: Error | undefined

  constructor() {
    const remoteKey = testDevice(1).device
    super({ remoteKey, route: 'tls', isInitiator: true, remoteAddress: '10.0.0.1:1' })
  }

  send(parts: readonly Uint8Array[]): boolean {
    if (!this.isClosed) this.sent.push(parts)
    return this.isWelcome
  }

  close(error?: Error): void {
    this.error ??= error
    this.finish(error)
  }

  arrive(parts: readonly Uint8Array[]): void {
    this.deliver(Buffer.concat(parts))
  }
}

function open(link: HeldLink): { channels: Channels; received: Message[] } {
  const received: Message[] = []
  const channels = new Channels(link, {
    open: ['session', 'log', 'chunks'],
    hello: HELLO,
    handlers: {
      onMessage: (message) => received.push(message),
      onDrain: () => {},
      onClose: () => {},
    },
  })
  return { channels, received }
}

test('the hello is in the first frame, and messages follow before anything has arrived', () => {
  const [here, there] = [new HeldLink(), new HeldLink()]
  const { channels } = open(here)
  const head = { length: 1, hash: 'cd'.repeat(32) }
  const frontier = new Map([[feedId(testDevice(0).device, 0), head]])
  channels.send({ type: 'frontier', frontier })
  channels.send(CHUNK)
  const { received } = open(there)
  const counts = here.sent.map((parts) => {
    there.arrive(parts)
    return received.length
  })
  assert.deepEqual(counts, [1, 1, 1, 2, 3])
  assert.deepEqual(received, [HELLO, { type: 'frontier', frontier }, CHUNK])
})

test('bulk goes to the link as it is', () => {
  const link = new HeldLink()
  const { channels } = open(link)
  channels.send(CHUNK)
  assert.equal(link.sent.at(-1)?.[1], SEALED)
  channels.send({ type: 'ping', token: 1 })
  assert.equal(link.sent.at(-1)?.length, 1)
})

test('a peer that does not read is given up at 64 MiB', () => {
  const link = new HeldLink()
  const { channels } = open(link)
  link.isWelcome = false
  for (let count = 0; count < 63; count++) assert.equal(channels.send(CHUNK), false)
  link.onDrain()
  for (let count = 0; count < 63; count++) channels.send(CHUNK)
  assert.equal(link.error, undefined)
  for (let count = 0; count < 2; count++) channels.send(CHUNK)
  assert.ok(withCode('PEER_MISBEHAVED')(link.error))
})

test('a fault of the receiver is not taken for one of the peer', () => {
  const link = new HeldLink()
  const sender = new HeldLink()
  open(sender)
  const fault = new TypeError('a fault of ours')
  const handlers = {
    onMessage: (): void => {
      throw fault
    },
    onDrain: (): void => {},
    onClose: (): void => {},
  }
  new Channels(link, { open: ['session', 'log', 'chunks'], hello: HELLO, handlers })
  assert.throws(() => link.arrive(sender.sent[0] ?? []), fault)
  assert.equal(link.error, undefined)
})
