/**
 * Which chunks of the files that this device keeps are not here: goes through the whole tree in the
 * index, beside those who use it. What is on the list of contents yet to be fetched is no finding.
 */
import type { ContentReader } from '../chunks/reader.ts'
import { inodeKind } from '../crdt/ids.ts'
import { Layer, TABLE } from '../crdt/layer.ts'
import { versionOf, type InodeRow } from '../crdt/records.ts'
import type { RowStore } from '../crdt/rows.ts'
import { policiesAbove } from '../crdt/strategy.ts'
import { LayerReader } from '../crdt/tree-reader.ts'
import { hasCode } from '../errors.ts'
import type { Finding } from '../finding.ts'
import type { DeviceLabels } from '../policy/interface.ts'
import { pinChecker } from './pins.ts'
import { keptUpTo } from './strategy.ts'
import { nameToText, type ChunkAddress, type InodeId } from '../types.ts'

const PAGE_COUNT = 512
const DEPTH_MAX = 4096

/** A content with chunks that should be here and are not. */
export interface LackingContent {
  readonly path: string
  readonly inode: InodeId
  readonly version: string
  /** Those that are known to be missing or damaged; a missing manifest hides what it names. */
  readonly addresses: readonly ChunkAddress[]
}

/** What the check needs. */
export interface ContentCheckPorts {
  readonly rows: RowStore
  readonly reader: Pick<ContentReader, 'addresses'>
  /** Of this device. */
  readonly labels: DeviceLabels
  readonly pins: readonly InodeId[]
  /** Whether a chunk is here and undamaged. */
  isGood(address: ChunkAddress): boolean
}

/** One page of the tree. */
export interface ContentStep {
  readonly files: number
  readonly lacking: readonly LackingContent[]
}

/** Goes through all files. @throws {WormholeError} `INDEX_CORRUPT`. */
export async function* checkContents(ports: ContentCheckPorts): AsyncGenerator<ContentStep> {
  const layer = new Layer(ports.rows)
  const keptOf = keptBelow(layer, ports.labels)
  const isPinned = pinChecker(new LayerReader(layer), ports.pins)
  const sizeMaxOf = (row: InodeRow): number => (isPinned(row.id) ? Infinity : keptOf(row))
  for (const page of layer.inodePages(PAGE_COUNT)) {
    const lacking: LackingContent[] = []
    let files = 0
    for (const row of page) {
      if (!row.isAlive || inodeKind(row.id) === 'directory') continue
      files++
      lacking.push(...(await lackingOf(ports, layer, { row, sizeBytesMax: sizeMaxOf(row) })))
    }
    yield { files, lacking }
  }
}

/** Up to which size this device keeps contents, by the directory that an inode is in. */
function keptBelow(layer: Layer, labels: DeviceLabels): (row: InodeRow) => number {
  const known = new Map<string, number>()
  return ({ slotParent }) => {
    const before = known.get(slotParent)
    if (before !== undefined) return before
    const policies = slotParent === '' ? [] : policiesAbove(layer, slotParent)
    const texts = policies.map(({ policy }) => policy)
    const sizeBytesMax = keptUpTo(texts, labels)
    known.set(slotParent, sizeBytesMax)
    return sizeBytesMax
  }
}

async function lackingOf(
  { reader, isGood }: ContentCheckPorts,
  layer: Layer,
  { row, sizeBytesMax }: { readonly row: InodeRow; readonly sizeBytesMax: number },
): Promise<LackingContent[]> {
  const found: LackingContent[] = []
  for (const value of row.C) {
    const content = value.data
    if (content.kind !== 'file' || content.ref.type === 'empty') continue
    const version = versionOf(value)
    if (layer.raw(TABLE.want + row.id + version)) continue
    const { ref, sizeBytes } = content
    if (sizeBytes > sizeBytesMax) continue
    let missing = [ref.address].filter((address) => !isGood(address))
    if (missing.length === 0 && ref.type === 'manifest') {
      try {
        const addresses = await reader.addresses({ ref, sizeBytes })
        missing = addresses.filter((address) => !isGood(address))
      } catch (error) {
        if (!hasCode(error, 'CHUNK_UNAVAILABLE') && !hasCode(error, 'CHUNK_CORRUPT')) throw error
        missing = [ref.address]
      }
    }
    if (missing.length === 0) continue
    found.push({ path: pathOf(layer, row.id), inode: row.id, version, addresses: missing })
  }
  return found
}

function pathOf(layer: Layer, id: InodeId): string {
  const reader = new LayerReader(layer)
  const names: string[] = []
  for (let at = id; at !== reader.root && names.length < DEPTH_MAX;) {
    const node = reader.node(at)
    if (!node) return `/?/${names.reverse().join('/')}`
    names.push(nameToText(node.name))
    at = node.parent
  }
  return `/${names.reverse().join('/')}`
}

/** As the report says it. */
export function lackingFinding({ path, addresses }: LackingContent): Finding {
  const which = addresses.length === 1 ? 'a chunk' : `${addresses.length} chunks`
  const [address] = addresses
  return {
    part: 'contents',
    code: 'CHUNK_UNAVAILABLE',
    message: `${which} of ${path} should be on this device and are not, or are damaged`,
    path,
    ...(address === undefined ? {} : { address }),
  }
}
