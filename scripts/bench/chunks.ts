/**
 * The chunk pipeline over real packs, in one thread and through the store thread. Rates are per CPU
 * second, because that is what the pipeline is made for; wall time stands beside them.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { LocalContents } from '../../src/chunks/content.ts'
import type { BuiltContent, ContentStore } from '../../src/chunks/interface.ts'
import { ChunkKeyRing, type ChunkKeysData } from '../../src/chunks/keys.ts'
import { PackWriter } from '../../src/chunks/packs.ts'
import { StoreClient, StoreThread } from '../../src/chunks/thread.ts'
import { systemDisk } from '../../src/disk.ts'
import { median, type Group, type Report } from '../measure.ts'

const MIB = 1024 * 1024
const DATA_BYTES = 64 * MIB
const PIECE_BYTES = 128 * 1024
const SMALL_BYTES = 4000
const SMALL_COUNT = 5000
const ROUNDS = 5

const KEYS: ChunkKeysData = {
  dedup: Buffer.alloc(32, 1),
  currentGeneration: 0,
  contents: new Map([[0, Buffer.alloc(32, 2)]]),
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Lines of text with some noise: compresses about fourfold. */
function createText(count: number): Buffer {
  const noise = randomBytes(count / 16)
  const text = Buffer.alloc(count, 'name = "wormhole", value = 1234;\n')
  for (let index = 0; index < noise.length; index++) text[index * 16] = noise[index] as number
  return text
}

async function streamAll(contents: ContentStore, data: Buffer): Promise<BuiltContent> {
  const stream = contents.stream()
  for (let at = 0; at < data.length; at += PIECE_BYTES) {
    await stream.write(data.subarray(at, at + PIECE_BYTES))
  }
  return stream.finish()
}

/** Megabytes per CPU second. */
async function rateOf(bytes: number, work: () => Promise<unknown>): Promise<number> {
  const start = cpuSeconds()
  await work()
  return bytes / 1e6 / (cpuSeconds() - start)
}

async function rounds(work: () => Promise<number>): Promise<number> {
  const values: number[] = []
  for (let round = 0; round < ROUNDS; round++) values.push(await work())
  return median(values)
}

/**
 * Runs `work` with a fresh store and removes it: the page cache then reuses warm memory. (Measured
 * here: memory that is new to a virtual machine makes any write ten times as dear, `dd` included.)
 */
async function withStore<T>(
  directory: string,
  work: (open: () => LocalContents) => Promise<T>,
): Promise<T> {
  const store = PackWriter.open({ disk: systemDisk, directory })
  const result = await work(() => new LocalContents({ store, keys: new ChunkKeyRing(KEYS) }))
  await store.close()
  fs.rmSync(directory, { recursive: true })
  return result
}

async function measureWrites(report: Report, directory: string): Promise<void> {
  const write = (data: Buffer): Promise<number> =>
    withStore(directory, (open) => {
      const contents = open()
      return rateOf(data.length, () => streamAll(contents, data))
    })
  const random = randomBytes(DATA_BYTES)
  await report.measure({ name: 'write_random', unit: 'MB/cpu-s', better: 'higher', bar: 400 }, () =>
    rounds(() => write(random)),
  )
  const text = createText(DATA_BYTES)
  await report.measure({ name: 'write_text', unit: 'MB/cpu-s', better: 'higher' }, () =>
    rounds(() => write(text)),
  )
  await report.measure({ name: 'build_4k', unit: 'µs cpu', better: 'lower' }, () =>
    rounds(() => withStore(directory, (open) => buildSmall(open(), random))),
  )
}

/** CPU microseconds per file of 4 kB. */
async function buildSmall(contents: ContentStore, data: Buffer): Promise<number> {
  const start = cpuSeconds()
  for (let index = 0; index < SMALL_COUNT; index++) {
    const at = index * SMALL_BYTES
    const extents = [{ offset: 0, bytes: data.subarray(at, at + SMALL_BYTES) }]
    const sizeBytes = SMALL_BYTES
    await contents.build({ base: undefined, sizeBytes, extents, mode: 'content-defined' })
  }
  return ((cpuSeconds() - start) / SMALL_COUNT) * 1e6
}

async function measureReads(report: Report, directory: string): Promise<void> {
  await withStore(directory, async (open) => {
    const content = await streamAll(open(), randomBytes(DATA_BYTES))
    await report.measure({ name: 'read_random', unit: 'MB/cpu-s', better: 'higher' }, () =>
      rounds(() => {
        const reader = open()
        return rateOf(content.sizeBytes, async () => {
          for (let offset = 0; offset < content.sizeBytes; offset += PIECE_BYTES) {
            await reader.read(content, { offset, length: PIECE_BYTES })
          }
        })
      }),
    )
  })
}

async function measureThread(report: Report, directory: string): Promise<void> {
  const data = randomBytes(DATA_BYTES)
  const write = async (): Promise<number> => {
    const thread = await StoreThread.start({ directory, keys: KEYS })
    const client = await StoreClient.connect(thread.port())
    const contents = client.contents({ keys: new ChunkKeyRing(KEYS) })
    await streamAll(contents, data.subarray(0, DATA_BYTES / 4))
    const rate = await rateOf((DATA_BYTES / 4) * 3, () =>
      streamAll(contents, data.subarray(DATA_BYTES / 4)),
    )
    client.close()
    await thread.close()
    fs.rmSync(directory, { recursive: true })
    return rate
  }
  await report.measure({ name: 'write_random_thread', unit: 'MB/cpu-s', better: 'higher' }, () =>
    rounds(write),
  )
}

async function run(report: Report): Promise<void> {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'wormhole-bench-'))
  try {
    const store = path.join(directory, 'store')
    await measureWrites(report, store)
    await measureReads(report, store)
    await measureThread(report, store)
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}

/** See the file header. */
export const group: Group = {
  name: 'chunks',
  about: 'splitting, sealing, packing and reading file contents',
  run,
}
