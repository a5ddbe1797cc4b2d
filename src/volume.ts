/**
 * One volume on one device: its log and its tree, and the commit sequence that ties them together.
 *
 * Owns the feeds and the `TreeWriter`; lives on the crdt thread. Everything that changes state goes
 * through one lane, so that a local publication and a remote group never interleave.
 *
 * Order that is never broken:
 *   own edits:      fold -> entry durable in the own feed -> one index transaction -> announced
 * (W2)
 *   remote entries: header and signature -> durable in our copy of the feed -> frontier satisfied
 *                   -> author's role -> content checks -> shards -> one index transaction
 * The index transaction holds everything derived: rows, shard deltas, applied frontier, covered
 * journal numbers, member table. Starting is therefore: open, apply what the feeds hold after the
 * applied frontier. Before a remote group is applied, the pending local edits are closed into an
 * own entry (`drainLocal`), so that they stay concurrent to what their author had not seen.
 */
import type { Edit, TreeDelta } from './crdt/interface.ts'
import type { TreeWriter, Want } from './crdt/writer.ts'
import { ByteReader, ByteWriter } from './bytes.ts'
import { WormholeError, errorToData, hasCode } from './errors.ts'
import { openEntry, sealEntry, verifyFrame } from './log/entry.ts'
import { readFrontier, writeFrontier } from './log/frontier.ts'
import type { ControlOp, Entry, EntryFrame, FeedStore, LogKeys, TreePart } from './log/interface.ts'
import { MemberTable, type FoldResult } from './log/membership.ts'
import type { SigningKeys } from './seal.ts'
import type { Clock, HybridClock, Random } from './system.ts'
import type { ActorId, DeviceId, FeedHead, FeedId, Frontier, Role, VolumeId } from './types.ts'
import { feedDevice } from './types.ts'

/** Longest time the crdt thread works on remote entries before it commits and lets others in. */
const APPLY_SLICE_MS = 10
/** Bytes kept of feeds whose device is not known as a member (its admission may be under way). */
const UNKNOWN_FEED_BYTES_MAX = 16 * 1024 * 1024
/** Prefix of the member table's rows among the tree's meta rows. */
const MEMBER_ROW = 'm/'
/** The member table's row that changes only when membership does. */
const MEMBERS_ROW = 'log/members'

/** What a volume is made of. */
export interface VolumeOptions {
  readonly id: VolumeId
  readonly device: DeviceId
  readonly deviceName: string
  /** The feed that this home writes. */
  readonly feed: FeedId
  readonly signing: SigningKeys
  readonly keys: LogKeys
  readonly feeds: FeedStore
  readonly tree: TreeWriter
  /** The actor under which `tree` writes in this process run. */
  readonly actor: ActorId
  readonly clock: Clock
  readonly hlc: HybridClock
  readonly random: Random
  readonly events: VolumeEvents
}

/** What a volume tells its surroundings; everything named is durable by then. */
export interface VolumeEvents {
  /** A feed has a new newest entry (W2). */
  onHead(feed: FeedId, head: FeedHead): void
  /** A group was committed to the index. */
  onDelta(delta: TreeDelta, coveredTo: number): void
  /** Members, roles, names or invites differ from before. */
  onMembers(): void
  /** Something a person should know; `status` shows it. */
  onProblem(problem: { code: string; message: string }): void
  /** Submits everything pending on this device and resolves when it is in the log. */
  submitPending(): Promise<void>
}

/** See the head of this file. */
export class Volume {
  readonly id: VolumeId
  readonly #options: VolumeOptions
  #applied = new Map<FeedId, FeedHead>()
  #members: MemberTable
  #coveredTo = 0
  #lane: Promise<unknown> = Promise.resolve()
  #applying: Promise<void> | undefined
  #isApplyWanted = false
  #isActorAnnounced = false
  /** Feeds whose next entry needs a newer version of this program. */
  readonly #stalled = new Set<FeedId>()
  readonly #stamps = new Map<DeviceId, number>()
  /** The opened next entry of each feed, while it waits for its frontier. */
  readonly #waiting = new Map<FeedId, Entry>()
  /** A malformed entry was passed over since the last commit. */
  #isSkipped = false
  #unknownBytes = 0
  #isClosed = false

