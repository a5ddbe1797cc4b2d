/**
 * The messages of the channels as bytes: their fields, without the type. Grammar: README.md.
 *
 * `decodeMessage` takes hostile bytes: every count is bounded before anything is made of it, every
 * id is checked, trailing bytes are refused. A peer ignores message types that it does not know:
 * new ones that need no answer go to the end of their channel.
 */
import { isIP } from 'node:net'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { CODES, type ErrorCode } from '../errors.ts'
import { CONTROL_BYTES_MAX } from '../log/entry.ts'
import {
  branchId,
  feedDevice,
  feedGeneration,
  feedId,
  feedRoot,
  type ChunkAddress,
  type DeviceId,
  type FeedHead,
  type FeedId,
  type Frontier,
  type VolumeId,
} from '../types.ts'
import type { AdmissionRequest, KnownAddresses } from './interface.ts'
import { MESSAGE_BYTES_MAX, splitAddress } from './link.ts'

/** Versions of the session protocol this code speaks. */
export const VERSION_MIN = 1
export const VERSION_MAX = 1
/** Feeds in one frontier: devices times generations. */
export const FEEDS_MAX = 8192
/** Chunk addresses in one message. */
export const ADDRESSES_MAX = 1024
/** Frames in one answer. */
export const FRAMES_MAX = 4096
/** Devices in one list of addresses, and addresses of one device. */
export const KNOWN_DEVICES_MAX = 256
export const KNOWN_ADDRESSES_MAX = 8
/** Longest sealed bundle of secrets. */
export const SECRETS_BYTES_MAX = 64 * 1024
/** A sealed chunk has little more than 1 MiB; the store looks more closely. */
const SEALED_BYTES_MAX = 2 * 1024 * 1024
/** Bytes of a snapshot in one answer. */
export const SNAPSHOT_BYTES_MAX = 512 * 1024
const TEXT_BYTES_MAX = 512
/** An entry's length is a safe integer; nobody writes so many. */
const LENGTH_MAX = 2 ** 40

/** What a session sends and receives. */
export type Message =
  | {
      readonly type: 'hello'
      readonly versionMin: number
      readonly versionMax: number
      readonly volume: VolumeId
      /** Hex; tells apart two processes under one device key. */
      readonly instance: string
      /** Where the sender listens. */
      readonly addresses: readonly string[]
    }
  | { readonly type: 'ping' | 'pong'; readonly token: number }
  | { readonly type: 'addresses'; readonly known: readonly KnownAddresses[] }
  | { readonly type: 'publish'; readonly id: number }
  | { readonly type: 'published'; readonly id: number; readonly frontier: Frontier }
  /** The entry that revoked the receiver: the last message of a session. */
  | { readonly type: 'farewell'; readonly feed: FeedId; readonly frame: Uint8Array }
  | { readonly type: 'frontier'; readonly frontier: Frontier }
  | { readonly type: 'head'; readonly feed: FeedId; readonly head: FeedHead }
  | {
      readonly type: 'want'
      readonly id: number
      readonly feed: FeedId
      readonly fromSeq: number
      readonly bytesMax: number
    }
  | { readonly type: 'entries'; readonly id: number; readonly frames: readonly Uint8Array[] }
  | {
      readonly type: 'snapshot-want'
      readonly id: number
      /** Hex of a part's hash; zeros: the statement. */
      readonly hash: string
      readonly offset: number
    }
  | {
      readonly type: 'snapshot'
      readonly id: number
      /** Of the whole part; 0: there is none. */
      readonly sizeBytes: number
      readonly bytes: Uint8Array
    }
  | { readonly type: 'ask'; readonly id: number; readonly addresses: readonly ChunkAddress[] }
  | { readonly type: 'have'; readonly id: number; readonly has: readonly boolean[] }
  | {
      readonly type: 'get'
      readonly priority: 'foreground' | 'background'
      readonly addresses: readonly ChunkAddress[]
    }
  | { readonly type: 'chunk'; readonly address: ChunkAddress; readonly sealed: Uint8Array }
  | { readonly type: 'lacking' | 'cancel'; readonly addresses: readonly ChunkAddress[] }
  | { readonly type: 'admission'; readonly request: AdmissionRequest }
  | {
      readonly type: 'admitted'
      readonly sealedSecrets: Uint8Array
      readonly known: readonly KnownAddresses[]
    }
  | { readonly type: 'refused'; readonly code: ErrorCode; readonly message: string }

