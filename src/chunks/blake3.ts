/**
 * BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, "BLAKE3: one function, fast everywhere",
 * 2021), plain and keyed, 32 bytes, synchronous.
 *
 * Two implementations that give the same bits: the native `@napi-rs/blake-hash`, and WebAssembly
 * (`hash-wasm`) where no native binary fits. Hashers are reused: making a native one costs as much
 * as hashing 64 KiB.
 */
import { createRequire } from 'node:module'
import type { IHasher } from 'hash-wasm'
import type { Blake3Hasher } from '@napi-rs/blake-hash'

/** Hashes with one key (or none). Not reentrant, keeps nothing between calls. */
export interface Hasher {
  /** The 32-byte digest of the parts, one after the other. Fresh memory. */
  digest(...parts: readonly Uint8Array[]): Buffer
  /** The digest of `bytes` as 64 hex digits: 3 µs less than `digest`, whose memory is external. */
  hex(bytes: Uint8Array): string
}

/** Makes hashers; without a key plain BLAKE3, otherwise keyed with 32 bytes. */
export type HasherFactory = (key?: Uint8Array) => Hasher

type Native = typeof import('@napi-rs/blake-hash')

function loadNative(): Native | undefined {
  try {
    return createRequire(import.meta.url)('@napi-rs/blake-hash') as Native
  } catch (error) {
    // The package throws plain errors when it has no binary for this machine: hash-wasm steps in.
    if (error instanceof Error) return undefined
    throw error
  }
}

/** The factory over a loaded native module. */
export function nativeHashers(native: Native): HasherFactory {
  return (key) => {
    const hasher: Blake3Hasher = key
      ? native.Blake3Hasher.newKeyed(Buffer.from(key))
      : new native.Blake3Hasher()
    return {
      digest(...parts) {
        hasher.reset()
        for (const part of parts) hasher.update(part)
        return hasher.digestBuffer()
      },
      hex(bytes) {
        hasher.reset()
        return hasher.update(bytes).digest('hex')
      },
    }
  }
}

/**
 * The factory over hash-wasm. It makes keyed hashers only asynchronously, but all of them run the
 * same code: a keyed one is the plain one with another start state. That state (`save`) is a 4-byte
 * mark and the C struct `blake3_hasher`: key words, chaining value, …, flags, of which key, value
 * and flags differ. A test compares the result with the native module.
 */
export async function wasmHashers(): Promise<HasherFactory> {
  // Loaded only where it is needed: it carries the code of every hash there is.
  const { createBLAKE3 } = await import('hash-wasm')
  const shared: IHasher = await createBLAKE3()
  const plainState = shared.init().save()
  return (key) => {
    const state = Buffer.from(plainState)
    if (key) {
      state.set(key, STATE_KEY_AT)
      state.set(key, STATE_VALUE_AT)
      state[STATE_FLAGS_AT] = KEYED_HASH_FLAG
    }
    return {
      digest(...parts) {
        shared.load(state)
        for (const part of parts) shared.update(part)
        return Buffer.from(shared.digest('binary'))
      },
      hex(bytes) {
        shared.load(state)
        return shared.update(bytes).digest('hex')
      },
    }
  }
}

const STATE_KEY_AT = 4
const STATE_VALUE_AT = 36
const STATE_FLAGS_AT = 142
const KEYED_HASH_FLAG = 16

const native = loadNative()

/** The factory of this machine: native when there is a binary, otherwise WebAssembly. */
export const createHasher: HasherFactory = native ? nativeHashers(native) : await wasmHashers()

const plain = createHasher()

/** BLAKE3 of the bytes, 32 bytes, fresh memory. */
export function blake3(bytes: Uint8Array): Buffer {
  return plain.digest(bytes)
}

/** BLAKE3 of the bytes as 64 hex digits. */
export function blake3Hex(bytes: Uint8Array): string {
  return plain.hex(bytes)
}
