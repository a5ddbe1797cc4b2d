/**
 * Proves that devices end with equal logs whatever the network did meanwhile, and that a sync round
 * tells the truth about each member. Whole swarms run on a simulated network and clock with a seed.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hash } from '../../../src/seal.ts'
import { feedId, feedRoot } from '../../../src/types.ts'
import { createWorld, isConverged } from '../../helpers/swarm-world.ts'

test('a new entry reaches the others within a few round trips', async () => {
  const world = await createWorld({ count: 3, seed: 1, delayMs: 5 })
  const [alice] = world.devices
  await world.clock.until(
    () => world.devices.every(({ swarm }) => swarm.peers().every((peer) => peer.routes.length > 0)),
    5000,
    'everyone is connected',
  )
  await world.clock.run(1000)
  const fromMs = world.clock.monotonicMs()
  alice!.log.append(Buffer.from('hello'))
  await world.clock.until(() => isConverged(world.devices), 1000, 'converged')
  assert.ok(world.clock.monotonicMs() - fromMs <= 20, 'announce, want, entries: three trips')
  await world.clock.until(
    () => world.devices.every(({ swarm }) => swarm.peers().every((peer) => peer.isInSync)),
    1000,
    'everyone knows that all are in sync',
  )
  await world.close()
})

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`random logs, partitions and broken links converge (seed ${seed})`, async () => {
    const world = await createWorld({ count: 3 + (seed % 3), seed, delayMs: 1 + seed })
    const { random, clock, network, devices } = world
    for (let round = 0; round < 30; round++) {
      const writer = devices[random.below(devices.length)]!
      for (let count = random.below(20); count > 0; count--) {
        writer.log.append(Buffer.alloc(random.below(5000), round))
      }
      const dice = random.below(6)
      if (dice === 0) {
        const cut = random.below(devices.length)
        const ids = devices.map(({ device }) => device)
        network.partition([ids.slice(0, cut), ids.slice(cut)])
      } else if (dice === 1) network.heal()
      else if (dice === 2) network.breakLinks(devices[random.below(devices.length)]!.device)
      await clock.run(random.below(8000))
    }
    network.heal()
    await clock.until(() => isConverged(devices), 15_000, 'converged')
    const total = devices.reduce((sum, { log }) => sum + log.receivedCount, 0)
    const twice = devices.reduce((sum, { log }) => sum + log.duplicateCount, 0)
    assert.ok(twice <= total, `entries received twice: ${twice} of ${total}`)
    await world.close()
  })
}

test('links that are forgotten on the way are replaced before they are given up', async () => {
  for (const cutMs of [1000, 4500, 6500, 8500, 20_000]) {
    const world = await createWorld({ count: 2, seed: cutMs })
    const [alice, bob] = world.devices
    const isConnected = (): boolean => bob!.swarm.peers().every(({ routes }) => routes.length > 0)
    await world.clock.until(isConnected, 5000, 'connected')
    world.network.partition([[alice!.device], [bob!.device]])
    alice!.log.append(Buffer.from('written while cut'))
    await world.clock.run(cutMs)
    world.network.heal({ isForgotten: true })
    // Nobody can know it sooner than a live peer would have pinged.
    const sinceMs = Math.max(0, 4250 - cutMs)
    await world.clock.until(() => isConverged(world.devices), sinceMs + 2000, `cut for ${cutMs} ms`)
    await world.close()
  }
})

test('entries cross a device in the middle', async () => {
  const world = await createWorld({ count: 3, seed: 9 })
  const [a, b, c] = world.devices.map(({ device }) => device)
  world.network.partition([[a!, b!], [c!]])
  world.devices[0]!.log.append(Buffer.from('from a'))
  await world.clock.until(() => world.devices[1]!.log.feeds.size === 1, 5000, 'b has it')
  world.network.partition([[b!, c!], [a!]])
  await world.clock.until(() => world.devices[2]!.log.feeds.size === 1, 15_000, 'c has it')
  await world.close()
})

test('a peer that claims entries it does not serve is asked less and less often', async () => {
  const world = await createWorld({ count: 2, seed: 4 })
  const [liar, honest] = world.devices
  let readCount = 0
  liar!.log.read = async () => {
    readCount++
    return []
  }
  liar!.log.append(Buffer.from('never served'))
  await world.clock.run(60_000)
  assert.equal(honest!.log.feeds.size, 0)
  assert.ok(readCount >= 3 && readCount < 12, `${readCount} requests in a minute`)
  await world.close()
})

for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
  test(`branches of one feed reach everybody, whoever has which first (seed ${seed})`, async () => {
    const world = await createWorld({ count: 4, seed })
    const { random, network, clock, devices } = world
    network.partition(devices.map(({ device }) => [device]))
    const [a] = devices
    const feed = feedId(a!.device, 0)
    const trunk = chainOf('trunk', 1 + random.below(40))
    const tips: string[] = []
    for (const [at, { log }] of devices.entries()) {
      const length = random.below(trunk.length + 1)
      const branch = chainOf(`branch ${at}`, random.below(30), trunk.slice(0, length))
      if (branch.length > 0) await log.receive(feed, branch)
      tips.push(hashText(branch.at(-1)))
    }
    for (const { log } of devices.slice(1)) log.append(Buffer.from('fine'))
    for (let round = 0; round < 3; round++) {
      const cut = 1 + random.below(3)
      const ids = devices.map(({ device }) => device)
      network.partition([ids.slice(0, cut), ids.slice(cut)])
      await clock.run(random.below(10_000))
    }
    network.heal()
    await clock.until(() => isConverged(devices), 30_000, 'converged')
    const held = [...a!.log.feeds].flatMap(([name, frames]) =>
      feedRoot(name) === feed ? frames.map(hashText) : [],
    )
    for (const tip of tips) assert.ok(tip === '' || held.includes(tip))
    await world.close()
  })
}

/** Frames of the test log: the hash of the one before, then bytes. */
function chainOf(label: string, count: number, shared: readonly Buffer[] = []): Buffer[] {
  const frames = [...shared]
  for (let index = 0; index < count; index++) {
    const last = frames.at(-1)
    const previous = last ? hash(last) : Buffer.alloc(32)
    frames.push(Buffer.concat([previous, Buffer.from(`${label} ${index} `.repeat(20))]))
  }
  return frames
}

