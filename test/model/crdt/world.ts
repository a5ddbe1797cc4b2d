/**
 * Devices in one process: each has an index in memory, a tree writer, an overlay and a journal;
 * entries travel by hand, in any causally complete order. Everything is seeded.
 */
import assert from 'node:assert/strict'
import type { Created } from '../../../src/crdt/edits.ts'
import type {
  ActorInfo,
  ContentRef,
  Edit,
  ShardChange,
  TreeDelta,
} from '../../../src/crdt/interface.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { Overlay, type StrategyOf } from '../../../src/crdt/overlay.ts'
import { exportTree, importTree } from '../../../src/crdt/snapshot.ts'
import { versionOf } from '../../../src/crdt/records.ts'
import { LayerReader } from '../../../src/crdt/tree-reader.ts'
import { TreeWriter } from '../../../src/crdt/writer.ts'
import type { Random } from '../../../src/system.ts'
import type { ActorId, ChunkAddress, DeviceId, FileName, Hlc, InodeId } from '../../../src/types.ts'
import { checkLayer, linesOf, registersOf } from './reference.ts'

/** A generator of numbers in [0, 1) (xorshift32). */
export class Dice implements Random {
  #state: number

  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0 || 1
    for (let index = 0; index < 8; index++) this.next()
  }

  next(): number {
    let state = this.#state
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state >>> 0
    return this.#state / 2 ** 32
  }

  below(count: number): number {
    return Math.floor(this.next() * count)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256))
  }
}

/** An entry of the log, as far as the tree is concerned. */
export interface Entry {
  readonly author: number
  readonly changes: readonly ShardChange[]
  readonly coveredTo: number
  /** Entries of each author that were applied before. */
  readonly frontier: readonly number[]
  readonly actors: ReadonlySet<ActorId>
}

export const PLAIN = { mode: 0o644, uid: 0, gid: 0 }
export const DIRECTORY = { mode: 0o755, uid: 0, gid: 0 }

export function name(text: string): FileName {
  return Buffer.from(text, 'utf8').toString('latin1') as FileName
}

/** A content that stands for the given text. */
export function contentOf(text: string): { ref: ContentRef; sizeBytes: number } {
  const address = Buffer.from(text, 'utf8').toString('hex').padEnd(64, '0') as ChunkAddress
  return { ref: { type: 'chunk', address }, sizeBytes: text.length }
}

/** The text that a content stands for. */
export function textOf(ref: ContentRef): string {
  if (ref.type === 'empty') return ''
  return Buffer.from(ref.address, 'hex').toString('utf8').replaceAll('\0', '')
}

export interface WorldOptions {
  readonly seed: number
  readonly deviceCount: number
  readonly strategyOf?: StrategyOf
  /** As in `MemoryRowStore`. */
  readonly hashCharacters?: number
}

/** Devices and the entries they have written. */
export class World {
  readonly dice: Dice
  readonly devices: Device[] = []
  /** Entries by author. */
  readonly feeds: Entry[][] = []
  readonly actors = new Map<ActorId, ActorInfo>()
  readonly options: WorldOptions
  nowMs = 1_790_000_000_000

  constructor(options: WorldOptions) {
    this.options = options
    this.dice = new Dice(options.seed)
    for (let index = 0; index < options.deviceCount; index++) {
      this.feeds.push([])
      this.devices.push(new Device(this, index))
    }
  }

  /** Delivers everything to everyone. */
  settle(): void {
    for (const device of this.devices) device.publish()
    for (let hasMoved = true; hasMoved;) {
      hasMoved = false
      for (const device of this.devices) {
        for (const author of this.shuffled()) while (device.receive(author)) hasMoved = true
        if (device.publish()) hasMoved = true
      }
    }
  }

  shuffled(): number[] {
    const order = this.devices.map((_, index) => index)
    for (let index = order.length - 1; index > 0; index--) {
      const other = this.dice.below(index + 1)
      ;[order[index], order[other]] = [order[other] as number, order[index] as number]
    }
    return order
  }

  /** A device joins with a snapshot of what another one has applied, and then takes part. */
  join(from: Device): Device {
    const device = new Device(this, this.devices.length)
    this.feeds.push([])
    this.devices.push(device)
    device.load(snapshotOf(from), from.applied)
    return device
  }

