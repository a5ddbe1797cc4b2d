/**
 * The file system of one volume on one device: composition of nodes, open files and publisher, and
 * the order of its start and end. Everything here belongs to one thread.
 */
import { strict as assert } from 'node:assert'
import type { ContentStore } from '../chunks/interface.ts'
import type { ContentRef, Edit, TreeDelta } from '../crdt/interface.ts'
import type { Created } from '../crdt/overlay.ts'
import { decodeRegister } from '../crdt/registers.ts'
import { errorToData, hasCode, WormholeError } from '../errors.ts'
import { nameFromText, type FileName, type InodeId } from '../types.ts'
import { Attributes } from './attributes.ts'
import { LOCAL_CONTEXT, type Core } from './core.ts'
import { Reconciler } from './delta.ts'
import { Directories } from './directories.ts'
import { FileJournal } from './file-journal.ts'
import { Files } from './files.ts'
import { FolderRules } from './folder-rules.ts'
import { Holds } from './holds.ts'
import { VfsFileSystem } from './filesystem.ts'
import type { FileSystem, KernelNotifier, OwnerChoice, PathApi, VfsOptions } from './interface.ts'
import { Names } from './names.ts'
import { NodeTable } from './nodes.ts'
import type { Base, OpenFile } from './open-file.ts'
import { Pace } from './pace.ts'
import { Paths } from './paths.ts'
import { PolicyFiles } from './policy-files.ts'
import { Publisher } from './publisher.ts'
import { recover } from './recovery.ts'
import { Writeback } from './writeback.ts'

const CLOSE_TIMEOUT_MS = 10_000
const REVIVED_MODE = 0o644

/** The file system of one volume. Owned by the fs thread. */
export class Vfs {
  /** For the kernel session. */
  readonly fileSystem: FileSystem
  /** For the command line. */
  readonly paths: PathApi
  readonly #core: Core
  readonly #reconciler: Reconciler
  /** Own commits that the tree does not show yet: what it shows is no different. */
  #deltas: TreeDelta[] = []
  #closing: Promise<void> | undefined

  /**
   * Replays the journal and starts. What the journal holds of files that were written and not yet
   * published is built and published in the background.
   *
   * @throws {WormholeError} `JOURNAL_CORRUPT`, `FORMAT_UNSUPPORTED`.
   */
  static open(options: VfsOptions): Promise<Vfs> {
    return new Promise((resolve) => resolve(new Vfs(options)))
  }

