/**
 * Plaintext to sealed chunk and back. Format: README.md, "Sealed chunk".
 *
 * Sealing is deterministic: the nonce follows from what is encrypted (after compression), so
 * two devices with the same key make the same sealed bytes and the same address. It must never come
 * from the plaintext alone: another zstd would give another body under the same key and nonce.
 * XChaCha20-Poly1305: draft-irtf-cfrg-xchacha-03. BLAKE3 keyed: as in blake3.ts.
 */
import { WormholeError } from '../errors.ts'
import { deriveKey } from '../seal.ts'
import { sodium } from '../sodium.ts'
import type { ChunkAddress } from '../types.ts'
import { blake3Hex, createHasher, type Hasher } from './blake3.ts'
import { CipherChoice } from './cipher.ts'
import { CHUNK_SIZE_BYTES_MAX } from './gear.ts'
import type { ChunkKeys } from './interface.ts'
import { compress, decompress } from './zstd.ts'

/** What a chunk holds: file bytes, or a manifest node. Bound into the seal. */
export type ChunkKind = 'data' | 'node'

/** Header, nonce and tag. */
export const CHUNK_OVERHEAD_BYTES = 6 + 24 + 16
/** Longest sealed chunk. */
export const SEALED_SIZE_BYTES_MAX = CHUNK_SIZE_BYTES_MAX + CHUNK_OVERHEAD_BYTES

const FORMAT_VERSION = 1
const CODEC_RAW = 0
const CODEC_ZSTD = 1
const HEADER_BYTES = 6
const NONCE_BYTES = 24
const CIPHER_BLOCK_BYTES = 64
const BODY_AT = HEADER_BYTES + NONCE_BYTES
const KIND_CODE: Record<ChunkKind, number> = { data: 0, node: 1 }

/** Below this compression cannot save a disk block and costs 20 µs. */
const COMPRESS_BYTES_MIN = 512
const PROBE_BYTES = 8 * 1024
/** A sample with more different byte values is noise: 1024 random bytes have 251 of 256. */
const SAMPLE_BYTES = 1024
const NOISE_VALUES_MIN = 240
/** Compressed bytes are kept when they are at most 97 % of the plaintext. */
const SAVING_MIN = 0.97

/** A sealed chunk. */
export interface SealedChunk {
  readonly address: ChunkAddress
  /** A view of reused memory, valid until the next `seal`. */
  readonly sealed: Buffer
}

interface GenerationKeys {
  readonly secret: Uint8Array
  readonly seal: Buffer
  readonly nonce: Hasher
}

/** Seals and opens the chunks of one volume. Buffers are reused: one per thread. */
export class ChunkCodec {
  readonly #keys: ChunkKeys
  readonly #ids: Hasher
  readonly #generations = new Map<number, GenerationKeys>()
  readonly #sealing = new CipherChoice()
  readonly #opening = new CipherChoice()
  readonly #about = Buffer.alloc(HEADER_BYTES + 1)
  readonly #nonceParts = Buffer.alloc(2)
  #scratch = Buffer.allocUnsafeSlow(64 * 1024)
  /** Whether the chunk opened last was compressed. */
  isCompressed = false

  constructor(keys: ChunkKeys) {
    this.#keys = keys
    this.#ids = createHasher(deriveKey(keys.dedup, 'chunk id'))
  }

  /** The 32-byte identity of a plaintext in this volume, for life. Fresh memory. */
  id(plain: Uint8Array): Buffer {
    return this.#ids.digest(plain)
  }

