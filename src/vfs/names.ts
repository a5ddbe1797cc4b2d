/**
 * Operations on names: look up, make, remove, link and rename. POSIX promises: README.md.
 *
 * Each changes the tree by one edit, so that it appears whole or not at all here and elsewhere.
 */
import { NAME_BYTES_MAX, versionId } from '../crdt/registers.ts'
import type { Created, Overlay } from '../crdt/overlay.ts'
import type { Edit, NodeView } from '../crdt/interface.ts'
import { WormholeError } from '../errors.ts'
import { newInodeId } from '../crdt/ids.ts'
import type { Hlc, FileName, InodeId } from '../types.ts'
import { S_IFDIR, S_IFMT, S_IFREG, S_ISGID } from './attr.ts'
import { combineEdits, type Core } from './core.ts'
import type { Files } from './files.ts'
import type { EntryReply, Reply, RequestContext } from './interface.ts'
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from './interface.ts'
import type { Mark } from './journal-records.ts'
import type { Node } from './nodes.ts'
import { opsAfter } from './open-file.ts'
import type { PolicyText } from './policy-files.ts'

/** A file made here less than this ago that replaces another is an editor's save. */
const SAVE_MS = 60_000

type NewAttributes = Parameters<Overlay['mkdir']>[2]

/** A name in a directory of the tree. */
export interface NamePlace {
  readonly parent: InodeId
  readonly name: FileName
}

/** The name operations. */
export class Names {
  readonly #core: Core
  readonly #files: Files

  constructor(core: Core, files: Files) {
    this.#core = core
    this.#files = files
  }

  lookup(parent: Node, name: FileName): EntryReply | undefined {
    const { overlay, nodes } = this.#core
    const found = overlay.lookup(parent.inode, name)
    if (!found) {
      // The kernel asks for longer names, too.
      if (name.length > NAME_BYTES_MAX) throw new WormholeError('NAME_TOO_LONG', 'over 255 bytes')
      return undefined
    }
    const node = nodes.obtain(found.id, found.kind)
    const reply = nodes.refer(node)
    nodes.addPlace(parent, name, node)
    return reply
  }

