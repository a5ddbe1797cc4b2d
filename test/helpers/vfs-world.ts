/**
 * Devices of one volume, each with the real file system over the real tree, on memory ports and
 * simulated time. Contents are shared between them; changes travel when the test says so.
 */
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import { Overlay } from '../../src/crdt/overlay.ts'
import { TreeWriter } from '../../src/crdt/writer.ts'
import type { ActorInfo, Edit, ShardChange } from '../../src/crdt/interface.ts'
import { WormholeError } from '../../src/errors.ts'
import { HybridClock, type Clock } from '../../src/system.ts'
import { nameFromText, type ActorId, type DeviceId, type Role } from '../../src/types.ts'
import type {
  EntryReply,
  FileSystem,
  KernelNotifier,
  Problem,
  RequestContext,
} from '../../src/vfs/interface.ts'
import { Vfs } from '../../src/vfs/vfs.ts'
import { SeededRandom, SimClock } from './sim-clock.ts'
import { MemoryContents, MemoryJournal } from './vfs-ports.ts'

/** Who asks in tests: an ordinary user. */
export const CONTEXT: RequestContext = {
  uid: 1000,
  gid: 1000,
  pid: 1,
  umask: 0o022,
  signal: () => new AbortController().signal,
}

export const ROOT = 1

/** A name from text. */
export const name = nameFromText

/** What a device told the kernel. */
export class NotedNotifier implements KernelNotifier {
  readonly notes: string[] = []

  invalidateInode(nodeId: number): void {
    this.notes.push(`inode ${nodeId}`)
  }

  invalidateAttributes(nodeId: number): void {
    this.notes.push(`attributes ${nodeId}`)
  }

  invalidateEntry(parentNodeId: number, entry: string): void {
    this.notes.push(`entry ${parentNodeId} ${entry}`)
  }
}

/** One device. `start` before use; `crash` and `start` again to replay. */
export class VfsDevice {
  readonly clock: SimClock
  readonly contents: MemoryContents
  readonly random: SeededRandom
  readonly rows = new MemoryRowStore()
  readonly info: ActorInfo
  readonly notifier = new NotedNotifier()
  readonly problems: Problem[] = []
  /** Own groups, in order, as other devices get them. */
  readonly log: (readonly ShardChange[])[] = []
  journal = new MemoryJournal()
  role: Role = 'writer'
  /** Thrown by submissions. */
  failure: WormholeError | undefined
  /** Submissions wait for this. */
  submitGate: Promise<void> = Promise.resolve()
  submitCount = 0
  submittedEdits: Edit[] = []
  readonly #applied = new Map<VfsDevice, number>()
  readonly #hybrid: HybridClock
  #starts = 0
  /** Dies with a crash: what is left of the process does nothing any more. */
  #process = { isAlive: true }
  writer!: TreeWriter
  overlay!: Overlay
  vfs!: Vfs

  constructor(world: { clock: SimClock; contents: MemoryContents; seed: number; index: number }) {
    this.clock = world.clock
    this.contents = world.contents
    this.random = new SeededRandom(world.seed * 100 + world.index)
    this.#hybrid = new HybridClock(world.clock)
    const digit = world.index.toString(16)
    this.info = {
      actor: digit.repeat(32) as ActorId,
      device: digit.repeat(64) as DeviceId,
      deviceName: ['alice', 'bob', 'carol'][world.index - 1] ?? `device ${world.index}`,
    }
  }

  get fs(): FileSystem {
    return this.vfs.fileSystem
  }