  private constructor(options: VfsOptions) {
    const { overlay, journal, committer, contents, clock, coveredTo, policyOf } = options
    const { onProblem } = options
    assert(journal.nextNumber > coveredTo, 'a covered journal number must never be given again')
    const nodes = new NodeTable(overlay, (content) => holesOrNone(contents, content))
    const onError = (error: unknown): void => onProblem(errorToData(error))
    const files = new FileJournal({ journal, syncContents: () => contents.sync(), clock, onError })
    const requestCount = options.requestCount ?? (() => 0)
    const publisher = new Publisher({
      overlay,
      journal,
      files,
      committer,
      clock,
      pace: new Pace(clock, requestCount),
      coveredTo,
      onCommitted: (edit) => nodes.follow(edit),
      onCovered: () => this.#reconcile(),
      onProblem,
    })
    const holds = new Holds()
    const policies = new PolicyFiles({ overlay, contents, policyOf, onProblem })
    const writeback = new Writeback({
      overlay,
      contents,
      clock,
      files,
      pace: new Pace(clock, requestCount),
      publisher,
      policies,
      holds,
      onProblem,
      onSettled: (file) => this.#reconciler.settled(file),
      revive: (file, content) => this.#revive(file, content),
    })
    const core: Core = {
      overlay,
      contents,
      clock,
      nodes,
      files,
      publisher,
      writeback,
      policies,
      rules: new FolderRules({ overlay, role: options.role }),
      holds,
      options,
    }
    const openFiles = new Files(core)
    const names = new Names(core, openFiles)
    const attributes = new Attributes(core, openFiles)
    const directories = new Directories(core, names)
    this.#core = core
    this.#reconciler = new Reconciler(core, openFiles, names)
    this.fileSystem = new VfsFileSystem({ core, files: openFiles, names, attributes, directories })
    this.paths = new Paths({ core, files: openFiles, names, reconciler: this.#reconciler })
    recover(core, this.#reconciler, journal.replay())
  }

  /** Edits journalled here and not yet in the log. */
  get pendingEdits(): number {
    return this.#core.publisher.pendingCount
  }

  /**
   * Whom everything belongs to, for the next mount: this process's user and group (`mounter`), or
   * whom the tree says. Nothing may be mounted.
   */
  setOwner(choice: OwnerChoice): void {
    const { uid, gid } = LOCAL_CONTEXT
    this.#core.nodes.owner = choice === 'mounter' ? { uid, gid } : undefined
  }

  /** Where kernel caches are told about changes; undefined while nothing is mounted. */
  setNotifier(notifier: KernelNotifier | undefined): void {
    this.#reconciler.notifier = notifier
  }

  /**
   * After the crdt thread committed a group: re-reads the tree and notifies. `coveredTo` is what
   * that commit covers of the own journal. With `isOwn` it held nothing but edits of this device,
   * which the tree shows already: then this may wait until more of them are covered.
   */
  applyDelta(delta: TreeDelta, coveredTo: number, { isOwn = false } = {}): void {
    const { publisher } = this.#core
    this.#deltas.push(isOwn ? delta : this.#withCovered(delta, coveredTo))
    publisher.covered(coveredTo)
    if (!isOwn) publisher.show()
  }

  /**
   * Own edits that came back from others (the log had lost them) are covered together with what
   * others made of them since. An inode that is new to the index is in no delta; the kernel knows
   * it from the edit.
   */
  #withCovered(delta: TreeDelta, coveredTo: number): TreeDelta {
    const { publisher, overlay } = this.#core
    if (coveredTo <= publisher.coveredTo) return delta
    const covered = overlay
      .pending()
      .filter(({ number }) => number > publisher.coveredTo && number <= coveredTo)
    const nodes = covered.flatMap(({ puts }) =>
      puts.map(({ inode }) => ({ id: inode, hasContent: true })),
    )
    return { ...delta, nodes: [...delta.nodes, ...nodes] }
  }

  #reconcile(): void {
    const deltas = this.#deltas
    this.#deltas = []
    for (const delta of deltas) this.#reconciler.apply(delta)
  }

  /**
   * Publishes the edits journalled so far, without building files: what has to be done before a
   * remote group is applied. Rejects when it fails now; the edits stay pending.
   */
  async submitPending(): Promise<void> {
    const { publisher } = this.#core
    await publisher.publish()
    publisher.show()
  }

  /** Resolves when contents that are being made now are named, or given up. */
  held(): Promise<void> {
    return this.#core.holds.ended()
  }

  /**
   * Contents that only this thread names: those of open files and of detached nodes, and those in
   * edits that are not published. What the journal says of older ones is void, durably, when this
   * resolves: a restart needs no others.
   */
  async references(): Promise<ContentRef[]> {
    const { nodes, overlay, files } = this.#core
    const refs = [...nodes.contents()]
    for (const { puts } of overlay.pending()) {
      for (const { inode, register, value } of puts) {
        const content = register === 'C' ? decodeRegister('C', inode, value) : undefined
        if (content?.kind === 'file') refs.push(content.ref)
      }
    }
    await files.sync()
    return refs
  }

  /** Publishes everything, written files included. Rejects when any of it fails now. */
  async drain(): Promise<void> {
    await this.#core.writeback.publishAll()
    await this.#core.publisher.publish()
  }

  /**
   * Makes an edit that no kernel request asked for (the resolution of a conflict) part of the tree,
   * and resolves when it is in the log. The kernel is told at once, as of a remote one: the log may
   * be a long way off. What else follows from it (other conflict names) comes with its delta.
   */
  async perform(build: () => Edit): Promise<void> {
    await this.commit(build)
    await this.submitPending()
  }

  /**
   * The first half of `perform`: for many edits, published together by `submitPending`. A promise
   * when a policy file was changed by it and its text is not at hand: the policy follows.
   */
  commit(build: () => Edit): Promise<unknown> | undefined {
    const { publisher, rules, policies } = this.#core
    rules.checkRole()
    const edit = build()
    const places = this.#placesOf(edit)
    for (const { parent } of places) rules.checkWritable(parent)
    publisher.commit(edit)
    const nodes = edit.puts.map(({ inode }) => ({ id: inode, hasContent: true }))
    this.#reconciler.apply({ nodes, dirents: places, contents: [] })
    const waits: Promise<unknown>[] = []
    const withPolicy = places.filter(({ name }) => policies.isPolicyFile(name))
    for (const directory of new Set(withPolicy.map(({ parent }) => parent))) {
      const follow = policies.follow(directory)
      if (follow instanceof Promise) {
        waits.push(follow.then((late) => late && publisher.commit(late)))
      } else if (follow) {
        publisher.commit(follow)
      }
    }
    return waits.length > 0 ? Promise.all(waits) : undefined
  }

  /** Where an edit changes something: where what it names is now, and where that goes. */
  #placesOf({ puts }: Edit): { readonly parent: InodeId; readonly name: FileName }[] {
    const { overlay } = this.#core
    return puts.flatMap(({ inode, register, value }) => {
      const node = overlay.node(inode)
      const place = register === 'L' ? [decodeRegister('L', inode, value)] : []
      return [...(node ? [node] : []), ...place].map(({ parent, name }) => ({ parent, name }))
    })
  }

