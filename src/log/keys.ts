/**
 * The secrets of a volume and of a device, and every key that is derived from them. Nothing here
 * does I/O: the caller keeps the bytes in private files and passes them on sealed.
 *
 * A key generation has two secrets, so that a device that only stores (no names, no contents) can
 * be given the first one alone: `control` makes the control-part and topic keys, `tree` makes the
 * tree-part and content keys. The life secret seeds deduplication and never rotates.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { boxKeys, deriveKey, hash, KEY_BYTES, signingKeys } from '../seal.ts'
import type { BoxKeys, SigningKeys } from '../seal.ts'
import type { Random } from '../system.ts'
import type { DeviceId } from '../types.ts'
import { decodeBase32, encodeBase32 } from './base32.ts'
import { KEY_GENERATION_MAX } from './control.ts'
import type { LogKeys } from './interface.ts'

const SECRETS_VERSION = 1
/** With generations that were drawn: version 1 counts them. */
const DRAWN_VERSION = 2
/** A new generation lies at most so far above the greatest one known. */
const GENERATION_STEP_MAX = 1 << 20
const HAS_LIFE = 1
const HAS_TREE = 1

/** Most key generations of one volume. */
export const KEY_GENERATION_COUNT_MAX = 4096

/** The two secrets of one key generation. */
export interface GenerationSecrets {
  readonly control: Uint8Array
  readonly tree: Uint8Array | undefined
}

/** Derived keys of one generation, made once. */
interface GenerationKeys {
  readonly control: Buffer
  readonly topic: Buffer
  readonly tree: Buffer | undefined
  readonly content: Buffer | undefined
}

/** What the chunk store needs; structurally `ChunkKeys` of src/chunks. All keys 32 bytes. */
export interface DerivedChunkKeys {
  readonly dedup: Uint8Array
  readonly currentGeneration: number
  content(generation: number): Uint8Array | undefined
}

/** All secrets of one volume that this device holds. Immutable. */
export class VolumeSecrets {
  readonly #life: Uint8Array | undefined
  readonly #generations: ReadonlyMap<number, GenerationSecrets>
  readonly #keys = new Map<number, GenerationKeys>()
  /** The newest generation held. Which one seals, the log says (`rotation.ts`). */
  readonly currentGeneration: number

  private constructor(
    life: Uint8Array | undefined,
    generations: ReadonlyMap<number, GenerationSecrets>,
  ) {
    this.#life = life
    this.#generations = generations
    this.currentGeneration = Math.max(...generations.keys())
  }

  /** The secrets of a new volume: the life secret and generation 0. */
  static create(random: Random): VolumeSecrets {
    return new VolumeSecrets(random.bytes(KEY_BYTES), new Map([[0, newGeneration(random)]]))
  }

  /**
   * These secrets and a new generation. Its number is drawn above all that are known, because two
   * admins that do not know of each other must not choose the same one.
   */
  rotate(random: Random, greatestKnown = 0): VolumeSecrets {
    const drawn = Buffer.from(random.bytes(4)).readUInt32LE()
    const least = Math.max(greatestKnown, this.currentGeneration) + 1
    const generation = least + (drawn % GENERATION_STEP_MAX)
    if (generation > KEY_GENERATION_MAX) {
      throw new WormholeError('LIMIT_EXCEEDED', 'the volume has no key generation left')
    }
    return this.with(generation, newGeneration(random))
  }

