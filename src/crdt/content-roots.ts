/**
 * Every content that the index still needs: all concurrent values of every inode, hidden ones
 * included, and the history. What was deleted counts like what was replaced: until the days that
 * its folder grants are over.
 */
import type { Hlc, InodeId } from '../types.ts'
import { contentWinner } from './contents.ts'
import { isInodeAlive } from './contest.ts'
import { inodeKind } from './ids.ts'
import type { ContentRef } from './interface.ts'
import { Layer, TABLE } from './layer.ts'
import type { InodeRow } from './records.ts'
import { neededUntil, readVersion, type HistoryDaysOf } from './retention.ts'
import type { RowReader } from './rows.ts'

/** Rows read at a time. */
const PAGE_COUNT = 256
const INODE_CHARACTERS = 16

/** A content, and what needs it. */
export interface NeededContent {
  readonly use: 'tree' | 'conflicts' | 'history'
  readonly ref: ContentRef
}

/** What the walk needs. */
export interface ContentRootsOptions {
  readonly rows: RowReader & { hashName(name: string): string }
  readonly now: Hlc
  readonly daysOf: HistoryDaysOf
}

/** See the head of this file. */
export class ContentRoots {
  readonly #rows: ContentRootsOptions['rows']
  readonly #layer: Layer
  readonly #now: Hlc
  readonly #daysOf: HistoryDaysOf
  /** The first time at which something that is deleted is needed no more. */
  nextDue: Hlc | undefined

  constructor(options: ContentRootsOptions) {
    this.#rows = options.rows
    this.#layer = new Layer(options.rows)
    this.#now = options.now
    this.#daysOf = options.daysOf
  }

  /** All of them, a page of rows at a time. @throws {WormholeError} `INDEX_CORRUPT`. */
  *walk(): Generator<NeededContent[]> {
    for (const rows of this.#layer.inodePages(PAGE_COUNT)) {
      const found: NeededContent[] = []
      for (const row of rows) found.push(...this.#ofInode(row))
      yield found
    }
    let after: string | undefined
    do {
      const from = after === undefined ? {} : { after }
      const page = this.#rows.range(TABLE.history, { countMax: PAGE_COUNT, ...from })
      yield page.flatMap(({ key, value }) => this.#ofVersion(key, value))
      after = page.length === PAGE_COUNT ? page.at(-1)?.key : undefined
    } while (after !== undefined)
  }

  /** Those of one inode, its history included; of a link, those of what it names. */
  *of(id: InodeId): Generator<NeededContent> {
    const inode = (this.#layer.inode(id)?.target || id) as InodeId
    const row = this.#layer.inode(inode)
    if (row) yield* this.#ofInode(row)
    const rows = this.#rows.range(TABLE.history + inode)
    for (const { key, value } of rows) yield* this.#ofVersion(key, value)
  }

  *#ofInode(row: InodeRow): Generator<NeededContent> {
    if (inodeKind(row.id) !== 'file' || row.C.length === 0) return
    if (this.#isOver(row)) return
    const isAlive = isInodeAlive(this.#layer, row.id)
    const shown = isAlive ? contentWinner(row) : undefined
    for (const value of row.C) {
      const use = !isAlive ? 'history' : value === shown ? 'tree' : 'conflicts'
      if (value.data.kind === 'file') yield { use, ref: value.data.ref }
    }
  }

  #ofVersion(key: string, row: Buffer): NeededContent[] {
    const inode = key.slice(1, 1 + INODE_CHARACTERS) as InodeId
    const { data } = readVersion(inode, row)
    return data.kind === 'file' ? [{ use: 'history', ref: data.ref }] : []
  }

  #isOver(row: InodeRow): boolean {
    const until = neededUntil(this.#layer, row, this.#daysOf)
    if (until === undefined) return false
    if (until <= this.#now) return true
    if (this.nextDue === undefined || until < this.nextDue) this.nextDue = until
    return false
  }
}
