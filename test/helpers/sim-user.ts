/**
 * A seeded user of a simulated device who remembers what must not be lost.
 *
 * Every write puts a unique token into a file. A token is accounted for when some file shows it, or
 * when somebody who saw it overwrote or removed it and that is accounted for itself. What a crash
 * may take by the promises is only owed again once it was acknowledged.
 */
import { hasCode, WormholeError } from '../../src/errors.ts'
import type { SimDevice } from './sim-device.ts'
import { CONTEXT, name, ROOT } from './vfs-user.ts'

/** What a write or removal was, and what it replaced knowingly. */
export interface Deed {
  /** The token; empty for a removal. */
  readonly token: string
  readonly device: SimDevice
  readonly replaced: readonly Deed[]
  /** Who replaced it knowingly. */
  readonly replacedBy: Deed[]
  /**
   * `open`: not acknowledged; `closed`: survives the daemon; `safe`: survives everything;
   * `moot`: a crash or an error came before it was acknowledged.
   */
  state: 'open' | 'closed' | 'safe' | 'moot'
  /** When it was done: after 100 ms it survives the daemon, unless the disk is in trouble. */
  readonly atMs: number
}

interface Held {
  readonly handle: number
  readonly nodeId: number
  readonly deeds: Deed[]
}

const NAMES = ['a', 'b', 'c', 'd', 'e']
const RDWR = 2
const TRUNC = 0o1000
/** What a full or failing disk and a dying process may answer. */
const EXPECTED = ['DISK_FULL', 'IO_ERROR', 'WRITER_BROKEN', 'VOLUME_CLOSED'] as const

/** See the head of this file. */
export class SimUser {
  readonly device: SimDevice
  readonly #deeds: Map<string, Deed>
  readonly #mine: Deed[] = []
  #held: Held[] = []

  /** `deeds`: by token, shared by all users. */
  constructor(device: SimDevice, deeds: Map<string, Deed>) {
    this.device = device
    this.#deeds = deeds
  }

