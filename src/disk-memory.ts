/**
 * The `Disk` port in memory, with the faults of a real one: power cuts that lose, keep or tear what
 * was not synced, flipped bits, failing syncs, and no space left.
 *
 * It is as strict as POSIX allows: file contents are durable after a sync of the file only, names
 * after a sync of their directory only. Unsynced writes survive a cut in any combination, whole or
 * by sectors of 512 bytes; names survive in order, per directory. What the process sees is always
 * the newest state, as with a page cache.
 */
import assert from 'node:assert/strict'
import path from 'node:path'
import { WormholeError } from './errors.ts'
import type { Disk, DiskFile, Random } from './system.ts'

/** What a disk writes at once or not at all. */
const SECTOR_BYTES = 512

/**
 * What survives a power cut of what was not synced: nothing, everything, a random choice of whole
 * writes, or a random choice of their sectors, where a file may also have its new size and zeros.
 */
export type Survivors = 'none' | 'all' | 'some' | 'torn'

/** One change of a file's content. */
type DataOperation =
  | { readonly type: 'write'; readonly offset: number; readonly bytes: Buffer }
  | { readonly type: 'truncate'; readonly sizeBytes: number }
  | { readonly type: 'punch'; readonly offset: number; readonly length: number }

/** One change of a directory. `inode` 0 is a directory. */
type NameOperation =
  | { readonly type: 'link'; readonly path: string; readonly inode: number }
  | { readonly type: 'unlink'; readonly path: string }
  | { readonly type: 'rename'; readonly from: string; readonly to: string }

/** Everything that changes the disk, in order. `upTo` counts the data operations of the inode. */
type Operation =
  | { readonly type: 'data'; readonly inode: number; readonly change: DataOperation }
  | { readonly type: 'sync'; readonly inode: number; readonly upTo: number }
  | { readonly type: 'name'; readonly change: NameOperation }
  | { readonly type: 'syncDirectory'; readonly directory: string }

/** Bytes that grow. */
class Content {
  #bytes = Buffer.alloc(0)
  size = 0

  resize(size: number): void {
    if (size > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(size, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, this.size)
      this.#bytes = grown
    }
    if (size < this.size) this.#bytes.fill(0, size, this.size)
    this.size = size
  }

  apply(change: DataOperation): void {
    if (change.type === 'truncate') {
      this.resize(change.sizeBytes)
    } else if (change.type === 'punch') {
      const to = Math.min(change.offset + change.length, this.size)
      if (to > change.offset) this.#bytes.fill(0, change.offset, to)
    } else {
      const end = change.offset + change.bytes.length
      if (end > this.size) this.resize(end)
      this.#bytes.set(change.bytes, change.offset)
    }
  }

  /** A view of what is in it. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.size)
  }
}

/** A file: as the process sees it, as it is on the platter, and what lies between. */
class Inode {
  readonly current = new Content()
  readonly durable = new Content()
  pending: DataOperation[] = []
  /** Data operations applied and synced so far. */
  count = 0
  countDurable = 0

  apply(change: DataOperation): void {
    this.current.apply(change)
    this.pending.push(change)
    this.count++
  }

  sync(upTo: number): void {
    if (upTo <= this.countDurable) return
    const done = this.pending.splice(0, upTo - this.countDurable)
    for (const change of done) this.durable.apply(change)
    this.countDurable = upTo
  }
}

/** How a power cut goes. */
export interface PowerCut {
  readonly survivors: Survivors
  /** Chooses; needed for `some` and `torn`. */
  readonly random?: Random
}

/** A disk in memory. Paths are absolute; `/` exists. */
export class MemoryDisk implements Disk {
  #inodes = new Map<number, Inode>()
  #names = new Map<string, number>()
  #durableNames = new Map<string, number>()
  #pendingNames: NameOperation[] = []
  #nextInode = 1
  #recorded: Operation[] | undefined
  /** Counts power cuts: files opened before one are dead. */
  #powerCuts = 0
  /** Space for file contents; raise it to make room. */
  capacityBytes: number
  /** The next so many syncs fail with `IO_ERROR` and make nothing durable. */
  syncFailures = 0
  /** Syncs of files succeed and make nothing durable: a device that lies. */
  isLying = false
  /** How often anything was synced. */
  syncCount = 0

