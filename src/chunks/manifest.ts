/**
 * Manifests: the list of a file's chunks as a tree of nodes, each of which is a sealed chunk
 * itself. Format and rules: README.md, "Manifest".
 *
 * Where a node ends depends on the addresses in it (a probabilistic B-tree, as in Noms' "prolly
 * trees"), so that equal lists give equal trees and a change rewrites the path above it only.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { ChunkAddress } from '../types.ts'
import { CHUNK_SIZE_BYTES_MAX } from './gear.ts'
import type { ContentRef } from './interface.ts'

/** A stretch of a file: a chunk (or, above the leaves, a node), or a hole that reads as zeros. */
export interface ManifestEntry {
  /** Undefined for a hole. */
  readonly address: ChunkAddress | undefined
  readonly sizeBytes: number
}

/** Longest encoded node that a reader takes. */
export const NODE_BYTES_MAX = 64 * 1024
/** Deepest tree that a reader takes; 64^8 chunks are more than any file has. */
export const NODE_LEVEL_MAX = 7

const FORMAT_VERSION = 1
const TAG_CHUNK = 0
const TAG_HOLE = 1
/** A node ends after an entry whose address ends in a zero byte, but not before and not after: */
const NODE_ENTRIES_MIN = 64
const NODE_ENTRIES_MAX = 1024

/** A decoded node. */
export class ManifestNode {
  /** 0 lists chunks and holes, n lists nodes of level n − 1. */
  readonly level: number
  /** End of each entry, from the start of the node. */
  readonly #ends: readonly number[]
  readonly #addresses: readonly (ChunkAddress | undefined)[]

  constructor(level: number, entries: readonly ManifestEntry[]) {
    let end = 0
    this.level = level
    this.#ends = entries.map((entry) => (end += entry.sizeBytes))
    this.#addresses = entries.map((entry) => entry.address)
  }

  get entryCount(): number {
    return this.#ends.length
  }

  get sizeBytes(): number {
    return this.#ends.at(-1) ?? 0
  }

