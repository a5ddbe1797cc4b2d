/**
 * How far an index is: the facts beside the tree that say what of the log it shows. They are
 * written in the transaction that makes them true.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { DeviceId, FeedHead, FeedId } from '../types.ts'
import { readFrontier, writeFrontier } from './frontier.ts'

const FRONTIER = 'frontier'
const STAMPS = 'stamps'
/** The generation of the own feed below which nothing is written any more. */
const GENERATION = 'generation'

/** What an index shows. */
export interface Applied {
  readonly frontier: Map<FeedId, FeedHead>
  /** Stamp of the newest applied entry of each device. */
  readonly stamps: Map<DeviceId, number>
  /** Of the own feed; undefined in an empty index. */
  readonly generation: number | undefined
}

/** The facts by name; fresh memory. */
export function encodeApplied(applied: Applied): Map<string, Uint8Array> {
  const writer = new ByteWriter()
  writeFrontier(writer, applied.frontier)
  return new Map<string, Uint8Array>([
    [FRONTIER, writer.finish()],
    [STAMPS, Buffer.from(JSON.stringify([...applied.stamps]))],
    encodeGeneration(applied.generation),
  ])
}

/** The fact that has to outlive an index that is emptied or replaced. */
export function encodeGeneration(generation: number | undefined): [name: string, Uint8Array] {
  return [GENERATION, Buffer.from(String(generation))]
}

/** The reverse; `fact` gives one by name. @throws {WormholeError} `INDEX_CORRUPT`. */
export function readApplied(fact: (name: string) => Buffer | undefined): Applied {
  const frontier = fact(FRONTIER)
  const stamps = fact(STAMPS)
  const generation = fact(GENERATION)
  return {
    frontier: frontier ? readFrontier(new ByteReader(frontier, 'INDEX_CORRUPT')) : new Map(),
    stamps: new Map(stamps ? (JSON.parse(stamps.toString()) as [DeviceId, number][]) : []),
    generation: generation && Number(generation.toString()),
  }
}
