/**
 * Proves G1 by interleaving: between any two steps of a collection this device and another one
 * write, remove, conflict, fetch, open files, let days pass and lose power, with few contents, so
 * that bytes come back all the time. What is needed stays readable; in the end nothing else is
 * left.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PackCollection } from '../../../src/chunks/collection.ts'
import type { ChunkCollection } from '../../../src/chunks/collection-interface.ts'
import { LocalContents } from '../../../src/chunks/content.ts'
import type { ContentRef } from '../../../src/chunks/interface.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { ContentRoots } from '../../../src/crdt/content-roots.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { decodeRegister } from '../../../src/crdt/registers.ts'
import { runGc, type GcPorts } from '../../../src/daemon/gc.ts'
import { byUse, GcRoots } from '../../../src/daemon/gc-roots.ts'
import { MemoryDisk, type Survivors } from '../../../src/disk-memory.ts'
import { hasCode, WormholeError } from '../../../src/errors.ts'
import { identityFromSeed } from '../../../src/log/keys.ts'
import { hash } from '../../../src/seal.ts'
import { nameFromText, type ChunkAddress, type Hlc, type InodeId } from '../../../src/types.ts'
import { Holds } from '../../../src/vfs/holds.ts'
import { createBytes, createChunkKeys, createRandom } from '../../helpers/chunks.ts'
import {
  createTestVolume,
  deliver,
  seededRandom,
  TestClock,
  TestDevice,
  type DeviceState,
  type TestVolume,
} from '../../helpers/volume-device.ts'

const NAMES = ['a', 'b', 'c', 'd'].map(nameFromText)
const DAY_MS = 86_400_000
/** Cases of `happen`. */
const KIND_COUNT = 18
const HISTORY_DAYS = 3
const SURVIVORS: readonly Survivors[] = ['none', 'all', 'some', 'torn']

interface Content {
  readonly ref: ContentRef
  readonly sizeBytes: number
}

/** Contents that are made again and again: small ones, and some with lists of chunks. */
const CONTENTS = Array.from({ length: 12 }, (_, index) => {
  const base = createBytes(createRandom(index % 3), 150_000)
  const own = createBytes(createRandom(100 + index), 20_000)
  return index < 4 ? own : Buffer.concat([base, own])
})

/** A device with its chunks. */
class Peer {
  readonly name: string
  readonly shared: TestVolume
  readonly state: DeviceState = { disk: new MemoryDisk(), rows: new MemoryRowStore() }
  readonly holds = new Holds()
  device!: TestDevice
  store!: PackWriter
  contents!: LocalContents
  collection!: PackCollection
  roots!: GcRoots
  run = 0
  /** Contents of open files. */
  open: Content[] = []
  /** Contents that are made and not named yet. */
  making: { content: Content; done(): void }[] = []

  readonly #seed: string

  constructor(name: string, shared: TestVolume, seed: string) {
    this.name = name
    this.#seed = seed
    this.shared = shared
  }

