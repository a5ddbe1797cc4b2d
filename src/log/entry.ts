/**
 * Entries: what lies in a feed. Sealing and signing, verifying without any secret, opening with
 * strict validation. Format, limits and reader's rules: README.md.
 *
 * Every byte of a frame is bound by the signature or by being the only encoding of what is, so two
 * different frames never have one hash.
 */
import assert from 'node:assert/strict'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { hash, HASH_BYTES, seal, sign, SIGNATURE_BYTES, unseal, verify } from '../seal.ts'
import type { SigningKeys } from '../seal.ts'
import type { Random } from '../system.ts'
import { feedDevice, feedGeneration, feedRoot } from '../types.ts'
import type { FeedHead, FeedId, Frontier, VolumeId } from '../types.ts'
import { decodeOp, encodeOp, OP_BYTES_MAX } from './control.ts'
import { decodeFrame, encodeFrame, FRAME_BODY_BYTES_MAX } from './frame.ts'
import { EMPTY_FRONTIER, frontierDelta, frontierMerge, readTips, writeTips } from './frontier.ts'
import type {
  ControlOp,
  Entry,
  EntryBody,
  EntryFrame,
  FeedTip,
  LogKeys,
  TreePart,
} from './interface.ts'

/** Version of the entry format; the first byte of every body. */
export const ENTRY_VERSION = 1
/** Longest opened control part. */
export const CONTROL_BYTES_MAX = 1024 * 1024
/** Most control operations of one entry. */
export const OP_COUNT_MAX = 1024
/** Longest opened tree part: what a reader inflates at most. */
export const TREE_BYTES_MAX = 32 * 1024 * 1024
/** Shards of a volume; a change names one of them. */
const SHARD_COUNT = 4096
/** Most changes of one entry. */
const CHANGE_COUNT_MAX = 65536
/**
 * Every so many entries of a feed carry their whole frontier: whoever needs the one at some entry
 * (where a branch starts) opens at most so many.
 */
export const FRONTIER_EVERY = 256
/** Tree parts below this are not worth a deflate stream. */
const DEFLATE_BYTES_MIN = 256

const HAS_TREE = 1
const IS_GENESIS = 2
const TAG = Buffer.from('wormhole/1/entry', 'latin1')
const ZERO_HASH = Buffer.alloc(HASH_BYTES)
const CONTROL_PART = 0
const TREE_PART = 1
const STORED = 0
const DEFLATED = 1

/** Where an entry is written. */
export interface EntryPlace {
  /** Undefined for the genesis entry only: its hash becomes the volume id. */
  readonly volume: VolumeId | undefined
  readonly feed: FeedId
  /** The feed's head before it; undefined for the first entry. */
  readonly head: FeedHead | undefined
  /** Frontier of the feed's previous entry (`MemberTable.frontierOf`); empty for the first. */
  readonly previousFrontier: Frontier
}

/** The fields of a frame's body; views into it. */
export interface EntryFields {
  readonly isGenesis: boolean
  readonly seq: number
  readonly keyGeneration: number
  readonly previousHash: Buffer
  readonly control: Buffer
  readonly tree: Buffer | undefined
  readonly signature: Buffer
}

/** What all entries of one feed have in common in what is signed: tag, volume, feed. */
export interface FeedPrefix {
  readonly entry: Buffer
  readonly genesis: Buffer
}

/** The signed prefixes of a feed. Make it once per feed. */
export function feedPrefix(volume: VolumeId | undefined, feed: FeedId): FeedPrefix {
  const encode = (volumeHex: string): Buffer =>
    new ByteWriter(96)
      .raw(TAG)
      .hex(volumeHex)
      .hex(feedDevice(feed))
      .u32(feedGeneration(feed))
      .finish()
  const genesis = encode(ZERO_HASH.toString('hex'))
  return { genesis, entry: volume === undefined ? genesis : encode(volume) }
}

/**
 * The fields of an entry's body. Checks form only, no signature.
 * @throws {WormholeError} `ENTRY_INVALID`, `FORMAT_UNSUPPORTED`.
 */
