/**
 * One whole device of a volume in this thread: real log, tree, journal and file system on a disk
 * in memory and on simulated time. It can die between any two operations of its disk or index, with
 * or without its power, and start again on what is left.
 */
import type { ContentStore } from '../../src/chunks/interface.ts'
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import { Overlay } from '../../src/crdt/overlay.ts'
import { TreeWriter } from '../../src/crdt/writer.ts'
import { strategyOf } from '../../src/daemon/strategy.ts'
import { MemoryDisk, type Survivors } from '../../src/disk-memory.ts'
import { WormholeError } from '../../src/errors.ts'
import { createActor } from '../../src/log/actors.ts'
import { DiskFeedStore } from '../../src/log/feeds.ts'
import { DiskJournal } from '../../src/log/journal.ts'
import { KeyRing } from '../../src/log/key-ring.ts'
import { identityFromSeed, type Identity } from '../../src/log/keys.ts'
import { hash } from '../../src/seal.ts'
import { HybridClock, type Clock, type Disk } from '../../src/system.ts'
import { feedId } from '../../src/types.ts'
import type { FileSystem } from '../../src/vfs/interface.ts'
import { Vfs } from '../../src/vfs/vfs.ts'
import { Volume } from '../../src/volume.ts'
import { guardDisk, MortalProcess } from './mortal-disk.ts'
import { MortalRows, type IndexFate } from './mortal-rows.ts'
import { SeededRandom, type SimClock } from './sim-clock.ts'
import { MemoryContents } from './vfs-ports.ts'
import { VfsUser } from './vfs-user.ts'
import type { TestVolume } from './volume-device.ts'

/** Contents of one device; what it lacks it reads from the others. */
class SimContents extends MemoryContents {
  readonly peers: SimDevice[]

  constructor(peers: SimDevice[], stored?: MemoryContents['stored']) {
    super()
    this.peers = peers
    for (const [address, bytes] of stored ?? []) {
      this.stored.set(address, bytes)
      this.synced.add(address)
    }
  }

  override bytesOf(content: Parameters<MemoryContents['bytesOf']>[0]): Buffer {
    const { ref } = content
    if (ref.type === 'empty' || this.stored.has(ref.address)) return super.bytesOf(content)
    for (const { contents } of this.peers) {
      const bytes = contents.stored.get(ref.address)
      if (bytes) return bytes
    }
    throw new WormholeError('CHUNK_UNAVAILABLE', `nobody has ${ref.address}`)
  }
}

/** What a simulated device is made of. */
export interface SimDeviceOptions {
  readonly name: string
  readonly shared: TestVolume
  readonly clock: SimClock
  readonly seed: string
  readonly random: SeededRandom
  readonly peers: SimDevice[]
  /** Of journal and feeds; default: as in production. */
  readonly segmentBytesMax?: number
}

/** See the head of this file. */
export class SimDevice extends VfsUser {
  readonly name: string
  readonly shared: TestVolume
  readonly clock: SimClock
  readonly random: SeededRandom
  readonly identity: Identity
  disk = new MemoryDisk()
  contents: SimContents
  problems: string[] = []
  /** The disk failed or was full since the start: only what is acknowledged one by one is owed. */
  hasTrouble = false
  volume!: Volume
  vfs!: Vfs
  overlay!: Overlay
  #rows = new MemoryRowStore()
  #guarded!: MortalRows
  #process = new MortalProcess()
  readonly #peers: SimDevice[]
  readonly #segments: { readonly segmentBytesMax?: number }

