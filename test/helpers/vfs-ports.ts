/** The ports of the file system in memory: a journal that can lose its tail, and file contents. */
import { createHash } from 'node:crypto'
import type {
  BuiltContent,
  ContentRef,
  ContentStore,
  ContentStream,
  Presence,
} from '../../src/chunks/interface.ts'
import { WormholeError } from '../../src/errors.ts'
import type { ChunkAddress } from '../../src/types.ts'
import type { JournalPort, JournalPortRecord } from '../../src/vfs/interface.ts'

/** A journal whose flushed and synced lengths are known. */
export class MemoryJournal implements JournalPort {
  records: JournalPortRecord[]
  nextNumber: number
  flushedTo = 0
  syncedTo = 0
  syncCount = 0
  trimmedTo = 0
  /** Thrown by flushes. */
  failure: WormholeError | undefined

  constructor(records: readonly JournalPortRecord[] = [], nextNumber = 1) {
    this.records = [...records]
    this.nextNumber = nextNumber
    this.flushedTo = this.syncedTo = nextNumber - 1
  }

  append(type: number, bytes: Uint8Array): number {
    this.records.push({ number: this.nextNumber, type, bytes: Buffer.from(bytes) })
    return this.nextNumber++
  }

  flush(): void {
    if (this.failure) throw this.failure
    this.flushedTo = this.nextNumber - 1
  }

  async sync(): Promise<void> {
    this.flush()
    this.syncedTo = this.flushedTo
    this.syncCount++
  }

  trim(number: number): void {
    this.trimmedTo = Math.max(this.trimmedTo, number)
    this.records = this.records.filter((record) => record.number >= number)
  }

  replay(): Iterable<JournalPortRecord> {
    return [...this.records]
  }

  close(): Promise<void> {
    return this.sync()
  }

  /**
   * The journal that a restart finds when everything above `upTo` was lost. Numbers that the index
   * covers are not given again.
   */
  after(upTo: number, coveredTo: number): MemoryJournal {
    const kept = this.records.filter((record) => record.number <= upTo)
    return new MemoryJournal(kept, Math.max(upTo, coveredTo) + 1)
  }
}

interface Stored {
  readonly ref: ContentRef
  readonly sizeBytes: number
}

/** Contents as whole buffers by digest. */
export class MemoryContents implements ContentStore {
  readonly stored = new Map<ChunkAddress, Buffer>()
  readonly synced = new Set<ChunkAddress>()
  buildCount = 0
  syncCount = 0
  /** Reads answer with a promise, as when a chunk has to be fetched. */
  isRemote = false
  /** Thrown by builds. */
  failure: WormholeError | undefined

  bytesOf(content: Stored): Buffer {
    if (content.ref.type === 'empty') return Buffer.alloc(0)
    const bytes = this.stored.get(content.ref.address)
    if (!bytes) throw new WormholeError('CHUNK_UNAVAILABLE', `no ${content.ref.address}`)
    return bytes
  }

  #store(bytes: Buffer): BuiltContent {
    if (this.failure) throw this.failure
    this.buildCount++
    if (bytes.length === 0) return { ref: { type: 'empty' }, sizeBytes: 0, newBytes: 0 }
    const address = createHash('sha256').update(bytes).digest('hex') as ChunkAddress
    this.stored.set(address, bytes)
    return { ref: { type: 'chunk', address }, sizeBytes: bytes.length, newBytes: bytes.length }
  }

  read(
    content: Stored,
    range: { readonly offset: number; readonly length: number },
  ): Buffer[] | Promise<Buffer[]> {
    const bytes = this.bytesOf(content).subarray(0, content.sizeBytes)
    const pieces = [bytes.subarray(range.offset, range.offset + range.length)]
    return this.isRemote ? Promise.resolve(pieces) : pieces
  }

  /** Whole buffers know no holes. */
  seek(content: Stored, offset: number, what: 'data' | 'hole'): number {
    return what === 'data' ? Math.min(offset, content.sizeBytes) : content.sizeBytes
  }

  presence({ ref }: { readonly ref: ContentRef }): Presence {
    if (ref.type === 'empty') return 'local'
    return this.isRemote || !this.stored.has(ref.address) ? 'remote' : 'local'
  }

  holeBytes(): number {
    return 0
  }

  async build(options: Parameters<ContentStore['build']>[0]): Promise<BuiltContent> {
    const bytes = Buffer.alloc(options.sizeBytes)
    if (options.base) this.bytesOf(options.base).copy(bytes)
    for (const { offset, length } of options.holes ?? []) bytes.fill(0, offset, offset + length)
    for (const extent of options.extents) bytes.set(extent.bytes, extent.offset)
    await Promise.resolve()
    return this.#store(bytes)
  }

  /** A power cut: of what was not synced only some is left. */
  loseUnsynced(isKept: () => boolean): void {
    for (const address of [...this.stored.keys()]) {
      if (!this.synced.has(address) && !isKept()) this.stored.delete(address)
    }
  }

  stream(): ContentStream {
    const pieces: Buffer[] = []
    return {
      write: (bytes) => {
        pieces.push(Buffer.from(bytes))
        return Promise.resolve()
      },
      finish: () => Promise.resolve(this.#store(Buffer.concat(pieces))),
      abort: () => undefined,
    }
  }

  sync(): Promise<void> {
    this.syncCount++
    for (const address of this.stored.keys()) this.synced.add(address)
    return Promise.resolve()
  }

  addresses(content: Stored): Promise<ChunkAddress[]> {
    return Promise.resolve(content.ref.type === 'empty' ? [] : [content.ref.address])
  }
}