export function decodeEntryFields(body: Buffer): EntryFields {
  const reader = new ByteReader(body)
  const version = reader.u8()
  if (version !== ENTRY_VERSION) {
    throw new WormholeError('FORMAT_UNSUPPORTED', `entry of format version ${version}`)
  }
  const flags = reader.u8()
  if (flags > (HAS_TREE | IS_GENESIS)) reader.fail(`flags ${flags}`)
  const seq = reader.varint()
  const keyGeneration = reader.varint()
  if (keyGeneration > 0xffffffff) reader.fail(`key generation ${keyGeneration}`)
  const previousHash = reader.raw(HASH_BYTES)
  const control = reader.bytes()
  const tree = flags & HAS_TREE ? reader.bytes() : undefined
  const signature = reader.raw(SIGNATURE_BYTES)
  reader.end()
  const isGenesis = (flags & IS_GENESIS) !== 0
  if (isGenesis && seq !== 0) reader.fail('a genesis entry that is not the first')
  if (seq === 0 && !previousHash.equals(ZERO_HASH)) reader.fail('a first entry with a previous one')
  return { isGenesis, seq, keyGeneration, previousHash, control, tree, signature }
}

/** The bytes that are signed. */
function signedMessage(prefix: FeedPrefix, fields: Omit<EntryFields, 'signature'>): Buffer {
  const before = fields.isGenesis ? prefix.genesis : prefix.entry
  return new ByteWriter(before.length + 12 + 3 * HASH_BYTES)
    .raw(before)
    .i64(BigInt(fields.seq))
    .raw(fields.previousHash)
    .u32(fields.keyGeneration)
    .raw(hash(fields.control))
    .raw(fields.tree === undefined ? ZERO_HASH : hash(fields.tree))
    .finish()
}

/** The entry's hash: BLAKE2b-256 of the signed bytes and the signature. */
export function entryHash(prefix: FeedPrefix, fields: EntryFields): Buffer {
  return hash(signedMessage(prefix, fields), fields.signature)
}

/** Associated data of a sealed part: where it belongs, so that it opens nowhere else. */
function sealedAbout(prefix: FeedPrefix, isGenesis: boolean, seq: number, part: number): Buffer {
  const before = isGenesis ? prefix.genesis : prefix.entry
  return new ByteWriter(before.length + 9).raw(before).i64(BigInt(seq)).u8(part).finish()
}

function requireKey(key: Uint8Array | undefined, what: string, generation: number): Uint8Array {
  if (key !== undefined) return key
  throw new WormholeError('KEY_MISSING', `no ${what} key of generation ${generation}`)
}

/**
 * Seals and signs the entry that follows `place.head`. `body.frontier` must not fall behind
 * `place.previousFrontier`; the own feed in it is left out.
 *
 * @throws {WormholeError} `KEY_MISSING`, `LIMIT_EXCEEDED` when it does not fit a frame,
 *   `BAD_ARGUMENT` for a control operation out of limits.
 */
export function sealEntry(
  body: EntryBody,
  place: EntryPlace,
  use: { readonly keys: LogKeys; readonly signing: SigningKeys; readonly random: Random },
): EntryFrame {
  const isGenesis = place.volume === undefined
  const seq = place.head?.length ?? 0
  assert(!isGenesis || seq === 0, 'the genesis entry is the first of its feed')
  assert(feedDevice(place.feed) === use.signing.publicKey.toString('hex'), 'the own feed only')
  const prefix = feedPrefix(place.volume, place.feed)
  const keyGeneration = use.keys.currentGeneration
  const sealPart = (key: Uint8Array | undefined, plain: Buffer, part: number): Buffer => {
    const about = sealedAbout(prefix, isGenesis, seq, part)
    return seal(requireKey(key, 'log', keyGeneration), plain, about, use.random)
  }
  const control = sealPart(
    use.keys.control(keyGeneration),
    encodeControl(body, place),
    CONTROL_PART,
  )
  const tree = body.tree && sealPart(use.keys.tree(keyGeneration), encodeTree(body.tree), TREE_PART)
  const previousHash = place.head === undefined ? ZERO_HASH : Buffer.from(place.head.hash, 'hex')
  const fields = { isGenesis, seq, keyGeneration, previousHash, control, tree }
  const message = signedMessage(prefix, fields)
  const signature = sign(use.signing.secretKey, message)
  const writer = new ByteWriter(control.length + (tree?.length ?? 0) + 256)
    .u8(ENTRY_VERSION)
    .u8((tree === undefined ? 0 : HAS_TREE) | (isGenesis ? IS_GENESIS : 0))
    .varint(seq)
    .varint(keyGeneration)
    .raw(previousHash)
    .bytes(control)
  if (tree !== undefined) writer.bytes(tree)
  const bytes = writer.raw(signature).finish()
  if (bytes.length > FRAME_BODY_BYTES_MAX) {
    throw new WormholeError(
      'LIMIT_EXCEEDED',
      `entry of ${bytes.length} bytes, at most ${FRAME_BODY_BYTES_MAX} fit`,
    )
  }
  return {
    feed: place.feed,
    seq,
    previousHash: previousHash.toString('hex'),
    hash: hash(message, signature).toString('hex'),
    bytes: encodeFrame(bytes),
  }
}