  constructor(options: { readonly capacityBytes?: number; readonly isRecording?: boolean } = {}) {
    this.capacityBytes = options.capacityBytes ?? Infinity
    if (options.isRecording) this.#recorded = []
  }

  /** Number of operations recorded so far: the boundaries at which a test may cut. */
  get operationCount(): number {
    return this.#recorded?.length ?? 0
  }

  /** A new disk as it is after the first `count` recorded operations and then a power cut. */
  imageAt(count: number, cut: PowerCut): MemoryDisk {
    const recorded = this.#recorded
    assert(recorded !== undefined, 'the disk was made without isRecording')
    const disk = new MemoryDisk()
    for (const operation of recorded.slice(0, count)) disk.#apply(operation)
    disk.powerCut(cut)
    return disk
  }

  /** A disk of its own with what is durable here, or with all that processes see (`isLive`). */
  copy({ isLive } = { isLive: false }): MemoryDisk {
    const disk = new MemoryDisk({ capacityBytes: this.capacityBytes })
    for (const [name, inode] of isLive ? this.#names : this.#durableNames) {
      disk.#apply({ type: 'name', change: { type: 'link', path: name, inode } })
      const file = inode === 0 ? undefined : this.#inodes.get(inode)
      const bytes = (isLive ? file?.current : file?.durable)?.view()
      if (!bytes) continue
      const change = { type: 'write', offset: 0, bytes: Buffer.from(bytes) } as const
      disk.#apply({ type: 'data', inode, change })
    }
    disk.powerCut({ survivors: 'all' })
    return disk
  }

  /** Loses what the cut does not let survive. Files that are open are dead afterwards. */
  powerCut(cut: PowerCut): void {
    this.#powerCuts++
    const flip = (): boolean => ((cut.random as Random).bytes(1)[0] as number) < 128
    for (const inode of this.#inodes.values()) this.#cutInode(inode, cut.survivors, flip)
    this.#cutNames(cut.survivors, flip)
  }

  #cutInode(inode: Inode, survivors: Survivors, flip: () => boolean): void {
    const { current, durable, pending } = inode
    const isGrown = current.size > durable.size && survivors === 'torn'
    if (isGrown && pending.length > 0 && flip()) durable.resize(current.size)
    for (const change of inode.pending) {
      if (survivors === 'none') continue
      if (survivors === 'torn' && change.type !== 'truncate') {
        for (const part of sectors(change)) if (flip()) inode.durable.apply(part)
      } else if (survivors === 'all' || flip()) {
        inode.durable.apply(change)
      }
    }
    inode.pending = []
    inode.countDurable = inode.count
    inode.current.resize(0)
    inode.current.apply({ type: 'write', offset: 0, bytes: inode.durable.view() })
  }

