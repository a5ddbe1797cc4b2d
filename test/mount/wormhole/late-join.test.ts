/**
 * Proves that a device is usable before everything has arrived: in a folder that is only cached,
 * reading one file of a large volume brings that file's chunks and no others.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { test } from 'node:test'
import type { CreatedReport } from '../../../src/daemon/interface.ts'
import { createDevices, waitFor, whyNoMount } from '../../helpers/process.ts'

const skip = whyNoMount() ?? false
const MIB = 1024 * 1024

test('a late device reads one file; only its chunks are fetched', { skip }, async (t) => {
  const { alice, bob } = createDevices(t, ['alice', 'bob'])
  const created = await alice.json<CreatedReport>([
    ...['init', '--name', 'test', '--device', 'alice', '--mount', alice.mountpoint],
  ])
  fs.writeFileSync(alice.path('.wormhole.toml'), '[local]\nkeep = "cached"\n')
  for (let index = 0; index < 30; index++) {
    fs.writeFileSync(alice.path(`big${index}`), randomBytes(2 * MIB))
  }
  const small = randomBytes(100_000)
  fs.writeFileSync(alice.path('small'), small)
  await alice.run(['sync', '--wait'])

  await bob.run(['join', created.invite as string, '--device', 'bob', '--mount', bob.mountpoint])
  await waitFor(() => fs.readdirSync(bob.mountpoint).length === 32, {
    timeoutMs: 20_000,
    what: 'all names are on bob',
  })
  assert.ok(fs.readFileSync(bob.path('small')).equals(small))
  const status = await bob.status()
  const stored = status.volumes[0]?.stored.bytes ?? Infinity
  assert.ok(stored < 2 * MIB, `${stored} bytes stored on bob after reading 100 kB`)
  const part = Buffer.alloc(4096)
  const descriptor = fs.openSync(bob.path('big7'), 'r')
  fs.readSync(descriptor, part, 0, 4096, MIB)
  fs.closeSync(descriptor)
  const expected = fs.readFileSync(alice.path('big7')).subarray(MIB, MIB + 4096)
  assert.ok(part.equals(expected))
  const after = (await bob.status()).volumes[0]?.stored.bytes ?? Infinity
  assert.ok(after - stored < 2 * MIB, `${after - stored} bytes fetched for 4 KiB`)
})
