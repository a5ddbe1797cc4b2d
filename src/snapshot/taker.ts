/**
 * Taking a snapshot on a device that has nothing yet, and what follows: the parts are kept until
 * the log behind them is here and has proved them, so that the index can be made anew meanwhile.
 *
 * Order: all parts on disk and checked, tree loaded, newest entries in the feeds, then members and
 * frontier. A crash in between leaves an index that applied nothing and knows of nobody, so that
 * nothing is written upon it: it is loaded again.
 */
import { importTree } from '../crdt/snapshot.ts'
import type { RowStore } from '../crdt/rows.ts'
import type { TreeWriter } from '../crdt/writer.ts'
import { errorToData, WormholeError } from '../errors.ts'
import { verifyFrame } from '../log/entry.ts'
import type { EntryFrame, FeedStore, LogKeys } from '../log/interface.ts'
import { MemberTable } from '../log/membership.ts'
import type { Clock, Disk } from '../system.ts'
import type { DeviceId } from '../types.ts'
import type { Volume } from '../volume.ts'
import { Audit } from './audit.ts'
import { decodeHeads, decodeSnapshotLog, type SnapshotLog } from './log-part.ts'
import { Shelf } from './shelf.ts'
import {
  digestOf,
  frontierRow,
  logStateRows,
  PROVED_ROW,
  readTreeState,
  readUnproved,
  unprovedRow,
} from './state.ts'
import { PartSeal, partHash, verifyStatement } from './statement.ts'
import type { PartKind, SnapshotPart, SnapshotStatement } from './statement.ts'

/** Longest step of an audit. */
const SLICE_MS = 8

/** What a taker needs. */
export interface SnapshotTakerOptions {
  readonly device: DeviceId
  readonly keys: LogKeys
  readonly feeds: FeedStore
  readonly rows: RowStore
  readonly volume: Volume
  /** To read rows of; only the volume writes it. */
  readonly tree: TreeWriter
  readonly disk: Disk
  readonly clock: Clock
  /** Private directory of what is taken; its own. */
  readonly directory: string
  onProblem(problem: { code: string; message: string }): void
}

/** See the head of this file. */
export class SnapshotTaker {
  readonly #options: SnapshotTakerOptions
  readonly #shelf: Shelf
  readonly #seal: PartSeal
  #statement: SnapshotStatement | undefined
  #auditing: Promise<void> | undefined
  #isClosed = false

  constructor(options: SnapshotTakerOptions) {
    this.#options = options
    this.#shelf = new Shelf(options.disk, options.directory)
    this.#seal = new PartSeal(options.volume.id, options.keys)
  }

  /** Whether this device has nothing of the volume's log: a snapshot would help. */
  isWanted(): boolean {
    return this.#options.feeds.frontier().size === 0 && this.#canLoad()
  }

