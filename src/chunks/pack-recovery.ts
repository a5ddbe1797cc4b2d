/**
 * Opening a pack directory: what table file and index log say, and walking the packs for what they
 * do not list. Part of `packs.ts`.
 */
import type { Disk, DiskFile } from '../system.ts'
import type { ChunkAddress } from '../types.ts'
import { AddressTableWriter } from './address-table.ts'
import { FORGOTTEN, INDEX_ENTRY_BYTES, type IndexLog, type IndexVisitor } from './index-log.ts'
import { listPacks, packName, walkPack } from './pack-files.ts'
import { readTableFile, removeTableFile } from './table-file.ts'

/** Opens a pack for writing; its name is durable when this returns. */
export function createPack(disk: Disk, directory: string, pack: number): DiskFile {
  const file = disk.openSync(`${directory}/${packName(pack)}`, { create: true })
  disk.syncDirectorySync(directory)
  return file
}

/** A pack directory as its writer begins with it. */
export interface Recovered {
  readonly table: AddressTableWriter
  readonly ends: Map<number, number>
  readonly keptEntries: number
  readonly pack: number
  readonly file: DiskFile
  readonly end: number
  readonly lost: Set<ChunkAddress>
}

/**
 * Loads the table file and what the index log says beyond it; walks what neither lists; cuts the
 * torn tail of the last pack. A log that names bytes which are not there is thrown away whole.
 */
export function recover(disk: Disk, directory: string, index: IndexLog): Recovered {
  const sizes = packSizes(disk, directory)
  let loaded = loadIndex(disk, directory, index)
  if ([...loaded.ends].some(([pack, end]) => (sizes.get(pack) ?? 0) < end)) {
    removeTableFile(disk, directory)
    index.clear()
    loaded = nothingLoaded()
  }
  const { table, ends } = loaded
  const last = Math.max(0, ...sizes.keys())
  for (const [pack, size] of sizes) {
    let end = ends.get(pack) ?? 0
    if (end < size) {
      const file = disk.openSync(`${directory}/${packName(pack)}`)
      const isChecked = pack >= last - 1
      for (const { address, offset, length } of walkPack(file, end, isChecked)) {
        const words = wordsOf(address)
        table.insert(words, 0, { pack, offset, length })
        index.add(words, 0, { pack, offset, length })
        end = offset + length
      }
      if (pack === last && end < size) file.truncateSync(end)
      if (isChecked) file.syncSync()
      file.close()
    }
    ends.set(pack, end)
  }
  index.write(index.pendingCount)
  const end = ends.get(last) ?? 0
  return { ...loaded, pack: last, file: createPack(disk, directory, last), end }
}

function packSizes(disk: Disk, directory: string): Map<number, number> {
  const sizes = new Map<number, number>()
  for (const pack of listPacks(disk, directory)) {
    const file = disk.openSync(`${directory}/${packName(pack)}`, { readOnly: true })
    sizes.set(pack, file.sizeSync())
    file.close()
  }
  return sizes
}

interface Loaded {
  readonly table: AddressTableWriter
  /** Where the listed part of each pack ends. */
  readonly ends: Map<number, number>
  readonly keptEntries: number
  /** Chunks that were damaged and have not come back. */
  readonly lost: Set<ChunkAddress>
}

function nothingLoaded(): Loaded {
  return { table: new AddressTableWriter(), ends: new Map(), keptEntries: 0, lost: new Set() }
}

/** The table of what the log lists: from the table file as far as that goes. */
function loadIndex(disk: Disk, directory: string, index: IndexLog): Loaded {
  const kept = readTableFile(disk, directory, index.file)
  const table = kept?.table ?? new AddressTableWriter(index.entryCountMax())
  const ends = new Map(kept?.ends)
  // There is no table file while something is lost: the log behind it tells all.
  const lost = new Set<ChunkAddress>()
  let pack = -1
  let end = 0
  const visit: IndexVisitor = (words, from, location) => {
    if (location.length === 0) {
      if (location.offset === FORGOTTEN.pack) {
        if (location.pack === pack) pack = -1
        ends.delete(location.pack)
        return
      }
      table.removeWords(words, from)
      if (location.offset === FORGOTTEN.damaged) lost.add(addressAt(words, from))
      return
    }
    table.insert(words, from, location)
    if (lost.size > 0) lost.delete(addressAt(words, from))
    if (location.pack !== pack) {
      if (pack >= 0) ends.set(pack, end)
      pack = location.pack
      end = ends.get(pack) ?? 0
    }
    end = Math.max(end, location.offset + location.length)
  }
  if (!kept) index.load(visit)
  else {
    index.load(visit, kept.logBytes)
    // The head of the log is damaged: it was emptied, and everything is listed anew.
    if (index.sizeBytes < kept.logBytes) {
      removeTableFile(disk, directory)
      return nothingLoaded()
    }
  }
  if (pack >= 0) ends.set(pack, end)
  const keptEntries = kept ? Math.floor(kept.logBytes / INDEX_ENTRY_BYTES) : 0
  return { table, ends, keptEntries, lost }
}

/** The 8 words of 32 bytes. */
export function wordsOf(address: Uint8Array): Int32Array {
  const copy = new Int32Array(8)
  new Uint8Array(copy.buffer).set(address)
  return copy
}

function addressAt(words: Int32Array, from: number): ChunkAddress {
  const bytes = Buffer.from(words.buffer, words.byteOffset + from * 4, 32)
  return bytes.toString('hex') as ChunkAddress
}
