/**
 * The log of a snapshot: who is a member, how far each feed was folded, the newest stamps, and the
 * newest entry of each feed, exactly as its author signed it. Format: README.md.
 *
 * Unlike the rows of `member-rows.ts`, which a device reads of itself, this comes from a peer:
 * everything is checked.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { readFeed, readFrontier, writeFeed, writeFrontier } from '../log/frontier.ts'
import type { Admission, FeedProgress, InviteRow, MemberState } from '../log/member-rows.ts'
import { emptyMemberState, type Position, type SelfRank, type SelfRow } from '../log/member-rows.ts'
import type { ActorId, DeviceId, FeedId, Frontier, Role } from '../types.ts'
import { PART_BYTES_MAX } from './statement.ts'

/** What a snapshot says of the log. */
export interface SnapshotLog {
  readonly members: MemberState
  readonly progress: ReadonlyMap<FeedId, FeedProgress>
  /** Stamp of the newest entry of each device. */
  readonly stamps: ReadonlyMap<DeviceId, number>
}

const ROLES: readonly Role[] = ['reader', 'writer', 'admin']
const TEXT_BYTES_MAX = 1024
const KEY_BYTES = 32
const ROWS_MAX = 200_000
const LABELS_MAX = 256
const IS_RECOVERY = 1

/** Encodes it; fresh memory. */
export function encodeSnapshotLog(log: SnapshotLog): Buffer {
  const writer = new ByteWriter(4096)
  const { members } = log
  writeText(writer, members.volumeName)
  writeRows(writer, members.admissions, writeAdmission)
  writeRows(writer, members.invites, writeInvite)
  writeRows(writer, [...members.selves], writeSelf)
  writeRows(writer, members.claims, (out, { actor, position }) => {
    writePosition(out.hex(actor), position)
  })
  writeRows(writer, [...log.progress], (out, [feed, { length, frontier }]) => {
    writeFeed(out, feed)
    writeNested(out.varint(length), frontier)
  })
  writeRows(writer, [...log.stamps], (out, [device, stamp]) => out.hex(device).varint(stamp))
  if (members.revocations.length + members.generations.length > 0) writeTurns(writer, members)
  return writer.finish()
}

/** @throws {WormholeError} `SNAPSHOT_INVALID`. */
export function decodeSnapshotLog(bytes: Uint8Array): SnapshotLog {
  const reader = new ByteReader(Uint8Array.from(bytes), 'SNAPSHOT_INVALID')
  const members = emptyMemberState()
  members.volumeName = readText(reader)
  members.admissions.push(...readRows(reader, readAdmission))
  members.invites.push(...readRows(reader, readInvite))
  for (const [device, self] of readRows(reader, readSelf)) members.selves.set(device, self)
  members.claims.push(
    ...readRows(reader, (row) => ({
      actor: row.hex(16) as ActorId,
      position: readPosition(row),
    })),
  )
  const progress = readRows(reader, (row): [FeedId, FeedProgress] => {
    const feed = readFeed(row)
    const length = row.varint()
    // Who takes a snapshot acknowledges it all, whether it says more than acknowledgements or not.
    return [feed, { length, saidLength: length, frontier: readNested(row) }]
  })
  const stamps = readRows(reader, (row): [DeviceId, number] => [
    row.hex(KEY_BYTES) as DeviceId,
    row.varint(),
  ])
  if (reader.left > 0) readTurns(reader, members)
  reader.end()
  return { members, progress: new Map(progress), stamps: new Map(stamps) }
}

/** Revocations and key generations, and what admissions and invites knew of them. */
function writeTurns(writer: ByteWriter, members: MemberState): void {
  writeRows(writer, members.revocations, (out, { position, hlc, device, heads }) => {
    writePosition(out, position)
    out.varint(hlc).hex(device)
    writeRows(out, heads, (each, { feed, length, hash }) => {
      writeFeed(each, feed)
      each.varint(length).hex(hash)
    })
  })
  writeRows(writer, members.generations, (out, row) => {
    writePosition(out, row.position)
    out.varint(row.generation).hex(row.commitment)
    writeRows(out, [...row.knows].sort(), (each, hash) => each.hex(hash))
    writeRows(out, [...row.holders].sort(), (each, device) => each.hex(device))
  })
  for (const { knows = [] } of [...members.admissions, ...members.invites]) {
    writeRows(writer, [...knows].sort(), (each, hash) => each.hex(hash))
  }
}

function readTurns(reader: ByteReader, members: MemberState): void {
  const readHash = (row: ByteReader): string => row.hex(KEY_BYTES)
  members.revocations.push(
    ...readRows(reader, (row) => ({
      position: readPosition(row),
      hlc: row.varint(),
      device: row.hex(KEY_BYTES) as DeviceId,
      heads: readRows(row, (each) => ({
        feed: readFeed(each),
        length: each.varint(),
        hash: readHash(each),
      })),
    })),
  )
  members.generations.push(
    ...readRows(reader, (row) => ({
      position: readPosition(row),
      generation: row.varint(),
      commitment: readHash(row),
      knows: readRows(row, readHash),
      holders: new Set(readRows(row, readHash) as DeviceId[]),
    })),
  )
  for (const rows of [members.admissions, members.invites]) {
    for (const [index, row] of rows.entries()) {
      const knows = readRows(reader, readHash)
      if (knows.length > 0) rows[index] = { ...row, knows } as never
    }
  }
}

/** The newest entries of feeds as parts of about `bytesMax`. */
export function* encodeHeads(
  frames: Iterable<{ readonly feed: FeedId; readonly bytes: Uint8Array }>,
  bytesMax: number,
): Generator<Buffer> {
  let writer = new ByteWriter(4096)
  for (const { feed, bytes } of frames) {
    writeFeed(writer, feed)
    writer.bytes(bytes)
    if (writer.length < bytesMax) continue
    yield writer.finish()
    writer = new ByteWriter(4096)
  }
  if (writer.length > 0) yield writer.finish()
}

