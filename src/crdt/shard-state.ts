/** What must be known of a shard in order to write its next change: one small row per shard. */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { ActorId } from '../types.ts'
import { TABLE, type Layer } from './layer.ts'
import type { RowReader } from './rows.ts'

/** Last byte of the row of a shard with doubles. */
const DOUBLED = 1

/** The state of one shard. */
export interface ShardState {
  readonly shard: number
  /** Records (location registers) in it. */
  entries: number
  /** Hashes of changes that nothing follows yet, and the greatest op counter up to each. Sorted. */
  heads: readonly { readonly hash: string; readonly maxOp: number }[]
  /** Changes of each actor. */
  seqs: Map<ActorId, number>
  /** Bytes of the saved document; 0 when there is none. */
  snapshotBytes: number
  /** Changes since then: the first and the next number of their rows, and their bytes. */
  deltaFirst: number
  deltaNext: number
  deltaBytes: number
  /**
   * Whether an actor has two changes of one number here: all changes are kept as they came, and
   * `graph.ts` stands for the document.
   */
  isDoubled: boolean
}

/** Key of a shard's row. */
export function shardStateKey(shard: number): string {
  return TABLE.shardState + String.fromCharCode(shard >> 8, shard & 255)
}

/** Records in a shard, without decoding the rest. */
export function entriesInShard(layer: Layer, shard: number): number {
  const bytes = layer.raw(shardStateKey(shard))
  return bytes ? new ByteReader(bytes, 'INDEX_CORRUPT').varint() : 0
}

/** Greatest op counter in the shard. */
export function maxOpOf(state: ShardState): number {
  let max = 0
  for (const head of state.heads) max = Math.max(max, head.maxOp)
  return max
}

/** A fresh copy of a shard's state; that of an empty shard when there is none. */
export function readShardState(layer: Layer, shard: number): ShardState {
  const bytes = layer.raw(shardStateKey(shard))
  const state: ShardState = {
    shard,
    entries: 0,
    heads: [],
    seqs: new Map(),
    snapshotBytes: 0,
    deltaFirst: 0,
    deltaNext: 0,
    deltaBytes: 0,
    isDoubled: false,
  }
  if (!bytes) return state
  const reader = new ByteReader(bytes, 'INDEX_CORRUPT')
  state.entries = reader.varint()
  state.snapshotBytes = reader.varint()
  state.deltaFirst = reader.varint()
  state.deltaNext = reader.varint()
  state.deltaBytes = reader.varint()
  const heads: { hash: string; maxOp: number }[] = []
  for (let left = reader.varint(); left > 0; left--) {
    heads.push({ hash: reader.hex(32), maxOp: reader.varint() })
  }
  state.heads = heads
  for (let left = reader.varint(); left > 0; left--) {
    const actor = layer.actorOf(reader.varint())
    state.seqs.set(actor, reader.varint())
  }
  if (reader.left > 0) state.isDoubled = reader.u8() === DOUBLED
  reader.end()
  return state
}

/** Whether an actor has two changes of one number in some shard. */
export function hasDoubles(rows: RowReader): boolean {
  return rows.range(TABLE.shardState).some(({ value }) => {
    const reader = new ByteReader(value, 'INDEX_CORRUPT')
    for (let field = 0; field < 5; field++) reader.varint()
    for (let left = reader.varint(); left > 0; left--) {
      reader.raw(32)
      reader.varint()
    }
    for (let left = 2 * reader.varint(); left > 0; left--) reader.varint()
    return reader.left > 0
  })
}

/** Stores a shard's state in the layer. */
export function writeShardState(layer: Layer, state: ShardState): void {
  const writer = new ByteWriter(128)
  writer.varint(state.entries).varint(state.snapshotBytes)
  writer.varint(state.deltaFirst).varint(state.deltaNext).varint(state.deltaBytes)
  writer.varint(state.heads.length)
  for (const head of state.heads) writer.hex(head.hash).varint(head.maxOp)
  writer.varint(state.seqs.size)
  for (const [actor, seq] of state.seqs) writer.varint(layer.numberOf(actor)).varint(seq)
  // Only where it is so: who does not know of it finds the row malformed and builds it anew.
  if (state.isDoubled) writer.u8(DOUBLED)
  layer.putRaw(shardStateKey(state.shard), writer.finish())
}
