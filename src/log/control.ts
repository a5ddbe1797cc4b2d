/**
 * Control operations as bytes. Each is a MessagePack map (github.com/msgpack/msgpack, spec.md) with
 * a `type`, framed by its length, so that a reader keeps what a newer version wrote verbatim.
 *
 * An operation with an unknown type or an additional field is `unknown`, never half understood
 * (P1). A known one with a missing or wrong field is refused: `ENTRY_INVALID`.
 */
import { Decoder, Encoder } from '@msgpack/msgpack'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { BOX_OVERHEAD_BYTES, HASH_BYTES, KEY_BYTES, SIGNATURE_BYTES } from '../seal.ts'
import type { ActorId, DeviceId, Role } from '../types.ts'
import { feedGeneration, feedId } from '../types.ts'
import { GENERATION_MAX } from './frontier.ts'
import type { ControlOp, FeedTip } from './interface.ts'

/** Longest encoded operation. */
export const OP_BYTES_MAX = 16 * 1024
/** Longest device or volume name in UTF-8. */
export const LABEL_NAME_BYTES_MAX = 255
/** Most labels of one device, and the longest key and value in UTF-8. */
export const LABEL_COUNT_MAX = 64
export const LABEL_BYTES_MAX = 128
/** Most uses of one invite. */
export const INVITE_USES_MAX = 1_000_000

/** Most heads that a revocation names: 44 bytes each at most fit an operation. */
export const REVOKED_HEADS_MAX = 256
/** Greatest key generation: what an entry has room for. */
export const KEY_GENERATION_MAX = 0xffffffff
/** The secrets of one key generation, sealed to a box. */
export const SEALED_KEY_BYTES = 2 * KEY_BYTES + BOX_OVERHEAD_BYTES

const SALT_BYTES = 16
const ACTOR_BYTES = 16

const encoder = new Encoder()
/** Bounded per container: with 16 KiB of input, nested lengths cannot make it allocate much. */
const decoder = new Decoder({
  maxStrLength: OP_BYTES_MAX,
  maxBinLength: OP_BYTES_MAX,
  maxArrayLength: 64,
  maxMapLength: 64,
  maxExtLength: 64,
})

/**
 * The bytes of an operation. Fresh memory. @throws {WormholeError} `BAD_ARGUMENT`, out of limits.
 */
export function encodeOp(op: ControlOp): Uint8Array {
  if (op.type === 'unknown') return op.bytes
  const bytes = encoder.encode(toFields(op))
  try {
    decodeOp(bytes)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new WormholeError('BAD_ARGUMENT', `cannot write this operation: ${why}`, { cause: error })
  }
  return bytes
}

function toFields(op: Exclude<ControlOp, { type: 'unknown' }>): Record<string, unknown> {
  if (op.type === 'genesis' || op.type === 'admit' || op.type === 'key') {
    return { ...op, device: Buffer.from(op.device, 'hex') }
  }
  if (op.type === 'revoke') {
    return { ...op, device: Buffer.from(op.device, 'hex'), heads: encodeHeads(op.heads) }
  }
  return op.type === 'actor' ? { ...op, actor: Buffer.from(op.actor, 'hex') } : op
}

/** Of one device, so that its key is not repeated: generation, length, hash of each. */
function encodeHeads(heads: readonly FeedTip[]): Buffer {
  const writer = new ByteWriter(256).varint(heads.length)
  for (const { feed, length, hash } of heads) {
    writer.varint(feedGeneration(feed)).varint(length).hex(hash)
  }
  return writer.finish()
}

function decodeHeads(bytes: Uint8Array, device: DeviceId): FeedTip[] {
  const reader = new ByteReader(bytes)
  const count = reader.varint()
  if (count > REVOKED_HEADS_MAX) refuse(`${count} heads`)
  const heads: FeedTip[] = []
  for (let index = 0; index < count; index++) {
    const generation = reader.varint()
    if (generation > GENERATION_MAX) reader.fail(`feed generation ${generation}`)
    const length = reader.varint()
    if (length === 0) reader.fail('empty feed in a revocation')
    heads.push({ feed: feedId(device, generation), length, hash: reader.hex(HASH_BYTES) })
  }
  reader.end()
  return heads
}

/** The reverse of `encodeOp`; copies nothing large. @throws {WormholeError} `ENTRY_INVALID`. */
export function decodeOp(bytes: Uint8Array): ControlOp {
  if (bytes.length > OP_BYTES_MAX) refuse(`${bytes.length} bytes, at most ${OP_BYTES_MAX} allowed`)
  let value: unknown
  try {
    value = decoder.decode(bytes)
  } catch (error) {
    throw new WormholeError('ENTRY_INVALID', 'control operation is not MessagePack', {
      cause: error,
    })
  }
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isMap) refuse('not a map')
  const fields = new Fields(value as Record<string, unknown>)
  const op = decodeFields(fields)
  return op === undefined || fields.unread > 0 ? { type: 'unknown', bytes } : op
}

function refuse(why: string): never {
  throw new WormholeError('ENTRY_INVALID', `malformed control operation: ${why}`)
}

