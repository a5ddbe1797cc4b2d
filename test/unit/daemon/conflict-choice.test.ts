/** Proves which version of a conflict a word means. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseVersion, isKeep } from '../../../src/daemon/conflict-choice.ts'

const versions = [
  { deviceId: 'b', time: '2026-11-20T14:00:00.000Z' },
  { deviceId: 'a', time: '2026-11-20T13:00:00.000Z' },
  { deviceId: 'b', time: '2026-11-20T15:00:00.000Z' },
  { deviceId: 'b', time: '2026-11-20T15:00:00.000Z' },
]

test('numbers and words', () => {
  const means = (keep: string): unknown => chooseVersion(versions, { keep, self: 'a' })
  assert.deepEqual(['1', '4', '5', '0'].map(means), [0, 3, undefined, undefined])
  assert.deepEqual(['both', 'newest', 'mine', 'theirs'].map(means), ['both', 2, 1, 2])
  assert.equal(chooseVersion(versions.slice(0, 1), { keep: 'mine', self: 'a' }), undefined)
  assert.equal(means('toString'), undefined)
  assert.deepEqual(['2', 'both', 'mine', '0', 'toString', ''].map(isKeep), [
    ...[true, true, true],
    ...[false, false, false],
  ])
})
