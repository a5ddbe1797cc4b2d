/**
 * One volume on one device: its log and its tree, and the commit sequence that ties them together.
 *
 * Owns the feeds and the `TreeWriter`; lives on the crdt thread. Everything that changes state goes
 * through one lane, so that a local publication and a remote group never interleave.
 *
 * Order that is never broken:
 *   own edits:      fold -> entry durable in the own feed -> one index transaction -> told (W2)
 *   remote entries: header and signature -> durable in our copy of the feed -> frontier satisfied
 *                   -> author's role -> content checks -> shards -> one index transaction
 * The index transaction holds everything derived: rows, shard deltas, applied frontier, covered
 * journal numbers, member table. Starting is therefore: open, apply what the feeds hold after the
 * applied frontier. Before a remote group is applied, the pending local edits are closed into an
 * own entry (`submitPending`); if that fails, the bases of their puts keep them concurrent, too.
 *
 * The log is the truth; what it has lost (damage, a restored directory) and the index still shows
 * stays visible, and is fetched from peers or said anew (`restore`). When entries of the own feed
 * are lost, or come back from a peer, the device goes on in another generation of its feed: W4.
 */
import type { Edit } from './crdt/interface.ts'
import type { RowStore } from './crdt/rows.ts'
import type { Want, WantsQuery } from './crdt/wants.ts'
import type { TreeWriter } from './crdt/writer.ts'
import { WormholeError, errorToData } from './errors.ts'
import { Branches } from './log/branches.ts'
import { EntryQueue } from './log/entry-queue.ts'
import { verifyFrame } from './log/entry.ts'
import type { Finding } from './finding.ts'
import { encodeApplied, encodeGeneration, readApplied } from './log/applied.ts'
import { Lane } from './log/lane.ts'
import { missingEntries } from './log/missing.ts'
import type { ControlOp, Entry, FeedTip, TreePart } from './log/interface.ts'
import { MemberTable, type FoldResult } from './log/membership.ts'
import { OwnFeed } from './log/own-feed.ts'
import { judgeLosses, settleLosses } from './log/own-loss.ts'
import { RetryLoop } from './log/retry-loop.ts'
import { Strangers } from './log/strangers.ts'
import { Turns, type Farewell } from './log/turns.ts'
import type { DeviceId, FeedHead, FeedId, Frontier, Role, VolumeId } from './types.ts'
import { feedDevice, feedRoot } from './types.ts'
import { applyEntry } from './volume-apply.ts'
import type { VolumeOptions } from './volume-interface.ts'

export type { VolumeEvents, VolumeOptions } from './volume-interface.ts'

/** Longest time the crdt thread works on remote entries before it commits and lets others in. */
const APPLY_SLICE_MS = 10
/** Prefix of the member table's rows among the tree's meta rows. */
const MEMBER_ROW = 'm/'
/** The member table's row that changes only when membership does. */
const MEMBERS_ROW = 'log/members'
/** Meta row: there while older entries are missing that a snapshot stands for. */
const SNAPSHOT_ROW = 'snapshot'

/** See the head of this file. */
export class Volume {
  readonly id: VolumeId
  /** Revocations, keys, and what follows from them. */
  readonly turns: Turns
  readonly #options: VolumeOptions
  #applied = new Map<FeedId, FeedHead>()
  #members: MemberTable
  #coveredTo = 0
  readonly #lane = new Lane()
  readonly #applying: RetryLoop
  readonly #queue: EntryQueue
  #stamps = new Map<DeviceId, number>()
  readonly #own: OwnFeed
  readonly #strangers: Strangers
  readonly #branches: Branches

