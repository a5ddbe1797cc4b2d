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
 * own entry (`submitPending`), so that they stay concurrent to what their author had not seen. When
 * that fails they wait: the bases of their puts keep them concurrent too.
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
import { EntryQueue, findLost } from './log/entry-queue.ts'
import { verifyFrame } from './log/entry.ts'
import type { Finding } from './finding.ts'
import { encodeApplied, encodeGeneration, readApplied } from './log/applied.ts'
import { missingEntries } from './log/missing.ts'
import type { ControlOp, Entry, FeedTip, TreePart } from './log/interface.ts'
import { MemberTable, type FoldResult } from './log/membership.ts'
import { OwnFeed } from './log/own-feed.ts'
import { ownLosses } from './log/own-loss.ts'
import { RetryLoop } from './log/retry-loop.ts'
import { Strangers } from './log/strangers.ts'
import type { DeviceId, FeedHead, FeedId, Frontier, Role, VolumeId } from './types.ts'
import { feedDevice, feedRoot } from './types.ts'
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
  readonly #options: VolumeOptions
  #applied = new Map<FeedId, FeedHead>()
  #members: MemberTable
  #coveredTo = 0
  #lane: Promise<unknown> = Promise.resolve()
  readonly #applying: RetryLoop
  readonly #queue: EntryQueue
  #stamps = new Map<DeviceId, number>()
  readonly #own: OwnFeed
  readonly #strangers: Strangers
  readonly #branches: Branches
  #isClosed = false

  private constructor(options: VolumeOptions) {
    const { id, feeds, keys, events, tree } = options
    this.id = id
    this.#options = options
    this.#members = new MemberTable(id)
    const onProblem = events.onProblem.bind(events)
    this.#queue = new EntryQueue({ volume: id, keys, feeds, tree, onProblem })
    this.#applying = new RetryLoop({
      clock: options.clock,
      run: () => this.#applyAll(),
      onFailed: (error) => this.#tellFailure('cannot apply what arrived', error),
    })
    this.#own = new OwnFeed(options)
    this.#strangers = new Strangers(feeds)
    this.#branches = new Branches({ feeds, queue: this.#queue, onProblem })
  }

  /** Opens a volume: reads how far the index is and applies what the feeds hold beyond it. */
  static async open(options: VolumeOptions): Promise<Volume> {
    const volume = new Volume(options)
    volume.#reload()
    volume.#checkIndex()
    for (const stamp of volume.#stamps.values()) options.hlc.observe(stamp)
    await volume.#exclusive(() => volume.#applyReady())
    volume.#branches.tell(volume.#members)
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

  /** The feed that this device writes now. */
  get ownFeed(): FeedId {
    return this.#own.feed
  }

  /** Which of these entries are held here. */
  holds(tips: readonly FeedTip[]): boolean[] {
    return tips.map((tip) => this.#options.feeds.locate(tip) !== undefined)
  }

  /** This device's role; undefined while its admission has not arrived here. */
  role(): Role | undefined {
    return this.#members.member(this.#options.device)?.role
  }

  /**
   * Publishes own edits, in order. Resolves when they are in the log and in the index.
   *
   * @throws {WormholeError} `DISK_FULL`, `WRITER_BROKEN`, `IO_ERROR`: nothing was published, try
   *   again later. `READ_ONLY` when this device may not write, `NOT_A_MEMBER` while its admission
   *   has not arrived: everybody would refuse what it wrote. `FEED_CORRUPT` while own entries
   *   build on others that were lost here.
   */
  submit(edits: readonly Edit[]): Promise<{ coveredTo: number }> {
    return this.#exclusive(async () => {
      if (this.#checkMember() === 'reader') {
        throw new WormholeError('READ_ONLY', 'this device is a reader of the volume')
      }
      const folded = this.#options.tree.fold(edits)
      if (folded.changes.length > 0) {
        const part = { epoch: 0, changes: folded.changes, coveredTo: folded.coveredTo }
        await this.#appendOwn([], part, folded.hlc)
      }
      this.#coveredTo = Math.max(this.#coveredTo, folded.coveredTo)
      this.#commit()
      if (folded.changes.length > 0) this.#tellHead(this.#own.feed)
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
      this.#checkMember()
      const statements = typeof control === 'function' ? control() : control
      if (statements.length === 0) return
      await this.#appendOwn(statements, undefined, this.#options.hlc.tick())
      this.#commit()
      this.#tellHead(this.#own.feed)
    })
  }

  /** @throws {WormholeError} `NOT_A_MEMBER`, `FEED_CORRUPT`. */
  #checkMember(): Role {
    if (this.#isBehind(this.#own.feed)) {
      throw new WormholeError('FEED_CORRUPT', 'own entries build on lost ones that peers may have')
    }
    const role = this.role()
    if (role !== undefined) return role
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
    this.#strangers.admit(root, checked, this.#members)
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
      events.onDelta(tree.commit(meta), tree.coveredTo)
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
    this.#isClosed = true
    await this.#lane
    await this.#options.feeds.close()
  }

  /** Runs one change at a time; whatever fails leaves the state of the last commit. */
  #exclusive<T>(run: () => T | Promise<T>): Promise<T> {
    const result = this.#lane.then(async () => {
      if (this.#isClosed) throw new WormholeError('VOLUME_CLOSED', 'the volume is closed')
      try {
        await this.#applyOwnLeftover()
        return await run()
      } catch (error) {
        this.#options.tree.rollback()
        this.#reload()
        throw error
      }
    })
    this.#lane = result.catch(() => undefined)
    return result
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
    const { feeds, tree, device, deviceName, events } = this.#options
    const members = this.#members
    const losses = ownLosses({ feeds, applied: this.#applied, members, device })
    const lost = findLost(feeds, this.#applied)
    for (const { code, message } of this.missingEntries()) events.onProblem({ code, message })
    if (lost.length + losses.length === 0) return
    this.#queue.expect(lost)
    // What others have said must be here in full: else there is nothing to say it anew upon.
    const isRest = this.missingEntries({ isAll: true }).every((missing) => {
      return missing.feed !== undefined && feedDevice(missing.feed) === device
    })
    for (const { feed, isHeldElsewhere, hasMembers, from } of losses) {
      this.#own.retire(feedRoot(feed))
      if (isHeldElsewhere || hasMembers || !isRest) continue
      feeds.setAside(feed, from)
      const message = `own entries from ${from} on are lost, and nobody is known to have them`
      throw new WormholeError('LOG_LOST', message)
    }
    tree.become({ actor: this.#own.actor, device, deviceName })
    this.#commit()
  }

  /**
   * Says anew what an older index shows and this one lacks, because the log lost it.
   * @throws {WormholeError} as `submit`.
   */
  restore(old: RowStore): Promise<void> {
    return this.#exclusive(async () => {
      this.#checkMember()
      const { tree, hlc } = this.#options
      for (const { changes, coveredTo } of tree.restore(old)) {
        const part = { epoch: 0, changes, coveredTo }
        if (changes.length > 0) await this.#appendOwn([], part, hlc.tick())
        this.#coveredTo = Math.max(this.#coveredTo, coveredTo)
        this.#commit()
      }
      this.#tellHead(this.#own.feed)
    })
  }

  /** Own entries, of any generation, that reached a feed and not the index: edits are in them. */
  async #applyOwnLeftover(): Promise<void> {
    const behind = [...this.#options.feeds.frontier().keys()].filter((feed) => this.#isBehind(feed))
    if (behind.length === 0) return
    await this.#applyReady()
    for (const feed of behind) if (!this.#isBehind(feed)) this.#tellHead(feed)
  }

  /** Whether a feed has entries written here that are not applied: nothing is written behind. */
  #isBehind(feed: FeedId): boolean {
    const { feeds, device } = this.#options
    const appliedLength = this.#applied.get(feed)?.length ?? 0
    return feedDevice(feed) === device && feeds.isWrittenHere(feed, appliedLength)
  }

  /** Seals, signs and stores one own entry, and takes it into the tables (not yet committed). */
  async #appendOwn(
    control: readonly ControlOp[],
    tree: TreePart | undefined,
    stamp: number,
  ): Promise<void> {
    const frontier = new Map(this.#applied)
    frontier.delete(this.#own.feed)
    const previousFrontier = this.#members.frontierOf(this.#own.feed)
    const body = { control, tree, frontier, hlc: stamp }
    this.#fold(await this.#own.append(body, previousFrontier))
  }

  /** Takes an entry's statements into the tables and counts it as applied. */
  #fold(entry: Entry): FoldResult {
    const folded = this.#members.fold(entry)
    for (const actor of folded.actors) this.#options.tree.registerActor(actor)
    for (const message of folded.problems) {
      this.#options.events.onProblem({ code: 'ENTRY_INVALID', message })
    }
    this.#applied.set(entry.feed, { length: entry.seq + 1, hash: entry.hash })
    this.#stamps.set(feedDevice(entry.feed), entry.hlc)
    return folded
  }

  /** One index transaction for everything since the last, then the news. */
  #commit(): void {
    const { tree, events } = this.#options
    const { generation } = this.#own
    const meta = encodeApplied({ frontier: this.#applied, stamps: this.#stamps, generation })
    const memberRows = this.#members.takeRows()
    for (const [key, row] of memberRows) meta.set(MEMBER_ROW + key, row)
    events.onDelta(tree.commit(meta), this.#coveredTo)
    if (memberRows.has(MEMBERS_ROW)) events.onMembers()
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
    if (this.#queue.next(this.#members, this.#applied) === undefined) return
    await this.#drain()
    for (let isMore = true; isMore;) isMore = await this.#exclusive(() => this.#applySlice())
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
    while (this.#applySlice()) await Promise.resolve()
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
      if (this.#options.clock.monotonicMs() >= endMs) break
    }
    if (count === 0) return false
    this.#commit()
    return true
  }

  /** Takes one entry into tables and shards; a refused one stays in the chain, counts as empty. */
  #apply(entry: Entry): void {
    const { tree, hlc, events } = this.#options
    const author = feedDevice(entry.feed)
    const { verdict } = this.#fold(entry)
    const changes = entry.tree?.changes ?? []
    let refusal = verdict.state === 'valid' ? undefined : verdict.reason
    if (!refusal && changes.length > 0) {
      const check = tree.check(changes, { actors: this.#members.actorsFor(entry) })
      if (!check.isValid) refusal = check.reason ?? 'its changes are not valid'
    }
    if (refusal) {
      const message = `entry ${entry.seq} of device ${author} is refused: ${refusal}`
      events.onProblem({ code: 'ENTRY_INVALID', message })
      return
    }
    hlc.observe(entry.hlc)
    // Journal numbers in what came back from a peer may be those of another journal.
    const isOwn = this.#own.hasWritten(entry)
    if (changes.length > 0) {
      tree.apply(changes, isOwn ? { coveredTo: entry.tree?.coveredTo ?? 0 } : undefined)
    }
    if (isOwn) this.#coveredTo = Math.max(this.#coveredTo, entry.tree?.coveredTo ?? 0)
  }
}
