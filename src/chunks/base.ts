/** A finished content as the base of a new one: where its chunks end, and copying runs of them. */
import { WormholeError } from '../errors.ts'
import type { ChunkAddress } from '../types.ts'
import { FIXED_BLOCK_BYTES } from './gear.ts'
import { ManifestNode, type ManifestBuilder } from './manifest.ts'
import { checkChild, checkSize, type Content } from './reader.ts'
import type { ChunkSource } from './source.ts'

/** A chunk or a hole of a content. */
export interface Stretch {
  readonly start: number
  readonly end: number
  /** Undefined for a hole. */
  readonly address: ChunkAddress | undefined
}

/** The chunks of a content. Nodes that are not here are fetched. */
export class BaseContent {
  readonly #source: ChunkSource
  readonly #root: ManifestNode
  readonly sizeBytes: number
  /** The leaf of the last `at`: the next one mostly is in it, too. */
  #leaf: ManifestNode
  #leafStart = 0

  /** @throws {WormholeError} `CHUNK_UNAVAILABLE`, `CHUNK_CORRUPT`. */
  static async open(source: ChunkSource, content: Content | undefined): Promise<BaseContent> {
    if (!content || content.ref.type === 'empty') {
      return new BaseContent(source, new ManifestNode(0, []))
    }
    const { ref, sizeBytes } = content
    if (ref.type === 'chunk') {
      return new BaseContent(source, new ManifestNode(0, [{ address: ref.address, sizeBytes }]))
    }
    const root = await source.node(ref.address)
    checkSize(root.sizeBytes, sizeBytes)
    return new BaseContent(source, root)
  }

  private constructor(source: ChunkSource, root: ManifestNode) {
    this.#source = source
    this.#root = root
    this.#leaf = root
    this.sizeBytes = root.sizeBytes
    if (root.level > 0) this.#leaf = new ManifestNode(0, [])
  }

  /** The chunk or hole that holds the byte at `offset`, which is below `sizeBytes`. */
  async at(offset: number): Promise<Stretch> {
    if (offset < this.#leafStart || offset >= this.#leafStart + this.#leaf.sizeBytes) {
      await this.#findLeaf(offset)
    }
    const index = this.#leaf.indexAt(offset - this.#leafStart)
    return {
      start: this.#leafStart + this.#leaf.start(index),
      end: this.#leafStart + this.#leaf.end(index),
      address: this.#leaf.address(index),
    }
  }

  /**
   * Whether the chunks around an offset are the blocks of fixed mode. Splitting by content there
   * would meet none of their ends, and store everything behind it again.
   */
  async isFixedAt(offset: number): Promise<boolean> {
    if (this.sizeBytes <= FIXED_BLOCK_BYTES) return false
    const here = await this.at(Math.min(offset, this.sizeBytes - 1))
    const beside = await this.at(here.end < this.sizeBytes ? here.end : Math.max(0, here.start - 1))
    const chunks = [here, beside].filter(({ address }) => address !== undefined)
    return chunks.length > 0 && chunks.every((chunk) => this.#isBlock(chunk))
  }

  #isBlock({ start, end }: Stretch): boolean {
    const length = end - start
    const isLast = end === this.sizeBytes && length < FIXED_BLOCK_BYTES
    return start % FIXED_BLOCK_BYTES === 0 && (length === FIXED_BLOCK_BYTES || isLast)
  }

  async #findLeaf(offset: number): Promise<void> {
    let node = this.#root
    let start = 0
    while (node.level > 0) {
      const index = node.indexAt(offset - start)
      const child = await this.#child(node, index)
      start += node.start(index)
      node = child
    }
    this.#leaf = node
    this.#leafStart = start
  }

  /** The bytes of a chunk, whose length is checked. */
  async bytes(stretch: Stretch): Promise<Buffer> {
    if (!stretch.address) throw new TypeError('a hole has no bytes')
    const plain = await this.#source.data(stretch.address)
    checkSize(plain.length, stretch.end - stretch.start)
    return plain
  }

  /**
   * Appends the chunks and holes between two offsets, which are ends of chunks, to a new manifest.
   * Whole nodes are taken over where both trees have the same ends; not the last node of a level,
   * which ended because the content did.
   */
  async copy(from: number, to: number, into: ManifestBuilder): Promise<void> {
    if (from < to) await this.#copyNode(this.#root, 0, { from, to, into }, true)
  }

  async #copyNode(
    node: ManifestNode,
    nodeStart: number,
    job: { readonly from: number; readonly to: number; readonly into: ManifestBuilder },
    isLast: boolean,
  ): Promise<void> {
    const { from, to, into } = job
    for (let index = node.indexAt(from - nodeStart); index < node.entryCount; index++) {
      const start = nodeStart + node.start(index)
      const end = nodeStart + node.end(index)
      if (start >= to) return
      const address = node.address(index)
      if (node.level === 0) {
        if (start < from || end > to) throw cutInside(start)
        if (address === undefined) into.pushHole(end - start)
        else into.pushChunk(address, end - start)
        continue
      }
      const isLastChild = isLast && index === node.entryCount - 1
      const isWhole = start >= from && end <= to && !isLastChild
      if (isWhole && into.isAligned(node.level - 1)) {
        into.pushNode(node.level - 1, address as ChunkAddress, end - start)
      } else {
        await this.#copyNode(await this.#child(node, index), start, job, isLastChild)
      }
    }
  }

  async #child(node: ManifestNode, index: number): Promise<ManifestNode> {
    const child = await this.#source.node(node.address(index) as ChunkAddress)
    checkChild(node, child, node.end(index) - node.start(index))
    return child
  }
}

function cutInside(offset: number): WormholeError {
  return new WormholeError('CHUNK_CORRUPT', `manifest changed its mind about offset ${offset}`)
}
