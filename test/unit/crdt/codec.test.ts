/**
 * Proves the encodings of ids, registers and conflict names: round trips, sizes, and one encoding
 * per value. Hostile bytes must fail with `ENTRY_INVALID`, never otherwise.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { conflictName } from '../../../src/crdt/conflict-names.ts'
import {
  conflictCopyId,
  inodeIdBytes,
  inodeIdFromBytes,
  inodeKind,
  inodeShard,
  isInodeId,
  LOST_FOUND,
  newInodeId,
  ROOT,
} from '../../../src/crdt/ids.ts'
import type { Content, InodeKind, Location } from '../../../src/crdt/interface.ts'
import { checkName, decodeRegister, encodeRegister } from '../../../src/crdt/registers.ts'
import { hasCode } from '../../../src/errors.ts'
import { systemRandom } from '../../../src/system.ts'
import type { ChunkAddress, FileName, Hlc, InodeId } from '../../../src/types.ts'
import { Dice, name } from '../../model/crdt/world.ts'

const KINDS: readonly InodeKind[] = ['directory', 'file', 'symlink', 'special', 'link']
const HLC = 1_790_000_000_000_123 as Hlc
const FILE = newInodeId('file', 77, systemRandom)
const LINK = newInodeId('link', 77, systemRandom)
const ADDRESS = 'ab'.repeat(32) as ChunkAddress

test('ids carry shard and kind', () => {
  for (const kind of KINDS) {
    for (const shard of [0, 1, 63, 64, 2048, 4095]) {
      const id = newInodeId(kind, shard, systemRandom)
      assert.ok(isInodeId(id))
      assert.deepEqual([inodeKind(id), inodeShard(id)], [kind, shard])
      assert.equal(inodeIdFromBytes(inodeIdBytes(id)), id)
    }
  }
  assert.deepEqual([inodeKind(ROOT), inodeKind(LOST_FOUND)], ['directory', 'directory'])
  assert.ok(!isInodeId('AAEAAAAAAAAAAAA'))
  assert.ok(!isInodeId('AAEAAAAAAAAAAAA+'))
  assert.ok(!isInodeId('AAAAAAAAAAAAAAAA'))
  const copy = conflictCopyId(FILE, '0011223344556677')
  assert.deepEqual([inodeKind(copy), inodeShard(copy)], ['file', 77])
  assert.equal(conflictCopyId(FILE, '0011223344556677'), copy)
  assert.notEqual(conflictCopyId(FILE, '0011223344556678'), copy)
})

test('registers survive a round trip', () => {
  const locations: Location[] = [
    { parent: ROOT, name: name('a'), isDeleted: false, seen: [], hlc: HLC },
    { parent: ROOT, name: name('é'), isDeleted: true, seen: ['00112233445566ff'], hlc: HLC },
    {
      parent: ROOT,
      name: name('b'),
      previous: { parent: LOST_FOUND, name: name('b') },
      isDeleted: false,
      seen: [],
      hlc: HLC,
    },
    {
      parent: ROOT,
      name: name('b'),
      previous: { parent: ROOT, name: name('c') },
      isDeleted: false,
      seen: [],
      hlc: HLC,
    },
  ]
  for (const location of locations) {
    assert.deepEqual(decodeRegister('L', FILE, encodeRegister('L', location)), location)
  }
  const link: Location = { ...locations[0]!, target: FILE }
  assert.deepEqual(decodeRegister('L', LINK, encodeRegister('L', link)), link)
  const far = -(2n ** 62n)
  for (const mtimeNs of [0n, -1n, far, BigInt(HLC) * 1000n, BigInt(HLC) * 1000n - 17n]) {
    const contents: [InodeKind, Content][] = [
      ['directory', { kind: 'directory', mtimeNs, hlc: HLC }],
      ['symlink', { kind: 'symlink', target: 'a/b', mtimeNs, hlc: HLC }],
      ['special', { kind: 'special', fileType: 0o020000, rdev: 259, mtimeNs, hlc: HLC }],
      ['file', fileContent({ ref: { type: 'empty' }, sizeBytes: 0, mtimeNs })],
      ['file', fileContent({ ref: { type: 'chunk', address: ADDRESS }, sizeBytes: 9, mtimeNs })],
      [
        'file',
        fileContent({ ref: { type: 'manifest', address: ADDRESS }, sizeBytes: 2 ** 50, mtimeNs }),
      ],
    ]
    for (const [kind, content] of contents) {
      const id = newInodeId(kind, 5, systemRandom)
      assert.deepEqual(decodeRegister('C', id, encodeRegister('C', content)), content)
    }
  }
  const attributes = {
    mode: 0o4755,
    uid: 1000,
    gid: 100,
    xattrs: new Map([
      ['user.a', Buffer.from('1')],
      ['user.b', Buffer.alloc(300)],
    ]),
    mtime: { version: '0011223344556677', ns: -5n },
    hlc: HLC,
  }
  assert.deepEqual(decodeRegister('A', FILE, encodeRegister('A', attributes)), attributes)
  const policy = { text: '{"é":1}', hlc: HLC }
  assert.deepEqual(decodeRegister('P', ROOT, encodeRegister('P', policy)), policy)
})

function fileContent(
  part: Pick<Extract<Content, { kind: 'file' }>, 'ref' | 'sizeBytes' | 'mtimeNs'>,
): Content {
  return { kind: 'file', ...part, hlc: HLC, baseHlc: part.sizeBytes === 9 ? HLC : (0 as Hlc) }
}

test('a plain create is small', () => {
  const location = { parent: ROOT, name: name('report.txt'), isDeleted: false, seen: [], hlc: HLC }
  assert.equal(encodeRegister('L', location).length, 32)
  const ref = { type: 'chunk', address: ADDRESS } as const
  const mtimeNs = BigInt(HLC) * 1000n + 500_000n
  const content = fileContent({ ref, sizeBytes: 1000, mtimeNs })
  assert.equal(encodeRegister('C', content).length, 46)
})

test('what may not stand in a register is refused', () => {
  const good = { parent: ROOT, name: name('a'), isDeleted: false, seen: [], hlc: HLC }
  const bad: [string, InodeId, Buffer][] = [
    ['slash', FILE, encodeRegister('L', { ...good, name: 'a/b' as FileName })],
    ['dots', FILE, encodeRegister('L', { ...good, name: '..' as FileName })],
    ['empty', FILE, encodeRegister('L', { ...good, name: '' as FileName })],
    ['target on a file', FILE, encodeRegister('L', { ...good, target: FILE })],
    ['no target on a link', LINK, encodeRegister('L', good)],
    ['link to a directory', LINK, encodeRegister('L', { ...good, target: ROOT })],
    ['trailing', FILE, Buffer.concat([encodeRegister('L', good), Buffer.alloc(1)])],
    ['other version', FILE, Buffer.concat([Buffer.from([2]), encodeRegister('L', good)])],
  ]
  for (const [what, id, bytes] of bad) {
    assert.throws(() => decodeRegister('L', id, bytes), { code: 'ENTRY_INVALID' }, what)
  }
  assert.throws(() => decodeRegister('P', FILE, encodeRegister('P', { text: '', hlc: HLC })), {
    code: 'ENTRY_INVALID',
  })
  assert.throws(() => checkName('a'.repeat(256)), { code: 'NAME_TOO_LONG' })
  assert.throws(() => checkName('a\0'), { code: 'NAME_INVALID' })
})

test('hostile bytes: refused, or decoded to a value with just that encoding', () => {
  const dice = new Dice(4)
  const id = newInodeId('file', 1, systemRandom)
  const ref = { type: 'chunk', address: ADDRESS } as const
  const seeds = {
    L: encodeRegister('L', {
      parent: ROOT,
      name: name('abc'),
      previous: { parent: LOST_FOUND, name: name('d') },
      isDeleted: true,
      seen: ['00112233445566ff'],
      hlc: HLC,
    }),
    C: encodeRegister('C', fileContent({ ref, sizeBytes: 9, mtimeNs: 7n })),
    A: encodeRegister('A', {
      mode: 1,
      uid: 2,
      gid: 3,
      xattrs: new Map([['user.x', Buffer.from('y')]]),
      hlc: HLC,
    }),
  }
  for (const [register, seed] of Object.entries(seeds) as ['L' | 'C' | 'A', Buffer][]) {
    for (let round = 0; round < 4000; round++) {
      const bytes = Buffer.from(seed)
      for (let flips = 1 + dice.below(3); flips > 0; flips--) {
        const at = dice.below(bytes.length)
        bytes[at] = (bytes[at] as number) ^ (1 << dice.below(8))
      }
      const cut = dice.chance(0.2) ? bytes.subarray(0, dice.below(bytes.length)) : bytes
      try {
        const value = decodeRegister(register, id, cut)
        assert.ok(encodeRegister(register, value as never).equals(cut), cut.toString('hex'))
      } catch (error) {
        if (!hasCode(error, 'ENTRY_INVALID')) throw error
      }
    }
  }
})

test('conflict names keep the extension and fit 255 bytes', () => {
  const stamp = { hlc: 1_790_000_000_000_000 as Hlc, deviceName: 'my laptop', id: FILE }
  const plain = '(conflict 2026-09-21 14.13.20 my-laptop'
  assert.equal(conflictName(name('r.docx'), stamp, 0), `r ${plain}).docx`)
  assert.equal(conflictName(name('.bashrc'), stamp, 0), `.bashrc ${plain})`)
  assert.equal(conflictName(name('a.b c'), stamp, 0), `a.b c ${plain})`)
  assert.equal(conflictName(name('r'), stamp, 1), `r ${plain} ${FILE.slice(-6)})`)
  assert.equal(conflictName(name('r'), stamp, 2), `r ${plain} ${FILE})`)
  assert.equal(conflictName(name('r'), stamp, 4), `r ${plain} ${FILE}-3)`)
  for (const text of ['é'.repeat(127), `${'語'.repeat(84)}.t`]) {
    const long = conflictName(name(text), { ...stamp, deviceName: '語'.repeat(99) }, 1)
    assert.ok(long.length <= 255)
    const decoded = Buffer.from(long, 'latin1').toString('utf8')
    assert.ok(!decoded.includes('\ufffd'), decoded)
  }
})