/** Names of messages, in code only. */
export type MessageType = Message['type']
/** Names of channels; on the wire `wormhole/` stands before them. */
export type ChannelName = 'session' | 'log' | 'chunks' | 'admission'

/** Longest channel and message type in front of a message. */
const PREFIX_BYTES_MAX = 2
const INTEGER_BYTES_MAX = 8
/** A random number of each process run. */
export const INSTANCE_BYTES = 8
/** Bytes of a branch's name. */
const BRANCH_BYTES = 16
/** Device, generation, branch with its length. */
const FEED_BYTES_MAX = 32 + INTEGER_BYTES_MAX + 1 + BRANCH_BYTES
/** Feed, length and hash. */
const HEAD_BYTES_MAX = FEED_BYTES_MAX + INTEGER_BYTES_MAX + 32
const FRONTIER_BYTES_MAX = INTEGER_BYTES_MAX + FEEDS_MAX * HEAD_BYTES_MAX
const TEXTS_BYTES_MAX = 1 + KNOWN_ADDRESSES_MAX * 65
const KNOWN_BYTES_MAX = INTEGER_BYTES_MAX + KNOWN_DEVICES_MAX * (32 + TEXTS_BYTES_MAX)
/** An entry without tree part: at most a control part, and what is around it. */
const FAREWELL_BYTES_MAX = CONTROL_BYTES_MAX + 1024
/** A list of chunks behind an id or a priority. */
const CHUNKS_BYTES_MAX = 2 * INTEGER_BYTES_MAX + ADDRESSES_MAX * 32

/**
 * Where each message belongs, its type there, and the most bytes it may have. The hello has no
 * type: it goes with the opening of its channel.
 */
export const MESSAGES = {
  hello: { channel: 'session', type: -1, bytesMax: 48 + INSTANCE_BYTES + TEXTS_BYTES_MAX },
  ping: { channel: 'session', type: 0, bytesMax: INTEGER_BYTES_MAX },
  pong: { channel: 'session', type: 1, bytesMax: INTEGER_BYTES_MAX },
  addresses: { channel: 'session', type: 2, bytesMax: KNOWN_BYTES_MAX },
  publish: { channel: 'session', type: 3, bytesMax: INTEGER_BYTES_MAX },
  published: { channel: 'session', type: 4, bytesMax: INTEGER_BYTES_MAX + FRONTIER_BYTES_MAX },
  farewell: { channel: 'session', type: 5, bytesMax: FEED_BYTES_MAX + FAREWELL_BYTES_MAX },
  frontier: { channel: 'log', type: 0, bytesMax: FRONTIER_BYTES_MAX },
  head: { channel: 'log', type: 1, bytesMax: HEAD_BYTES_MAX },
  want: { channel: 'log', type: 2, bytesMax: FEED_BYTES_MAX + 3 * INTEGER_BYTES_MAX },
  entries: { channel: 'log', type: 3, bytesMax: MESSAGE_BYTES_MAX - PREFIX_BYTES_MAX },
  'snapshot-want': { channel: 'log', type: 4, bytesMax: 32 + 2 * INTEGER_BYTES_MAX },
  snapshot: { channel: 'log', type: 5, bytesMax: SNAPSHOT_BYTES_MAX + 2 * INTEGER_BYTES_MAX },
  ask: { channel: 'chunks', type: 0, bytesMax: CHUNKS_BYTES_MAX },
  have: { channel: 'chunks', type: 1, bytesMax: 2 * INTEGER_BYTES_MAX + ADDRESSES_MAX / 8 },
  get: { channel: 'chunks', type: 2, bytesMax: CHUNKS_BYTES_MAX },
  chunk: { channel: 'chunks', type: 3, bytesMax: 32 + SEALED_BYTES_MAX },
  lacking: { channel: 'chunks', type: 4, bytesMax: CHUNKS_BYTES_MAX },
  cancel: { channel: 'chunks', type: 5, bytesMax: CHUNKS_BYTES_MAX },
  admission: { channel: 'admission', type: 0, bytesMax: 1024 },
  admitted: { channel: 'admission', type: 1, bytesMax: 2 * SECRETS_BYTES_MAX + KNOWN_BYTES_MAX },
  refused: { channel: 'admission', type: 2, bytesMax: 1024 },
} as const satisfies Record<
  MessageType,
  { readonly channel: ChannelName; readonly type: number; readonly bytesMax: number }
