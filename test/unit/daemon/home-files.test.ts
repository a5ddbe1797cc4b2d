/**
 * Proves that pins and absences in `volume.json` are kept, checked when they are read, and left
 * alone by who does not know a field. On a disk in memory.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { HomeFilesStore, type VolumeSettings } from '../../../src/daemon/home-files.ts'
import type { FeedId, InodeId, VolumeId } from '../../../src/types.ts'
import { withCode } from '../../helpers/swarm-world.ts'
import { seededRandom } from '../../helpers/volume-device.ts'

const DIRECTORY = '/home/volumes/v'
const FILE = `${DIRECTORY}/volume.json`
const SETTINGS: VolumeSettings = {
  id: 'a'.repeat(64) as VolumeId,
  name: 'test',
  generation: 0,
  addresses: [],
  pins: [{ inode: 'AAEAAAAAAAAAAAAA' as InodeId, path: '/' }],
  absence: {
    connectedMs: 1,
    now: { had: [['f' as FeedId, 3]], fromMs: 5 },
    last: { had: [], fromMs: 2, toMs: 4 },
  },
}

test('pins and absences are kept, with what a newer program added', () => {
  const disk = new MemoryDisk()
  disk.makeDirectorySync(DIRECTORY)
  const files = new HomeFilesStore({ home: '/home', disk, random: seededRandom('home') })
  files.saveSettings(DIRECTORY, SETTINGS)
  assert.deepEqual(files.settings(DIRECTORY), { version: 1, ...SETTINGS })
  disk.replaceFileSync(FILE, Buffer.from(JSON.stringify({ version: 1, ...SETTINGS, later: 7 })))
  files.saveSettings(DIRECTORY, { ...files.settings(DIRECTORY), pins: [] })
  assert.deepEqual(files.settings(DIRECTORY), { version: 1, ...SETTINGS, pins: [], later: 7 })
})

test('what is no pin and no absence is damage', () => {
  const disk = new MemoryDisk()
  disk.makeDirectorySync(DIRECTORY)
  const files = new HomeFilesStore({ home: '/home', disk, random: seededRandom('home') })
  const wrong = [
    { pins: {} },
    { pins: [{ inode: 'short', path: '/' }] },
    { pins: [{ inode: 'AAEAAAAAAAAAAAAA' }] },
    { pins: [null] },
    { absence: { connectedMs: 'today' } },
    { absence: null },
  ]
  for (const change of wrong) {
    const settings = { version: 1, ...SETTINGS, ...change }
    disk.replaceFileSync(FILE, Buffer.from(JSON.stringify(settings)))
    assert.throws(() => files.settings(DIRECTORY), withCode('IO_ERROR'), JSON.stringify(change))
  }
})
