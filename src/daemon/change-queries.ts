/**
 * What other devices have changed since a frontier, as a person would say it: by path and kind, as
 * the tree shows it now. Lives on the fs thread.
 *
 * What came and went in that time is not told, nor what this device deleted or renamed itself.
 * Where a directory was before it was moved, the log says; of a file it does not.
 */
import type { Place } from '../crdt/draft.ts'
import { inodeKind } from '../crdt/ids.ts'
import type { Overlay } from '../crdt/overlay.ts'
import type { RecordView } from '../crdt/past.ts'
import { nameToText, type DeviceId, type FeedId, type InodeId } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import type { ChangeKind, ChangeReport } from './offline-interface.ts'
import { mergeChange, type LogChange, type LogChangesQuery } from './log-changes.ts'
import type { LogChangesSlice } from './log-changes.ts'
import { NO_CHANGES, stampToIso } from './reports.ts'
import { joinPath } from './tree-paths.ts'

/** Records that are looked at in one answer; the rest is left out, and the answer says so. */
const RECORDS_MAX = 200_000
/** Records between two breaths. */
const SLICE_COUNT = 256
/** Deeper than any path a program can name. */
const DEPTH_MAX = 4096

/** What `changesSince` is asked. */
export interface ChangesQuery {
  readonly since: ReadonlyMap<FeedId, number>
  readonly countMax: number
}

/** What it answers: names of devices are not known here. */
export interface ChangesAnswer {
  readonly counts: Record<ChangeKind, number>
  readonly isComplete: boolean
  /** The newest ones. */
  readonly changes: readonly (Omit<ChangeReport, 'device' | 'deviceId'> & { device: DeviceId })[]
}

interface Told {
  readonly kind: ChangeKind
  readonly change: LogChange
  readonly view: RecordView
}

/** See the head of this file. */
export class ChangeQueries {
  readonly #overlay: Overlay
  readonly #vfs: Pick<Vfs, 'breathe'>
  readonly #logChanges: (query: LogChangesQuery) => Promise<LogChangesSlice>

  constructor(options: {
    overlay: Overlay
    vfs: Pick<Vfs, 'breathe'>
    logChanges: (query: LogChangesQuery) => Promise<LogChangesSlice>
  }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
    this.#logChanges = options.logChanges
  }

  /** Methods for an `Rpc`. */
  readonly handlers = { changesSince: (query: ChangesQuery) => this.changesSince(query) }

  /** The newest changes, and how many there are of each kind. */
  async changesSince({ since, countMax }: ChangesQuery): Promise<ChangesAnswer> {
    const { changes, isComplete } = await this.#collect(since)
    const counts = { ...NO_CHANGES }
    const told: Told[] = []
    let index = 0
    for (const change of changes.values()) {
      if (++index % SLICE_COUNT === 0) await this.#vfs.breathe()
      const view = this.#overlay.recordView(change.record)
      const kind = view && this.#kindOf(change, view)
      if (!view || !kind) continue
      counts[kind]++
      told.push({ kind, change, view })
    }
    told.sort((a, b) => b.change.hlc - a.change.hlc)
    const shown: ChangesAnswer['changes'][number][] = []
    for (const each of told.slice(0, countMax)) {
      shown.push(this.#report(each))
      if (shown.length % SLICE_COUNT === 0) await this.#vfs.breathe()
    }
    return { counts, isComplete, changes: shown }
  }

  async #collect(
    since: ChangesQuery['since'],
  ): Promise<{ changes: Map<InodeId, LogChange>; isComplete: boolean }> {
    const changes = new Map<InodeId, LogChange>()
    let isComplete = true
    let at: LogChangesSlice['next']
    do {
      const slice = await this.#logChanges({ since, ...(at ? { at } : {}) })
      if (!slice.isComplete) isComplete = false
      for (const change of slice.changes) {
        const known = changes.get(change.record)
        if (!known && changes.size >= RECORDS_MAX) isComplete = false
        else changes.set(change.record, known ? mergeChange(known, change) : change)
      }
      at = slice.next
    } while (at)
    return { changes, isComplete }
  }

  /** What happened in all; undefined when there is nothing to tell. */
  #kindOf(change: LogChange, view: RecordView): ChangeKind | undefined {
    const { stamps, isAlive, isBack } = view
    // What was refused stands in no register, nor was it ever followed by anything that does.
    const is = (stamp: number | undefined, present: number): boolean =>
      stamp !== undefined && stamp <= present
    if (!isAlive && is(change.deleted, stamps.L)) return change.isNew ? undefined : 'deleted'
    if (!isAlive && !this.#overlay.node(change.record)) return undefined
    if (isAlive && is(change.placed, stamps.L)) {
      return change.isNew ? 'new' : isBack ? 'back' : 'renamed'
    }
    if (is(change.content, stamps.C)) return 'changed'
    return is(change.attributes, stamps.A) ? 'attributes' : undefined
  }

  #report({ kind, change, view }: Told): ChangesAnswer['changes'][number] {
    const { record, movedFrom, content, hlc, device } = change
    const node = kind === 'deleted' ? undefined : this.#overlay.node(record)
    const type = inodeKind(record)
    return {
      path: this.#path(node ?? view.place),
      kind,
      type: type === 'link' ? 'file' : type,
      ...(kind === 'renamed' && movedFrom ? { from: this.#path(movedFrom) } : {}),
      ...(kind === 'renamed' && content !== undefined ? { hasNewContent: true as const } : {}),
      device,
      time: stampToIso(hlc),
    }
  }

  /** The path of a place, through directories that are deleted, too. */
  #path({ parent, name }: Place): string {
    const names = [nameToText(name)]
    for (let at = parent; at !== this.#overlay.root && names.length < DEPTH_MAX;) {
      const node = this.#overlay.node(at)
      const place = node ?? this.#overlay.recordView(at)?.place
      if (!place) return `/?/${names.reverse().join('/')}`
      names.push(nameToText(place.name))
      at = place.parent
    }
    return names.reverse().reduce(joinPath, '/')
  }
}
