/**
 * What must hold, looked at from outside: the trees that devices show, the log that they share, and
 * the reference model of contents. Nothing here changes a device.
 */
import { decodeChange, type DecodedChange } from '../../src/crdt/change.ts'
import { deriveTree } from '../../src/crdt/derive.ts'
import { deviceNameOf } from '../../src/crdt/contest.ts'
import { TABLE } from '../../src/crdt/layer.ts'
import type { Content } from '../../src/crdt/interface.ts'
import { versionOf, type InodeRow } from '../../src/crdt/records.ts'
import { LayerReader } from '../../src/crdt/tree-reader.ts'
import { strategyOf } from '../../src/daemon/strategy.ts'
import { hasCode } from '../../src/errors.ts'
import { openEntry } from '../../src/log/entry.ts'
import type { Entry } from '../../src/log/interface.ts'
import { EMPTY_FRONTIER } from '../../src/log/frontier.ts'
import { feedDevice, feedRoot } from '../../src/types.ts'
import type { DeviceId, FeedId, InodeId, VolumeId } from '../../src/types.ts'
import { CONTEXT, ROOT } from '../helpers/vfs-user.ts'
import type { SimDevice } from './device.ts'
import { check, Failure } from './failure.ts'
import { isAccounted, type Deed, type Ledger } from './ledger.ts'
import type { Temporary } from './user.ts'

const S_IFMT = 0o170000
const READ_BYTES_MAX = 1 << 26

/** What a device shows. */
export interface Shown {
  /** One line per path: everything that must be the same on all devices. */
  readonly lines: readonly string[]
  readonly deeds: ReadonlySet<Deed>
  /** Paths of files whose bytes are not on the device. */
  readonly elsewhere: ReadonlySet<string>
  /** False: bytes that it names are on no device that runs. */
  readonly isComplete: boolean
}

/**
 * The whole tree of a device as its users see it, in this instant. The deeds in contents that are
 * not here are told by others that have them.
 */
export function look(
  device: SimDevice,
  ledger: Ledger,
  others: readonly SimDevice[] = [],
): Promise<Shown> {
  return device.observe(() => lookAt(device, ledger, others))
}

async function lookAt(
  device: SimDevice,
  ledger: Ledger,
  others: readonly SimDevice[],
): Promise<Shown> {
  const lines: string[] = []
  const deeds = new Set<Deed>()
  const elsewhere = new Set<string>()
  let isComplete = true
  const { overlay } = device.daemon
  const walk = async (nodeId: number, directory: InodeId, path: string): Promise<void> => {
    for (const entry of await device.names(nodeId)) {
      const found = device.lookup(nodeId, entry)
      const dirent = overlay.lookup(directory, entry as never)
      if (!found || !dirent) throw new Failure('convergence', `listed and not found: ${entry}`)
      const { mode, nlink, sizeBytes } = found.attr
      const at = `${path}/${entry}`
      const node = overlay.node(dirent.id)
      const xattrs = [...(node?.attributes.xattrs ?? [])].map(([key, value]) => `${key}=${value}`)
      const type = mode & S_IFMT
      let what = ''
      if (type === 0o100000) {
        what = readAt(device, ledger, { found, entry: at, deeds })
        if (what === 'elsewhere') elsewhere.add(at)
        const isHere = what !== 'elsewhere' || entry.startsWith('.wormhole')
        isComplete &&= isHere || readElsewhere(node?.content, ledger, { others, entry: at, deeds })
      }
      if (type === 0o120000) what = String(await device.fs.readlink(found.nodeId))
      const meta = `${dirent.id} ${mode.toString(8)} ${nlink} ${xattrs.sort().join()}`
      lines.push(`${at} ${meta} ${type === 0o100000 ? sizeBytes : ''} ${what}`)
      if (type === 0o040000) await walk(found.nodeId, dirent.id, at)
      device.fs.forget(found.nodeId, 1)
    }
  }
  await walk(ROOT, overlay.root, '')
  return { lines: lines.sort(), deeds, elsewhere, isComplete }
}

