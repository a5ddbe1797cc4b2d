/**
 * The tree as the file system thread sees it: the index plus its own unpublished edits.
 *
 * Edits are applied to a layer of rows over the index, by the same view code that the CRDT thread
 * uses. When the index moves on (`cover`), the layer is dropped and the edits not yet covered are
 * applied anew: their bases say what they replace, so a version that has arrived meanwhile is never
 * hidden by them.
 */
import type { Random } from '../system.ts'
import type { FileName, Hlc, InodeId } from '../types.ts'
import { listConflicts } from './conflicts.ts'
import { combineEdits, type Place } from './draft.ts'
import {
  EditBuilder,
  type AttributeChanges,
  type Created,
  type NewAttributes,
  type NewContent,
} from './edits.ts'
import { historyOf, type IsOver } from './history.ts'
import type {
  ConflictView,
  Content,
  DirentView,
  Edit,
  NodeView,
  OpRef,
  TreeReader,
  VersionView,
} from './interface.ts'
import { Layer } from './layer.ts'
import { deletedNames, recordView, versionAt, type DeletedName, type RecordView } from './past.ts'
import { holdsAny } from './records.ts'
import { decodeRegister } from './registers.ts'
import { neededUntil, type HistoryDaysOf } from './retention.ts'
import type { RowStore } from './rows.ts'
import type { StrategyOf } from './strategy.ts'
import { LayerReader, opsOf } from './tree-reader.ts'
import { View } from './view.ts'
import { readCoveredTo } from './writer-meta.ts'

export type { Place } from './draft.ts'
export type { AttributeChanges, Created, NewAttributes } from './edits.ts'
export type { ConflictStrategy, StrategyOf } from './strategy.ts'

/** Ports of an overlay. */
export interface OverlayOptions {
  /** A reader of the index. */
  readonly rows: RowStore
  readonly random: Random
  /** A new hybrid stamp. */
  readonly tick: () => Hlc
  readonly nowNs: () => bigint
  readonly strategyOf: StrategyOf
  /** Days that deleted files stay in the history; default: for ever. */
  readonly daysOf?: HistoryDaysOf
  /** Shown in conflict names that come from unpublished edits. */
  readonly deviceName?: string
}

/**
 * Index plus pending edits. The builders (`createFile` … `resolve`) only make an `Edit`, number 0:
 * give it a journal number, then `apply` it. They throw `NOT_FOUND`, `ALREADY_EXISTS`, `NOT_EMPTY`,
 * `NOT_A_DIRECTORY`, `IS_DIRECTORY`, `NAME_INVALID`, `NAME_TOO_LONG`, `BAD_ARGUMENT`,
 * `NOT_PERMITTED`, `LIMIT_EXCEEDED`. An edit without puts changes nothing and need not be kept.
 */
export class Overlay implements TreeReader {
  readonly root: InodeId
  readonly #rows: RowStore
  readonly #layer: Layer
  readonly #view: View
  readonly #reader: LayerReader
  readonly #builder: EditBuilder
  readonly #isOver: IsOver
  #pending: Edit[] = []

  constructor(options: OverlayOptions) {
    const { rows, deviceName } = options
    this.#rows = rows
    this.#layer = new Layer(rows, deviceName === undefined ? {} : { ownDeviceName: deviceName })
    this.#view = new View(this.#layer, options.strategyOf)
    this.#reader = new LayerReader(this.#layer)
    // Ids are drawn one by one: a copy of this process must not find the same ones in a pool.
    this.#builder = new EditBuilder(this.#layer, this.#reader, options)
    this.root = this.#reader.root
    const { daysOf, nowNs } = options
    this.#isOver = (row) => {
      const until = daysOf && neededUntil(this.#layer, row, daysOf)
      return until !== undefined && until <= Number(nowNs() / 1000n)
    }
  }

  get fileCount(): number {
    return this.#reader.fileCount
  }

  lookup(parent: InodeId, name: FileName): DirentView | undefined {
    return this.#reader.lookup(parent, name)
  }

  node(id: InodeId): NodeView | undefined {
    return this.#reader.node(id)
  }

  list(
    parent: InodeId,
    options: { after?: string; countMax: number },
  ): { entries: DirentView[]; next: string | undefined } {
    return this.#reader.list(parent, options)
  }

  /** Grows whenever `policies` may answer something else than before. */
  get policyEpoch(): number {
    return this.#layer.policyEpoch
  }

  policies(id: InodeId): { directory: InodeId; policy: string }[] {
    return this.#reader.policies(id)
  }

  /** The directories in which an inode has a live name; none when it is deleted, or the root. */
  parents(id: InodeId): InodeId[] {
    return this.#reader.parents(id)
  }

  /** Makes a numbered edit part of the tree. Numbers must grow. */
  apply(edit: Edit): void {
    const last = this.#pending.at(-1)?.number ?? 0
    if (edit.number <= last) throw new TypeError(`edit ${edit.number} after edit ${last}`)
    this.#pending.push(edit)
    this.#show(edit)
  }

