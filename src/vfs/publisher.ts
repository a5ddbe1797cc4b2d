/**
 * Edits on their way from the journal into the log.
 *
 * `commit` makes an edit part of the journal and of the local tree at once; the edits then go to
 * the `Committer` in their order, one submission at a time, grouped for up to `GROUP_MS`. Nothing
 * is forgotten before the volume says that its index covers it: a failed submission is reported,
 * and tried again with growing pauses. An edit is durable in the journal before it is submitted:
 * were it covered and its record lost, what its marks say of dirty files would be lost with it, and
 * their bytes would be published a second time.
 */
import type { Edit } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { errorToData, WormholeError } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import type { FileJournal } from './file-journal.ts'
import type { Committer, JournalPort, Problem } from './interface.ts'
import { encodeEdit, RECORD_EDIT, type Mark } from './journal-records.ts'
import { BUSY_MS_MAX, type Pace } from './pace.ts'
import { ShortLived } from './short-lived.ts'

/** How long names wait for company, and again while programs are at work and there are many. */
export const GROUP_MS = 50
/** Edits from which they wait for programs to pause, and from which they do not. */
const WAITING_EDITS_MIN = 64
const WAITING_EDITS_MAX = 65_536
/** Looked for short-lived files when they are at least this part of many edits. */
const SHORT_LIVED_SHARE = 8
/** Most edits, and about most bytes of values, in one submission (log entries end at 8 MiB). */
const BATCH_EDITS_MAX = 2048
const BATCH_BYTES_MAX = 2 * 1024 * 1024
/** The tree is shown anew when so many times more is covered than has to be applied again, */
const SHOW_SHARE = 4
/** or just more, when it is much; */
const UNSHOWN_MAX = 16_384
/** so few edits are applied again whatever was covered. */
const SHOW_LEFT_MIN = 64
/** Pause between looks at what the journal may forget: each costs one `fdatasync`. */
const TRIM_MS = 1000
const RETRY_MS_MIN = 100
const RETRY_MS_MAX = 30_000

interface Waiter {
  readonly upTo: number
  resolve(): void
  reject(error: unknown): void
}

/** Journals, applies and publishes edits. */
export class Publisher {
  readonly #overlay: Overlay
  readonly #journal: JournalPort
  readonly #files: FileJournal
  readonly #committer: Committer
  readonly #clock: Clock
  readonly #pace: Pace
  readonly #onCommitted: (edit: Edit) => void
  readonly #onCovered: () => void
  readonly #onProblem: (problem: Problem) => void
  /** Not yet covered, in order. */
  #pending: Edit[] = []
  readonly #shortLived = new ShortLived()
  #coveredTo: number
  #isSubmitting = false
  /** `kick` was called while a submission ran: what is pending then follows at once. */
  #isKicked = false
  /** The index covers more than the tree shows as covered: so many edits. */
  #isCoverDue = false
  #unshownCount = 0
  /** Since when edits wait for their group. */
  #waitingMs = 0
  #timer: Timer | undefined
  #trimTimer: Timer | undefined
  #retryMs = 0
  #waiters: Waiter[] = []
  #isClosed = false

  constructor(options: {
    overlay: Overlay
    journal: JournalPort
    files: FileJournal
    committer: Committer
    clock: Clock
    pace: Pace
    coveredTo: number
    /** The tree shows a new edit of this device. */
    onCommitted: (edit: Edit) => void
    /** The tree shows the index anew, without what it covers. */
    onCovered: () => void
    onProblem: (problem: Problem) => void
  }) {
    this.#overlay = options.overlay
    this.#journal = options.journal
    this.#files = options.files
    this.#committer = options.committer
    this.#clock = options.clock
    this.#pace = options.pace
    this.#onCommitted = options.onCommitted
    this.#onCovered = options.onCovered
    this.#coveredTo = options.coveredTo
    this.#onProblem = options.onProblem
  }

  get pendingCount(): number {
    return this.#pending.length
  }

  /** Greatest number that the index is known to cover. */
  get coveredTo(): number {
    return this.#coveredTo
  }

