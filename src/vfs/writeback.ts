/**
 * From dirty files to contents and edits.
 *
 * A closed file is built, its chunks are made durable, then the edit that names them is committed
 * (W1). A file that is closed alone waits `ALONE_MS`, so that it is soon seen elsewhere; files of a
 * burst wait `CLOSE_MS` for company, so that many share one sync and one entry, and a temporary
 * file that is gone by then is never built. Big files are built piece by piece while they
 * are written (segments), which bounds memory and journal. Files held open are published after an
 * fsync, at most every `HELD_MS`: when programs pause, or after `BUSY_MS_MAX`. Or when nobody has
 * written for `QUIET_MS`.
 */
import type { ContentStore } from '../chunks/interface.ts'
import type { Edit } from '../crdt/interface.ts'
import type { Created, Overlay } from '../crdt/overlay.ts'
import { versionId } from '../crdt/registers.ts'
import { errorToData, hasCode, WormholeError } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import type { FileJournal } from './file-journal.ts'
import type { Holds } from './holds.ts'
import type { Problem } from './interface.ts'
import { buildSnapshot, type Base, type OpenFile, type Snapshot } from './open-file.ts'
import { BUSY_MS_MAX, type Pace } from './pace.ts'
import type { PolicyFiles } from './policy-files.ts'
import type { Publisher } from './publisher.ts'

/** How long a closed file waits that comes alone: an editor's probe is gone by then. */
export const ALONE_MS = 4
/** How long a closed file of a burst waits for company, and again while programs are at work. */
export const CLOSE_MS = 25
/** So many closes within so long make a burst. */
const BURST_COUNT = 4
const BURST_MS = 50
/** A file held open is published at most this often. */
export const HELD_MS = 3000
/** A file held open that nobody syncs is published when it has been quiet for so long. */
export const QUIET_MS = 5000
/** Dirty bytes of one file from which a segment is built. */
const SEGMENT_BYTES = 4 * 1024 * 1024
/**
 * Dirty bytes of one file from which a writer waits for the segment that is being built. More would
 * be older than the journal allows before it is in chunks, and be written twice.
 */
const STREAM_BYTES_MAX = 2 * SEGMENT_BYTES
/** So long a segment is under way before a writer waits for it with less: the same, by time. */
const SEGMENT_MS_MAX = 25
/** Dirty bytes of one file, or of all, from which a writer is refused while the disk is full. */
const FILE_DIRTY_BYTES_MAX = 64 * 1024 * 1024
const TOTAL_DIRTY_BYTES_MAX = 256 * 1024 * 1024
/** Dirty bytes of all files from which closed ones are built whoever is at work. */
const WAITING_BYTES_MAX = 32 * 1024 * 1024
/** Most files built side by side. */
const BATCH_FILES_MAX = 128
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 30_000

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

interface Built {
  readonly file: OpenFile
  readonly snapshot: Snapshot
  readonly base: Base
}

/** Everything `Writeback` needs. */
export interface WritebackOptions {
  readonly overlay: Overlay
  readonly contents: ContentStore
  readonly clock: Clock
  readonly files: FileJournal
  readonly pace: Pace
  readonly publisher: Publisher
  readonly policies: PolicyFiles
  readonly holds: Holds
  readonly onProblem: (problem: Problem) => void
  /** A file has been published, or has become clean or dropped: its node may be released. */
  readonly onSettled: (file: OpenFile) => void
  /** The tree has lost the inode: makes an edit that brings the content back. */
  readonly revive: (file: OpenFile, content: Base & { readonly mtimeNs: bigint }) => Created
}

/** Builds and publishes dirty files. */
export class Writeback {
  readonly #options: WritebackOptions
  /** Files with changes that no edit carries. */
  readonly #dirty = new Set<OpenFile>()
  /** Files to publish; true: in any case, false: only in a synced state. */
  readonly #queue = new Map<OpenFile, boolean>()
  /** Files whose turn came between a write and its fsync: published at that fsync. */
  readonly #missed = new Set<OpenFile>()
  readonly #waiters = new Map<OpenFile, Waiter[]>()
  /** Builds under way. Never reject. */
  readonly #busy = new Map<OpenFile, Promise<void>>()
  /** When segments under way were begun, monotonic. */
  readonly #segments = new Map<OpenFile, number>()
  /** Files whose base is known to be all here. */
  readonly #local = new WeakSet<OpenFile>()
  /** What was counted into `#totalBytes`. */
  readonly #counted = new Map<OpenFile, number>()
  #totalBytes = 0
  #blocked: unknown
  #retryMs = 0
  #running: Promise<void> | undefined
  /** Monotonic times of the newest closes, oldest first; at most `BURST_COUNT`. */
  readonly #closes: number[] = []
  /** Since when files of a burst wait. */
  #waitingMs = 0
  #isClosed = false
  #timer: Timer | undefined
  #heldTimer: Timer | undefined

