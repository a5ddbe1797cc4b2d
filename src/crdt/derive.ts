/**
 * The visible tree from scratch: a pure function of all register values. Slow and simple on
 * purpose; the reference that the incremental view must equal after every step.
 * Shares with the view only the ranks, the candidates of one register, and the conflict names.
 */
import type { FileName, InodeId } from '../types.ts'
import { conflictName } from './conflict-names.ts'
import { conflictCopyId, inodeKind, LOST_FOUND, ROOT } from './ids.ts'
import type { Content, OpRef, VersionId } from './interface.ts'
import {
  byRank,
  candidates,
  compareRanks,
  hasLiveLocation,
  winner,
  type Rank,
} from './placement.ts'
import { emptyInodeRow, versionOf, type InodeRow, type Value } from './records.ts'
import { defaultContent, isSameContent } from './registers.ts'
import type { StrategyOf } from './strategy.ts'

/** Register values of everything, as rows whose derived part is ignored. */
export type Registers = ReadonlyMap<InodeId, Pick<InodeRow, 'id' | 'L' | 'C' | 'A' | 'P'>>

/** What one name shows. `version` is empty for a directory. */
export interface DerivedEntry {
  readonly id: InodeId
  readonly version: VersionId
}

/** The visible tree. */
export interface DerivedTree {
  /** Names of every directory that is shown. */
  readonly directories: ReadonlyMap<InodeId, ReadonlyMap<FileName, DerivedEntry>>
  /** Live inodes that are not directories, with their number of names. */
  readonly files: ReadonlyMap<InodeId, number>
}

interface DerivePorts {
  readonly strategyOf: StrategyOf
  /** The name of the device that made an operation. */
  readonly deviceNameOf: (op: OpRef) => string
}

interface Loser {
  readonly claim: InodeId
  readonly entry: DerivedEntry
  readonly source: FileName
  readonly hlc: Content['hlc']
  readonly op: OpRef
}

/** Derives the visible tree. */
export function deriveTree(registers: Registers, ports: DerivePorts): DerivedTree {
  return new Derivation(registers, ports).tree()
}

class Derivation {
  readonly #ports: DerivePorts
  readonly #rows = new Map<InodeId, InodeRow>()
  readonly #alive = new Set<InodeId>()
  readonly #canonical = new Map<InodeId, InodeId>([[ROOT, ROOT]])
  readonly #members = new Map<InodeId, InodeId[]>([[ROOT, [ROOT]]])
  readonly #parents = new Map<InodeId, InodeId>()

  constructor(registers: Registers, ports: DerivePorts) {
    this.#ports = ports
    for (const { id, L, C, A, P } of registers.values()) {
      this.#rows.set(id, { ...emptyInodeRow(id), L, C, A, P })
    }
    const lostFound = this.#rows.get(LOST_FOUND) ?? emptyInodeRow(LOST_FOUND)
    this.#rows.set(LOST_FOUND, lostFound)
  }

