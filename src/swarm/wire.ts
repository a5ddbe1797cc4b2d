/**
 * The messages of a session as bytes: one type byte, then the fields. Grammar: README.md.
 *
 * `decode` takes hostile bytes: every count is bounded before anything is made of it, every id is
 * checked, trailing bytes are refused. Types from `OPTIONAL_FROM` on may be ignored by who does not
 * know them; an unknown one below is a peer that breaks the version agreed on.
 */
import { isIP } from 'node:net'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { CODES, type ErrorCode } from '../errors.ts'
import {
  feedDevice,
  feedGeneration,
  feedId,
  type ChunkAddress,
  type DeviceId,
  type FeedHead,
  type FeedId,
  type Frontier,
  type VolumeId,
} from '../types.ts'
import type { AdmissionRequest, KnownAddresses } from './interface.ts'
import { splitAddress } from './link.ts'

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
      /** Where the sender listens. */
      readonly addresses: readonly string[]
    }
  | { readonly type: 'ping' | 'pong'; readonly token: number }
  | { readonly type: 'addresses'; readonly known: readonly KnownAddresses[] }
  | { readonly type: 'publish'; readonly id: number }
  | { readonly type: 'published'; readonly id: number; readonly frontier: Frontier }
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
  | { readonly type: 'unknown'; readonly tag: number }

/** Type bytes. Control 0x01–0x0f, log 0x10–0x1f, chunks 0x20–0x2f, admission 0x30–0x3f. */
const TAGS = {
  hello: 0x01,
  ping: 0x02,
  pong: 0x03,
  addresses: 0x04,
  publish: 0x05,
  published: 0x06,
  frontier: 0x10,
  head: 0x11,
  want: 0x12,
  entries: 0x13,
  ask: 0x20,
  have: 0x21,
  get: 0x22,
  chunk: 0x23,
  lacking: 0x24,
  cancel: 0x25,
  admission: 0x30,
  admitted: 0x31,
  refused: 0x32,
} as const satisfies Record<Exclude<Message['type'], 'unknown'>, number>

/** Unknown types from here on are ignored. */
const OPTIONAL_FROM = 0x80

/** A message as the parts to send: a header, and the bulk without copying it. */
export function encodeMessage(message: Exclude<Message, { type: 'unknown' }>): Uint8Array[] {
  const writer = new ByteWriter().u8(TAGS[message.type])
  switch (message.type) {
    case 'hello':
      writer.varint(message.versionMin).varint(message.versionMax).hex(message.volume)
      return [writeTexts(writer, message.addresses).finish()]
    case 'ping':
    case 'pong':
    case 'publish':
      return [writer.varint('id' in message ? message.id : message.token).finish()]
    case 'addresses':
      return [writeKnown(writer, message.known).finish()]
    case 'published':
      return [writeFrontier(writer.varint(message.id), message.frontier).finish()]
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
export function decodeMessage(bytes: Buffer): Message {
  const reader = new ByteReader(bytes, 'PEER_MISBEHAVED')
  const tag = reader.u8()
  if (tag >= OPTIONAL_FROM) return { type: 'unknown', tag }
  const message = readFields(tag, reader)
  reader.end()
  return message
}

function readFields(tag: number, reader: ByteReader): Message {
  switch (tag) {
    case TAGS.hello: {
      const versionMin = reader.varint()
      const versionMax = reader.varint()
      const volume = reader.hex(32) as VolumeId
      const addresses = readTexts(reader)
      return { type: 'hello', versionMin, versionMax, volume, addresses }
    }
    case TAGS.ping:
      return { type: 'ping', token: reader.varint() }
    case TAGS.pong:
      return { type: 'pong', token: reader.varint() }
    case TAGS.addresses:
      return { type: 'addresses', known: readKnown(reader) }
    case TAGS.publish:
      return { type: 'publish', id: reader.varint() }
    case TAGS.published:
      return { type: 'published', id: reader.varint(), frontier: readFrontier(reader) }
    case TAGS.admission:
      return { type: 'admission', request: readRequest(reader) }
    case TAGS.admitted: {
      const sealedSecrets = reader.bytes(SECRETS_BYTES_MAX)
      return { type: 'admitted', sealedSecrets, known: readKnown(reader) }
    }
    case TAGS.refused: {
      const code = reader.latin1(64)
      const message = reader.bytes(TEXT_BYTES_MAX).toString('utf8')
      const known = Object.hasOwn(CODES, code) ? (code as ErrorCode) : 'NOT_PERMITTED'
      return { type: 'refused', code: known, message }
    }
    default:
      return readBulk(tag, reader)
  }
}

/** Messages of the log and of chunks. */
function readBulk(tag: number, reader: ByteReader): Message {
  switch (tag) {
    case TAGS.frontier:
      return { type: 'frontier', frontier: readFrontier(reader) }
    case TAGS.head: {
      const feed = readFeed(reader)
      return { type: 'head', feed, head: readHead(reader) }
    }
    case TAGS.want: {
      const id = reader.varint()
      const feed = readFeed(reader)
      return { type: 'want', id, feed, fromSeq: readLength(reader), bytesMax: reader.varint() }
    }
    case TAGS.entries:
      return { type: 'entries', id: reader.varint(), frames: readFrames(reader) }
    case TAGS.ask:
      return { type: 'ask', id: reader.varint(), addresses: readChunks(reader) }
    case TAGS.have:
      return { type: 'have', id: reader.varint(), has: readBits(reader) }
    case TAGS.get: {
      const priority = reader.u8() === 1 ? 'foreground' : 'background'
      return { type: 'get', priority, addresses: readChunks(reader) }
    }
    case TAGS.chunk: {
      const address = reader.hex(32) as ChunkAddress
      return { type: 'chunk', address, sealed: reader.raw(reader.left) }
    }
    case TAGS.lacking:
      return { type: 'lacking', addresses: readChunks(reader) }
    case TAGS.cancel:
      return { type: 'cancel', addresses: readChunks(reader) }
    default:
      return reader.fail(`unknown message type ${tag}`)
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
  return writer.hex(feedDevice(feed)).varint(feedGeneration(feed))
}

function readFeed(reader: ByteReader): FeedId {
  const device = reader.hex(32) as DeviceId
  return feedId(device, reader.varint())
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
  for (let count = readCount(reader, FEEDS_MAX, 66); count > 0; count--) {
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
