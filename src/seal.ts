/**
 * Sealing, signing and key derivation: thin, named uses of libsodium. Synchronous, so that a
 * simulated volume stays deterministic.
 *
 * Everything but chunks is sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under 24
 * RANDOM nonce bytes, never a position: a home restored from a backup would repeat positions. The
 * associated data names what is sealed, so that a sealed object cannot be moved to another place.
 */
import { WormholeError, type ErrorCode } from './errors.ts'
import { sodium } from './sodium.ts'
import type { Random } from './system.ts'

/** Bytes that sealing adds: nonce and tag. */
export const SEAL_OVERHEAD_BYTES = 24 + 16
export const KEY_BYTES = 32
/** What a sealed box adds: an ephemeral public key and a tag (libsodium, `crypto_box_seal`). */
export const BOX_OVERHEAD_BYTES = 32 + 16
export const SIGNATURE_BYTES = 64
export const HASH_BYTES = 32

/** Random bytes at the start of a sealed object. */
export const NONCE_BYTES = 24
const TAG_BYTES = 16

/** Seals `plain` for whoever has `key`: nonce, ciphertext, tag. The result is fresh memory. */
export function seal(
  key: Uint8Array,
  plain: Uint8Array,
  about: Uint8Array,
  random: Random,
): Buffer {
  const sealed = Buffer.allocUnsafe(NONCE_BYTES + plain.length + TAG_BYTES)
  const nonce = random.bytes(NONCE_BYTES)
  sealed.set(nonce)
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
    sealed.subarray(NONCE_BYTES),
    plain,
    about,
    null,
    nonce,
    key,
  )
  return sealed
}

/**
 * Opens what `seal` made. The result is fresh memory.
 *
 * @throws {WormholeError} `code` when the bytes, the key or `about` are not the ones sealed.
 */
export function unseal(
  key: Uint8Array,
  sealed: Uint8Array,
  about: Uint8Array,
  code: ErrorCode,
): Buffer {
  const rest = sealed.subarray(Math.min(NONCE_BYTES, sealed.length), sealed.length)
  return unsealParts(key, sealed, rest, about, code)
}

/**
 * As `unseal`, of an object that lies in shared memory: `nonce` begins with the nonce, `sealed` is
 * what follows it.
 */
export function unsealParts(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  about: Uint8Array,
  code: ErrorCode,
): Buffer {
  if (sealed.length < TAG_BYTES) {
    const length = NONCE_BYTES + sealed.length
    throw new WormholeError(code, `sealed object of at most ${length} bytes is too short`)
  }
  const plain = Buffer.allocUnsafe(sealed.length - TAG_BYTES)
  try {
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
      plain,
      null,
      sealed,
      about,
      nonceOf(nonce),
      key,
    )
  } catch (error) {
    throw new WormholeError(code, 'sealed object does not open: wrong key or changed bytes', {
      cause: error,
    })
  }
  return plain
}

const nonceScratch = Buffer.alloc(NONCE_BYTES)

/** A copy of the nonce, valid until the next call: cheaper than a view, and rows are small. */
function nonceOf(sealed: Uint8Array): Buffer {
  for (let at = 0; at < NONCE_BYTES; at++) nonceScratch[at] = sealed[at] as number
  return nonceScratch
}

/** BLAKE2b-256 of the parts, one after the other. */
export function hash(...parts: Uint8Array[]): Buffer {
  const digest = Buffer.allocUnsafe(HASH_BYTES)
  sodium.crypto_generichash_batch(digest, parts)
  return digest
}

/** BLAKE2b keyed with `key`, `lengthBytes` 16 to 64. */
export function keyedHash(key: Uint8Array, lengthBytes: number, bytes: Uint8Array): Buffer {
  const digest = Buffer.allocUnsafe(lengthBytes)
  sodium.crypto_generichash(digest, bytes, key)
  return digest
}

/** A 32-byte key for one purpose, from a 32-byte secret: BLAKE2b-256(key = secret, purpose). */
export function deriveKey(secret: Uint8Array, purpose: string): Buffer {
  return keyedHash(secret, KEY_BYTES, Buffer.from(`wormhole/1/${purpose}`, 'utf8'))
}

/** A signing (Ed25519) key pair. */
export interface SigningKeys {
  readonly publicKey: Buffer
  readonly secretKey: Buffer
}

/** The Ed25519 key pair of a 32-byte seed. */
export function signingKeys(seed: Uint8Array): SigningKeys {
  const publicKey = Buffer.alloc(sodium.crypto_sign_PUBLICKEYBYTES)
  const secretKey = Buffer.alloc(sodium.crypto_sign_SECRETKEYBYTES)
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, seed)
  return { publicKey, secretKey }
}

/** Detached Ed25519 signature. */
export function sign(secretKey: Uint8Array, message: Uint8Array): Buffer {
  const signature = Buffer.allocUnsafe(SIGNATURE_BYTES)
  sodium.crypto_sign_detached(signature, message, secretKey)
  return signature
}

/** Whether `signature` is `publicKey`'s on `message`. Never throws on malformed input. */
export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== SIGNATURE_BYTES) return false
  return sodium.crypto_sign_verify_detached(signature, message, publicKey)
}

/** A box (X25519) key pair. */
export interface BoxKeys {
  readonly publicKey: Buffer
  readonly secretKey: Buffer
}

/** The X25519 key pair of a 32-byte seed. */
export function boxKeys(seed: Uint8Array): BoxKeys {
  const publicKey = Buffer.alloc(sodium.crypto_box_PUBLICKEYBYTES)
  const secretKey = Buffer.alloc(sodium.crypto_box_SECRETKEYBYTES)
  sodium.crypto_box_seed_keypair(publicKey, secretKey, seed)
  return { publicKey, secretKey }
}

/**
 * Seals bytes to a box key; only its owner opens them. These are the bytes of `crypto_box_seal`:
 * an ephemeral public key, then a box whose nonce is the digest of both public keys. That function
 * draws its own chance, and one seed must give one simulated volume.
 */
export function sealToBox(publicKey: Uint8Array, plain: Uint8Array, random: Random): Buffer {
  const ephemeral = boxKeys(random.bytes(KEY_BYTES))
  const sealed = Buffer.allocUnsafe(plain.length + BOX_OVERHEAD_BYTES)
  sealed.set(ephemeral.publicKey)
  const nonce = Buffer.allocUnsafe(NONCE_BYTES)
  sodium.crypto_generichash_batch(nonce, [ephemeral.publicKey, publicKey])
  const box = sealed.subarray(ephemeral.publicKey.length)
  sodium.crypto_box_easy(box, plain, nonce, publicKey, ephemeral.secretKey)
  ephemeral.secretKey.fill(0)
  return sealed
}

/** Opens a sealed box. @throws {WormholeError} `KEY_MISSING` when it is not for these keys. */
export function unsealFromBox(keys: BoxKeys, sealed: Uint8Array): Buffer {
  const plain = Buffer.allocUnsafe(Math.max(0, sealed.length - sodium.crypto_box_SEALBYTES))
  const opened =
    sealed.length >= sodium.crypto_box_SEALBYTES &&
    sodium.crypto_box_seal_open(plain, sealed, keys.publicKey, keys.secretKey)
  if (!opened) throw new WormholeError('KEY_MISSING', 'sealed box is not for this device')
  return plain
}