  #cutNames(survivors: Survivors, flip: () => boolean): void {
    const ended = new Set<string>()
    for (const change of this.#pendingNames) {
      const directory = path.dirname(change.type === 'rename' ? change.to : change.path)
      if (survivors === 'none' || (survivors !== 'all' && !flip())) ended.add(directory)
      if (!ended.has(directory)) applyName(this.#durableNames, change)
    }
    this.#pendingNames = []
    for (const name of [...this.#durableNames.keys()].sort()) {
      const directory = path.dirname(name)
      if (directory !== '/' && !this.#durableNames.has(directory)) this.#durableNames.delete(name)
    }
    this.#names = new Map(this.#durableNames)
  }

  /** Flips bits of a byte that is stored, as rot would. */
  flip(filePath: string, offset: number, mask: number): void {
    const inode = this.#inodeAt(filePath)
    assert(inode !== undefined, `no file ${filePath}`)
    for (const content of [inode.current, inode.durable]) {
      const view = content.view()
      if (offset < view.length) view[offset] = (view[offset] as number) ^ mask
    }
  }

  /** Paths of all files, sorted. */
  files(): string[] {
    return [...this.#names].flatMap(([name, inode]) => (inode === 0 ? [] : [name])).sort()
  }

  #inodeAt(filePath: string): Inode | undefined {
    const number = this.#names.get(filePath)
    return number === undefined || number === 0 ? undefined : this.#inodes.get(number)
  }

  #apply(operation: Operation): void {
    this.#recorded?.push(operation)
    if (operation.type === 'name') {
      const { change } = operation
      applyName(this.#names, change)
      this.#pendingNames.push(change)
      if (change.type === 'link' && change.inode !== 0 && !this.#inodes.has(change.inode)) {
        this.#inodes.set(change.inode, new Inode())
        this.#nextInode = Math.max(this.#nextInode, change.inode + 1)
      }
    } else if (operation.type === 'syncDirectory') {
      this.#syncNames(operation.directory)
    } else {
      const inode = this.#inodes.get(operation.inode) as Inode
      if (operation.type === 'sync') inode.sync(operation.upTo)
      else inode.apply(operation.change)
    }
  }

  #syncNames(directory: string): void {
    this.#pendingNames = this.#pendingNames.filter((change) => {
      const target = change.type === 'rename' ? change.to : change.path
      if (path.dirname(target) !== directory) return true
      applyName(this.#durableNames, change)
      return false
    })
  }

  /** Throws what a failing device would. */
  #checkSync(what: string): void {
    this.syncCount++
    if (this.syncFailures === 0) return
    this.syncFailures--
    throw new WormholeError('IO_ERROR', `sync ${what}: the device failed`)
  }

  #usedBytes(): number {
    let bytes = 0
    for (const inode of new Set(this.#names.values())) {
      bytes += this.#inodes.get(inode)?.current.size ?? 0
    }
    return bytes
  }

  openSync(filePath: string, options: { create?: boolean; readOnly?: boolean } = {}): DiskFile {
    if (this.#inodeAt(filePath) === undefined) {
      const directory = path.dirname(filePath)
      const hasDirectory = directory === '/' || this.#names.get(directory) === 0
      if (!options.create || !hasDirectory) {
        throw new WormholeError('IO_ERROR', `open ${filePath}: no such file or directory`)
      }
      const change = { type: 'link', path: filePath, inode: this.#nextInode } as const
      this.#apply({ type: 'name', change })
    }
    return this.#openInode(this.#names.get(filePath) as number, filePath)
  }

  #openInode(number: number, filePath: string): DiskFile {
    const inode = this.#inodes.get(number) as Inode
    const powerCuts = this.#powerCuts
    let isOpen = true
    const check = (): void => {
      if (!isOpen || powerCuts !== this.#powerCuts) {
        throw new WormholeError('IO_ERROR', `${filePath} is not open any more`)
      }
    }
    const change = (operation: DataOperation): void => {
      check()
      this.#apply({ type: 'data', inode: number, change: operation })
    }
    const readSync = (offset: number, into: Uint8Array): number => {
      check()
      const bytes = inode.current.view().subarray(offset, offset + into.length)
      into.set(bytes)
      return bytes.length
    }
    const finishSync = (upTo: number): void => {
      check()
      this.#checkSync(filePath)
      if (!this.isLying) this.#apply({ type: 'sync', inode: number, upTo })
    }
    return {
      readSync,
      read: async (offset, into) => readSync(offset, into),
      writeSync: (offset, parts) => {
        const bytes = Buffer.concat(parts)
        const room = this.capacityBytes - this.#usedBytes()
        const growth = offset + bytes.length - inode.current.size
        const fitting = growth <= room ? bytes.length : bytes.length - (growth - Math.max(0, room))
        if (fitting > 0) change({ type: 'write', offset, bytes: bytes.subarray(0, fitting) })
        if (fitting < bytes.length) {
          throw new WormholeError('DISK_FULL', `write ${filePath}: no space left on the disk`)
        }
      },
      sync: async () => {
        check()
        const upTo = inode.count
        await Promise.resolve()
        finishSync(upTo)
      },
      syncSync: () => finishSync(inode.count),
      sizeSync: () => {
        check()
        return inode.current.size
      },
      truncateSync: (sizeBytes) => change({ type: 'truncate', sizeBytes }),
      punchSync: (offset, length) => change({ type: 'punch', offset, length }),
      close: () => {
        isOpen = false
      },
    }
  }

