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
import { WormholeError } from '../../../src/errors.ts'
import type { ChunkAddress } from '../../../src/types.ts'
import { createBytes, createChunkKeys, createRandom, createText } from '../../helpers/chunks.ts'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 3000)

/** A copy with some bytes changed, cut, repeated or inserted. */
function mutate(random: () => number, bytes: Buffer): Buffer {
  const below = (limit: number): number => Math.floor(random() * limit)
  let mutated = Buffer.from(bytes)
  for (let count = 1 + below(4); count > 0; count--) {
    const at = below(mutated.length + 1)
    const kind = random()
    if (kind < 0.6 && at < mutated.length) mutated[at] = below(256)
    else if (kind < 0.75) mutated = mutated.subarray(0, at)
    else {
      const middle =
        kind < 0.9 ? mutated.subarray(at, at + below(40)) : createBytes(random, below(9))
      mutated = Buffer.concat([mutated.subarray(0, at), middle, mutated.subarray(at)])
    }
  }
  return mutated
}

function onlyCodedErrors(seed: number, run: () => void): void {
  try {
    run()
  } catch (error) {
    assert(error instanceof WormholeError, `FUZZ_SEED=${seed}: ${String(error)}`)
  }
}

test(`manifest nodes, zstd frames and sealed chunks (seed ${SEED})`, () => {
  const random = createRandom(SEED)
  const codec = new ChunkCodec(createChunkKeys())
  const entries: ManifestEntry[] = []
  for (let index = 0; index < 20; index++) {
    const address = createBytes(random, 32).toString('hex') as ChunkAddress
    entries.push({ address: index % 5 ? address : undefined, sizeBytes: 1 + index * 1000 })
  }
  const node = encodeNode(0, entries)
  const text = createText(random, 5000)
  const frame = compress(text)
  const sealed = Buffer.from(codec.seal('data', text).sealed)
  for (let round = 0; round < ROUNDS; round++) {
    onlyCodedErrors(SEED, () => {
      const decoded = decodeNode(mutate(random, node))
      assert(decoded.sizeBytes <= Number.MAX_SAFE_INTEGER && decoded.entryCount > 0)
    })
    onlyCodedErrors(SEED, () => assert(decompress(mutate(random, frame), 6000).length <= 6000))
    onlyCodedErrors(SEED, () => assert(codec.open('data', mutate(random, sealed)).equals(text)))
  }
})

test(`pack directories (seed ${SEED})`, async () => {
  const random = createRandom(SEED)
  const disk = new MemoryDisk()
  const store = PackWriter.open({ disk, directory: '/packs', packSizeBytesMax: 1500 })
  const addresses: ChunkAddress[] = []
  const codec = new ChunkCodec(createChunkKeys())
  for (let count = 0; count < 20; count++) {
    const { address, sealed } = codec.seal('data', createBytes(random, 100))
    store.put(address, sealed)
    addresses.push(address)
  }
  await store.close()
  for (let round = 0; round < ROUNDS / 10; round++) {
    const damaged = new MemoryDisk()
    damaged.makeDirectorySync('/packs')
    for (const file of disk.files()) {
      const bytes = disk.readFileSync(file) as Buffer
      damaged.replaceFileSync(file, random() < 0.5 ? bytes : mutate(random, bytes))
    }
    onlyCodedErrors(SEED, () => {
      const opened = PackWriter.open({ disk: damaged, directory: '/packs' })
      for (const address of addresses) onlyCodedErrors(SEED, () => void opened.getSync(address))
    })
  }
})