/** Frames are not looked into. @throws {WormholeError} `SNAPSHOT_INVALID`. */
export function decodeHeads(part: Uint8Array): { feed: FeedId; bytes: Buffer }[] {
  const reader = new ByteReader(part, 'SNAPSHOT_INVALID')
  const heads: { feed: FeedId; bytes: Buffer }[] = []
  while (reader.left > 0) {
    heads.push({ feed: readFeed(reader), bytes: Buffer.from(reader.bytes(PART_BYTES_MAX)) })
  }
  return heads
}

function writeRows<T>(
  writer: ByteWriter,
  rows: readonly T[],
  write: (writer: ByteWriter, row: T) => unknown,
): void {
  writer.varint(rows.length)
  for (const row of rows) write(writer, row)
}

function readRows<T>(reader: ByteReader, read: (reader: ByteReader) => T): T[] {
  const count = reader.varint()
  if (count > ROWS_MAX || count > reader.left) reader.fail(`${count} rows`)
  const rows: T[] = []
  for (let index = 0; index < count; index++) rows.push(read(reader))
  return rows
}

function writeText(writer: ByteWriter, text: string): void {
  writer.bytes(Buffer.from(text, 'utf8'))
}

function readText(reader: ByteReader): string {
  return reader.bytes(TEXT_BYTES_MAX).toString('utf8')
}

/** A frontier has no end of its own: its length goes before it. */
function writeNested(writer: ByteWriter, frontier: Frontier): void {
  const nested = new ByteWriter(256)
  writeFrontier(nested, frontier)
  writer.bytes(nested.finish())
}

function readNested(reader: ByteReader): Frontier {
  const nested = new ByteReader(reader.bytes(), 'SNAPSHOT_INVALID')
  const frontier = readFrontier(nested)
  nested.end()
  return frontier
}

function writePosition(writer: ByteWriter, { feed, seq, hash }: Position): void {
  writeFeed(writer, feed)
  writer.varint(seq).hex(hash)
}

function readPosition(reader: ByteReader): Position {
  return { feed: readFeed(reader), seq: reader.varint(), hash: reader.hex(KEY_BYTES) }
}

function readRole(reader: ByteReader): Role {
  return ROLES[reader.u8()] ?? reader.fail('unknown role')
}

function writeAdmission(writer: ByteWriter, row: Admission): void {
  writePosition(writer, row.position)
  writer.varint(row.hlc).hex(row.device).u8(ROLES.indexOf(row.role))
  writeText(writer, row.name)
  writer.raw(row.boxKey).bytes(Buffer.from(row.inviteKey, 'hex'))
}

function readAdmission(reader: ByteReader): Admission {
  const position = readPosition(reader)
  const hlc = reader.varint()
  const device = reader.hex(KEY_BYTES) as DeviceId
  const role = readRole(reader)
  const name = readText(reader)
  const boxKey = Buffer.from(reader.raw(KEY_BYTES))
  const inviteKey = reader.bytes(KEY_BYTES).toString('hex')
  return { position, hlc, device, role, name, boxKey, inviteKey }
}

function writeInvite(writer: ByteWriter, row: InviteRow): void {
  writePosition(writer, row.position)
  writer.bytes(Buffer.from(row.inviteKey, 'hex')).u8(ROLES.indexOf(row.role))
  writer.u8(row.isRecovery ? IS_RECOVERY : 0)
  if (!row.isRecovery) writer.varint(row.expiresMs).varint(row.usesMax)
}

function readInvite(reader: ByteReader): InviteRow {
  const position = readPosition(reader)
  const inviteKey = reader.bytes(KEY_BYTES).toString('hex')
  const role = readRole(reader)
  const flags = reader.u8()
  if (flags > IS_RECOVERY) reader.fail('unknown flags')
  const isRecovery = flags === IS_RECOVERY
  const expiresMs = isRecovery ? Infinity : reader.varint()
  const usesMax = isRecovery ? Infinity : reader.varint()
  return { position, inviteKey, role, expiresMs, usesMax, isRecovery }
}

function writeSelf(writer: ByteWriter, [device, row]: [DeviceId, SelfRow]): void {
  writeRank(writer.hex(device), row.nameAt)
  writeText(writer, row.name ?? '')
  writeRank(writer, row.labelsAt)
  writeRows(writer, Object.entries(row.labels), (out, [key, value]) => {
    writeText(out, key)
    writeText(out, value)
  })
}

function readSelf(reader: ByteReader): [DeviceId, SelfRow] {
  const device = reader.hex(KEY_BYTES) as DeviceId
  const nameAt = readRank(reader)
  const name = readText(reader)
  const labelsAt = readRank(reader)
  const labels = readRows(reader, (row): [string, string] => [readText(row), readText(row)])
  if (labels.length > LABELS_MAX) reader.fail(`${labels.length} labels`)
  return [
    device,
    {
      name: nameAt === undefined ? undefined : name,
      nameAt,
      labels: Object.fromEntries(labels),
      labelsAt,
    },
  ]
}

function writeRank(writer: ByteWriter, rank: SelfRank | undefined): void {
  writer.u8(rank === undefined ? 0 : 1)
  if (rank !== undefined) writer.varint(rank.generation).varint(rank.seq).hex(rank.hash)
}

function readRank(reader: ByteReader): SelfRank | undefined {
  const has = reader.u8()
  if (has > 1) reader.fail('unknown flags')
  if (has === 0) return undefined
  return { generation: reader.varint(), seq: reader.varint(), hash: reader.hex(KEY_BYTES) }
}
