/** What every `Transport` must do, whatever it is made of. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/errors.ts'
import type { Link, Transport } from '../../../src/swarm/interface.ts'
import { MESSAGE_BYTES_MAX } from '../../../src/swarm/link.ts'
import { testDevice } from '../../helpers/swarm-world.ts'

/** One device on the network under test. */
export interface Station {
  readonly key: string
  readonly transport: Transport
}

/** A network in which stations reach each other. */
export interface TransportHarness {
  /** A listening station with the keys of `testDevice(index)`, not started. */
  station(index: number): Station
  /** Where to dial a station, besides its key. */
  addressOf(station: Station): string | undefined
  /** Lets time pass until `condition` holds, at most some seconds. */
  until(condition: () => boolean, what: string): Promise<void>
  close(): Promise<void>
}

/** What a test sees of one end of a link. */
class End {
  readonly link: Link
  readonly messages: Buffer[] = []
  closes: (Error | undefined)[] = []
  drains = 0

  constructor(link: Link) {
    this.link = link
    link.onMessage = (message) => this.messages.push(message)
    link.onDrain = () => this.drains++
    link.onClose = (error) => this.closes.push(error)
  }
}

/** Time for a dial that works, and for one that must fail. */
const DIAL_MS = 5000
const REFUSED_DIAL_MS = 1500

/** Runs the contract on one kind of transport. */
export function transportSuite(name: string, create: () => Promise<TransportHarness>): void {
  /** Two stations that allow each other, and the ends of the links made so far. */
  async function pair(harness: TransportHarness, isAllowed = true) {
    const [a, b] = [harness.station(0), harness.station(1)]
    const ends: { a: End[]; b: End[] } = { a: [], b: [] }
    await b.transport.start({
      isAllowed: (key) => isAllowed && key === a.key,
      onLink: (link) => ends.b.push(new End(link)),
    })
    await a.transport.start({
      isAllowed: (key) => key === b.key,
      onLink: (link) => ends.a.push(new End(link)),
    })
    return { a, b, ends }
  }

  function dial(
    harness: TransportHarness,
    from: Station,
    to: Station,
    { key = to.key, ms = DIAL_MS } = {},
  ) {
    const address = harness.addressOf(to)
    const target = address === undefined ? { key } : { key, address }
    return from.transport.dial(target, { signal: AbortSignal.timeout(ms) })
  }

  /** Both ends of a link between two stations. */
  async function linked(harness: TransportHarness): Promise<{ a: End; b: End }> {
    const { a, b, ends } = await pair(harness)
    await dial(harness, a, b)
    await harness.until(() => ends.a.length > 0 && ends.b.length > 0, 'linked')
    return { a: ends.a.at(-1)!, b: ends.b.at(-1)! }
  }

  function contract(what: string, run: (harness: TransportHarness) => Promise<void>): void {
    test(`${name}: ${what}`, { timeout: 30_000 }, async () => {
      const harness = await create()
      try {
        await run(harness)
      } finally {
        await harness.close()
      }
    })
  }

  contract('both ends know each other, and messages keep order and bounds', async (harness) => {
    const { a, b } = await linked(harness)
    assert.equal(a.link.remoteKey, testDevice(1).device)
    assert.equal(b.link.remoteKey, testDevice(0).device)
    assert.notEqual(a.link.isInitiator, b.link.isInitiator)
    for (let count = 1; count <= 200; count++)
      a.link.send([Buffer.from([count]), Buffer.alloc(count)])
    b.link.send([Buffer.from('back')])
    await harness.until(() => b.messages.length === 200 && a.messages.length === 1, 'delivered')
    assert.ok(b.messages.every((bytes, at) => bytes[0] === at + 1 && bytes.length === at + 2))
    assert.equal(a.messages[0]?.toString(), 'back')
    assert.ok(b.link.receivedBytes > 0 && a.link.sentBytes > 0)
  })

  contract('the largest message arrives whole; a larger one is a bug', async (harness) => {
    const { a, b } = await linked(harness)
    const half = Buffer.alloc(MESSAGE_BYTES_MAX / 2, 0x5a)
    a.link.send([half, half])
    await harness.until(() => b.messages.length === 1, 'delivered')
    assert.equal(b.messages[0]?.length, MESSAGE_BYTES_MAX)
    assert.ok(b.messages[0]?.every((byte) => byte === 0x5a))
    assert.throws(() => a.link.send([half, half, Buffer.alloc(1)]), { name: 'AssertionError' })
  })

  contract('back-pressure: send says stop, and drain says go on', async (harness) => {
    const { a, b } = await linked(harness)
    let sent = 0
    while (sent < 64 && a.link.send([Buffer.alloc(1024 * 1024, sent)])) sent++
    assert.ok(sent < 64, 'a sender is told to wait before 64 MiB')
    await harness.until(() => a.drains > 0, 'drained')
    await harness.until(() => b.messages.length === sent + 1, 'delivered')
  })

  contract('close delivers what was sent, and tells each end once', async (harness) => {
    const { a, b } = await linked(harness)
    a.link.send([Buffer.from('last words')])
    a.link.close()
    a.link.close()
    assert.equal(a.closes.length, 0, 'not from within close')
    await harness.until(() => a.closes.length > 0 && b.closes.length > 0, 'both ends are told')
    assert.equal(b.messages[0]?.toString(), 'last words')
    assert.ok(a.link.send([Buffer.from('ignored')]))
    b.link.close()
    await harness.until(() => true, 'settled')
    assert.deepEqual([a.closes.length, b.closes.length], [1, 1])
  })

  contract('closing a transport closes its links', async (harness) => {
    const { a, b, ends } = await pair(harness)
    await dial(harness, a, b)
    await harness.until(() => ends.a.length > 0 && ends.b.length > 0, 'linked')
    await b.transport.close()
    await harness.until(() => ends.a.every((end) => end.closes.length === 1), 'told')
  })

  contract('a key that is not allowed gets no link', async (harness) => {
    const { a, b, ends } = await pair(harness, false)
    await assert.rejects(dial(harness, a, b, { ms: REFUSED_DIAL_MS }), (error) => {
      return hasCode(error, 'NOT_A_MEMBER') || hasCode(error, 'PEER_UNREACHABLE')
    })
    assert.deepEqual([ends.a.length, ends.b.length], [0, 0])
  })

  contract('another key than the one dialled gets no link', async (harness) => {
    const { a, b, ends } = await pair(harness)
    await assert.rejects(dial(harness, a, b, { key: testDevice(7).device }), (error) => {
      return hasCode(error, 'NOT_A_MEMBER') || hasCode(error, 'PEER_UNREACHABLE')
    })
    assert.deepEqual(ends.a.filter((end) => end.link.remoteKey !== b.key).length, 0)
  })

  contract('an aborted dial fails', async (harness) => {
    const { a, b } = await pair(harness)
    const address = harness.addressOf(b)
    const target = address === undefined ? { key: b.key } : { key: b.key, address }
    await assert.rejects(a.transport.dial(target, { signal: AbortSignal.abort() }), {
      code: 'ABORTED',
    })
  })
}
