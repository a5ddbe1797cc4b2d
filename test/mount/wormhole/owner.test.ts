/**
 * Proves the choice of owner: as numbers of the tree or as who mounted, kept in the volume's
 * settings, and never more than a view: nothing of it travels.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { createDevices, whyNoMount } from '../../helpers/process.ts'

const skip = whyNoMount() ?? false

test('everything belongs to who mounted, and to the numbers again', { skip }, async (t) => {
  const { alice } = createDevices(t, ['alice'])
  const file = `${alice.mountpoint}/f`
  const owner = () => {
    const { uid, gid } = fs.statSync(file)
    return `${uid}:${gid}`
  }
  await alice.run(['init', '--mount', alice.mountpoint])
  fs.writeFileSync(file, 'text')
  fs.chownSync(file, 1234, 5678)
  fs.chmodSync(file, 0o600)
  assert.equal(owner(), '1234:5678')
  await alice.run(['unmount'])
  await alice.run(['mount', alice.mountpoint, '--owner', 'mounter'])
  assert.equal(owner(), '0:0')
  assert.equal(fs.statSync(file).mode & 0o777, 0o600)
  fs.chownSync(file, 77, 88)
  fs.chmodSync(file, 0o640)
  assert.equal(owner(), '0:0')
  await alice.run(['down'])
  await alice.run(['up'])
  assert.equal(owner(), '0:0', 'the choice is kept')
  await alice.run(['unmount'])
  await alice.run(['mount', alice.mountpoint, '--owner', 'numeric'])
  assert.equal(owner(), '1234:5678', 'chown has changed nothing')
  assert.equal(fs.statSync(file).mode & 0o777, 0o640)
  await alice.run(['unmount'])
  const { code } = await alice.run(['mount', alice.mountpoint, '--owner', 'me'], { codes: 'any' })
  assert.notEqual(code, 0)
})
