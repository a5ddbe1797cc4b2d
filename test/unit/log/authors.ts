/** Authors of entries for the tests of the log: fixed keys, real seals and signatures. */
import { sealEntry } from '../../../src/log/entry.ts'
import type { ControlOp, EntryBody, EntryFrame, TreePart } from '../../../src/log/interface.ts'
import { identityFromSeed, VolumeSecrets, type Identity } from '../../../src/log/keys.ts'
import { signingKeys } from '../../../src/seal.ts'
import type { FeedHead, FeedId, Frontier, VolumeId } from '../../../src/types.ts'
import { feedId } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

/** Wall time of all entries unless a test says otherwise, as a hybrid stamp. */
export const NOW_MS = Date.UTC(2026, 10, 20, 12)

/** One device that writes entries; `volume` is undefined until the genesis is written. */
export class Author {
  readonly identity: Identity
  readonly feed: FeedId
  readonly frames: EntryFrame[] = []
  head: FeedHead | undefined
  /** What it has applied, own feed left out. */
  frontier: Frontier = new Map()
  #previousFrontier: Frontier = new Map()
  readonly #world: LogWorld

  constructor(world: LogWorld, seed: number, generation = 0) {
    this.#world = world
    this.identity = identityFromSeed(Buffer.alloc(32, seed))
    this.feed = feedId(this.identity.device, generation)
  }

  /** The same device on a branch that shares the first entries. */
  twin(sharedLength: number): Author {
    const twin = new Author(this.#world, 0)
    Object.assign(twin, { identity: this.identity, feed: this.feed, frontier: this.frontier })
    twin.frames.push(...this.frames.slice(0, sharedLength))
    const last = twin.frames.at(-1)
    twin.head = last && { length: sharedLength, hash: last.hash }
    twin.#previousFrontier = this.#previousFrontier
    return twin
  }

  /** Takes note of what another author has written so far. */
  see(...others: Author[]): this {
    const frontier = new Map(this.frontier)
    for (const other of others) {
      const heads = other.head ? [...other.frontier, [other.feed, other.head] as const] : []
      for (const [feed, head] of heads) {
        const isNewer = head.length > (frontier.get(feed)?.length ?? 0)
        if (feed !== this.feed && isNewer) frontier.set(feed, head)
      }
    }
    this.frontier = frontier
    return this
  }

  /** Writes the next entry. */
  write(body: Partial<EntryBody> = {}): EntryFrame {
    const { secrets, random } = this.#world
    const frontier = body.frontier ?? this.frontier
    const frame = sealEntry(
      { control: [], tree: undefined, hlc: NOW_MS * 1000, ...body, frontier },
      {
        volume: this.#world.isGenesisWritten ? this.#world.volume : undefined,
        feed: this.feed,
        head: this.head,
        previousFrontier: this.#previousFrontier,
      },
      { keys: secrets.logKeys(), signing: this.identity.signing, random },
    )
    this.#previousFrontier = frontier
    this.head = { length: frame.seq + 1, hash: frame.hash }
    this.frames.push(frame)
    return frame
  }
}

/** A volume's secrets, its creator, and more authors on demand. All of it fixed by the seed. */
export class LogWorld {
  readonly random: SeededRandom
  readonly secrets: VolumeSecrets
  readonly recoverySeed = Buffer.alloc(32, 0xee)
  readonly creator: Author
  readonly genesis: EntryFrame
  readonly volume: VolumeId
  readonly isGenesisWritten: boolean = false

  constructor(seed = 1) {
    this.random = new SeededRandom(seed)
    this.secrets = VolumeSecrets.create(this.random)
    this.volume = '' as VolumeId
    this.creator = new Author(this, 1)
    this.genesis = this.creator.write({ control: [genesisOp(this)] })
    this.volume = this.genesis.hash as VolumeId
    this.isGenesisWritten = true
  }

  author(seed: number, generation = 0): Author {
    return new Author(this, seed, generation)
  }
}

function genesisOp(world: LogWorld): ControlOp {
  const { device, box } = world.creator.identity
  return {
    type: 'genesis',
    name: 'photos',
    createdMs: NOW_MS,
    device,
    deviceName: 'alice',
    boxKey: box.publicKey,
    recoveryKey: signingKeys(world.recoverySeed).publicKey,
    salt: Buffer.alloc(16, 7),
  }
}

/** A tree part with one change of so many bytes that do not compress. */
export function treeOf(world: LogWorld, bytes: number, coveredTo = 0): TreePart {
  return { epoch: 0, coveredTo, changes: [{ shard: 5, change: world.random.bytes(bytes) }] }
}
