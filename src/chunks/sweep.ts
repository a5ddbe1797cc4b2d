/**
 * Freeing chunks of a pack directory: forgotten durably, then their records overwritten, then their
 * space given back by holes. Part of the one writer of the directory.
 *
 * G2, in this order: the chunk is absent in the table; the index log says so and is synced; the
 * record's header is zeroed and the pack synced, so that no walk takes the record for one; the hole
 * is punched. A crash between any two of them leaves the chunk whole and listed, or forgotten.
 */
import { WormholeError } from '../errors.ts'
import type { DiskFile } from '../system.ts'
import type { ChunkAddress } from '../types.ts'
import type { ChunkLocation } from './address-table.ts'
import { FORGOTTEN } from './index-log.ts'
import { listPacks, packName, RECORD_HEADER_BYTES, readRecordHeader } from './pack-files.ts'
import type { PackParts } from './packs.ts'
import type { Pace } from './pace.ts'

/** A smaller hole gives nothing back on the file systems there are. */
const HOLE_BYTES_MIN = 4096
/** An offset and a length as one number: both are below 2^53 together. */
const LENGTH_UNIT = 2 ** 21

/** A chunk that is absent in the table, and whose bytes are still there. */
export interface Condemned {
  readonly address: ChunkAddress
  readonly slot: number
  readonly location: ChunkLocation
}

/** Bytes `[from, to)` of a pack. */
interface Stretch {
  readonly from: number
  readonly to: number
}

/** See the head of this file. */
export class Sweep {
  readonly #parts: PackParts
  readonly #sync: () => Promise<void>
  readonly #pace: Pace
  /** Packs in which something was freed. */
  readonly #touched = new Set<number>()
  bytesNotReturned = 0
  packsRemoved = 0

  /** @param options.sync - makes packs durable and writes what waits for the index log. */
  constructor(options: { parts: PackParts; sync: () => Promise<void>; pace: Pace }) {
    this.#parts = options.parts
    this.#sync = options.sync
    this.#pace = options.pace
  }

  /**
   * Takes a chunk out of the table. Undefined when the record at its place does not say that it is
   * that chunk: it is left alone.
   */
  condemn(slot: number, file: DiskFile): Condemned | undefined {
    const { table } = this.#parts
    const location = table.locationIn(slot)
    if (!location) return undefined
    const record = readRecordHeader(file, location.offset - RECORD_HEADER_BYTES)
    if (record?.length !== location.length || !table.isIn(slot, wordsOf(record.address))) {
      return undefined
    }
    table.removeSlot(slot)
    return { address: record.address.toString('hex') as ChunkAddress, slot, location }
  }

  /** Takes `condemn` back, unless the chunk was stored anew meanwhile. */
  restore({ address, slot, location }: Condemned): void {
    const { table } = this.#parts
    if (!table.has(address)) table.restoreSlot(slot, location.length)
  }

  /**
   * Frees what is condemned. When it throws before anything was freed, all of it is as it was.
   *
   * @throws {WormholeError} `DISK_FULL`, `WRITER_BROKEN`, `IO_ERROR`.
   */
  async free(condemned: readonly Condemned[]): Promise<void> {
    if (condemned.length === 0) return
    const { table, index } = this.#parts
    const forgotten: Condemned[] = []
    for (const each of condemned) {
      if (this.#pace.isOver) await this.#pace.rest()
      // One that was stored anew keeps its name: the log lists the new place behind the old one.
      if (table.has(each.address)) continue
      forgotten.push(each)
      const entry = { pack: each.location.pack, offset: FORGOTTEN.freed, length: 0 }
      index.add(table.wordsOf(each.address), 0, entry)
    }
    try {
      await this.#writeIndex()
    } catch (error) {
      for (const each of forgotten) {
        this.restore(each)
        // What waits to be written says that it is forgotten.
        index.add(table.wordsOf(each.address), 0, table.find(each.address) ?? each.location)
      }
      throw error
    }
    await this.#erase(condemned.map(({ location }) => location))
  }

  /** Everything that waits for the index log is in it, durably. */
  async #writeIndex(): Promise<void> {
    const { index } = this.#parts
    const upTo = index.writtenCount + index.pendingCount
    await this.#sync()
    if (index.writtenCount < upTo) {
      throw new WormholeError('DISK_FULL', 'no room to note what is freed')
    }
    await index.sync()
  }