function hashText(frame: Uint8Array | undefined): string {
  return frame ? hash(frame).toString('hex') : ''
}

test('sync: everyone publishes, and all answers are in sync', async () => {
  const world = await createWorld({ count: 4, seed: 6 })
  for (const { log } of world.devices) log.pending.push(Buffer.from('pending'))
  const answers = await world.clock.settle(
    world.devices[0]!.swarm.syncRound({ timeoutMs: 20_000 }),
    25_000,
  )
  assert.deepEqual(
    answers.map(({ state }) => state),
    ['in-sync', 'in-sync', 'in-sync'],
  )
  assert.equal(world.devices[0]!.log.feeds.size, 4)
  assert.ok(isConverged(world.devices))
  await world.close()
})

test('sync: a link that breaks before the answer costs time, not the answer', async () => {
  const world = await createWorld({ count: 2, seed: 14 })
  const [alice, bob] = world.devices
  const { clock } = world
  await clock.run(2000)
  bob!.log.pending.push(Buffer.from('pending'))
  const publish = bob!.log.publish.bind(bob!.log)
  bob!.log.publish = async () => {
    await new Promise<void>((resolve) => clock.setTimer(1000, resolve))
    await publish()
  }
  const round = alice!.swarm.syncRound({ timeoutMs: 20_000 })
  await clock.run(500)
  world.network.breakLinks(bob!.device)
  const [answer] = await clock.settle(round, 20_000)
  assert.equal(answer?.state, 'in-sync')
  assert.ok(isConverged(world.devices))
  await world.close()
})

test('sync: who is cut off is unreachable, and the others are in sync', async () => {
  const world = await createWorld({ count: 3, seed: 7 })
  const ids = world.devices.map(({ device }) => device)
  world.network.partition([[ids[0]!, ids[1]!], [ids[2]!]])
  for (const { log } of world.devices) log.pending.push(Buffer.from('pending'))
  const answers = await world.clock.settle(
    world.devices[0]!.swarm.syncRound({ timeoutMs: 20_000 }),
    25_000,
  )
  assert.deepEqual(
    answers.map(({ device, state }) => [ids.indexOf(device), state]),
    [
      [1, 'in-sync'],
      [2, 'unreachable'],
    ],
  )
  await world.close()
})

test('sync: a member that does not serve what it has times out; abort ends the wait', async () => {
  const world = await createWorld({ count: 2, seed: 8 })
  const [a, b] = world.devices
  b!.log.read = async () => []
  b!.log.pending.push(Buffer.from('kept'))
  const answers = await world.clock.settle(a!.swarm.syncRound({ timeoutMs: 3000 }), 5000)
  assert.equal(answers[0]?.state, 'timeout')
  const abort = new AbortController()
  const aborted = a!.swarm.syncRound({ timeoutMs: 60_000, signal: abort.signal })
  aborted.catch(() => {})
  await world.clock.run(500)
  abort.abort()
  await assert.rejects(world.clock.settle(aborted, 1000), { code: 'ABORTED' })
  await world.close()
})

test('a revoked device is told why, whenever it comes back, and nothing else', async () => {
  const world = await createWorld({ count: 3, seed: 12 })
  const [a, b, c] = world.devices
  await world.clock.run(3000)
  const { members } = world
  const farewell = { feed: feedId(a!.device, 0), frame: Buffer.from('revoked') }
  members.set.delete(c!.device)
  members.revoked.set(c!.device, farewell)
  a!.swarm.membersChanged()
  b!.swarm.membersChanged()
  await world.clock.run(50)
  assert.deepEqual(members.farewells, [farewell, farewell], 'by both, in their last message')
  a!.log.append(Buffer.from('secret from now on'))
  // It dials again: every link says the same and closes.
  await world.clock.run(20_000)
  assert.ok(members.farewells.length > 2)
  for (const told of members.farewells) assert.deepEqual(told, farewell)
  assert.equal(c!.log.head(`${a!.device}.0` as never), undefined)
  assert.equal(b!.log.head(`${a!.device}.0` as never)?.length, 1)
  const connected = c!.swarm.peers().filter(({ routes }) => routes.length > 0)
  assert.deepEqual(connected, [])
  await world.close()
})

test('a revoked device loses its sessions', async () => {
  const world = await createWorld({ count: 3, seed: 10 })
  const [a, b, c] = world.devices
  await world.clock.run(3000)
  world.members.set.delete(c!.device)
  a!.swarm.membersChanged()
  b!.swarm.membersChanged()
  await world.clock.run(100)
  assert.equal(a!.swarm.peers().length, 1)
  a!.log.append(Buffer.from('secret from now on'))
  await world.clock.run(5000)
  assert.equal(c!.log.head(`${a!.device}.0` as never), undefined)
  await world.close()
})