  /**
   * Journals an edit (after all bytes written before it), applies it to the tree, and has it
   * published soon. Returns it with its number.
   */
  commit(edit: Edit, marks: readonly Mark[] = []): Edit {
    if (this.#isClosed) throw new WormholeError('VOLUME_CLOSED', 'the volume is closing')
    this.#files.appendWrites()
    const number = this.#journal.append(RECORD_EDIT, encodeEdit(edit, marks))
    const numbered = { number, hlc: edit.hlc, puts: edit.puts }
    this.#overlay.apply(numbered)
    this.#onCommitted(numbered)
    this.#pending.push(numbered)
    this.#shortLived.add(numbered)
    this.#files.schedule()
    this.#schedule(GROUP_MS)
    return numbered
  }

  /** Takes back an edit found in the journal. */
  adopt(edit: Edit): void {
    this.#overlay.apply(edit)
    this.#pending.push(edit)
    this.#schedule(GROUP_MS)
  }

  /** Resolves when every edit committed so far is in the log. Rejects when that fails now. */
  publish(): Promise<void> {
    const last = this.#pending[this.#pending.length - 1]
    if (!last) return Promise.resolve()
    const done = new Promise<void>((resolve, reject) => {
      this.#waiters.push({ upTo: last.number, resolve, reject })
    })
    this.#retryMs = 0
    this.kick()
    return done
  }

  /** Publishes what is pending without waiting for company. */
  kick(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#isSubmitting) this.#isKicked = true
    if (this.#isSubmitting || this.#pending.length === 0) return
    this.#isSubmitting = true
    void this.#submitAll().finally(() => {
      this.#isSubmitting = false
      if (this.#isShowCheap()) this.show()
      if (this.#pending.length > 0) this.#schedule(Math.max(this.#retryMs, GROUP_MS))
    })
  }

  #schedule(delayMs: number): void {
    if (this.#isClosed || this.#isSubmitting) return
    if (this.#timer) return
    this.#waitingMs = this.#clock.monotonicMs()
    this.#pace.mark()
    this.#arm(Math.max(delayMs, this.#retryMs))
  }

  #arm(delayMs: number): void {
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#timer = undefined
      if (this.#mayWait()) this.#arm(GROUP_MS)
      else this.kick()
    })
  }

  /** Whether a group is better submitted later: it is not small, and programs are at work. */
  #mayWait(): boolean {
    const count = this.#pending.length
    if (this.#retryMs > 0 || count < WAITING_EDITS_MIN || count > WAITING_EDITS_MAX) return false
    if (this.#clock.monotonicMs() - this.#waitingMs >= BUSY_MS_MAX) return false
    return this.#pace.isBusy()
  }

  /** Submits until nobody waits: later edits wait for their own group. Never rejects. */
  async #submitAll(): Promise<void> {
    do {
      this.#isKicked = false
      const batch = this.#nextBatch()
      const first = batch[0]
      if (!first) return
      try {
        await this.#files.sync()
        const { coveredTo } = await this.#committer.submit(batch)
        if (coveredTo > this.#coveredTo) this.covered(coveredTo)
        if (this.#coveredTo < first.number) {
          throw new WormholeError('IO_ERROR', `edit ${first.number} was not taken up`)
        }
        this.#retryMs = 0
      } catch (error) {
        this.#failed(error)
        return
      }
    } while (this.#isKicked || this.#waiters.length > 0 || this.#pending.length >= BATCH_EDITS_MAX)
  }

  /** The oldest edits that wait; all of them if few are left without what was short-lived. */
  #nextBatch(): Edit[] {
    const count = countOf(this.#pending)
    const batch = this.#pending.slice(0, count)
    const isMany = this.#shortLived.count * SHORT_LIVED_SHARE > this.#pending.length
    const rest = count < this.#pending.length && isMany && this.#shortLived.without(this.#pending)
    const isRest = rest && countOf(rest) === rest.length
    this.#shortLived.given(isRest ? this.#pending : batch)
    return isRest ? rest : batch
  }

  #failed(error: unknown): void {
    const { code, message } = errorToData(error)
    this.#retryMs = Math.min(RETRY_MS_MAX, Math.max(RETRY_MS_MIN, this.#retryMs * 2))
    this.#onProblem({ code, message: `changes wait for publication: ${message}` })
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter.reject(error)
  }

  /** Whether little is left to be applied anew, or so much is covered that memory asks for it. */
  #isShowCheap(): boolean {
    const left = this.#pending.length
    if (left <= SHOW_LEFT_MIN && !this.#isSubmitting) return true
    return this.#unshownCount > (this.#unshownCount >= UNSHOWN_MAX ? left : left * SHOW_SHARE)
  }

  /**
   * The index covers own edits up to this number: they are not submitted any more. The tree goes on
   * showing them over the index as it was until `show`.
   */
  covered(coveredTo: number): void {
    this.#coveredTo = Math.max(this.#coveredTo, coveredTo)
    this.#isCoverDue = true
    let count = 0
    for (const edit of this.#pending) {
      if (edit.number > this.#coveredTo) break
      count++
    }
    this.#pending.splice(0, count)
    this.#unshownCount += count
    if (this.#isShowCheap()) this.show()
    this.#scheduleTrim()
    const done = this.#waiters.filter((waiter) => waiter.upTo <= this.#coveredTo)
    if (done.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => waiter.upTo > this.#coveredTo)
    for (const waiter of done) waiter.resolve()
  }

  /**
   * Lets the tree show the index as it is now, and without the edits that it covers. What is still
   * pending is applied anew, so with many edits this waits until few of them are left.
   */
  show(): void {
    if (!this.#isCoverDue) return
    this.#isCoverDue = false
    this.#unshownCount = 0
    this.#overlay.cover(this.#coveredTo)
    this.#onCovered()
  }

  #scheduleTrim(): void {
    if (this.#isClosed) return
    this.#trimTimer ??= this.#clock.setTimer(TRIM_MS, () => {
      this.#trimTimer = undefined
      void this.trim().catch((error: unknown) => this.#onProblem(errorToData(error)))
    })
  }

  /**
   * Forgets journal records that nothing needs. What makes them superfluous may be younger records:
   * those are made durable first.
   */
  async trim(): Promise<void> {
    const pending = this.#pending[0]?.number ?? this.#journal.nextNumber
    const needed = Math.min(pending, this.#files.oldestNeeded ?? pending)
    await this.#files.sync()
    this.#journal.trim(needed)
  }

  /** No more edits, no more attempts. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#trimTimer?.cancel()
    this.#timer = this.#trimTimer = undefined
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) {
      waiter.reject(new WormholeError('VOLUME_CLOSED', 'the volume is closing'))
    }
  }
}

/** How many of these edits, oldest first, go into one submission. */
function countOf(edits: readonly Edit[]): number {
  let bytes = 0
  let count = 0
  for (const edit of edits) {
    if (count === BATCH_EDITS_MAX || (count > 0 && bytes > BATCH_BYTES_MAX)) break
    for (const put of edit.puts) bytes += put.value.length
    count++
  }
  return count
}
