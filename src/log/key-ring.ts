/**
 * The secrets of a volume while the daemon runs: what the log hands to this device is added, and
 * the generation that seals changes when the log says so (`rotation.ts`).
 *
 * Order: new secrets are kept (one atomic file) before the caller commits the entry that handed
 * them, and a generation seals only once that entry is committed. So a crash between any two of
 * these leaves a device that is handed them again, or that holds more than it uses.
 */
import { WormholeError } from '../errors.ts'
import { hash, KEY_BYTES, sealToBox, unsealFromBox, type BoxKeys } from '../seal.ts'
import type { Random } from '../system.ts'
import type { HandedKey, LogKeys } from './interface.ts'
import type { VolumeSecrets } from './keys.ts'

/** What a ring is made of. */
export interface KeyRingOptions {
  readonly secrets: VolumeSecrets
  /** Opens what is handed to this device. */
  readonly box: BoxKeys
  /** Keeps the encoded secrets: they are durable when it returns. */
  save(secrets: Uint8Array): void
  /** Other generations are held, or another one seals. */
  onChange?(): void
}

/** See the head of this file. */
export class KeyRing implements LogKeys {
  readonly #options: KeyRingOptions
  #secrets: VolumeSecrets
  #keys: LogKeys
  #current: number

  constructor(options: KeyRingOptions) {
    this.#options = options
    this.#secrets = options.secrets
    this.#keys = options.secrets.logKeys()
    this.#current = Math.min(...options.secrets.generations())
  }

  /** The generation that new entries and chunks are sealed under. */
  get currentGeneration(): number {
    return this.#current
  }

  get secrets(): VolumeSecrets {
    return this.#secrets
  }

  control(generation: number): Uint8Array | undefined {
    return this.#keys.control(generation)
  }

  tree(generation: number): Uint8Array | undefined {
    return this.#keys.tree(generation)
  }

  holds(generation: number): boolean {
    return this.#secrets.generation(generation) !== undefined
  }

  /** From now on this generation seals. */
  use(generation: number): void {
    if (generation === this.#current) return
    this.#current = generation
    this.#options.onChange?.()
  }

  /**
   * Takes in what the log hands to this device. Returns whether it is new. What is held already, or
   * is not what was committed to, changes nothing.
   * @throws {WormholeError} what keeping it throws; then nothing has changed.
   */
  learn(handed: HandedKey): boolean {
    const { generation, commitment, sealed } = handed
    if (this.holds(generation)) return false
    const plain = this.#open(sealed)
    if (plain === undefined || commitmentOf(plain).toString('hex') !== commitment) return false
    const control = plain.subarray(0, KEY_BYTES)
    const tree = plain.subarray(KEY_BYTES)
    this.#take(this.#secrets.with(generation, { control, tree }))
    return true
  }

  #open(sealed: Uint8Array): Buffer | undefined {
    try {
      return unsealFromBox(this.#options.box, sealed)
    } catch (error) {
      if (error instanceof WormholeError) return undefined
      throw error
    }
  }

  #take(secrets: VolumeSecrets): void {
    this.#options.save(secrets.encode())
    this.#secrets = secrets
    this.#keys = secrets.logKeys()
    this.#options.onChange?.()
  }
}

/** Digest of the secrets of a generation: two equal ones are the same. */
export function commitmentOf(secrets: Uint8Array): Buffer {
  return hash(Buffer.from('wormhole/1/key generation', 'utf8'), secrets)
}

/** The secrets of a generation for one device. */
export function sealKey(boxKey: Uint8Array, secrets: Uint8Array, random: Random): Buffer {
  return sealToBox(boxKey, secrets, random)
}
