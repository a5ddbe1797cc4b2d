/**
 * Zstandard (RFC 8878) with output that is bounded before anything is allocated: the library at
 * hand decodes without a limit, so the frame is walked first.
 */
import { createRequire } from 'node:module'
import type { Decoder, Encoder } from '@toondepauw/node-zstd'
import { WormholeError } from '../errors.ts'

type Library = typeof import('@toondepauw/node-zstd')

const LEVEL = 1
let loaded: { encoder: Encoder; decoder: Decoder } | undefined

/** Loaded at the first use: most threads have none. */
function library(): { encoder: Encoder; decoder: Decoder } {
  if (loaded) return loaded
  // CommonJS whose names Node cannot see: an `import` of them fails.
  const { Decoder, Encoder } = createRequire(import.meta.url)('@toondepauw/node-zstd') as Library
  loaded = { encoder: new Encoder(LEVEL), decoder: new Decoder() }
  return loaded
}

const MAGIC = 0xfd2fb528
/** Largest result of one block (RFC 8878 §3.1.1.2.4). */
const BLOCK_BYTES_MAX = 128 * 1024
/** Largest window that we decode: as large as a chunk. */
const WINDOW_BYTES_MAX = 1024 * 1024
/**
 * Slack for encoders that end blocks early. With it a hostile frame makes the decoder fill at most
 * `bytesMax` + 2 MiB.
 */
const BLOCK_COUNT_SLACK = 16

/** The bytes as one Zstandard frame, level 1. Fresh memory. */
export function compress(bytes: Buffer): Buffer {
  return library().encoder.encodeSync(bytes)
}

/**
 * What `compress` was given, at most `bytesMax` bytes. Fresh memory.
 *
 * @throws {WormholeError} `CHUNK_CORRUPT` when it is not one frame, or larger.
 */
export function decompress(frame: Buffer, bytesMax: number): Buffer {
  checkFrame(frame, bytesMax)
  let bytes: Buffer
  try {
    bytes = library().decoder.decodeSync(frame)
  } catch (error) {
    throw new WormholeError('CHUNK_CORRUPT', 'compressed chunk does not decode', { cause: error })
  }
  if (bytes.length > bytesMax) {
    throw new WormholeError('CHUNK_CORRUPT', `compressed chunk holds ${bytes.length} bytes`)
  }
  return bytes
}

/** Walks the frame header (RFC 8878 §3.1.1.1) and the block headers (§3.1.1.2). */
function checkFrame(frame: Buffer, bytesMax: number): void {
  if (frame.length < 6 || frame.readUInt32LE(0) !== MAGIC) refuse('is no zstd frame')
  const descriptor = frame[4] as number
  const isSingleSegment = (descriptor & 0x20) !== 0
  const checksumBytes = (descriptor & 0x04) !== 0 ? 4 : 0
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] as number
  if (dictionaryBytes !== 0) refuse('needs a dictionary')
  let at = 5
  if (!isSingleSegment) {
    const window = frame[at++] as number
    const base = 2 ** (10 + (window >> 3))
    if (base + (base / 8) * (window & 7) > WINDOW_BYTES_MAX) refuse('has too large a window')
  }
  at += sizeBytes
  const blockCountMax = Math.ceil(bytesMax / BLOCK_BYTES_MAX) + BLOCK_COUNT_SLACK
  for (let count = 0; count < blockCountMax; count++) {
    if (at + 3 > frame.length) refuse('is cut')
    const header = frame.readUIntLE(at, 3)
    const isRunLength = ((header >> 1) & 3) === 1
    if (header >> 3 > BLOCK_BYTES_MAX) refuse('has too large a block')
    at += 3 + (isRunLength ? 1 : header >> 3)
    if ((header & 1) === 0) continue
    if (at + checksumBytes !== frame.length) refuse('has the wrong length')
    return
  }
  refuse('has too many blocks')
}

function refuse(why: string): never {
  throw new WormholeError('CHUNK_CORRUPT', `compressed chunk ${why}`)
}