  private constructor(options: VolumeOptions) {
    this.id = options.id
    this.#options = options
    this.#members = new MemberTable(options.id)
  }

  /** Opens a volume: reads how far the index is and applies what the feeds hold beyond it. */
  static async open(options: VolumeOptions): Promise<Volume> {
    const volume = new Volume(options)
    volume.#reload()
    await volume.#exclusive(() => volume.#applyReady())
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

  /** Heads of everything applied: what the tree shows. */
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

  /** This device's role; undefined while its admission has not arrived here. */
  role(): Role | undefined {
    return this.#members.member(this.#options.device)?.role
  }

  /**
   * Publishes own edits, in order. Resolves when they are in the log and in the index.
   *
   * @throws {WormholeError} `DISK_FULL`, `WRITER_BROKEN`, `IO_ERROR`: nothing was published, try
   *   again later. `READ_ONLY` when this device may not write.
   */
  submit(edits: readonly Edit[]): Promise<{ coveredTo: number }> {
    return this.#exclusive(async () => {
      if (this.role() === 'reader') {
        throw new WormholeError('READ_ONLY', 'this device is a reader of the volume')
      }
      const folded = this.#options.tree.fold(edits)
      if (folded.changes.length > 0) {
        const part = { epoch: 0, changes: folded.changes, coveredTo: folded.coveredTo }
        await this.#appendOwn([], part, folded.hlc)
      }
      this.#coveredTo = Math.max(this.#coveredTo, folded.coveredTo)
      this.#commit()
      if (folded.changes.length > 0) this.#tellHead(this.#options.feed)
      return { coveredTo: this.#coveredTo }
    })
  }

