/**
 * Opening chunks in the store thread before they are read, for who reads a content from front to
 * end: digest and decryption take most of such a read, and there they run beside the answering.
 * A reader that comes sooner waits for what is on its way. A part of the chunks is left to the
 * reader's own thread, so that both have the same work.
 */
import type { Rpc } from '../rpc.ts'
import type { ChunkAddress } from '../types.ts'
import type { Content, ContentReader } from './reader.ts'
import type { StoreMethods } from './service.ts'
import type { ChunkSource } from './source.ts'

/** How far ahead: twice what the kernel asks for at a time, and more than the largest chunk. */
const AHEAD_BYTES = 4 * 1024 * 1024
/** Two reads follow one another when there is no more between them: the kernel reorders. */
const GAP_BYTES_MAX = 1024 * 1024
/** Reads that follow one another before anything is opened ahead. */
const FOLLOWING_MIN = 2
/** Of 16 chunks so many are opened ahead; which ones, their addresses tell. */
const SHARE = 10
/** Contents whose readers are remembered. */
const CONTENTS_MAX = 16

/** Watches the reads of contents. */
export class ReadAhead {
  readonly #rpc: Rpc<StoreMethods>
  readonly #source: ChunkSource
  readonly #reader: ContentReader
  /** By root: where the last read ended, and how many have followed one another. */
  readonly #readers = new Map<ChunkAddress, { end: number; following: number }>()

  constructor(rpc: Rpc<StoreMethods>, source: ChunkSource, reader: ContentReader) {
    this.#rpc = rpc
    this.#source = source
    this.#reader = reader
  }

  /** A range is about to be read. */
  reading(content: Content, range: { readonly offset: number; readonly length: number }): void {
    if (content.ref.type !== 'manifest') return
    const { address } = content.ref
    const end = range.offset + range.length
    const last = this.#readers.get(address)
    if (!last) {
      if (this.#readers.size === CONTENTS_MAX) this.#readers.clear()
      this.#readers.set(address, { end, following: 0 })
      return
    }
    const isNext = Math.abs(range.offset - last.end) <= GAP_BYTES_MAX && end > last.end
    last.following = isNext ? last.following + 1 : 0
    last.end = end
    if (last.following >= FOLLOWING_MIN) this.#open(content, end)
  }

  #open(content: Content, offset: number): void {
    for (const address of this.#reader.chunksAhead(content, { offset, length: AHEAD_BYTES })) {
      if (Number.parseInt(address.charAt(0), 16) >= SHARE) continue
      if (!this.#source.isOnlyStored(address)) continue
      const opening = this.#rpc.call('open', { address }).then((bytes) => {
        return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      })
      this.#source.expect(address, opening)
    }
  }
}
