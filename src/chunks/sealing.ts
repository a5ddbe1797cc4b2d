/** From plaintext to a stored chunk: identity, dedup, seal, put. */
import type { ChunkAddress } from '../types.ts'
import type { ChunkCodec } from './codec.ts'
import type { SealedWriter } from './interface.ts'

const SLOT_COUNT_MIN = 1024
/** 16 MiB; chunks of 64 GiB at the mean size. */
const SLOT_COUNT_MAX = 256 * 1024
const ID_BYTES = 32
const SLOT_BYTES = ID_BYTES + 32

/**
 * Remembers the addresses of recently sealed plaintexts, so that bytes seen again are not
 * compressed and sealed again. A direct-mapped cache in memory only: what it forgets costs time,
 * not space, because the same bytes seal to the same address.
 */
export class DedupCache {
  #slots = Buffer.alloc(SLOT_COUNT_MIN * SLOT_BYTES)
  #putCount = 0

  /** The address that `put` was given for this 32-byte id. */
  get(id: Buffer): ChunkAddress | undefined {
    const at = this.#at(id)
    if (this.#slots.compare(id, 0, ID_BYTES, at, at + ID_BYTES) !== 0) return undefined
    return this.#slots.toString('hex', at + ID_BYTES, at + SLOT_BYTES) as ChunkAddress
  }

  put(id: Buffer, address: ChunkAddress): void {
    const slotCount = this.#slots.length / SLOT_BYTES
    if (++this.#putCount > slotCount / 2 && slotCount < SLOT_COUNT_MAX) this.#grow()
    const at = this.#at(id)
    this.#slots.set(id, at)
    this.#slots.write(address, at + ID_BYTES, 'hex')
  }

  #at(id: Buffer): number {
    return (id.readUInt32LE(0) % (this.#slots.length / SLOT_BYTES)) * SLOT_BYTES
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = Buffer.alloc(old.length * 4)
    for (let at = 0; at < old.length; at += SLOT_BYTES) {
      const slot = old.subarray(at, at + SLOT_BYTES)
      this.#slots.set(slot, this.#at(slot))
    }
  }
}

/** Seals and stores the chunks of one content. */
export class ChunkSink {
  readonly #codec: ChunkCodec
  readonly #store: SealedWriter
  readonly #dedup: DedupCache
  /** Sealed bytes that were not in the store before. */
  newBytes = 0

  constructor(options: { codec: ChunkCodec; store: SealedWriter; dedup: DedupCache }) {
    this.#codec = options.codec
    this.#store = options.store
    this.#dedup = options.dedup
  }

  /** Stores file bytes. @throws {WormholeError} `DISK_FULL`, `WRITER_BROKEN`, … */
  putData(plain: Buffer): ChunkAddress {
    const id = this.#codec.id(plain)
    const known = this.#dedup.get(id)
    if (known && this.#store.pin(known)) return known
    const { address, sealed } = this.#codec.seal('data', plain, id)
    this.#put(address, sealed)
    this.#dedup.put(id, address)
    return address
  }

  /** Stores a manifest node. */
  putNode(plain: Buffer): ChunkAddress {
    const { address, sealed } = this.#codec.seal('node', plain)
    this.#put(address, sealed)
    return address
  }

  #put(address: ChunkAddress, sealed: Buffer): void {
    if (this.#store.putOwn(address, sealed)) this.newBytes += sealed.length
  }
}
