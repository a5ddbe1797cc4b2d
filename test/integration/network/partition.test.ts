/**
 * Proves that a device that is cut off answers every command in time and says who is missing, and
 * that everything is the same again within two seconds after the way is back, although nobody is
 * told of it. Two network namespaces, cut between two switches; needs root.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DeviceReport, SyncReport, WhereReport } from '../../../src/daemon/interface.ts'
import { createNetwork, whyNoNetwork } from '../../helpers/netns.ts'
import { waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const skip = whyNoNetwork() ?? false
/** What a command that only asks the own device may take on a busy machine. */
const ANSWER_MS_MAX = 4000
/** From the way being back to the other's file being here. */
const HEAL_MS_MAX = 2000
/** What finding that out by a command adds to it. */
const LOOK_MS = 500

async function timed<T>(what: string, msMax: number, work: Promise<T>): Promise<T> {
  const fromMs = performance.now()
  const result = await work
  const tookMs = Math.round(performance.now() - fromMs)
  assert.ok(tookMs <= msMax, `${what} took ${tookMs} ms`)
  return result
}

async function has(device: Device, path: string): Promise<boolean> {
  return (await device.run(['cat', path], { codes: 'any' })).code === 0
}

async function isAlone(device: Device): Promise<boolean> {
  return (await device.status()).volumes[0]?.peersConnected === 0
}

/** Everything that needs nobody else is answered; what does says who is missing. */
async function checkAlone(alice: Device, when: string): Promise<void> {
  const quick: [string[], string?][] = [
    [['status']],
    [['devices']],
    [['peers']],
    [['ls']],
    [['cat', '/here']],
    [['put', '-', `/${when}`], when],
    [['history', '/here']],
    [['conflicts']],
    [['rm', `/${when}`]],
  ]
  for (const [words, input] of quick) {
    const options = input === undefined ? {} : { input }
    await timed(`${words.join(' ')} (${when})`, ANSWER_MS_MAX, alice.run(words, options))
  }
  const where = await timed(
    `where (${when})`,
    5000 + ANSWER_MS_MAX,
    alice.json<WhereReport>(['where', '/here']),
  )
  assert.deepEqual([where.copies, where.unknown], [1, ['bob']])
  const report = await timed(
    `sync (${when})`,
    5000 + ANSWER_MS_MAX,
    alice.json<SyncReport>(['sync', '--wait', '--timeout', '5', '--require', '1'], { codes: [1] }),
  )
  const [bob] = report.members
  assert.ok(bob?.name === 'bob' && bob.state !== 'in-sync', JSON.stringify(report))
}

test('cut off: every command answers; healed: equal within 2 s', { skip }, async (t) => {
  const network = createNetwork(t, ['alice', 'bob'])
  const options = { network, isMounted: false }
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], options)
  await alice.run(['put', '-', '/here'], { input: 'here' })
  await syncAll([alice, bob])

  const heal = async (name: string): Promise<void> => {
    await Promise.all([
      alice.run(['put', '-', `/${name}-alice`], { input: 'alice' }),
      bob.run(['put', '-', `/${name}-bob`], { input: 'bob' }),
    ])
    for (const each of ['alice', 'bob']) network.heal(each)
    const fromMs = performance.now()
    const lookFor = (device: Device, path: string): Promise<true> =>
      waitFor(() => has(device, path), {
        timeoutMs: HEAL_MS_MAX + LOOK_MS,
        what: `${device.name} has ${path}`,
        onTimeout: () => device.logs(),
      }) as Promise<true>
    await Promise.all([lookFor(alice, `/${name}-bob`), lookFor(bob, `/${name}-alice`)])
    t.diagnostic(`${name}: equal ${Math.round(performance.now() - fromMs)} ms after the heal`)
  }

  network.isolate('bob')
  // Now alice cannot know it yet.
  await checkAlone(alice, 'unnoticed')
  await heal('first')

  network.isolate('bob')
  await waitFor(() => isAlone(alice), { timeoutMs: 12_000, what: 'alice noticed' })
  await checkAlone(alice, 'noticed')
  const said = await alice.run(['sync', '--wait', '--timeout', '1'])
  assert.match(said.stdout, /bob: unreachable/)
  const devices = await alice.json<DeviceReport[]>(['devices'])
  assert.equal(devices.find(({ name }) => name === 'bob')?.isConnected, false)
  await heal('second')

  network.cut('alice')
  await heal('third')
  const report = await alice.json<SyncReport>(['sync', '--wait', '--require', '1'])
  assert.deepEqual([report.isInSync, report.members[0]?.state], [true, 'in-sync'])
  await alice.run(['sync', '--wait', '--require', '2', '--timeout', '5'], { codes: [1] })
})