  /** Owner and mode of something new: a set-group-ID directory hands its group down. */
  #attributes(context: RequestContext, parent: Node, mode: number, isDirectory: boolean) {
    const { attributes } = this.#core.nodes.view(parent)
    const inherits = (attributes.mode & S_ISGID) !== 0
    return {
      mode: (mode & 0o7777) | (inherits && isDirectory ? S_ISGID : 0),
      uid: context.uid,
      gid: inherits ? attributes.gid : context.gid,
    } satisfies NewAttributes
  }

  /** Commits what makes a new inode and answers with its node. */
  #made(parent: Node, name: FileName, created: Created): { node: Node; entry: EntryReply } {
    const { overlay, nodes, publisher, clock } = this.#core
    publisher.commit(created.edit)
    const kind = overlay.lookup(parent.inode, name)?.kind
    if (!kind) throw new TypeError('a new name must be visible')
    const node = nodes.obtain(created.id, kind)
    const nowNs = clock.nowNs()
    nodes.touch(node, nowNs)
    nodes.touch(parent, nowNs)
    node.createdMs = clock.monotonicMs()
    const entry = nodes.refer(node)
    nodes.addPlace(parent, name, node)
    return { node, entry }
  }

  /** A new regular file. @throws {WormholeError} `ALREADY_EXISTS`, … */
  createFile(
    context: RequestContext,
    parent: Node,
    name: FileName,
    mode: number,
  ): { node: Node; entry: EntryReply } {
    this.#core.rules.checkWritable(parent.inode)
    const options = this.#attributes(context, parent, mode, false)
    return this.#made(parent, name, this.#core.overlay.createFile(parent.inode, name, options))
  }

  mknod(
    context: RequestContext,
    parent: Node,
    name: FileName,
    mode: number,
    rdev: number,
  ): EntryReply {
    const fileType = mode & S_IFMT
    if (fileType === S_IFREG || fileType === 0) {
      return this.createFile(context, parent, name, mode).entry
    }
    if (fileType === S_IFDIR) throw new WormholeError('NOT_PERMITTED', 'mknod makes no directory')
    this.#core.rules.checkWritable(parent.inode)
    const options = { ...this.#attributes(context, parent, mode, false), fileType, rdev }
    const created = this.#core.overlay.special(parent.inode, name, options)
    return this.#made(parent, name, created).entry
  }

  mkdir(context: RequestContext, parent: Node, name: FileName, mode: number): EntryReply {
    this.#core.rules.checkWritable(parent.inode)
    const options = this.#attributes(context, parent, mode, true)
    return this.#made(parent, name, this.#core.overlay.mkdir(parent.inode, name, options)).entry
  }

  symlink(context: RequestContext, parent: Node, name: FileName, target: Buffer): EntryReply {
    this.#core.rules.checkWritable(parent.inode)
    const text = target.toString('latin1')
    const options = { ...this.#attributes(context, parent, 0o777, false), target: text }
    return this.#made(parent, name, this.#core.overlay.symlink(parent.inode, name, options)).entry
  }

  /** A regular file without a name: all of it goes with its last handle, unless `link` names it. */
  temporary(
    context: RequestContext,
    parent: Node,
    mode: number,
  ): { node: Node; entry: EntryReply } {
    this.#core.rules.checkWritable(parent.inode)
    const { nodes, clock, options } = this.#core
    const { kind } = nodes.view(parent)
    if (kind !== 'directory') throw new WormholeError('NOT_A_DIRECTORY', 'is not a directory')
    const mtimeNs = clock.nowNs()
    const hlc = 0 as Hlc
    const attributes = { ...this.#attributes(context, parent, mode, false), xattrs: new Map(), hlc }
    const node = nodes.obtainDetached({
      id: newInodeId('file', 0, options.random),
      kind: 'file',
      parent: parent.inode,
      name: '' as FileName,
      content: { kind: 'file', ref: { type: 'empty' }, sizeBytes: 0, mtimeNs, hlc, baseHlc: hlc },
      version: '',
      attributes,
      mtimeNs,
      nlink: 0,
    })
    node.isUnlinked = node.isTemporary = true
    nodes.touch(node, mtimeNs)
    return { node, entry: nodes.refer(node) }
  }

  /**
   * Gives a temporary file a name: its bytes become a content first, so that the one edit that
   * makes the name carries them, and nobody ever sees the name without them.
   */
  async #linkTemporary(node: Node, parent: Node, name: FileName): Promise<EntryReply> {
    const { overlay, nodes, publisher, clock, writeback, files, policies } = this.#core
    const file = node.file
    if (!file) throw new WormholeError('NOT_FOUND', 'the file is not open any more')
    if (overlay.lookup(parent.inode, name)) {
      throw new WormholeError('ALREADY_EXISTS', 'the name is taken')
    }
    file.handles++
    try {
      await writeback.store(file)
      const text = policies.isPolicyFile(name) ? await policies.textOf(file) : undefined
      if (!node.isTemporary) throw new WormholeError('NOT_FOUND', 'the file got a name meanwhile')
      const { mode, uid, gid, xattrs } = nodes.view(node).attributes
      const { base: content, mtimeNs } = file
      const made = { mode, uid, gid, xattrs, content, mtimeNs }
      const created = overlay.createFile(parent.inode, name, made)
      const place = { parent: parent.inode, name }
      publisher.commit(this.#withPolicy(created.edit, [this.#policyAt(place, text)]))
      node.isUnlinked = node.isTemporary = false
      node.detached = undefined
      nodes.rebind(node, created.id)
      file.named(created.id, overlay.contentBase(created.id), nodes.view(node).version)
      if (file.isDirty) {
        files.appendAll(file)
        void writeback.changed(file)
        writeback.closed(file)
      }
      const nowNs = clock.nowNs()
      nodes.touch(node, nowNs)
      nodes.touch(parent, nowNs)
      const entry = nodes.refer(node)
      nodes.addPlace(parent, name, node)
      return entry
    } finally {
      file.handles--
      this.#files.releaseFile(node)
    }
  }

  link(node: Node, parent: Node, name: FileName): Reply<EntryReply> {
    this.#core.rules.checkWritable(parent.inode)
    if (node.isTemporary) return this.#linkTemporary(node, parent, name)
    if (node.kind === 'directory') throw new WormholeError('NOT_PERMITTED', 'is a directory')
    if (node.isUnlinked) throw new WormholeError('NOT_FOUND', 'the file has no name any more')
    return this.#withText(name, node, (text) => {
      const { overlay, nodes, publisher, clock } = this.#core
      const edit = overlay.link(node.inode, parent.inode, name)
      publisher.commit(
        this.#withPolicy(edit, [this.#policyAt({ parent: parent.inode, name }, text)]),
      )
      const nowNs = clock.nowNs()
      nodes.touch(node, nowNs)
      nodes.touch(parent, nowNs)
      const entry = nodes.refer(node)
      nodes.addPlace(parent, name, node)
      return entry
    })
  }

  unlink(parent: Node, name: FileName): void {
    this.#core.rules.checkWritable(parent.inode)
    const { overlay, policies } = this.#core
    const edit = overlay.unlink(parent.inode, name)
    const policy = policies.isPolicyFile(name) ? policies.removal(parent.inode) : undefined
    this.#commitRemoval(parent, name, this.#withPolicy(edit, [policy]))
  }

  rmdir(parent: Node, name: FileName): void {
    this.#core.rules.checkWritable(parent.inode)
    this.#commitRemoval(parent, name, this.#core.overlay.rmdir(parent.inode, name))
  }

  /** Commits an edit that takes a name away, and sees to the node that had it. */
  #commitRemoval(parent: Node, name: FileName, edit: Edit): void {
    const { nodes, clock } = this.#core
    const victim = this.#victim({ parent: parent.inode, name })
    this.#commitWithVictim(edit, victim)
    nodes.removePlace(parent, name)
    nodes.touch(parent, clock.nowNs())
  }

  /** What a name shows now, when something here refers to it. */
  #victim(place: NamePlace): { id: InodeId; node: Node; view: NodeView } | undefined {
    const { overlay, nodes } = this.#core
    const found = overlay.lookup(place.parent, place.name)
    const node = found && nodes.current(found.id)
    const view = node && overlay.node(node.inode)
    return node && view ? { id: view.id, node, view } : undefined
  }

  /** Commits; when the victim has lost its last name, it lives on for its handles only. */
  #commitWithVictim(
    edit: Edit,
    victim: { node: Node; view: NodeView } | undefined,
    marks: readonly Mark[] = [],
  ): void {
    const { overlay, nodes, files, publisher, writeback, clock } = this.#core
    const node = victim?.node
    const isLast =
      victim !== undefined && victim.view.kind !== 'directory' && victim.view.nlink <= 1
    const file = isLast ? node?.file : undefined
    const dropMarks = file ? files.dropMarks(file) : []
    publisher.commit(edit, [...marks, ...dropMarks])
    if (!node) return
    nodes.touch(node, clock.nowNs())
    if (overlay.node(node.inode)) return
    this.abandon(node, victim.view)
    if (file) writeback.dropped(file)
  }

  /** A node whose inode has left the tree: its handles keep what it showed. */
  abandon(node: Node, view: NodeView): void {
    this.#core.nodes.detach(node, { ...view, nlink: 0 })
    node.isUnlinked = true
    if (node.file) node.file.isDropped = true
    this.#files.releaseFile(node)
    this.#core.nodes.release(node)
  }

  rename(
    from: { parent: Node; name: FileName },
    to: { parent: Node; name: FileName },
    flags: number,
  ): Reply<void> {
    for (const { parent } of [from, to]) this.#core.rules.checkWritable(parent.inode)
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) {
      throw new WormholeError('BAD_ARGUMENT', `rename flags ${flags} are not supported`)
    }
    const { overlay, nodes } = this.#core
    const source = overlay.lookup(from.parent.inode, from.name)
    if (!source) throw new WormholeError('NOT_FOUND', 'no such file to rename')
    const target = overlay.lookup(to.parent.inode, to.name)
    if (target?.id === source.id && flags === 0) return undefined
    const mover = nodes.current(source.id)
    return this.#withText(to.name, mover ?? source.id, (toText) => {
      const exchanged = flags & RENAME_EXCHANGE && target ? target.id : undefined
      const fromText = exchanged === undefined ? undefined : this.#textNow(from.name, exchanged)
      this.#rename(from, to, flags, { toText, fromText })
    })
  }

  #rename(
    from: { parent: Node; name: FileName },
    to: { parent: Node; name: FileName },
    flags: number,
    texts: { readonly toText: PolicyText; readonly fromText: PolicyText },
  ): void {
    const { overlay, nodes, policies, clock } = this.#core
    const fromPlace = { parent: from.parent.inode, name: from.name }
    const toPlace = { parent: to.parent.inode, name: to.name }
    const isExchange = (flags & RENAME_EXCHANGE) !== 0
    const mover = this.#victim(fromPlace)
    const victim = this.#victim(toPlace)
    const policyEdits = [
      this.#policyAt(toPlace, texts.toText),
      !policies.isPolicyFile(from.name)
        ? undefined
        : isExchange
          ? policies.edit(fromPlace.parent, texts.fromText)
          : policies.removal(fromPlace.parent),
    ]
    if (flags === 0 && mover && this.#isSave(mover, victim)) {
      const old = victim as NonNullable<typeof victim>
      this.#save(fromPlace, mover, old, [...policyEdits, this.#touched(from, to)])
    } else {
      const flag = isExchange ? 'exchange' : flags & RENAME_NOREPLACE ? 'noreplace' : 'replace'
      const edit = this.#withPolicy(overlay.rename(fromPlace, toPlace, flag), policyEdits)
      this.#commitWithVictim(edit, isExchange ? undefined : victim)
    }
    const nowNs = clock.nowNs()
    for (const node of [from.parent, to.parent]) nodes.touch(node, nowNs)
    if (mover) nodes.touch(mover.node, nowNs)
    nodes.removePlace(from.parent, from.name)
    nodes.removePlace(to.parent, to.name)
    if (mover) nodes.addPlace(to.parent, to.name, mover.node)
    if (isExchange && victim) {
      nodes.touch(victim.node, nowNs)
      nodes.addPlace(from.parent, from.name, victim.node)
    }
  }

  /** A save from another directory changes this one, too, though no name here is new. */
  #touched(from: { parent: Node }, to: { parent: Node }): Edit | undefined {
    if (from.parent === to.parent) return undefined
    const { overlay, clock } = this.#core
    return overlay.setAttributes(to.parent.inode, { mtimeNs: clock.nowNs() })
  }

  /** Whether a rename over an existing name is an editor's save: README.md, "Save by rename". */
  #isSave(
    mover: { node: Node; view: NodeView },
    victim: { node: Node; view: NodeView } | undefined,
  ): boolean {
    return (
      victim !== undefined &&
      mover.view.kind === 'file' &&
      victim.view.kind === 'file' &&
      mover.view.nlink === 1 &&
      victim.view.nlink === 1 &&
      this.#core.clock.monotonicMs() - mover.node.createdMs < SAVE_MS
    )
  }

  /**
   * The new file's bytes and attributes become those of the inode it replaces; the new inode goes.
   * The node of the new file is the inode's node from here on; that of the old one keeps its bytes.
   */
  #save(
    from: NamePlace,
    mover: { node: Node; view: NodeView },
    victim: { node: Node; view: NodeView },
    more: readonly (Edit | undefined)[],
  ): void {
    const { overlay, nodes, files, publisher, writeback } = this.#core
    const { inode } = victim.node
    const ops = overlay.contentBase(inode)
    const { mode, uid, gid, xattrs } = mover.view.attributes
    const content = mover.view.content
    const file = mover.node.file
    const edits: (Edit | undefined)[] = [overlay.unlink(from.parent, from.name)]
    const isDirty = file?.isDirty === true
    // Others may know what the new file was before its last bytes: they do not see that vanish.
    if (content.kind === 'file' && (!isDirty || content.ref.type !== 'empty')) {
      const { ref, sizeBytes } = content
      const { mtimeNs } = mover.view
      edits.push(overlay.setContent(inode, { ref, sizeBytes, mtimeNs, isNamed: true }))
    }
    edits.push(overlay.setAttributes(inode, { mode, uid, gid, xattrs }), ...more)
    const edit = combineEdits(this.#core, edits)
    if (!edit) throw new TypeError('a save always takes a name away')
    const put = edit.puts.find((other) => other.inode === inode && other.register === 'C')
    const version = put ? versionId(put.value) : victim.view.version
    const oldFile = victim.node.file
    const marks = oldFile ? files.dropMarks(oldFile) : []
    if (file) {
      marks.push(...files.reboundMarks(file, { inode, ops, version }))
      file.inode = inode
    }
    const committed = publisher.commit(edit, marks)
    this.abandon(victim.node, victim.view)
    if (oldFile) writeback.dropped(oldFile)
    nodes.rebind(mover.node, inode)
    if (!file) return
    file.version = isDirty ? version : (overlay.node(inode)?.version ?? version)
    file.ops = isDirty ? opsAfter(committed, { inode, ops, version }) : overlay.contentBase(inode)
  }

  /** Runs `then` with the text of what will be a policy file; at once when it is at hand. */
  #withText<T>(name: FileName, what: Node | InodeId, then: (text: PolicyText) => T): Reply<T> {
    const text = this.#textNow(name, typeof what === 'string' ? what : what.inode, true)
    return text instanceof Promise ? text.then(then) : then(text)
  }

  #textNow(name: FileName, id: InodeId): PolicyText
  #textNow(name: FileName, id: InodeId, mayWait: true): PolicyText | Promise<PolicyText>
  #textNow(name: FileName, id: InodeId, mayWait = false): PolicyText | Promise<PolicyText> {
    const { overlay, nodes, policies } = this.#core
    if (!policies.isPolicyFile(name)) return undefined
    const content = overlay.node(id)?.content
    if (content?.kind !== 'file') return undefined
    const text = policies.textOf(nodes.current(id)?.file ?? content)
    return text instanceof Promise && !mayWait ? undefined : text
  }

  /** The edit that a policy file at this place means. */
  #policyAt(place: NamePlace, text: PolicyText): Edit | undefined {
    const { policies } = this.#core
    return policies.isPolicyFile(place.name) ? policies.edit(place.parent, text) : undefined
  }

  #withPolicy(edit: Edit, policies: readonly (Edit | undefined)[]): Edit {
    return combineEdits(this.#core, [edit, ...policies]) ?? edit
  }
}