  /**
   * A device is copied while it runs, memory and all: both go on as the same actor, with the same
   * pending edits. The copy is an author of its own here, as the log makes a branch of what it
   * writes.
   */
  double(from: Device): Device {
    const copy = new Device(this, this.devices.length, from)
    this.feeds.push([])
    this.devices.push(copy)
    return copy
  }

  /** A device that has just joined: it applies all entries in an order of its own. */
  newcomer(): Device {
    const device = new Device(this, this.devices.length)
    for (let hasMoved = true; hasMoved;) {
      hasMoved = false
      for (const author of this.shuffled()) while (device.receive(author)) hasMoved = true
    }
    return device
  }
}

/** The parts of a snapshot of what a device has applied. */
export function snapshotOf(device: Device): Buffer[] {
  const parts: Buffer[] = []
  for (const part of exportTree(device.rows.reader())) if (part) parts.push(part)
  return parts
}

function copyRows(from: MemoryRowStore, to: MemoryRowStore): void {
  to.transaction((writer) => {
    for (const { key, value } of from.range('')) writer.put(key, value)
  })
}

/** One device. */
export class Device {
  readonly world: World
  readonly index: number
  /** The same for a copy and its original. */
  readonly identity: number
  readonly rows: MemoryRowStore
  writer: TreeWriter
  overlay: Overlay
  readonly applied: number[]
  readonly ownActors = new Set<ActorId>()
  /** Texts whose bytes it has: what it wrote or fetched. */
  readonly texts: Set<string>
  deltas: TreeDelta[] = []
  restartCount = 0
  #journal: Edit[] = []
  #number = 0
  #lastHlc = 0

  /** `original`: what it is a copy of. */
  constructor(world: World, index: number, original?: Device) {
    this.world = world
    this.index = index
    this.identity = original?.identity ?? index
    const { hashCharacters } = world.options
    this.rows = new MemoryRowStore(hashCharacters === undefined ? {} : { hashCharacters })
    this.applied = [...(original?.applied ?? [])]
    this.texts = new Set(original?.texts ?? [])
    if (original) copyRows(original.rows, this.rows)
    for (const actor of original?.ownActors ?? []) this.ownActors.add(actor)
    ;({ writer: this.writer, overlay: this.overlay } = this.#open(original?.actor))
    this.#number = original?.lastNumber ?? 0
    this.#lastHlc = original?.tick() ?? 0
    for (const edit of original?.pending ?? []) {
      this.#journal.push(edit)
      this.overlay.apply(edit)
    }
  }

  get actor(): ActorId {
    return [...this.ownActors].at(-1) as ActorId
  }

  get lastNumber(): number {
    return this.#number
  }

  get pending(): readonly Edit[] {
    return this.#journal
  }

  #open(running?: ActorId): { writer: TreeWriter; overlay: Overlay } {
    const { dice, actors, options } = this.world
    const strategyOf = options.strategyOf ?? (() => 'copies' as const)
    const actor = running ?? (Buffer.from(dice.bytes(16)).toString('hex') as ActorId)
    const device = String(this.identity).padStart(64, '0') as DeviceId
    const self = { actor, device, deviceName: `device${this.identity}` }
    actors.set(actor, self)
    this.ownActors.add(actor)
    const writer = new TreeWriter({ rows: this.rows, self, strategyOf })
    const overlay = new Overlay({
      rows: this.rows.reader(),
      random: dice,
      tick: () => this.tick(),
      nowNs: () => BigInt(this.world.nowMs) * 1_000_000n,
      strategyOf,
      deviceName: self.deviceName,
    })
    return { writer, overlay }
  }

  tick(): Hlc {
    this.#lastHlc = Math.max(this.world.nowMs * 1000, this.#lastHlc + 1)
    return this.#lastHlc as Hlc
  }

  /** A content whose bytes this device has written. */
  content(text: string): ReturnType<typeof contentOf> {
    this.texts.add(text)
    return contentOf(text)
  }

