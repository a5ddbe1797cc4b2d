/**
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) of whole chunks, by two libraries that give the
 * same bits: libsodium, and OpenSSL's ChaCha20-Poly1305 (RFC 8439) under a subkey of HChaCha20.
 * OpenSSL takes two thirds (sealing) or half (opening) of the time where the processor has AVX-512,
 * and more elsewhere. So `CipherChoice` times both.
 */
import crypto from 'node:crypto'
import { sodium } from '../sodium.ts'
import { systemClock } from '../system.ts'

const TAG_BYTES = 16
const SUBKEY_NONCE_BYTES = 16
const ALGORITHM = 'chacha20-poly1305'

/** One of the libraries. Nonces are 24 bytes, keys 32; buffers are read only during the call. */
export interface ChunkCipher {
  readonly name: 'libsodium' | 'openssl'
  /** Encrypts `body` into `sealed`, which is as long as body and tag. */
  encrypt(
    sealed: Buffer,
    body: Uint8Array,
    about: Uint8Array,
    nonce: Uint8Array,
    key: Uint8Array,
  ): void
  /** The body, fresh memory. @throws {Error} when ciphertext and tag do not authenticate. */
  decrypt(sealed: Buffer, about: Uint8Array, nonce: Uint8Array, key: Uint8Array): Buffer
}

/** libsodium: everywhere. */
export const sodiumCipher: ChunkCipher = {
  name: 'libsodium',
  encrypt(sealed, body, about, nonce, key) {
    sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, body, about, null, nonce, key)
  },
  decrypt(sealed, about, nonce, key) {
    const body = Buffer.allocUnsafe(sealed.length - TAG_BYTES)
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(body, null, sealed, about, nonce, key)
    return body
  },
}

const options = { authTagLength: TAG_BYTES }

/** OpenSSL: what it gives is fresh memory, so sealing copies once. */
export const opensslCipher: ChunkCipher = {
  name: 'openssl',
  encrypt(sealed, body, about, nonce, key) {
    const cipher = crypto.createCipheriv(ALGORITHM, subkey(key, nonce), shortNonce(nonce), options)
    cipher.setAAD(about, { plaintextLength: body.length })
    sealed.set(cipher.update(body))
    cipher.final()
    sealed.set(cipher.getAuthTag(), body.length)
  },
  decrypt(sealed, about, nonce, key) {
    const end = sealed.length - TAG_BYTES
    const iv = shortNonce(nonce)
    const decipher = crypto.createDecipheriv(ALGORITHM, subkey(key, nonce), iv, options)
    decipher.setAAD(about, { plaintextLength: end })
    decipher.setAuthTag(sealed.subarray(end))
    const body = decipher.update(sealed.subarray(0, end))
    decipher.final()
    return body
  },
}

const shortNonceScratch = Buffer.alloc(12)

/** RFC 8439's nonce: four zeros and the last 8 bytes. Valid until the next call. */
function shortNonce(nonce: Uint8Array): Buffer {
  shortNonceScratch.set(nonce.subarray(SUBKEY_NONCE_BYTES), 4)
  return shortNonceScratch
}

const state = new Uint32Array(16)
/** "expand 32-byte k" as little-endian words. */
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]

/** HChaCha20 of the key and the first 16 bytes of the nonce: 32 bytes, fresh memory. */
export function subkey(key: Uint8Array, nonce: Uint8Array): Buffer {
  state.set(CONSTANTS)
  for (let word = 0; word < 8; word++) state[4 + word] = word32(key, 4 * word)
  for (let word = 0; word < 4; word++) state[12 + word] = word32(nonce, 4 * word)
  for (let round = 0; round < 10; round++) {
    quarterRound(0, 4, 8, 12)
    quarterRound(1, 5, 9, 13)
    quarterRound(2, 6, 10, 14)
    quarterRound(3, 7, 11, 15)
    quarterRound(0, 5, 10, 15)
    quarterRound(1, 6, 11, 12)
    quarterRound(2, 7, 8, 13)
    quarterRound(3, 4, 9, 14)
  }
  const derived = Buffer.allocUnsafe(32)
  for (let word = 0; word < 4; word++) {
    derived.writeUInt32LE(state[word] as number, 4 * word)
    derived.writeUInt32LE(state[12 + word] as number, 16 + 4 * word)
  }
  return derived
}

/** Little-endian. */
function word32(bytes: Uint8Array, at: number): number {
  let word = 0
  for (let index = 3; index >= 0; index--) word = (word << 8) | (bytes[at + index] as number)
  return word
}

function quarterRound(a: number, b: number, c: number, d: number): void {
  add(a, b, d, 16)
  add(c, d, b, 12)
  add(a, b, d, 8)
  add(c, d, b, 7)
}

/** `to += by; mixed = (mixed ^ to) <<< count`. */
function add(to: number, by: number, mixed: number, count: number): void {
  const sum = ((state[to] as number) + (state[by] as number)) | 0
  const mix = (state[mixed] as number) ^ sum
  state[to] = sum
  state[mixed] = (mix << count) | (mix >>> (32 - count))
}

/** Below this the calls cost more than the bytes: libsodium has fewer. */
const LARGE_BYTES_MIN = 32 * 1024
/** Large chunks that each library takes before the faster one takes all. */
const TRIAL_COUNT = 16

interface Trial {
  readonly cipher: ChunkCipher
  /** The best so far: the first calls are interpreted. */
  msPerByte: number
}

/**
 * Which library works in one direction. The first large chunks go to both by turns and are timed:
 * nothing is done only to measure, so no thread is held up by it.
 */
export class CipherChoice {
  readonly #trials: readonly Trial[]
  readonly #monotonicMs: () => number
  #count = 0
  #chosen: ChunkCipher | undefined

  constructor(monotonicMs: () => number = systemClock.monotonicMs) {
    this.#monotonicMs = monotonicMs
    const ciphers = isOpensslUsable() ? [opensslCipher, sodiumCipher] : [sodiumCipher]
    this.#trials = ciphers.map((cipher) => ({ cipher, msPerByte: Infinity }))
  }

  /** Does `work` on that many bytes with the cipher for it. Passes on what `work` throws. */
  run<Result>(byteCount: number, work: (cipher: ChunkCipher) => Result): Result {
    if (byteCount < LARGE_BYTES_MIN) return work(sodiumCipher)
    return this.#chosen ? work(this.#chosen) : this.#try(byteCount, work)
  }

  #try<Result>(byteCount: number, work: (cipher: ChunkCipher) => Result): Result {
    const trial = this.#trials[this.#count++ % this.#trials.length] as Trial
    const startMs = this.#monotonicMs()
    const result = work(trial.cipher)
    const msPerByte = (this.#monotonicMs() - startMs) / byteCount
    trial.msPerByte = Math.min(trial.msPerByte, msPerByte)
    if (this.#count >= TRIAL_COUNT * this.#trials.length) {
      this.#chosen = [...this.#trials].sort((a, b) => a.msPerByte - b.msPerByte)[0]?.cipher
    }
    return result
  }
}

/** A build of OpenSSL may lack this cipher, as those for FIPS do. */
function isOpensslUsable(): boolean {
  try {
    const [nonce, key] = [Buffer.alloc(24), Buffer.alloc(32)]
    opensslCipher.encrypt(Buffer.alloc(1 + TAG_BYTES), Buffer.alloc(1), nonce, nonce, key)
    return true
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}
