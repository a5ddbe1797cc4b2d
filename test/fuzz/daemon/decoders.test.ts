/**
 * Proves that damaged files of a home and hostile frames on the control socket end in a coded error
 * or in a value: keys never turn into other keys. Right files are damaged under a printed seed.
 */
import assert from 'node:assert/strict'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { HomeFilesStore, type VolumeSettings } from '../../../src/daemon/home-files.ts'
import { dataHeader, encodeMessage, FrameReader } from '../../../src/daemon/frames.ts'
import type { DeviceId, VolumeId } from '../../../src/types.ts'
import { FUZZ_SEED, fuzzDecoder } from '../../helpers/hostile-bytes.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const random = new SeededRandom(FUZZ_SEED)
const disk = new MemoryDisk()
disk.makeDirectorySync('/home/volumes')
const store = new HomeFilesStore({ home: '/home', disk, random })
const { identity } = store.identity()
store.setDeviceName('laptop')
const secrets = Buffer.from(random.bytes(100))
const settings: VolumeSettings = {
  id: 'ab'.repeat(32) as VolumeId,
  name: 'photos',
  mountpoint: '/mnt/photos',
  generation: 0,
  addresses: [{ device: 'cd'.repeat(32) as DeviceId, addresses: ['192.0.2.1:4900'] }],
}
const directory = await store.createVolume(settings, secrets, async () => {})

/** A test that damages one file of the home, reads it, and puts it back. */
function fuzzFile(file: string, read: () => unknown): void {
  const whole = disk.readFileSync(file) as Buffer
  fuzzDecoder(file, random, whole, (bytes) => {
    disk.replaceFileSync(file, bytes)
    try {
      read()
    } finally {
      disk.replaceFileSync(file, whole)
    }
  })
}

fuzzFile('/home/identity', () => {
  assert.equal(store.identity().identity.device, identity.device)
})
fuzzFile('/home/device.json', () => {
  assert.ok(['string', 'undefined'].includes(typeof store.deviceName()))
})
fuzzFile(`${directory}/secrets`, () => assert.ok(store.secrets(directory).equals(secrets)))
fuzzFile(`${directory}/volume.json`, () => {
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
