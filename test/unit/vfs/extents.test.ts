/**
 * Proves that dirty extents are what a plain buffer with a written-mask would be, whatever is
 * written, cut, frozen and dropped. A seeded run compares both after every step.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { Extents, type FrozenExtents } from '../../../src/vfs/extents.ts'
import { SLAB_BYTES } from '../../../src/vfs/slabs.ts'
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

test('memory is used again only when neither the file nor a frozen generation needs it', () => {
  const seed = 4711
  const random = new SeededRandom(seed)
  const units = 24
  const unit = SLAB_BYTES / 4
  // Slabs are shared by all files of a thread: what one gives back, another writes into.
  const files = [0, 1, 2].map((index) => ({
    index,
    extents: new Extents(),
    model: Buffer.alloc(units, 0),
    frozen: [] as { frozen: FrozenExtents; bytes: number[] }[],
  }))
  const firsts = (extents: Extents): Buffer => {
    const shown = Buffer.alloc(units, 0)
    for (const { offset, length, bytes } of extents.pieces(0, units * unit)) {
      for (let at = offset; at < offset + length; at += unit) {
        if (bytes) shown[at / unit] = bytes[at - offset] as number
      }
    }
    return shown
  }
  /** A byte of every unit. */
  const sample = ({ extents }: FrozenExtents): number[] => {
    const found: number[] = []
    for (const { bytes } of extents) {
      for (let at = 0; at < bytes.length; at += unit) found.push(bytes[at] as number)
    }
    return found
  }
  const seen = new Set<ArrayBufferLike>()
  for (let step = 0; step < 600; step++) {
    const file = files[random.below(files.length)] as (typeof files)[0]
    const { extents, model, frozen } = file
    const kind = random.below(8)
    const at = random.below(units)
    if (kind === 0) {
      extents.truncate(at * unit)
      model.fill(0, at)
    } else if (kind === 1) {
      extents.punch(at * unit, (at + 2) * unit, units * unit)
      model.fill(0, at, Math.min(at + 2, units))
    } else if (kind === 2) {
      const last = extents.freeze()
      frozen.push({ frozen: last, bytes: sample(last) })
    } else if (kind === 3 && frozen.length > 0) {
      const [{ frozen: oldest }] = frozen.splice(0, 1) as [(typeof frozen)[0]]
      oldest.giveBack()
      oldest.giveBack()
    } else {
      const count = Math.min(1 + random.below(4), units - at)
      const value = 1 + random.below(255)
      extents.write(at * unit, Buffer.alloc(count * unit, value))
      model.fill(value, at, at + count)
    }
    for (const { extents: each, model: expected, index } of files) {
      assert.deepEqual(firsts(each), expected, `seed ${seed} step ${step} file ${index}`)
    }
    for (const one of files.flatMap((each) => each.frozen)) {
      assert.deepEqual(sample(one.frozen), one.bytes, `seed ${seed} step ${step} frozen`)
    }
    for (const { bytes } of extents.pieces(0, units * unit)) {
      if (bytes?.buffer instanceof SharedArrayBuffer) seen.add(bytes.buffer)
    }
  }
  assert(seen.size > 0 && seen.size < 100, `${seen.size} slabs for 600 steps`)
})
