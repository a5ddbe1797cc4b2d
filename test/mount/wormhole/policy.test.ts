/**
 * Proves what programs are told on a mount where a policy limits them: EFBIG for files that would
 * become too large, EROFS in folders that only admins change, and nothing elsewhere.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { whyNoMount } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? false

test('EFBIG and EROFS where the policy says so, and only there', { skip }, async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  fs.mkdirSync(alice.path('published/deep'), { recursive: true })
  fs.writeFileSync(alice.path('published/deep/price'), '100')
  fs.mkdirSync(alice.path('inbox'))
  fs.writeFileSync(alice.path('published/.wormhole.toml'), 'access.readonly = true\n')
  fs.writeFileSync(alice.path('inbox/.wormhole.toml'), '[limits]\nfile_size = "64 KiB"\n')
  await syncAll([alice, bob])

  const code = (code: string) => ({ code })
  const readOnly = bob.path('published/deep')
  assert.throws(() => fs.writeFileSync(path.join(readOnly, 'new'), 'x'), code('EROFS'))
  assert.throws(() => fs.writeFileSync(path.join(readOnly, 'price'), 'x'), code('EROFS'))
  assert.throws(() => fs.truncateSync(path.join(readOnly, 'price'), 1), code('EROFS'))
  assert.throws(() => fs.chmodSync(path.join(readOnly, 'price'), 0o600), code('EROFS'))
  assert.throws(() => fs.mkdirSync(path.join(readOnly, 'd')), code('EROFS'))
  assert.throws(() => fs.unlinkSync(path.join(readOnly, 'price')), code('EROFS'))
  assert.throws(() => fs.renameSync(path.join(readOnly, 'price'), bob.path('price')), code('EROFS'))
  assert.equal(fs.readFileSync(path.join(readOnly, 'price'), 'utf8'), '100')
  fs.writeFileSync(bob.path('elsewhere'), 'x')

  const full = bob.path('inbox/full')
  fs.writeFileSync(full, Buffer.alloc(64 * 1024))
  assert.throws(() => fs.appendFileSync(full, 'x'), code('EFBIG'))
  assert.throws(() => fs.truncateSync(full, 64 * 1024 + 1), code('EFBIG'))
  assert.throws(
    () => fs.writeFileSync(bob.path('inbox/more'), Buffer.alloc(1 << 20)),
    code('EFBIG'),
  )
  assert.equal(fs.statSync(full).size, 64 * 1024)
  fs.writeFileSync(bob.path('large'), Buffer.alloc(1 << 20))

  // The admin goes on, and lifts it for everybody.
  fs.writeFileSync(alice.path('published/deep/price'), '200')
  fs.rmSync(alice.path('published/.wormhole.toml'))
  await syncAll([alice, bob])
  fs.writeFileSync(path.join(readOnly, 'price'), '300')
  await syncAll([bob, alice])
  assert.equal(fs.readFileSync(alice.path('published/deep/price'), 'utf8'), '300')
})