>

/** The messages of a channel by their type. */
export function channelMessages(name: ChannelName): MessageType[] {
  const placed = (Object.keys(MESSAGES) as MessageType[]).filter(
    (each) => MESSAGES[each].channel === name && MESSAGES[each].type >= 0,
  )
  return placed.sort((a, b) => MESSAGES[a].type - MESSAGES[b].type)
}

/** A message as the parts to send: a header, and the bulk without copying it. */
export function encodeMessage(message: Message): Uint8Array[] {
  const writer = new ByteWriter()
  switch (message.type) {
    case 'hello':
      writer.varint(message.versionMin).varint(message.versionMax).hex(message.volume)
      writer.hex(message.instance)
      return [writeTexts(writer, message.addresses).finish()]
    case 'ping':
    case 'pong':
    case 'publish':
      return [writer.varint('id' in message ? message.id : message.token).finish()]
    case 'addresses':
      return [writeKnown(writer, message.known).finish()]
    case 'published':
      return [writeFrontier(writer.varint(message.id), message.frontier).finish()]
    case 'farewell':
      return [writeFeed(writer, message.feed).bytes(message.frame).finish()]
    case 'frontier':
      return [writeFrontier(writer, message.frontier).finish()]
    case 'head':
      return [writeHead(writer, message.feed, message.head).finish()]
    case 'want':
      writeFeed(writer.varint(message.id), message.feed)
      return [writer.varint(message.fromSeq).varint(message.bytesMax).finish()]
    case 'entries':
      writer.varint(message.id).varint(message.frames.length)
      for (const frame of message.frames) writer.varint(frame.length)
      return [writer.finish(), ...message.frames]
    case 'snapshot-want':
      return [writer.varint(message.id).hex(message.hash).varint(message.offset).finish()]
    case 'snapshot':
      return [writer.varint(message.id).varint(message.sizeBytes).finish(), message.bytes]
    case 'ask':
      return [writeChunks(writer.varint(message.id), message.addresses).finish()]
    case 'have':
      return [writeBits(writer.varint(message.id), message.has).finish()]
    case 'get':
      writer.u8(message.priority === 'foreground' ? 1 : 0)
      return [writeChunks(writer, message.addresses).finish()]
    case 'chunk':
      return [writer.hex(message.address).finish(), message.sealed]
    case 'lacking':
    case 'cancel':
      return [writeChunks(writer, message.addresses).finish()]
    case 'admission':
      return [writeRequest(writer, message.request).finish()]
    case 'admitted':
      return [writeKnown(writer.bytes(message.sealedSecrets), message.known).finish()]
    case 'refused':
      writer.latin1(message.code).bytes(Buffer.from(message.message, 'utf8').subarray(0, 500))
      return [writer.finish()]
  }
}

/**
 * Reads one message. Byte fields are views of `bytes`.
 *
 * @throws {WormholeError} `PEER_MISBEHAVED` for anything malformed.
 */
export function decodeMessage(type: MessageType, bytes: Buffer): Message {
  const reader = new ByteReader(bytes, 'PEER_MISBEHAVED')
  const message = readFields(type, reader)
  reader.end()
  return message
}

function readFields(type: MessageType, reader: ByteReader): Message {
  switch (type) {
    case 'hello': {
      const versionMin = reader.varint()
      const versionMax = reader.varint()
      const volume = reader.hex(32) as VolumeId
      const instance = reader.hex(INSTANCE_BYTES)
      const addresses = readTexts(reader)
      return { type: 'hello', versionMin, versionMax, volume, instance, addresses }
    }
    case 'ping':
      return { type: 'ping', token: reader.varint() }
    case 'pong':
      return { type: 'pong', token: reader.varint() }
    case 'addresses':
      return { type: 'addresses', known: readKnown(reader) }
    case 'publish':
      return { type: 'publish', id: reader.varint() }
    case 'published':
      return { type: 'published', id: reader.varint(), frontier: readFrontier(reader) }
    case 'farewell': {
      const feed = readFeed(reader)
      return { type: 'farewell', feed, frame: reader.bytes(FAREWELL_BYTES_MAX) }
    }
    case 'admission':
      return { type: 'admission', request: readRequest(reader) }
    case 'admitted': {
      const sealedSecrets = reader.bytes(SECRETS_BYTES_MAX)
      return { type: 'admitted', sealedSecrets, known: readKnown(reader) }
    }
    case 'refused': {
      const code = reader.latin1(64)
      const message = reader.bytes(TEXT_BYTES_MAX).toString('utf8')
      const known = Object.hasOwn(CODES, code) ? (code as ErrorCode) : 'NOT_PERMITTED'
      return { type: 'refused', code: known, message }
    }
    default:
      return readBulk(type, reader)
  }
}