  /**
   * Seals 1 to `CHUNK_SIZE_BYTES_MAX` bytes under the current key generation. `id`, if known,
   * saves hashing what does not get compressed.
   */
  seal(kind: ChunkKind, plain: Buffer, id?: Buffer): SealedChunk {
    const generation = this.#keys.currentGeneration
    const keys = this.#generation(generation)
    const compressed = compressIfWorth(plain)
    const codec = compressed ? CODEC_ZSTD : CODEC_RAW
    const body = compressed ?? plain

    this.#nonceParts[0] = KIND_CODE[kind]
    this.#nonceParts[1] = codec
    const bodyId = compressed || !id ? this.id(body) : id
    const nonce = keys.nonce.digest(this.#nonceParts, bodyId).subarray(0, NONCE_BYTES)

    const sealed = this.#room(body.length + CHUNK_OVERHEAD_BYTES)
    sealed[0] = FORMAT_VERSION
    sealed[1] = codec
    sealed.writeUInt32LE(generation, 2)
    sealed.set(nonce, HEADER_BYTES)
    const about = this.#aboutOf(sealed, kind)
    this.#sealing.run(body.length, (cipher) => {
      cipher.encrypt(sealed.subarray(BODY_AT), body, about, nonce, keys.seal)
    })
    return { address: addressOf(sealed), sealed }
  }

  /**
   * Opens a sealed chunk whose digest was checked. The result is fresh memory, never a view of
   * `sealed`.
   *
   * @throws {WormholeError} `CHUNK_CORRUPT`, `FORMAT_UNSUPPORTED`, `KEY_MISSING`.
   */
  open(kind: ChunkKind, sealed: Buffer): Buffer {
    if (sealed.length <= CHUNK_OVERHEAD_BYTES || sealed.length > SEALED_SIZE_BYTES_MAX) {
      throw new WormholeError('CHUNK_CORRUPT', `sealed chunk of ${sealed.length} bytes`)
    }
    const codec = sealed[1] as number
    if (sealed[0] !== FORMAT_VERSION || (codec !== CODEC_RAW && codec !== CODEC_ZSTD)) {
      throw new WormholeError('FORMAT_UNSUPPORTED', `chunk format ${sealed[0]}, codec ${codec}`)
    }
    this.isCompressed = codec === CODEC_ZSTD
    const keys = this.#generation(sealed.readUInt32LE(2))
    const about = this.#aboutOf(sealed, kind)
    const nonce = sealed.subarray(HEADER_BYTES, BODY_AT)
    let body: Buffer
    try {
      body = this.#opening.run(sealed.length, (cipher) =>
        cipher.decrypt(sealed.subarray(BODY_AT), about, nonce, keys.seal),
      )
    } catch (error) {
      throw new WormholeError('CHUNK_CORRUPT', `sealed ${kind} chunk does not open`, {
        cause: error,
      })
    }
    return codec === CODEC_RAW ? body : decompress(body, CHUNK_SIZE_BYTES_MAX)
  }

  /**
   * Bytes `[from, to)` of a data chunk whose digest was checked, without its tag (README.md,
   * "Parts").
   * Fresh memory; undefined for a compressed chunk.
   */
  openPart(sealed: Buffer, from: number, to: number): Buffer | undefined {
    if (sealed[1] !== CODEC_RAW) return undefined
    const keys = this.#generation(sealed.readUInt32LE(2))
    const block = Math.floor(from / CIPHER_BLOCK_BYTES)
    const start = block * CIPHER_BLOCK_BYTES
    const part = Buffer.allocUnsafe(to - start)
    // The cipher's first block makes the key of the tag.
    sodium.crypto_stream_xchacha20_xor_ic(
      part,
      sealed.subarray(BODY_AT + start, BODY_AT + to),
      sealed.subarray(HEADER_BYTES, BODY_AT),
      1 + block,
      keys.seal,
    )
    return part.subarray(from - start)
  }

  #aboutOf(sealed: Buffer, kind: ChunkKind): Buffer {
    sealed.copy(this.#about, 0, 0, HEADER_BYTES)
    this.#about[HEADER_BYTES] = KIND_CODE[kind]
    return this.#about
  }

  #room(byteCount: number): Buffer {
    if (this.#scratch.length < byteCount) {
      this.#scratch = Buffer.allocUnsafeSlow(SEALED_SIZE_BYTES_MAX)
    }
    return this.#scratch.subarray(0, byteCount)
  }

  #generation(generation: number): GenerationKeys {
    const secret = this.#keys.content(generation)
    if (!secret)
      throw new WormholeError('KEY_MISSING', `no content key of generation ${generation}`)
    const known = this.#generations.get(generation)
    if (known?.secret === secret) return known
    const keys: GenerationKeys = {
      secret,
      seal: deriveKey(secret, 'chunk seal'),
      nonce: createHasher(deriveKey(secret, 'chunk nonce')),
    }
    this.#generations.set(generation, keys)
    return keys
  }
}

/** The address of sealed bytes: their BLAKE3 digest. */
export function addressOf(sealed: Uint8Array): ChunkAddress {
  return blake3Hex(sealed) as ChunkAddress
}

/** The zstd frame of `plain` when neither sample nor probe look like noise and it saves 3 %. */
function compressIfWorth(plain: Buffer): Buffer | undefined {
  if (plain.length < COMPRESS_BYTES_MIN || isNoise(plain)) return undefined
  if (plain.length > 2 * PROBE_BYTES) {
    const start = (plain.length - PROBE_BYTES) >>> 1
    const probe = compress(plain.subarray(start, start + PROBE_BYTES))
    if (probe.length > PROBE_BYTES * SAVING_MIN) return undefined
  }
  const whole = compress(plain)
  return whole.length <= plain.length * SAVING_MIN ? whole : undefined
}

const seen = new Uint8Array(256)

/** Whether 1 KiB in the middle has nearly all byte values: 1 µs, where a probe costs 25. */
function isNoise(plain: Buffer): boolean {
  if (plain.length < SAMPLE_BYTES) return false
  const start = (plain.length - SAMPLE_BYTES) >>> 1
  seen.fill(0)
  let valueCount = 0
  for (let at = start; at < start + SAMPLE_BYTES; at++) {
    const value = plain[at] as number
    valueCount += 1 - (seen[value] as number)
    seen[value] = 1
  }
  return valueCount >= NOISE_VALUES_MIN
}