  /** Whether the tree is empty, and can be read at all here. */
  #canLoad(): boolean {
    const { volume, keys } = this.#options
    return volume.appliedFrontier().size === 0 && keys.tree(keys.currentGeneration) !== undefined
  }

  /**
   * Begins with what a peer offers, or goes on with it; returns the parts that are not here.
   * @throws {WormholeError} `SNAPSHOT_INVALID`, `FORMAT_UNSUPPORTED`, `DISK_FULL`.
   */
  begin(statement: Uint8Array): SnapshotPart[] {
    const told = verifyStatement(statement, this.#options.volume.id)
    const before = this.#shelf.statement()
    if (!before || Buffer.compare(before, statement) !== 0) {
      this.#shelf.clear()
      this.#shelf.putStatement(statement)
    }
    this.#statement = told
    return told.parts.filter(({ hash }) => {
      const bytes = this.#shelf.part(hash)
      return bytes === undefined || partHash(bytes) !== hash
    })
  }

  /** Takes a sealed part. @throws {WormholeError} `SNAPSHOT_INVALID` when it is another one. */
  put(hash: string, bytes: Uint8Array): void {
    const isKnown = this.#statement?.parts.some((part) => part.hash === hash) ?? false
    if (!isKnown || partHash(bytes) !== hash) {
      throw new WormholeError('SNAPSHOT_INVALID', 'a part has another hash than was told')
    }
    this.#shelf.putPart(hash, bytes)
  }

  /**
   * All parts are here: the volume becomes what they say.
   * @throws {WormholeError} `SNAPSHOT_INVALID`: the volume is as before, the parts are gone.
   */
  async finish(): Promise<void> {
    const statement = this.#statement
    if (!statement) throw new WormholeError('SNAPSHOT_INVALID', 'no snapshot was begun')
    try {
      await this.#load(statement)
    } catch (error) {
      this.#shelf.clear()
      throw error
    }
  }

  /**
   * At the start, and after the index was lost: loads what was taken and is not proved, if the
   * volume has nothing. What cannot be loaded goes, and is reported.
   */
  async restore(): Promise<void> {
    const bytes = this.#canLoad() ? this.#shelf.statement() : undefined
    if (bytes === undefined) return
    try {
      if (this.begin(bytes).length === 0) await this.finish()
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      this.#shelf.clear()
      this.#tell(error.code, `the kept snapshot cannot be loaded: ${error.message}`)
    }
  }

  async #load(statement: SnapshotStatement): Promise<void> {
    const { volume, feeds, rows } = this.#options
    const { frontier, author, parts } = statement
    const log = decodeSnapshotLog(this.#only(parts, 'log'))
    this.#checkMembers(log, author)
    const heads = [...this.#heads(statement)]
    await volume.replace(async (tree) => {
      tree.load(importTree(this.#plain(statement, 'tree')), new Map())
      const digest = digestOf(log, readTreeState(rows))
      try {
        for (const frame of heads) {
          await feeds.append([frame], { isFromPeer: true, mayStartRun: true })
        }
      } catch (error) {
        await clear(tree)
        throw error
      }
      const proof = unprovedRow({ frontier, digest, author })
      return new Map([...logStateRows(log), frontierRow(frontier), proof])
    })
  }

  /** What a newcomer can check of members: that the author may write, and that itself is one. */
  #checkMembers(log: SnapshotLog, author: DeviceId): void {
    const { volume, device } = this.#options
    const rows = logStateRows(log)
    const table = MemberTable.restore(volume.id, (key) => rows.get(`m/${key}`))
    const role = table.member(author)?.role
    if (role === undefined || role === 'reader') {
      throw new WormholeError('SNAPSHOT_INVALID', 'its author may not change the volume')
    }
    if (table.member(device) === undefined) {
      throw new WormholeError('SNAPSHOT_INVALID', 'it does not know of this device')
    }
  }

  /** The newest entry of each feed: its author's signature, and the place that was told. */
  *#heads(statement: SnapshotStatement): Generator<EntryFrame> {
    const left = new Map(statement.frontier)
    for (const part of this.#plain(statement, 'heads')) {
      for (const { feed, bytes } of decodeHeads(part)) {
        const frame = verifyFrame(bytes, { volume: this.#options.volume.id, feed })
        const head = left.get(feed)
        if (head?.hash !== frame.hash || head.length !== frame.seq + 1) {
          throw new WormholeError('SNAPSHOT_INVALID', `not the newest entry of feed ${feed}`)
        }
        left.delete(feed)
        yield frame
      }
    }
    if (left.size > 0) throw new WormholeError('SNAPSHOT_INVALID', 'entries of feeds are missing')
  }

  #only(parts: readonly SnapshotPart[], kind: PartKind): Buffer {
    const found = parts.filter((part) => part.kind === kind)
    if (found.length !== 1) throw new WormholeError('SNAPSHOT_INVALID', `not one part: ${kind}`)
    return this.#open(found[0] as SnapshotPart)
  }

  *#plain({ parts }: SnapshotStatement, kind: PartKind): Generator<Buffer> {
    for (const part of parts) if (part.kind === kind) yield this.#open(part)
  }

  #open({ kind, hash }: SnapshotPart): Buffer {
    const sealed = this.#shelf.part(hash)
    if (sealed === undefined || partHash(sealed) !== hash) {
      throw new WormholeError('SNAPSHOT_INVALID', 'a part is missing or damaged')
    }
    const generation = (this.#statement as SnapshotStatement).keyGeneration
    return this.#seal.open(kind, sealed, generation)
  }

  /** To be called when entries have arrived: proves the snapshot once all older ones are here. */
  poke(): void {
    const { volume, feeds, tree } = this.#options
    if (this.#auditing || this.#isClosed) return
    const unproved = readUnproved((name) => tree.meta(name))
    if (!unproved) return
    for (const feed of unproved.frontier.keys()) if (feeds.gaps(feed).length > 0) return
    const audit = new Audit({ ...this.#options, volume: volume.id, unproved })
    this.#auditing = this.#audit(audit, unproved.author).finally(() => {
      this.#auditing = undefined
    })
  }

  /** Never rejects for an operating error: it is told, and tried again later. */
  async #audit(audit: Audit, author: DeviceId): Promise<void> {
    const { clock, volume } = this.#options
    try {
      for (;;) {
        const state = audit.step(SLICE_MS)
        if (state === 'right') await volume.replace(() => Promise.resolve(new Map([PROVED_ROW])))
        if (state === 'wrong') {
          const device = author.slice(0, 8)
          this.#tell(
            'SNAPSHOT_INVALID',
            `the snapshot by device ${device} is not what the log says: the tree is made anew`,
          )
        }
        if (state !== 'more') {
          this.#shelf.clear()
          if (state === 'wrong') await volume.replace(clear)
          return
        }
        await new Promise<void>((resolve) => void clock.setTimer(0, resolve))
        if (this.#isClosed) return
      }
    } catch (error) {
      const { code, message } = errorToData(error)
      this.#tell(code, `the snapshot cannot be checked: ${message}`)
    }
  }

  #tell(code: string, message: string): void {
    this.#options.onProblem({ code, message })
  }

  /** Resolves when no audit is running. */
  async settled(): Promise<void> {
    await this.#auditing
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#auditing
  }
}

/** Empties the tree: it is made anew from the log. */
function clear(tree: TreeWriter): Promise<Map<string, Uint8Array>> {
  tree.clear(new Map())
  return Promise.resolve(new Map())
}
