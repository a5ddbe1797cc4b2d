/**
 * Replaying the journal at start: pending edits go back into the tree and the queue, dirty files
 * become dirty files again and are published as if they had been closed.
 *
 * Nothing newer is overwritten: an edit carries the bases of its puts, and a dirty file the
 * register values it was opened on. Edits that the index covers already are skipped; what they say
 * about dirty files still counts.
 */
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

/** A dirty file as the journal tells it. */
interface FoundFile {
  inode: InodeId
  ops: readonly OpRef[]
  version: VersionId
  mtimeNs: bigint
  /** Undefined while only a later record tells it. */
  base: Base | undefined
  sessions: { readonly key: number; readonly changes: Change[] }[]
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
    file ??= { inode, ops, version, mtimeNs, base, sessions: [] }
    if (base) this.#settle(file, begin.previous, base)
    Object.assign(file, { inode, ops, version, mtimeNs })
    file.sessions.push({ key: begin.number, changes: [] })
    this.#bySession.set(begin.number, file)
  }

  /** Session `done` and older ones of a file are in `base`. */
  #settle(file: FoundFile | undefined, done: number, base: Base): void {
    if (!file) return
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
  for (const found of reader.files()) {
    const file = found.base && restore(core, found, found.base)
    if (!file) {
      const message = `the journal lacks what the unpublished bytes of ${found.inode} lie on`
      core.options.onProblem({ code: 'JOURNAL_CORRUPT', message })
      continue
    }
    adopted.push({ file, keys: found.sessions.map(({ key }) => key) })
    // One that the tree has left makes room at once for another of its inode that it has not.
    reconciler.inode(file.inode)
  }
  core.files.adopt(adopted)
  for (const { file } of adopted) {
    void core.writeback.changed(file)
    core.writeback.closed(file)
  }
}

/** Makes a dirty file again of what the journal tells. */
function restore(core: Core, found: FoundFile, base: Base): OpenFile {
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
  for (const { changes } of found.sessions) {
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
