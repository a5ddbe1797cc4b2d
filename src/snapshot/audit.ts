/**
 * Proving a snapshot: once all entries that it stands for are here, they are folded anew (members,
 * actors, hashes of changes; not the tree itself) and the outcome is compared with what the
 * snapshot said. A change is named by its hash and names those before it, so equal newest changes
 * mean equal shards.
 */
import { decodeChange } from '../crdt/change.ts'
import { hasCode } from '../errors.ts'
import { EntryQueue } from '../log/entry-queue.ts'
import type { Entry, FeedStore, LogKeys } from '../log/interface.ts'
import { decodeFeedProgress, decodeMemberState } from '../log/member-rows.ts'
import { MemberTable } from '../log/membership.ts'
import type { Clock } from '../system.ts'
import type { FeedHead, FeedId, VolumeId } from '../types.ts'
import { actorLine, digestOf, type Unproved } from './state.ts'

/** See the head of this file. */
export class Audit {
  readonly #clock: Clock
  readonly #unproved: Unproved
  readonly #queue: EntryQueue
  readonly #members: MemberTable
  readonly #applied = new Map<FeedId, FeedHead>()
  readonly #heads = new Map<number, Set<string>>()
  readonly #actors = new Map<string, string>()

  constructor(options: {
    readonly volume: VolumeId
    readonly keys: LogKeys
    readonly feeds: FeedStore
    readonly clock: Clock
    readonly unproved: Unproved
  }) {
    const { volume, keys, feeds, unproved } = options
    this.#clock = options.clock
    this.#unproved = unproved
    this.#members = new MemberTable(volume)
    this.#queue = new EntryQueue({
      volume,
      keys,
      feeds: upTo(feeds, unproved),
      // What the snapshot stands for was applied, by revoked devices too.
      isAllCounted: true,
      // It was told when the entry arrived, or will be.
      onProblem: () => undefined,
      // Where that is not so the digests differ, as with changes that devices refuse.
      tree: { isComplete: () => true },
    })
  }

  /**
   * Folds entries for at most `sliceMs`.
   * @throws {WormholeError} `FEED_CORRUPT`.
   */
  step(sliceMs: number): 'more' | 'right' | 'wrong' {
    const startMs = this.#clock.monotonicMs()
    while (this.#clock.monotonicMs() - startMs < sliceMs) {
      const next = this.#queue.next(this.#members, this.#applied)
      if (!next) return this.#isRight() ? 'right' : 'wrong'
      if (next.type === 'entry') this.#fold(next.entry)
      else this.#members.skip(next.frame, next.frontier)
      const { feed, seq, hash } = next.type === 'entry' ? next.entry : next.frame
      this.#applied.set(feed, { length: seq + 1, hash })
    }
    return 'more'
  }

  #fold(entry: Entry): void {
    const { verdict, actors } = this.#members.fold(entry)
    for (const { actor, device, deviceName } of actors) {
      if (!this.#actors.has(actor)) this.#actors.set(actor, actorLine(actor, device, deviceName))
    }
    if (verdict.state !== 'valid') return
    const changes = entry.tree?.changes ?? []
    try {
      for (const { change } of changes) decodeChange(change)
    } catch (error) {
      if (hasCode(error, 'ENTRY_INVALID')) return
      throw error
    }
    for (const { shard, change } of changes) this.#follow(shard, change)
  }

  /** Whether the change is one that devices refuse is not asked: then the tree is made anew. */
  #follow(shard: number, bytes: Uint8Array): void {
    const heads = this.#heads.get(shard) ?? new Set()
    this.#heads.set(shard, heads)
    const { deps, hash } = decodeChange(bytes)
    for (const dep of deps) heads.delete(dep)
    heads.add(hash)
  }

  #isRight(): boolean {
    for (const [feed, head] of this.#unproved.frontier) {
      if (this.#applied.get(feed)?.hash !== head.hash) return false
    }
    const rows = this.#members.takeRows()
    const row = rows.get('log/members')
    if (row === undefined) return false
    const { state, feeds } = decodeMemberState(row)
    const progress = new Map(
      feeds.map((feed) => {
        const bytes = rows.get(`log/feed/${feed}`) as Uint8Array
        return [feed, decodeFeedProgress(bytes)] as const
      }),
    )
    const heads = new Map([...this.#heads].map(([shard, found]) => [shard, [...found]] as const))
    const tree = { heads, actors: [...this.#actors.values()] }
    return digestOf({ members: state, progress }, tree) === this.#unproved.digest
  }
}

/** The entries of a store that a snapshot stands for. */
function upTo(feeds: FeedStore, { frontier }: Unproved): FeedStore {
  return {
    frontier: () => frontier,
    head: (feed) => frontier.get(feed),
    locate: (tip) => feeds.locate(tip),
    branches: (feed) => feeds.branches(feed).filter((name) => frontier.has(name)),
    origin: (feed) => feeds.origin(feed),
    gaps: (feed) => feeds.gaps(feed),
    isWrittenHere: (feed, seq) => feeds.isWrittenHere(feed, seq),
    isWritable: (feed) => feeds.isWritable(feed),
    append: (frames, options) => feeds.append(frames, options),
    read: (feed, fromSeq, bytesMax) => {
      const length = frontier.get(feed)?.length ?? 0
      return feeds.read(feed, fromSeq, bytesMax).filter(({ seq }) => seq < length)
    },
    setAside: () => undefined,
    close: () => Promise.resolve(),
  }
}
