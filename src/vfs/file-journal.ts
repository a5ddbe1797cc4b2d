/**
 * What the journal knows of dirty files.
 *
 * Written bytes go to the journal lazily: at the latest `FLUSH_MS` after the write, at close,
 * before fsync returns, and before any edit (so that no name survives a crash without the bytes
 * written before it). A session's bytes are left alone for most of that time: those of a long
 * stream are in chunks by then, and never enter the journal.
 *
 * Invariants: a file's records are in the order of its changes; a session's key is the number of
 * its `begin` record; the journal is never trimmed past the oldest session that is not settled.
 */
import type { OpRef, VersionId } from '../crdt/interface.ts'
import { hasCode } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import type { InodeId } from '../types.ts'
import type { JournalPort } from './interface.ts'
import {
  encodeBegin,
  encodeHole,
  encodeRebase,
  encodeState,
  encodeWrite,
  RECORD_BEGIN,
  RECORD_HOLE,
  RECORD_REBASE,
  RECORD_STATE,
  RECORD_WRITE,
  type Mark,
} from './journal-records.ts'
import type { Base, OpenFile, Session } from './open-file.ts'

/** Longest time that an acknowledged write is only in this process: the promise is 100 ms. */
export const FLUSH_MS = 90
/** How often the journal looks at what waits. */
const LOOK_MS = FLUSH_MS / 6
/** What is younger may wait for the next look. */
const YOUNG_MS = FLUSH_MS - LOOK_MS
/** Pause before a journal that has no room is tried again: the promise holds as soon as it has. */
const RETRY_MS = FLUSH_MS
/** Most bytes in one record. */
const WRITE_BYTES_MAX = 256 * 1024

/** Journals the bytes of open files, and knows what must be kept. */
export class FileJournal {
  readonly #journal: JournalPort
  readonly #syncContents: () => Promise<void>
  readonly #clock: Clock
  readonly #onError: (error: unknown) => void
  /** Files with ranges that are not journalled. */
  readonly #waiting = new Set<OpenFile>()
  /** Keys of unsettled sessions; insertion order is ascending, because numbers grow. */
  readonly #keys = new Map<number, OpenFile>()
  /** Contents that records name, and how many of them are known to be durable. */
  #namedCount = 0
  #durableCount = 0
  #timer: Timer | undefined
  /** The journal had no room last time, which was told. */
  #isFull = false

  constructor(options: {
    journal: JournalPort
    /** Makes all contents built so far durable. */
    syncContents: () => Promise<void>
    clock: Clock
    onError: (error: unknown) => void
  }) {
    this.#journal = options.journal
    this.#syncContents = options.syncContents
    this.#clock = options.clock
    this.#onError = options.onError
  }

  /** Number of the oldest record that a dirty file still needs. */
  get oldestNeeded(): number | undefined {
    return this.#keys.keys().next().value
  }

  /** Something was appended or written: it will be handed to the kernel within `FLUSH_MS`. */
  schedule(): void {
    this.#arm(LOOK_MS)
  }

