/**
 * Proves that a partition is normal: two devices in separate networks edit the same things with the
 * cable out; after it is back both show the byte-identical tree, with every version in it.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { test } from 'node:test'
import type { ConflictReport, VersionReport } from '../../../src/daemon/interface.ts'
import { createNetwork, whyNoNetwork } from '../../helpers/netns.ts'
import { waitFor, whyNoMount, type Device } from '../../helpers/process.ts'
import { compareTrees, hashTree } from '../../helpers/tree.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? whyNoNetwork() ?? false

/** Every regular file below the mount, by content. */
function contents(device: Device): string[] {
  const found: string[] = []
  const walk = (directory: string): void => {
    for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
      const path = `${directory}/${entry.name}`
      if (entry.isDirectory()) walk(path)
      else if (entry.isFile()) found.push(fs.readFileSync(path, 'utf8'))
    }
  }
  walk(device.mountpoint)
  return found.sort()
}

function listing(device: Device): string {
  return execFileSync('ls', ['-lR', '--time-style=full-iso', '.'], {
    cwd: device.mountpoint,
    encoding: 'utf8',
  })
}

test('both sides edit, rename, delete and create; the heal loses nothing', { skip }, async (t) => {
  const network = createNetwork(t, ['alice', 'bob'])
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], { network })
  fs.writeFileSync(alice.path('edited.txt'), 'base')
  fs.writeFileSync(alice.path('kept.txt'), 'base of kept')
  fs.writeFileSync(alice.path('saved.txt'), 'base of saved')
  fs.mkdirSync(alice.path('moved'))
  fs.writeFileSync(alice.path('moved', 'inside.txt'), 'inside')
  fs.mkdirSync(alice.path('winner'))
  fs.writeFileSync(
    alice.path('winner', '.wormhole.toml'),
    '[conflicts]\nstrategy = "last-writer-wins"\n',
  )
  fs.writeFileSync(alice.path('winner', 'one.txt'), 'base of one')
  await syncAll([alice, bob])
  assert.equal(fs.readFileSync(bob.path('moved', 'inside.txt'), 'utf8'), 'inside')

  network.cut('bob')
  fs.writeFileSync(alice.path('edited.txt'), 'edited by alice')
  fs.writeFileSync(bob.path('edited.txt'), 'edited by bob')
  fs.renameSync(alice.path('moved'), alice.path('moved-by-alice'))
  fs.renameSync(bob.path('moved'), bob.path('moved-by-bob'))
  fs.rmSync(alice.path('kept.txt'))
  fs.writeFileSync(bob.path('kept.txt'), 'edited by bob while alice removed it')
  fs.writeFileSync(alice.path('created.txt'), 'created by alice')
  fs.writeFileSync(bob.path('created.txt'), 'created by bob')
  fs.writeFileSync(alice.path('saved.tmp'), 'saved by alice')
  fs.renameSync(alice.path('saved.tmp'), alice.path('saved.txt'))
  fs.writeFileSync(bob.path('saved.tmp'), 'saved by bob')
  fs.renameSync(bob.path('saved.tmp'), bob.path('saved.txt'))
  fs.writeFileSync(alice.path('winner', 'one.txt'), 'one by alice')
  fs.writeFileSync(bob.path('winner', 'one.txt'), 'one by bob')
  for (const device of [alice, bob]) {
    await device.run(['sync', '--wait', '--timeout', '5'], { codes: 'any' })
  }
  network.heal('bob')

  await syncAll([alice, bob])
  await waitFor(() => hashTree(alice.mountpoint) === hashTree(bob.mountpoint), {
    timeoutMs: 20_000,
    what: 'both mounts show the same tree',
    onTimeout: () => `${listing(alice)}\n${listing(bob)}`,
  })
  assert.deepEqual(compareTrees(alice.mountpoint, bob.mountpoint, { directoryTimes: true }), [])
  assert.equal(listing(alice), listing(bob))
  const versions = contents(alice)
  for (const text of [
    'edited by alice',
    'edited by bob',
    'inside',
    'edited by bob while alice removed it',
    'created by alice',
    'created by bob',
    'saved by alice',
    'saved by bob',
  ]) {
    assert.ok(versions.includes(text), `a file holds "${text}"\n${listing(alice)}`)
  }
  const lists = await Promise.all(
    [alice, bob].map((device) => device.json<ConflictReport[]>(['conflicts'])),
  )
  assert.deepEqual(lists[0], lists[1])
  const paths = (lists[0] ?? []).map(({ path }) => path)
  for (const path of ['/edited.txt', '/created.txt', '/saved.txt']) {
    assert.ok(paths.includes(path), `${path} is listed: ${paths.join(' ')}`)
  }

  const winner = fs.readFileSync(alice.path('winner', 'one.txt'), 'utf8')
  assert.deepEqual(fs.readdirSync(alice.path('winner')).sort(), ['.wormhole.toml', 'one.txt'])
  const loser = winner === 'one by alice' ? 'one by bob' : 'one by alice'
  for (const device of [alice, bob]) {
    assert.equal(fs.readFileSync(device.path('winner', 'one.txt'), 'utf8'), winner)
    const history = await device.json<VersionReport[]>(['history', '/winner/one.txt'])
    const texts = await Promise.all(
      history.map(async ({ version }) => {
        const args = ['cat', '/winner/one.txt', '--version', version]
        return (await device.run(args)).stdout
      }),
    )
    assert.ok(texts.includes(loser), `history holds the loser: ${texts.join(' | ')}`)
  }
})
