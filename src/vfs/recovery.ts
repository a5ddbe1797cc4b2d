/**
 * Replaying the journal at start: pending edits go back into the tree and the queue, dirty files
 * become dirty files again and are published as if they had been closed.
 *
 * Nothing newer is overwritten: an edit carries the bases of its puts, and a dirty file the
 * register values it was opened on. Edits that the index covers already are skipped; what they say
 * about dirty files still counts.
 */
import type { ContentStore } from '../chunks/interface.ts'
import type { Edit, OpRef, VersionId } from '../crdt/interface.ts'
import { decodeRegister, versionId } from '../crdt/registers.ts'
import type { InodeId } from '../types.ts'
import type { Core } from './core.ts'
import type { Reconciler } from './delta.ts'
import type { JournalPortRecord } from './interface.ts'
import { decodeRecord, type Mark, type VfsRecord } from './journal-records.ts'
import type { Node } from './nodes.ts'
import { OpenFile, opsAfter, type Base } from './open-file.ts'

type Change = Extract<VfsRecord, { readonly type: 'write' | 'state' | 'hole' }>
type Begin = Extract<VfsRecord, { readonly type: 'begin' }>

/** Changes over a base. */
interface State {
  /** Undefined while only a later record tells it. */
  readonly base: Base | undefined
  readonly sessions: readonly { readonly key: number; readonly changes: Change[] }[]
}

/** A dirty file as the journal tells it. */
interface FoundFile extends State {
  inode: InodeId
  ops: readonly OpRef[]
  version: VersionId
  mtimeNs: bigint
  base: Base | undefined
  sessions: { readonly key: number; readonly changes: Change[] }[]
  /** What it was before each segment since the last publication, oldest first. */
  earlier: State[]
}

/** Folds records into pending edits and dirty files. */
export class JournalReader {
  /** Edits above `coveredTo`, in order. */
  readonly edits: Edit[] = []
  readonly #coveredTo: number
  readonly #bySession = new Map<number, FoundFile>()

  constructor(coveredTo: number) {
    this.#coveredTo = coveredTo
  }

  /** Dirty files, oldest session first. */
  files(): FoundFile[] {
    return [...new Set(this.#bySession.values())]
  }

  /** @throws {WormholeError} `JOURNAL_CORRUPT`, `FORMAT_UNSUPPORTED`. */
  read(record: JournalPortRecord): void {
    const decoded = decodeRecord(record)
    switch (decoded.type) {
      case 'edit':
        if (record.number > this.#coveredTo) this.edits.push(decoded.edit)
        for (const mark of decoded.marks) this.#mark(decoded.edit, mark)
        this.#follow(decoded.edit)
        return
      case 'begin':
        return this.#begin(decoded)
      case 'rebase':
        return this.#settle(this.#bySession.get(decoded.next), decoded.done, decoded.base)
      case 'write':
      case 'hole':
      case 'state': {
        const sessions = this.#bySession.get(decoded.key)?.sessions
        sessions?.find(({ key }) => key === decoded.key)?.changes.push(decoded)
      }
    }
  }

  #begin(begin: Begin): void {
    const { inode, ops, version, mtimeNs, base } = begin
    let file = this.#bySession.get(begin.previous)
    if (file && base) this.#settle(file, begin.previous, base)
    file ??= { inode, ops, version, mtimeNs, base, sessions: [], earlier: [] }
    Object.assign(file, { inode, ops, version, mtimeNs })
    file.sessions.push({ key: begin.number, changes: [] })
    this.#bySession.set(begin.number, file)
  }

  /** Session `done` and older ones of a file are in `base`. */
  #settle(file: FoundFile | undefined, done: number, base: Base): void {
    if (!file) return
    const sessions = file.sessions.filter(({ key }) => key <= done)
    file.earlier.push({ base: file.base, sessions })
    file.base = base
    for (const { key } of file.sessions) if (key <= done) this.#bySession.delete(key)
    file.sessions = file.sessions.filter(({ key }) => key > done)
  }

  #forget(file: FoundFile): void {
    for (const { key } of file.sessions) this.#bySession.delete(key)
  }

