/**
 * Slots: which records share a name, which of them has it, what the others are called.
 *
 * A slot is (canonical directory, name). Directories of one slot merge; the oldest is canonical and
 * holds the slots of all of them, so merging and unmerging move children between slots. Files that
 * lose a name, and losing contents, get conflict names, which are claims of a weaker sort (`wants`)
 * on other slots of the same directory.
 */
import { decideSlot, type Decision } from './contest.ts'
import { conflictName } from './conflict-names.ts'
import { contentLosers } from './contents.ts'
import type { FileName, InodeId } from '../types.ts'
import { inodeKind, LOST_FOUND, ROOT } from './ids.ts'
import { splitSlotKey, TABLE, type Layer } from './layer.ts'
import { compareRanks, location, rankOf } from './placement.ts'
import type { CopyOf, Extra, InodeRow, Slot } from './records.ts'
import { policiesAbove, type StrategyOf } from './strategy.ts'

/** A slot's place. */
interface At {
  readonly parent: InodeId
  readonly name: FileName
}

/** A conflict name to be found: the slot it comes from and who wants it. */
interface Wanted extends At {
  readonly claim: InodeId
}

const PAGE_ROWS = 256

/**
 * Whether a user might act on the slot, or another strategy might decide otherwise. Twins count: by
 * copies the older one has the name, by last-writer-wins the newer one.
 */
export function isContestedSlot(slot: Slot): boolean {
  return slot.extras.length + slot.copies.length + slot.hidden.length > 0
}

/** Keeps the slots of a layer. */
export class Slots {
  readonly #layer: Layer
  readonly #strategyOf: StrategyOf
  readonly #claimed = new Map<string, At>()
  readonly #undecided = new Map<string, At>()
  readonly #unnamed = new Map<string, Wanted>()
  /** A policy, or what lies above some directory, has changed. */
  #isPolicyDirty = false
  #isPolicyTouched = false

  constructor(layer: Layer, strategyOf: StrategyOf) {
    this.#layer = layer
    this.#strategyOf = strategyOf
  }

  /**
   * The liveness, the location or its rank of a record has changed. All records of an inode are
   * relocated together, because which name shows the copies depends on all of them.
   */
  relocate(id: InodeId): void {
    const row = this.#layer.inode(id) as InodeRow
    const at = row.isAlive ? location(row) : undefined
    const parent = at ? this.#canonical(at.parent) : ''
    const name = at ? at.name : ''
    if (row.slotParent !== parent || row.slotName !== name) {
      if (inodeKind(id) === 'directory') this.#soilPolicies()
      if (row.slotParent !== '') this.#removeClaim(row, row.slotParent, row.slotName as FileName)
      if (parent !== '') this.#addClaim(row, parent, name as FileName)
    } else if (parent !== '') {
      this.#mark(this.#claimed, { parent, name: name as FileName })
    }
  }

  /** The contents of an inode have changed. */
  contentChanged(row: InodeRow): void {
    if (row.slotParent !== '') this.#undecide(row)
    for (const id of row.links) this.#undecide(this.#layer.inode(id) as InodeRow)
  }

  /** An inode with the id of a copy came to life or died: the copy goes or comes. */
  copyChanged(copy: CopyOf): void {
    this.#mark(this.#undecided, copy)
  }

  /** A policy has changed: contested slots may look different. */
  policyChanged(): void {
    this.#isPolicyTouched = true
    this.#soilPolicies()
  }

