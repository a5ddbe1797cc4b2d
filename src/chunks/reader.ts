/** Reading file contents: ranges and lists of addresses, over opened chunks. */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'
import type { ContentRef, ContentStore, Presence } from './interface.ts'
import type { ManifestNode } from './manifest.ts'
import type { ChunkSource, FetchOptions } from './source.ts'

/** A content as the tree names it. */
export interface Content {
  readonly ref: ContentRef
  readonly sizeBytes: number
}

/** What an attempt to read found, in order, and what it lacks. */
interface Gathered {
  readonly buffers: Buffer[]
  readonly missing: ChunkAddress[]
}

const ZEROS = Buffer.alloc(256 * 1024)
/** `holeBytes` reads no manifest of more leaves: a leaf covers about 100 MB. */
const HOLE_LEAVES_MAX = 16
/** Rounds of fetching in one read: a tree has 8 levels, and a damaged disk may need some again. */
const ROUND_COUNT_MAX = 16

/** The reading half of a `ContentStore`. */
export class ContentReader implements Pick<
  ContentStore,
  'read' | 'seek' | 'addresses' | 'presence'
> {
  readonly #source: ChunkSource

  constructor(source: ChunkSource) {
    this.#source = source
  }

  read(
    content: Content,
    range: { readonly offset: number; readonly length: number },
    options: { readonly signal?: AbortSignal } = {},
  ): Buffer[] | Promise<Buffer[]> {
    const start = Math.max(0, range.offset)
    const end = Math.min(content.sizeBytes, range.offset + range.length)
    if (start >= end) return []
    const gathered = this.#gather(content, start, end)
    if (gathered.missing.length === 0) return gathered.buffers
    return this.#fetchAndGather(content, start, end, gathered.missing, options)
  }

  /**
   * Addresses of the data chunks of a range, in order, as far as the manifest is at hand: for
   * opening them before they are asked for.
   */
  chunksAhead(content: Content, range: { readonly offset: number; readonly length: number }) {
    const found: ChunkAddress[] = []
    const root = content.ref.type === 'manifest' && this.#source.nodeSync(content.ref.address)
    const visit = (node: ManifestNode, start: number, end: number): void => {
      for (let index = node.indexAt(start); index < node.entryCount; index++) {
        const entryStart = node.start(index)
        if (entryStart >= end) return
        const address = node.address(index)
        if (address === undefined) continue
        if (node.level === 0) found.push(address)
        else {
          const child = this.#source.nodeSync(address)
          if (child) visit(child, Math.max(start, entryStart) - entryStart, end - entryStart)
        }
      }
    }
    const end = Math.min(content.sizeBytes, range.offset + range.length)
    if (root && range.offset < end) visit(root, range.offset, end)
    return found
  }

  async #fetchAndGather(
    content: Content,
    start: number,
    end: number,
    firstMissing: readonly ChunkAddress[],
    options: FetchOptions,
  ): Promise<Buffer[]> {
    let missing = firstMissing
    for (let round = 0; round < ROUND_COUNT_MAX; round++) {
      await this.#source.fetch(missing, options)
      const gathered = this.#gather(content, start, end)
      if (gathered.missing.length === 0) return gathered.buffers
      missing = gathered.missing
    }
    throw new WormholeError('CHUNK_UNAVAILABLE', `chunk ${missing[0]} was fetched and is not here`)
  }

  #gather(content: Content, start: number, end: number): Gathered {
    const gathered: Gathered = { buffers: [], missing: [] }
    const { ref, sizeBytes } = content
    if (ref.type === 'empty') throw corrupt(`empty content of ${sizeBytes} bytes`)
    if (ref.type === 'chunk') {
      this.#gatherChunk(ref.address, sizeBytes, start, end, gathered)
    } else {
      const root = this.#source.nodeSync(ref.address)
      if (!root) gathered.missing.push(ref.address)
      else {
        checkSize(root.sizeBytes, sizeBytes)
        this.#gatherNode(root, start, end, gathered)
      }
    }
    return gathered
  }

  /** `start` and `end` count from the start of the node. */
  #gatherNode(node: ManifestNode, start: number, end: number, gathered: Gathered): void {
    for (let index = node.indexAt(start); index < node.entryCount; index++) {
      const entryStart = node.start(index)
      if (entryStart >= end) return
      const entryEnd = node.end(index)
      const from = Math.max(start, entryStart) - entryStart
      const to = Math.min(end, entryEnd) - entryStart
      const address = node.address(index)
      if (address === undefined) pushZeros(gathered.buffers, to - from)
      else if (node.level === 0) {
        this.#gatherChunk(address, entryEnd - entryStart, from, to, gathered)
      } else {
        const child = this.#source.nodeSync(address)
        if (!child) gathered.missing.push(address)
        else {
          checkChild(node, child, entryEnd - entryStart)
          this.#gatherNode(child, from, to, gathered)
        }
      }
    }
  }

  #gatherChunk(
    address: ChunkAddress,
    sizeBytes: number,
    from: number,
    to: number,
    gathered: Gathered,
  ): void {
    const isComing = this.#source.isComing(address)
    const part = isComing ? undefined : this.#source.partSync(address, sizeBytes, { from, to })
    if (!part) {
      gathered.missing.push(address)
      return
    }
    gathered.buffers.push(part)
  }

  seek(
    content: Content,
    offset: number,
    what: 'data' | 'hole',
    options: { readonly signal?: AbortSignal } = {},
  ): number | Promise<number> {
    const found = this.#seek(content, offset, what)
    return typeof found === 'number' ? found : this.#fetchAndSeek(content, found, what, options)
  }

  /** Where the walk came to, and the node it lacks to go on. */
  async #fetchAndSeek(
    content: Content,
    first: { readonly missing: ChunkAddress; readonly offset: number },
    what: 'data' | 'hole',
    options: FetchOptions,
  ): Promise<number> {
    let lack = first
    for (;;) {
      await this.#source.node(lack.missing, options)
      const found = this.#seek(content, lack.offset, what)
      if (typeof found === 'number') return found
      lack = found
    }
  }

  #seek(
    content: Content,
    offset: number,
    what: 'data' | 'hole',
  ): number | { missing: ChunkAddress; offset: number } {
    const { ref, sizeBytes } = content
    if (offset >= sizeBytes) return sizeBytes
    if (ref.type !== 'manifest') return what === 'data' ? offset : sizeBytes
    const root = this.#source.nodeSync(ref.address)
    if (!root) return { missing: ref.address, offset }
    checkSize(root.sizeBytes, sizeBytes)
    return this.#seekNode(root, 0, offset, what) ?? sizeBytes
  }

  /** `start` is where the node starts in the content. */
  #seekNode(
    node: ManifestNode,
    start: number,
    offset: number,
    what: 'data' | 'hole',
  ): number | { missing: ChunkAddress; offset: number } | undefined {
    for (let index = node.indexAt(offset - start); index < node.entryCount; index++) {
      const from = Math.max(offset, start + node.start(index))
      const address = node.address(index)
      if (node.level === 0) {
        if ((address === undefined) === (what === 'hole')) return from
        continue
      }
      const child = this.#source.nodeSync(address as ChunkAddress)
      if (!child) return { missing: address as ChunkAddress, offset: from }
      checkChild(node, child, node.end(index) - node.start(index))
      const found = this.#seekNode(child, start + node.start(index), from, what)
      if (found !== undefined) return found
    }
    return undefined
  }

  holeBytes(content: Content): number | undefined {
    const { ref } = content
    if (ref.type !== 'manifest') return 0
    const root = this.#source.nodeSync(ref.address)
    if (!root || root.level > 1) return undefined
    if (root.level === 0) return holeBytesOf(root)
    if (root.entryCount > HOLE_LEAVES_MAX) return undefined
    let total = 0
    for (let index = 0; index < root.entryCount; index++) {
      const leaf = this.#source.nodeSync(root.address(index) as ChunkAddress)
      if (!leaf) return undefined
      total += holeBytesOf(leaf)
    }
    return total
  }

  presence({ ref }: Content): Presence {
    if (ref.type === 'empty') return 'local'
    if (ref.type === 'chunk') return this.#source.has(ref.address) ? 'local' : 'remote'
    const counts = { here: 0, missing: 0 }
    this.#count(ref.address, counts)
    if (counts.missing === 0) return 'local'
    return counts.here === 0 ? 'remote' : 'partial'
  }

  /** Counts data chunks below a node; a node that is not here is something missing. */
  #count(address: ChunkAddress, counts: { here: number; missing: number }): void {
    const node = this.#source.nodeSync(address)
    if (!node) {
      counts.missing++
      return
    }
    for (let index = 0; index < node.entryCount; index++) {
      const below = node.address(index)
      if (below === undefined) continue
      if (node.level > 0) this.#count(below, counts)
      else if (this.#source.has(below)) counts.here++
      else counts.missing++
    }
  }

  async addresses(content: Content, options: FetchOptions = {}): Promise<ChunkAddress[]> {
    const { ref, sizeBytes } = content
    if (ref.type === 'empty') return []
    if (ref.type === 'chunk') return [ref.address]
    const nodes = new Set<ChunkAddress>([ref.address])
    const chunks = new Set<ChunkAddress>()
    const root = await this.#source.node(ref.address, options)
    checkSize(root.sizeBytes, sizeBytes)
    let level = [root]
    while (level.length > 0) {
      const below: ManifestNode[] = []
      for (const node of level) {
        const into = node.level === 0 ? chunks : nodes
        const lacking: ChunkAddress[] = []
        for (let index = 0; index < node.entryCount; index++) {
          const address = node.address(index)
          if (address === undefined) continue
          into.add(address)
          if (node.level > 0 && !this.#source.has(address)) lacking.push(address)
        }
        if (lacking.length > 0) await this.#source.fetch(lacking, options)
        if (node.level > 0) below.push(...(await this.#children(node, options)))
      }
      level = below
    }
    return [...nodes, ...chunks]
  }

  async #children(node: ManifestNode, options: FetchOptions): Promise<ManifestNode[]> {
    const children: ManifestNode[] = []
    for (let index = 0; index < node.entryCount; index++) {
      const child = await this.#source.node(node.address(index) as ChunkAddress, options)
      checkChild(node, child, node.end(index) - node.start(index))
      children.push(child)
    }
    return children
  }
}

function holeBytesOf(leaf: ManifestNode): number {
  let total = 0
  for (let index = 0; index < leaf.entryCount; index++) {
    if (leaf.address(index) === undefined) total += leaf.end(index) - leaf.start(index)
  }
  return total
}

/** Refuses a child that is not of the level and size that its parent says. */
export function checkChild(parent: ManifestNode, child: ManifestNode, sizeBytes: number): void {
  if (child.level !== parent.level - 1) {
    throw corrupt(`manifest node of level ${child.level} below one of level ${parent.level}`)
  }
  checkSize(child.sizeBytes, sizeBytes)
}

/** Refuses a chunk or node that is not as long as whoever names it says. */
export function checkSize(actualBytes: number, sizeBytes: number): void {
  if (actualBytes !== sizeBytes) {
    throw corrupt(`content of ${actualBytes} bytes where ${sizeBytes} are named`)
  }
}

function corrupt(what: string): WormholeError {
  return new WormholeError('CHUNK_CORRUPT', what)
}

function pushZeros(buffers: Buffer[], byteCount: number): void {
  for (let left = byteCount; left > 0; left -= ZEROS.length) {
    buffers.push(ZEROS.subarray(0, Math.min(left, ZEROS.length)))
  }
}