function decodeFields(fields: Fields): ControlOp | undefined {
  const type = fields.text('type', 64)
  switch (type) {
    case 'genesis':
      return {
        type,
        name: fields.text('name', LABEL_NAME_BYTES_MAX),
        createdMs: fields.integer('createdMs', Number.MAX_SAFE_INTEGER),
        device: fields.hex('device', KEY_BYTES) as DeviceId,
        deviceName: fields.text('deviceName', LABEL_NAME_BYTES_MAX),
        boxKey: fields.bytes('boxKey', KEY_BYTES),
        recoveryKey: fields.bytes('recoveryKey', KEY_BYTES),
        salt: fields.bytes('salt', SALT_BYTES),
      }
    case 'invite':
      return {
        type,
        inviteKey: fields.bytes('inviteKey', KEY_BYTES),
        role: fields.role('role'),
        expiresMs: fields.integer('expiresMs', Number.MAX_SAFE_INTEGER),
        usesMax: fields.integer('usesMax', INVITE_USES_MAX),
      }
    case 'admit':
      return {
        type,
        device: fields.hex('device', KEY_BYTES) as DeviceId,
        deviceName: fields.text('deviceName', LABEL_NAME_BYTES_MAX),
        boxKey: fields.bytes('boxKey', KEY_BYTES),
        inviteKey: fields.bytes('inviteKey', KEY_BYTES),
        signature: fields.bytes('signature', SIGNATURE_BYTES),
      }
    case 'actor':
      return {
        type,
        actor: fields.hex('actor', ACTOR_BYTES) as ActorId,
        deviceName: fields.text('deviceName', LABEL_NAME_BYTES_MAX),
      }
    case 'labels':
      return { type, labels: fields.labels('labels') }
    case 'ack':
      return { type }
    case 'revoke': {
      const device = fields.hex('device', KEY_BYTES) as DeviceId
      return { type, device, heads: decodeHeads(fields.anyBytes('heads'), device) }
    }
    case 'rotate':
      return {
        type,
        generation: fields.integer('generation', KEY_GENERATION_MAX),
        commitment: fields.bytes('commitment', HASH_BYTES),
      }
    case 'key':
      return {
        type,
        generation: fields.integer('generation', KEY_GENERATION_MAX),
        device: fields.hex('device', KEY_BYTES) as DeviceId,
        sealed: fields.bytes('sealed', SEALED_KEY_BYTES),
      }
    default:
      return undefined
  }
}

/** Takes the fields of a decoded map one by one and checks each. */
class Fields {
  readonly #map: Record<string, unknown>
  /** Fields not taken yet. */
  unread: number

  constructor(map: Record<string, unknown>) {
    this.#map = map
    this.unread = Object.keys(map).length
  }

  #take(name: string): unknown {
    if (!Object.hasOwn(this.#map, name)) refuse(`no '${name}'`)
    this.unread--
    return this.#map[name]
  }

  text(name: string, bytesMax: number): string {
    const value = this.#take(name)
    if (typeof value !== 'string') refuse(`'${name}' is no text`)
    checkText(name, value, bytesMax)
    return value
  }

  anyBytes(name: string): Buffer {
    const value = this.#take(name)
    if (!(value instanceof Uint8Array)) refuse(`'${name}' is no bytes`)
    return Buffer.from(value)
  }

  bytes(name: string, count: number): Buffer {
    const value = this.anyBytes(name)
    if (value.length !== count) refuse(`'${name}' has ${value.length} bytes, not ${count}`)
    return value
  }

  hex(name: string, count: number): string {
    return this.bytes(name, count).toString('hex')
  }

  integer(name: string, max: number): number {
    const value = this.#take(name)
    const isInteger = typeof value === 'number' && Number.isSafeInteger(value)
    if (!isInteger || value < 0 || value > max) refuse(`'${name}' is no integer from 0 to ${max}`)
    return value
  }

  role(name: string): Role {
    const value = this.#take(name)
    if (value === 'admin' || value === 'writer' || value === 'reader') return value
    return refuse(`'${name}' is no role`)
  }

  labels(name: string): Record<string, string> {
    const value = this.#take(name)
    if (typeof value !== 'object' || value === null) refuse(`'${name}' is no map`)
    const pairs = Object.entries(value)
    if (pairs.length > LABEL_COUNT_MAX) refuse(`${pairs.length} labels`)
    for (const [key, text] of pairs) {
      if (typeof text !== 'string') refuse(`label '${key}' is no text`)
      checkText('label', key, LABEL_BYTES_MAX)
      if (text !== '') checkText('label', text, LABEL_BYTES_MAX)
    }
    return Object.fromEntries(pairs) as Record<string, string>
  }
}

/** Text that a terminal can show: 1 to `bytesMax` bytes of UTF-8, no control characters. */
function checkText(name: string, text: string, bytesMax: number): void {
  const bytes = Buffer.byteLength(text, 'utf8')
  if (bytes === 0 || bytes > bytesMax)
    refuse(`'${name}' has ${bytes} bytes, 1 to ${bytesMax} allowed`)
  // C0, DEL and C1 characters would let a name rewrite somebody's terminal.
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) refuse(`'${name}' has control characters`)
}