type BulkType = {
  [T in MessageType]: (typeof MESSAGES)[T]['channel'] extends 'log' | 'chunks' ? T : never
}[MessageType]

/** Messages of the log and of chunks. */
function readBulk(type: BulkType, reader: ByteReader): Message {
  switch (type) {
    case 'frontier':
      return { type: 'frontier', frontier: readFrontier(reader) }
    case 'head': {
      const feed = readFeed(reader)
      return { type: 'head', feed, head: readHead(reader) }
    }
    case 'want': {
      const id = reader.varint()
      const feed = readFeed(reader)
      return { type: 'want', id, feed, fromSeq: readLength(reader), bytesMax: reader.varint() }
    }
    case 'entries':
      return { type: 'entries', id: reader.varint(), frames: readFrames(reader) }
    case 'snapshot-want': {
      const id = reader.varint()
      return { type: 'snapshot-want', id, hash: reader.hex(32), offset: reader.varint() }
    }
    case 'snapshot': {
      const id = reader.varint()
      const sizeBytes = reader.varint()
      return { type: 'snapshot', id, sizeBytes, bytes: reader.raw(reader.left) }
    }
    case 'ask':
      return { type: 'ask', id: reader.varint(), addresses: readChunks(reader) }
    case 'have':
      return { type: 'have', id: reader.varint(), has: readBits(reader) }
    case 'get': {
      const priority = reader.u8() === 1 ? 'foreground' : 'background'
      return { type: 'get', priority, addresses: readChunks(reader) }
    }
    case 'chunk': {
      const address = reader.hex(32) as ChunkAddress
      return { type: 'chunk', address, sealed: reader.raw(reader.left) }
    }
    case 'lacking':
      return { type: 'lacking', addresses: readChunks(reader) }
    case 'cancel':
      return { type: 'cancel', addresses: readChunks(reader) }
  }
}

/** Whether peers may be told, and may tell, this address: an IP literal and a port. */
export function isDialAddress(address: string): boolean {
  const parts = splitAddress(address)
  return parts !== undefined && isIP(parts.host) !== 0
}

function readCount(reader: ByteReader, countMax: number, itemBytesMin: number): number {
  const count = reader.varint()
  if (count > countMax || count * itemBytesMin > reader.left) reader.fail(`count of ${count}`)
  return count
}

function readLength(reader: ByteReader): number {
  const length = reader.varint()
  if (length > LENGTH_MAX) reader.fail(`feed length of ${length}`)
  return length
}

function writeFeed(writer: ByteWriter, feed: FeedId): ByteWriter {
  const branch = feed.slice(feedRoot(feed).length + 1)
  return writer.hex(feedDevice(feed)).varint(feedGeneration(feed)).bytes(Buffer.from(branch, 'hex'))
}

function readFeed(reader: ByteReader): FeedId {
  const device = reader.hex(32) as DeviceId
  const feed = feedId(device, reader.varint())
  const branch = reader.bytes(BRANCH_BYTES)
  if (branch.length !== 0 && branch.length !== BRANCH_BYTES) reader.fail('name of a branch')
  return branch.length === 0 ? feed : branchId(feed, branch.toString('hex'))
}

function readHead(reader: ByteReader): FeedHead {
  const length = readLength(reader)
  if (length === 0) reader.fail('head of an empty feed')
  return { length, hash: reader.hex(32) }
}

function writeHead(writer: ByteWriter, feed: FeedId, head: FeedHead): ByteWriter {
  return writeFeed(writer, feed).varint(head.length).hex(head.hash)
}

