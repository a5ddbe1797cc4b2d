/**
 * What a volume keeps in the index beside the tree, as a snapshot tells it: names of rows, reading
 * them out of an index, and making them for another one. And the digest of it all by which a
 * snapshot is proved once the log is here.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { TABLE } from '../crdt/layer.ts'
import type { RowReader } from '../crdt/rows.ts'
import { metaKey } from '../crdt/writer-meta.ts'
import { WormholeError } from '../errors.ts'
import { readFrontier, writeFrontier } from '../log/frontier.ts'
import {
  decodeFeedProgress,
  decodeMemberState,
  encodeFeedProgress,
  encodeMemberState,
} from '../log/member-rows.ts'
import type { MemberState, Position } from '../log/member-rows.ts'
import { hash } from '../seal.ts'
import type { DeviceId, Frontier } from '../types.ts'
import { encodeSnapshotLog, type SnapshotLog } from './log-part.ts'

/** Names of the rows, as `volume.ts` and `membership.ts` have them. */
const ROW = {
  frontier: 'frontier',
  stamps: 'stamps',
  members: 'm/log/members',
  feed: 'm/log/feed/',
}
/** The row that is there while a snapshot is not proved. */
const UNPROVED_ROW = 'snapshot'

/** What was applied, by an index. @throws {WormholeError} `INDEX_CORRUPT`. */
export function readLogState(rows: RowReader): { frontier: Frontier; log: SnapshotLog } {
  const row = (name: string): Buffer => {
    const value = rows.get(metaKey(name))
    if (value) return value
    throw new WormholeError('INDEX_CORRUPT', `the index has no row ${name}`)
  }
  const frontier = readFrontier(new ByteReader(row(ROW.frontier), 'INDEX_CORRUPT'))
  const stamps = new Map(JSON.parse(row(ROW.stamps).toString()) as [DeviceId, number][])
  const { state, feeds } = decodeMemberState(row(ROW.members))
  const progress = new Map(
    feeds.map((feed) => [feed, decodeFeedProgress(row(ROW.feed + feed))] as const),
  )
  return { frontier, log: { members: state, progress, stamps } }
}

/**
 * The same as rows; `frontier` apart. Stored with it: who knows itself a member writes entries, and
 * those must name what they build on.
 */
export function logStateRows({ members, progress, stamps }: SnapshotLog): Map<string, Uint8Array> {
  const rows = new Map<string, Uint8Array>([
    [ROW.stamps, Buffer.from(JSON.stringify([...stamps]))],
    [ROW.members, encodeMemberState(members, progress.keys())],
  ])
  for (const [feed, row] of progress) rows.set(ROW.feed + feed, encodeFeedProgress(row))
  return rows
}

/** The row that says what is applied. */
export function frontierRow(frontier: Frontier): [string, Uint8Array] {
  return [ROW.frontier, encodeFrontier(frontier)]
}

function encodeFrontier(frontier: Frontier): Buffer {
  const writer = new ByteWriter(1024)
  writeFrontier(writer, frontier)
  return writer.finish()
}

/** A snapshot that was loaded and is not proved. */
export interface Unproved {
  /** Up to where it told. */
  readonly frontier: Frontier
  /** Of what it told: `digestOf`. */
  readonly digest: string
  /** Who made it. */
  readonly author: DeviceId
}

/** The row of it. */
export function unprovedRow({ frontier, digest, author }: Unproved): [string, Uint8Array] {
  const writer = new ByteWriter(1024).hex(digest).hex(author).bytes(encodeFrontier(frontier))
  return [UNPROVED_ROW, writer.finish()]
}

/** The row once it is proved. */
export const PROVED_ROW: readonly [string, Uint8Array] = [UNPROVED_ROW, Buffer.alloc(0)]

/** `row` gives the bytes of a name. */
export function readUnproved(row: (name: string) => Buffer | undefined): Unproved | undefined {
  const bytes = row(UNPROVED_ROW)
  if (bytes === undefined || bytes.length === 0) return undefined
  const reader = new ByteReader(bytes, 'INDEX_CORRUPT')
  const digest = reader.hex(32)
  const author = reader.hex(32) as DeviceId
  const frontier = readFrontier(new ByteReader(reader.bytes(), 'INDEX_CORRUPT'))
  return { digest, author, frontier }
}

/** Hashes of changes that nothing follows, by shard; and the actors with their devices. */
export interface TreeState {
  readonly heads: ReadonlyMap<number, readonly string[]>
  readonly actors: readonly string[]
}

/**
 * BLAKE2b-256 (hex) of members and tree, the same whatever order they were learnt in. The hashes
 * of a shard's newest changes stand for all of its changes.
 */
export function digestOf(log: Omit<SnapshotLog, 'stamps'>, tree: TreeState): string {
  const members = sorted(log.members)
  const progress = new Map([...log.progress].sort(([a], [b]) => (a < b ? -1 : 1)))
  const lines: string[] = []
  for (const shard of [...tree.heads.keys()].sort((a, b) => a - b)) {
    lines.push(`${shard} ${[...(tree.heads.get(shard) as string[])].sort().join(' ')}`)
  }
  // A device knows its own actor before it has announced it.
  const announced = new Set<string>(log.members.claims.map(({ actor }) => actor))
  lines.push(...tree.actors.filter((line) => announced.has(line.slice(0, 32))).sort())
  const told = encodeSnapshotLog({ members, progress, stamps: new Map() })
  return hash(told, Buffer.from(lines.join('\n'), 'utf8')).toString('hex')
}

function sorted(state: MemberState): MemberState {
  const key = ({ feed, seq, hash: entry }: Position): string => `${feed} ${seq} ${entry}`
  const by = <T extends { readonly position: Position }>(rows: readonly T[]): T[] =>
    [...rows].sort((a, b) => (key(a.position) < key(b.position) ? -1 : 1))
  return {
    volumeName: state.volumeName,
    admissions: by(state.admissions),
    invites: by(state.invites),
    selves: new Map([...state.selves].sort(([a], [b]) => (a < b ? -1 : 1))),
    claims: by(state.claims),
    revocations: by(state.revocations),
    generations: by(state.generations),
  }
}

/** One actor as `TreeState` has it. */
export function actorLine(actor: string, device: string, deviceName: string): string {
  return `${actor} ${device} ${deviceName}`
}

/** The tree of an index, as far as the digest needs it. */
export function readTreeState(rows: RowReader): TreeState {
  const heads = new Map<number, readonly string[]>()
  for (const { key, value } of rows.range(TABLE.shardState)) {
    heads.set((key.charCodeAt(1) << 8) | key.charCodeAt(2), headsOf(value))
  }
  const actors = rows.range(TABLE.actorById).map(({ value }) => {
    const [, actor, device, name] = JSON.parse(value.toString('utf8')) as string[]
    return actorLine(actor as string, device as string, name as string)
  })
  return { heads, actors }
}

/** The heads in a row of `shard-state.ts`. */
function headsOf(row: Buffer): string[] {
  const reader = new ByteReader(row, 'INDEX_CORRUPT')
  for (let skipped = 0; skipped < 5; skipped++) reader.varint()
  const heads: string[] = []
  for (let left = reader.varint(); left > 0; left--) {
    heads.push(reader.hex(32))
    reader.varint()
  }
  return heads
}