  /** Writes an entry that holds statements only (an invite, an admission, labels). */
  write(control: readonly ControlOp[]): Promise<void> {
    return this.#exclusive(async () => {
      await this.#appendOwn(control, undefined, this.#options.hlc.tick())
      this.#commit()
      this.#tellHead(this.#options.feed)
    })
  }

  /**
   * Takes frames of one feed from a peer: checked and stored durably when this resolves, applied as
   * soon as what they depend on is here.
   *
   * @throws {WormholeError} `ENTRY_INVALID`, `FORMAT_UNSUPPORTED`, `NOT_A_MEMBER`.
   */
  async receive(feed: FeedId, frames: readonly Uint8Array[]): Promise<void> {
    const checked = frames.map((bytes) => verifyFrame(bytes, { volume: this.id, feed }))
    const hasGenesis = this.#members.members().length > 0
    if (hasGenesis && !this.#members.isMember(feedDevice(feed))) {
      for (const frame of checked) this.#unknownBytes += frame.bytes.length
      if (this.#unknownBytes > UNKNOWN_FEED_BYTES_MAX) {
        throw new WormholeError('NOT_A_MEMBER', `feed ${feed} belongs to no member`)
      }
    }
    await this.#exclusive(() => this.#options.feeds.append(checked))
    this.#tellHead(feed)
    this.#requestApply()
  }

  /** Resolves when nothing that could be applied is left unapplied. */
  async settled(): Promise<void> {
    while (this.#applying) await this.#applying
  }

  /** Stamp of the newest applied entry of each device. */
  lastStamps(): ReadonlyMap<DeviceId, number> {
    return this.#stamps
  }

  /** File contents of other devices that this device has yet to fetch. */
  wants(options: { after?: string; countMax: number }): Want[] {
    return this.#options.tree.wants(options)
  }

  /** Takes contents off the list of those to fetch. */
  fetched(keys: readonly string[]): Promise<void> {
    return this.#exclusive(() => {
      this.#options.tree.fetched(keys)
      this.#commit()
    })
  }

  /** Finishes what is running and closes feeds. The row store belongs to the caller. */
  async close(): Promise<void> {
    this.#isApplyWanted = false
    await this.settled()
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
    const { tree, id } = this.#options
    const frontier = tree.meta('frontier')
    this.#applied = frontier ? readFrontier(new ByteReader(frontier, 'INDEX_CORRUPT')) : new Map()
    this.#coveredTo = tree.coveredTo
    this.#stamps.clear()
    this.#waiting.clear()
    this.#isSkipped = false
    const stamps = tree.meta('stamps')
    if (stamps) {
      const pairs = JSON.parse(stamps.toString()) as [DeviceId, number][]
      for (const [device, stamp] of pairs) this.#stamps.set(device, stamp)
    }
    this.#members = MemberTable.restore(id, (key) => tree.meta(MEMBER_ROW + key))
  }

  /** An own entry that reached the feed but, because of a failure, not the index. */
  async #applyOwnLeftover(): Promise<void> {
    const { feed, feeds } = this.#options
    const isBehind = (feeds.head(feed)?.length ?? 0) > (this.#applied.get(feed)?.length ?? 0)
    if (isBehind) await this.#applyReady()
  }

  /** Seals, signs and stores one own entry, and takes it into the tables (not yet committed). */
  async #appendOwn(
    control: readonly ControlOp[],
    tree: TreePart | undefined,
    stamp: number,
  ): Promise<void> {
    const { feed, feeds, keys, signing, random, actor, deviceName } = this.#options
    const head = feeds.head(feed)
    const announce: ControlOp[] = this.#isActorAnnounced
      ? []
      : [{ type: 'actor', actor, deviceName }]
    const frontier = new Map(this.#applied)
    frontier.delete(feed)
    const previousFrontier = this.#members.frontierOf(feed)
    const frame = sealEntry(
      { control: [...announce, ...control], tree, frontier, hlc: stamp },
      { volume: this.id, feed, head, previousFrontier },
      { keys, signing, random },
    )
    const entry = openEntry(frame, { volume: this.id, keys, previousFrontier })
    await feeds.append([frame])
    this.#isActorAnnounced = true
    this.#fold(entry)
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
    const writer = new ByteWriter()
    writeFrontier(writer, this.#applied)
    const meta = new Map<string, Uint8Array>([
      ['frontier', writer.finish()],
      ['stamps', Buffer.from(JSON.stringify([...this.#stamps]))],
    ])
    const memberRows = this.#members.takeRows()
    for (const [key, row] of memberRows) meta.set(MEMBER_ROW + key, row)
    const delta = tree.commit(meta)
    events.onDelta(delta, this.#coveredTo)
    if (memberRows.has(MEMBERS_ROW)) events.onMembers()
    this.#isSkipped = false
  }

  #tellHead(feed: FeedId): void {
    const head = this.#options.feeds.head(feed)
    if (head) this.#options.events.onHead(feed, head)
  }

  #requestApply(): void {
    this.#isApplyWanted = true
    if (this.#applying || this.#isClosed) return
    this.#applying = this.#applyLoop().finally(() => {
      this.#applying = undefined
      if (this.#isApplyWanted) this.#requestApply()
    })
  }

  async #applyLoop(): Promise<void> {
    while (this.#isApplyWanted && !this.#isClosed) {
      this.#isApplyWanted = false
      if (this.#nextReady() === undefined) continue
      try {
        await this.#options.events.submitPending()
        for (let isMore = true; isMore;) isMore = await this.#exclusive(() => this.#applySlice())
      } catch (error) {
        const { code, message } = errorToData(error)
        this.#options.events.onProblem({ code, message: `cannot apply what arrived: ${message}` })
        return
      }
    }
  }

  async #applyReady(): Promise<void> {
    while (this.#applySlice()) await Promise.resolve()
  }

  /**
   * Applies entries whose frontier is satisfied, for at most `APPLY_SLICE_MS`, and commits them in
   * one transaction. Returns whether there may be more.
   */
  #applySlice(): boolean {
    const { clock } = this.#options
    const startMs = clock.monotonicMs()
    let count = 0
    for (;;) {
      const entry = this.#nextReady()
      if (!entry) break
      this.#apply(entry)
      count++
      if (clock.monotonicMs() - startMs >= APPLY_SLICE_MS) break
    }
    if (count === 0 && !this.#isSkipped) return false
    this.#commit()
    return true
  }

  /** The next stored, unapplied entry whose frontier is satisfied. */
  #nextReady(): Entry | undefined {
    const { feeds } = this.#options
    for (const [feed, head] of feeds.frontier()) {
      const from = this.#applied.get(feed)?.length ?? 0
      if (from >= head.length || this.#stalled.has(feed)) continue
      const frame = feeds.read(feed, from, 1)[0]
      if (!frame) continue
      const entry = this.#open(frame)
      if (!entry || !this.#isSatisfied(entry.frontier)) continue
      const verdict = this.#members.check(entry)
      if (verdict.state !== 'unknown') return entry
      this.#stalled.add(feed)
      this.#options.events.onProblem({ code: 'UPGRADE_NEEDED', message: verdict.reason })
    }
    return undefined
  }

  /**
   * Opens a stored frame. One that is malformed counts as empty, on every device alike; one that a
   * newer version wrote, or whose key is not here, stalls its feed.
   */
  #open(frame: EntryFrame): Entry | undefined {
    const { feed } = frame
    const waiting = this.#waiting.get(feed)
    if (waiting?.seq === frame.seq) return waiting
    const previousFrontier = this.#members.frontierOf(feed)
    try {
      const { keys } = this.#options
      const entry = openEntry(frame, { volume: this.id, keys, previousFrontier })
      this.#waiting.set(feed, entry)
      return entry
    } catch (error) {
      const { code, message } = errorToData(error)
      const text = `entry ${frame.seq} of feed ${feed} does not open: ${message}`
      this.#options.events.onProblem({ code, message: text })
      if (hasCode(error, 'ENTRY_INVALID')) {
        this.#members.skip(frame)
        this.#applied.set(feed, { length: frame.seq + 1, hash: frame.hash })
        this.#isSkipped = true
      } else {
        this.#stalled.add(feed)
      }
      return undefined
    }
  }

  #isSatisfied(frontier: Frontier): boolean {
    for (const [feed, head] of frontier) {
      if ((this.#applied.get(feed)?.length ?? 0) < head.length) return false
    }
    return true
  }

  /** Takes one entry into tables and shards; a refused one stays in the chain, counts as empty. */
  #apply(entry: Entry): void {
    const { tree, hlc, events, feed } = this.#options
    const author = feedDevice(entry.feed)
    const { verdict } = this.#fold(entry)
    const changes = entry.tree?.changes ?? []
    let refusal = verdict.state === 'valid' ? undefined : verdict.reason
    if (!refusal && changes.length > 0) {
      const check = tree.check(changes, { actors: this.#members.actorsOf(author) })
      if (!check.isValid) refusal = check.reason ?? 'its changes are not valid'
    }
    if (refusal) {
      const message = `entry ${entry.seq} of device ${author} is refused: ${refusal}`
      events.onProblem({ code: 'ENTRY_INVALID', message })
      return
    }
    hlc.observe(entry.hlc)
    const isOwn = entry.feed === feed
    if (changes.length > 0) {
      tree.apply(changes, isOwn ? { coveredTo: entry.tree?.coveredTo ?? 0 } : undefined)
    }
    if (isOwn) this.#coveredTo = Math.max(this.#coveredTo, entry.tree?.coveredTo ?? 0)
  }
}
