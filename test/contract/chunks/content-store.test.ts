/**
 * Proves that contents behave the same over memory, over packs in this thread, and through the
 * store thread. Runs the one contract suite on each.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { TestContext } from 'node:test'
import { LocalContents } from '../../../src/chunks/content.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { StoreClient, StoreThread } from '../../../src/chunks/thread.ts'
import { systemDisk } from '../../../src/disk.ts'
import { createChunkKeys, createChunkKeysData } from '../../helpers/chunks.ts'
import { contentStoreSuite } from './content-store.ts'

function createDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'wormhole-packs-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

contentStoreSuite('memory', async (_t, { fetcher }) => {
  const store = new MemoryStore()
  return {
    contents: new LocalContents({ store, keys: createChunkKeys(), fetcher }),
    put: (address, sealed) => store.put(address, sealed),
  }
})

contentStoreSuite('packs', async (t, { fetcher }) => {
  const directory = createDirectory(t)
  const store = PackWriter.open({ disk: systemDisk, directory, packSizeBytesMax: 3_000_000 })
  t.after(() => store.close())
  return {
    contents: new LocalContents({ store, keys: createChunkKeys(), fetcher, cacheBytesMax: 1e6 }),
    put: (address, sealed) => store.put(address, sealed),
  }
})

contentStoreSuite('thread', async (t, { fetcher }) => {
  const directory = createDirectory(t)
  const thread = await StoreThread.start({ directory, keys: createChunkKeysData() })
  t.after(() => thread.close())
  const client = await StoreClient.connect(thread.port())
  return {
    contents: client.contents({ keys: createChunkKeys(), fetcher, cacheBytesMax: 1e6 }),
    put: (address, sealed) => client.put(address, sealed),
  }
})