  async start(): Promise<void> {
    const { rows, random } = this
    this.#process.isAlive = false
    const process = (this.#process = { isAlive: true })
    const clock: Clock = {
      nowMs: () => this.clock.nowMs(),
      nowNs: () => this.clock.nowNs(),
      monotonicMs: () => this.clock.monotonicMs(),
      setTimer: (delayMs, fire) => this.clock.setTimer(delayMs, () => process.isAlive && fire()),
    }
    const strategyOf = (): 'copies' => 'copies'
    const actor = (this.info.actor.slice(0, 30) +
      (this.#starts++).toString(16).padStart(2, '0')) as ActorId
    this.writer = new TreeWriter({ rows, self: { ...this.info, actor }, strategyOf })
    this.overlay = new Overlay({
      rows,
      random,
      tick: () => this.#hybrid.tick(),
      nowNs: () => this.clock.nowNs(),
      strategyOf,
    })
    this.vfs = await Vfs.open({
      overlay: this.overlay,
      journal: this.journal,
      committer: { submit: (edits) => this.#submit(edits, process) },
      contents: this.contents,
      clock,
      random,
      role: () => this.role,
      coveredTo: this.writer.coveredTo,
      policyOf: (text) =>
        text.includes('bad')
          ? { problems: [{ line: 1, column: 1, message: 'bad' }] }
          : { policy: `{"text":"${text.toString()}"}` },
      space: () => ({ freeBytes: 1e9, totalBytes: 2e9 }),
      onProblem: (problem) => process.isAlive && this.problems.push(problem),
    })
    this.vfs.setNotifier(this.notifier)
  }

  async #submit(
    edits: readonly Edit[],
    process: { readonly isAlive: boolean },
  ): Promise<{ coveredTo: number }> {
    const { writer, vfs } = this
    await this.submitGate
    if (!process.isAlive) throw new WormholeError('VOLUME_CLOSED', 'the process is dead')
    if (this.failure) throw this.failure
    this.submitCount++
    this.submittedEdits.push(...edits)
    const { changes, coveredTo } = writer.fold(edits)
    const delta = writer.commit(new Map())
    if (changes.length > 0) this.log.push(changes)
    vfs.applyDelta(delta, coveredTo)
    return { coveredTo }
  }

  /** Publishes what is pending here, then applies what `from` has published. */
  async receive(from: VfsDevice): Promise<void> {
    await this.clock.settle(this.vfs.submitPending(), 10_000)
    const { changes, at } = { changes: from.log, at: this.#applied.get(from) ?? 0 }
    for (const group of changes.slice(at)) {
      this.writer.registerActor(from.writerInfo())
      this.writer.apply(group)
      this.vfs.applyDelta(this.writer.commit(new Map()), this.writer.coveredTo)
    }
    this.#applied.set(from, changes.length)
  }

  /** Who its changes are by, in this run. */
  writerInfo(): ActorInfo {
    const actor = (this.info.actor.slice(0, 30) +
      (this.#starts - 1).toString(16).padStart(2, '0')) as ActorId
    return { ...this.info, actor }
  }

  /** Dies and starts again with the journal's records up to `upTo` (default: what was flushed). */
  async crash(upTo = this.journal.flushedTo): Promise<void> {
    this.vfs.setNotifier(undefined)
    this.#process.isAlive = false
    this.journal = this.journal.after(upTo, this.writer.coveredTo)
    await this.start()
  }

  drain(): Promise<void> {
    return this.clock.settle(this.vfs.drain(), 60_000)
  }

  lookup(parent: number, entry: string): EntryReply | undefined {
    return this.fs.lookup(CONTEXT, parent, name(entry)) as EntryReply | undefined
  }

  /** Looks a path up from the root. */
  find(path: string): EntryReply | undefined {
    let found: EntryReply | undefined
    let parent = ROOT
    for (const part of path.split('/').filter((piece) => piece !== '')) {
      found = this.lookup(parent, part)
      if (!found) return undefined
      parent = found.nodeId
    }
    return found
  }

  /** Creates a file, opened for reading and writing. */
  create(parent: number, entry: string, mode = 0o644): { nodeId: number; handle: number } {
    const made = this.fs.create(CONTEXT, parent, name(entry), mode, 2)
    const { entry: reply, open } = made as Exclude<typeof made, Promise<unknown>>
    return { nodeId: reply.nodeId, handle: open.handle }
  }

  open(nodeId: number, flags = 2): number {
    return (this.fs.open(CONTEXT, nodeId, flags) as { handle: number }).handle
  }

  async write(handle: number, offset: number, text: string | Buffer): Promise<void> {
    await this.fs.write(CONTEXT, handle, offset, Buffer.from(text))
  }

  async read(handle: number, offset = 0, length = 1 << 20): Promise<string> {
    const pieces = await this.fs.read(CONTEXT, handle, offset, length)
    return Buffer.concat(pieces).toString('latin1')
  }

  close(handle: number): void {
    void this.fs.flush(handle)
    void this.fs.release(handle)
  }

  /** Writes a whole file by path in the root, as `echo text > name` does. */
  async put(entry: string, text: string, parent = ROOT): Promise<number> {
    const found = this.lookup(parent, entry)
    if (found) {
      const handle = this.open(found.nodeId, 1 | 0o1000)
      await this.write(handle, 0, text)
      this.close(handle)
      return found.nodeId
    }
    const { nodeId, handle } = this.create(parent, entry)
    await this.write(handle, 0, text)
    this.close(handle)
    return nodeId
  }

  /** Reads a whole file by path, as `cat` does. */
  async cat(path: string): Promise<string | undefined> {
    const found = this.find(path)
    if (!found) return undefined
    const handle = this.open(found.nodeId, 0)
    const text = await this.read(handle)
    this.close(handle)
    return text
  }

  /** The names in a directory, sorted, without the dots. */
  async names(nodeId = ROOT): Promise<string[]> {
    const handle = await this.fs.opendir(nodeId)
    const names: string[] = []
    for (let offset = 0; ;) {
      const entries = await this.fs.readdir(handle, offset, 100)
      if (entries.length === 0) break
      for (const entry of entries) names.push(entry.name)
      offset = entries[entries.length - 1]?.nextOffset ?? 0
    }
    void this.fs.releasedir(handle)
    return names.filter((entry) => entry !== '.' && entry !== '..').sort()
  }
}

/** Starts devices of one volume. */
export async function createWorld(count = 1, seed = 1): Promise<VfsDevice[]> {
  const clock = new SimClock()
  const contents = new MemoryContents()
  const devices = Array.from(
    { length: count },
    (_, index) => new VfsDevice({ clock, contents, seed, index: index + 1 }),
  )
  for (const device of devices) await device.start()
  return devices
}
