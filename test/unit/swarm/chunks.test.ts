/**
 * Proves that chunks arrive from several peers at once whatever single peers do (slow, lying,
 * dying, without the chunk), and that a fetch always ends. Whole swarms on a simulated network and
 * clock.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import { addressOf, createWorld, withCode, type World } from '../../helpers/swarm-world.ts'

/** Gives the devices `holders` the same `count` chunks and waits until everyone is connected. */
async function distribute(world: World, holders: number[], count: number, sizeBytes = 100_000) {
  const addresses = Array.from({ length: count }, () => {
    const bytes = world.random.bytes(sizeBytes)
    for (const holder of holders) world.devices[holder]!.chunks.add(bytes)
    return addressOf(bytes)
  })
  const isConnected = (): boolean =>
    world.devices.every(({ swarm }) => swarm.peers().every(({ routes }) => routes.length > 0))
  await world.clock.until(isConnected, 5000, 'everyone is connected')
  return addresses
}

test('from several peers at once, faster than from one', async () => {
  const world = await createWorld({ count: 4, seed: 1, bytesPerMs: 1000 })
  const addresses = await distribute(world, [1, 2, 3], 60)
  const { swarm, chunks } = world.devices[0]!
  const fromMs = world.clock.monotonicMs()
  await world.clock.settle(swarm.fetch(addresses, { priority: 'background' }), 20_000)
  const tookMs = world.clock.monotonicMs() - fromMs
  assert.ok(addresses.every((address) => chunks.has(address)))
  assert.ok(tookMs < 4000, `6 MB at 3 × 1 MB/s took ${tookMs} ms`)
  const extra = chunks.writeCount - addresses.length
  assert.equal(extra, 0)
  assert.ok((swarm.peers()[0]?.receiveBytesPerSecond ?? 0) > 100_000)
  await world.close()
})

test('one that lies, one that dies, one that lacks half: everything arrives', async () => {
  const world = await createWorld({ count: 4, seed: 2, bytesPerMs: 1000 })
  const addresses = await distribute(world, [1, 2, 3], 40)
  const [reader, liar, dying, half] = world.devices
  liar!.chunks.isLying = true
  for (const address of addresses.slice(0, 20)) half!.chunks.held.delete(address)
  const fetching = reader!.swarm.fetch(addresses, { priority: 'background' })
  await world.clock.run(1000)
  world.network.breakLinks(dying!.device)
  await world.clock.settle(fetching, 60_000)
  assert.ok(addresses.every((address) => reader!.chunks.has(address)))
  assert.deepEqual(
    reader!.reports.filter(({ code }) => code === 'PEER_MISBEHAVED').map(({ device }) => device),
    [liar!.device],
  )
  await world.close()
})

test('what a stalled peer was asked for comes from another', async () => {
  const world = await createWorld({ count: 3, seed: 3 })
  const addresses = await distribute(world, [1, 2], 10)
  const [reader, stalled] = world.devices
  stalled!.chunks.read = () => new Promise(() => {})
  const fromMs = world.clock.monotonicMs()
  await world.clock.settle(reader!.swarm.fetch(addresses, { priority: 'foreground' }), 20_000)
  assert.ok(world.clock.monotonicMs() - fromMs < 5000)
  await world.close()
})

test('what somebody waits for overtakes the background', async () => {
  const world = await createWorld({ count: 2, seed: 4, bytesPerMs: 1000 })
  const addresses = await distribute(world, [1], 100)
  const [urgent] = await distribute(world, [1], 1, 5000)
  const { swarm } = world.devices[0]!
  let isBackgroundDone = false
  const background = swarm.fetch(addresses, { priority: 'background' }).then(() => {
    isBackgroundDone = true
  })
  await world.clock.run(500)
  const fromMs = world.clock.monotonicMs()
  await world.clock.settle(swarm.fetch([urgent!], { priority: 'foreground' }), 20_000)
  assert.ok(!isBackgroundDone)
  assert.ok(world.clock.monotonicMs() - fromMs < 1000)
  await world.clock.settle(background, 30_000)
  await world.close()
})

test('a chunk that nobody has fails after a while; the others arrive', async () => {
  const world = await createWorld({ count: 3, seed: 5 })
  const addresses = await distribute(world, [1], 5)
  const nowhere = addressOf(Buffer.from('nowhere'))
  const { swarm, chunks } = world.devices[0]!
  const fetching = swarm.fetch([nowhere, ...addresses], { priority: 'background' })
  await assert.rejects(world.clock.settle(fetching, 20_000), withCode('CHUNK_UNAVAILABLE'))
  assert.ok(addresses.every((address) => chunks.has(address)))
  await world.close()
})

test('a chunk that a peer gets meanwhile is found', async () => {
  const world = await createWorld({ count: 2, seed: 6 })
  await distribute(world, [1], 1)
  const bytes = Buffer.from('late')
  const fetching = world.devices[0]!.swarm.fetch([addressOf(bytes)], { priority: 'foreground' })
  fetching.catch(() => {})
  await world.clock.run(1000)
  world.devices[1]!.chunks.add(bytes)
  await world.clock.settle(fetching, 5000)
  await world.close()
})

test('a fetch survives a disconnection of everybody', async () => {
  const world = await createWorld({ count: 2, seed: 7, bytesPerMs: 500 })
  const addresses = await distribute(world, [1], 30)
  const fetching = world.devices[0]!.swarm.fetch(addresses, { priority: 'background' })
  await world.clock.run(1000)
  world.network.breakLinks(world.devices[0]!.device)
  await world.clock.settle(fetching, 60_000)
  await world.close()
})

