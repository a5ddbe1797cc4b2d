/**
 * The visible tree, kept incrementally: register values in, rows out. Used in two places: on the
 * CRDT thread over the index, and on the file system thread in a layer of unpublished edits.
 *
 * `put` changes registers; `settle` brings every derived row up to date in four steps, each a
 * function of the one before: placement (`placement.ts`), liveness, slots and shown names
 * (`slots.ts`). The result equals `derive.ts`, which computes it from scratch. Laws: README.md.
 */
import type { Hlc, InodeId } from '../types.ts'
import { inodeKind, ROOT } from './ids.ts'
import type { OpRef, RegisterName } from './interface.ts'
import { TABLE, type Layer } from './layer.ts'
import {
  compareRanks,
  findCycle,
  hasLiveLocation,
  latestMember,
  location,
  locationWinner,
  nextPlace,
  winner,
  type Rank,
} from './placement.ts'
import { versionOf, type InodeRow, type Value } from './records.ts'
import type { PolicyText, RegisterValues } from './registers.ts'
import { keepVersion } from './retention.ts'
import { Slots } from './slots.ts'
import type { StrategyOf } from './strategy.ts'

/** One record of an inode: the inode itself or a hard link. */
function topTombstone(row: InodeRow): Rank | undefined {
  const value = locationWinner(row)
  return value && { hlc: value.data.hlc, op: value.op, id: row.id }
}

/** The tree over a layer of rows. */
export class View {
  readonly #layer: Layer
  readonly #slots: Slots
  readonly #touched = new Set<InodeId>()
  /** Directories touched, with the parent they had; undefined for new ones. */
  readonly #directories = new Map<InodeId, InodeId | 'new' | undefined>()
  readonly #recount = new Set<InodeId>()
  readonly #relocate = new Set<InodeId>()

  constructor(layer: Layer, strategyOf: StrategyOf) {
    this.#layer = layer
    this.#slots = new Slots(layer, strategyOf)
  }

  /**
   * Puts a value into a register; the values that `isOverwritten` names leave it. Nothing derived
   * is up to date before `settle`.
   */
  put<R extends RegisterName>(
    id: InodeId,
    register: R,
    value: Value<RegisterValues[R]>,
    isOverwritten: (value: Value<unknown>) => boolean,
  ): void {
    const row = this.#layer.editInode(id)
    const old = row[register] as readonly Value<RegisterValues[R]>[]
    if (register === 'L') this.#touchLocation(row)
    const kept: Value<RegisterValues[R]>[] = []
    for (const other of old) {
      if (!isOverwritten(other)) kept.push(other)
      else this.#remember(id, register, other as Value<never>, value as Value<{ hlc: Hlc }>)
    }
    kept.push(value)
    ;(row as unknown as Record<string, readonly Value<unknown>[]>)[register] = kept
    if (register === 'C') this.#touchContent(row)
    if (register === 'P') this.#touchPolicy(row)
  }

  /** Gives a value another name, if it is still there; ranks may follow from it. */
  rename(
    id: InodeId,
    register: RegisterName,
    { from, to }: { readonly from: OpRef; readonly to: OpRef },
  ): void {
    const row = this.#layer.editInode(id)
    if (!row[register].some(({ op }) => op === from)) return
    if (register === 'L') this.#touchLocation(row)
    const rename = <T>(value: Value<T>): Value<T> =>
      value.op === from ? { ...value, op: to } : value
    const values = row[register] as readonly Value<unknown>[]
    ;(row as unknown as Record<string, readonly Value<unknown>[]>)[register] = values.map(rename)
    if (register === 'C') this.#touchContent(row)
    if (register === 'P') this.#touchPolicy(row)
  }

