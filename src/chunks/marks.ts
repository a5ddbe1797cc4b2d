/**
 * Which chunks of a store are referenced: two bits for each slot of the address table. Marking
 * walks from contents down their manifests and fetches nothing: what is not here needs no mark.
 *
 * G1: a node that is not here now may come, and show that chunks below it were here all the time.
 * Those nodes are remembered, and looked at again (`again`) before anything is freed. A node that
 * was here and is damaged hides what it names: it is counted, and nothing may be freed.
 */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'
import type { AddressTableWriter } from './address-table.ts'
import { CHUNK_USES, type ChunkUse, type Roots, type Tally } from './collection-interface.ts'
import type { ManifestNode } from './manifest.ts'
import type { Pace } from './pace.ts'

/** A set of small numbers. */
class BitSet {
  #bits = new Uint8Array(1024)

  has(index: number): boolean {
    return ((this.#bits[index >>> 3] ?? 0) & (1 << (index & 7))) !== 0
  }

  add(index: number): void {
    const at = index >>> 3
    if (at >= this.#bits.length) {
      const grown = new Uint8Array(Math.max(at + 1, this.#bits.length * 2))
      grown.set(this.#bits)
      this.#bits = grown
    }
    this.#bits[at] = (this.#bits[at] as number) | (1 << (index & 7))
  }
}

/** Addresses, 32 bytes each. */
class AddressList {
  #bytes = Buffer.alloc(32 * 64)
  #count = 0

  push(address: ChunkAddress): void {
    if (this.#count * 32 === this.#bytes.length) {
      this.#bytes = Buffer.concat([this.#bytes], this.#bytes.length * 2)
    }
    this.#bytes.write(address, this.#count++ * 32, 'hex')
  }

  /** Takes all of them out. */
  *drain(): Generator<ChunkAddress> {
    const bytes = this.#bytes
    const count = this.#count
    this.#bytes = Buffer.alloc(32 * 64)
    this.#count = 0
    for (let index = 0; index < count; index++) {
      yield bytes.toString('hex', index * 32, index * 32 + 32) as ChunkAddress
    }
  }
}

/** What marking needs. */
export interface MarkPorts {
  readonly table: AddressTableWriter
  readonly pace: Pace
  /** An opened node that is here. @throws {WormholeError} when it cannot be opened. */
  node(address: ChunkAddress): ManifestNode | undefined
  /** Whether the chunk was here, was damaged, and has not come back. */
  isLost(address: ChunkAddress): boolean
  /** A referenced chunk is not in the table: may bring it back. */
  onAbsent(address: ChunkAddress): void
}

/** See the head of this file. */
export class Marks {
  readonly used: Record<ChunkUse, Tally>
  /** See `CollectionPlan.unknownNodes`. */
  unknownNodes = 0
  readonly #ports: MarkPorts
  readonly #marked = new BitSet()
  readonly #pinned = new BitSet()
  readonly #missing = new AddressList()

  constructor(ports: MarkPorts) {
    this.#ports = ports
    const tallies = CHUNK_USES.map((use) => [use, { chunks: 0, bytes: 0 }] as const)
    this.used = Object.fromEntries(tallies) as Record<ChunkUse, Tally>
  }

  /**
   * The chunk of a slot is kept, whatever it holds. It is not marked: what it names may not be
   * pinned, and is found when somebody references it.
   */
  pin(slot: number): void {
    this.#pinned.add(slot)
  }

  isPinned(slot: number): boolean {
    return this.#pinned.has(slot)
  }

  isMarked(slot: number): boolean {
    return this.#marked.has(slot)
  }

  async mark(roots: readonly Roots[]): Promise<void> {
    for (const { use, chunks, manifests } of roots) {
      for (const address of chunks) {
        this.#mark(address, use)
        if (this.#ports.pace.isOver) await this.#ports.pace.rest()
      }
      for (const address of manifests) await this.#markTree(address, use)
    }
  }

  /** Looks again at the nodes that were not here. */
  async again(): Promise<void> {
    for (const address of this.#missing.drain()) await this.#markTree(address, 'local')
  }

  /** Returns false when there is nothing to do below it. */
  #mark(address: ChunkAddress, use: ChunkUse): boolean {
    const { table } = this.#ports
    let slot = table.slotOf(address)
    if (slot < 0) {
      this.#ports.onAbsent(address)
      slot = table.slotOf(address)
    }
    if (slot < 0) return true
    if (this.#marked.has(slot)) return false
    this.#marked.add(slot)
    const tally = this.used[use]
    tally.chunks++
    tally.bytes += table.locationIn(slot)?.length ?? 0
    return true
  }

  async #markTree(root: ChunkAddress, use: ChunkUse): Promise<void> {
    const open = [root]
    for (let address = open.pop(); address !== undefined; address = open.pop()) {
      if (this.#ports.pace.isOver) await this.#ports.pace.rest()
      if (!this.#mark(address, use)) continue
      const node = this.#open(address)
      if (!node) continue
      for (let index = 0; index < node.entryCount; index++) {
        const below = node.address(index)
        if (below === undefined) continue
        if (node.level > 0) open.push(below)
        else this.#mark(below, use)
      }
    }
  }

  #open(address: ChunkAddress): ManifestNode | undefined {
    try {
      const node = this.#ports.node(address)
      if (node) return node
      if (this.#ports.isLost(address)) this.unknownNodes++
      else this.#missing.push(address)
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      this.unknownNodes++
    }
    return undefined
  }
}