  #show(edit: Edit): void {
    const { number } = edit
    for (const { inode, register, value, base } of edit.puts) {
      const data = decodeRegister(register, inode, value)
      const op = `#${number}`
      const made = { op, fromNumber: number, toNumber: number, bytes: value, data }
      this.#view.put(inode, register, made, (other) => holdsAny(base, other))
    }
    this.#view.settle()
  }

  /** The index has changed (own or remote commit): re-reads it, drops edits up to the number. */
  cover(upToNumber: number): void {
    this.#rows.refresh()
    this.#layer.discard({ andCache: true })
    this.#view.reset()
    const coveredTo = Math.max(upToNumber, readCoveredTo(this.#layer))
    this.#pending = this.#pending.filter((edit) => edit.number > coveredTo)
    for (const edit of this.#pending) this.#show(edit)
  }

  /** Edits not yet covered, in order. */
  pending(): readonly Edit[] {
    return this.#pending
  }

  /** The register values a new content of this inode would replace: keep them while it is open. */
  contentBase(inode: InodeId): readonly OpRef[] {
    return opsOf(this.#layer.inode(inode)?.C ?? [])
  }

  createFile(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & {
      readonly content?: NewContent
      readonly mtimeNs?: bigint
    },
  ): Created {
    return this.#builder.createFile(parent, name, options)
  }

  mkdir(parent: InodeId, name: FileName, options: NewAttributes): Created {
    return this.#builder.mkdir(parent, name, options)
  }

  symlink(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & { readonly target: string },
  ): Created {
    return this.#builder.symlink(parent, name, options)
  }

  special(
    parent: InodeId,
    name: FileName,
    options: NewAttributes & { readonly fileType: number; readonly rdev: number },
  ): Created {
    return this.#builder.special(parent, name, options)
  }

  /** A further hard link. */
  link(inode: InodeId, parent: InodeId, name: FileName): Edit {
    return this.#builder.link(inode, parent, name)
  }

  unlink(parent: InodeId, name: FileName): Edit {
    return this.#builder.unlink(parent, name)
  }

  rmdir(parent: InodeId, name: FileName): Edit {
    return this.#builder.rmdir(parent, name)
  }

  rename(from: Place, to: Place, flag: 'replace' | 'noreplace' | 'exchange'): Edit {
    return this.#builder.rename(from, to, flag)
  }

  /**
   * New content of a file. `base` is what `contentBase` said when the file was opened (default:
   * now); what arrived since becomes a conflict, never lost.
   */
  setContent(
    inode: InodeId,
    content: NewContent & { readonly mtimeNs: bigint; readonly base?: readonly OpRef[] },
  ): Edit {
    return this.#builder.setContent(inode, content)
  }

  /** chmod, chown, setxattr and touch (`mtimeNs`). */
  setAttributes(inode: InodeId, changes: AttributeChanges): Edit {
    return this.#builder.setAttributes(inode, changes)
  }

  /** The canonical text of a directory's policy; empty removes it. */
  setPolicy(directory: InodeId, policy: string): Edit {
    return this.#builder.setPolicy(directory, policy)
  }

  /** Several edits, each made on the present tree, as one that appears whole or not at all. */
  combine(edits: readonly Edit[]): Edit {
    return combineEdits(edits)
  }

  /** Conflicts a user can act on, after the cursor, at most `countMax` (and all broken cycles). */
  conflicts(options: { after?: string; countMax: number }): {
    conflicts: ConflictView[]
    next: string | undefined
  } {
    return listConflicts(this.#layer, this.#reader, options)
  }

  /** Keeps version `keep` (index in `ConflictView.versions`) alone, or all under own names. */
  resolve(parent: InodeId, name: FileName, keep: number | 'both'): Edit {
    return this.#builder.resolve(parent, name, keep)
  }

  /** Versions that this name or inode has had, newest first. */
  history(what: Place | { readonly inode: InodeId }): VersionView[] {
    return historyOf(this.#layer, this.#reader, what, this.#isOver)
  }

  /** The names that were deleted from a directory, which may be deleted itself. */
  deletedNames(directory: InodeId): DeletedName[] {
    return deletedNames(this.#layer, directory)
  }

  /** How an inode, or a further name of one, stands; also when it is deleted. */
  recordView(record: InodeId): RecordView | undefined {
    return recordView(this.#layer, record)
  }

  /** The version that a file had at a time, as far as the history goes. */
  versionAt(inode: InodeId, at: Hlc): VersionView | undefined {
    return versionAt(this.#layer, inode, at, this.#isOver)
  }

  /** Brings a deleted record back (`deletedNames`), with `content` instead of its last one. */
  undelete(record: InodeId, to: Place, content?: Content): Edit {
    return this.#builder.undelete(record, to, content)
  }

  /** For `verify` and tests: the rows as this thread sees them. */
  inspect(): { readonly layer: Layer } {
    return { layer: this.#layer }
  }
}
