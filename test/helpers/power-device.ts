/**
 * A simulated device with real packs, whose machine can be put back into the state that a power cut
 * at any moment of its life could have left.
 */
import { LocalContents } from '../../src/chunks/content.ts'
import type { ChunkFetcher, ContentStore } from '../../src/chunks/interface.ts'
import { PackWriter } from '../../src/chunks/packs.ts'
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import type { RowWriter } from '../../src/crdt/rows.ts'
import { MemoryDisk, type PowerCut } from '../../src/disk-memory.ts'
import { hasCode, WormholeError } from '../../src/errors.ts'
import type { Disk } from '../../src/system.ts'
import type { Volume } from '../../src/volume.ts'
import { createChunkKeys } from './chunks.ts'
import { SimDevice, type SimDeviceOptions } from './sim-device.ts'

type Rows = readonly { readonly key: string; readonly value: Buffer }[]

/** An index that remembers its commits, and how many disk operations came before each. */
class RecordedRows extends MemoryRowStore {
  readonly commits: { readonly operationCount: number; readonly rows: Rows }[] = []
  readonly #disk: MemoryDisk

  constructor(disk: MemoryDisk) {
    super()
    this.#disk = disk
  }

  override transaction<T>(run: (rows: RowWriter) => T): T {
    const result = super.transaction(run)
    this.commits.push({ operationCount: this.#disk.operationCount, rows: this.range('') })
    return result
  }
}

function rowsOf(rows: Rows): MemoryRowStore {
  const store = new MemoryRowStore()
  store.transaction((writer) => {
    for (const { key, value } of rows) writer.put(key, value)
  })
  return store
}

/** Small enough that a short run fills several. */
const SEGMENT_BYTES_MAX = 12_000
const PACK_BYTES_MAX = 24_000

/** See the head of this file. */
export class PowerDevice extends SimDevice {
  #packs!: PackWriter
  readonly #others: PowerDevice[]
  readonly #recorded: RecordedRows
  #rows: MemoryRowStore
  /** An index that knows more than the log: what it shows is said anew. */
  #ahead: MemoryRowStore | undefined

  constructor(options: Omit<SimDeviceOptions, 'peers'> & { readonly peers: PowerDevice[] }) {
    super({ ...options, segmentBytesMax: SEGMENT_BYTES_MAX })
    this.#others = options.peers
    const disk = new MemoryDisk({ isRecording: true })
    this.#recorded = new RecordedRows(disk)
    this.#rows = this.#recorded
    this.install(disk, this.#recorded)
  }

  /** As the daemon opens a volume. */
  override async start(): Promise<void> {
    try {
      await super.start()
    } catch (error) {
      if (!hasCode(error, 'LOG_LOST')) throw error
      this.#ahead = this.#rows
      this.install(this.disk, new MemoryRowStore())
      await super.start()
    }
  }

  protected override async opened(volume: Volume): Promise<void> {
    if (this.#ahead) await volume.restore(this.#ahead)
    this.#ahead = undefined
  }

  override install(disk: MemoryDisk, rows: MemoryRowStore): void {
    this.#rows = rows
    super.install(disk, rows)
  }

  protected override openContents(disk: Disk): ContentStore {
    const store = PackWriter.open({ disk, directory: '/packs', packSizeBytesMax: PACK_BYTES_MAX })
    this.#packs = store
    const fetch: ChunkFetcher['fetch'] = async (addresses) => {
      for (const address of addresses) {
        const sealed = this.#others.map((peer) => peer.sealed(address)).find(Boolean)
        if (!sealed) throw new WormholeError('CHUNK_UNAVAILABLE', `nobody has ${address}`)
        store.put(address, sealed)
      }
    }
    return new LocalContents({ store, keys: createChunkKeys(), fetcher: { fetch } })
  }

  /** A chunk of this device, if it has it. */
  sealed(address: Parameters<PackWriter['getSync']>[0]): Buffer | undefined {
    return this.#packs.has(address) ? this.#packs.getSync(address) : undefined
  }

  /** Disk operations so far. */
  get operationCount(): number {
    return this.disk.operationCount
  }

  /** Disk operations before an index commit, counted from 1. */
  operationsBefore(commitCount: number): number {
    return this.#recorded.commits[commitCount - 1]?.operationCount ?? 0
  }

  /** Commits of the index before a disk operation. */
  commitsBefore(operationCount: number): number {
    const { commits } = this.#recorded
    const later = commits.findIndex((commit) => commit.operationCount > operationCount)
    return later < 0 ? commits.length : later
  }

  /**
   * The machine after so many disk operations and index commits and then a power cut, with the
   * daemon not yet started.
   */
  after(
    moment: {
      readonly operationCount: number
      readonly commitCount: number
      readonly cut: PowerCut
    },
    options: Omit<SimDeviceOptions, 'peers'> & { readonly peers: PowerDevice[] },
  ): PowerDevice {
    const { operationCount, commitCount, cut } = moment
    const device = new PowerDevice(options)
    const rows = this.#recorded.commits[commitCount - 1]?.rows ?? []
    device.install(this.disk.imageAt(operationCount, cut), rowsOf(rows))
    return device
  }
}
