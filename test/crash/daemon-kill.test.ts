/**
 * Proves that a daemon killed in the middle of a copy loses nothing that was promised: the mount is
 * repaired, files that were synced are whole, nothing newer from another device is overwritten, the
 * copy can be finished and the devices converge.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { createDirectory, waitFor, whyNoMount } from '../helpers/process.ts'
import { compareTrees } from '../helpers/tree.ts'
import { createVolumeOfDevices, syncAll } from '../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? false

/** A tree of `count` files of a few kB, always the same for one seed. */
function makeTree(root: string, count: number): void {
  for (let index = 0; index < count; index++) {
    const directory = path.join(root, `d${index % 20}`)
    fs.mkdirSync(directory, { recursive: true })
    const digest = createHash('sha256').update(String(index)).digest('hex')
    fs.writeFileSync(path.join(directory, `f${index}`), digest.repeat(1 + (index % 100)))
  }
}

test('SIGKILL in the middle of a copy, then up: nothing promised is lost', { skip }, async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  fs.writeFileSync(alice.path('shared.txt'), 'from alice, old')
  await syncAll([alice, bob])
  const source = path.join(createDirectory(t, 'source'), 'tree')
  makeTree(source, 3000)

  const synced = new Map<string, string>()
  for (let index = 0; index < 20; index++) {
    const name = `synced${index}`
    const descriptor = fs.openSync(alice.path(name), 'w')
    fs.writeSync(descriptor, name.repeat(1000))
    fs.fsyncSync(descriptor)
    fs.closeSync(descriptor)
    synced.set(name, name.repeat(1000))
  }
  const copy = spawn('cp', ['-a', source, alice.path('tree')], { stdio: 'ignore' })
  await waitFor(() => fs.existsSync(alice.path('tree', 'd3')), { what: 'the copy is under way' })
  const held = fs.openSync(alice.path('held.txt'), 'w')
  fs.writeSync(held, 'written and synced, not closed')
  fs.fsyncSync(held)
  await alice.killDaemon()
  if (copy.exitCode === null && copy.signalCode === null) await once(copy, 'exit')
  assert.throws(() => fs.closeSync(held), 'the handle of the dead mount is dead too')

  fs.writeFileSync(bob.path('shared.txt'), 'from bob, newer')
  await bob.run(['sync', '--wait', '--timeout', '3'], { codes: 'any' })
  await alice.run(['up'])
  await waitFor(() => fs.existsSync(alice.path('shared.txt')), { what: 'alice is mounted again' })
  for (const [name, text] of synced) {
    assert.equal(fs.readFileSync(alice.path(name), 'utf8'), text, name)
  }
  assert.equal(fs.readFileSync(alice.path('held.txt'), 'utf8'), 'written and synced, not closed')
  await syncAll([alice, bob])
  for (const device of [alice, bob]) {
    assert.equal(fs.readFileSync(device.path('shared.txt'), 'utf8'), 'from bob, newer')
  }
  execFileSync('cp', ['-a', '-T', source, alice.path('tree')])
  await syncAll([alice, bob])
  assert.deepEqual(compareTrees(source, alice.path('tree')), [])
  assert.deepEqual(compareTrees(alice.mountpoint, bob.mountpoint), [])
})