  readFileSync(filePath: string): Buffer | undefined {
    const inode = this.#inodeAt(filePath)
    return inode && Buffer.from(inode.current.view())
  }

  replaceFileSync(filePath: string, bytes: Uint8Array): void {
    const file = this.openSync(`${filePath}.new`, { create: true })
    file.truncateSync(0)
    file.writeSync(0, [bytes])
    file.syncSync()
    file.close()
    this.renameSync(`${filePath}.new`, filePath)
    this.syncDirectorySync(path.dirname(filePath))
  }

  listSync(directory: string): string[] {
    const names: string[] = []
    for (const name of this.#names.keys()) {
      if (path.dirname(name) === directory) names.push(path.basename(name))
    }
    return names.sort()
  }

  makeDirectorySync(directory: string): void {
    if (directory === '/' || this.#names.has(directory)) return
    this.makeDirectorySync(path.dirname(directory))
    this.#apply({ type: 'name', change: { type: 'link', path: directory, inode: 0 } })
  }

  removeSync(filePath: string): void {
    for (const name of [...this.#names.keys()].reverse()) {
      if (name !== filePath && !name.startsWith(`${filePath}/`)) continue
      this.#apply({ type: 'name', change: { type: 'unlink', path: name } })
    }
  }

  renameSync(from: string, to: string): void {
    if (!this.#names.has(from)) throw new WormholeError('IO_ERROR', `rename ${from}: no such file`)
    assert(
      path.dirname(from) === path.dirname(to) && this.#names.get(from) !== 0,
      'a file in place',
    )
    this.#apply({ type: 'name', change: { type: 'rename', from, to } })
  }

  syncDirectorySync(directory: string): void {
    this.#checkSync(directory)
    this.#apply({ type: 'syncDirectory', directory })
  }

  spaceSync(): { freeBytes: number; totalBytes: number } {
    const totalBytes = Math.min(this.capacityBytes, Number.MAX_SAFE_INTEGER)
    return { freeBytes: Math.max(0, totalBytes - this.#usedBytes()), totalBytes }
  }
}

function applyName(names: Map<string, number>, change: NameOperation): void {
  if (change.type === 'link') {
    names.set(change.path, change.inode)
  } else if (change.type === 'unlink') {
    names.delete(change.path)
  } else {
    const inode = names.get(change.from)
    names.delete(change.from)
    if (inode !== undefined) names.set(change.to, inode)
  }
}

/** A write or a hole cut at sector boundaries. */
function* sectors(
  change: Exclude<DataOperation, { readonly type: 'truncate' }>,
): Generator<DataOperation> {
  const { offset } = change
  const length = change.type === 'write' ? change.bytes.length : change.length
  for (let at = 0; at < length;) {
    const end = Math.min(length, at + SECTOR_BYTES - ((offset + at) % SECTOR_BYTES))
    if (change.type === 'punch') yield { type: 'punch', offset: offset + at, length: end - at }
    else yield { type: 'write', offset: offset + at, bytes: change.bytes.subarray(at, end) }
    at = end
  }
}