  start(index: number): number {
    return index === 0 ? 0 : (this.#ends[index - 1] as number)
  }

  end(index: number): number {
    return this.#ends[index] as number
  }

  address(index: number): ChunkAddress | undefined {
    return this.#addresses[index]
  }

  /** The entry that holds the byte at `offset`; `entryCount` when it lies behind all. */
  indexAt(offset: number): number {
    let low = 0
    let high = this.#ends.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ends[middle] as number) > offset) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** The plaintext of a node. */
export function encodeNode(level: number, entries: readonly ManifestEntry[]): Buffer {
  const writer = new ByteWriter(entries.length * 37 + 8)
  writer.u8(FORMAT_VERSION).u8(level).varint(entries.length)
  for (const { address, sizeBytes } of entries) {
    writer.u8(address === undefined ? TAG_HOLE : TAG_CHUNK).varint(sizeBytes)
    if (address !== undefined) writer.hex(address)
  }
  return writer.finish()
}

/** Decodes what `encodeNode` made. @throws {WormholeError} `CHUNK_CORRUPT` for anything else. */
export function decodeNode(bytes: Uint8Array): ManifestNode {
  const reader = new ByteReader(bytes, 'CHUNK_CORRUPT')
  if (bytes.length > NODE_BYTES_MAX) reader.fail(`manifest node of ${bytes.length} bytes`)
  const version = reader.u8()
  if (version !== FORMAT_VERSION) reader.fail(`manifest version ${version}`)
  const level = reader.u8()
  if (level > NODE_LEVEL_MAX) reader.fail(`manifest of ${level} levels`)
  const count = reader.varint()
  if (count === 0 || count > bytes.length) reader.fail(`manifest node of ${count} entries`)
  const entries: ManifestEntry[] = []
  let total = 0
  for (let index = 0; index < count; index++) {
    const tag = reader.u8()
    if (tag !== TAG_CHUNK && !(tag === TAG_HOLE && level === 0)) reader.fail(`entry tag ${tag}`)
    const sizeBytes = reader.varint()
    const isChunk = tag === TAG_CHUNK && level === 0
    if (sizeBytes === 0 || (isChunk && sizeBytes > CHUNK_SIZE_BYTES_MAX)) {
      reader.fail(`entry of ${sizeBytes} bytes`)
    }
    total += sizeBytes
    if (total > Number.MAX_SAFE_INTEGER) reader.fail('sizes over 2^53')
    const address = tag === TAG_CHUNK ? (reader.hex(32) as ChunkAddress) : undefined
    entries.push({ address, sizeBytes })
  }
  reader.end()
  return new ManifestNode(level, entries)
}

/** Writes a manifest front to back; holds at most one open node per level. */
export class ManifestBuilder {
  readonly #levels: ManifestEntry[][] = [[]]
  readonly #putNode: (plain: Buffer) => ChunkAddress
  #sizeBytes = 0

  /** @param putNode - seals and stores a node. */
  constructor(putNode: (plain: Buffer) => ChunkAddress) {
    this.#putNode = putNode
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Appends a chunk. */
  pushChunk(address: ChunkAddress, sizeBytes: number): void {
    this.#sizeBytes += sizeBytes
    this.#push(0, { address, sizeBytes })
  }

  /** Appends a hole, or makes the one at the end longer. */
  pushHole(sizeBytes: number): void {
    this.#sizeBytes += sizeBytes
    const leaf = this.#levels[0] as ManifestEntry[]
    const last = leaf.at(-1)
    if (last && last.address === undefined) {
      leaf[leaf.length - 1] = { address: undefined, sizeBytes: last.sizeBytes + sizeBytes }
    } else {
      this.#push(0, { address: undefined, sizeBytes })
    }
  }

  /** Whether a whole node of `level` may be appended: no node up to that level is open. */
  isAligned(level: number): boolean {
    return this.#levels.slice(0, level + 1).every((entries) => entries.length === 0)
  }

  /** Appends a whole node that ended because of its content. Only when `isAligned(level)`. */
  pushNode(level: number, address: ChunkAddress, sizeBytes: number): void {
    this.#sizeBytes += sizeBytes
    this.#push(level + 1, { address, sizeBytes })
  }

  #push(level: number, entry: ManifestEntry): void {
    while (this.#levels.length <= level) this.#levels.push([])
    const entries = this.#levels[level] as ManifestEntry[]
    entries.push(entry)
    const isEnd = entries.length >= NODE_ENTRIES_MIN && entry.address?.endsWith('00') === true
    if (isEnd || entries.length === NODE_ENTRIES_MAX) this.#flush(level)
  }

  #flush(level: number): void {
    const entries = this.#levels[level] as ManifestEntry[]
    this.#levels[level] = []
    let sizeBytes = 0
    for (const entry of entries) sizeBytes += entry.sizeBytes
    this.#push(level + 1, { address: this.#putNode(encodeNode(level, entries)), sizeBytes })
  }

  /** Ends the manifest. A single chunk needs none, no bytes need no chunk. */
  finish(): ContentRef {
    const leaf = this.#levels[0] as ManifestEntry[]
    if (this.#levels.length === 1) {
      if (leaf.length === 0) return { type: 'empty' }
      const only = leaf[0] as ManifestEntry
      if (leaf.length === 1 && only.address) return { type: 'chunk', address: only.address }
    }
    for (let level = 0; ; level++) {
      const entries = this.#levels[level] as ManifestEntry[]
      const isHighest = level === this.#levels.length - 1
      const only = entries[0]
      if (isHighest && level > 0 && entries.length === 1 && only?.address) {
        return { type: 'manifest', address: only.address }
      }
      if (entries.length > 0) this.#flush(level)
    }
  }
}
