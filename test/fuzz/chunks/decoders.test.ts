/**
 * Proves that hostile bytes given to every decoder of chunks end in a coded error or a value
 * within its bounds, never in anything else. Valid encodings are mutated at random under a printed
 * seed.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { ChunkCodec } from '../../../src/chunks/codec.ts'
import { decodeNode, encodeNode, type ManifestEntry } from '../../../src/chunks/manifest.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { compress, decompress } from '../../../src/chunks/zstd.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createChunkKeys, createRandom, createText } from '../../helpers/chunks.ts'
import {
  FUZZ_RUNS,
  FUZZ_SEED,
  fuzzDecoder,
  hostileBytes,
  onlyCodedErrors,
} from '../../helpers/hostile-bytes.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const bytes = createRandom(FUZZ_SEED)
const random = new SeededRandom(FUZZ_SEED)
const codec = new ChunkCodec(createChunkKeys())

const entries = Array.from({ length: 20 }, (_, index): ManifestEntry => {
  const address = createBytes(bytes, 32).toString('hex') as ChunkAddress
  return { address: index % 5 ? address : undefined, sizeBytes: 1 + index * 1000 }
})
fuzzDecoder('a manifest node', random, encodeNode(0, entries), (node) => {
  const decoded = decodeNode(node)
  assert.ok(decoded.sizeBytes <= Number.MAX_SAFE_INTEGER && decoded.entryCount > 0)
})

const text = createText(bytes, 5000)
fuzzDecoder('a zstd frame', random, compress(text), (frame) => {
  assert.ok(decompress(frame, 6000).length <= 6000)
})
fuzzDecoder('a sealed chunk', random, codec.seal('data', text).sealed, (sealed) => {
  assert.ok(codec.open('data', sealed).equals(text))
})

test(`pack directories (FUZZ_SEED=${FUZZ_SEED})`, async () => {
  const disk = new MemoryDisk()
  const store = PackWriter.open({ disk, directory: '/packs', packSizeBytesMax: 1500 })
  const addresses: ChunkAddress[] = []
  for (let count = 0; count < 20; count++) {
    const { address, sealed } = codec.seal('data', createBytes(bytes, 100))
    store.put(address, sealed)
    addresses.push(address)
  }
  await store.close()
  for (let run = 0; run < FUZZ_RUNS / 5; run++) {
    const what = `FUZZ_SEED=${FUZZ_SEED}, run ${run}`
    const damaged = new MemoryDisk()
    damaged.makeDirectorySync('/packs')
    for (const file of disk.files()) {
      const whole = disk.readFileSync(file) as Buffer
      damaged.replaceFileSync(file, random.below(2) ? whole : hostileBytes(random, whole))
    }
    onlyCodedErrors(what, Buffer.alloc(0), () => {
      const opened = PackWriter.open({ disk: damaged, directory: '/packs' })
      for (const address of addresses) {
        onlyCodedErrors(what, Buffer.alloc(0), () => void opened.getSync(address))
      }
    })
  }
})