/**
 * Checks one frame that claims to be of a feed: limits, checksum, form and signature; for a genesis
 * entry also that its hash is the volume. Needs no secret. Whether it continues the feed is for
 * `FeedStore.append` to say. The result refers to `bytes`: do not change them.
 *
 * @throws {WormholeError} `ENTRY_INVALID`, `FORMAT_UNSUPPORTED`.
 */
export function verifyFrame(
  bytes: Uint8Array,
  place: { readonly volume: VolumeId; readonly feed: FeedId },
): EntryFrame {
  const fields = frameFields(bytes)
  const prefix = feedPrefix(place.volume, place.feed)
  const message = signedMessage(prefix, fields)
  if (!verify(Buffer.from(feedDevice(place.feed), 'hex'), message, fields.signature)) {
    throw new WormholeError('ENTRY_INVALID', `entry ${fields.seq} of ${place.feed}: bad signature`)
  }
  const hashHex = hash(message, fields.signature).toString('hex')
  if (fields.isGenesis && hashHex !== place.volume) {
    throw new WormholeError('ENTRY_INVALID', `genesis entry ${hashHex} of another volume`)
  }
  return {
    feed: place.feed,
    seq: fields.seq,
    previousHash: fields.previousHash.toString('hex'),
    hash: hashHex,
    bytes,
  }
}

function frameFields(bytes: Uint8Array): EntryFields {
  const body = decodeFrame(bytes)
  if (body === undefined) {
    throw new WormholeError('ENTRY_INVALID', `not one whole frame in ${bytes.length} bytes`)
  }
  return decodeEntryFields(body)
}

/**
 * Opens a verified frame. `tree` stays undefined on a device without its key. Every field is
 * checked: an entry that its author malformed is `ENTRY_INVALID` on every device alike; it stays in
 * the chain and counts as empty (`MemberTable.skip`). `frontier` is right for feeds without
 * branches; else it is made of `tips` (`frontierResolve`).
 *
 * @throws {WormholeError} `ENTRY_INVALID`, `FORMAT_UNSUPPORTED` (a part of a newer version),
 *   `KEY_MISSING` without the control key of its generation.
 */
export function openEntry(
  frame: EntryFrame,
  use: {
    readonly volume: VolumeId
    readonly keys: LogKeys
    /** Full frontier of the feed's previous entry; empty for the first. */
    readonly previousFrontier: Frontier
  },
): Entry {
  const fields = frameFields(frame.bytes)
  const { seq, keyGeneration, isGenesis } = fields
  const prefix = feedPrefix(use.volume, frame.feed)
  const controlKey = requireKey(use.keys.control(keyGeneration), 'control', keyGeneration)
  const treeKey = use.keys.tree(keyGeneration)
  const openPart = (key: Uint8Array, sealed: Buffer, part: number): Buffer =>
    unseal(key, sealed, sealedAbout(prefix, isGenesis, seq, part), 'ENTRY_INVALID')
  const { control, tips, hlc } = decodeControl(
    openPart(controlKey, fields.control, CONTROL_PART),
    frame.feed,
  )
  const hasTree = fields.tree !== undefined && treeKey !== undefined
  return {
    feed: frame.feed,
    seq,
    previousHash: frame.previousHash,
    hash: frame.hash,
    keyGeneration,
    hasSealedTree: fields.tree !== undefined,
    tips,
    control,
    tree: hasTree ? decodeTree(openPart(treeKey, fields.tree as Buffer, TREE_PART)) : undefined,
    frontier: frontierMerge(deltaBase(seq, use.previousFrontier), tips),
    hlc,
  }
}

function encodeControl(body: EntryBody, place: EntryPlace): Buffer {
  const { feed } = place
  const previousFrontier = deltaBase(place.head?.length ?? 0, place.previousFrontier)
  for (const [other, head] of previousFrontier) {
    const length = body.frontier.get(other)?.length ?? 0
    assert(length >= head.length, `frontier falls back in ${other}`)
  }
  const delta = frontierDelta(previousFrontier, body.frontier)
  for (const other of delta.keys()) if (feedRoot(other) === feed) delta.delete(other)
  const writer = new ByteWriter(256).u8(ENTRY_VERSION).varint(body.hlc)
  writeTips(writer, delta)
  if (body.control.length > OP_COUNT_MAX) {
    throw new WormholeError('LIMIT_EXCEEDED', `${body.control.length} control operations`)
  }
  writer.varint(body.control.length)
  for (const op of body.control) writer.bytes(encodeOp(op))
  if (writer.length > CONTROL_BYTES_MAX) {
    throw new WormholeError('LIMIT_EXCEEDED', `control part of ${writer.length} bytes`)
  }
  return writer.finish()
}