  constructor(options: WritebackOptions) {
    this.#options = options
  }

  /** After a change of a file. A promise when the writer has to wait for room. */
  changed(file: OpenFile): Promise<void> | undefined {
    file.writtenMs = this.#options.clock.monotonicMs()
    if (!file.isDropped) this.#dirty.add(file)
    this.#heldTimer ??= this.#options.clock.setTimer(HELD_MS, () => this.#lookAtHeld())
    this.#count(file)
    const isCrowded = this.#totalBytes > TOTAL_DIRTY_BYTES_MAX
    if (file.dirtyBytes < SEGMENT_BYTES && !isCrowded) return undefined
    if (!this.#busy.has(file) && this.#blocked === undefined) this.#startSegment(file)
    const startedMs = this.#segments.get(file) ?? Infinity
    const isSlow = file.writtenMs - startedMs > SEGMENT_MS_MAX
    if (file.dirtyBytes < STREAM_BYTES_MAX && !isCrowded && !isSlow) return undefined
    return this.#busy.get(file)
  }

  /** Before a write: refuses when memory is full because the disk is. */
  checkRoom(file: OpenFile): void {
    if (this.#blocked === undefined) return
    const isFull = file.dirtyBytes >= FILE_DIRTY_BYTES_MAX
    if (isFull || this.#totalBytes > TOTAL_DIRTY_BYTES_MAX) throw this.#blocked
  }

  #count(file: OpenFile): void {
    const now = file.isDirty ? file.dirtyBytes : 0
    this.#totalBytes += now - (this.#counted.get(file) ?? 0)
    if (now > 0) this.#counted.set(file, now)
    else this.#counted.delete(file)
  }

  /** A writing handle was closed, or a file cut by path: published once nobody writes it. */
  closed(file: OpenFile): void {
    if (file.isDropped || !file.isDirty || file.writers > 0) return
    this.#queue.set(file, true)
    this.#closes.push(this.#options.clock.monotonicMs())
    if (this.#closes.length > BURST_COUNT) this.#closes.shift()
    this.#schedule(this.#isBurst() ? CLOSE_MS : ALONE_MS)
  }

  /**
   * A file is being emptied by a writer: what a close has queued is not published now, the writer's
   * own close does it. Nobody else is to see an empty file that only stands for a save under way.
   */
  reopened(file: OpenFile): void {
    if (!this.#waiters.has(file)) this.#queue.delete(file)
  }

  /** Whether closes have been coming thick and fast until now. */
  #isBurst(): boolean {
    const [first] = this.#closes
    if (first === undefined || this.#closes.length < BURST_COUNT) return false
    return this.#options.clock.monotonicMs() - first <= BURST_MS
  }

  /** An fsync has made the present state durable. */
  synced(file: OpenFile): void {
    if (file.isDropped || !file.isDirty) return
    file.isSynced = true
    if (this.#options.clock.monotonicMs() - file.publishedMs < HELD_MS) return
    if (!this.#queue.has(file)) this.#queue.set(file, false)
    if (this.#missed.delete(file) && !this.#running && !this.#isClosed) this.#start()
    else this.#schedule(CLOSE_MS)
  }

  /** The last name of a file is gone, or its content is moot: it is never published. */
  dropped(file: OpenFile): void {
    this.#queue.delete(file)
    this.#missed.delete(file)
    this.#dirty.delete(file)
    for (const waiter of this.#takeWaiters(file)) waiter.resolve()
  }

  /** No handle is left of a dropped or clean file: its memory is not counted any more. */
  discard(file: OpenFile): void {
    this.#totalBytes -= this.#counted.get(file) ?? 0
    this.#counted.delete(file)
  }

  /** Resolves when the present state of a file has become an edit. */
  publish(file: OpenFile): Promise<void> {
    if (file.isDropped || !file.isDirty) return Promise.resolve()
    const done = new Promise<void>((resolve, reject) => {
      const waiters = this.#waiters.get(file) ?? []
      waiters.push({ resolve, reject })
      this.#waiters.set(file, waiters)
    })
    this.#queue.set(file, true)
    this.#retryMs = 0
    this.#schedule(0)
    return done
  }

  /** Resolves when every file dirty now has become an edit. */
  async publishAll(): Promise<void> {
    await Promise.all([...this.#dirty].map((file) => this.publish(file)))
  }

  /** No new builds; resolves when those under way are over. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#heldTimer?.cancel()
    this.#queue.clear()
    await this.#running
    await Promise.all(this.#busy.values())
  }

  #takeWaiters(file: OpenFile): Waiter[] {
    const waiters = this.#waiters.get(file) ?? []
    this.#waiters.delete(file)
    return waiters
  }

  #schedule(delayMs: number): void {
    if (this.#running || this.#isClosed) return
    if (delayMs === 0) {
      this.#timer?.cancel()
      this.#timer = undefined
    }
    if (this.#timer) return
    const { clock, pace } = this.#options
    this.#waitingMs = clock.monotonicMs()
    pace.mark()
    this.#arm(Math.max(delayMs, this.#retryMs))
  }

  #arm(delayMs: number): void {
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#timer = undefined
      if (this.#mayWait()) this.#arm(CLOSE_MS)
      else this.#start()
    })
  }

  #start(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      if (this.#queue.size > 0) this.#schedule(CLOSE_MS)
    })
  }

  /** Whether what is queued is better built later: nobody asks for it, and programs are at work. */
  #mayWait(): boolean {
    const { clock, pace } = this.#options
    if (this.#waiters.size > 0 || this.#retryMs > 0 || this.#totalBytes > WAITING_BYTES_MAX) {
      return false
    }
    const isLate = clock.monotonicMs() - this.#waitingMs >= BUSY_MS_MAX
    const isBetter = this.#queue.size >= BURST_COUNT || this.#areAllHeld()
    return !isLate && isBetter && pace.isBusy()
  }

  /** Whether all that is queued is open, and was synced: nobody has closed it yet. */
  #areAllHeld(): boolean {
    for (const isDue of this.#queue.values()) if (isDue) return false
    return true
  }

  #lookAtHeld(): void {
    const nowMs = this.#options.clock.monotonicMs()
    for (const file of this.#dirty) {
      const isQuiet = nowMs - file.writtenMs >= QUIET_MS
      if (isQuiet || (file.isSynced && nowMs - file.publishedMs >= HELD_MS)) {
        if (!this.#queue.has(file)) this.#queue.set(file, isQuiet)
      }
    }
    if (this.#queue.size > 0) this.#schedule(CLOSE_MS)
    this.#heldTimer =
      this.#dirty.size === 0
        ? undefined
        : this.#options.clock.setTimer(HELD_MS, () => this.#lookAtHeld())
  }

  /** Publishes what is queued, a batch at a time, until there is nothing or it fails. */
  async #run(): Promise<void> {
    while (this.#queue.size > 0) {
      const batch: OpenFile[] = []
      for (const [file, isDue] of this.#queue) {
        if (batch.length === BATCH_FILES_MAX) break
        this.#queue.delete(file)
        this.#missed.delete(file)
        if (isDue || file.isSynced) batch.push(file)
        else this.#missed.add(file)
      }
      const failed = await this.#options.holds.during(() => this.#publishBatch(batch))
      this.#retryMs = failed ? Math.min(RETRY_MS_MAX, Math.max(RETRY_MS_MIN, this.#retryMs * 2)) : 0
      if (failed) return
    }
  }

  /** Returns whether anything failed; the files that did are queued again. */
  async #publishBatch(batch: readonly OpenFile[]): Promise<boolean> {
    const { contents, publisher } = this.#options
    const waiters = new Map(batch.map((file) => [file, this.#takeWaiters(file)]))
    const failures = new Map<OpenFile, unknown>()
    const built: Built[] = []
    await Promise.all(
      batch.map((file) =>
        this.#exclusively(file, async () => {
          const job = await this.#build(file)
          if (job) built.push(job)
        }).catch((error: unknown) => failures.set(file, error)),
      ),
    )
    if (built.length > 0) {
      try {
        await contents.sync()
        // One that cannot be published holds nobody else back.
        for (const job of built) {
          try {
            const wait = this.#commit(job)
            if (wait) await wait
          } catch (error) {
            failures.set(job.file, error)
          }
        }
        if (!this.#isBurst()) publisher.kick()
      } catch (error) {
        for (const { file } of built) if (file.isFrozen) failures.set(file, error)
      }
    }
    for (const [file, error] of failures) this.#failed(file, error)
    for (const [file, waiting] of waiters) {
      const error = failures.get(file)
      for (const waiter of waiting) error === undefined ? waiter.resolve() : waiter.reject(error)
    }
    if (failures.size === 0) this.#blocked = undefined
    return failures.size > 0
  }

  /** Runs one build of a file at a time. */
  async #exclusively(file: OpenFile, build: () => Promise<void>): Promise<void> {
    for (let other = this.#busy.get(file); other; other = this.#busy.get(file)) await other
    const run = build()
    const guarded = run
      .catch((error: unknown) => {
        this.#blocked = error
      })
      .finally(() => this.#busy.delete(file))
    this.#busy.set(file, guarded)
    await run
  }

  /** Undefined when there is nothing to publish. Leaves the file frozen otherwise. */
  async #build(file: OpenFile): Promise<Built | undefined> {
    if (file.isDropped || !file.isDirty || file.isFrozen) return undefined
    const snapshot = file.freeze()
    try {
      return { file, snapshot, base: await buildSnapshot(this.#options.contents, snapshot) }
    } catch (error) {
      file.thaw()
      throw error
    }
  }

  #failed(file: OpenFile, error: unknown): void {
    if (file.isFrozen) file.thaw()
    this.#blocked = error
    if (this.#isClosed) return
    const { code, message } = errorToData(error)
    this.#options.onProblem({ code, message: `a written file waits for publication: ${message}` })
    if (!file.isDropped) this.#queue.set(file, true)
  }

  /** The chunks are durable: the edit may name them. */
  #commit(built: Built): void | Promise<void> {
    const { policies } = this.#options
    const directory = policies.directoryOf(built.file.inode)
    if (directory === undefined) return this.#commitWith(built, () => undefined)
    return Promise.resolve(policies.textOf(built.base)).then((text) => {
      this.#commitWith(built, () => policies.edit(directory, text))
    })
  }

  #commitWith({ file, snapshot, base }: Built, policyEdit: () => Edit | undefined): void {
    const { files, overlay, publisher, clock, onSettled } = this.#options
    if (file.isDropped) {
      files.forgetSessions(file.settle(base, true))
      return
    }
    const edits = [this.#contentEdit(file, { ...base, mtimeNs: snapshot.mtimeNs })]
    const policy = policyEdit()
    if (policy) edits.push(policy)
    const edit = edits.length === 1 ? (edits[0] as Edit) : overlay.combine(edits)
    const marks = files.publishedMarks(file, snapshot.sessionCount)
    if (edit.puts.length > 0 || marks.length > 0) {
      const { number } = publisher.commit(edit, marks)
      const put = edit.puts.find(({ inode, register }) => inode === file.inode && register === 'C')
      file.ops = put ? [`#${number}`] : overlay.contentBase(file.inode)
      if (put) file.version = versionId(put.value)
    }
    files.forgetSessions(file.settle(base, true))
    file.publishedMs = clock.monotonicMs()
    if (!file.isDirty) this.#dirty.delete(file)
    this.#count(file)
    onSettled(file)
  }

  #contentEdit(file: OpenFile, content: Base & { readonly mtimeNs: bigint }): Edit {
    try {
      const { ref, sizeBytes, mtimeNs } = content
      return this.#options.overlay.setContent(file.inode, {
        ref,
        sizeBytes,
        mtimeNs,
        base: file.ops,
      })
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      const { edit, id } = this.#options.revive(file, content)
      file.inode = id
      return edit
    }
  }

  /** Resolves when what is dirty is a durable content that only this device knows: the base. */
  store(file: OpenFile): Promise<void> {
    const { contents, holds } = this.#options
    return holds.during(async () => {
      await this.#exclusively(file, () => this.#storeSegment(file))
      await contents.sync()
    })
  }

  /**
   * The content survives this process, not yet a power cut: if every segment waited for the disk,
   * the bytes of a stream would enter the journal, too, where they have to be after `FLUSH_MS`.
   */
  async #storeSegment(file: OpenFile): Promise<void> {
    const { contents, files, clock } = this.#options
    if (file.isFrozen) return
    const snapshot = file.freeze()
    this.#segments.set(file, clock.monotonicMs())
    try {
      const base = await buildSnapshot(contents, snapshot)
      // Of a content that was never all here nobody could tell what a power cut took.
      if (!this.#isLocal(file)) await contents.sync()
      files.appendRebase(file, snapshot.sessionCount, base)
      files.forgetSessions(file.settle(base, false))
      this.#count(file)
    } catch (error) {
      if (file.isFrozen) file.thaw()
      throw error
    } finally {
      this.#segments.delete(file)
    }
  }

  /** Whether a file's base is all here. Once it is, so is all that is built from it. */
  #isLocal(file: OpenFile): boolean {
    if (this.#local.has(file)) return true
    const isLocal = this.#options.contents.presence(file.base) === 'local'
    if (isLocal) this.#local.add(file)
    return isLocal
  }

  /** Stores what is dirty now, in the background. */
  #startSegment(file: OpenFile): void {
    const store = (): Promise<void> => this.#exclusively(file, () => this.#storeSegment(file))
    void this.#options.holds.during(store).catch((error: unknown) => {
      const { code, message } = errorToData(error)
      this.#options.onProblem({ code, message: `a file cannot be stored: ${message}` })
      if (!(error instanceof WormholeError)) throw error
      if (!file.isDropped) this.#queue.set(file, true)
      this.#retryMs = Math.max(RETRY_MS_MIN, this.#retryMs)
      this.#schedule(RETRY_MS_MIN)
    })
  }
}
