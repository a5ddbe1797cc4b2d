/**
 * A seeded user of a simulated device: looks around, remembers what was acknowledged, and knows
 * what its own operations replace. What it does is in `file-actions.ts` and `name-actions.ts`.
 *
 * What is replaced is always looked at in the same instant as the operation, so that nothing can
 * arrive in between: whatever an operation replaces, its user has seen.
 */
import { hasCode, WormholeError } from '../../src/errors.ts'
import type { EntryReply } from '../../src/vfs/interface.ts'
import type { SeededRandom } from '../helpers/sim-clock.ts'
import type { InodeId } from '../../src/types.ts'
import { CONTEXT, name as nameOf, ROOT } from '../helpers/vfs-user.ts'
import type { SimDevice } from './device.ts'
import { Failure } from './failure.ts'
import type { Deed, Ledger } from './ledger.ts'
import type { Trace } from './trace.ts'

export const S_IFMT = 0o170000
export const S_IFREG = 0o100000
export const S_IFDIR = 0o040000
const S_IFLNK = 0o120000
/** `O_RDWR` and `O_TRUNC`. */
export const RDWR = 2
export const TRUNC = 0o1000
const READ_BYTES_MAX = 1 << 26
/** What other devices wrote that a user remembers to have seen. */
const RECENT_MAX = 6

/** Names are few, so that users meet. */
export const NAMES = ['a', 'b', 'c', 'd', 'e'] as const

/** What a full or failing disk and a dying process may answer. */
const TROUBLE = ['DISK_FULL', 'IO_ERROR', 'WRITER_BROKEN', 'VOLUME_CLOSED'] as const
/** What the state of the tree, or missing peers, may answer. */
const ANSWERS = [
  'NOT_EMPTY',
  'NOT_FOUND',
  'BAD_ARGUMENT',
  'ALREADY_EXISTS',
  'IS_DIRECTORY',
  'NOT_A_DIRECTORY',
  'NOT_PERMITTED',
  'CHUNK_UNAVAILABLE',
  'LIMIT_EXCEEDED',
] as const

/** A name in a directory that the user has looked at. */
export interface Seen {
  readonly parent: number
  readonly entry: string
  readonly nodeId: number
  readonly mode: number
}

/** A file that the user keeps open. */
export interface Held {
  readonly handle: number
  readonly nodeId: number
  readonly line: number
  readonly deeds: Deed[]
}

/** A file that was created and removed at once: it should never be published. */
export interface Temporary {
  readonly name: string
  readonly atMs: number
  /** The device died just then: it may have been published. */
  isUnsure: boolean
}

/** The user cannot do this now. */
export class Skip extends Error {}

/** See the head of this file. */
export class SimUser {
  readonly device: SimDevice
  readonly ledger: Ledger
  readonly random: SeededRandom
  readonly trace: Trace
  readonly temporaries: Temporary[] = []
  readonly #mine: Deed[] = []
  held: Held[] = []
  #recent: Deed[] = []
  /** Where the directory chosen last is. */
  path: string[] = []

  constructor(parts: { device: SimDevice; ledger: Ledger; random: SeededRandom; trace: Trace }) {
    this.device = parts.device
    this.ledger = parts.ledger
    this.random = parts.random
    this.trace = parts.trace
  }

  below(bound: number): number {
    return this.random.below(bound)
  }

  pick<T>(list: readonly T[]): T | undefined {
    return list[this.below(Math.max(1, list.length))]
  }

  say(what: string): void {
    this.trace.add(`${this.device.name} ${what}`)
  }

  /** Runs an operation; what faults or the state of the tree explain is no failure. */
  async act(name: string, run: (user: SimUser) => Promise<void> | void): Promise<void> {
    try {
      await run(this)
    } catch (error) {
      for (const deed of this.#mine) if (deed.state === 'open') this.#doubt(deed)
      if (error instanceof Skip) return
      if (!(error instanceof WormholeError)) throw error
      this.say(`${name} fails: ${error.code} ${error.message.slice(0, 120)}`)
      const isTrouble = TROUBLE.some((code) => hasCode(error, code))
      const isOut = hasCode(error, 'REVOKED') || hasCode(error, 'READ_ONLY')
      // Own entries wait for others that rot or a lost index took, which was told.
      const isBehind = hasCode(error, 'FEED_CORRUPT') && this.device.hasLost
      const isAnswer =
        ANSWERS.some((code) => hasCode(error, code)) ||
        (isOut && this.device.wasRevoked) ||
        isBehind
      if (!isTrouble && !isAnswer) throw new Failure('answer', `${name}: ${error.message}`)
      if (isTrouble && this.device.isAlive) this.device.hasTrouble = true
    }
  }

  /** Not acknowledged, unless an open handle will still acknowledge it. */
  #doubt(deed: Deed): void {
    if (!this.held.some(({ deeds }) => deeds.includes(deed))) deed.state = 'moot'
  }

