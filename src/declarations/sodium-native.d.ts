/** The part of sodium-native 5 that Wormhole uses; the package ships no types. */
declare module 'sodium-native' {
  /** What `require` gives. */
  export interface Sodium {
    crypto_sign_PUBLICKEYBYTES: number
    crypto_sign_SECRETKEYBYTES: number
    crypto_box_PUBLICKEYBYTES: number
    crypto_box_SECRETKEYBYTES: number
    crypto_box_SEALBYTES: number
    crypto_aead_xchacha20poly1305_ietf_encrypt(
      cipher: Uint8Array,
      plain: Uint8Array,
      about: Uint8Array | null,
      unused: null,
      nonce: Uint8Array,
      key: Uint8Array,
    ): number
    crypto_aead_xchacha20poly1305_ietf_decrypt(
      plain: Uint8Array,
      unused: null,
      cipher: Uint8Array,
      about: Uint8Array | null,
      nonce: Uint8Array,
      key: Uint8Array,
    ): number
    crypto_stream_xchacha20_xor_ic(
      plain: Uint8Array,
      cipher: Uint8Array,
      nonce: Uint8Array,
      counter: number,
      key: Uint8Array,
    ): void
    crypto_generichash(digest: Uint8Array, bytes: Uint8Array, key?: Uint8Array): void
    crypto_generichash_batch(digest: Uint8Array, parts: Uint8Array[], key?: Uint8Array): void
    crypto_sign_seed_keypair(publicKey: Uint8Array, secretKey: Uint8Array, seed: Uint8Array): void
    crypto_sign_detached(signature: Uint8Array, message: Uint8Array, secretKey: Uint8Array): void
    crypto_sign_verify_detached(
      signature: Uint8Array,
      message: Uint8Array,
      publicKey: Uint8Array,
    ): boolean
    crypto_box_seed_keypair(publicKey: Uint8Array, secretKey: Uint8Array, seed: Uint8Array): void
    crypto_box_easy(
      sealed: Uint8Array,
      plain: Uint8Array,
      nonce: Uint8Array,
      publicKey: Uint8Array,
      secretKey: Uint8Array,
    ): void
    crypto_box_seal_open(
      plain: Uint8Array,
      sealed: Uint8Array,
      publicKey: Uint8Array,
      secretKey: Uint8Array,
    ): boolean
  }
}