function writeFrontier(writer: ByteWriter, frontier: Frontier): ByteWriter {
  writer.varint(frontier.size)
  for (const [feed, head] of frontier) writeHead(writer, feed, head)
  return writer
}

function readFrontier(reader: ByteReader): Frontier {
  const frontier = new Map<FeedId, FeedHead>()
  for (let count = readCount(reader, FEEDS_MAX, 67); count > 0; count--) {
    const feed = readFeed(reader)
    frontier.set(feed, readHead(reader))
  }
  return frontier
}

function writeTexts(writer: ByteWriter, texts: readonly string[]): ByteWriter {
  const sent = texts.slice(0, KNOWN_ADDRESSES_MAX)
  writer.varint(sent.length)
  for (const text of sent) writer.latin1(text)
  return writer
}

/** Addresses; those that are none are left out, so that a newer peer may send other kinds. */
function readTexts(reader: ByteReader): string[] {
  const texts: string[] = []
  for (let count = readCount(reader, KNOWN_ADDRESSES_MAX, 1); count > 0; count--) {
    const text = reader.latin1(64)
    if (isDialAddress(text)) texts.push(text)
  }
  return texts
}

function writeKnown(writer: ByteWriter, known: readonly KnownAddresses[]): ByteWriter {
  const sent = known.slice(0, KNOWN_DEVICES_MAX)
  writer.varint(sent.length)
  for (const { device, addresses } of sent) writeTexts(writer.hex(device), addresses)
  return writer
}

function readKnown(reader: ByteReader): KnownAddresses[] {
  const known: KnownAddresses[] = []
  for (let count = readCount(reader, KNOWN_DEVICES_MAX, 33); count > 0; count--) {
    const device = reader.hex(32) as DeviceId
    known.push({ device, addresses: readTexts(reader) })
  }
  return known
}

function writeChunks(writer: ByteWriter, addresses: readonly ChunkAddress[]): ByteWriter {
  writer.varint(addresses.length)
  for (const address of addresses) writer.hex(address)
  return writer
}

function readChunks(reader: ByteReader): ChunkAddress[] {
  const addresses: ChunkAddress[] = []
  for (let count = readCount(reader, ADDRESSES_MAX, 32); count > 0; count--) {
    addresses.push(reader.hex(32) as ChunkAddress)
  }
  return addresses
}

function writeBits(writer: ByteWriter, bits: readonly boolean[]): ByteWriter {
  writer.varint(bits.length)
  const packed = Buffer.alloc((bits.length + 7) >>> 3)
  for (let index = 0; index < bits.length; index++) {
    if (bits[index]) packed[index >>> 3]! |= 1 << (index & 7)
  }
  return writer.raw(packed)
}

function readBits(reader: ByteReader): boolean[] {
  const count = readCount(reader, ADDRESSES_MAX, 0)
  const packed = reader.raw((count + 7) >>> 3)
  const bits: boolean[] = []
  for (let index = 0; index < count; index++) {
    bits.push(((packed[index >>> 3] as number) & (1 << (index & 7))) !== 0)
  }
  return bits
}

function readFrames(reader: ByteReader): Buffer[] {
  const lengths: number[] = []
  for (let count = readCount(reader, FRAMES_MAX, 1); count > 0; count--) {
    lengths.push(reader.varint())
  }
  return lengths.map((length) => reader.raw(length))
}

function writeRequest(writer: ByteWriter, request: AdmissionRequest): ByteWriter {
  return writer
    .hex(request.volume)
    .hex(request.inviteKey)
    .hex(request.device)
    .bytes(Buffer.from(request.deviceName, 'utf8'))
    .bytes(request.boxKey)
    .bytes(request.signature)
}

function readRequest(reader: ByteReader): AdmissionRequest {
  const volume = reader.hex(32) as VolumeId
  const inviteKey = reader.hex(32)
  const device = reader.hex(32) as DeviceId
  const deviceName = reader.bytes(TEXT_BYTES_MAX).toString('utf8')
  const boxKey = reader.bytes(32)
  const signature = reader.bytes(64)
  if (boxKey.length !== 32 || signature.length !== 64) reader.fail('key or signature too short')
  return { volume, inviteKey, device, deviceName, boxKey, signature }
}