  /**
   * Of a tree that is derived as a whole, once the registers of all records are in their rows:
   * puts a directory in its place, before anything is counted in it.
   */
  locate(row: InodeRow): void {
    if (row.L.length > 0 && nextPlace(this.#layer, row, 0, () => undefined) > 0) {
      this.#putInPlace(this.#layer.editInode(row.id), 0)
    }
  }

  /** Then, of every record: notes that nothing is derived from it yet. */
  adopt(row: InodeRow): void {
    if (row.L.length > 0) this.#touchLocation(row)
    if (inodeKind(row.id) === 'directory' && row.L.length > 0) this.#directories.set(row.id, 'new')
    if (row.C.length > 0) this.#touchContent(row)
    if (row.P.length > 0) this.#touchPolicy(row)
  }

  /** Brings everything derived up to date. */
  settle(): void {
    this.#place()
    this.#countAll()
    for (const id of this.#relocate) this.#slots.relocate(id)
    this.#relocate.clear()
    this.#touched.clear()
    this.#directories.clear()
    this.#slots.settle()
  }

  /** Drops what `put` noted and `settle` has not seen. */
  reset(): void {
    this.#touched.clear()
    this.#directories.clear()
    this.#recount.clear()
    this.#relocate.clear()
    this.#slots.reset()
  }

  #touchLocation(row: InodeRow): void {
    this.#touched.add(row.id)
    if (inodeKind(row.id) === 'directory' && !this.#directories.has(row.id)) {
      this.#directories.set(row.id, row.L.length > 0 ? location(row).parent : undefined)
    }
  }

  #touchContent(row: InodeRow): void {
    if (inodeKind(row.id) === 'directory') return
    // A tombstoned inode comes back for a version nobody has seen, and goes again with it.
    if (!hasLiveLocation(row) || row.links.length > 0) this.#recount.add(row.id)
    this.#slots.contentChanged(row)
  }