  /** Lets waiting requests have their turn during long work. */
  breathe(): Promise<void> {
    return new Promise((resolve) => this.#core.clock.setTimer(0, resolve))
  }

  /**
   * Publishes what is pending within `timeoutMs` (what is left stays in the journal), then closes
   * the journal. Idempotent. Kernel sessions must have ended.
   */
  close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.timeoutMs ?? CLOSE_TIMEOUT_MS)
    return this.#closing
  }

  async #close(timeoutMs: number): Promise<void> {
    const { clock, writeback, publisher, files, options } = this.#core
    const timeout = new Promise<void>((resolve) => clock.setTimer(timeoutMs, resolve))
    try {
      await Promise.race([this.drain(), timeout])
    } catch (error) {
      options.onProblem(errorToData(error))
    }
    await Promise.race([writeback.close(), timeout])
    await publisher.trim()
    publisher.close()
    files.close()
    await options.journal.close()
  }

  /**
   * Unpublished bytes of a file that the tree has lost: a new file in its last place, or in the
   * root, under a name that is free, when that is gone too.
   */
  #revive(file: OpenFile, content: Base & { readonly mtimeNs: bigint }): Created {
    const { overlay, nodes } = this.#core
    const node = nodes.get(file.nodeId)
    const { uid, gid } = LOCAL_CONTEXT
    const owner = node.detached?.attributes ?? { mode: REVIVED_MODE, uid, gid }
    const { mtimeNs } = content
    const { mode } = owner
    // It may hold parts of what the lost file was, and those need not be here.
    const named = { ...content, isNamed: true }
    const options = { mode, uid: owner.uid, gid: owner.gid, content: named, mtimeNs }
    const place = node.lastPlace
    const fallback = nameFromText(`recovered ${file.inode}`)
    const tries: { parent: typeof overlay.root; name: FileName }[] = [
      ...(place ? [{ parent: place.parent.inode, name: place.name }] : []),
      { parent: node.detached?.parent ?? overlay.root, name: fallback },
    ]
    for (const { parent, name } of tries) {
      try {
        return overlay.createFile(parent, name, options)
      } catch (error) {
        if (!hasCode(error, 'ALREADY_EXISTS') && !hasCode(error, 'NOT_FOUND')) throw error
      }
    }
    let name = fallback
    for (let count = 2; overlay.lookup(overlay.root, name); count++) {
      name = nameFromText(`recovered ${file.inode} ${count}`)
    }
    return overlay.createFile(overlay.root, name, options)
  }
}

/** A damaged manifest is told by who reads the file, not by who asks for its attributes. */
function holesOrNone(contents: ContentStore, content: Base): number | undefined {
  try {
    return contents.holeBytes(content)
  } catch (error) {
    if (error instanceof WormholeError) return undefined
    throw error
  }
}
