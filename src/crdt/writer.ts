/**
 * The tree as the CRDT thread writes it: folding own edits into Automerge changes, checking and
 * applying foreign ones, and one index transaction for everything that follows from them.
 */
import { hasCode, WormholeError } from '../errors.ts'
import type { ActorId, Hlc, InodeId } from '../types.ts'
import {
  decodeChange,
  encodeChange,
  opOf,
  parseOp,
  type ChangeOp,
  type DecodedChange,
} from './change.ts'
import { Checker, parsedOp, parseKey, followsKnown } from './check.ts'
import { deltaOf } from './delta.ts'
import { EditWatch } from './edit-watch.ts'
import { foldEdits, type FoldedPut } from './fold.ts'
import type { PlacedChange } from './graph.ts'
import { inodeKind, inodeShard } from './ids.ts'
import type { ActorInfo, Content, Edit, ShardChange, TreeDelta, Verdict } from './interface.ts'
import { Layer, TABLE, WRITER_ROWS_MAX } from './layer.ts'
import { holdsAny, versionOf, type Value } from './records.ts'
import { forgetHistory, type ForgetOptions } from './retention.ts'
import { lostPuts } from './restore.ts'
import type { RowStore, RowWriter } from './rows.ts'
import { maxOpOf } from './shard-state.ts'
import { Shards } from './shards.ts'
import type { ImportedTree } from './snapshot.ts'
import type { StrategyOf } from './strategy.ts'
import { View } from './view.ts'
import { addWant, dropWants, holdsVersion, readWants, type Want, type WantsQuery } from './wants.ts'
import { claimFormat, metaKey, readCoveredTo, writeCoveredTo, writeFormat } from './writer-meta.ts'

/** Ports of a writer. */
export interface TreeWriterOptions {
  readonly rows: RowStore
  /** Fresh for every process run; announced in the log before its first change. */
  readonly self: ActorInfo
  readonly strategyOf: StrategyOf
}

/** What own edits became. */
export interface Folded {
  /** In the order of application; empty when nothing remained to be said. */
  readonly changes: readonly ShardChange[]
  /** Journal number up to which everything is now in the log once this is written. */
  readonly coveredTo: number
  /** Greatest stamp of the edits; 0 when there were none. */
  readonly hlc: Hlc
}

/** Where a write of a change comes from. */
interface Origin {
  /** Journal numbers that its value stands for; 0: not of this journal. */
  readonly fromNumber: number
  readonly toNumber: number
  /** A content of this very stamp was written here, bytes and all. */
  readonly writtenAt?: Hlc
}

const FOREIGN: Origin = { fromNumber: 0, toNumber: 0 }

/** Writes in one change at most: receivers apply a change as one step. */
const OPS_PER_CHANGE_MAX = 10_000
const BYTES_PER_CHANGE_MAX = 4 * 1024 * 1024
/** Records (or writes) of a snapshot that are in memory at a time. */
const LOAD_ROWS_MAX = 1000

/**
 * Writes the tree. One thread owns it. Everything between two `commit`s is one unit: it becomes
 * visible and durable-with-the-index together, or `rollback` drops it.
 */
export class TreeWriter {
  readonly #rows: RowStore
  #self: ActorInfo
  readonly #layer: Layer
  readonly #view: View
  readonly #shards: Shards
  readonly watch = new EditWatch()
  #coveredTo: number
  /** Register puts that own edits became, since the start. */
  putCount = 0
  /** Wants that became part of the tree since the last commit. */
  #newWants: Want[] = []
  /** The tree was emptied since the start; `untold`: no commit has said so yet. */
  #cleared: 'untold' | 'told' | undefined

