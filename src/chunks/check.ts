/**
 * Checks packs and their index log where they lie, beside the thread that writes them: reads only,
 * about a MiB per step. What was put and not yet synced is in no index log, and no finding.
 */
import { hasCode } from '../errors.ts'
import type { CheckStep, Finding } from '../finding.ts'
import type { Disk, DiskFile } from '../system.ts'
import type { ChunkAddress } from '../types.ts'
import { blake3Hex } from './blake3.ts'
import { INDEX_ENTRY_BYTES, IndexLog } from './index-log.ts'
import { listPacks, packName, RECORD_HEADER_BYTES } from './pack-files.ts'

const STEP_BYTES = 1024 * 1024

/** Where the index log says a chunk lies. */
export interface Listed {
  readonly pack: number
  readonly offset: number
  readonly length: number
}

/** What the index log of a pack directory says, read without changing it. */
export class PackIndex {
  readonly #chunks = new Map<ChunkAddress, Listed>()
  readonly #path: string
  /** Entries behind a bad one, or no log at all: the log is to be written anew. */
  readonly fault: Finding | undefined

  constructor(disk: Disk, directory: string) {
    this.#path = `${directory}/index`
    this.fault = this.#read(disk)
  }

  #read(disk: Disk): Finding | undefined {
    let file: DiskFile
    try {
      file = disk.openSync(this.#path, { readOnly: true })
    } catch (error) {
      if (!hasCode(error, 'IO_ERROR')) throw error
      return this.#finding(error.message)
    }
    try {
      const faultAt = IndexLog.scan(file, (words, from, location) => {
        const bytes = new Uint8Array(words.buffer, words.byteOffset + from * 4, 32)
        const address = Buffer.from(bytes).toString('hex') as ChunkAddress
        if (location.length === 0) this.#chunks.delete(address)
        else this.#chunks.set(address, { ...location, offset: location.offset >>> 0 })
      })
      // Less than an entry is what the writer is just adding.
      const tailBytes = file.sizeSync() - (faultAt ?? 0)
      const isWhole = faultAt === undefined || (faultAt > 0 && tailBytes < INDEX_ENTRY_BYTES)
      return isWhole ? undefined : this.#finding('a bad entry', faultAt)
    } finally {
      file.close()
    }
  }

  #finding(message: string, offset = 0): Finding {
    const path = this.#path
    return {
      part: 'packs',
      code: 'INDEX_CORRUPT',
      message: `chunk index: ${message}`,
      path,
      offset,
    }
  }

  has(address: ChunkAddress): boolean {
    return this.#chunks.has(address)
  }

  find(address: ChunkAddress): Listed | undefined {
    return this.#chunks.get(address)
  }

  /** Chunks by pack, in the order in which they lie. */
  byPack(): Map<number, [ChunkAddress, Listed][]> {
    const packs = new Map<number, [ChunkAddress, Listed][]>()
    for (const [address, listed] of this.#chunks) {
      const pack = packs.get(listed.pack) ?? []
      packs.set(listed.pack, pack)
      pack.push([address, listed])
    }
    for (const pack of packs.values()) pack.sort(([, a], [, b]) => a.offset - b.offset)
    return packs
  }
}

/** Bytes of all packs. */
export function packBytes(disk: Disk, directory: string): number {
  let bytes = 0
  for (const pack of listPacks(disk, directory)) {
    const file = disk.openSync(`${directory}/${packName(pack)}`, { readOnly: true })
    bytes += file.sizeSync()
    file.close()
  }
  return bytes
}

/** Checks the digest of every chunk that the index log lists. @throws `IO_ERROR`. */
export function* checkPacks(options: {
  readonly disk: Disk
  readonly directory: string
  readonly index: PackIndex
}): Generator<CheckStep> {
  const { disk, directory, index } = options
  const fault = index.fault === undefined ? [] : [index.fault]
  if (fault.length > 0) yield { bytes: 0, findings: fault }
  for (const [pack, chunks] of index.byPack()) {
    yield* checkPack({ disk, path: `${directory}/${packName(pack)}`, chunks })
  }
}

function* checkPack(options: {
  readonly disk: Disk
  readonly path: string
  readonly chunks: readonly [ChunkAddress, Listed][]
}): Generator<CheckStep> {
  const { disk, path, chunks } = options
  let file: DiskFile | undefined
  let findings: Finding[] = []
  let bytes = 0
  try {
    try {
      file = disk.openSync(path, { readOnly: true })
    } catch (error) {
      if (!hasCode(error, 'IO_ERROR')) throw error
    }
    for (const [address, { offset, length }] of chunks) {
      const fault = file ? faultOf(file, { address, offset, length }) : 'its pack is missing'
      if (fault !== undefined) {
        const message = `a chunk that is damaged: ${fault}`
        findings.push({ part: 'packs', code: 'CHUNK_CORRUPT', message, path, offset, address })
      }
      bytes += RECORD_HEADER_BYTES + length
      if (bytes < STEP_BYTES) continue
      yield { bytes, findings }
      bytes = 0
      findings = []
    }
    yield { bytes, findings }
  } finally {
    file?.close()
  }
}

function faultOf(
  file: DiskFile,
  { address, offset, length }: { address: ChunkAddress; offset: number; length: number },
): string | undefined {
  const sealed = Buffer.allocUnsafe(length)
  try {
    const count = file.readSync(offset, sealed)
    if (count < length) return 'the pack ends before it'
  } catch (error) {
    if (!hasCode(error, 'IO_ERROR')) throw error
    return error.message
  }
  return blake3Hex(sealed) === address ? undefined : 'its digest is wrong'
}