  /** As open files followed it when it was made. */
  #follow(edit: Edit): void {
    for (const { inode, register } of edit.puts) {
      if (register !== 'C') continue
      for (const file of this.#bySession.values()) {
        if (file.inode === inode) file.ops = opsAfter(edit, file)
      }
    }
  }

  #mark(edit: Edit, mark: Mark): void {
    if (mark.type !== 'published') {
      const file = this.#bySession.get(mark.key)
      if (file && mark.type === 'dropped') this.#forget(file)
      else if (mark.type === 'rebound' && file) {
        Object.assign(file, { inode: mark.inode, ops: mark.ops, version: mark.version })
      }
      return
    }
    const file = this.#bySession.get(mark.next) ?? this.#bySession.get(mark.done)
    if (!file) return
    if (mark.next === 0) return this.#forget(file)
    const put = edit.puts.find(({ inode, register }) => inode === file.inode && register === 'C')
    const content = put && decodeRegister('C', put.inode, put.value)
    if (put && content?.kind === 'file') {
      const { ref, sizeBytes } = content
      this.#settle(file, mark.done, { ref, sizeBytes })
      file.earlier = []
      Object.assign(file, { ops: [`#${edit.number}`], version: versionId(put.value) })
    }
  }
}

/** Replays what the journal holds. The notifier of `reconciler` is not needed yet. */
export function recover(
  core: Core,
  reconciler: Reconciler,
  records: Iterable<JournalPortRecord>,
): void {
  const reader = new JournalReader(core.publisher.coveredTo)
  for (const record of records) reader.read(record)
  for (const edit of reader.edits) core.publisher.adopt(edit)
  const adopted: { file: OpenFile; keys: number[] }[] = []
  const setBack: { file: OpenFile; keys: number[] }[] = []
  for (const found of reader.files()) {
    const state = newestState(found, core.contents)
    const file = state.base && restore(core, found, state.base, state.sessions)
    if (!file) {
      const message = `the journal lacks what the unpublished bytes of ${found.inode} lie on`
      core.options.onProblem({ code: 'JOURNAL_CORRUPT', message })
      continue
    }
    const keys = found.sessions.map(({ key }) => key)
    const into = state === found ? adopted : setBack
    into.push({ file, keys })
    // One that the tree has left makes room at once for another of its inode that it has not.
    reconciler.inode(file.inode)
  }
  core.files.adopt(adopted)
  for (const { file, keys } of setBack) core.files.startOver(file, keys)
  for (const { file } of [...adopted, ...setBack]) {
    void core.writeback.changed(file)
    core.writeback.closed(file)
  }
}

/**
 * The newest state whose base is here. A power cut may take a segment that was not synced and leave
 * the record that names it; then nothing written since was synced either, and what the journal has
 * of the state before is an earlier moment of the file. Where no base is all here, the file never
 * was, and its segments were synced before they were named.
 */
function newestState(found: FoundFile, contents: ContentStore): State {
  const isHere = ({ base }: State): boolean => !base || contents.presence(base) === 'local'
  return [...found.earlier, found].findLast(isHere) ?? found
}

/** Makes a dirty file again of what the journal tells. */
function restore(core: Core, found: FoundFile, base: Base, sessions: State['sessions']): OpenFile {
  const { inode, ops, version } = found
  const node = nodeFor(core, inode)
  const file = new OpenFile({
    nodeId: node.id,
    inode,
    base,
    ops,
    version,
    mtimeNs: found.mtimeNs,
  })
  file.setMtime(found.mtimeNs)
  for (const { changes } of sessions) {
    for (const change of changes) {
      if (change.type === 'write') file.write(change.offset, change.bytes, change.mtimeNs)
      else if (change.type === 'hole') file.punch(change.offset, change.length, change.mtimeNs)
      else file.truncate(change.sizeBytes, change.mtimeNs)
    }
  }
  node.file = file
  node.lastView = core.overlay.node(inode)
  return file
}

/** A second dirty line of the version that the tree shows gets a node of its own. */
function nodeFor(core: Core, inode: InodeId): Node {
  const view = core.overlay.node(inode)
  const isTaken = core.nodes.current(inode)?.file !== undefined
  if (isTaken && view) return core.nodes.obtainDetached(view)
  return core.nodes.obtain(inode, 'file')
}