  constructor(options: TreeWriterOptions) {
    this.#rows = options.rows
    this.#self = options.self
    const { deviceName } = options.self
    const cache = { cacheRowsMax: WRITER_ROWS_MAX }
    this.#layer = new Layer(options.rows, { ownDeviceName: deviceName, ...cache })
    this.#view = new View(this.#layer, options.strategyOf)
    this.#shards = new Shards(this.#layer)
    claimFormat(this.#layer)
    this.#coveredTo = readCoveredTo(this.#layer)
  }

  /** From now on own edits are written by this actor, which is fresh and announced in the log. */
  become(self: ActorInfo): void {
    this.#self = self
  }

  /** Journal number up to which own edits are in the tree; 0 at first. */
  get coveredTo(): number {
    return this.#coveredTo
  }

  /**
   * Turns own edits into changes and applies them here. Edits already covered are skipped; what
   * cancels out is dropped; a put whose base no longer holds becomes a concurrent value.
   */
  fold(edits: readonly Edit[]): Folded {
    const due = edits.filter(({ number }) => number > this.#coveredTo)
    due.sort((a, b) => a.number - b.number)
    const last = due.at(-1)
    if (!last) return { changes: [], coveredTo: this.#coveredTo, hlc: 0 as Hlc }
    this.#layer.addActor(this.#self)
    const puts = foldEdits(due, (inode) => (this.#layer.inode(inode)?.L.length ?? 0) > 0)
    const changes = this.#publishAll(puts)
    this.#cover(last.number)
    const hlc = Math.max(...due.map((edit) => edit.hlc)) as Hlc
    return { changes, coveredTo: last.number, hlc }
  }

  #publishAll(puts: readonly FoldedPut[]): ShardChange[] {
    const changes: ShardChange[] = []
    for (const [shard, rounds] of byShard(puts)) {
      for (const round of rounds) changes.push(...this.#publish(shard, round))
    }
    this.#view.settle()
    return changes
  }

  /**
   * Turns what an older index shows and this one lacks into changes, and applies them here, a page
   * at a time: each is to be part of one entry and one commit. Journal numbers that the older index
   * covers are covered in the end.
   */
  *restore(old: RowStore): Generator<Pick<Folded, 'changes' | 'coveredTo'>> {
    const coveredTo = Math.max(this.#coveredTo, readCoveredTo(new Layer(old)))
    for (const puts of lostPuts(old, { layer: this.#layer, shards: this.#shards })) {
      if (puts.length === 0) continue
      this.#layer.addActor(this.#self)
      const changes = this.#publishAll(puts)
      if (changes.length > 0) yield { changes, coveredTo: this.#coveredTo }
    }
    this.#cover(coveredTo)
    yield { changes: [], coveredTo }
  }

  #cover(coveredTo: number): void {
    this.#coveredTo = coveredTo
    writeCoveredTo(this.#layer, coveredTo)
  }

  /** One round of puts of one shard, each register once, as one change (or a few big ones). */
  #publish(shard: number, puts: readonly FoldedPut[]): ShardChange[] {
    const changes: ShardChange[] = []
    const ordered = [...puts].sort((a, b) => (a.key < b.key ? -1 : 1))
    let ops: ChangeOp[] = []
    const origins: Origin[] = []
    let bytes = 0
    const flush = (): void => {
      if (ops.length === 0) return
      this.putCount += ops.length
      changes.push({ shard, change: this.#write(shard, ops, origins.splice(0)) })
      ops = []
      bytes = 0
    }
    for (const put of ordered) {
      const values = this.#layer.inode(put.inode)?.[put.register] ?? []
      const held = values.filter((value) => holdsAny(put.base, value))
      if (isSaid(put, values, held)) continue
      const predecessors = held.map((value) => value.op)
      ops.push({ key: put.key, value: put.value, predecessors })
      origins.push(originOf(put, held))
      bytes += put.value.length
      if (ops.length >= OPS_PER_CHANGE_MAX || bytes >= BYTES_PER_CHANGE_MAX) flush()
    }
    flush()
    return changes
  }

  #write(shard: number, ops: readonly ChangeOp[], origins: readonly Origin[]): Uint8Array {
    const state = this.#shards.state(shard)
    const change = {
      actor: this.#self.actor,
      seq: (state.seqs.get(this.#self.actor) ?? 0) + 1,
      startOp: maxOpOf(state) + 1,
      deps: state.heads.map(({ hash }) => hash),
      ops,
    }
    const { bytes, hash } = encodeChange(change)
    this.#take(shard, bytes, { ...change, hash }, (index) => origins[index] as Origin)
    return bytes
  }

  /** Puts the writes of a change into the view and the change into its shard. */
  #take(
    shard: number,
    bytes: Uint8Array,
    change: DecodedChange,
    originOf: (index: number) => Origin,
  ): void {
    let newEntries = 0
    const placed = this.#shards.place(shard, change)
    if (placed) this.#takeNames(change, placed)
    for (const [index, op] of change.ops.entries()) {
      const { value } = op
      const predecessors = placed?.predecessors[index] ?? op.predecessors
      const { register, inode, data } = parsedOp(op)
      const { fromNumber, toNumber, writtenAt } = originOf(index)
      const name = placed?.names[index] ?? opOf(change, index)
      const made = { op: name, fromNumber, toNumber, bytes: value, data }
      if (register === 'L' && !this.#layer.inode(inode)?.L.length) newEntries++
      const before = register === 'C' ? (this.#layer.inode(inode)?.C ?? []) : []
      this.#view.put(inode, register, made, (other) => predecessors.includes(other.op))
      if (register !== 'C' || inodeKind(inode) === 'directory') continue
      const content = made as Value<Content>
      // What follows a content that is not all here may hold parts of it.
      const isLacking = dropWants(this.#layer, inode, before) || content.data.hlc !== writtenAt
      if (isLacking && !holdsVersion(before, versionOf(content))) this.#want(inode, content)
    }
    this.#shards.append(shard, bytes, change, newEntries)
  }

  /** Names that tell operations of an actor from those of its double. */
  #takeNames({ actor }: DecodedChange, { names, renamed }: PlacedChange): void {
    const info = this.#layer.actorInfo(actor)
    for (const name of [...names, ...renamed.map(({ to }) => to)]) {
      if (info) this.#layer.addActor({ ...info, actor: parseOp(name).actor })
    }
    for (const { key, from, to } of renamed) {
      const { register, inode } = parseKey(key)
      this.#view.rename(inode, register, { from, to })
    }
  }

  #want(inode: InodeId, value: Value<Content>): void {
    const want = addWant(this.#layer, inode, value)
    if (want) this.#newWants.push(want)
  }

  /**
   * Whether all that these changes follow is here. An entry whose changes are not waits, like one
   * whose frontier is not: were it refused, those who happen to have more would accept it.
   */
  isComplete(changes: readonly ShardChange[]): boolean {
    return followsKnown(changes, this.#shards)
  }

  /** Whether a foreign entry may be applied. Same answer on every device. Changes nothing. */
  check(
    changes: readonly ShardChange[],
    author: { readonly actors: ReadonlySet<ActorId> },
  ): Verdict {
    return new Checker(this.#layer, this.#shards).check(changes, author.actors)
  }

  /**
   * Applies a checked entry of another device (or an own one during recovery, `own` set). Its
   * actors must be registered.
   */
  apply(changes: readonly ShardChange[], own?: { readonly coveredTo: number }): void {
    const from = this.#coveredTo + 1
    const origin = own
      ? { fromNumber: Math.min(from, own.coveredTo), toNumber: own.coveredTo }
      : FOREIGN
    for (const { shard, change } of changes) {
      const decoded = decodeChange(change)
      if (this.#shards.isKnown(shard, decoded)) continue
      this.#layer.numberOf(decoded.actor)
      this.#take(shard, change, decoded, () => origin)
    }
    this.#view.settle()
    if (own && own.coveredTo > this.#coveredTo) this.#cover(own.coveredTo)
  }

  /** Writes everything since the last commit and `meta` in one transaction. */
  commit(meta: ReadonlyMap<string, Uint8Array>): TreeDelta {
    for (const [name, value] of meta) this.#layer.putRaw(metaKey(name), value)
    this.#shards.flush()
    this.watch.note(this.#layer.editedInodes())
    const delta = deltaOf(this.#layer, this.#cleared !== undefined)
    const isAnew = this.#cleared === 'untold'
    const contents = this.#newWants.filter(({ key }) => this.#layer.raw(TABLE.want + key))
    const { isPolicyChanged } = this.#layer
    this.#rows.transaction((rows) => this.#layer.flush(rows))
    this.#layer.settled()
    this.#shards.settled()
    this.#newWants = []
    if (isAnew) this.#cleared = 'told'
    return {
      ...delta,
      contents: contents.map(({ key, inode, ref, sizeBytes }) => ({ key, inode, ref, sizeBytes })),
      ...(isPolicyChanged ? { isPolicyChanged } : {}),
      ...(isAnew ? { isAnew } : {}),
    }
  }

  /** Forgets everything since the last commit. */
  rollback(): void {
    this.#layer.discard({ andCache: false })
    claimFormat(this.#layer)
    this.#view.reset()
    this.#shards.rollback()
    this.#newWants = []
    this.#coveredTo = readCoveredTo(this.#layer)
  }

  /**
   * Empties the index, in one transaction that stores `meta`: it is built anew from the log.
   */
  clear(meta: ReadonlyMap<string, Uint8Array>): void {
    this.rollback()
    this.#rows.transaction((rows) => {
      for (const { key } of rows.range('')) rows.remove(key)
      for (const [name, value] of meta) rows.put(metaKey(name), value)
      writeFormat(rows)
    })
    this.#cleared = 'untold'
    this.#forget()
  }

  /**
   * Makes the index hold a tree of a snapshot and nothing else, in one transaction that stores
   * `meta`. First the registers of all records, then what follows from them, some at a time, so
   * that memory stays bounded.
   *
   * @throws {WormholeError} `SNAPSHOT_INVALID`, `DISK_FULL`, `IO_ERROR`: the index is as before.
   */
  load(tree: ImportedTree, meta: ReadonlyMap<string, Uint8Array>): void {
    this.#forget()
    try {
      this.#rows.transaction((rows) => {
        for (const { key } of rows.range('')) rows.remove(key)
        writeFormat(rows)
        for (const actor of tree.actors) this.#layer.addActor(actor)
        this.#deriveAll(this.#loadRegisters(tree.changes, rows), rows)
        for (const [name, value] of meta) rows.put(metaKey(name), value)
      })
    } catch (error) {
      if (!hasCode(error, 'ENTRY_INVALID')) throw error
      throw new WormholeError('SNAPSHOT_INVALID', error.message, { cause: error })
    } finally {
      this.#forget()
    }
  }

  /** The rows are not what they were. */
  #forget(): void {
    this.watch.breakOff()
    this.#layer.discard({ andCache: true })
    this.#shards.forget()
    this.rollback()
  }

  /** Returns the directories among the records. */
  #loadRegisters(changes: ImportedTree['changes'], rows: RowWriter): Set<InodeId> {
    const directories = new Set<InodeId>()
    const spill = (): void => {
      for (const { id } of this.#layer.editedInodes()) {
        if (inodeKind(id) === 'directory') directories.add(id)
      }
      this.#spill(rows)
    }
    let opCount = 0
    for (const { shard, bytes, change } of changes) {
      this.#layer.numberOf(change.actor)
      this.#take(shard, bytes, change, () => FOREIGN)
      opCount += change.ops.length
      if (opCount < LOAD_ROWS_MAX) continue
      opCount = 0
      spill()
    }
    spill()
    return directories
  }

  /** What follows from the registers of all records; directories are put in place first. */
  #deriveAll(directories: Iterable<InodeId>, rows: RowWriter): void {
    let count = 0
    for (const id of directories) {
      const row = this.#layer.inode(id)
      if (row) this.#view.locate(row)
      if (++count % LOAD_ROWS_MAX === 0) this.#spill(rows)
    }
    this.#spill(rows)
    for (const page of this.#layer.inodePages(LOAD_ROWS_MAX)) {
      for (const row of page) this.#view.adopt(row)
      this.#view.settle()
      this.#spill(rows)
    }
  }

  /** Hands everything to the running transaction and forgets it: little of it is used again. */
  #spill(rows: RowWriter): void {
    this.#view.reset()
    this.#shards.flush({ isFolding: false })
    this.#layer.flush(rows)
    this.#layer.discard({ andCache: true })
    this.#shards.settled()
    this.#newWants = []
  }

  /** What a `commit` stored under this name. */
  meta(name: string): Buffer | undefined {
    const value = this.#layer.raw(metaKey(name))
    return value && Buffer.from(value)
  }

  /** Makes an actor known (conflict names show its device). Idempotent; part of the next commit. */
  registerActor(info: ActorInfo): void {
    this.#layer.addActor(info)
  }

  /** Contents from other devices not fetched yet, in the order of their keys. */
  wants(query: WantsQuery): Want[] {
    return readWants(this.#layer, query)
  }

  /** Puts versions whose chunks were lost here back on the list; part of the next commit. */
  wantAgain(contents: readonly { readonly inode: InodeId; readonly version: string }[]): void {
    for (const { inode, version } of contents) {
      const value = this.#layer.inode(inode)?.C.find((other) => versionOf(other) === version)
      if (value) this.#want(inode, value)
    }
  }

  /** Takes wants off the list; part of the next commit. */
  fetched(keys: readonly string[]): void {
    for (const key of keys) this.#layer.putRaw(TABLE.want + key, undefined)
  }

  /**
   * Forgets replaced versions whose days are over, some at a time; part of the next commit. Returns
   * whether there may be more.
   */
  forgetHistory(options: ForgetOptions): boolean {
    return forgetHistory(this.#layer, options)
  }

  /** Frees the documents. The row store is the caller's. */
  close(): void {
    this.#shards.close()
  }

  /** For `verify` and tests: the rows that were derived, and the documents they came from. */
  inspect(): { readonly layer: Layer; readonly shards: Shards } {
    return { layer: this.#layer, shards: this.#shards }
  }
}

/**
 * Of an own put and the values it overwrites. An edit that gives a content its own stamp has
 * written the bytes; with another stamp it names what was there (a conflict copy that becomes an
 * inode). Where the base is gone, what was to be fetched for it is off the list, and this may hold
 * parts of that.
 */
function originOf(put: FoldedPut, held: readonly Value<unknown>[]): Origin {
  const origin = { fromNumber: put.number, toNumber: put.number }
  if (put.register !== 'C') return origin
  const isCurrent = put.base.every((ref) => held.some((value) => holdsAny([ref], value)))
  return isCurrent ? { ...origin, writtenAt: put.hlc } : origin
}

/**
 * Whether a put says nothing new: the register has that very value (somebody else settled the
 * conflict alike), and nothing else is overwritten. Said again, it would outlive the one that is
 * there when somebody replaces that: a conflict with what nobody wrote anew.
 */
function isSaid(
  { value }: FoldedPut,
  values: readonly Value<unknown>[],
  held: readonly Value<unknown>[],
): boolean {
  const same = values.find(({ bytes }) => Buffer.compare(bytes, value) === 0)
  return same !== undefined && held.every((other) => other === same)
}

/** Puts by shard; puts on one register that do not know each other are in different rounds. */
function byShard(all: readonly FoldedPut[]): Map<number, FoldedPut[][]> {
  const shards = new Map<number, FoldedPut[][]>()
  const counts = new Map<string, number>()
  for (const put of all) {
    const round = counts.get(put.key) ?? 0
    counts.set(put.key, round + 1)
    const shard = inodeShard(put.inode)
    const rounds = shards.get(shard) ?? []
    shards.set(shard, rounds)
    const puts = (rounds[round] ??= [])
    puts.push(put)
  }
  return shards
}
