/**
 * Which feed this device writes, and under which actor.
 *
 * A device writes one feed for life, unless entries of it were lost here: somebody may hold them,
 * and to write others at their positions would make two branches (W4). Then it goes on in the next
 * generation. The generation is kept by the owner, in the same transaction as what is applied.
 */
import type { Random } from '../system.ts'
import type { ActorId, DeviceId, FeedId } from '../types.ts'
import { feedDevice, feedGeneration, feedId } from '../types.ts'
import { createActor } from './actors.ts'
import type { Entry, FeedStore } from './interface.ts'

/** The feed of this device in this process run. */
export class OwnFeed {
  readonly #device: DeviceId
  readonly #random: Random
  /** Lengths of this device's feeds at the start: what lies beyond came from peers. */
  readonly #lengths = new Map<FeedId, number>()
  #feed: FeedId
  #actor: ActorId
  /** Whether the actor stands in the log, as it must before it writes. */
  isAnnounced = false

  /** `feed`: the one to write, unless the store holds a later generation. */
  constructor(options: {
    readonly device: DeviceId
    readonly feed: FeedId
    readonly feeds: FeedStore
    readonly random: Random
  }) {
    this.#device = options.device
    this.#random = options.random
    this.#feed = options.feed
    for (const [feed, { length }] of options.feeds.frontier()) {
      if (feedDevice(feed) !== this.#device) continue
      this.#lengths.set(feed, length)
      if (feedGeneration(feed) > feedGeneration(this.#feed)) this.#feed = feed
    }
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

  /** Goes on in this generation, if it is a later one; with another actor then. */
  atLeast(generation: number): void {
    if (generation <= this.generation) return
    this.#feed = feedId(this.#device, generation)
    this.#actor = createActor(this.#feed, this.#random)
    this.isAnnounced = false
  }

  /**
   * Entries of this feed came from elsewhere: nothing more is written to it. Returns whether it was
   * the one in use.
   */
  retire(feed: FeedId): boolean {
    if (feedGeneration(feed) < this.generation) return false
    this.atLeast(feedGeneration(feed) + 1)
    return true
  }

  /** Whether an entry was here when this device started, or was written since. */
  hasWritten({ feed, seq }: Entry): boolean {
    return feed === this.#feed || seq < (this.#lengths.get(feed) ?? 0)
  }
}
