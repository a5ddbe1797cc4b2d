/**
 * The Automerge documents behind the registers: one per shard, a saved document plus the changes
 * since, in the row store.
 *
 * Publishing and applying do not load documents: `change.ts` writes and reads changes, and the rows
 * hold what a register's values are. A document is loaded to judge a change that follows something
 * else than the present heads, to fold many changes into a saved document, and by `verify`.
 */
import { createDocument, loadDocument, type AutomergeDocument } from './automerge.ts'
import type { DecodedChange } from './change.ts'
import { TABLE, type Layer } from './layer.ts'
import { readShardState, writeShardState, type ShardState } from './shard-state.ts'

/** Documents kept loaded; more make every Automerge call slower (evidence in README.md). */
const DOCUMENTS_MAX = 64
/** Changes since the saved document are folded into it beyond this, or beyond its own size. */
const DELTA_BYTES_MAX = 256 * 1024

function code(shard: number): string {
  return String.fromCharCode(shard >> 8, shard & 255)
}

function deltaKey(shard: number, number: number): string {
  const digits = Buffer.alloc(4)
  digits.writeUInt32BE(number)
  return TABLE.shardDelta + code(shard) + digits.toString('latin1')
}

/** All shards of one volume on this device. */
export class Shards {
  readonly #layer: Layer
  readonly #states = new Map<number, ShardState>()
  readonly #dirty = new Set<number>()
  /** In the order of last use. */
  readonly #documents = new Map<number, AutomergeDocument>()

  constructor(layer: Layer) {
    this.#layer = layer
  }

  /** The state of a shard; only `append` changes it. */
  state(shard: number): ShardState {
    const known = this.#states.get(shard)
    if (known) return known
    const state = readShardState(this.#layer, shard)
    this.#states.set(shard, state)
    return state
  }

  /** Adds a checked change, which becomes part of the next commit. */
  append(shard: number, bytes: Uint8Array, change: DecodedChange, newEntries: number): void {
    const state = this.state(shard)
    this.#dirty.add(shard)
    const maxOp = change.startOp + change.ops.length - 1
    const rest = state.heads.filter(({ hash }) => !change.deps.includes(hash))
    state.heads = [...rest, { hash: change.hash, maxOp }].sort((a, b) => (a.hash < b.hash ? -1 : 1))
    state.seqs.set(change.actor, change.seq)
    state.entries += newEntries
    this.#layer.putRaw(deltaKey(shard, state.deltaNext), bytes)
    state.deltaNext++
    state.deltaBytes += bytes.length
    this.#documents.get(shard)?.applyChanges([bytes])
  }

  /** The shard as an Automerge document, changes not yet committed included. Do not change it. */
  document(shard: number): AutomergeDocument {
    const loaded = this.#documents.get(shard)
    if (loaded) {
      this.#documents.delete(shard)
      this.#documents.set(shard, loaded)
      return loaded
    }
    const document = this.#load(shard)
    this.#documents.set(shard, document)
    for (const [oldest, old] of this.#documents) {
      if (this.#documents.size <= DOCUMENTS_MAX) break
      this.#documents.delete(oldest)
      old.free()
    }
    return document
  }

  #load(shard: number): AutomergeDocument {
    const saved = this.#layer.raw(TABLE.shardSnapshot + code(shard))
    const document = saved ? loadDocument(saved) : createDocument()
    const state = this.state(shard)
    const changes: Uint8Array[] = []
    for (let number = state.deltaFirst; number < state.deltaNext; number++) {
      changes.push(this.#layer.raw(deltaKey(shard, number)) as Uint8Array)
    }
    if (changes.length > 0) document.applyChanges(changes)
    return document
  }

  /** Hands the states to the layer and folds long tails of changes into saved documents. */
  flush(options: { readonly isFolding: boolean } = { isFolding: true }): void {
    for (const shard of this.#dirty) {
      const state = this.state(shard)
      const isLong = state.deltaBytes > Math.max(DELTA_BYTES_MAX, state.snapshotBytes)
      if (isLong && options.isFolding) this.#save(state)
      writeShardState(this.#layer, state)
    }
  }

  #save(state: ShardState): void {
    const saved = this.document(state.shard).save()
    this.#layer.putRaw(TABLE.shardSnapshot + code(state.shard), saved)
    for (let number = state.deltaFirst; number < state.deltaNext; number++) {
      this.#layer.putRaw(deltaKey(state.shard, number), undefined)
    }
    state.deltaFirst = state.deltaNext
    state.snapshotBytes = saved.length
    state.deltaBytes = 0
  }

  /** The commit has succeeded. */
  settled(): void {
    this.#dirty.clear()
  }

  /** Everything since the last commit is void. */
  rollback(): void {
    for (const shard of this.#dirty) {
      this.#documents.get(shard)?.free()
      this.#documents.delete(shard)
    }
    this.#dirty.clear()
    this.#states.clear()
  }

  /** The rows are not what they were: reads them anew. */
  forget(): void {
    this.close()
    this.#dirty.clear()
    this.#states.clear()
  }

  /** Frees the wasm memory. */
  close(): void {
    for (const document of this.#documents.values()) document.free()
    this.#documents.clear()
  }
}