  private constructor(options: VolumeOptions) {
    const { id, feeds, events } = options
    this.id = id
    this.#options = options
    this.#members = new MemberTable(id)
    const onProblem = events.onProblem.bind(events)
    this.#queue = new EntryQueue({ ...options, volume: id, onProblem })
    this.#applying = new RetryLoop({
      clock: options.clock,
      run: () => this.#applyAll(),
      onFailed: (error) => this.#tellFailure('cannot apply what arrived', error),
    })
    this.#own = new OwnFeed(options)
    this.#strangers = new Strangers(feeds)
    this.#branches = new Branches({ feeds, queue: this.#queue, onProblem })
    this.turns = new Turns({ ...options, volume: id, queue: this.#queue })
  }

  /** Opens a volume: reads how far the index is and applies what the feeds hold beyond it. */
  static async open(options: VolumeOptions): Promise<Volume> {
    const volume = new Volume(options)
    volume.#reload()
    volume.#checkIndex()
    for (const stamp of volume.#stamps.values()) options.hlc.observe(stamp)
    await volume.#exclusive(() => volume.#applyReady())
    volume.#branches.tell(volume.#members)
    volume.#applying.request()
    return volume
  }

  /** Who is in, as of everything applied. */
  get members(): MemberTable {
    return this.#members
  }

  /** Journal numbers up to this one are in the log and the index, or cancelled out. */
  get coveredTo(): number {
    return this.#coveredTo
  }

  /** Heads of everything stored. */
  frontier(): Frontier {
    return this.#options.feeds.frontier()
  }

  /** What the tree shows. */
  appliedFrontier(): Frontier {
    return new Map(this.#applied)
  }

  /**
   * Exact bytes of a feed's frames for a peer, at most `bytesMax`, at least one if there is
   * one.
   */
  read(feed: FeedId, fromSeq: number, bytesMax: number): Uint8Array[] {
    return this.#options.feeds.read(feed, fromSeq, bytesMax).map((frame) => frame.bytes)
  }

  /** Whether this device has known more than its tables say: own entries wait for lost ones. */
  get isBehind(): boolean {
    return this.#own.isAhead(this.#applied)
  }

  /** The feed that this device writes now. */
  get ownFeed(): FeedId {
    return this.#own.feed
  }

  /** Which of these entries are held here. */
  holds(tips: readonly FeedTip[]): boolean[] {
    return tips.map((tip) => this.#options.feeds.locate(tip) !== undefined)
  }

  /** This device's role; undefined while its admission has not arrived, or once it is revoked. */
  role(): Role | undefined {
    if (this.turns.revokedBy(this.#members)) return undefined
    return this.#members.member(this.#options.device)?.role
  }

  /**
   * Takes note that this device was revoked, if it is proved.
   * @throws {WormholeError} `ENTRY_INVALID`, `NOT_PERMITTED`.
   */
  takeFarewell(farewell: Farewell): Promise<void> {
    return this.#exclusive(() => {
      if (this.turns.revokedBy(this.#members)) return
      this.#commit({ fact: this.turns.takeFarewell(farewell, this.#members) })
      this.#options.events.onMembers()
    })
  }

  /**
   * Publishes own edits, in order. Resolves when they are in the log and in the index.
   *
   * @throws {WormholeError} `DISK_FULL`, `WRITER_BROKEN`, `IO_ERROR`: nothing was published, try
   *   again later. `READ_ONLY` when this device may not write, `NOT_A_MEMBER` while its admission
   *   has not arrived, `REVOKED` when it was: everybody would refuse what it wrote. `FEED_CORRUPT`
   *   while own entries build on others that were lost here.
   */
  submit(edits: readonly Edit[]): Promise<{ coveredTo: number }> {
    return this.#exclusive(async () => {
      if ((await this.#prepare()) === 'reader') {
        throw new WormholeError('READ_ONLY', 'this device is a reader of the volume')
      }
      const { changes, coveredTo, hlc } = this.#options.tree.fold(edits)
      await this.#publish([], { changes, coveredTo }, { stamp: hlc, isOwn: true })
      return { coveredTo: this.#coveredTo }
    })
  }

  /**
   * Writes an entry that holds statements only (an invite, an admission, labels). A function is
   * asked for them when it is their turn, so that it sees everything written before; none: nothing
   * is written.
   *
   * @throws {WormholeError} as `submit`, and what the function throws.
   */
  write(control: readonly ControlOp[] | (() => readonly ControlOp[])): Promise<void> {
    return this.#exclusive(async () => {
      await this.#prepare()
      const statements = typeof control === 'function' ? control() : control
      if (statements.length > 0) await this.#publish(statements)
    })
  }

  /** Before own entries. @throws {WormholeError} `NOT_A_MEMBER`, `REVOKED`, `FEED_CORRUPT`. */
  async #prepare(): Promise<Role> {
    if (this.#own.isBehind(this.#applied)) {
      throw new WormholeError('FEED_CORRUPT', 'own entries build on lost ones that peers may have')
    }
    await this.#answer()
    const role = this.role()
    if (role !== undefined) return role
    if (this.turns.revokedBy(this.#members))
      throw new WormholeError('REVOKED', 'revoked by an admin')
    throw new WormholeError('NOT_A_MEMBER', 'the admission of this device has not arrived yet')
  }

  /**
   * Takes frames of one feed from a peer: checked and stored durably when this resolves, applied as
   * soon as what they depend on is here. `detached`: nothing was stored, because what the first one
   * follows is not here; the peer is to be asked for earlier ones.
   *
   * @throws {WormholeError} `ENTRY_INVALID`, `FORMAT_UNSUPPORTED`, `NOT_A_MEMBER`,
   *   `LIMIT_EXCEEDED`.
   */
  async receive(feed: FeedId, frames: readonly Uint8Array[]): Promise<'stored' | 'detached'> {
    const { feeds, device } = this.#options
    const root = feedRoot(feed)
    const checked = frames.map((bytes) => verifyFrame(bytes, { volume: this.id, feed: root }))
    const named = (other: FeedId): number => this.#queue.named(other, this.#members)
    this.#strangers.admit(root, checked, this.#members, named)
    const news = await this.#exclusive(async () => {
      if (!this.#branches.admit(root, checked)) return undefined
      const before = feeds.frontier()
      await feeds.append(checked, { isFromPeer: true })
      const names = feeds.branches(root).filter((name) => feeds.head(name) !== before.get(name))
      if (names.length > 0 && feedDevice(root) === device) this.#retire(root)
      this.#branches.tell(this.#members)
      return names
    })
    for (const name of news ?? []) this.#tellHead(name)
    this.#applying.request()
    return news ? 'stored' : 'detached'
  }

  /** Entries of the own feed came from elsewhere: nothing is written behind them. */
  #retire(feed: FeedId): void {
    const { tree, device, deviceName, events } = this.#options
    if (!this.#own.retire(feed)) return
    tree.become({ actor: this.#own.actor, device, deviceName })
    const message = 'own entries came from a peer: this home was restored, lost some, or was copied'
    events.onProblem({ code: 'FEED_CORRUPT', message })
    this.#commit()
  }

  /** Resolves when nothing that could be applied is left unapplied. */
  async settled(): Promise<void> {
    await this.#applying.settled()
  }

  /** Stamp of the newest applied entry of each device. */
  lastStamps(): ReadonlyMap<DeviceId, number> {
    return this.#stamps
  }

  /** File contents of other devices that this device has yet to fetch. */
  wants(query: WantsQuery): Want[] {
    return this.#options.tree.wants(query)
  }

  /** Entries that the log lacks; `isAll`: also older ones that a snapshot stands for. */
  missingEntries({ isAll } = { isAll: false }): Finding[] {
    const { feeds, tree } = this.#options
    const isFilling = !isAll && (tree.meta(SNAPSHOT_ROW)?.length ?? 0) > 0
    return missingEntries(feeds, this.#applied, { isFilling })
  }

  /** Lets `run` care for the tree when it is its turn, and commits what it did. */
  tend<T>(run: (tree: TreeWriter) => T): Promise<T> {
    return this.#exclusive(() => {
      const result = run(this.#options.tree)
      this.#commit()
      return result
    })
  }

  /**
   * Lets `load` put another state into the tree, from a snapshot or none at all; what it returns is
   * stored with it. Then goes on with what the feeds hold beyond.
   */
  async replace(
    load: (tree: TreeWriter) => Promise<ReadonlyMap<string, Uint8Array>>,
  ): Promise<void> {
    const { tree, events, device, feeds } = this.#options
    await this.#exclusive(async () => {
      const meta = new Map(await load(tree))
      meta.set(...encodeGeneration(this.#own.generation))
      events.onDelta(tree.commit(meta), tree.coveredTo, false)
      this.#reload()
      for (const feed of this.#applied.keys()) {
        if (feedDevice(feed) === device && !feeds.isWritable(feed)) this.#retire(feed)
      }
      events.onMembers()
    })
    for (const feed of feeds.frontier().keys()) this.#tellHead(feed)
    this.#applying.request()
  }

  /** Finishes what is running and closes feeds. The row store belongs to the caller. */
  async close(): Promise<void> {
    await this.#applying.close()
    await this.#lane.close()
    await this.#options.feeds.close()
  }

  /** Runs one change at a time; whatever fails leaves the state of the last commit. */
  #exclusive<T>(run: () => T | Promise<T>): Promise<T> {
    return this.#lane.run(async () => {
      try {
        await this.#applyOwnLeftover()
        return await run()
      } catch (error) {
        this.#options.tree.rollback()
        this.#reload()
        throw error
      }
    })
  }

  /** Reads the state of the last index transaction. */
  #reload(): void {
    const { tree, id, device, deviceName } = this.#options
    const { frontier, stamps, generation } = readApplied((name) => tree.meta(name))
    this.#applied = frontier
    this.#stamps = stamps
    this.#coveredTo = tree.coveredTo
    this.#queue.reset()
    this.#members = MemberTable.restore(id, (key) => tree.meta(MEMBER_ROW + key))
    this.turns.reload(this.#members, (name) => tree.meta(name))
    this.#own.choose(generation)
    tree.become({ actor: this.#own.actor, device, deviceName })
  }

  /**
   * Whether all entries that the index shows are in the feeds. If not, the index stays: it holds
   * everything that follows from them, and what peers have is fetched again. Only when own entries
   * are lost that nobody else is known to have, others could never apply what this device writes
   * from now on: then `restore` says it anew.
   *
   * @throws {WormholeError} `LOG_LOST` in that case.
   */
  #checkIndex(): void {
    const { tree, device, deviceName, events } = this.#options
    const about = { ...this.#options, applied: this.#applied, members: this.#members }
    for (const { code, message } of this.missingEntries()) events.onProblem({ code, message })
    const losses = judgeLosses(about, this.missingEntries({ isAll: true }))
    if (!settleLosses(losses, { ...about, own: this.#own, queue: this.#queue })) return
    tree.become({ actor: this.#own.actor, device, deviceName })
    this.#commit()
  }

  /**
   * Says anew what an older index shows and this one lacks, because the log lost it.
   * @throws {WormholeError} as `submit`.
   */
  restore(old: RowStore): Promise<void> {
    return this.#exclusive(async () => {
      await this.#prepare()
      for (const part of this.#options.tree.restore(old)) await this.#publish([], part)
    })
  }

  /** Own entries, of any generation, that reached a feed and not the index: edits are in them. */
  async #applyOwnLeftover(): Promise<void> {
    const before = this.#own.behind(this.#applied)
    if (before.length === 0) return
    await this.#applyReady()
    const left = this.#own.behind(this.#applied)
    for (const feed of before) if (!left.includes(feed)) this.#tellHead(feed)
  }

  /** Writes an own entry, if it says anything, and commits: durable, applied, told (W2). */
  async #publish(
    control: readonly ControlOp[],
    { changes, coveredTo }: Omit<TreePart, 'epoch'> = { changes: [], coveredTo: 0 },
    options: { readonly stamp?: number; readonly isOwn?: boolean } = {},
  ): Promise<void> {
    const { feed } = this.#own
    const isSaying = control.length + changes.length > 0
    if (isSaying) {
      const frontier = new Map(this.#applied)
      frontier.delete(feed)
      const tree = changes.length > 0 ? { epoch: 0, changes, coveredTo } : undefined
      const hlc = options.stamp ?? this.#options.hlc.tick()
      const body = { control, tree, frontier, hlc }
      this.#fold(await this.#own.append(body, this.#members.frontierOf(feed)))
    }
    this.#coveredTo = Math.max(this.#coveredTo, coveredTo)
    this.#commit(options)
    if (isSaying) this.#tellHead(feed)
  }

  /** Takes an entry's statements into the tables and counts it as applied. */
  #fold(entry: Entry): FoldResult {
    const folded = this.#members.fold(entry)
    this.turns.learn(folded)
    for (const actor of folded.actors) this.#options.tree.registerActor(actor)
    for (const message of folded.problems) {
      this.#options.events.onProblem({ code: 'ENTRY_INVALID', message })
    }
    this.#applied.set(entry.feed, { length: entry.seq + 1, hash: entry.hash })
    this.#stamps.set(feedDevice(entry.feed), entry.hlc)
    return folded
  }

  /** One index transaction for everything since the last, then the news. */
  #commit(options: { fact?: ReturnType<Turns['takeFarewell']>; isOwn?: boolean } = {}): void {
    const { tree, events } = this.#options
    const { generation } = this.#own
    const meta = encodeApplied({ frontier: this.#applied, stamps: this.#stamps, generation })
    const memberRows = this.#members.takeRows()
    for (const [key, row] of memberRows) meta.set(MEMBER_ROW + key, row)
    if (options.fact) meta.set(...options.fact)
    const delta = tree.commit(meta)
    const isMoved = this.turns.choose(this.#members)
    const hasMoved = this.#own.hasMoved(this.#applied)
    events.onDelta(delta, this.#coveredTo, options.isOwn ?? false)
    if (memberRows.has(MEMBERS_ROW) || isMoved || hasMoved) events.onMembers()
  }

  #tellFailure(what: string, error: unknown): void {
    const { code, message } = errorToData(error)
    this.#options.events.onProblem({ code, message: `${what}: ${message}` })
  }

  #tellHead(feed: FeedId): void {
    const head = this.#options.feeds.head(feed)
    if (head) this.#options.events.onHead(feed, head)
  }

  /** Applies all whose turn it is. */
  async #applyAll(): Promise<void> {
    const isMore = this.#queue.next(this.#members, this.#applied) !== undefined
    if (isMore) await this.#drain()
    else if (!this.turns.answer(this.#members)) return
    const step = async (): Promise<boolean> => {
      if (this.#isStopped()) await this.#answer()
      return this.#applySlice()
    }
    while (await this.#exclusive(step));
    await this.#exclusive(() => this.#answer())
  }

  #isStopped = (): boolean => this.turns.isDue(this.#members, this.#applied)

  /** Answers revocations and changes of keys before anything else is written. */
  async #answer(): Promise<void> {
    const isAble = !this.#own.isBehind(this.#applied) && this.role() !== undefined
    const ops = isAble ? this.turns.answer(this.#members) : undefined
    if (ops) await this.#publish(ops)
  }

  /** Closes the pending local edits into an own entry, if this device may write one. */
  async #drain(): Promise<void> {
    if ((this.role() ?? 'reader') === 'reader') return
    try {
      await this.#options.events.submitPending()
    } catch (error) {
      this.#tellFailure('changes wait for publication', error)
    }
  }

  async #applyReady(): Promise<void> {
    while (!this.#isStopped() && this.#applySlice()) await Promise.resolve()
  }

  /**
   * Applies entries whose turn it is, for at most `APPLY_SLICE_MS`, and commits them in one
   * transaction. Returns whether there may be more.
   */
  #applySlice(): boolean {
    const endMs = this.#options.clock.monotonicMs() + APPLY_SLICE_MS
    let count = 0
    for (;;) {
      const next = this.#queue.next(this.#members, this.#applied)
      if (!next) break
      if (next.type === 'entry') this.#apply(next.entry)
      else {
        const { feed, seq, hash } = next.frame
        this.#members.skip(next.frame, next.frontier)
        this.#applied.set(feed, { length: seq + 1, hash })
      }
      count++
      if (this.#options.clock.monotonicMs() >= endMs || this.#isStopped()) break
    }
    if (count === 0) return false
    this.#commit()
    return true
  }

  /** Takes one entry into tables and shards; a refused one stays in the chain, counts as empty. */
  #apply(entry: Entry): void {
    const { verdict } = this.#fold(entry)
    const isOwn = this.#own.hasWritten(entry)
    const about = { ...this.#options, members: this.#members, isOwn }
    this.#coveredTo = Math.max(this.#coveredTo, applyEntry(entry, verdict, about))
  }
}
