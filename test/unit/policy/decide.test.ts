/**
 * Proves that the nearest folder decides each key, that every value can be traced, and that a
 * policy which cannot be read falls to the values that keep most. Works on tables of layers.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decidePolicy } from '../../../src/policy/decide.ts'

const LAST = '{"conflicts":{"strategy":"last-writer-wins"}}'
const CACHED = '{"local":{"keep":"cached"}}'
const BOTH = '{"conflicts":{"strategy":"copies"},"local":{"keep":"cached"}}'

test('without policies the defaults hold', () => {
  const decision = decidePolicy([])
  assert.deepEqual(decision.effective, {
    conflictStrategy: 'copies',
    localKeep: 'always',
    historyDays: 30,
  })
  assert.deepEqual(decision.values, [
    { key: 'conflicts.strategy', value: 'copies', reason: 'default', directory: undefined },
    { key: 'local.keep', value: 'always', reason: 'default', directory: undefined },
    { key: 'history.days', value: 30, reason: 'default', directory: undefined },
  ])
})

test('each key comes from the nearest folder that sets it', () => {
  const decision = decidePolicy([
    { directory: 'photos', policy: LAST },
    { directory: 'drafts', policy: '{"history":{"days":7}}' },
    { directory: 'root', policy: BOTH },
  ])
  assert.deepEqual(decision.effective, {
    conflictStrategy: 'last-writer-wins',
    localKeep: 'cached',
    historyDays: 7,
  })
  assert.deepEqual(
    decision.values.map(({ key, reason, directory }) => [key, reason, directory]),
    [
      ['conflicts.strategy', 'set', 'photos'],
      ['local.keep', 'set', 'root'],
      ['history.days', 'set', 'drafts'],
    ],
  )
})

test('a nearer folder takes back what a higher one set', () => {
  const decision = decidePolicy([
    { directory: 'papers', policy: BOTH },
    { directory: 'root', policy: LAST },
  ])
  assert.equal(decision.effective.conflictStrategy, 'copies')
})

test('what cannot be read is reported, and the safest values hold below it', () => {
  const decision = decidePolicy([
    { directory: 'near', policy: CACHED },
    { directory: 'newer', policy: '{"future":{}}' },
    { directory: 'root', policy: LAST },
  ])
  assert.deepEqual(decision.effective, {
    conflictStrategy: 'copies',
    localKeep: 'cached',
    historyDays: 36_500,
  })
  assert.deepEqual(decision.values[0], {
    key: 'conflicts.strategy',
    value: 'copies',
    reason: 'unreadable',
    directory: 'newer',
  })
  assert.deepEqual(
    decision.unreadable.map(({ directory }) => directory),
    ['newer'],
  )
})

test('many different policies decide the same again', () => {
  const texts = Array.from({ length: 200 }, (_, index) => (index % 2 ? LAST : `{"x${index}":1}`))
  for (const round of [1, 2]) {
    for (const [index, policy] of texts.entries()) {
      const { effective } = decidePolicy([{ directory: 'd', policy }])
      const expected = index % 2 ? 'last-writer-wins' : 'copies'
      assert.equal(effective.conflictStrategy, expected, `round ${round}, ${policy}`)
    }
  }
})