  /** These secrets and those of one generation; what is held already stays. */
  with(generation: number, secrets: GenerationSecrets): VolumeSecrets {
    const generations = new Map([[generation, secrets], ...this.#generations])
    return new VolumeSecrets(this.#life, generations)
  }

  /** The secrets of one generation, as they are handed on; undefined when they are not all here. */
  generation(generation: number): Buffer | undefined {
    const secrets = this.#generations.get(generation)
    return secrets?.tree && Buffer.concat([secrets.control, secrets.tree])
  }

  /** Numbers of the generations that are held. */
  generations(): number[] {
    return [...this.#generations.keys()]
  }

  /** These secrets and those that only `other` holds (a member sent us newer generations). */
  merge(other: VolumeSecrets): VolumeSecrets {
    const generations = new Map(other.#generations)
    for (const [generation, secrets] of this.#generations) {
      if (secrets.tree !== undefined || !generations.has(generation)) {
        generations.set(generation, secrets)
      }
    }
    return new VolumeSecrets(this.#life ?? other.#life, generations)
  }

  /** What a device that only stores may hold: no tree, content or deduplication secrets. */
  withoutTree(): VolumeSecrets {
    const generations = new Map<number, GenerationSecrets>()
    for (const [generation, { control }] of this.#generations) {
      generations.set(generation, { control, tree: undefined })
    }
    return new VolumeSecrets(undefined, generations)
  }

  /** The bytes for a key file or a sealed box. Fresh memory; secret. Grammar: README.md. */
  encode(): Buffer {
    const isDrawn = this.currentGeneration >= KEY_GENERATION_COUNT_MAX
    const writer = new ByteWriter(256).u8(isDrawn ? DRAWN_VERSION : SECRETS_VERSION)
    if (this.#life === undefined) writer.u8(0)
    else writer.u8(HAS_LIFE).raw(this.#life)
    writer.varint(this.#generations.size)
    for (const [generation, { control, tree }] of this.#generations) {
      writer.varint(generation)
      if (tree === undefined) writer.u8(0).raw(control)
      else writer.u8(HAS_TREE).raw(control).raw(tree)
    }
    return writer.finish()
  }

  /**
   * The reverse of `encode`; copies what it keeps.
   * @throws {WormholeError} `KEY_MISSING` when malformed, `FORMAT_UNSUPPORTED`.
   */
  static decode(bytes: Uint8Array): VolumeSecrets {
    const reader = new ByteReader(bytes, 'KEY_MISSING')
    const version = reader.u8()
    if (version !== SECRETS_VERSION && version !== DRAWN_VERSION) {
      throw new WormholeError('FORMAT_UNSUPPORTED', `volume secrets of version ${version}`)
    }
    const flags = reader.u8()
    if (flags > HAS_LIFE) reader.fail(`flags ${flags}`)
    const life = flags === HAS_LIFE ? Buffer.from(reader.raw(KEY_BYTES)) : undefined
    const count = reader.varint()
    if (count === 0 || count > KEY_GENERATION_COUNT_MAX) reader.fail(`${count} key generations`)
    const generations = new Map<number, GenerationSecrets>()
    for (let index = 0; index < count; index++) {
      const generation = reader.varint()
      if (generations.has(generation)) reader.fail('key generation twice')
      const isKnown = version === DRAWN_VERSION || generation < KEY_GENERATION_COUNT_MAX
      if (!isKnown || generation > KEY_GENERATION_MAX) reader.fail(`key generation ${generation}`)
      const has = reader.u8()
      if (has > HAS_TREE) reader.fail(`key generation flags ${has}`)
      const control = Buffer.from(reader.raw(KEY_BYTES))
      const tree = has === HAS_TREE ? Buffer.from(reader.raw(KEY_BYTES)) : undefined
      generations.set(generation, { control, tree })
    }
    reader.end()
    return new VolumeSecrets(life, generations)
  }

  #generation(generation: number): GenerationKeys | undefined {
    const known = this.#keys.get(generation)
    if (known !== undefined) return known
    const secrets = this.#generations.get(generation)
    if (secrets === undefined) return undefined
    const { control, tree } = secrets
    const keys: GenerationKeys = {
      control: deriveKey(control, 'log/control'),
      topic: deriveKey(control, 'swarm/topic'),
      tree: tree && deriveKey(tree, 'log/tree'),
      content: tree && deriveKey(tree, 'chunks/content'),
    }
    this.#keys.set(generation, keys)
    return keys
  }

  /** Keys that seal and open entries. */
  logKeys(): LogKeys {
    return {
      currentGeneration: this.currentGeneration,
      control: (generation) => this.#generation(generation)?.control,
      tree: (generation) => this.#generation(generation)?.tree,
    }
  }

  /**
   * Keys of the chunk store. @throws {WormholeError} `KEY_MISSING` on a device that only stores.
   */
  chunkKeys(): DerivedChunkKeys {
    if (this.#life === undefined) {
      throw new WormholeError('KEY_MISSING', 'this device holds no content keys of the volume')
    }
    return {
      dedup: deriveKey(this.#life, 'chunks/dedup'),
      currentGeneration: this.currentGeneration,
      content: (generation) => this.#generation(generation)?.content,
    }
  }

  /** The 32-byte key of the rendezvous topic of a generation; undefined when not held. */
  topic(generation: number): Buffer | undefined {
    return this.#generation(generation)?.topic
  }
}

function newGeneration(random: Random): GenerationSecrets {
  return { control: random.bytes(KEY_BYTES), tree: random.bytes(KEY_BYTES) }
}

/** The keys of one device, all from one 32-byte seed. */
export interface Identity {
  readonly device: DeviceId
  /** Ed25519: signs entries, proves the device to peers. */
  readonly signing: SigningKeys
  /** X25519: receives the volume's secrets at admission. */
  readonly box: BoxKeys
  /**
   * A 32-byte key that never leaves this device, such as `journal/<volume>` or `index/<volume>`.
   */
  localKey(purpose: string): Buffer
}

/** The identity of a 32-byte seed. */
export function identityFromSeed(seed: Uint8Array): Identity {
  const signing = signingKeys(deriveKey(seed, 'identity/signing'))
  const box = boxKeys(deriveKey(seed, 'identity/box'))
  return {
    device: signing.publicKey.toString('hex') as DeviceId,
    signing,
    box,
    localKey: (purpose) => deriveKey(seed, `local/${purpose}`),
  }
}

const CODE_CHECK_BYTES = 3
const CODE_GROUP = 4
const CODE_LENGTH = ((KEY_BYTES + CODE_CHECK_BYTES) * 8) / 5

function recoveryCheck(seed: Uint8Array): Buffer {
  return hash(Buffer.from('wormhole/1/recovery', 'utf8'), seed).subarray(0, CODE_CHECK_BYTES)
}

/**
 * The recovery code of a 32-byte seed: 56 base-32 digits in groups of four, the last 24 bits a
 * checksum. For paper: upper case, dashes.
 */
export function encodeRecoveryCode(seed: Uint8Array): string {
  const digits = encodeBase32(Buffer.concat([seed, recoveryCheck(seed)])).toUpperCase()
  return (digits.match(new RegExp(`.{${CODE_GROUP}}`, 'g')) as string[]).join('-')
}

/**
 * The 32-byte seed of a recovery code; case, dashes and white space do not matter.
 * @throws {WormholeError} `BAD_ARGUMENT` that says what to look at.
 */
export function decodeRecoveryCode(code: string): Buffer {
  const digits = code.replace(/[\s-]/g, '')
  const bytes = decodeBase32(digits)
  if (typeof bytes === 'number') {
    const group = Math.floor(bytes / CODE_GROUP) + 1
    throw new WormholeError(
      'BAD_ARGUMENT',
      `recovery code: '${digits[bytes]}' in group ${group} is not a letter or digit of a code`,
    )
  }
  if (digits.length !== CODE_LENGTH) {
    throw new WormholeError(
      'BAD_ARGUMENT',
      `recovery code has ${digits.length} letters and digits, must have ${CODE_LENGTH}` +
        ` (${CODE_LENGTH / CODE_GROUP} groups of ${CODE_GROUP})`,
    )
  }
  const seed = bytes.subarray(0, KEY_BYTES)
  if (!recoveryCheck(seed).equals(bytes.subarray(KEY_BYTES))) {
    throw new WormholeError('BAD_ARGUMENT', 'recovery code is mistyped: its checksum differs')
  }
  return seed
}