  tree(): DerivedTree {
    this.#placeAll()
    this.#breakCycles()
    this.#findAlive()
    const slots = this.#fillSlots()
    const directories = new Map<InodeId, Map<FileName, DerivedEntry>>([[ROOT, new Map()]])
    const losers = new Map<InodeId, Loser[]>()
    for (const members of this.#members.values()) {
      directories.set(this.#canonical.get(members[0] as InodeId) as InodeId, new Map())
    }
    for (const [key, claims] of slots) {
      const parent = key.slice(0, 16) as InodeId
      const name = key.slice(16) as FileName
      const { entry, lost } = this.#decide(parent, name, claims)
      directories.get(parent)?.set(name, entry)
      losers.set(parent, [...(losers.get(parent) ?? []), ...lost])
    }
    for (const [parent, lost] of losers) {
      this.#nameLosers(directories.get(parent) as Map<FileName, DerivedEntry>, lost)
    }
    return { directories, files: this.#countNames() }
  }

  /** Records that are somewhere: those with a location, and `lost+found`. */
  #placed(): InodeRow[] {
    return [...this.#rows.values()].filter(({ id, L }) => L.length > 0 || id === LOST_FOUND)
  }

  #isKnown(id: InodeId): boolean {
    if (id === ROOT || id === LOST_FOUND) return true
    return inodeKind(id) === 'directory' && (this.#rows.get(id)?.L.length ?? 0) > 0
  }

  #nextPlace(row: InodeRow, from: number): number {
    const all = candidates(row)
    let place = from
    while (place < all.length && !this.#isKnown(all[place]!.parent)) place++
    return place
  }

  #where(row: InodeRow): { parent: InodeId; name: FileName; rank: Rank } {
    const all = candidates(row)
    const chosen = all[row.place]
    const { value, name } = chosen ?? all[0]!
    const rank = { hlc: value.data.hlc, op: value.op, id: row.id }
    return { parent: chosen ? chosen.parent : LOST_FOUND, name, rank }
  }

  #placeAll(): void {
    for (const row of this.#placed()) row.place = this.#nextPlace(row, 0)
  }

  #breakCycles(): void {
    for (;;) {
      const cycle = this.#anyCycle()
      if (!cycle) return
      let latest = cycle[0] as InodeRow
      for (const row of cycle) {
        if (compareRanks(this.#where(row).rank, this.#where(latest).rank) > 0) latest = row
      }
      latest.place = this.#nextPlace(latest, latest.place + 1)
    }
  }

  #anyCycle(): InodeRow[] | undefined {
    for (const start of this.#placed()) {
      if (inodeKind(start.id) !== 'directory' || start.id === LOST_FOUND) continue
      const path = [start]
      for (;;) {
        const { parent } = this.#where(path.at(-1) as InodeRow)
        if (parent === ROOT || parent === LOST_FOUND) break
        const at = path.findIndex(({ id }) => id === parent)
        if (at >= 0) return path.slice(at)
        path.push(this.#rows.get(parent) as InodeRow)
      }
    }
    return undefined
  }

  #targetOf(row: InodeRow): InodeId {
    return candidates(row)[0]?.value.data.target ?? row.id
  }

  #findAlive(): void {
    const inodes = new Map<InodeId, InodeRow[]>()
    for (const row of this.#placed()) {
      if (hasLiveLocation(row)) this.#alive.add(row.id)
      if (inodeKind(row.id) === 'directory') continue
      const inode = this.#targetOf(row)
      inodes.set(inode, [...(inodes.get(inode) ?? []), row])
    }
    for (const [inode, records] of inodes) {
      if (records.some(({ id }) => this.#alive.has(id))) continue
      const seen = new Set(records.flatMap(({ L }) => L.flatMap(({ data }) => data.seen)))
      const versions = this.#rows.get(inode)?.C.map(versionOf) ?? []
      if (versions.every((version) => seen.has(version))) continue
      const tops = records.map((row) => {
        const { value } = candidates(row)[0]!
        return { hlc: value.data.hlc, op: value.op, id: row.id }
      })
      this.#alive.add(tops.sort(compareRanks).at(-1)!.id)
    }
    // A directory with something alive in it is alive.
    for (let hasGrown = true; hasGrown;) {
      hasGrown = false
      for (const row of this.#placed()) {
        const { parent } = this.#where(row)
        if (!this.#alive.has(row.id) || parent === ROOT || this.#alive.has(parent)) continue
        this.#alive.add(parent)
        hasGrown = true
      }
    }
  }

  /** Merges directories level by level; returns claims by canonical parent and name. */
  #fillSlots(): Map<string, InodeRow[]> {
    const slots = new Map<string, InodeRow[]>()
    let level: InodeId[] = [ROOT]
    while (level.length > 0) {
      const claims = new Map<string, InodeRow[]>()
      for (const row of this.#placed()) {
        if (!this.#alive.has(row.id)) continue
        const { parent, name } = this.#where(row)
        if (!level.includes(parent)) continue
        const key = (this.#canonical.get(parent) as InodeId) + name
        claims.set(key, [...(claims.get(key) ?? []), row])
      }
      level = []
      for (const [key, rows] of claims) {
        rows.sort((a, b) => compareRanks(this.#where(a).rank, this.#where(b).rank))
        slots.set(key, rows)
        const directories = rows
          .filter(({ id }) => inodeKind(id) === 'directory')
          .map(({ id }) => id)
        const [first] = directories
        if (first === undefined) continue
        for (const id of directories) this.#canonical.set(id, first)
        this.#members.set(first, directories)
        this.#parents.set(first, key.slice(0, 16) as InodeId)
        level.push(...directories)
      }
    }
    return slots
  }

  #policies(directory: InodeId): string[] {
    const found: string[] = []
    for (let id: InodeId | undefined = directory; id !== undefined; id = this.#parents.get(id)) {
      const values = (this.#members.get(id) ?? []).flatMap((member) => {
        const best = winner(this.#rows.get(member)?.P ?? [])
        return best ? [best] : []
      })
      const text = values.sort(byRank)[0]?.data.text ?? ''
      if (text !== '') found.push(text)
    }
    return found
  }

  #contents(inode: InodeId, hlc: Content['hlc']): Value<Content>[] {
    const values = [...(this.#rows.get(inode)?.C ?? [])].sort(byRank)
    const kind = inodeKind(inode)
    if (values.length === 0) {
      const data = defaultContent(kind === 'link' ? 'file' : kind, hlc)
      return [{ op: '', fromNumber: 0, toNumber: 0, bytes: new Uint8Array(0), data }]
    }
    return values.filter(
      (value, index) => !values.slice(0, index).some((v) => isSameContent(v.data, value.data)),
    )
  }

  #records(inode: InodeId): InodeRow[] {
    return this.#placed().filter(
      (row) => inodeKind(row.id) !== 'directory' && this.#targetOf(row) === inode,
    )
  }

  #decide(
    parent: InodeId,
    source: FileName,
    claims: readonly InodeRow[],
  ): { entry: DerivedEntry; lost: Loser[] } {
    const isLww = this.#ports.strategyOf(this.#policies(parent)) === 'last-writer-wins'
    const directory = claims.find(({ id }) => inodeKind(id) === 'directory')
    const files = claims.filter(({ id }) => inodeKind(id) !== 'directory')
    if (isLww) files.reverse()
    const shown: { value: Value<Content>; loser: Loser }[] = []
    const isShown = (value: Value<Content>): boolean =>
      shown.some((other) => isSameContent(other.value.data, value.data))
    for (const row of files) {
      const id = this.#targetOf(row)
      const { rank } = this.#where(row)
      const value = this.#contents(id, rank.hlc)[0] as Value<Content>
      if (isShown(value) || (isLww && shown.length > 0)) continue
      const version = value.bytes.length > 0 ? versionOf(value) : ''
      const entry = { id, version }
      shown.push({ value, loser: { claim: row.id, entry, source, hlc: rank.hlc, op: rank.op } })
    }
    for (const row of isLww ? [] : files) {
      const id = this.#targetOf(row)
      const live = this.#records(id).filter((record) => this.#alive.has(record.id))
      live.sort((a, b) => compareRanks(this.#where(a).rank, this.#where(b).rank))
      if (live[0] !== row) continue
      for (const value of this.#contents(id, row.L[0]!.data.hlc).slice(1)) {
        const version = versionOf(value)
        const copy = conflictCopyId(id, version)
        const isInode = this.#records(copy).some((record) => this.#alive.has(record.id))
        if (isInode || isShown(value)) continue
        const { hlc } = value.data
        const entry = { id: copy, version }
        shown.push({ value, loser: { claim: copy, entry, source, hlc, op: value.op } })
      }
    }
    const losers = shown.map(({ loser }) => loser)
    if (directory) return { entry: { id: directory.id, version: '' }, lost: losers }
    return { entry: losers[0]!.entry, lost: losers.slice(1) }
  }

  /** Level by level: a name is free if nothing is located there and nobody else wants it. */
  #nameLosers(names: Map<FileName, DerivedEntry>, lost: readonly Loser[]): void {
    const taken = new Set(names.keys())
    let left = lost
    for (let level = 0; left.length > 0; level++) {
      const wanted = new Map<FileName, Loser[]>()
      for (const loser of left) {
        const deviceName = this.#ports.deviceNameOf(loser.op)
        const stamp = { hlc: loser.hlc, deviceName, id: loser.claim }
        const name = conflictName(loser.source, stamp, level)
        wanted.set(name, [...(wanted.get(name) ?? []), loser])
      }
      const next: Loser[] = []
      for (const [name, losers] of wanted) {
        if (losers.length === 1 && !taken.has(name)) names.set(name, losers[0]!.entry)
        else next.push(...losers)
      }
      left = next
    }
  }

  #countNames(): Map<InodeId, number> {
    const files = new Map<InodeId, number>()
    for (const id of this.#alive) {
      if (inodeKind(id) === 'directory') continue
      const inode = this.#targetOf(this.#rows.get(id) as InodeRow)
      files.set(inode, (files.get(inode) ?? 0) + 1)
    }
    return files
  }
}
