/**
 * A segment file as text for people, without keys: what lies where, and what is wrong. Pure; the
 * command around it is scripts/inspect.ts.
 */
import { ByteReader } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import type { FeedId, VolumeId } from '../types.ts'
import { decodeEntryFields, entryHash, feedPrefix, type FeedPrefix } from './entry.ts'
import { asBuffer, checkedFrameBytes, FRAME_HEADER_BYTES } from './frame.ts'
import { readFeed } from './frontier.ts'
import { decodeRecord } from './journal.ts'
import {
  decodeMark,
  decodeSegmentHeader,
  HEADER_KIND,
  MARK_KIND,
  type SegmentHeader,
} from './segment-format.ts'

/** What `inspectSegment` found. */
export interface Inspection {
  readonly lines: readonly string[]
  /** Whether every byte belongs to a right frame, or to room: zeros up to the end. */
  readonly isSound: boolean
}

/**
 * One line per frame: offset, size, meaning. With `hasHex` the frame's bytes follow, 16 per line.
 * Signatures and seals are not checked: that needs keys.
 */
export function inspectSegment(
  bytes: Uint8Array,
  options: { readonly hasHex?: boolean } = {},
): Inspection {
  const buffer = asBuffer(bytes)
  const lines = ['  offset    bytes  frame']
  const describe = describer()
  let at = 0
  while (at < buffer.length) {
    const size = checkedFrameBytes(buffer, at)
    if (size === 0) {
      const isRoom = buffer.subarray(at).every((byte) => byte === 0)
      const what = isRoom ? 'zeros: room for more' : 'BAD: no right frame starts here'
      lines.push(row(at, buffer.length - at, what))
      return { lines, isSound: isRoom }
    }
    lines.push(row(at, size, describe(buffer.subarray(at, at + size))))
    if (options.hasHex) lines.push(...hexLines(buffer.subarray(at, at + size)))
    at += size
  }
  return { lines, isSound: true }
}

function row(offset: number, size: number, text: string): string {
  return `${String(offset).padStart(8)} ${String(size).padStart(8)}  ${text}`
}

function* hexLines(frame: Buffer): Generator<string> {
  for (let at = 0; at < frame.length; at += 16) {
    const pairs = frame
      .subarray(at, at + 16)
      .toString('hex')
      .match(/../g) as string[]
    yield `${' '.repeat(19)}${pairs.join(' ')}`
  }
}

/** Describes the frames of one segment in order; remembers what its header said. */
function describer(): (frame: Buffer) => string {
  let header: SegmentHeader | undefined
  let prefix: FeedPrefix | undefined
  const describe = (frame: Buffer): string => {
    const body = frame.subarray(FRAME_HEADER_BYTES)
    if (body[0] === HEADER_KIND) {
      header = decodeSegmentHeader(body, 'ENTRY_INVALID')
      const identity = header.kind === 'feed' ? decodeFeedIdentity(header.identity) : undefined
      prefix = identity && feedPrefix(identity.volume, identity.feed)
      const whose = identity ? ` ${short(identity.feed)} of volume ${short(identity.volume)}` : ''
      const salt = asBuffer(header.salt).toString('hex')
      return `header: ${header.kind}${whose}, first ${header.first}, salt ${salt}`
    }
    if (body[0] === MARK_KIND) {
      return `mark: ${decodeMark(body, 'ENTRY_INVALID')} bytes of this file were durable`
    }
    return header?.kind === 'journal' ? describeRecord(frame) : describeEntry(body, prefix)
  }
  return (frame) => {
    try {
      return describe(frame)
    } catch (error) {
      if (error instanceof WormholeError) return `BAD: ${error.code}, ${error.message}`
      throw error
    }
  }
}

function decodeFeedIdentity(identity: Uint8Array): { volume: VolumeId; feed: FeedId } {
  const reader = new ByteReader(identity)
  const volume = reader.hex(32) as VolumeId
  const feed = readFeed(reader)
  reader.end()
  return { volume, feed }
}

function describeRecord(frame: Buffer): string {
  const { number, type, sealed } = decodeRecord(frame)
  return `record ${number}: type ${type}, sealed ${sealed.length}`
}

function describeEntry(body: Buffer, prefix: FeedPrefix | undefined): string {
  const fields = decodeEntryFields(body)
  const hash = prefix ? short(entryHash(prefix, fields).toString('hex')) : 'unknown'
  const kind = fields.isGenesis ? 'genesis entry' : 'entry'
  const previous = short(fields.previousHash.toString('hex'))
  const tree = fields.tree === undefined ? 'no tree' : `tree ${fields.tree.length}`
  return (
    `${kind} ${fields.seq}: hash ${hash}, previous ${previous}, ` +
    `keys ${fields.keyGeneration}, control ${fields.control.length}, ${tree}`
  )
}

/** The first 8 digits, and what follows a feed's device. */
function short(id: string): string {
  return id.slice(0, 8) + id.slice(64)
}
