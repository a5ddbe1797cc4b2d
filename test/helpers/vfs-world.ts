/**
 * Devices of one volume, each with the real file system over the real tree, on memory ports and
 * simulated time. Contents are shared between them; changes travel when the test says so.
 */
import type { ContentStore } from '../../src/chunks/interface.ts'
import { MemoryRowStore } from '../../src/crdt/memory.ts'
import { Overlay } from '../../src/crdt/overlay.ts'
import { TreeWriter } from '../../src/crdt/writer.ts'
import type { ActorInfo, Edit, ShardChange } from '../../src/crdt/interface.ts'
import { WormholeError } from '../../src/errors.ts'
import { HybridClock, type Clock } from '../../src/system.ts'
import type { ActorId, DeviceId, Role } from '../../src/types.ts'
import type { FileSystem, KernelNotifier, Problem } from '../../src/vfs/interface.ts'
import { Vfs } from '../../src/vfs/vfs.ts'
import { SeededRandom, SimClock } from './sim-clock.ts'
import { MemoryContents, MemoryJournal } from './vfs-ports.ts'
import { VfsUser } from './vfs-user.ts'

export { CONTEXT, name, ROOT } from './vfs-user.ts'

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
export class VfsDevice extends VfsUser {
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
  /** Used instead of `contents` from the next start on. */
  storage: ContentStore | undefined
  role: Role = 'writer'
  /** Thrown by submissions. */
  failure: WormholeError | undefined
  /** Submissions wait for this. */
  submitGate: Promise<void> = Promise.resolve()
  /** What the kernel has asked for, as the file system is told. */
  requestCount = 0
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
    super()
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
      contents: this.storage ?? this.contents,
      clock,
      random,
      role: () => this.role,
      coveredTo: this.writer.coveredTo,
      policyOf: (text) =>
        text.includes('bad')
          ? { problems: [{ line: 1, column: 1, message: 'bad' }] }
          : { policy: text[0] === 0x7b ? text.toString() : `{"text":"${text.toString()}"}` },
      space: () => ({ freeBytes: 1e9, totalBytes: 2e9 }),
      onProblem: (problem) => process.isAlive && this.problems.push(problem),
      requestCount: () => this.requestCount,
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
    vfs.applyDelta(delta, coveredTo, { isOwn: true })
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