function decodeControl(
  plain: Buffer,
  feed: FeedId,
): { control: ControlOp[]; tips: FeedTip[]; hlc: number } {
  const reader = new ByteReader(plain)
  if (plain.length > CONTROL_BYTES_MAX) reader.fail(`control part of ${plain.length} bytes`)
  checkPartVersion(reader.u8(), 'control')
  const hlc = reader.varint()
  const tips = readTips(reader)
  const root = feedRoot(feed)
  if (tips.some((tip) => tip.feed === root)) reader.fail('its own feed in its frontier')
  const count = reader.varint()
  if (count > OP_COUNT_MAX) reader.fail(`${count} control operations`)
  const control: ControlOp[] = []
  for (let index = 0; index < count; index++) control.push(decodeOp(reader.bytes(OP_BYTES_MAX)))
  reader.end()
  return { control, tips, hlc }
}

/** What the frontier of an entry is written against, given that of the entry before. */
export function deltaBase(seq: number, previousFrontier: Frontier): Frontier {
  return seq % FRONTIER_EVERY === 0 ? EMPTY_FRONTIER : previousFrontier
}

function checkPartVersion(version: number, part: string): void {
  if (version === ENTRY_VERSION) return
  throw new WormholeError('FORMAT_UNSUPPORTED', `${part} part of format version ${version}`)
}

function encodeTree(tree: TreePart): Buffer {
  assert(tree.changes.length <= CHANGE_COUNT_MAX, `${tree.changes.length} changes`)
  const plain = new ByteWriter(1024)
    .varint(tree.epoch)
    .varint(tree.coveredTo)
    .varint(tree.changes.length)
  for (const { shard, change } of tree.changes) {
    assert(shard >= 0 && shard < SHARD_COUNT, `shard ${shard}`)
    plain.varint(shard).bytes(change)
  }
  const raw = plain.finish()
  if (raw.length > TREE_BYTES_MAX) {
    throw new WormholeError('LIMIT_EXCEEDED', `tree part of ${raw.length} bytes`)
  }
  const writer = new ByteWriter(raw.length + 16).u8(ENTRY_VERSION)
  if (raw.length >= DEFLATE_BYTES_MIN) {
    const deflated = deflateRawSync(raw, { level: 1 })
    if (deflated.length < raw.length - (raw.length >>> 4)) {
      return writer.u8(DEFLATED).varint(raw.length).raw(deflated).finish()
    }
  }
  return writer.u8(STORED).raw(raw).finish()
}

function decodeTree(plain: Buffer): TreePart {
  const outer = new ByteReader(plain)
  checkPartVersion(outer.u8(), 'tree')
  const codec = outer.u8()
  if (codec > DEFLATED) outer.fail(`codec ${codec}`)
  const raw = codec === STORED ? outer.raw(outer.left) : inflate(outer)
  if (raw.length > TREE_BYTES_MAX) outer.fail(`tree part of ${raw.length} bytes`)
  const reader = new ByteReader(raw)
  const epoch = reader.varint()
  const coveredTo = reader.varint()
  const count = reader.varint()
  if (count > CHANGE_COUNT_MAX) reader.fail(`${count} changes`)
  const changes: { shard: number; change: Buffer }[] = []
  for (let index = 0; index < count; index++) {
    const shard = reader.varint()
    if (shard >= SHARD_COUNT) reader.fail(`shard ${shard}`)
    const change = reader.bytes()
    if (change.length === 0) reader.fail('empty change')
    changes.push({ shard, change })
  }
  reader.end()
  return { epoch, changes, coveredTo }
}

/** Inflates to exactly the size that was announced, which is bounded. */
function inflate(reader: ByteReader): Buffer {
  const size = reader.varint()
  if (size === 0 || size > TREE_BYTES_MAX) reader.fail(`tree part of ${size} bytes`)
  let raw: Buffer
  try {
    raw = inflateRawSync(reader.raw(reader.left), { maxOutputLength: size })
  } catch (error) {
    throw new WormholeError('ENTRY_INVALID', 'tree part does not inflate', { cause: error })
  }
  if (raw.length !== size) reader.fail(`tree part of ${raw.length} bytes, ${size} announced`)
  return raw
}