  #below(bound: number): number {
    return this.device.random.below(bound)
  }

  /** Names of a directory that are there, by kind. */
  async #entries(
    nodeId: number,
  ): Promise<{ entry: string; nodeId: number; isDirectory: boolean }[]> {
    const found: { entry: string; nodeId: number; isDirectory: boolean }[] = []
    for (const entry of await this.device.names(nodeId)) {
      const reply = this.device.lookup(nodeId, entry)
      if (!reply) continue
      const isDirectory = (reply.attr.mode & 0o170000) === 0o040000
      found.push({ entry, nodeId: reply.nodeId, isDirectory })
    }
    return found
  }

  async #directory(): Promise<number> {
    let nodeId = ROOT
    while (this.#below(2) === 0) {
      const directories = (await this.#entries(nodeId)).filter((entry) => entry.isDirectory)
      const next = directories[this.#below(directories.length || 1)]
      if (!next) break
      nodeId = next.nodeId
    }
    return nodeId
  }

  async #file(): Promise<{ parent: number; entry: string; nodeId: number } | undefined> {
    const parent = await this.#directory()
    const files = (await this.#entries(parent)).filter((entry) => !entry.isDirectory)
    const file = files[this.#below(files.length || 1)]
    return file && { parent, ...file }
  }

  /** What a file shows now. */
  async #shown(nodeId: number): Promise<Deed[]> {
    const handle = this.device.open(nodeId, 0)
    const text = await this.device.read(handle)
    this.device.close(handle)
    return tokensOf(text).map((token) => this.#deeds.get(token) as Deed)
  }

  #note(token: string, replaced: readonly Deed[]): Deed {
    const atMs = this.device.clock.monotonicMs()
    const deed: Deed = {
      token,
      device: this.device,
      replaced,
      replacedBy: [],
      state: 'open',
      atMs,
    }
    for (const other of replaced) other.replacedBy.push(deed)
    if (token !== '') this.#deeds.set(token, deed)
    this.#mine.push(deed)
    return deed
  }

  #token(): string {
    return `T${this.#deeds.size};`
  }

  /** Runs one random operation; what the faults explain is no failure. */
  async step(): Promise<void> {
    const kind = this.#below(100)
    try {
      if (kind < 34) await this.#write()
      else if (kind < 46) await this.#append()
      else if (kind < 56) await this.#useHeld()
      else if (kind < 64) await this.#remove()
      else if (kind < 76) await this.#rename()
      else if (kind < 84) await this.#makeDirectory()
      else if (kind < 88) await this.#removeDirectory()
      else if (kind < 92) await this.drain()
      else await this.device.clock.run(this.#below(200))
    } catch (error) {
      for (const deed of this.#mine) if (deed.state === 'open') this.#doubt(deed)
      const isExpected = EXPECTED.some((code) => hasCode(error, code))
      const isAnswer = error instanceof WormholeError && !isExpected && this.device.isAlive
      if (!isExpected && !isAnswer) throw error
      if (isAnswer) checkAnswer(error)
    }
  }

  /** Not acknowledged, unless an open handle will still acknowledge it. */
  #doubt(deed: Deed): void {
    if (!this.#held.some(({ deeds }) => deeds.includes(deed))) deed.state = 'moot'
  }

  async #write(): Promise<void> {
    const parent = await this.#directory()
    const entry = NAMES[this.#below(NAMES.length)] as string
    const found = this.device.lookup(parent, entry)
    if (found && (found.attr.mode & 0o170000) === 0o040000) return
    const deed = this.#note(this.#token(), found ? await this.#shown(found.nodeId) : [])
    const handle = found
      ? this.device.open(found.nodeId, RDWR | TRUNC)
      : this.device.create(parent, entry).handle
    await this.#finish(handle, 0, deed)
  }

  /** Writes the token at an offset; sometimes syncs; closes. */
  async #finish(handle: number, offset: number, deed: Deed): Promise<void> {
    await this.device.write(handle, offset, deed.token)
    if (this.#below(3) === 0) {
      await this.#fsync(handle)
      deed.state = 'safe'
    }
    this.device.close(handle)
    if (deed.state === 'open') deed.state = 'closed'
  }

  #fsync(handle: number): Promise<void> {
    const { fs, clock } = this.device
    return clock.settle(Promise.resolve(fs.fsync(handle, false)), 60_000)
  }

  async #append(): Promise<void> {
    const file = await this.#file()
    if (!file) return
    const handle = this.device.open(file.nodeId, RDWR)
    const deed = this.#note(this.#token(), [])
    const size = (await this.device.read(handle)).length
    if (this.#below(3) > 0) return this.#finish(handle, size, deed)
    this.#held.push({ handle, nodeId: file.nodeId, deeds: [deed] })
    await this.device.write(handle, size, deed.token)
  }

  /** Goes on with a file that is held open. */
  async #useHeld(): Promise<void> {
    const held = this.#held[this.#below(this.#held.length || 1)]
    if (!held) return
    const kind = this.#below(3)
    if (kind === 0) {
      const deed = this.#note(this.#token(), [])
      held.deeds.push(deed)
      const size = (await this.device.read(held.handle)).length
      await this.device.write(held.handle, size, deed.token)
    } else if (kind === 1) {
      await this.#fsync(held.handle)
      for (const deed of held.deeds) if (deed.state !== 'moot') deed.state = 'safe'
    } else {
      this.#release(held)
    }
  }

  #release(held: Held): void {
    this.#held = this.#held.filter((other) => other !== held)
    this.device.close(held.handle)
    for (const deed of held.deeds) if (deed.state === 'open') deed.state = 'closed'
  }

  /** Closes what is held of a node: it is about to lose its name. */
  #letGo(nodeId: number): void {
    for (const held of this.#held.filter((other) => other.nodeId === nodeId)) this.#release(held)
  }

  async #remove(): Promise<void> {
    const file = await this.#file()
    if (!file) return
    this.#letGo(file.nodeId)
    this.#note('', await this.#shown(file.nodeId))
    await this.device.fs.unlink(CONTEXT, file.parent, name(file.entry))
  }

  async #rename(): Promise<void> {
    const [from, to] = [await this.#directory(), await this.#directory()]
    const sources = await this.#entries(from)
    const source = sources[this.#below(sources.length || 1)]
    if (!source) return
    const entry = NAMES[this.#below(NAMES.length)] as string
    const target = this.device.lookup(to, entry)
    if (target && target.nodeId !== source.nodeId) {
      const isDirectory = (target.attr.mode & 0o170000) === 0o040000
      if (isDirectory || source.isDirectory) return
      this.#letGo(target.nodeId)
      this.#note('', await this.#shown(target.nodeId))
    }
    await this.device.fs.rename(
      CONTEXT,
      { parent: from, name: name(source.entry) },
      { parent: to, name: name(entry) },
      0,
    )
  }

  async #makeDirectory(): Promise<void> {
    const parent = await this.#directory()
    const entry = NAMES[this.#below(NAMES.length)] as string
    if (!this.device.lookup(parent, entry)) {
      await this.device.fs.mkdir(CONTEXT, parent, name(entry), 0o755)
    }
  }

  async #removeDirectory(): Promise<void> {
    const parent = await this.#directory()
    const directories = (await this.#entries(parent)).filter((entry) => entry.isDirectory)
    const directory = directories[this.#below(directories.length || 1)]
    if (directory) await this.device.fs.rmdir(CONTEXT, parent, name(directory.entry))
  }

  /** Publishes everything; what was closed or held survives everything then. */
  async drain(): Promise<void> {
    const owed = this.#mine.filter((deed) => deed.state !== 'moot')
    await this.device.drain()
    for (const deed of owed) if (deed.state !== 'moot') deed.state = 'safe'
  }

  /** Closes every handle; on a broken device that acknowledges nothing. */
  closeAll(): void {
    for (const held of [...this.#held]) {
      try {
        this.#release(held)
      } catch (error) {
        if (!EXPECTED.some((code) => hasCode(error, code))) throw error
      }
    }
  }

  /** The daemon has died, or the machine. What was not promised to survive it is not owed. */
  died(isPowerCut: boolean): void {
    this.#held = []
    const { diedMs } = this.device
    for (const deed of this.#mine) {
      const isOld = diedMs - deed.atMs > 100 && !this.device.hasTrouble
      const isKept = deed.state === 'closed' || isOld
      if (deed.state !== 'safe' && (isPowerCut || !isKept)) deed.state = 'moot'
    }
  }
}

/** A healthy device answers only what the state of the tree explains. */
function checkAnswer(error: WormholeError): void {
  const answers = ['NOT_EMPTY', 'NOT_FOUND', 'BAD_ARGUMENT', 'ALREADY_EXISTS', 'READ_ONLY']
  if (!answers.includes(error.code)) throw error
}

/** The tokens in a file's bytes. */
export function tokensOf(text: string): string[] {
  return text.match(/T\d+;/g) ?? []
}

/** Deeds that are owed and neither shown nor knowingly replaced. */
export function findLost(deeds: Iterable<Deed>, shown: ReadonlySet<string>): Deed[] {
  const known = new Map<Deed, boolean>()
  const isAccounted = (deed: Deed): boolean => {
    const before = known.get(deed)
    if (before !== undefined) return before
    known.set(deed, false)
    const isFine =
      shown.has(deed.token) ||
      deed.replacedBy.some(
        (next) => next.token === '' || next.state === 'moot' || isAccounted(next),
      )
    known.set(deed, isFine)
    return isFine
  }
  return [...deeds].filter((deed) => deed.state !== 'moot' && !isAccounted(deed))
}
