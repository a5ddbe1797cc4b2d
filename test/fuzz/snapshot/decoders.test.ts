/**
 * Proves that hostile bytes in every part of a snapshot end in a coded error or in a value, in
 * bounded memory: statements, the log part, newest entries, actors, archives. Right encodings are
 * damaged under a printed seed.
 */
import { ByteReader, ByteWriter } from '../../../src/bytes.ts'
import { ArchiveReader } from '../../../src/crdt/archive.ts'
import { importTree } from '../../../src/crdt/snapshot.ts'
import { emptyMemberState } from '../../../src/log/member-rows.ts'
import { signingKeys } from '../../../src/seal.ts'
import {
  decodeHeads,
  decodeSnapshotLog,
  encodeHeads,
  encodeSnapshotLog,
} from '../../../src/snapshot/log-part.ts'
import { signStatement, verifyStatement } from '../../../src/snapshot/statement.ts'
import { feedId, type ActorId, type DeviceId, type VolumeId } from '../../../src/types.ts'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { FUZZ_SEED, fuzzDecoder } from '../../helpers/hostile-bytes.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { snapshotOf, World } from '../../model/crdt/world.ts'

const random = new SeededRandom(FUZZ_SEED)
const volume = 'ab'.repeat(32) as VolumeId
const signing = signingKeys(Buffer.alloc(32, 7))
const device = signing.publicKey.toString('hex') as DeviceId
const feed = feedId(device, 0)
const hash = 'cd'.repeat(32)
const frontier = new Map([[feed, { length: 7, hash }]])
const position = { feed, seq: 3, hash }

const statement = signStatement(
  {
    volume,
    author: device,
    keyGeneration: 0,
    createdMs: 1_790_000_000_000,
    frontier,
    parts: [{ kind: 'log', hash, sizeBytes: 1000 }],
  },
  signing,
)
fuzzDecoder('a statement', random, statement, (bytes) => verifyStatement(bytes, volume))

const members = {
  ...emptyMemberState(),
  volumeName: 'test',
  admissions: [
    {
      position,
      hlc: 5,
      device,
      role: 'admin' as const,
      name: 'alice',
      boxKey: Buffer.alloc(32, 1),
      inviteKey: '',
      knows: [hash],
    },
  ],
  revocations: [{ position, hlc: 6, device, heads: [{ feed, length: 7, hash }] }],
  generations: [
    {
      position,
      generation: 70_000,
      commitment: hash,
      knows: [hash],
      holders: new Set([device]),
    },
  ],
  invites: [
    {
      position,
      inviteKey: hash,
      role: 'writer' as const,
      expiresMs: 9,
      usesMax: 1,
      isRecovery: false,
    },
  ],
  selves: new Map([
    [
      device,
      {
        name: 'alice',
        nameAt: { generation: 0, seq: 3, hash },
        labels: { region: 'eu' },
        labelsAt: undefined,
      },
    ],
  ]),
  claims: [{ actor: 'ef'.repeat(16) as ActorId, position }],
}
const log = encodeSnapshotLog({
  members,
  progress: new Map([[feed, { length: 7, frontier, saidLength: 7 }]]),
  stamps: new Map([[device, 17]]),
})
fuzzDecoder('members and positions', random, log, (bytes) =>
  encodeSnapshotLog(decodeSnapshotLog(bytes)),
)

const [heads] = encodeHeads([{ feed, bytes: Buffer.alloc(50, 3) }], 1000)
fuzzDecoder('newest entries', random, heads as Buffer, decodeHeads)

/** Two devices that edited the same things apart. */
function sampleParts(): [Buffer, Buffer] {
  const world = new World({ seed: 1, deviceCount: 2 })
  const [first, second] = world.devices as [World['devices'][0], World['devices'][0]]
  first.mkdir('/d')
  first.write('/d/a', 'one')
  world.settle()
  first.write('/d/a', 'two')
  second.write('/d/a', 'three')
  second.rename('/d', '/e')
  second.link('/e/a', '/b')
  world.settle()
  return snapshotOf(first) as [Buffer, Buffer]
}

const [actorsPart, part] = sampleParts()
const { actors } = importTree([actorsPart])
const ids = actors.map(({ actor }) => actor)
fuzzDecoder('actors', random, actorsPart, (bytes) => importTree([bytes]))
fuzzDecoder('a part of a tree', random, part, (bytes) => [...new ArchiveReader(ids).read(bytes)])

// Behind the deflate, where random damage would otherwise never get.
const reader = new ByteReader(part)
const version = reader.u8()
const lengths = Array.from({ length: 11 }, () => reader.varint())
const plain = inflateRawSync(reader.bytes())
const raw = reader.raw(reader.left)
fuzzDecoder('the columns of a tree', random, plain, (bytes) => {
  const writer = new ByteWriter().u8(version)
  const others = lengths.slice(0, -1).reduce((sum, length) => sum + length, 0)
  for (const length of lengths.slice(0, -1)) writer.varint(length)
  writer
    .varint(Math.max(0, bytes.length - others))
    .bytes(deflateRawSync(bytes))
    .raw(raw)
  return [...new ArchiveReader(ids).read(writer.finish())]
})