  /** Fetches the wants that `isDue` picks; each is committed on its own. */
  fetch(isDue: () => boolean = () => true): void {
    for (const { key, ref } of this.writer.wants({ countMax: Infinity })) {
      if (!isDue()) continue
      this.texts.add(textOf(ref))
      this.writer.fetched([key])
      this.#commit()
    }
    this.overlay.cover(0)
  }

  /** Journals and shows an edit; returns what a builder has made. */
  do<T extends Edit | Created>(made: T): T {
    this.world.nowMs += 7
    const edit: Edit = 'edit' in made ? (made as Created).edit : (made as Edit)
    if (edit.puts.length === 0) return made
    const numbered = { ...edit, number: ++this.#number }
    this.#journal.push(numbered)
    this.overlay.apply(numbered)
    return made
  }

  /** Writes one entry for everything pending. `isCrash`: dies between log and index. */
  publish(options: { readonly isCrash?: boolean } = {}): boolean {
    if (this.#journal.length === 0) return false
    const folded = this.writer.fold(this.#journal)
    const entry: Entry = {
      author: this.index,
      changes: folded.changes,
      coveredTo: folded.coveredTo,
      frontier: this.world.feeds.map((_, author) => this.applied[author] ?? 0),
      actors: new Set(this.ownActors),
    }
    this.#feed().push(entry)
    if (options.isCrash) {
      this.restart()
      return true
    }
    this.applied[this.index] = (this.applied[this.index] ?? 0) + 1
    this.#commit()
    this.#journal = []
    this.overlay.cover(folded.coveredTo)
    return true
  }

  /** Takes a snapshot in place of everything up to `applied`. */
  load(parts: Iterable<Uint8Array>, applied: readonly number[]): void {
    const counts = Array.from(applied, (count) => count ?? 0)
    const meta = Buffer.from(counts.join(','), 'latin1')
    this.writer.load(importTree(parts), new Map([['frontier', meta]]))
    this.applied.splice(0, this.applied.length, ...counts)
    this.overlay.cover(0)
  }

  #feed(): Entry[] {
    return (this.world.feeds[this.index] ??= [])
  }

  #commit(): void {
    const meta = Buffer.from(this.applied.map((count) => count ?? 0).join(','), 'latin1')
    this.deltas.push(this.writer.commit(new Map([['frontier', meta]])))
  }

  /** The process dies and starts again: index and journal are what is left. */
  restart(): void {
    this.restartCount++
    this.writer.close()
    ;({ writer: this.writer, overlay: this.overlay } = this.#open())
    const applied = (this.writer.meta('frontier')?.toString('latin1') ?? '').split(',')
    this.applied.splice(0, this.applied.length, ...applied.map(Number))
    while (this.receive(this.index)) continue
    this.#journal = this.#journal.filter(({ number }) => number > this.writer.coveredTo)
    this.overlay.cover(0)
    for (const edit of this.#journal) this.overlay.apply(edit)
  }

  /** Its index is made anew from the log. */
  rebuild(): void {
    this.applied.splice(0, this.applied.length)
    this.writer.clear(new Map())
    for (let hasMoved = true; hasMoved;) {
      hasMoved = false
      for (const author of this.world.shuffled()) while (this.receive(author)) hasMoved = true
    }
    this.overlay.cover(0)
  }

  /** Applies the next entry of an author if everything it needs is here. */
  receive(author: number, options: { readonly isUncertain?: boolean } = {}): boolean {
    const entry = this.world.feeds[author]?.[this.applied[author] ?? 0]
    if (!entry) return false
    const isReady = entry.frontier.every((count, other) => (this.applied[other] ?? 0) >= count)
    if (!isReady) return false
    if (options.isUncertain) {
      this.#take(entry)
      this.writer.rollback()
    }
    this.#take(entry)
    this.applied[author] = (this.applied[author] ?? 0) + 1
    this.#commit()
    this.overlay.cover(0)
    if (author !== this.index && entry.actors.has(this.actor)) this.#becomeAnother()
    return true
  }

  /** It met what its double wrote: it goes on in another feed, as another actor. */
  #becomeAnother(): void {
    const { dice, actors } = this.world
    const actor = Buffer.from(dice.bytes(16)).toString('hex') as ActorId
    const self = { ...(actors.get(this.actor) as ActorInfo), actor }
    actors.set(actor, self)
    this.ownActors.add(actor)
    this.writer.become(self)
  }

  #take(entry: Entry): void {
    for (const actor of entry.actors) this.writer.registerActor(this.world.actors.get(actor)!)
    const verdict = this.writer.check(entry.changes, entry)
    assert.deepEqual(verdict, { isValid: true })
    const isOwn = entry.author === this.index
    this.writer.apply(entry.changes, isOwn ? { coveredTo: entry.coveredTo } : undefined)
  }

  /** The committed tree as text: one line per visible name, sorted. */
  lines(): string[] {
    return linesOf(new LayerReader(this.writer.inspect().layer))
  }

  /** What a user sees, pending edits included. */
  shown(): string[] {
    return linesOf(this.overlay)
  }

  /** Both the index and the overlay equal what follows from their registers from scratch. */
  check(): void {
    checkLayer(this, this.writer.inspect().layer)
    checkLayer(this, this.overlay.inspect().layer)
    this.checkWants()
  }

  /** What is in a register and not here is wanted; what has left its register is not. */
  checkWants(): void {
    const { layer } = this.writer.inspect()
    const wants = new Set(this.writer.wants({ countMax: Infinity }).map(({ key }) => key))
    const held = new Set<string>()
    for (const { id, C } of registersOf(this, layer).values()) {
      for (const value of C) {
        if (value.data.kind !== 'file') continue
        const text = textOf(value.data.ref)
        const key = id + versionOf(value)
        held.add(key)
        const isHere = text === '' || this.texts.has(text)
        assert.ok(isHere || wants.has(key), `${text} of ${id} is not wanted`)
      }
    }
    const needless = [...wants].filter((key) => !held.has(key))
    assert.deepEqual(needless, [], 'wants without a content')
  }

  #byPath(path: string): { parent: InodeId; name: FileName } {
    const parts = path.split('/').filter((part) => part !== '')
    const last = parts.pop() as string
    let parent = this.overlay.root
    for (const part of parts) {
      const found = this.overlay.lookup(parent, name(part))
      assert.ok(found, `${path}: ${part} does not exist`)
      parent = found.id
    }
    return { parent, name: name(last) }
  }