  async #erase(locations: readonly ChunkLocation[]): Promise<void> {
    const packs = new Map<number, Stretch[]>()
    for (const { pack, offset, length } of locations) {
      const stretches = packs.get(pack) ?? []
      packs.set(pack, stretches)
      stretches.push({ from: offset - RECORD_HEADER_BYTES, to: offset + length })
    }
    for (const [pack, stretches] of packs) {
      this.#touched.add(pack)
      const file = this.#open(pack)
      try {
        const nothing = Buffer.alloc(RECORD_HEADER_BYTES)
        for (const { from } of stretches) {
          file.writeSync(from, [nothing])
          if (this.#pace.isOver) await this.#pace.rest()
        }
        await file.sync()
        await this.#punch(file, merged(stretches))
      } finally {
        file.close()
      }
    }
  }

  #open(pack: number): DiskFile {
    return this.#parts.disk.openSync(`${this.#parts.directory}/${packName(pack)}`)
  }

  async #punch(file: DiskFile, stretches: readonly Stretch[]): Promise<void> {
    for (const { from, to } of stretches) {
      try {
        file.punchSync(from, to - from)
      } catch (error) {
        if (!(error instanceof WormholeError)) throw error
        this.bytesNotReturned += to - from
      }
      if (this.#pace.isOver) await this.#pace.rest()
    }
  }

  /**
   * Punches all that lies between the chunks of packs in which something was freed (blocks that two
   * freed records shared), and removes those without chunks. `isEverywhere`: of all packs, because
   * an earlier run may have died between forgetting and punching.
   */
  async finish(isEverywhere: boolean): Promise<void> {
    const { directory, disk, position } = this.#parts
    const here = listPacks(disk, directory).filter((pack) => pack <= position.pack)
    const packs = here.filter((pack) => isEverywhere || this.#touched.has(pack))
    const chunks = await this.#chunksOf(new Set(packs))
    const empty: number[] = []
    for (const pack of packs) {
      const codes = chunks.get(pack) ?? []
      const isCurrent = pack === position.pack
      if (codes.length === 0 && !isCurrent) empty.push(pack)
      const file = this.#open(pack)
      try {
        const end = isCurrent ? position.offset : file.sizeSync()
        const before = this.bytesNotReturned
        await this.#punch(file, gapsBetween(codes, end))
        // Those were counted when they were freed.
        this.bytesNotReturned = before
      } finally {
        file.close()
      }
    }
    await this.#removePacks(empty)
  }

  /** Where the chunks of some packs lie, one number each. */
  async #chunksOf(packs: ReadonlySet<number>): Promise<Map<number, number[]>> {
    const { table } = this.#parts
    const found = new Map<number, number[]>()
    for (let slot = 0; slot < table.slotCount; slot++) {
      const location = table.locationIn(slot)
      if (location && packs.has(location.pack)) {
        const codes = found.get(location.pack) ?? []
        found.set(location.pack, codes)
        codes.push(location.offset * LENGTH_UNIT + location.length)
      }
      if (slot % 1024 === 0 && this.#pace.isOver) await this.#pace.rest()
    }
    return found
  }

  /** The log says first that they are gone: else it would name bytes that are not there. */
  async #removePacks(packs: readonly number[]): Promise<void> {
    if (packs.length === 0) return
    const { disk, directory, index, ends } = this.#parts
    for (const pack of packs) {
      ends.delete(pack)
      index.add(new Int32Array(8), 0, { pack, offset: FORGOTTEN.pack, length: 0 })
    }
    await this.#writeIndex()
    for (const pack of packs) disk.removeSync(`${directory}/${packName(pack)}`)
    disk.syncDirectorySync(directory)
    this.packsRemoved += packs.length
  }
}

/** Stretches that touch each other as one. */
function merged(stretches: Stretch[]): Stretch[] {
  const result: Stretch[] = []
  for (const { from, to } of stretches.sort((a, b) => a.from - b.from)) {
    const last = result.at(-1)
    if (last?.to === from) result[result.length - 1] = { from: last.from, to }
    else result.push({ from, to })
  }
  return result
}

/** What no chunk of a pack covers, from the size of a block on. */
function gapsBetween(codes: number[], end: number): Stretch[] {
  const gaps: Stretch[] = []
  let from = 0
  const gapTo = (to: number): void => {
    if (to - from >= HOLE_BYTES_MIN) gaps.push({ from, to })
  }
  for (const code of codes.sort((a, b) => a - b)) {
    const offset = Math.floor(code / LENGTH_UNIT)
    if (offset > end) break
    gapTo(offset - RECORD_HEADER_BYTES)
    from = offset + (code % LENGTH_UNIT)
  }
  gapTo(end)
  return gaps
}

function wordsOf(address: Uint8Array): Int32Array {
  const words = new Int32Array(8)
  new Uint8Array(words.buffer).set(address)
  return words
}
