/**
 * Proves that damaged files of a home and hostile frames on the control socket end in a coded error
 * or in a value: keys never turn into other keys. Right files are damaged under a printed seed.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { systemDisk } from '../../../src/disk.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { HomeFilesStore, type VolumeSettings } from '../../../src/daemon/home-files.ts'
import { dataHeader, encodeMessage, FrameReader } from '../../../src/daemon/frames.ts'
import { hash } from '../../../src/seal.ts'
import type { DeviceId, VolumeId } from '../../../src/types.ts'
import { FUZZ_SEED, fuzzDecoder } from '../../helpers/hostile-bytes.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const random = new SeededRandom(FUZZ_SEED)
const home = fs.mkdtempSync(path.join(os.tmpdir(), 'wormhole-home-'))
after(() => fs.rmSync(home, { recursive: true, force: true }))
const real = new HomeFilesStore({ home, disk: systemDisk, random })
const { identity } = real.identity()
real.setDeviceName('laptop')
const secrets = Buffer.from(random.bytes(100))
const settings: VolumeSettings = {
  id: 'ab'.repeat(32) as VolumeId,
  name: 'photos',
  mountpoint: '/mnt/photos',
  generation: 0,
  addresses: [{ device: 'cd'.repeat(32) as DeviceId, addresses: ['192.0.2.1:4900'] }],
}
const directory = await real.createVolume(settings, secrets, async () => {})

const disk = new MemoryDisk()
disk.makeDirectorySync(directory)
const store = new HomeFilesStore({ home, disk, random })

/** A test that damages one file of the home, reads it, and puts it back. */
function fuzzFile(name: string, read: () => unknown): void {
  const file = path.join(name === 'identity' || name === 'device.json' ? home : directory, name)
  const whole = fs.readFileSync(file)
  disk.replaceFileSync(file, whole)
  fuzzDecoder(name, random, whole, (bytes) => {
    disk.replaceFileSync(file, bytes)
    try {
      read()
    } finally {
      disk.replaceFileSync(file, whole)
    }
  })
}

fuzzFile('identity', () => {
  assert.equal(store.identity().identity.device, identity.device)
})
fuzzFile('device.json', () => {
  assert.ok(['string', 'undefined'].includes(typeof store.deviceName()))
})
fuzzFile('secrets', () => assert.ok(store.secrets(directory).equals(secrets)))
fuzzFile('volume.json', () => {
  const { id, addresses } = store.settings(directory)
  assert.equal(id.length, 64)
  for (const known of addresses) assert.ok(known.addresses.length >= 0)
})

const frames = Buffer.concat([
  encodeMessage({ id: 1, method: 'status', params: { path: '/', list: [1, 2, 3] } }),
  dataHeader(1, 5),
  Buffer.from('bytes'),
  encodeMessage({ id: 1, cancel: true }),
])
fuzzDecoder('frames of the control socket', random, frames, (bytes) => {
  const reader = new FrameReader()
  const cut = random.below(bytes.length + 1)
  reader.push(bytes.subarray(0, cut))
  reader.push(bytes.subarray(cut))
})

test('files of a newer version are refused, and stay as they are', () => {
  const settingsFile = path.join(directory, 'volume.json')
  const newer = JSON.stringify({ ...JSON.parse(fs.readFileSync(settingsFile, 'utf8')), version: 2 })
  disk.replaceFileSync(settingsFile, Buffer.from(newer))
  assert.throws(() => store.settings(directory), { code: 'FORMAT_UNSUPPORTED' })
  const body = Buffer.concat([Buffer.from([2]), random.bytes(40)])
  const identityFile = path.join(home, 'identity')
  const bytes = Buffer.concat([body, hash(body).subarray(0, 8)])
  disk.replaceFileSync(identityFile, bytes)
  assert.throws(() => store.identity(), { code: 'FORMAT_UNSUPPORTED' })
  assert.deepEqual(disk.readFileSync(identityFile), bytes)
})

test('an identity is not made anew while there are volumes', () => {
  const orphaned = new MemoryDisk()
  orphaned.makeDirectorySync(path.join(home, 'volumes/0123456789abcdef'))
  const files = new HomeFilesStore({ home, disk: orphaned, random })
  assert.throws(() => files.identity(), { code: 'KEY_MISSING' })
})
