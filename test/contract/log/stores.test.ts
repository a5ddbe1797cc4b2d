/**
 * Proves that feeds and journal keep their contracts on the real disk and on the one in memory.
 * Runs the suites of this folder on both, with segments of the usual size and with tiny ones.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { systemDisk } from '../../../src/disk.ts'
import { DiskFeedStore } from '../../../src/log/feeds.ts'
import { DiskJournal } from '../../../src/log/journal.ts'
import type { Disk } from '../../../src/system.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { feedStoreSuite } from './feed-store.ts'
import { journalSuite } from './journal.ts'

interface Place {
  readonly disk: Disk
  readonly directory: string
  remove(): void
}

const PLACES: Record<string, () => Place> = {
  'real disk': () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'wormhole-log-'))
    return {
      disk: systemDisk,
      directory: `${directory}/store`,
      remove: () => rmSync(directory, { recursive: true }),
    }
  },
  memory: () => ({ disk: new MemoryDisk(), directory: '/store', remove() {} }),
}
const random = new SeededRandom(1)
const key = Buffer.alloc(32, 9)

for (const [where, create] of Object.entries(PLACES)) {
  for (const small of [undefined, 3000]) {
    const segment = small === undefined ? {} : { segmentBytesMax: small }
    const name = small === undefined ? where : `${where}, tiny segments`
    feedStoreSuite(name, () => {
      const place = create()
      const open = (volume: Parameters<typeof DiskFeedStore.open>[0]['volume']): DiskFeedStore =>
        DiskFeedStore.open({ ...place, ...segment, random, volume })
      return { open, remove: place.remove }
    })
    journalSuite(name, () => {
      const place = create()
      const open = (numberMin = 1): DiskJournal =>
        DiskJournal.open({ ...place, ...segment, random, key, numberMin })
      return { open, remove: place.remove }
    })
  }
}
