/**
 * The reference model of contents: who wrote what over what, and what must still be somewhere.
 *
 * Every write puts cells of 16 bytes into a file: a token that no other write has, and the offset
 * where it belongs. So every byte that is ever read says whether it is right. A token is accounted
 * for when something shows it, or when somebody who saw it overwrote or removed it. What a crash
 * may take by the promises (src/README.md) is not owed.
 */
import { Failure } from './failure.ts'

/** Bytes of a cell. */
export const CELL_BYTES = 16
const CELL = /^T([0-9a-z]{7})@([0-9a-z]{6})\n$/
const ZERO_CELL = Buffer.alloc(CELL_BYTES)

/** A write, or a removal. */
export interface Deed {
  /** Empty for a removal. */
  readonly token: string
  readonly device: string
  /** What it replaced knowingly. */
  readonly replaced: readonly Deed[]
  /** Who replaced it knowingly. */
  readonly replacedBy: Deed[]
  /** What its device knew, and whoever shows this one must know too. */
  readonly causes: readonly Deed[]
  /**
   * `open`: not acknowledged; `closed`: survives the daemon; `safe`: survives everything;
   * `moot`: a crash or an error came before it was acknowledged.
   */
  state: 'open' | 'closed' | 'safe' | 'moot'
  /** When it was done: after 100 ms it survives the daemon, unless the disk is in trouble. */
  readonly atMs: number
  /** All tokens of one content have the same. */
  readonly line: number
  readonly offset: number
  readonly sizeBytes: number
}

/** What is known of all writes of a run. */
export class Ledger {
  readonly #deeds: Deed[] = []
  readonly #byToken = new Map<string, Deed>()
  #lines = 0
  /** Files may have holes: somebody cuts or grows them. */
  readonly #hasHoles: boolean

  constructor(options: { readonly hasHoles: boolean }) {
    this.#hasHoles = options.hasHoles
  }

  get deeds(): readonly Deed[] {
    return this.#deeds
  }

  /** A line of contents that nobody has continued yet. */
  newLine(): number {
    return ++this.#lines
  }

  /** A write that is about to happen. */
  write(
    about: Pick<Deed, 'device' | 'replaced' | 'causes' | 'atMs' | 'line' | 'offset' | 'sizeBytes'>,
  ): Deed {
    const token = (this.#byToken.size + 1).toString(36).padStart(7, '0')
    const deed = this.#add({ ...about, token })
    this.#byToken.set(token, deed)
    return deed
  }

  /** A removal that is about to happen. */
  remove(about: Pick<Deed, 'device' | 'replaced' | 'atMs'>): Deed {
    return this.#add({ ...about, token: '', causes: [], line: 0, offset: 0, sizeBytes: 0 })
  }

  #add(about: Omit<Deed, 'replacedBy' | 'state'>): Deed {
    const deed: Deed = { ...about, replacedBy: [], state: 'open' }
    this.#deeds.push(deed)
    for (const other of about.replaced) other.replacedBy.push(deed)
    return deed
  }

  /** A write turns out to replace more than was known when it was noted. */
  replace(deed: Deed, replaced: readonly Deed[]): void {
    for (const other of replaced) if (other !== deed) other.replacedBy.push(deed)
  }

  /** The bytes of a write. */
  bytesOf({ token, offset, sizeBytes }: Deed): Buffer {
    const cells: string[] = []
    for (let at = offset; at < offset + sizeBytes; at += CELL_BYTES) {
      cells.push(`T${token}@${at.toString(36).padStart(6, '0')}\n`)
    }
    return Buffer.from(cells.join(''), 'latin1')
  }

  /**
   * The deeds whose bytes a whole content shows.
   *
   * @throws {Failure} `integrity` for bytes that nobody wrote, or not there, or not in this file.
   */
  deedsIn(bytes: Buffer, where: string): Deed[] {
    const found = new Set<Deed>()
    if (bytes.length % CELL_BYTES !== 0) {
      throw new Failure('integrity', `${where} has ${bytes.length} bytes: a cut cell`)
    }
    let previous = ''
    for (let at = 0; at < bytes.length; at += CELL_BYTES) {
      if (this.#hasHoles && bytes.compare(ZERO_CELL, 0, CELL_BYTES, at, at + CELL_BYTES) === 0) {
        continue
      }
      const cell = bytes.toString('latin1', at, at + CELL_BYTES)
      const [, token, offset] = CELL.exec(cell) ?? []
      if (token === previous && offset && parseInt(offset, 36) === at) continue
      const deed = token === undefined ? undefined : this.#byToken.get(token)
      const isThere = deed && at >= deed.offset && at < deed.offset + deed.sizeBytes
      if (!deed || !isThere || parseInt(offset as string, 36) !== at) {
        throw new Failure('integrity', `${where} holds ${JSON.stringify(cell)} at ${at}`)
      }
      previous = token as string
      found.add(deed)
    }
    const lines = new Set([...found].map(({ line }) => line))
    if (lines.size > 1) {
      const tokens = [...found].map(({ token }) => token).join(' ')
      throw new Failure('integrity', `${where} mixes contents of several files: ${tokens}`)
    }
    return [...found]
  }

  /** Deeds that `bytes` shows only within `[from, to)`: what overwriting that range replaces. */
  onlyWithin(bytes: Buffer, from: number, to: number): Deed[] {
    const inside = new Set<Deed>()
    const outside = new Set<Deed>()
    for (let at = 0; at < bytes.length; at += CELL_BYTES) {
      const deed = this.#byToken.get(bytes.toString('latin1', at + 1, at + 8))
      if (deed) (at >= from && at < to ? inside : outside).add(deed)
    }
    return [...inside].filter((deed) => !outside.has(deed))
  }

  /** Deeds that are owed and neither shown nor knowingly replaced. */
  lost(shown: ReadonlySet<Deed>): Deed[] {
    const known = new Map<Deed, boolean>()
    return this.#deeds.filter((deed) => deed.state !== 'moot' && !isAccounted(deed, shown, known))
  }
}

/** Whether a deed is shown, or was replaced by one that is accounted for. */
export function isAccounted(
  deed: Deed,
  shown: ReadonlySet<Deed>,
  known = new Map<Deed, boolean>(),
): boolean {
  const before = known.get(deed)
  if (before !== undefined) return before
  known.set(deed, false)
  const isFine =
    deed.token === '' ||
    shown.has(deed) ||
    deed.replacedBy.some((next) => next.state === 'moot' || isAccounted(next, shown, known))
  known.set(deed, isFine)
  return isFine
}
