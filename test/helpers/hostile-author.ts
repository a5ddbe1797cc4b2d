/** A member that writes whatever it likes, with the right signature and seals. */
import { encodeChange, type Change } from '../../src/crdt/change.ts'
import { inodeShard } from '../../src/crdt/ids.ts'
import type { Edit } from '../../src/crdt/interface.ts'
import { createActor } from '../../src/log/actors.ts'
import { sealEntry } from '../../src/log/entry.ts'
import type { EntryBody, EntryFrame, TreePart } from '../../src/log/interface.ts'
import { identityFromSeed, type Identity } from '../../src/log/keys.ts'
import { hash } from '../../src/seal.ts'
import type { Random } from '../../src/system.ts'
import { feedId, type ActorId, type FeedHead, type FeedId, type Frontier } from '../../src/types.ts'
import type { Volume } from '../../src/volume.ts'
import { seededRandom, type TestVolume } from './volume-device.ts'

/** A device of the volume: anything that has one. */
interface Victim {
  readonly volume: Volume
}

/** Writes entries outside of any volume; `give` brings them to a device. */
export class HostileAuthor {
  readonly identity: Identity
  readonly feed: FeedId
  readonly actor: ActorId
  readonly frames: EntryFrame[] = []
  /** What its next entry says it has applied. */
  frontier: Frontier = new Map()
  #previousFrontier: Frontier = new Map()
  #head: FeedHead | undefined
  readonly #shared: TestVolume
  readonly #random: Random

  constructor(shared: TestVolume, name: string, seed: string, generation = 0) {
    this.#shared = shared
    this.#random = seededRandom(`${seed}/${name}/hostile/${generation}`)
    this.identity = identityFromSeed(hash(Buffer.from(`${seed}/${name}`)))
    this.feed = feedId(this.identity.device, generation)
    this.actor = createActor(this.feed, this.#random)
  }

  /** Takes what a device has applied as seen. */
  see(device: Victim): this {
    const frontier = new Map(device.volume.appliedFrontier())
    frontier.delete(this.feed)
    this.frontier = frontier
    return this
  }

  /** Writes the next entry; with `announce` it says first that it writes as that actor. */
  write(body: Partial<EntryBody> & { readonly announce?: ActorId } = {}): EntryFrame {
    const { announce, ...rest } = body
    const frontier = body.frontier ?? this.frontier
    const actor = announce && ({ type: 'actor', actor: announce, deviceName: 'mallory' } as const)
    const control = [...(actor ? [actor] : []), ...(body.control ?? [])]
    const hlc = this.#shared.clock.nowMs() * 1000
    const frame = sealEntry(
      { tree: undefined, hlc, ...rest, frontier, control },
      {
        volume: this.#shared.id,
        feed: this.feed,
        head: this.#head,
        previousFrontier: this.#previousFrontier,
      },
      {
        keys: this.#shared.secrets.logKeys(),
        signing: this.identity.signing,
        random: this.#random,
      },
    )
    this.#previousFrontier = frontier
    this.#head = { length: frame.seq + 1, hash: frame.hash }
    this.frames.push(frame)
    return frame
  }

  /** Forgets the newest entry: the next one is another branch. */
  fork(): this {
    this.frames.pop()
    const last = this.frames.at(-1)
    this.#head = last && { length: last.seq + 1, hash: last.hash }
    return this
  }

  /** Brings frames (default: all) to a device and lets what can be applied be applied. */
  async give(device: Victim, frames: readonly EntryFrame[] = this.frames): Promise<void> {
    await device.volume.receive(
      this.feed,
      frames.map(({ bytes }) => bytes),
    )
    await device.volume.settled()
  }
}

/** An edit as a tree part, as if nobody had written its shards before; each change as altered. */
export function treePartOf(
  edit: Edit,
  actor: ActorId,
  alter: (change: Change) => Change = (change) => change,
): TreePart {
  const byShard = new Map<number, Edit['puts'][number][]>()
  for (const put of edit.puts) {
    const puts = byShard.get(inodeShard(put.inode)) ?? []
    byShard.set(inodeShard(put.inode), [...puts, put])
  }
  const changes = [...byShard].map(([shard, puts]) => {
    const ops = puts
      .map(({ register, inode, value }) => ({ key: register + inode, value, predecessors: [] }))
      .sort((a, b) => (a.key < b.key ? -1 : 1))
    const change = alter({ actor, seq: 1, startOp: 1, deps: [], ops })
    return { shard, change: encodeChange(change).bytes }
  })
  return { epoch: 0, coveredTo: 0, changes }
}
