/**
 * Proves that dirty extents are what a plain buffer with a written-mask would be, whatever is
 * written, cut, frozen and dropped. A seeded run compares both after every step.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { Extents } from '../../../src/vfs/extents.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const SIZE = 4096

/** The dirty bytes as text, `.` where nothing is dirty, `_` in holes. */
function dump(extents: Extents): string {
  const shown = Buffer.alloc(SIZE, '.')
  for (const { offset, length, bytes } of extents.pieces(0, SIZE)) {
    if (bytes) shown.set(bytes, offset)
    else shown.fill('_', offset, offset + length)
  }
  return shown.toString('latin1')
}

test('random writes, cuts and holes equal a buffer with holes', () => {
  const seed = 8134
  const random = new SeededRandom(seed)
  const extents = new Extents()
  const model = Buffer.alloc(SIZE, '.')
  for (let step = 0; step < 3000; step++) {
    const kind = random.below(20)
    if (kind === 0) {
      const size = random.below(SIZE)
      extents.truncate(size)
      model.fill('.', size)
    } else if (kind === 1) {
      extents.freeze()
    } else if (kind < 5) {
      const start = random.below(SIZE)
      const end = start + random.below(300)
      const coverEnd = random.below(SIZE)
      extents.punch(start, Math.min(end, SIZE), coverEnd)
      model.fill('.', start, Math.min(end, SIZE))
      model.fill('_', start, Math.min(end, Math.max(start, coverEnd), SIZE))
    } else {
      const offset = random.below(SIZE)
      const length = random.below(Math.min(200, SIZE - offset) + 1)
      const bytes = Buffer.alloc(length, 97 + random.below(26))
      extents.write(offset, bytes)
      model.set(bytes, offset)
    }
    assert.equal(dump(extents), model.toString('latin1'), `seed ${seed} step ${step}`)
    const holes = model.filter((byte) => byte === 95).length
    const held = model.filter((byte) => byte !== 46).length - holes
    assert.equal(extents.bytes, held, `seed ${seed} step ${step}`)
    assert.equal(extents.holeBytes, holes, `seed ${seed} step ${step}`)
    assert.equal(extents.isEmpty, held + holes === 0, `seed ${seed} step ${step}`)
  }
})

test('a frozen generation keeps its bytes, and dropping it leaves only what is newer', () => {
  const extents = new Extents()
  extents.write(0, Buffer.from('aaaaaaaa'))
  const frozen = extents.freeze()
  extents.write(2, Buffer.from('BB'))
  extents.write(8, Buffer.from('CC'))
  assert.equal(dump(extents).slice(0, 11), 'aaBBaaaaCC.')
  assert.deepEqual(
    frozen.extents.map(({ offset, bytes }) => [offset, Buffer.from(bytes).toString()]),
    [[0, 'aaaaaaaa']],
  )
  extents.drop(frozen.generation)
  assert.equal(dump(extents).slice(0, 11), '..BB....CC.')
  assert.equal(extents.bytes, 4)
})

test('appends grow one extent up to 1 MiB, then start another', () => {
  const extents = new Extents()
  const piece = Buffer.alloc(64 * 1024, 'x')
  for (let at = 0; at < 40; at++) extents.write(at * piece.length, piece)
  const pieces = extents.pieces(0, 40 * piece.length)
  assert.deepEqual(
    pieces.map(({ length }) => length / 1024),
    [1024, 1024, 512],
  )
})