  // Looking around

  /** What a directory shows. Policy files are not for ordinary operations. */
  async entries(parent: number): Promise<Seen[]> {
    const found: Seen[] = []
    for (const entry of await this.device.names(parent)) {
      const reply = entry.startsWith('.wormhole') ? undefined : this.device.lookup(parent, entry)
      if (reply) found.push({ parent, entry, nodeId: reply.nodeId, mode: reply.attr.mode })
    }
    return found
  }

  /** A random directory. */
  async directory(): Promise<number> {
    let nodeId = ROOT
    this.path = []
    while (this.below(2) === 0) {
      const next = this.pick((await this.entries(nodeId)).filter(isDirectory))
      if (!next) break
      nodeId = next.nodeId
      this.path.push(next.entry)
    }
    return nodeId
  }

  /** A random regular file. @throws {Skip} when its directory has none. */
  async file(): Promise<Seen> {
    const entries = await this.entries(await this.directory())
    const file = this.pick(entries.filter(({ mode }) => (mode & S_IFMT) === S_IFREG))
    if (!file) throw new Skip()
    return file
  }

  name(): string {
    return this.pick(NAMES) as string
  }

  /** What a name is now, if it may be replaced by a file. @throws {Skip} for a directory. */
  target(parent: number, entry: string): EntryReply | undefined {
    const found = this.device.lookup(parent, entry)
    if (found && (found.attr.mode & S_IFMT) === S_IFDIR) throw new Skip()
    return found
  }

  /** The inode that the tree has under a name in this instant. */
  inodeAt(path: readonly string[]): InodeId | undefined {
    const { overlay } = this.device.daemon
    let id: InodeId | undefined = overlay.root
    for (const part of path) id = id && overlay.lookup(id, nameOf(part))?.id
    return id
  }

  // Contents

