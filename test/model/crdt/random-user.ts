/**
 * A user who does random things to the tree of one device, and remembers what he meant to lose: the
 * content shown at a name that he overwrote, deleted or resolved away. Everything else that anybody
 * ever wrote must stay visible.
 */
import { hasCode, WormholeError } from '../../../src/errors.ts'
import type { DirentView, OpRef } from '../../../src/crdt/interface.ts'
import type { FileName, InodeId } from '../../../src/types.ts'
import { DIRECTORY, name, PLAIN, textOf, type Device, type Dice } from './world.ts'
import { listAll } from './reference.ts'

/** A visible name. */
interface Spot {
  readonly parent: InodeId
  readonly name: FileName
  readonly id: InodeId
  readonly kind: DirentView['kind']
}

function stemOf(spot: Spot): string {
  return spot.parent + spot.name.replace(/[ .].*$/, '')
}

/** What the whole run has written and meant to lose. */
export class Ledger {
  readonly written = new Map<string, InodeId>()
  readonly given = new Set<string>()
  #count = 0

  /** A content nobody has written before; sometimes one that others may write too. */
  fresh(dice: Dice): string {
    return dice.chance(0.15) ? `same${dice.below(4)}` : `v${++this.#count}`
  }
}

type Action = (user: RandomUser) => void

/** Relative frequency of each action; a run switches some off. */
const WEIGHTS: readonly (readonly [number, string])[] = [
  [10, 'createFile'],
  [7, 'mkdir'],
  [12, 'edit'],
  [3, 'staleEdit'],
  [8, 'renameFile'],
  [10, 'renameDirectory'],
  [5, 'renameOver'],
  [2, 'exchange'],
  [6, 'link'],
  [6, 'unlink'],
  [2, 'removeTree'],
  [4, 'undelete'],
  [3, 'attributes'],
  [4, 'resolve'],
  [1, 'symlink'],
  [2, 'policy'],
  [2, 'saveByRename'],
]

export class RandomUser {
  readonly device: Device
  readonly ledger: Ledger
  readonly #dice: Dice
  readonly #weights: readonly (readonly [number, string])[]
  #opened: { id: InodeId; base: readonly OpRef[]; text: string; restartCount: number }[] = []

  constructor(device: Device, ledger: Ledger, off: ReadonlySet<string>) {
    this.device = device
    this.ledger = ledger
    this.#dice = device.world.dice
    this.#weights = WEIGHTS.filter(([, action]) => !off.has(action))
  }

  static readonly actions = WEIGHTS.map(([, action]) => action)