/** Whether some other device has a content. */
function readElsewhere(
  content: Content | undefined,
  ledger: Ledger,
  where: {
    readonly others: readonly SimDevice[]
    readonly entry: string
    readonly deeds: Set<Deed>
  },
): boolean {
  if (content?.kind !== 'file') return false
  const { ref, sizeBytes } = content
  for (const other of where.others) {
    if (!other.isAlive) continue
    try {
      const pieces = other.daemon.contents.read(
        { ref, sizeBytes },
        { offset: 0, length: sizeBytes },
      )
      if (Array.isArray(pieces)) {
        const shown = ledger.deedsIn(Buffer.concat(pieces), `${other.name}:${where.entry}`)
        for (const deed of shown) where.deeds.add(deed)
        return true
      }
      void pieces.catch(() => undefined)
    } catch (error) {
      if (!hasCode(error, 'CHUNK_UNAVAILABLE') && !hasCode(error, 'CHUNK_CORRUPT')) throw error
    }
  }
  return false
}

function readAt(
  device: SimDevice,
  ledger: Ledger,
  what: {
    readonly found: { readonly nodeId: number; readonly attr: { readonly sizeBytes: number } }
    readonly entry: string
    readonly deeds: Set<Deed>
  },
): string {
  const { found, entry, deeds } = what
  const handle = device.open(found.nodeId, 0)
  try {
    const pieces = device.fs.read(CONTEXT, handle, 0, READ_BYTES_MAX)
    if (!Array.isArray(pieces)) {
      void (pieces as Promise<unknown>).catch(() => undefined)
      return 'elsewhere'
    }
    const bytes = Buffer.concat(pieces)
    check(bytes.length === found.attr.sizeBytes, 'integrity', () => {
      const { sizeBytes } = found.attr
      return `${device.name}:${entry} has ${bytes.length} bytes, its size is ${sizeBytes}`
    })
    const name = entry.slice(entry.lastIndexOf('/') + 1)
    // A policy file that the tree has lost comes back, too.
    const isPolicy =
      name.startsWith('.wormhole') || (name.startsWith('recovered ') && !isData(bytes))
    if (isPolicy) return JSON.stringify(bytes.toString())
    const shown = ledger.deedsIn(bytes, `${device.name}:${entry}`)
    for (const deed of shown) deeds.add(deed)
    return shown.map(({ token }) => token).join(' ')
  } catch (error) {
    if (hasCode(error, 'CHUNK_UNAVAILABLE')) return 'elsewhere'
    throw error
  } finally {
    device.close(handle)
  }
}

/** Whether a content is made of cells and holes, not the text of a policy. */
function isData(bytes: Buffer): boolean {
  return bytes.length === 0 || bytes[0] === 0x54 || bytes[0] === 0
}

/** Contents in the history of every file shown: where last-writer-wins leaves the losers. */
export async function lookBack(device: SimDevice, ledger: Ledger): Promise<Set<Deed>> {
  const { overlay, contents, tree } = device.daemon
  const deeds = new Set<Deed>()
  for (const id of inodesOf(tree.inspect().layer)) {
    for (const { content } of overlay.history({ inode: id })) {
      if (content.kind !== 'file') continue
      const { ref, sizeBytes } = content
      try {
        const reading = contents.read({ ref, sizeBytes }, { offset: 0, length: sizeBytes })
        const pieces = Array.isArray(reading) ? reading : await device.settle(reading)
        const bytes = Buffer.concat(pieces)
        if (!isData(bytes)) continue
        for (const deed of ledger.deedsIn(bytes, `history of ${id}`)) deeds.add(deed)
      } catch (error) {
        if (!hasCode(error, 'CHUNK_UNAVAILABLE')) throw error
      }
    }
  }
  return deeds
}

type Layer = ReturnType<SimDevice['daemon']['tree']['inspect']>['layer']

function inodesOf(layer: Layer): InodeId[] {
  return layer.rawRange(TABLE.inode, { countMax: 1e9 }).map(({ key }) => key.slice(1) as InodeId)
}

