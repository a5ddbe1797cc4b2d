/**
 * The tree of a snapshot: everything that the shards of an index hold, in parts. What is derived
 * (slots, conflict names, history) is not told; the reader derives it again, so that a snapshot
 * cannot show anything that its changes do not say. Format: README.md, "Archives".
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { ActorId, DeviceId } from '../types.ts'
import { ArchiveReader, ArchiveWriter, type ArchivedChange } from './archive.ts'
import { loadDocument } from './automerge.ts'
import { decodeChange } from './change.ts'
import type { ActorInfo } from './interface.ts'
import { TABLE } from './layer.ts'
import type { RowReader } from './rows.ts'

/** Actors of one volume: bounds what a part can make a reader hold. */
const ACTORS_MAX = 200_000
const DEVICE_NAME_BYTES_MAX = 255
/** Rows of changes read at a time. */
const PAGE_ROWS = 64

/**
 * The parts of the tree that `rows` hold; `rows` must not change meanwhile. Between two steps it
 * did a few milliseconds of work: undefined is a pause, not a part.
 */
export function* exportTree(rows: RowReader): Generator<Buffer | undefined> {
  const actors = readActors(rows)
  yield encodeActors(actors)
  const writer = new ArchiveWriter(actors.map(({ actor }) => actor))
  for (const { key } of rows.range(TABLE.shardState)) {
    const code = key.slice(1)
    const shard = code.charCodeAt(0) * 256 + code.charCodeAt(1)
    for (const bytes of changesOf(rows, code)) yield writer.add(shard, decodeChange(bytes))
  }
  yield writer.finish()
}

/** The changes of one shard in causal order. */
function* changesOf(rows: RowReader, code: string): Generator<Uint8Array> {
  const saved = rows.get(TABLE.shardSnapshot + code)
  if (saved) {
    const document = loadDocument(saved)
    try {
      yield* document.getChanges([])
    } finally {
      document.free()
    }
  }
  const prefix = TABLE.shardDelta + code
  let after: string | undefined
  do {
    const options = { countMax: PAGE_ROWS, ...(after === undefined ? {} : { after }) }
    const page = rows.range(prefix, options)
    for (const { value } of page) yield value
    after = page.length === PAGE_ROWS ? page.at(-1)?.key : undefined
  } while (after !== undefined)
}

function readActors(rows: RowReader): ActorInfo[] {
  return rows.range(TABLE.actorById).map(({ value }) => {
    const [, actor, device, deviceName] = JSON.parse(value.toString('utf8')) as [
      number,
      ActorId,
      DeviceId,
      string,
    ]
    return { actor, device, deviceName }
  })
}

function encodeActors(actors: readonly ActorInfo[]): Buffer {
  const writer = new ByteWriter(64 * actors.length + 8).varint(actors.length)
  for (const { actor, device, deviceName } of actors) {
    writer.hex(actor).hex(device).bytes(Buffer.from(deviceName, 'utf8'))
  }
  return writer.finish()
}

function decodeActors(part: Uint8Array): ActorInfo[] {
  const reader = new ByteReader(part, 'SNAPSHOT_INVALID')
  const count = reader.varint()
  if (count > ACTORS_MAX) reader.fail(`${count} actors`)
  const actors = new Map<ActorId, ActorInfo>()
  for (let index = 0; index < count; index++) {
    const actor = reader.hex(16) as ActorId
    const device = reader.hex(32) as DeviceId
    const deviceName = reader.bytes(DEVICE_NAME_BYTES_MAX).toString('utf8')
    if (actors.has(actor)) reader.fail('an actor twice')
    actors.set(actor, { actor, device, deviceName })
  }
  reader.end()
  return [...actors.values()]
}

/** What `exportTree` gave: the actors, and every change with the shard that it is of. */
export interface ImportedTree {
  readonly actors: readonly ActorInfo[]
  readonly changes: Iterable<ArchivedChange>
}

/**
 * Opens the parts of a tree; each is read once, when its turn comes.
 * @throws {WormholeError} `SNAPSHOT_INVALID`, also from the iteration.
 */
export function importTree(parts: Iterable<Uint8Array>): ImportedTree {
  const iterator = parts[Symbol.iterator]()
  const first = iterator.next()
  const actors = decodeActors(first.done ? new Uint8Array(0) : first.value)
  const reader = new ArchiveReader(actors.map(({ actor }) => actor))
  function* changes(): Generator<ArchivedChange> {
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      yield* reader.read(next.value)
    }
  }
  return { actors, changes: changes() }
}
