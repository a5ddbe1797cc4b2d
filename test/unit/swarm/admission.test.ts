/**
 * Proves that an invite's key opens the door to admission and to nothing else, and that a joiner
 * learns why it is not let in. Joiner and members meet on a simulated network.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AdmissionRequest, Link } from '../../../src/swarm/interface.ts'
import { findAdmission } from '../../../src/swarm/join.ts'
import { Channels } from '../../../src/swarm/channels.ts'
import type { ChannelName, Message } from '../../../src/swarm/wire.ts'
import type { VolumeId } from '../../../src/types.ts'
import { createWorld, testDevice, VOLUME, withCode, type World } from '../../helpers/swarm-world.ts'

const INVITE = testDevice(100).device
const JOINER = testDevice(101).device

function request(changes: Partial<AdmissionRequest> = {}): AdmissionRequest {
  return {
    volume: VOLUME,
    inviteKey: INVITE,
    device: JOINER,
    deviceName: 'Änne’s laptop',
    boxKey: Buffer.alloc(32, 7),
    signature: Buffer.alloc(64, 8),
    ...changes,
  }
}

async function worldWithInvite(invite: { usesLeft: number; isExpired: boolean }): Promise<World> {
  const world = await createWorld({ count: 2, seed: 1 })
  world.members.invites.set(INVITE, invite)
  return world
}

function join(world: World, changes: Partial<AdmissionRequest> = {}, key: string = INVITE) {
  return findAdmission({
    request: request(changes),
    transports: [world.network.transport(key, { isListening: false })],
    beacon: undefined,
    addresses: world.devices.map(({ device }) => world.network.addressOf(device)),
    clock: world.clock,
    timeoutMs: 30_000,
  })
}

test('a joiner gets the secrets and the addresses, and uses up one use', async () => {
  const world = await worldWithInvite({ usesLeft: 2, isExpired: false })
  const admission = await world.clock.settle(join(world), 5000)
  assert.equal(Buffer.from(admission.sealedSecrets).subarray(0, 12).toString(), 'secrets for ')
  assert.deepEqual(Buffer.from(admission.sealedSecrets).subarray(12), Buffer.alloc(32, 7))
  assert.ok(world.devices.some(({ device }) => device === admission.member))
  assert.equal(admission.addresses[0]?.device, admission.member)
  assert.equal(admission.addresses.length, 2)
  assert.ok(world.members.isMember(JOINER))
  await world.clock.run(3000)
  assert.equal(world.members.invites.get(INVITE)?.usesLeft, 1)
  await world.close()
})

test('expired, used up, another volume, another invite: the joiner is told', async () => {
  for (const [invite, changes, code] of [
    [{ usesLeft: 1, isExpired: true }, {}, 'INVITE_EXPIRED'],
    [{ usesLeft: 0, isExpired: false }, {}, 'INVITE_USED_UP'],
    [{ usesLeft: 1, isExpired: false }, { volume: 'cd'.repeat(32) as VolumeId }, 'INVITE_INVALID'],
    [{ usesLeft: 1, isExpired: false }, { inviteKey: JOINER }, 'INVITE_INVALID'],
  ] as const) {
    const world = await worldWithInvite(invite)
    await assert.rejects(world.clock.settle(join(world, changes), 40_000), withCode(code))
    assert.ok(!world.members.isMember(JOINER))
    await world.close()
  }
})

test('a stranger is refused at the door; nobody there is another error', async () => {
  const world = await worldWithInvite({ usesLeft: 1, isExpired: false })
  const stranger = testDevice(102).device
  await assert.rejects(
    world.clock.settle(join(world, { inviteKey: stranger }, stranger), 40_000),
    withCode('INVITE_INVALID'),
  )
  world.network.partition([world.devices.map(({ device }) => device)])
  await assert.rejects(world.clock.settle(join(world), 40_000), withCode('PEER_UNREACHABLE'))
  const abort = new AbortController()
  const joining = findAdmission({
    request: request(),
    transports: [world.network.transport(INVITE, { isListening: false })],
    beacon: undefined,
    addresses: [],
    clock: world.clock,
    timeoutMs: 30_000,
    signal: abort.signal,
  })
  joining.catch(() => {})
  await world.clock.run(100)
  abort.abort()
  await assert.rejects(world.clock.settle(joining, 1000), withCode('ABORTED'))
  await world.close()
})

test('an invite key can do nothing but ask for admission', async () => {
  const world = await worldWithInvite({ usesLeft: 1, isExpired: false })
  const transport = world.network.transport(INVITE, { isListening: false })
  // What the test does with a link is done at once, before anything arrives on it.
  let act: (link: Link) => void = () => {}
  await transport.start({ isAllowed: () => true, onLink: (link) => act(link) })
  const address = world.network.addressOf(world.devices[0]!.device)
  const answers: string[] = []
  let isClosed = false
  const openChannels = (
    link: Link,
    open: readonly ChannelName[],
    hello?: Extract<Message, { type: 'hello' }>,
  ): Channels =>
    new Channels(link, {
      open,
      ...(hello ? { hello } : {}),
      handlers: {
        onMessage: (message) => answers.push(message.type),
        onDrain: () => {},
        onClose: () => (isClosed = true),
      },
    })
  const hello = {
    type: 'hello',
    versionMin: 1,
    versionMax: 1,
    volume: VOLUME,
    instance: '0102030405060708',
    addresses: [],
  } as const
  const attempts: [name: string, expected: string[], act: (link: Link) => void][] = [
    ['a session', [], (link) => openChannels(link, ['session', 'log'], hello)],
    ['garbage', [], (link) => void link.send([Buffer.from('garbage')])],
    ['an empty frame', [], (link) => void link.send([])],
    [
      'answers',
      ['refused'],
      (link) => {
        const channels = openChannels(link, ['admission'])
        for (let count = 0; count < 2; count++) {
          channels.send({ type: 'refused', code: 'INVITE_EXPIRED', message: '' })
        }
      },
    ],
  ]
  for (const [name, expected, attempt] of attempts) {
    answers.length = 0
    isClosed = false
    act = (link) => {
      link.onClose = () => (isClosed = true)
      attempt(link)
    }
    await world.clock.settle(transport.dial({ address }, { signal: AbortSignal.any([]) }), 1000)
    await world.clock.until(() => isClosed, 30_000, `${name}: the member closed the link`)
    assert.deepEqual(answers, expected, name)
  }
  await world.close()
})