  #arm(delayMs: number): void {
    this.#timer ??= this.#clock.setTimer(delayMs, () => {
      this.#timer = undefined
      try {
        const beforeMs = this.#clock.monotonicMs() - YOUNG_MS
        for (const file of this.#waiting) this.#appendRanges(file, beforeMs)
        this.#journal.flush()
        this.#isFull = false
        if (this.#waiting.size > 0) this.schedule()
      } catch (error) {
        this.#failed(error)
      }
    })
  }

  /** What waits is kept. A full disk is told once and tried again; all else fails for good. */
  #failed(error: unknown): void {
    const isFull = hasCode(error, 'DISK_FULL')
    if (!isFull || !this.#isFull) this.#onError(error)
    this.#isFull = isFull
    if (isFull) this.#arm(RETRY_MS)
  }

  /** Notes that a file has bytes to journal. */
  noteWrite(file: OpenFile): void {
    if (file.isDropped) return
    const live = file.sessions[file.sessions.length - 1] as Session
    live.sinceMs ??= this.#clock.monotonicMs()
    this.#waiting.add(file)
    this.schedule()
  }

  /** Journals a truncation or a set time, after the bytes written before it. */
  appendState(file: OpenFile): void {
    if (file.isDropped) return
    const { key } = this.#catchUp(file)
    this.#journal.append(RECORD_STATE, encodeState(key, file.sizeBytes, file.mtimeNs))
    this.schedule()
  }

  /**
   * Journals a range that will be punched, after the bytes written before. Call before: those in
   * the range may have made the file longer.
   */
  appendHole(
    file: OpenFile,
    range: { readonly offset: number; readonly length: number },
    mtimeNs: bigint,
  ): void {
    if (file.isDropped) return
    const { key } = this.#catchUp(file)
    this.#journal.append(RECORD_HOLE, encodeHole(key, range, mtimeNs))
    this.schedule()
  }

  /** Journals all that a file has over its base, which no session of it tells. */
  appendAll(file: OpenFile): void {
    for (const hole of file.holes()) this.appendHole(file, hole, file.mtimeNs)
    this.appendState(file)
  }

  /**
   * Journals that a file, empty until now, has taken `base` as its content. Call after it did; its
   * older sessions are then forgotten.
   */
  appendAdopted(file: OpenFile, base: Base): void {
    const count = file.sessions.length
    file.sessions.push({ key: 0, ranges: [] })
    this.appendRebase(file, count, base)
    this.forgetSessions(file.sessions.splice(0, count))
  }

  /** Appends all that was written to a file, and begins its live session if it has not. */
  #catchUp(file: OpenFile): Session {
    this.#appendRanges(file)
    const live = file.sessions[file.sessions.length - 1] as Session
    this.#begin(file, live, undefined)
    return live
  }

  /** Appends all bytes written so far, of every file. */
  appendWrites(): void {
    if (this.#waiting.size === 0) return
    for (const file of this.#waiting) this.#appendRanges(file)
  }

  /** Everything so far survives the death of this process. */
  flush(): void {
    this.appendWrites()
    this.#journal.flush()
  }

  /**
   * Everything so far survives a power cut: the journal, and the contents that it names.
   * `isUrgent`: a program waits for it.
   */
  async sync(options?: { readonly isUrgent?: boolean }): Promise<void> {
    this.appendWrites()
    const count = this.#namedCount
    if (count === this.#durableCount) return this.#journal.sync(options)
    await Promise.all([this.#syncContents(), this.#journal.sync()])
    this.#durableCount = Math.max(this.#durableCount, count)
  }

  #begin(file: OpenFile, session: Session, base: Base | undefined): void {
    if (session.key !== 0) return
    const index = file.sessions.indexOf(session)
    const previous = index > 0 ? (file.sessions[index - 1] as Session) : undefined
    if (previous) this.#begin(file, previous, undefined)
    const record = encodeBegin({
      inode: file.inode,
      ops: file.ops,
      version: file.version,
      mtimeNs: file.mtimeNs,
      previous: previous?.key ?? 0,
      base: previous ? undefined : (base ?? file.base),
    })
    session.key = this.#journal.append(RECORD_BEGIN, record)
    this.#keys.set(session.key, file)
  }

  /** Appends what sessions have had to journal since `beforeMs` or longer; by default all. */
  #appendRanges(file: OpenFile, beforeMs = Infinity): void {
    for (const session of file.sessions) {
      const { ranges, sinceMs } = session
      if (ranges.length === 0) continue
      if (sinceMs !== undefined && sinceMs > beforeMs) return
      this.#begin(file, session, undefined)
      for (let index = 0; index < ranges.length; index += 2) {
        const [start, end] = [ranges[index] as number, ranges[index + 1] as number]
        for (const { offset, length, bytes: all } of file.dirtyPieces(start, end)) {
          // A hole has a record of its own.
          for (let at = 0; all && at < length; at += WRITE_BYTES_MAX) {
            const bytes = all.subarray(at, at + WRITE_BYTES_MAX)
            const record = encodeWrite(session.key, offset + at, file.mtimeNs, bytes)
            this.#journal.append(RECORD_WRITE, record)
          }
        }
      }
      ranges.length = 0
      session.sinceMs = undefined
    }
    // Not before: when the journal refuses (a full disk), the next sync must find it here.
    this.#waiting.delete(file)
  }

  /**
   * Marks for the edit that publishes the frozen sessions. Call right before the edit is appended,
   * and `forgetSessions` with what `settle` returns right after it. Appends what is written first:
   * the edit would do so, and could begin a session that the marks do not name.
   */
  publishedMarks(file: OpenFile, sessionCount: number): Mark[] {
    this.appendWrites()
    const done = lastKey(file.sessions.slice(0, sessionCount))
    if (done === 0) return []
    return [{ type: 'published', done, next: lastKey(file.sessions.slice(sessionCount)) }]
  }

  /**
   * A segment was stored as `built`, and survives this process: says so in the journal. Call before
   * `settle`; the file's unpublished bytes then lie in `built` and in the newer sessions. Older
   * ones stay in the journal until both are synced (`trim` syncs first).
   */
  appendRebase(file: OpenFile, sessionCount: number, built: Base): void {
    if (file.isDropped) return
    this.#namedCount++
    const done = lastKey(file.sessions.slice(0, sessionCount))
    const [next] = file.sessions.slice(sessionCount) as [Session]
    if (next.key !== 0) {
      this.#journal.append(RECORD_REBASE, encodeRebase(done, next.key, built))
    } else {
      const { inode, ops, version, mtimeNs } = file
      const begin = { inode, ops, version, mtimeNs, previous: done, base: built }
      next.key = this.#journal.append(RECORD_BEGIN, encodeBegin(begin))
      this.#keys.set(next.key, file)
    }
    this.schedule()
  }

  /** These sessions need their records no longer. */
  forgetSessions(sessions: readonly Session[]): void {
    for (const session of sessions) if (session.key !== 0) this.#keys.delete(session.key)
  }

  /** Mark for the edit that takes a file's last name away; the file is not journalled any more. */
  dropMarks(file: OpenFile): Mark[] {
    const key = lastKey(file.sessions)
    this.#waiting.delete(file)
    this.forgetSessions(file.sessions)
    file.sessions = [{ key: 0, ranges: [] }]
    return key === 0 ? [] : [{ type: 'dropped', key }]
  }

  /** Mark for the edit after which a dirty file is another inode (save-by-rename). */
  reboundMarks(
    file: OpenFile,
    target: {
      readonly inode: InodeId
      readonly ops: readonly OpRef[]
      readonly version: VersionId
    },
  ): Mark[] {
    this.appendWrites()
    const key = lastKey(file.sessions)
    if (key === 0) return []
    return [{ type: 'rebound', key, ...target }]
  }

  /** Takes over the sessions that recovery found. */
  adopt(found: readonly { readonly file: OpenFile; readonly keys: readonly number[] }[]): void {
    const owners: [number, OpenFile][] = []
    for (const { file, keys } of found) {
      const sessions = keys.map((key) => ({ key, ranges: [] }))
      file.sessions = [...sessions, { key: 0, ranges: [] }]
      for (const key of keys) owners.push([key, file])
    }
    owners.sort((a, b) => a[0] - b[0])
    for (const [key, file] of owners) this.#keys.set(key, file)
  }

  /**
   * Takes over a file that recovery set back to an earlier state, and journals anew all that it has
   * over its base: what the sessions with these keys say is void.
   */
  startOver(file: OpenFile, keys: readonly number[]): void {
    file.sessions.unshift(...keys.map((key) => ({ key, ranges: [] })))
    this.appendRebase(file, keys.length, file.base)
    file.sessions.splice(0, keys.length)
    this.appendAll(file)
  }

  /** Stops the timer. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}

/** The newest key among the sessions; 0 when the journal has none of them. */
function lastKey(sessions: readonly Session[]): number {
  let key = 0
  for (const session of sessions) if (session.key !== 0) key = session.key
  return key
}