/** Versions that stand beside others, shown or hidden because the last writer has won. */
export function contestedVersions(device: SimDevice): Set<string> {
  const { layer } = device.daemon.tree.inspect()
  const found = new Set<string>()
  const note = (row: InodeRow | undefined): void => {
    for (const value of row?.C ?? []) found.add(`${row?.id} ${versionOf(value)}`)
  }
  for (const id of inodesOf(layer)) {
    const row = layer.inode(id)
    if (row && row.C.length > 1) note(row)
  }
  for (const { key } of layer.rawRange(TABLE.contested, { countMax: 1e9 })) {
    for (const { claims } of layer.slotsAt(TABLE.slot + key.slice(1))) {
      for (const claim of claims) note(layer.inode(layer.inode(claim)?.target || claim))
    }
  }
  return found
}

/** The names of the index are what follows from all registers from scratch. */
export function checkDerived(device: SimDevice): void {
  const { layer } = device.daemon.tree.inspect()
  const registers = new Map<InodeId, InodeRow>()
  for (const id of inodesOf(layer)) {
    const row = layer.inode(id)
    if (row) registers.set(id, row)
  }
  const derived = deriveTree(registers, {
    strategyOf,
    deviceNameOf: (op) => (op === '' ? 'unknown' : deviceNameOf(layer, op)),
  })
  const reader = new LayerReader(layer)
  const lines = (of: 'index' | 'registers'): string[] => {
    const found: string[] = []
    for (const [directory, names] of derived.directories) {
      const listed =
        of === 'registers'
          ? [...names].map(([name, { id }]) => ({ name, id }))
          : reader.list(directory, { countMax: 1e6 }).entries
      for (const { name, id } of listed) found.push(`${directory} ${name} ${id}`)
    }
    return found.sort()
  }
  checkSame(lines('index'), lines('registers'), `${device.name}: index and registers`)
}

/** Two lists of lines are the same. @throws {Failure} with the first differences. */
export function checkSame(
  left: readonly string[],
  right: readonly string[],
  what: string,
  checker: 'convergence' | 'durability' = 'convergence',
): void {
  const [onlyLeft, onlyRight] = [
    left.filter((line) => !right.includes(line)),
    right.filter((line) => !left.includes(line)),
  ]
  check(onlyLeft.length === 0 && onlyRight.length === 0, checker, () => {
    const show = (lines: string[]): string => lines.slice(0, 5).join('\n    ')
    const [left, right] = [show(onlyLeft), show(onlyRight)]
    return `${what} differ\n  left only:\n    ${left}\n  right only:\n    ${right}`
  })
}

/** A deed and what became of it, for people. */
export function tell({ token, state, device, atMs, replacedBy }: Deed): string {
  const by = replacedBy.map((next) => `${next.token || 'a removal'} (${next.state})`)
  return `${token} (${state}, by ${device} at ${atMs}, replaced by ${by.join() || 'nothing'})`
}

/** Nobody sees an effect without its cause. */
export function checkCauses(device: SimDevice, { deeds, isComplete }: Shown): void {
  if (!isComplete) return
  const known = new Map<Deed, boolean>()
  for (const deed of deeds) {
    for (const cause of deed.causes) {
      check(isAccounted(cause, deeds, known), 'causality', () => {
        const author = `${deed.device}, who wrote ${deed.token},`
        return `${author} had seen ${tell(cause)}; ${device.name} shows the one without the other`
      })
    }
  }
}

/** What an entry does to the tree; none where it is not valid. */
function changesOf(entry: Entry): DecodedChange[] {
  try {
    return (entry.tree?.changes ?? []).map(({ change }) => decodeChange(change))
  } catch (error) {
    if (hasCode(error, 'ENTRY_INVALID')) return []
    throw error
  }
}

/** The log of a volume as one device holds it, opened. Entries are opened once. */
export class LogView {
  readonly #volume: VolumeId
  readonly #entries = new Map<string, Entry>()
  /** Entries checked, by device: feeds and lengths. */
  readonly #seen = new Map<string, Map<FeedId, number>>()

  constructor(volume: VolumeId) {
    this.#volume = volume
  }

