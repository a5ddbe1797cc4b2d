/**
 * Which shard something new goes to: that of its directory until it is full. Only a habit that
 * keeps neighbours together: any choice is right, so what is known of a shard may be old. Shards
 * only grow, so a full one is never asked again.
 */
import type { Random } from '../system.ts'
import type { InodeId } from '../types.ts'
import { inodeShard, SHARD_COUNT } from './ids.ts'
import type { Layer } from './layer.ts'
import { entriesInShard } from './shard-state.ts'

/** A file takes its directory's shard until that holds this many records; then the next one. */
const FILES_MAX = 2_000
/** A directory takes its parent's shard until that holds this many; then a random one. */
const DIRECTORIES_MAX = 500

/** Chooses shards for one layer. The row of a shard is read once for all the room that it has. */
export class ShardChoice {
  readonly #layer: Layer
  readonly #random: Random
  /** Places left, as of the last look at the row; 0: full. */
  readonly #fileRoom = new Map<number, number>()
  readonly #directoryRoom = new Map<number, number>()
  /** Shard → the first one from there on that had room for files. */
  readonly #next = new Map<number, number>()

  constructor(layer: Layer, random: Random) {
    this.#layer = layer
    this.#random = random
  }

  /** For a directory in `parent`. */
  forDirectory(parent: InodeId): number {
    let shard = inodeShard(parent)
    for (let tries = 1; !this.#take(this.#directoryRoom, shard, DIRECTORIES_MAX); tries++) {
      const [low, high] = this.#random.bytes(2) as unknown as [number, number]
      shard = ((high << 8) | low) % SHARD_COUNT
      if (tries === SHARD_COUNT) break
    }
    return shard
  }

  /** For anything else in `parent`. */
  forFile(parent: InodeId): number {
    const first = inodeShard(parent)
    const start = this.#next.get(first) ?? first
    let shard = start
    for (let tries = 1; !this.#take(this.#fileRoom, shard, FILES_MAX); tries++) {
      shard = (shard + 1) % SHARD_COUNT
      if (tries === SHARD_COUNT) break
    }
    if (shard !== start) this.#next.set(first, shard)
    return shard
  }

  /** Takes one place; false when the shard is full. */
  #take(room: Map<number, number>, shard: number, max: number): boolean {
    const known = room.get(shard)
    if (known === 0) return false
    // Of what was taken, some may have come to nothing; and others fill the shard, too.
    const isStale = known === undefined || known === 1
    const left = isStale ? Math.max(0, max - entriesInShard(this.#layer, shard)) : known - 1
    room.set(shard, left)
    return left > 0
  }
}
