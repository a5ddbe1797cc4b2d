/**
 * Which feed this device writes, and under which actor.
 *
 * A device writes one feed for life, unless somebody else may hold other entries at the positions
 * that it would write next (W4): entries were lost here, came back from a peer, or a copy of this
 * home wrote on. Then it goes on in another generation. Copies of one home must not choose the same
 * one, so it is drawn at random above all that is known. The generation is kept by the owner, in
 * the same transaction as what is applied; without that record a new one is drawn, because the
 * feeds that are here may be those of a copy.
 */
import type { SigningKeys } from '../seal.ts'
import type { Random } from '../system.ts'
import type { ActorId, DeviceId, FeedId, Frontier, VolumeId } from '../types.ts'
import { feedDevice, feedGeneration, feedId, feedRoot } from '../types.ts'
import { createActor } from './actors.ts'
import { GENERATION_MAX } from './frontier.ts'
import { openEntry, sealEntry } from './entry.ts'
import type { ControlOp, Entry, EntryBody, FeedStore, LogKeys } from './interface.ts'

/** A new generation lies at most so far above the greatest one known. */
const GENERATION_STEP_MAX = 1 << 24

/** What an own feed is made of. */
export interface OwnFeedOptions {
  readonly id: VolumeId
  readonly device: DeviceId
  readonly deviceName: string
  /** What a home without entries of its own writes. */
  readonly feed: FeedId
  readonly feeds: FeedStore
  readonly signing: SigningKeys
  readonly keys: LogKeys
  readonly random: Random
}

/** The feed of this device in this process run. */
export class OwnFeed {
  readonly #options: OwnFeedOptions
  readonly #device: DeviceId
  readonly #random: Random
  readonly #feeds: FeedStore
  readonly #volume: VolumeId
  #feed: FeedId
  #actor: ActorId
  #isChosen = false
  /** Whether the actor stands in the log, as it must before it writes. */
  #isAnnounced = false
  #wasAhead = false

  constructor(options: OwnFeedOptions) {
    this.#options = options
    this.#volume = options.id
    this.#device = options.device
    this.#random = options.random
    this.#feeds = options.feeds
    this.#feed = options.feed
    this.#actor = createActor(this.#feed, this.#random)
  }

  get feed(): FeedId {
    return this.#feed
  }

  get generation(): number {
    return feedGeneration(this.#feed)
  }

  get actor(): ActorId {
    return this.#actor
  }

  /**
   * Seals, signs and stores the next entry. `previousFrontier`: that of the entry before.
   *
   * @throws {WormholeError} as `FeedStore.append`.
   */
  async append(body: EntryBody, previousFrontier: Frontier): Promise<Entry> {
    const { id: volume, keys, signing, random, feeds, deviceName } = this.#options
    const actor: ControlOp = { type: 'actor', actor: this.#actor, deviceName }
    const control = this.#isAnnounced ? body.control : [actor, ...body.control]
    const position = { volume, feed: this.#feed, head: feeds.head(this.#feed), previousFrontier }
    const frame = sealEntry({ ...body, control }, position, { keys, signing, random })
    const opened = openEntry(frame, { volume, keys, previousFrontier })
    await feeds.append([frame])
    this.#isAnnounced = true
    return { ...opened, frontier: body.frontier }
  }

  /** Takes up the generation on record when the process starts; later it knows better. */
  choose(recorded: number | undefined): void {
    if (this.#isChosen) return
    this.#isChosen = true
    if (recorded !== undefined) this.#become(recorded)
    else if (!this.#isFresh()) return this.#draw()
    if (!this.#feeds.isWritable(this.#feed)) this.#draw()
  }

  /** Whether nothing was written yet but the genesis of the volume. */
  #isFresh(): boolean {
    for (const [feed, { length, hash }] of this.#feeds.frontier()) {
      if (feedDevice(feed) !== this.#device) continue
      if (length > 1 || hash !== this.#volume) return false
    }
    return true
  }

  #become(generation: number): void {
    if (generation === this.generation) return
    this.#feed = feedId(this.#device, generation)
    this.#actor = createActor(this.#feed, this.#random)
    this.#isAnnounced = false
  }

  #draw(): void {
    let greatest = this.generation
    for (const feed of this.#feeds.frontier().keys()) {
      if (feedDevice(feed) === this.#device) greatest = Math.max(greatest, feedGeneration(feed))
    }
    const left = Math.min(GENERATION_STEP_MAX, GENERATION_MAX - greatest)
    const drawn = Buffer.from(this.#random.bytes(4)).readUInt32LE()
    this.#become(greatest + 1 + (drawn % Math.max(1, left)))
  }

  /**
   * Nothing more is written to this feed. Returns whether it was the one in use: another one is,
   * from now on.
   */
  retire(feed: FeedId): boolean {
    if (feedRoot(feed) !== this.#feed) return false
    this.#draw()
    return true
  }

  /** Own feeds of any generation with entries written here that are not applied. */
  behind(applied: Frontier): FeedId[] {
    return [...this.#feeds.frontier().keys()].filter((feed) => {
      const appliedLength = applied.get(feed)?.length ?? 0
      return feedDevice(feed) === this.#device && this.#feeds.isWrittenHere(feed, appliedLength)
    })
  }

  /** Whether there are any: what waits in the journal may be in them. */
  isBehind(applied: Frontier): boolean {
    return this.behind(applied).length > 0
  }

  /**
   * Whether entries of this device wait here for others: it has known more than what is applied
   * says.
   */
  isAhead(applied: Frontier): boolean {
    for (const [feed, { length }] of this.#feeds.frontier()) {
      if (feedDevice(feed) === this.#device && length > (applied.get(feed)?.length ?? 0))
        return true
    }
    return false
  }

  /** Whether that is another answer than the last time. */
  hasMoved(applied: Frontier): boolean {
    const wasAhead = this.#wasAhead
    this.#wasAhead = this.isAhead(applied)
    return this.#wasAhead !== wasAhead
  }

  /** Whether an entry was written in this home: its journal numbers are those of the journal. */
  hasWritten({ feed, seq }: Entry): boolean {
    return feedDevice(feed) === this.#device && this.#feeds.isWrittenHere(feed, seq)
  }
}
