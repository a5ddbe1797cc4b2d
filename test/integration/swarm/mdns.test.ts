/**
 * Proves that devices and joiners find each other by multicast, without a route for it, and that
 * nothing identifies them to others. In two network namespaces as root, otherwise over loopback.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import createMdns from 'multicast-dns'
import { MdnsBeacon, type MdnsOptions } from '../../../src/swarm/mdns.ts'
import { systemClock } from '../../../src/system.ts'
import type { DeviceId } from '../../../src/types.ts'
import { createNetwork, whyNoNetwork } from '../../helpers/netns.ts'
import { testDevice } from '../../helpers/swarm-world.ts'
import { untilTrue } from '../../helpers/until.ts'

const KEY = Buffer.alloc(32, 3)
const PORT = 5599
const [alice, bob] = [testDevice(0).device, testDevice(1).device]
const INVITE = testDevice(60).device

function member(device: DeviceId, key = KEY): MdnsOptions['identity'] {
  return { type: 'member', keys: [key], device, devices: () => [alice, bob] }
}

test('mdns: members and joiners find a device, strangers learn nothing', async () => {
  const heard: string[] = []
  const ear = createMdns({ interface: '127.0.0.1', bind: '0.0.0.0', port: PORT })
  ear.on('response', (packet) => heard.push(JSON.stringify(packet)))
  await once(ear, 'ready')
  const found = new Map<string, { device: DeviceId | undefined; address: string }[]>()
  const beacons: MdnsBeacon[] = []
  const open = async (name: string, identity: MdnsOptions['identity']): Promise<MdnsBeacon> => {
    const beacon = new MdnsBeacon({ identity, bind: '127.0.0.1', port: PORT, clock: systemClock })
    beacons.push(beacon)
    found.set(name, [])
    await beacon.start((each) => found.get(name)!.push(each))
    return beacon
  }
  const told = await open('alice', member(alice))
  told.update({ addresses: ['127.0.0.1:4242'], inviteKeys: [INVITE] })
  await open('bob', member(bob))
  await open('joiner', { type: 'joiner', inviteKey: INVITE })
  await open('stranger', member(bob, Buffer.alloc(32, 4)))
  await open('wrong invite', { type: 'joiner', inviteKey: testDevice(61).device })
  const isFound = (): boolean => found.get('bob')!.length > 0 && found.get('joiner')!.length > 0
  await untilTrue(isFound, 'found')
  assert.deepEqual(found.get('bob')![0], { device: alice, address: '127.0.0.1:4242' })
  assert.deepEqual(found.get('joiner')![0], { device: undefined, address: '127.0.0.1:4242' })
  assert.equal(found.get('stranger')!.length, 0)
  assert.equal(found.get('wrong invite')!.length, 0)
  assert.equal(found.get('alice')!.length, 0)
  const said = heard.join()
  for (const secret of [alice, bob, INVITE, KEY.toString('hex')]) {
    assert.ok(!said.includes(secret.slice(0, 16)))
  }
  await Promise.all(beacons.map((beacon) => beacon.close()))
  await new Promise<void>((resolve) => ear.destroy(resolve))
})

/** A beacon in a process of its own; prints what it finds. */
const PROGRAM = `
import { MdnsBeacon } from '${new URL('../../../src/swarm/mdns.ts', import.meta.url).href}'
import { systemClock } from '${new URL('../../../src/system.ts', import.meta.url).href}'
const [, device, devices, address] = process.argv
const beacon = new MdnsBeacon({
  identity: {
    type: 'member', keys: [Buffer.alloc(32, 3)], device, devices: () => devices.split(','),
  },
  bind: '0.0.0.0',
  clock: systemClock,
})
await beacon.start((found) => console.log(JSON.stringify(found)))
beacon.update({ addresses: [address], inviteKeys: [] })
setInterval(() => beacon.refresh(), 500)
setTimeout(() => process.exit(1), 15000)
`

const why = whyNoNetwork()
test('mdns: between two machines', { skip: why ?? false, timeout: 30_000 }, async (t) => {
  const network = createNetwork(t, ['alice', 'bob'])
  const run = (name: string, device: DeviceId) => {
    const [command, ...prefix] = network.prefix(name) as [string, ...string[]]
    const address = `${network.address(name)}:4242`
    const program = ['--import', './scripts/typescript.mjs', '--input-type=module', '-e', PROGRAM]
    const child = spawn(
      command,
      [...prefix, process.execPath, ...program, device, `${alice},${bob}`, address],
      { stdio: ['ignore', 'pipe', 'inherit'], cwd: new URL('../../..', import.meta.url) },
    )
    t.after(() => child.kill())
    return { lines: createInterface({ input: child.stdout }), address }
  }
  const [a, b] = [run('alice', alice), run('bob', bob)]
  const [[atAlice], [atBob]] = await Promise.all([once(a.lines, 'line'), once(b.lines, 'line')])
  assert.deepEqual(JSON.parse(atAlice), { device: bob, address: b.address })
  assert.deepEqual(JSON.parse(atBob), { device: alice, address: a.address })
})