  #touchPolicy(row: InodeRow): void {
    const text = (winner(row.P) as Value<PolicyText>).data.text
    this.#layer.putRaw(TABLE.policy + row.id, text === '' ? undefined : Buffer.alloc(1))
    this.#slots.policyChanged()
  }

  /** History: a value that left its register, unless the new one is the same. */
  #remember(
    id: InodeId,
    register: RegisterName,
    old: Value<never>,
    next: Value<{ readonly hlc: Hlc }>,
  ): void {
    if (Buffer.compare(old.bytes, next.bytes) === 0) return
    if (register === 'L') {
      const { parent, name } = (old as unknown as InodeRow['L'][number]).data
      const key = TABLE.pastName + this.#layer.slotKey(parent, name).slice(1) + id
      this.#layer.putRaw(key, Buffer.from(name, 'latin1'))
    }
    if (register === 'C' && inodeKind(id) !== 'directory') {
      keepVersion(this.#layer, id, old as unknown as InodeRow['C'][number], next.data.hlc)
    }
  }

  // Placement ------------------------------------------------------------------------------------

  #place(): void {
    const placed = new Set<InodeId>()
    let hasMoved = false
    for (const id of this.#touched) {
      const row = this.#layer.editInode(id)
      if (inodeKind(id) === 'link') this.#retarget(row)
      this.#putInPlace(row, 0)
      this.#recount.add(id)
      if (!this.#directories.has(id)) continue
      placed.add(id)
      // Waiting children are appended to the set that this loop walks.
      if (this.#directories.get(id) === undefined) this.#wakeWaiting(id)
      else hasMoved = true
    }
    if (placed.size === 0) return
    const displaced = this.#displaced()
    if (hasMoved) {
      for (const id of displaced) {
        if (placed.has(id)) continue
        this.#putInPlace(this.#layer.editInode(id), 0)
        this.#recount.add(id)
        placed.add(id)
      }
    }
    this.#breakCycles([...placed], displaced)
  }

  #breakCycles(starts: InodeId[], displaced: ReadonlySet<InodeId>): void {
    const now = new Set(displaced)
    for (const id of starts) now.delete(id)
    for (let start = starts.pop(); start !== undefined; start = starts.pop()) {
      const cycle = findCycle(this.#layer, start)
      if (!cycle) continue
      const row = this.#layer.editInode(latestMember(cycle).id)
      this.#putInPlace(row, row.place + 1)
      this.#recount.add(row.id)
      now.add(row.id)
      starts.push(start, row.id)
    }
    if (now.size === displaced.size && [...now].every((id) => displaced.has(id))) return
    const text = [...now].sort().join('')
    this.#layer.putRaw(TABLE.displaced, text === '' ? undefined : Buffer.from(text, 'latin1'))
  }

  /** Directories that a cycle keeps from their first place. */
  #displaced(): Set<InodeId> {
    return new Set(displacedDirectories(this.#layer))
  }

  #putInPlace(row: InodeRow, from: number): void {
    row.place = nextPlace(this.#layer, row, from, (parent) => {
      const key = TABLE.waiting + parent + row.id
      if (!this.#layer.raw(key)) this.#layer.putRaw(key, Buffer.alloc(1))
    })
  }

  /** A directory became known: whatever waited for it may move in. */
  #wakeWaiting(id: InodeId): void {
    const waiting = this.#layer.rawRange(TABLE.waiting + id, { countMax: Infinity })
    for (const { key } of waiting) {
      this.#layer.putRaw(key, undefined)
      const child = this.#layer.inode(key.slice(1 + id.length) as InodeId)
      if (!child || child.L.length === 0) continue
      this.#touchLocation(child)
    }
  }

  /** Keeps the list of links in the inode that a link record names. */
  #retarget(row: InodeRow): void {
    const target = locationWinner(row)?.data.target ?? ''
    if (target === row.target) return
    if (row.target !== '') {
      const old = this.#layer.editInode(row.target)
      old.links = old.links.filter((id) => id !== row.id)
      this.#recount.add(old.id)
    }
    row.target = target
    if (target === '') return
    const inode = this.#layer.editInode(target)
    inode.links = [...inode.links, row.id].sort()
    this.#recount.add(target)
  }

  // Liveness -------------------------------------------------------------------------------------

  /** Parents follow their children; placement has no cycles, so this ends. */
  #countAll(): void {
    for (const id of this.#recount) {
      this.#recount.delete(id)
      const row = this.#layer.inode(id)
      if (!row) continue
      if (inodeKind(id) === 'directory') {
        if (id !== ROOT) this.#setAlive(row, hasLiveLocation(row) || row.liveChildren > 0)
      } else {
        this.#countInode((row.target || id) as InodeId)
      }
    }
  }

  /** All records of an inode: each named one lives; if none is, unseen content revives the last. */
  #countInode(inode: InodeId): void {
    const records: InodeRow[] = []
    const row = this.#layer.inode(inode)
    if (row && row.L.length > 0) records.push(row)
    for (const id of row?.links ?? []) records.push(this.#layer.inode(id) as InodeRow)
    const wasAlive = records.some((record) => record.isAlive)
    let isAlive = false
    for (const record of records) if (hasLiveLocation(record)) isAlive = true
    const revived =
      !isAlive && row && hasUnseenContent(row, records) ? lastToGo(records) : undefined
    for (const record of records) {
      this.#setAlive(record, hasLiveLocation(record) || record === revived)
    }
    isAlive ||= revived !== undefined
    if (isAlive === wasAlive) return
    this.#layer.fileCount += isAlive ? 1 : -1
    if (row?.copyOf) this.#slots.copyChanged(row.copyOf)
  }

  #setAlive(row: InodeRow, isAlive: boolean): void {
    const parent = isAlive ? location(row).parent : ''
    if (row.isAlive !== isAlive || row.countedIn !== parent) {
      const edited = this.#layer.editInode(row.id)
      this.#countChild(row.countedIn, -1)
      this.#countChild(parent, 1)
      edited.isAlive = isAlive
      edited.countedIn = parent
    }
    this.#relocate.add(row.id)
  }

  #countChild(parent: InodeId | '', step: number): void {
    if (parent === '') return
    const row = this.#layer.editInode(parent)
    row.liveChildren += step
    // Only the first and the last child can change whether the directory lives.
    if (row.liveChildren === 0 || (row.liveChildren === 1 && step === 1)) this.#recount.add(parent)
  }
}

/** Directories that a cycle keeps from their first place, sorted. */
export function displacedDirectories(layer: Layer): InodeId[] {
  const text = Buffer.from(layer.raw(TABLE.displaced) ?? []).toString('latin1')
  return (text.match(/.{16}/g) ?? []) as InodeId[]
}

/** The tombstoned record that a revived inode comes back under. */
function lastToGo(records: readonly InodeRow[]): InodeRow | undefined {
  let last: InodeRow | undefined
  for (const record of records) {
    const rank = topTombstone(record)
    const best = last && topTombstone(last)
    if (rank && (!best || compareRanks(rank, best) > 0)) last = record
  }
  return last
}

/** Whether some version of the inode is in no tombstone's `seen`. */
function hasUnseenContent(row: InodeRow, records: readonly InodeRow[]): boolean {
  if (row.C.length === 0) return false
  const seen = new Set<string>()
  for (const record of records) {
    for (const value of record.L) for (const version of value.data.seen) seen.add(version)
  }
  return row.C.some((value) => !seen.has(versionOf(value)))
}