  /** The bytes behind a handle, in this instant. Undefined when they are not on this device. */
  #bytesNow(handle: number): Buffer | undefined {
    const pieces = this.device.fs.read(CONTEXT, handle, 0, READ_BYTES_MAX)
    if (Array.isArray(pieces)) return Buffer.concat(pieces)
    void (pieces as Promise<unknown>).catch(() => undefined)
    return undefined
  }

  /** What an open file shows in this instant. @throws {Skip} when it is not on this device. */
  shownBy(handle: number, where: string): { deeds: Deed[]; bytes: Buffer } {
    const bytes = this.#bytesNow(handle)
    if (!bytes) throw new Skip()
    const deeds = this.ledger.deedsIn(bytes, `${this.device.name}:${where}`)
    this.#remember(deeds)
    return { deeds, bytes }
  }

  /** What a file shows in this instant; nothing for what is no file. @throws {Skip} as above. */
  shownAt(found: EntryReply, where: string): Deed[] {
    if ((found.attr.mode & S_IFMT) !== S_IFREG) return []
    const handle = this.device.open(found.nodeId, 0)
    try {
      return this.shownBy(handle, where).deeds
    } finally {
      this.device.close(handle)
    }
  }

  /** Has a file's bytes brought here. Time passes. */
  async bring(nodeId: number): Promise<void> {
    const handle = this.device.open(nodeId, 0)
    const { device } = this
    try {
      await device.settle(Promise.resolve(device.fs.read(CONTEXT, handle, 0, READ_BYTES_MAX)))
    } finally {
      if (device.isAlive) device.close(handle)
    }
  }

  #remember(deeds: readonly Deed[]): void {
    const foreign = deeds.filter(({ device }) => device !== this.device.name)
    this.#recent = [...this.#recent, ...foreign].slice(-RECENT_MAX)
  }

  // Deeds

  /** The bytes of a new write, noted. */
  noteWrite(about: {
    replaced: readonly Deed[]
    line: number
    offset: number
    sizeBytes: number
  }): Deed {
    const atMs = this.device.clock.monotonicMs()
    const causes = [...this.#recent]
    const deed = this.ledger.write({ ...about, device: this.device.name, atMs, causes })
    this.#mine.push(deed)
    return deed
  }

  /** Something that is seen now is about to go. */
  noteRemoval(replaced: readonly Deed[]): void {
    const atMs = this.device.clock.monotonicMs()
    this.#mine.push(this.ledger.remove({ device: this.device.name, replaced, atMs }))
  }

  /** Writes what was noted. */
  async write(handle: number, deed: Deed): Promise<void> {
    await this.device.write(handle, deed.offset, this.ledger.bytesOf(deed))
  }

  fsync(handle: number): Promise<void> {
    return this.device.settle(Promise.resolve(this.device.fs.fsync(handle, false)), 'fsync')
  }

  /** Sometimes syncs; closes. */
  async finish(handle: number, deeds: readonly Deed[]): Promise<void> {
    if (this.below(3) === 0) {
      await this.fsync(handle)
      for (const deed of deeds) if (deed.state !== 'moot') deed.state = 'safe'
    }
    this.close(handle, deeds)
  }

  close(handle: number, deeds: readonly Deed[]): void {
    this.device.close(handle)
    for (const deed of deeds) if (deed.state === 'open') deed.state = 'closed'
  }

  release(held: Held): void {
    this.held = this.held.filter((other) => other !== held)
    this.close(held.handle, held.deeds)
  }

  /** Closes what is held of a node: it is about to lose its name. */
  letGo(nodeId: number): void {
    for (const held of this.held.filter((other) => other.nodeId === nodeId)) this.release(held)
  }

  /** Publishes everything; what was closed or held survives everything then. */
  async drain(): Promise<void> {
    const owed = this.#mine.filter((deed) => deed.state !== 'moot')
    await this.device.settle(this.device.daemon.vfs.drain(), 'publishing')
    for (const deed of owed) if (deed.state !== 'moot') deed.state = 'safe'
  }

  /** Names and closed files are durable now. */
  async sync(): Promise<void> {
    const owed = this.#mine.filter((deed) => deed.state === 'closed')
    await this.device.settle(Promise.resolve(this.device.fs.syncfs()), 'syncfs')
    for (const deed of owed) if (deed.state === 'closed') deed.state = 'safe'
  }

  /** Closes every handle; on a broken device that acknowledges nothing. */
  closeAll(): void {
    for (const held of [...this.held]) {
      try {
        this.release(held)
      } catch (error) {
        if (!TROUBLE.some((code) => hasCode(error, code))) throw error
      }
    }
  }

  /** Nobody takes what it did any more. */
  disown(): void {
    for (const deed of this.#mine) deed.state = 'moot'
  }

  /** What is not published never will be. */
  forgo(): void {
    for (const deed of this.#mine) if (deed.state !== 'safe') deed.state = 'moot'
  }

  /** What a copy of the disk holds now: all that would survive the daemon. */
  kept(): ReadonlySet<Deed> {
    const { clock, hasTrouble } = this.device
    const oldMs = hasTrouble ? -Infinity : clock.monotonicMs() - 100
    return new Set(this.#mine.filter((deed) => deed.state !== 'open' || deed.atMs < oldMs))
  }

  /** The home is that of an earlier time: nothing done since, or not `kept` then, is owed. */
  restored(backupMs: number, kept?: ReadonlySet<Deed>): void {
    for (const deed of this.#mine) {
      if (deed.atMs >= backupMs || kept?.has(deed) === false) deed.state = 'moot'
    }
    this.#recent = []
    this.halved(backupMs)
  }

  /** The daemon has died, or the machine. What was not promised to survive it is not owed. */
  died(isPowerCut: boolean): void {
    this.held = []
    const { diedMs, hasTrouble } = this.device
    for (const deed of this.#mine) {
      const isOld = diedMs - deed.atMs > 100 && !hasTrouble
      const isKept = deed.state === 'closed' || isOld
      if (deed.state !== 'safe' && (isPowerCut || !isKept)) deed.state = 'moot'
    }
    this.halved(diedMs)
    if (hasTrouble) for (const temporary of this.temporaries) temporary.isUnsure = true
  }

  /**
   * It goes on from what was on its disk then: of what was done just before that may be a part, the
   * creation of a temporary file without its removal.
   */
  halved(thenMs: number): void {
    for (const temporary of this.temporaries) {
      const ageMs = thenMs - temporary.atMs
      if (ageMs >= 0 && ageMs < 1000) temporary.isUnsure = true
    }
  }
}

/** Whether an entry is a directory. */
export function isDirectory({ mode }: { readonly mode: number }): boolean {
  return (mode & S_IFMT) === S_IFDIR
}

/** Whether a mode is that of a symbolic link. */
export function isSymlink(mode: number): boolean {
  return (mode & S_IFMT) === S_IFLNK
}