  place(path: string): { parent: InodeId; name: FileName } {
    return this.#byPath(path)
  }

  id(path: string): InodeId {
    const place = this.#byPath(path)
    const found = this.overlay.lookup(place.parent, place.name)
    assert.ok(found, `${path} does not exist: ${this.shown().join(', ')}`)
    return found.id
  }

  // Short hand for stories.
  write(path: string, text: string): void {
    const { parent, name: leaf } = this.#byPath(path)
    const found = this.overlay.lookup(parent, leaf)
    const content = this.content(text)
    const mtimeNs = BigInt(this.world.nowMs) * 1_000_000n
    if (found) this.do(this.overlay.setContent(found.id, { ...content, mtimeNs }))
    else this.do(this.overlay.createFile(parent, leaf, { ...PLAIN, content, mtimeNs }))
  }

  mkdir(path: string): void {
    const { parent, name: leaf } = this.#byPath(path)
    this.do(this.overlay.mkdir(parent, leaf, DIRECTORY))
  }

  rename(from: string, to: string, flag: 'replace' | 'noreplace' | 'exchange' = 'replace'): void {
    this.do(this.overlay.rename(this.#byPath(from), this.#byPath(to), flag))
  }

  unlink(path: string): void {
    const { parent, name: leaf } = this.#byPath(path)
    this.do(this.overlay.unlink(parent, leaf))
  }

  rmdir(path: string): void {
    const { parent, name: leaf } = this.#byPath(path)
    this.do(this.overlay.rmdir(parent, leaf))
  }

  link(from: string, to: string): void {
    const { parent, name: leaf } = this.#byPath(to)
    this.do(this.overlay.link(this.id(from), parent, leaf))
  }

  setPolicy(path: string, policy: string): void {
    const id = path === '/' ? this.overlay.root : this.id(path)
    this.do(this.overlay.setPolicy(id, policy))
  }

  resolve(path: string, keep: number | 'both'): void {
    const { parent, name: leaf } = this.#byPath(path)
    this.do(this.overlay.resolve(parent, leaf, keep))
  }
}