  async start(hasGenesis = true): Promise<void> {
    const { name, shared, state, run } = this
    this.device = await TestDevice.open(shared, name, this.#seed, state, run, hasGenesis)
    this.store = PackWriter.open({
      disk: state.disk,
      directory: '/packs',
      packSizeBytesMax: 600_000,
    })
    const keys = createChunkKeys()
    const { clock } = shared
    this.contents = new LocalContents({ store: this.store, keys, cacheBytesMax: 1 })
    this.collection = new PackCollection({ store: this.store, keys, clock })
    const { tree, volume } = this.device
    const { rows } = state
    this.roots = new GcRoots({ rows, tree, volume, clock, daysOf: () => HISTORY_DAYS })
  }

  async make(bytes: Buffer): Promise<Content> {
    const stream = this.contents.stream()
    await stream.write(bytes)
    const content = await stream.finish()
    await this.contents.sync()
    return content
  }

  /** Begins to make a content; it is named later. */
  async begin(bytes: Buffer): Promise<void> {
    let done!: () => void
    const named = new Promise<void>((resolve) => (done = resolve))
    const made = this.holds.during(async () => {
      this.making.push({ content: await this.make(bytes), done })
      await named
    })
    void made
    while (!this.making.some((each) => each.done === done)) await tick()
  }

  /** Names what was begun, over whatever has the name. */
  name1(index: number, below: (count: number) => number): void {
    const [made] = this.making.splice(index, 1)
    if (!made) return
    this.put(NAMES[below(NAMES.length)] as (typeof NAMES)[0], made.content)
    made.done()
  }

  put(name: (typeof NAMES)[0], content: Content): void {
    const { overlay } = this.device
    const found = overlay.lookup(overlay.root, name)
    const mtimeNs = this.shared.clock.nowNs()
    if (found) this.device.do(overlay.setContent(found.id, { ...content, mtimeNs }))
    else {
      const options = { mode: 0o644, uid: 0, gid: 0, content, mtimeNs }
      this.device.do(overlay.createFile(overlay.root, name, options).edit)
    }
  }

  remove(name: (typeof NAMES)[0]): void {
    const { overlay } = this.device
    if (overlay.lookup(overlay.root, name)) this.device.do(overlay.unlink(overlay.root, name))
  }

  references(): ContentRef[] {
    const refs = this.open.map(({ ref }) => ref)
    for (const { puts } of this.device.overlay.pending()) {
      for (const { inode, register, value } of puts) {
        const content = register === 'C' ? decodeRegister('C', inode, value) : undefined
        if (content?.kind === 'file') refs.push(content.ref)
      }
    }
    return refs
  }

  /** Addresses of all that this device needs, as far as it is complete here. */
  needed(): Map<string, ContentRef> {
    const { rows } = this.state
    const now = (this.shared.clock.nowMs() * 1000) as Hlc
    const walk = new ContentRoots({ rows, now, daysOf: () => HISTORY_DAYS }).walk()
    const refs = [...walk].flat().map(({ ref }) => ref)
    const found = new Map<string, ContentRef>()
    const made = this.making.map(({ content }) => content.ref)
    for (const ref of [...refs, ...made, ...this.references()]) found.set(keyOf(ref), ref)
    return found
  }

  ports(step: () => Promise<void>): GcPorts {
    const { run } = this
    const guard = <Args extends unknown[], T>(call: (...args: Args) => Promise<T> | T) => {
      return async (...args: Args): Promise<T> => {
        await step()
        if (this.run !== run) throw new WormholeError('VOLUME_CLOSED', 'the device died')
        return call(...args)
      }
    }
    const { collection, roots, holds } = this
    const steps: ChunkCollection = {
      begin: guard(() => collection.begin()),
      mark: guard((given) => collection.mark(given)),
      plan: guard(() => collection.plan()),
      condemn: guard(() => collection.condemn()),
      free: guard((given) => collection.free(given)),
      finish: guard(() => collection.finish()),
      end: guard(() => collection.end()),
    }
    return {
      clock: this.shared.clock,
      collection: steps,
      roots: {
        begin: guard(() => roots.begin()),
        next: guard(() => roots.next()),
        later: guard(() => roots.later()),
        end: guard(async () => roots.end()),
      },
      held: () => holds.ended(),
      references: guard(async () =>
        byUse(this.references().map((ref) => ({ use: 'local' as const, ref }))),
      ),
    }
  }
}

function keyOf(ref: ContentRef): string {
  return ref.type === 'empty' ? '' : ref.address
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** One run of a seed. */
class Model {
  readonly seed: number
  readonly random: () => number
  readonly clock = new TestClock()
  readonly shared: TestVolume
  readonly alice: Peer
  readonly bob: Peer
  /** Contents that alice has had whole, by address. */
  readonly complete = new Map<string, ContentRef>()
  freedCount = 0
  postponedCount = 0

  constructor(seed: number) {
    this.seed = seed
    this.random = createRandom(seed)
    this.shared = createTestVolume(`gc ${seed}`, this.clock)
    this.alice = new Peer('alice', this.shared, `gc ${seed}`)
    this.bob = new Peer('bob', this.shared, `gc ${seed}`)
  }

  below = (count: number): number => Math.floor(this.random() * count)

  async start(): Promise<void> {
    await this.alice.start()
    await this.bob.start()
    const identity = identityFromSeed(hash(Buffer.from(`gc ${this.seed}/bob`)))
    await this.alice.device.admit(identity, 'bob', 'writer', this.shared)
    await deliver(this.alice.device, this.bob.device)
  }

  pickContent(): Buffer {
    return CONTENTS[this.below(CONTENTS.length)] as Buffer
  }

  note(content: Content): void {
    this.complete.set(keyOf(content.ref), content.ref)
  }

  /** What may happen in this round: what is rare among everything is frequent in some round. */
  #kinds: number[] = [0]

  choose(): void {
    this.#kinds = Array.from({ length: KIND_COUNT }, (_, kind) => kind)
    this.#kinds = this.#kinds.filter((kind) => kind < 4 || this.random() < 0.6)
  }

  kind(): number {
    return this.#kinds[this.below(this.#kinds.length)] as number
  }

  /** Something happens on alice or bob. */
  async happen(): Promise<void> {
    const { alice, bob } = this
    this.prune()
    const name = NAMES[this.below(NAMES.length)] as (typeof NAMES)[0]
    switch (this.kind()) {
      case 0:
      case 1: {
        await alice.begin(this.pickContent())
        this.note(alice.making.at(-1)!.content)
        return
      }
      case 2:
      case 3:
        return alice.name1(this.below(Math.max(1, alice.making.length)), this.below)
      case 4:
      case 14:
        // Given up: garbage.
        return alice.making.pop()?.done()
      case 5:
        return alice.remove(name)
      case 6:
        return alice.device.publish()
      case 7: {
        const { overlay } = alice.device
        const found = overlay.lookup(overlay.root, name)
        const content = found && overlay.node(found.id)?.content
        if (content?.kind === 'file') alice.open.push(content)
        return
      }
      case 8:
        alice.open.splice(this.below(alice.open.length + 1), 1)
        return
      case 9:
        this.clock.ms += this.below(3 * DAY_MS)
        await alice.device.volume.tend((tree) =>
          tree.forgetHistory({
            now: (this.clock.ms * 1000) as Hlc,
            daysOf: () => HISTORY_DAYS,
          }),
        )
        return
      case 10:
        bob.put(name, await bob.make(this.pickContent()))
        return bob.device.publish()
      case 11:
        bob.remove(name)
        return bob.device.publish()
      case 12:
        return deliver(bob.device, alice.device)
      case 13:
        await alice.device.publish()
        return deliver(alice.device, bob.device)
      case 15:
      case 16:
        // All of it between two steps: a remote file that arrives and is found to be here.
        bob.put(name, await bob.make(this.pickContent()))
        await bob.device.publish()
        await deliver(bob.device, alice.device)
        return this.fetch()
      default:
        return this.fetch()
    }
  }

  /** As the fetch duty: what is here is not fetched. */
  async fetch(): Promise<void> {
    const { alice, bob } = this
    const wants = alice.device.volume.wants({ countMax: 100 })
    const done: string[] = []
    for (const { key, ref, sizeBytes } of wants) {
      if (ref.type === 'empty') continue
      const addresses = await bob.contents.addresses({ ref, sizeBytes }).catch(() => undefined)
      if (!addresses) continue
      for (const address of addresses) {
        if (alice.store.has(address)) continue
        alice.store.put(address, bob.store.getSync(address) as Buffer)
      }
      await alice.store.sync()
      done.push(key)
      this.note({ ref, sizeBytes })
    }
    await alice.device.volume.tend((tree) => tree.fetched(done))
  }

  async collect(isCalm: boolean): Promise<void> {
    const { alice } = this
    const { run } = alice
    const step = async (): Promise<void> => {
      if (isCalm) return
      for (let count = this.below(6); count > 0; count--) await this.happen()
      if (this.below(120) === 0) await this.powerCut()
    }
    let isOver = false
    const options = { isDryRun: false, signal: new AbortController().signal }
    const running = runGc(alice.ports(step), options, () => undefined)
      .then(({ report }) => {
        this.freedCount += report.freed.chunks
        if (report.postponed !== undefined) this.postponedCount++
        if (isCalm) assert.equal(report.postponed, undefined)
      })
      .catch((error: unknown) => {
        if (alice.run === run || !hasCode(error, 'VOLUME_CLOSED')) throw error
      })
      .finally(() => (isOver = true))
    // What is held ends while others go on.
    for (let count = 0; !isOver && count < 1000; count++) {
      await tick()
      if (count % 20 === 19) for (const { done } of alice.making.splice(0)) done()
    }
    await running
    this.check()
  }

  async powerCut(): Promise<void> {
    const { alice } = this
    alice.run++
    for (const { done } of alice.making.splice(0)) done()
    alice.open = []
    const survivors = SURVIVORS[this.below(SURVIVORS.length)] as Survivors
    alice.state.disk.powerCut({ survivors, random: seededRandom(`cut ${this.random()}`) })
    await alice.start()
  }

  /** Of what alice has had whole: what lacks a chunk now. */
  lacking(): [string, ContentRef][] {
    return [...this.complete].filter(([, ref]) =>
      this.addresses(ref).some((address) => !this.alice.store.has(address)),
    )
  }

  /** What is gone while nothing needs it is not owed, even if something comes to need it later. */
  prune(): void {
    const lacking = this.lacking()
    if (lacking.length === 0) return
    const needed = this.alice.needed()
    for (const [key] of lacking) if (!needed.has(key)) this.complete.delete(key)
  }

  /** What alice needs and has had whole is whole. */
  check(): void {
    const { alice } = this
    this.prune()
    const wants = alice.device.volume.wants({ countMax: 1000 })
    const wanted = new Set(wants.map(({ ref }) => keyOf(ref)))
    for (const [key] of this.lacking()) {
      assert.ok(wanted.has(key), `seed ${this.seed}: ${key} is needed and not whole`)
    }
    for (const [key, ref] of this.complete) {
      if (wanted.has(key)) continue
      for (const address of this.addresses(ref)) assert.ok(alice.store.getSync(address))
    }
  }

  readonly #known = new Map<string, ChunkAddress[]>()

  /** All chunks of a content, from a store that has every one. */
  addresses(ref: ContentRef): ChunkAddress[] {
    return this.#known.get(keyOf(ref)) ?? assert.fail('an unknown content')
  }

  async learn(): Promise<void> {
    const library = new Peer('library', this.shared, '')
    library.store = PackWriter.open({ disk: new MemoryDisk(), directory: '/packs' })
    library.contents = new LocalContents({ store: library.store, keys: createChunkKeys() })
    for (const bytes of CONTENTS) {
      const content = await library.make(bytes)
      this.#known.set(keyOf(content.ref), await library.contents.addresses(content))
    }
  }

  async finish(): Promise<void> {
    const { alice, bob } = this
    for (const { done } of alice.making.splice(0)) done()
    alice.open = []
    await alice.device.publish()
    await deliver(bob.device, alice.device)
    await deliver(alice.device, bob.device)
    await this.fetch()
    await this.collect(true)
    await this.collect(true)
    const left = new Set<ChunkAddress>()
    for (const ref of alice.needed().values()) {
      if (ref.type === 'empty') continue
      for (const address of this.addresses(ref)) if (alice.store.has(address)) left.add(address)
    }
    assert.equal(alice.store.stats().chunkCount, left.size, `seed ${this.seed}: unused is left`)
    // What is shown is whole.
    const { overlay } = alice.device
    for (const { id } of overlay.list(overlay.root, { countMax: 100 }).entries) {
      const content = overlay.node(id as InodeId)?.content
      if (content?.kind !== 'file') continue
      if (!this.complete.has(keyOf(content.ref))) continue
      await alice.contents.read(content, { offset: 0, length: content.sizeBytes })
    }
  }
}

test('whatever happens between the steps of a collection, what is needed stays', async () => {
  let freed = 0
  let postponed = 0
  const first = Number(process.env.WORMHOLE_SEED ?? 1)
  for (let seed = first; seed < first + 24; seed++) {
    const model = new Model(seed)
    try {
      await model.learn()
      await model.start()
      for (let round = 0; round < 4; round++) {
        model.choose()
        for (let count = 0; count < 12; count++) await model.happen()
        model.choose()
        await model.collect(false)
      }
      await model.finish()
    } catch (error) {
      throw new Error(`seed ${seed}: ${String((error as Error).stack)}`, { cause: error })
    }
    freed += model.freedCount
    postponed += model.postponedCount
  }
  assert.ok(freed > 60, `${freed} chunks were freed`)
  assert.ok(postponed < 40, `${postponed} collections were postponed`)
})