  constructor(options: SimDeviceOptions) {
    super()
    const { segmentBytesMax } = options
    this.#segments = segmentBytesMax === undefined ? {} : { segmentBytesMax }
    this.name = options.name
    this.shared = options.shared
    this.clock = options.clock
    this.random = options.random
    this.identity = identityFromSeed(hash(Buffer.from(`${options.seed}/${options.name}`)))
    this.#peers = options.peers
    this.contents = new SimContents(this.#peers)
  }

  get fs(): FileSystem {
    return this.vfs.fileSystem
  }

  get isAlive(): boolean {
    return this.#process.isAlive
  }

  /** Monotonic time of death. */
  get diedMs(): number {
    return this.#process.diedMs ?? this.clock.monotonicMs()
  }

  get isWriter(): boolean {
    return this.isAlive && this.volume.role() !== undefined
  }

  /** Dies at the `count`th operation of disk or index from now. */
  lightFuse(count: number): void {
    this.#process.fuse = count
  }

  /** Starts the daemon on what is on the disk. */
  async start(): Promise<void> {
    const { shared, identity, random, clock } = this
    const process = (this.#process = new MortalProcess(() => this.clock.monotonicMs()))
    this.hasTrouble = false
    const disk = guardDisk(this.disk, process)
    this.#guarded = new MortalRows(this.#rows, process, random)
    const mortal: Clock = {
      nowMs: () => clock.nowMs(),
      nowNs: () => clock.nowNs(),
      monotonicMs: () => clock.monotonicMs(),
      setTimer: (delayMs, fire) => clock.setTimer(delayMs, () => process.isAlive && fire()),
    }
    const [logClock, fsClock] = [new HybridClock(mortal), new HybridClock(mortal)]
    const feed = feedId(identity.device, 0)
    const self = { actor: createActor(feed, random), device: identity.device }
    const tree = new TreeWriter({
      rows: this.#guarded,
      self: { ...self, deviceName: this.name },
      strategyOf,
    })
    const feeds = DiskFeedStore.open({
      disk,
      random,
      directory: '/log',
      volume: shared.id,
      device: identity.device,
      ...this.#segments,
    })
    if (!feeds.head(shared.genesis.feed)) await feeds.append([shared.genesis])
    let vfs: Vfs | undefined
    const onProblem = ({ code, message }: { code: string; message: string }): void => {
      if (!process.isAlive) return
      this.problems.push(`${code}: ${message}`)
      if (code === 'DISK_FULL' || code === 'IO_ERROR' || code === 'WRITER_BROKEN') {
        this.hasTrouble = true
      }
    }
    const volume = await Volume.open({
      id: shared.id,
      device: identity.device,
      deviceName: this.name,
      feed,
      signing: identity.signing,
      keys: new KeyRing({ secrets: shared.secrets, box: identity.box, save: () => {} }),
      feeds,
      tree,
      clock: mortal,
      hlc: logClock,
      random,
      events: {
        onHead: () => undefined,
        onDelta: (delta, coveredTo, isOwn) => {
          if (!process.isAlive) return
          fsClock.observe(logClock.last)
          vfs?.applyDelta(delta, coveredTo, { isOwn })
        },
        onMembers: () => undefined,
        onProblem,
        submitPending: () => vfs?.submitPending() ?? Promise.resolve(),
      },
    })
    await this.opened(volume)
    const journal = DiskJournal.open({
      disk,
      random,
      directory: '/journal',
      key: identity.localKey('journal'),
      numberMin: volume.coveredTo + 1,
      ...this.#segments,
    })
    const overlay = new Overlay({
      rows: this.#rows.reader(),
      random,
      tick: () => fsClock.tick(),
      nowNs: () => clock.nowNs(),
      strategyOf,
    })
    vfs = await Vfs.open({
      overlay,
      journal,
      committer: { submit: (edits) => volume.submit(edits) },
      contents: this.openContents(disk),
      clock: mortal,
      random,
      role: () => volume.role() ?? 'reader',
      coveredTo: volume.coveredTo,
      policyOf: (text) => ({ policy: text.toString() }),
      space: () => ({ freeBytes: 1e9, totalBytes: 2e9 }),
      onProblem,
    })
    this.volume = volume
    this.overlay = overlay
    this.vfs = vfs
  }

  /** The volume is open, the file system not yet. */
  protected opened(_volume: Volume): Promise<void> {
    return Promise.resolve()
  }

  /** File contents for the run that starts. */
  protected openContents(_disk: Disk): ContentStore {
    return this.contents
  }

  /** Puts another disk and index into the machine; only while the daemon is dead. */
  install(disk: MemoryDisk, rows: MemoryRowStore): void {
    this.disk = disk
    this.#rows = rows
  }

  /** The daemon dies, if it has not yet; the machine stays. */
  kill(): void {
    this.#process.die()
    this.contents = new SimContents(this.#peers, this.contents.stored)
  }

  /** The power fails: what was not synced may be gone, and the index may be an older one. */
  powerCut(survivors: Survivors, index: IndexFate): void {
    this.#process.die()
    this.disk.powerCut({ survivors, random: this.random })
    const { stored, synced } = this.contents
    const kept = new Map([...stored].filter(([address]) => synced.has(address)))
    this.contents = new SimContents(this.#peers, kept)
    if (index === 'older') this.#rows = this.#guarded.older()
    else if (index === 'lost') this.#rows = new MemoryRowStore()
  }

  /** Publishes everything, written files included. @throws `IO_ERROR` when the process dies. */
  async drain(): Promise<void> {
    let isOver = false
    const drained = this.vfs.drain().finally(() => {
      isOver = true
    })
    drained.catch(() => undefined)
    const what = 'everything is published'
    await this.clock.until(() => isOver || !this.isAlive, 60_000, what)
    // What is left of a dead process may wait for a timer that never fires.
    if (!isOver) throw new WormholeError('IO_ERROR', 'the process is dead')
    return drained
  }

  /** The index is gone; only while the daemon is dead. */
  loseIndex(): void {
    this.#rows = new MemoryRowStore()
  }
}
