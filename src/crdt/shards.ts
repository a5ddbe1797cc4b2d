/**
 * The Automerge documents behind the registers: one per shard, a saved document plus the changes
 * since, in the row store.
 *
 * Publishing and applying do not load documents: `change.ts` writes and reads changes, and the rows
 * hold what a register's values are. A document is loaded to judge a change that follows something
 * else than the present heads, to fold many changes into a saved document, and by `verify`.
 */
import assert from 'node:assert/strict'
import { createDocument, loadDocument, type AutomergeDocument } from './automerge.ts'
import type { DecodedChange } from './change.ts'
import { ChangeGraph, type PlacedChange } from './graph.ts'
import { TABLE, type Layer } from './layer.ts'
import { readShardState, writeShardState, type ShardState } from './shard-state.ts'

/** Documents kept loaded; more make every Automerge call slower (evidence in README.md). */
const DOCUMENTS_MAX = 64
/** Graphs kept; they are of shards in which an actor met its double. */
const GRAPHS_MAX = 8
/**
 * Changes since the saved document are folded into it beyond this, or beyond its own size. Folding
 * saves little room: most of a change are ids and addresses.
 */
const DELTA_BYTES_MAX = 1024 * 1024
/** A document that is so far behind is loaded anew when it is asked for. */
const BEHIND_BYTES_MAX = 256 * 1024

/** A document, and changes that are not in it yet: many at once cost a hundredth (README.md). */
interface LoadedDocument {
  readonly document: AutomergeDocument
  behind: Uint8Array[]
  behindBytes: number
}

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
  readonly #documents = new Map<number, LoadedDocument>()
  readonly #graphs = new Map<number, ChangeGraph>()

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

  /** Whether a change is here. Loads a document, unless nothing follows the change. */
  has(shard: number, hash: string): boolean {
    const state = this.state(shard)
    if (state.heads.some((head) => head.hash === hash)) return true
    if (state.heads.length === 0) return false
    if (state.isDoubled) return this.graph(shard).has(hash)
    return this.document(shard).getChangeMetaByHash(hash) !== null
  }

  /** Whether a change is here already; most are told by their number not to be. */
  isKnown(shard: number, { actor, seq, hash }: DecodedChange): boolean {
    return seq <= (this.state(shard).seqs.get(actor) ?? 0) && this.has(shard, hash)
  }

  /** The changes of a shard as a graph. Do not change it. */
  graph(shard: number): ChangeGraph {
    const known = this.#graphs.get(shard)
    const graph = known ?? ChangeGraph.of(this.#changes(this.state(shard)))
    this.#graphs.delete(shard)
    this.#graphs.set(shard, graph)
    for (const oldest of this.#graphs.keys()) {
      if (this.#graphs.size <= GRAPHS_MAX) break
      this.#graphs.delete(oldest)
    }
    return graph
  }

  /** All changes of a shard, in causal order. */
  #changes(state: ShardState): Uint8Array[] {
    const saved = this.#layer.raw(TABLE.shardSnapshot + code(state.shard))
    const changes: Uint8Array[] = []
    if (saved) {
      const document = loadDocument(saved)
      changes.push(...document.getChanges([]))
      document.free()
    }
    for (let number = state.deltaFirst; number < state.deltaNext; number++) {
      changes.push(this.#layer.raw(deltaKey(state.shard, number)) as Uint8Array)
    }
    return changes
  }

  /**
   * Before a checked change is appended: what its operations are called here, if they are not
   * called what Automerge would call them.
   */
  place(shard: number, change: DecodedChange): PlacedChange | undefined {
    const state = this.state(shard)
    if (!state.isDoubled && change.seq > (state.seqs.get(change.actor) ?? 0)) return undefined
    this.#dirty.add(shard)
    if (!state.isDoubled) this.#keepAll(state)
    return this.graph(shard).add(change)
  }

  /** From now on the shard's changes are kept as they are. */
  #keepAll(state: ShardState): void {
    const changes = this.#changes(state)
    this.#layer.putRaw(TABLE.shardSnapshot + code(state.shard), undefined)
    for (let number = state.deltaFirst; number < state.deltaNext; number++) {
      this.#layer.putRaw(deltaKey(state.shard, number), undefined)
    }
    for (const [number, bytes] of changes.entries()) {
      this.#layer.putRaw(deltaKey(state.shard, number), bytes)
    }
    state.snapshotBytes = 0
    state.deltaFirst = 0
    state.deltaNext = changes.length
    state.deltaBytes = changes.reduce((sum, { length }) => sum + length, 0)
    state.isDoubled = true
    this.#unload(state.shard)
  }

  /** Adds a checked change, which becomes part of the next commit. */
  append(shard: number, bytes: Uint8Array, change: DecodedChange, newEntries: number): void {
    const state = this.state(shard)
    this.#dirty.add(shard)
    const maxOp = change.startOp + change.ops.length - 1
    const rest = state.heads.filter(({ hash }) => !change.deps.includes(hash))
    state.heads = [...rest, { hash: change.hash, maxOp }].sort((a, b) => (a.hash < b.hash ? -1 : 1))
    state.seqs.set(change.actor, Math.max(change.seq, state.seqs.get(change.actor) ?? 0))
    state.entries += newEntries
    this.#layer.putRaw(deltaKey(shard, state.deltaNext), bytes)
    state.deltaNext++
    state.deltaBytes += bytes.length
    this.#fallBehind(shard, bytes)
    if (!state.isDoubled) this.#graphs.delete(shard)
  }

  /** A loaded document gets the change when it is asked for; one that nobody asks for goes. */
  #fallBehind(shard: number, bytes: Uint8Array): void {
    const loaded = this.#documents.get(shard)
    if (!loaded) return
    loaded.behind.push(bytes)
    loaded.behindBytes += bytes.length
    if (loaded.behindBytes > BEHIND_BYTES_MAX) this.#unload(shard)
  }

  /**
   * The shard as an Automerge document, changes not yet committed included. Do not change it. Not
   * for shards with doubles.
   */
  document(shard: number): AutomergeDocument {
    const loaded = this.#documents.get(shard)
    this.#documents.delete(shard)
    if (loaded) {
      if (loaded.behind.length > 0) loaded.document.applyChanges(loaded.behind)
      loaded.behind = []
      loaded.behindBytes = 0
      this.#documents.set(shard, loaded)
      return loaded.document
    }
    const document = this.#load(shard)
    this.#documents.set(shard, { document, behind: [], behindBytes: 0 })
    for (const oldest of this.#documents.keys()) {
      if (this.#documents.size <= DOCUMENTS_MAX) break
      this.#unload(oldest)
    }
    return document
  }

  #unload(shard: number): void {
    this.#documents.get(shard)?.document.free()
    this.#documents.delete(shard)
  }

  #load(shard: number): AutomergeDocument {
    const state = this.state(shard)
    assert(!state.isDoubled, 'a shard with doubles has no document')
    const saved = this.#layer.raw(TABLE.shardSnapshot + code(shard))
    const document = saved ? loadDocument(saved) : createDocument()
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
      if (isLong && options.isFolding && !state.isDoubled) this.#save(state)
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
      this.#unload(shard)
      this.#graphs.delete(shard)
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
    for (const shard of [...this.#documents.keys()]) this.#unload(shard)
    this.#graphs.clear()
  }
}