  act(): void {
    let left = this.#dice.below(this.#weights.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, action] of this.#weights) {
      left -= weight
      if (left >= 0) continue
      try {
        ;(ACTIONS[action] as Action)(this)
      } catch (error) {
        if (!(error instanceof WormholeError) || hasCode(error, 'ENTRY_INVALID')) throw error
      }
      return
    }
  }

  #spots(): { directories: Spot[]; files: Spot[] } {
    const { overlay } = this.device
    const root = {
      parent: overlay.root,
      name: name('x'),
      id: overlay.root,
      kind: 'directory',
    } as const
    const directories: Spot[] = [root]
    const files: Spot[] = []
    for (const directory of directories) {
      for (const entry of listAll(overlay, directory.id) as DirentView[]) {
        const spot = { parent: directory.id, name: entry.name, id: entry.id, kind: entry.kind }
        if (entry.kind === 'directory') directories.push(spot)
        else files.push(spot)
      }
    }
    return { directories, files }
  }

  #directory(): Spot {
    return this.#dice.pick(this.#spots().directories)
  }

  /** Any file; more often than chance would have it, one with a conflict. */
  #file(): Spot | undefined {
    const { files } = this.#spots()
    const names = new Set(files.filter((spot) => spot.name.includes('(conflict')).map(stemOf))
    const contested = files.filter((spot) => names.has(stemOf(spot)))
    if (contested.length > 0 && this.#dice.chance(0.4)) return this.#dice.pick(contested)
    return files.length > 0 ? this.#dice.pick(files) : undefined
  }

  #name(): FileName {
    const { files } = this.#spots()
    // Now and then somebody takes exactly the name that a copy is shown under elsewhere.
    if (files.length > 0 && this.#dice.chance(0.08)) return this.#dice.pick(files).name
    return name(`n${this.#dice.below(8)}${this.#dice.pick(['', '', '.txt'])}`)
  }

  #text(id: InodeId): string {
    const content = this.device.overlay.node(id)?.content
    return content?.kind === 'file' ? textOf(content.ref) : ''
  }

  /** What is shown at this name is meant to go, unless it has other names. */
  #give(spot: Spot): void {
    const node = this.device.overlay.node(spot.id)
    if (node && node.nlink <= 1) this.ledger.given.add(this.#text(spot.id))
  }

  /** Behind a name there may be more links of the same inode, hidden: then all of them go. */
  #giveAll(spot: Spot): void {
    this.ledger.given.add(this.#text(spot.id))
  }

  createFile(): void {
    const text = this.ledger.fresh(this.#dice)
    const made = this.device.overlay.createFile(this.#directory().id, this.#name(), {
      ...PLAIN,
      content: this.device.content(text),
    })
    this.device.do(made)
    this.ledger.written.set(text, made.id)
  }

  mkdir(): void {
    this.device.do(this.device.overlay.mkdir(this.#directory().id, this.#name(), DIRECTORY))
  }

  symlink(): void {
    const target = `t${this.#dice.below(3)}`
    const options = { ...PLAIN, mode: 0o777, target }
    this.device.do(this.device.overlay.symlink(this.#directory().id, this.#name(), options))
  }

  edit(): void {
    const spot = this.#file()
    if (spot?.kind !== 'file') return
    if (this.#dice.chance(0.3)) {
      const base = this.device.overlay.contentBase(spot.id)
      const { restartCount } = this.device
      this.#opened.push({ id: spot.id, base, text: this.#text(spot.id), restartCount })
    }
    this.#write(spot.id, this.#text(spot.id))
  }

  #write(id: InodeId, replaced: string, base?: readonly OpRef[]): void {
    const text = this.ledger.fresh(this.#dice)
    const mtimeNs = BigInt(this.device.world.nowMs) * 1_000_000n
    const { overlay } = this.device
    const content = { ...this.device.content(text), mtimeNs, ...(base ? { base } : {}) }
    this.device.do(overlay.setContent(id, content))
    this.ledger.given.add(replaced)
    this.ledger.written.set(text, id)
  }

  /** Saves a file that was opened a while ago. */
  staleEdit(): void {
    const opened = this.#opened.pop()
    const node = opened && this.device.overlay.node(opened.id)
    if (!opened || !node || node.copyOf || opened.base.length !== 1) return
    // After a crash `#n` may stand for a later own version of the same entry (README.md).
    const isBlurred = this.device.restartCount > opened.restartCount
    if (isBlurred && opened.base[0]?.startsWith('#')) return
    this.#write(opened.id, opened.text, opened.base)
  }

  renameFile(): void {
    const spot = this.#file()
    if (!spot) return
    const to = { parent: this.#directory().id, name: this.#name() }
    this.device.do(this.device.overlay.rename(spot, to, 'noreplace'))
  }

  renameDirectory(): void {
    const { directories } = this.#spots()
    if (directories.length < 2) return
    const spot = this.#dice.pick(directories.slice(1))
    const to = { parent: this.#dice.pick(directories).id, name: this.#name() }
    this.device.do(this.device.overlay.rename(spot, to, 'noreplace'))
  }

  renameOver(): void {
    const { files } = this.#spots()
    if (files.length < 2) return
    const from = this.#dice.pick(files)
    const to = this.#dice.pick(files)
    const edit = this.device.overlay.rename(from, to, 'replace')
    if (edit.puts.length > 0) this.#give(to)
    this.device.do(edit)
  }

  exchange(): void {
    const { files, directories } = this.#spots()
    const all = [...files, ...directories.slice(1)]
    if (all.length < 2) return
    this.device.do(
      this.device.overlay.rename(this.#dice.pick(all), this.#dice.pick(all), 'exchange'),
    )
  }

  link(): void {
    const spot = this.#file()
    if (spot) this.device.do(this.device.overlay.link(spot.id, this.#directory().id, this.#name()))
  }

  unlink(): void {
    const spot = this.#file()
    if (!spot) return
    this.#unlink(spot)
  }

  #unlink(spot: Spot): void {
    const edit = this.device.overlay.unlink(spot.parent, spot.name)
    const before = this.#text(spot.id)
    this.#give(spot)
    this.device.do(edit)
    if (!this.device.overlay.node(spot.id)) this.ledger.given.add(before)
  }

  removeTree(): void {
    const { directories } = this.#spots()
    if (directories.length < 2) return
    this.#remove(this.#dice.pick(directories.slice(1)))
  }

  #remove(spot: Spot): void {
    const { overlay } = this.device
    for (const entry of listAll(overlay, spot.id) as DirentView[]) {
      const child = { parent: spot.id, name: entry.name, id: entry.id, kind: entry.kind }
      // A name may have moved while its neighbours were removed.
      if (overlay.lookup(spot.id, entry.name)?.id !== entry.id) continue
      if (entry.kind === 'directory') this.#remove(child)
      else this.#unlink(child)
    }
    this.device.do(overlay.rmdir(spot.parent, spot.name))
  }

  /** Brings a deleted name back, now and then with an older content or elsewhere. */
  undelete(): void {
    const { overlay } = this.device
    const { directories } = this.#spots()
    const from = this.#dice.pick(directories)
    const deleted = overlay.deletedNames(from.id)
    if (deleted.length === 0) return
    const { record, inode, isAlive, name: old } = this.#dice.pick(deleted)
    const isElsewhere = this.#dice.chance(0.2)
    const to = isElsewhere
      ? { parent: this.#dice.pick(directories).id, name: this.#name() }
      : { parent: from.id, name: old }
    const versions = isAlive ? [] : overlay.history({ inode })
    const isOlder = versions.length > 0 && this.#dice.chance(0.3)
    const content = isOlder ? this.#dice.pick(versions).content : undefined
    this.device.do(overlay.undelete(record, to, content))
  }

  attributes(): void {
    const { directories, files } = this.#spots()
    const spot = this.#dice.pick([...directories, ...files])
    const mtimeNs = BigInt(this.#dice.below(1000))
    const changes = this.#dice.chance(0.5) ? { mode: this.#dice.below(0o1000) } : { mtimeNs }
    this.device.do(this.device.overlay.setAttributes(spot.id, changes))
  }

  resolve(): void {
    const { conflicts } = this.device.overlay.conflicts({ countMax: 50 })
    if (conflicts.length === 0) return
    const conflict = this.#dice.pick(conflicts)
    const count = conflict.versions.length
    const keep = this.#dice.chance(0.5) ? 'both' : this.#dice.below(count)
    const edit = this.device.overlay.resolve(conflict.parent, conflict.name, keep)
    this.device.do(edit)
    if (keep === 'both') return
    for (const [index, version] of conflict.versions.entries()) {
      const { content } = version
      if (index !== keep && content.kind === 'file') this.ledger.given.add(textOf(content.ref))
    }
  }

  policy(): void {
    const policy = this.#dice.pick(['', 'lww', 'copies'])
    this.device.do(this.device.overlay.setPolicy(this.#directory().id, policy))
  }

  /** As an editor saves: a temporary file whose content goes to the old inode, in one edit. */
  saveByRename(): void {
    const spot = this.#file()
    const { overlay } = this.device
    if (spot?.kind !== 'file') return
    const text = this.ledger.fresh(this.#dice)
    const old = this.#text(spot.id)
    const temporary = name('.tmp')
    this.device.do(
      overlay.createFile(spot.parent, temporary, { ...PLAIN, content: this.device.content(text) }),
    )
    const mtimeNs = BigInt(this.device.world.nowMs) * 1_000_000n
    const edit = overlay.combine([
      overlay.setContent(spot.id, { ...this.device.content(text), mtimeNs }),
      overlay.unlink(spot.parent, temporary),
    ])
    this.device.do(edit)
    this.#giveAll(spot)
    this.ledger.given.add(old)
    this.ledger.written.set(text, spot.id)
  }
}

const ACTIONS: Record<string, Action> = Object.fromEntries(
  WEIGHTS.map(([, action]) => [
    action,
    (user: RandomUser) => (user as unknown as Record<string, () => void>)[action]?.(),
  ]),
)
