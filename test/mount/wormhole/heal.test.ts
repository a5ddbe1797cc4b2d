/**
 * Proves that a mount whose connection is cut off (umount -f while it is in use) comes back by
 * itself, that nothing written before is lost, and that `status` tells of it.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { mountsBelow, waitFor, whyNoMount } from '../../helpers/process.ts'
import { createVolumeOfDevices } from '../../helpers/volume-of-devices.ts'

test('a mount that breaks comes back', { skip: whyNoMount() ?? false }, async (t) => {
  const { alice } = await createVolumeOfDevices(t, ['alice'])
  const held = fs.openSync(alice.path('held'), 'w')
  fs.writeSync(held, 'written before')
  fs.fsyncSync(held)
  // In use it is not unmounted, but its connection is gone.
  spawnSync('umount', ['-i', '-f', alice.mountpoint])
  assert.throws(() => fs.closeSync(held))
  await waitFor(() => fs.readFileSync(alice.path('held'), 'utf8') === 'written before', {
    what: 'the mount is back with what was synced',
  })
  fs.writeFileSync(alice.path('after'), 'goes on')
  assert.deepEqual(mountsBelow(path.dirname(alice.mountpoint)), [alice.mountpoint])
  const { volumes } = await alice.status()
  assert.equal(volumes[0]?.mountpoint, alice.mountpoint)
  assert.equal(volumes[0]?.mountFailure, undefined)
  assert.match(volumes[0]?.problems[0]?.message ?? '', /^the mount broke: /)
})
