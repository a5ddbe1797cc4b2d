/**
 * Proves that `up` says which volume it could not mount again and why, serves everything else, and
 * mounts it when asked once more. A real daemon whose mount point somebody has put a file into.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import type { StatusReport } from '../../../src/daemon/interface.ts'
import { createDevices, whyNoMount } from '../../helpers/process.ts'

test('up with an occupied mount point', { skip: whyNoMount() ?? false }, async (t) => {
  const { alice } = createDevices(t, ['alice'])
  await alice.run(['init', '--name', 'v', '--device', 'alice', '--mount', alice.mountpoint])
  fs.writeFileSync(alice.path('f'), 'text')
  await alice.run(['init', '--another', '--name', 'w', '--device', 'alice'])
  const again = await alice.run(['init', '--name', 'v', '--device', 'alice'], { codes: 'any' })
  assert.equal(again.code, 1)
  assert.match(again.stderr, /^wormhole: ALREADY_EXISTS: this home has the volume [vw] and 1 more/)
  await alice.run(['down'])
  fs.writeFileSync(alice.path('mine'), 'in the way')

  for (let round = 0; round < 2; round++) {
    const up = await alice.run(['up'], { codes: 'any' })
    assert.equal(up.code, 1)
    assert.match(up.stderr, /^wormhole: MOUNT_FAILED: v is not mounted at .*\/mount: /)
  }
  const up = await alice.run(['up', '--json'], { codes: 'any' })
  const { volumes } = JSON.parse(up.stdout) as StatusReport
  const failed = volumes.find(({ name }) => name === 'v')?.mountFailure
  assert.deepEqual([failed?.code, failed?.directory], ['MOUNT_FAILED', alice.mountpoint])
  assert.equal((await alice.run(['--volume', 'v', 'cat', '/f'])).stdout, 'text')
  await alice.run(['--volume', 'w', 'mkdir', '/d'])

  fs.rmSync(alice.path('mine'))
  await alice.run(['up'])
  assert.equal(fs.readFileSync(alice.path('f'), 'utf8'), 'text')
})