test('without anybody connected a fetch fails within the bound', async () => {
  const world = await createWorld({ count: 2, seed: 8 })
  const ids = world.devices.map(({ device }) => device)
  world.network.partition([[ids[0]!], [ids[1]!]])
  const fetching = world.devices[0]!.swarm.fetch([addressOf(Buffer.from('x'))], {
    priority: 'foreground',
  })
  const fromMs = world.clock.monotonicMs()
  await assert.rejects(world.clock.settle(fetching, 10_000), withCode('CHUNK_UNAVAILABLE'))
  assert.ok(world.clock.monotonicMs() - fromMs < 6000)
  await world.close()
})

test('who has been alone for a while is told at once, who just lost a link is not', async () => {
  const world = await createWorld({ count: 2, seed: 10 })
  const [address] = await distribute(world, [1], 1)
  const [reader, holder] = world.devices
  const { clock } = world
  const failedAfter = async (): Promise<number> => {
    const fromMs = clock.monotonicMs()
    const fetching = reader!.swarm.fetch([address!], { priority: 'foreground' })
    await assert.rejects(clock.settle(fetching, 20_000), withCode('CHUNK_UNAVAILABLE'))
    return clock.monotonicMs() - fromMs
  }
  const isAlone = (): boolean => reader!.swarm.peers().every(({ routes }) => routes.length === 0)
  world.network.partition([[reader!.device], [holder!.device]])
  world.network.breakLinks(reader!.device)
  await clock.until(isAlone, 20_000, 'the link is gone')
  assert.ok((await failedAfter()) > 2000, 'it might come back')
  assert.equal(await failedAfter(), 0)
  await clock.run(60_000)
  assert.equal(await failedAfter(), 0)
  // What is asked for while somebody is there again does not fail for having been alone.
  world.network.heal()
  const isBack = (): boolean => !isAlone()
  await clock.until(isBack, 60_000, 'the link is back')
  await clock.settle(reader!.swarm.fetch([address!], { priority: 'foreground' }), 5000)
  await world.close()
})

test('a peer that comes and the last one that goes are told', async () => {
  const told: string[] = []
  const isTold = (word: string): boolean => told.includes(word)
  const world = await createWorld({
    count: 2,
    seed: 11,
    more: (index) =>
      index === 0 ? { onPeer: () => told.push('peer'), onAlone: () => told.push('alone') } : {},
  })
  const [first, second] = world.devices
  const isConnected = (): boolean => first!.swarm.peers().every(({ routes }) => routes.length > 0)
  await world.clock.until(isConnected, 5000, 'connected')
  assert.ok(told.length > 0 && told.every((word) => word === 'peer'), told.join())
  told.length = 0
  world.network.partition([[first!.device], [second!.device]])
  world.network.breakLinks(first!.device)
  await world.clock.until(() => isTold('alone'), 20_000, 'alone')
  assert.deepEqual(told, ['alone'])
  world.network.heal()
  await world.clock.until(() => isTold('peer'), 60_000, 'back')
  await first!.swarm.close()
  assert.equal(told.at(-1), 'alone', 'closing is leaving')
  await world.close()
})

test('abort ends one fetch, not another; nothing more is asked for', async () => {
  const world = await createWorld({ count: 2, seed: 9, bytesPerMs: 100 })
  const addresses = await distribute(world, [1], 10)
  const { swarm, chunks } = world.devices[0]!
  const abort = new AbortController()
  const first = swarm.fetch(addresses, { priority: 'background', signal: abort.signal })
  const second = swarm.fetch(addresses.slice(0, 2), { priority: 'background' })
  await world.clock.run(100)
  abort.abort()
  await assert.rejects(first, withCode('ABORTED'))
  await world.clock.settle(second, 20_000)
  await world.clock.run(20_000)
  assert.ok(chunks.held.size < addresses.length)
  await assert.rejects(
    swarm.fetch(addresses, { priority: 'background', signal: abort.signal }),
    withCode('ABORTED'),
  )
  await world.close()
})

test('a full disk fails the fetch with its own code', async () => {
  const world = await createWorld({ count: 2, seed: 10 })
  const addresses = await distribute(world, [1], 3)
  const { swarm, chunks } = world.devices[0]!
  chunks.write = () => Promise.reject(new WormholeError('DISK_FULL', 'no space'))
  const fetching = swarm.fetch(addresses, { priority: 'background' })
  await assert.rejects(world.clock.settle(fetching, 5000), withCode('DISK_FULL'))
  await world.close()
})

test('where: which connected device has what', async () => {
  const world = await createWorld({ count: 3, seed: 11 })
  const addresses = await distribute(world, [1, 2], 2)
  world.devices[2]!.chunks.held.delete(addresses[1]!)
  const holders = await world.clock.settle(
    world.devices[0]!.swarm.where(addresses, { timeoutMs: 1000 }),
    2000,
  )
  assert.deepEqual(
    holders.map(({ has }) => has),
    [
      [true, true],
      [true, false],
    ],
  )
  await world.close()
})

test('closing fails what is open', async () => {
  const world = await createWorld({ count: 2, seed: 12 })
  const { swarm } = world.devices[0]!
  const fetching = swarm.fetch([addressOf(Buffer.from('x'))], { priority: 'foreground' })
  fetching.catch(() => {})
  await world.close()
  await assert.rejects(fetching, withCode('VOLUME_CLOSED'))
  await assert.rejects(
    swarm.fetch([addressOf(Buffer.from('x'))], { priority: 'foreground' }),
    withCode('VOLUME_CLOSED'),
  )
})