  /** Entries of a feed or branch that open, in order. */
  entries(device: SimDevice, feed: FeedId, from = 0): Entry[] {
    const { keys } = device.daemon
    const found: Entry[] = []
    for (const { seq, hash, previousHash, bytes } of device.daemon.feeds.read(
      feed,
      from,
      1 << 30,
    )) {
      let entry = this.#entries.get(hash)
      if (!entry) {
        const frame = { feed: feedRoot(feed), seq, previousHash, hash, bytes }
        const use = { volume: this.#volume, keys, previousFrontier: EMPTY_FRONTIER }
        try {
          entry = openEntry(frame, use)
        } catch (error) {
          const isShut = hasCode(error, 'ENTRY_INVALID') || hasCode(error, 'KEY_MISSING')
          if (!isShut) throw error
          continue
        }
        this.#entries.set(hash, entry)
      }
      found.push(entry)
    }
    return found
  }

  /** Nothing is applied before what its author had applied. */
  checkFrontiers(device: SimDevice): void {
    const { volume, feeds } = device.daemon
    const applied = volume.appliedFrontier()
    const seen = this.#seen.get(device.name) ?? new Map<FeedId, number>()
    this.#seen.set(device.name, seen)
    for (const [feed, head] of applied) {
      const from = seen.get(feed) ?? 0
      if (from >= head.length) continue
      for (const { seq, tips } of this.entries(device, feed, from)) {
        if (seq >= head.length) break
        for (const tip of tips) {
          // Behind a gap a snapshot stands for what is missing.
          const isInGap = (branch: FeedId): boolean =>
            feeds.gaps(branch).some(({ from, to }) => from < tip.length && tip.length <= to)
          // What rot took from the end of a log is still shown, and named (src/log/README.md).
          const isShown = applied.get(tip.feed)?.hash === tip.hash
          const held = isShown ? tip.feed : feeds.locate(tip)
          const place = held ?? feeds.branches(tip.feed).find(isInGap)
          const has = place === undefined ? 0 : (applied.get(place)?.length ?? 0)
          check(has >= tip.length, 'causality', () => {
            const entry = `entry ${seq} of ${feed.slice(0, 8)}`
            const needs = `${tip.length} entries of ${tip.feed.slice(0, 8)}`
            return `${device.name} applied ${entry}, which needs ${needs}: it has applied ${has}`
          })
        }
      }
      seen.set(feed, head.length)
    }
  }

  /**
   * Contents that one device wrote into the log twice. Writing one again over others than the first
   * time is right: that settles a conflict. An edit that is published twice finds nothing more to
   * overwrite. A home that was restored does again what its backup had not published yet:
   * `isExempt` says which.
   */
  checkOnce(device: SimDevice, isExempt: (author: DeviceId) => boolean): void {
    const feeds = [...device.daemon.volume.frontier().keys()]
    const puts = feeds.flatMap((feed) => this.#contentPuts(device, feed))
    /** What they overwrote, by author and value. */
    const own = new Map<string, Set<string>>()
    for (const { value, author, seq, predecessors } of puts) {
      if (isExempt(author)) continue
      const before = own.get(author + value)
      const isSettling = predecessors.some((op) => !before?.has(op))
      check(!before || isSettling, 'conflict', () => {
        return `content put twice, now in entry ${seq} of ${author}: ${value}`
      })
      own.set(author + value, new Set([...(before ?? []), ...predecessors]))
    }
  }

  #contentPuts(device: SimDevice, feed: FeedId) {
    return this.entries(device, feed).flatMap((entry) =>
      changesOf(entry).flatMap((change) =>
        change.ops.flatMap(({ key, value, predecessors }) => {
          if (!key.startsWith('C')) return []
          const text = `${key} ${Buffer.from(value).toString('hex')}`
          return [{ value: text, author: feedDevice(feed), seq: entry.seq, predecessors }]
        }),
      ),
    )
  }

  /** Files that were gone at once are in no entry, unless their device died just then. */
  checkShortLived(device: SimDevice, temporaries: readonly Temporary[]): void {
    const names = temporaries.map(({ name }) => name)
    for (const feed of device.daemon.volume.frontier().keys()) {
      for (const entry of this.entries(device, feed)) {
        for (const { ops } of changesOf(entry)) {
          for (const { key, value } of ops) {
            if (!key.startsWith('L')) continue
            const text = Buffer.from(value).toString('latin1')
            const found = names.find((name) => text.includes(name))
            check(found === undefined, 'short-lived', () => `${found} is in the log`)
          }
        }
      }
    }
  }
}
