/**
 * One device of a volume in this thread, on the real disk: journal, overlay, publisher, log, tree
 * and index are those of the daemon; only its threads and its kernel are missing.
 */
import { openLmdbRowStore } from '../../../src/crdt/lmdb.ts'
import { Overlay } from '../../../src/crdt/overlay.ts'
import type { RowStore } from '../../../src/crdt/rows.ts'
import { TreeWriter } from '../../../src/crdt/writer.ts'
import { strategyOf } from '../../../src/daemon/strategy.ts'
import { volumePaths } from '../../../src/daemon/threads.ts'
import { systemDisk } from '../../../src/disk.ts'
import { createActor } from '../../../src/log/actors.ts'
import { DiskFeedStore } from '../../../src/log/feeds.ts'
import type { EntryFrame } from '../../../src/log/interface.ts'
import { DiskJournal } from '../../../src/log/journal.ts'
import { KeyRing } from '../../../src/log/key-ring.ts'
import type { Identity, VolumeSecrets } from '../../../src/log/keys.ts'
import { HybridClock, systemClock, systemRandom } from '../../../src/system.ts'
import {
  feedId,
  nameFromText,
  type ChunkAddress,
  type FeedId,
  type InodeId,
  type VolumeId,
} from '../../../src/types.ts'
import { FileJournal } from '../../../src/vfs/file-journal.ts'
import { Pace } from '../../../src/vfs/pace.ts'
import { Publisher } from '../../../src/vfs/publisher.ts'
import { Volume } from '../../../src/volume.ts'

/** Names of 25 bytes, as README.md of the tree counts a create. */
export function nameOf(index: number): string {
  return `document-number-${String(index).padStart(5, '0')}.txt`
}

/** An address that nothing compresses; nothing is stored under it. */
export function randomAddress(): ChunkAddress {
  return Buffer.from(systemRandom.bytes(32)).toString('hex') as ChunkAddress
}

/** Opens the index of a volume twice: as its writer, and as the overlay's reader. */
export function openRows(
  directory: string,
  key: Uint8Array,
): { writer: RowStore; reader: RowStore } {
  const options = { directory, key, random: systemRandom }
  return {
    writer: openLmdbRowStore({ ...options, isReadOnly: false }),
    reader: openLmdbRowStore({ ...options, isReadOnly: true }),
  }
}

/** An overlay on a reader of the index. */
export function openOverlay(rows: RowStore, hlc: HybridClock): Overlay {
  return new Overlay({
    rows,
    random: systemRandom,
    tick: () => hlc.tick(),
    nowNs: () => systemClock.nowNs(),
    strategyOf,
  })
}

/** What a device is opened on. */
export interface EngineDeviceOptions {
  /** The volume's directory, laid out as in a home. */
  readonly directory: string
  readonly volume: VolumeId
  readonly secrets: VolumeSecrets
  readonly identity: Identity
  readonly name: string
  /** Entries that it has to begin with, when its log has none yet. */
  readonly first?: readonly EntryFrame[]
}

/** See the head of this file. */
export class EngineDevice {
  readonly volume: Volume
  readonly overlay: Overlay
  readonly feed: FeedId
  readonly #journal: DiskJournal
  readonly #publisher: Publisher
  readonly #rows: { writer: RowStore; reader: RowStore }

  private constructor(parts: {
    volume: Volume
    overlay: Overlay
    feed: FeedId
    journal: DiskJournal
    rows: { writer: RowStore; reader: RowStore }
  }) {
    const { volume, overlay, journal } = parts
    this.volume = volume
    this.overlay = overlay
    this.feed = parts.feed
    this.#journal = journal
    this.#rows = parts.rows
    const onProblem = (problem: { code: string; message: string }): void => {
      throw new Error(`${problem.code}: ${problem.message}`)
    }
    const onError = (error: unknown): void => {
      throw error
    }
    this.#publisher = new Publisher({
      overlay,
      journal,
      files: new FileJournal({
        journal,
        syncContents: () => Promise.resolve(),
        clock: systemClock,
        onError,
      }),
      committer: volume,
      clock: systemClock,
      pace: new Pace(systemClock, () => 0),
      coveredTo: volume.coveredTo,
      onCommitted: () => undefined,
      onCovered: () => {},
      onProblem,
    })
  }

  static async open(options: EngineDeviceOptions): Promise<EngineDevice> {
    const { directory, identity, secrets, first = [] } = options
    const paths = volumePaths(directory)
    const hlc = new HybridClock(systemClock)
    const feed = feedId(identity.device, 0)
    const self = {
      actor: createActor(feed, systemRandom),
      device: identity.device,
      deviceName: options.name,
    }
    const ports = { disk: systemDisk, random: systemRandom }
    const feeds = DiskFeedStore.open({ ...ports, directory: paths.log, volume: options.volume })
    if (feeds.frontier().size === 0 && first.length > 0) await feeds.append(first)
    const rows = openRows(paths.index, identity.localKey(`index/${options.volume}`))
    const overlay = openOverlay(rows.reader, hlc)
    const volume = await Volume.open({
      id: options.volume,
      device: identity.device,
      deviceName: options.name,
      feed,
      signing: identity.signing,
      keys: new KeyRing({ secrets, box: identity.box, save: () => {} }),
      feeds,
      tree: new TreeWriter({ rows: rows.writer, self, strategyOf }),
      clock: systemClock,
      hlc,
      random: systemRandom,
      events: {
        onHead: () => {},
        onDelta: (_, coveredTo) => overlay.cover(coveredTo),
        onMembers: () => {},
        onProblem: ({ code, message }) => {
          throw new Error(`${code}: ${message}`)
        },
        submitPending: () => Promise.resolve(),
      },
    })
    overlay.cover(volume.coveredTo)
    const journal = DiskJournal.open({
      ...ports,
      directory: paths.journal,
      key: identity.localKey(`journal/${options.volume}`),
      numberMin: volume.coveredTo + 1,
    })
    return new EngineDevice({ volume, overlay, feed, journal, rows })
  }

  /** Makes a directory; returns its id. Not yet published. */
  makeDirectory(parent: InodeId, name: string): InodeId {
    const options = { mode: 0o755, uid: 0, gid: 0 }
    const { edit, id } = this.overlay.mkdir(parent, nameFromText(name), options)
    this.#publisher.commit(edit)
    return id
  }

  /** Makes a file of one chunk; not yet published. */
  makeFile(parent: InodeId, name: string, address: ChunkAddress, sizeBytes: number): void {
    const { edit } = this.overlay.createFile(parent, nameFromText(name), {
      mode: 0o644,
      uid: 0,
      gid: 0,
      content: { ref: { type: 'chunk', address }, sizeBytes },
    })
    this.#publisher.commit(edit)
  }

  /** Gives a directory a policy, in canonical form; not yet published. */
  setPolicy(directory: InodeId, policy: string): void {
    this.#publisher.commit(this.overlay.setPolicy(directory, policy))
  }

  /** Everything made so far is journalled durably, in the log and in the index. */
  publish(): Promise<void> {
    return this.#publisher.publish()
  }

  async close(): Promise<void> {
    await this.#publisher.trim()
    this.#publisher.close()
    await this.#journal.close()
    await this.volume.close()
    await this.#rows.reader.close()
    await this.#rows.writer.close()
  }
}