  /** What holds below some directory may be something else now. */
  #soilPolicies(): void {
    this.#isPolicyDirty = true
    this.#layer.policyEpoch++
  }

  reset(): void {
    this.#claimed.clear()
    this.#undecided.clear()
    this.#unnamed.clear()
    this.#isPolicyDirty = false
    this.#isPolicyTouched = false
  }

  settle(): void {
    this.#decideAll()
    if (this.#isPolicyDirty) this.#redecideContested()
    for (const [key, wanted] of this.#unnamed) {
      this.#unnamed.delete(key)
      this.#findName(wanted)
    }
  }

  #decideAll(): void {
    for (const [key, at] of this.#claimed) {
      this.#claimed.delete(key)
      this.#mergeDirectories(at)
      this.#undecided.set(key, at)
    }
    for (const at of this.#undecided.values()) this.#decide(at)
    this.#undecided.clear()
  }

  /** Only a policy makes slots look different from above, so without any there is nothing to do. */
  #redecideContested(): void {
    const layer = this.#layer
    const isNeeded = this.#isPolicyTouched || layer.hasPolicy
    if (this.#isPolicyTouched) layer.forgetPolicies()
    this.#isPolicyDirty = false
    this.#isPolicyTouched = false
    if (!isNeeded) return
    for (const { key } of layer.rawRange(TABLE.contested, { countMax: Infinity })) {
      const slotKey = TABLE.slot + key.slice(1)
      const { parent } = splitSlotKey(slotKey)
      for (const slot of layer.slotsAt(slotKey)) this.#decide({ parent, name: slot.name })
    }
  }

  #canonical(directory: InodeId): InodeId {
    if (directory === ROOT || directory === LOST_FOUND) return directory
    return (this.#layer.inode(directory)?.canonical || directory) as InodeId
  }

  #mark(set: Map<string, At>, at: At): void {
    const key = at.parent + at.name
    if (!set.has(key)) set.set(key, { parent: at.parent, name: at.name })
  }

  #undecide(row: InodeRow): void {
    if (row.slotParent === '') return
    this.#mark(this.#undecided, { parent: row.slotParent, name: row.slotName as FileName })
  }

  // Claims ---------------------------------------------------------------------------------------

  #addClaim(row: InodeRow, parent: InodeId, name: FileName): void {
    const edited = this.#layer.editInode(row.id)
    edited.slotParent = parent
    edited.slotName = name
    const slot = this.#layer.editSlot(parent, name)
    slot.claims = slot.claims.length === 0 ? [row.id] : [...slot.claims, row.id].sort()
    this.#claimsChanged({ parent, name }, slot)
  }

  #removeClaim(row: InodeRow, parent: InodeId, name: FileName): void {
    const edited = this.#layer.editInode(row.id)
    edited.slotParent = ''
    edited.slotName = ''
    const slot = this.#layer.editSlot(parent, name)
    slot.claims = slot.claims.filter((id) => id !== row.id)
    this.#claimsChanged({ parent, name }, slot)
    if (!row.isAlive && inodeKind(row.id) === 'directory') {
      edited.canonical = ''
      edited.merged = []
    }
  }

  #claimsChanged(at: At, slot: Slot): void {
    this.#mark(this.#claimed, at)
    for (const want of slot.wants) this.#markWanted(at.parent, want)
  }

  #markWanted(parent: InodeId, want: Slot['wants'][number]): void {
    const wanted = { parent, name: want.source, claim: want.claim }
    this.#unnamed.set(parent + want.claim + want.source, wanted)
  }

  // Directories ----------------------------------------------------------------------------------

  #mergeDirectories(at: At): void {
    const slot = this.#layer.slot(at.parent, at.name)
    if (!slot) return
    const directories: InodeRow[] = []
    for (const id of slot.claims) {
      if (inodeKind(id) === 'directory') directories.push(this.#layer.inode(id) as InodeRow)
    }
    if (directories.length > 1) directories.sort((a, b) => compareRanks(rankOf(a), rankOf(b)))
    const canonical = directories[0]?.id ?? ''
    const had = slot.primary !== '' && inodeKind(slot.primary) === 'directory'
    if (had !== (canonical !== '')) {
      this.#layer.editInode(at.parent).subdirectories += had ? -1 : 1
    }
    for (const row of directories) {
      const isFirst = row.id === canonical
      const merged = isFirst ? directories.slice(1).map((other) => other.id) : []
      if (merged.length > 0 || row.merged.length > 0) {
        this.#layer.editInode(row.id).merged = merged.sort()
        this.#soilPolicies()
      }
      this.#setCanonical(row.id, isFirst ? '' : canonical)
    }
    if (canonical !== slot.primary && (had || canonical !== '')) {
      this.#layer.editSlot(at.parent, at.name).primary = canonical
    }
  }

  #setCanonical(id: InodeId, canonical: InodeId | ''): void {
    const row = this.#layer.inode(id) as InodeRow
    if (row.canonical === canonical) return
    const from = (row.canonical || id) as InodeId
    const to = (canonical || id) as InodeId
    this.#layer.editInode(id).canonical = canonical
    this.#soilPolicies()
    this.#moveChildren(id, from, to)
  }

  /** Moves the children of one member from the slots of one canonical directory to another's. */
  #moveChildren(member: InodeId, from: InodeId, to: InodeId): void {
    const moving: { row: InodeRow; name: FileName }[] = []
    for (const slot of this.#slotsIn(from)) {
      for (const id of slot.claims) {
        const row = this.#layer.inode(id) as InodeRow
        if (row.countedIn === member) moving.push({ row, name: slot.name })
      }
    }
    for (const { row, name } of moving) {
      this.#removeClaim(row, from, name)
      this.#addClaim(row, to, name)
    }
  }

  *#slotsIn(parent: InodeId): Iterable<Slot> {
    let after: string | undefined
    do {
      const { rows, next } = this.#layer.slotPage(parent, { after, countMax: PAGE_ROWS })
      for (const slots of rows) yield* slots
      after = next
    } while (after !== undefined)
  }

  // Who is shown ---------------------------------------------------------------------------------

  #decide(at: At): void {
    const slot = this.#layer.slot(at.parent, at.name)
    if (!slot) return
    if (this.#isPlain(slot)) {
      const only = slot.claims[0] ?? ''
      if (slot.primary !== only) this.#layer.editSlot(at.parent, at.name).primary = only
      return
    }
    const decision = decideSlot(this.#layer, slot, () =>
      this.#strategyOf(policiesAbove(this.#layer, at.parent).map(({ policy }) => policy)),
    )
    const edited = this.#layer.editSlot(at.parent, at.name)
    edited.primary = decision.primary
    edited.hidden = decision.hidden
    this.#registerCopies(at, edited, decision.copies)
    this.#replaceExtras(at, edited, decision.extras)
    this.#noteContested(at)
  }

  /** One claim, nothing concurrent, and nothing left from before. */
  #isPlain(slot: Slot): boolean {
    if (slot.claims.length > 1 || slot.extras.length + slot.hidden.length > 0) return false
    if (slot.copies.length > 0) return false
    const only = slot.claims[0]
    if (only === undefined || inodeKind(only) === 'directory') return true
    const row = this.#layer.inode(only) as InodeRow
    const inode = row.target === '' ? row : this.#layer.inode(row.target)
    return inode === undefined || contentLosers(inode).length === 0
  }

  #registerCopies(at: At, slot: Slot, copies: Decision['copies']): void {
    for (const id of slot.copies) {
      if (copies.has(id)) continue
      const copy = this.#layer.inode(id)?.copyOf
      if (copy?.parent === at.parent && copy.name === at.name) {
        this.#layer.editInode(id).copyOf = undefined
      }
    }
    for (const [id, copy] of copies) {
      this.#layer.editInode(id).copyOf = { ...copy, parent: at.parent, name: at.name }
    }
    slot.copies = [...copies.keys()].sort()
  }

  #replaceExtras(at: At, slot: Slot, extras: readonly Extra[]): void {
    const old = new Map(slot.extras.map((extra) => [extra.claim, extra]))
    const next: Extra[] = []
    for (const extra of extras) {
      const before = old.get(extra.claim)
      const isSame = before?.hlc === extra.hlc && before.deviceName === extra.deviceName
      next.push(isSame ? { ...extra, names: before.names } : extra)
      if (isSame) old.delete(extra.claim)
      else this.#markWanted(at.parent, { claim: extra.claim, source: at.name })
    }
    slot.extras = next
    for (const gone of old.values()) {
      for (const name of gone.names) this.#dropWant(at, gone.claim, name)
    }
  }

  /** Rows in the table of contested slots, so that listing conflicts never walks the volume. */
  #noteContested(at: At): void {
    const slotKey = this.#layer.slotKey(at.parent, at.name)
    const key = TABLE.contested + slotKey.slice(1)
    const isContested = this.#layer.slotsAt(slotKey).some(isContestedSlot)
    const isNoted = this.#layer.raw(key) !== undefined
    if (isContested !== isNoted) this.#layer.putRaw(key, isContested ? Buffer.alloc(1) : undefined)
  }

  // Conflict names -------------------------------------------------------------------------------

  /** Tries level after level; a name is free when nothing else has or wants it. */
  #findName(wanted: Wanted): void {
    const slot = this.#layer.slot(wanted.parent, wanted.name)
    const extra = slot?.extras.find(({ claim }) => claim === wanted.claim)
    if (!extra) return
    const stamp = { hlc: extra.hlc, deviceName: extra.deviceName, id: extra.claim }
    const names: FileName[] = []
    for (let level = 0; ; level++) {
      const name = conflictName(wanted.name, stamp, level)
      names.push(name)
      this.#addWant(wanted, name)
      const other = this.#layer.slot(wanted.parent, name) as Slot
      if (other.claims.length === 0 && (level >= 2 || other.wants.length === 1)) break
    }
    for (const name of extra.names) {
      if (!names.includes(name)) this.#dropWant(wanted, extra.claim, name)
    }
    const edited = this.#layer.editSlot(wanted.parent, wanted.name)
    edited.extras = edited.extras.map((other) => (other === extra ? { ...other, names } : other))
  }

  #addWant(wanted: Wanted, name: FileName): void {
    const slot = this.#layer.slot(wanted.parent, name)
    const isMine = (want: Slot['wants'][number]): boolean =>
      want.claim === wanted.claim && want.source === wanted.name
    if (slot?.wants.some(isMine)) return
    const edited = this.#layer.editSlot(wanted.parent, name)
    for (const want of edited.wants) this.#markWanted(wanted.parent, want)
    edited.wants = [...edited.wants, { claim: wanted.claim, source: wanted.name }].sort((a, b) =>
      a.claim < b.claim ? -1 : 1,
    )
  }

  #dropWant(at: At, claim: InodeId, name: FileName): void {
    const slot = this.#layer.editSlot(at.parent, name)
    slot.wants = slot.wants.filter((want) => want.claim !== claim || want.source !== at.name)
    for (const want of slot.wants) this.#markWanted(at.parent, want)
  }
}
