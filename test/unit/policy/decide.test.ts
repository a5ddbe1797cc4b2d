/**
 * Proves that the nearest folder decides each key, that every value can be traced, and that a
 * policy which cannot be read falls to the values that keep most. Works on tables of layers.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decidePolicy, decideValue } from '../../../src/policy/decide.ts'

const LAST = '{"conflicts":{"strategy":"last-writer-wins"}}'
const CACHED = '{"local":{"keep":"cached"}}'
const BOTH = '{"conflicts":{"strategy":"copies"},"local":{"keep":"cached"}}'

/** The values of a decision by key. */
function valuesOf(decision: ReturnType<typeof decidePolicy>): Record<string, unknown> {
  return Object.fromEntries(decision.values.map(({ key, value }) => [key, value]))
}

test('without policies the defaults hold', () => {
  const decision = decidePolicy([])
  assert.deepEqual(valuesOf(decision), {
    ignore: [],
    'conflicts.strategy': 'copies',
    'conflicts.notify': true,
    'replication.copies': 2,
    'placement.require': [],
    'placement.prefer': [],
    'placement.avoid': [],
    'local.keep': 'always',
    'local.prefetch': 0,
    'history.days': 30,
    'history.versions': 0,
    'limits.file_size': 'unlimited',
    'limits.quota': 'unlimited',
    'access.readonly': false,
  })
  for (const { reason, directory } of decision.values) {
    assert.deepEqual([reason, directory], ['default', undefined])
  }
})

test('each key comes from the nearest folder that sets it', () => {
  const decision = decidePolicy([
    { directory: 'photos', policy: LAST },
    { directory: 'drafts', policy: '{"history":{"days":7},"ignore":["*.tmp"]}' },
    { directory: 'root', policy: '{"conflicts":{"strategy":"copies"},"ignore":["*.o"]}' },
  ])
  const set = decision.values.filter(({ reason }) => reason === 'set')
  assert.deepEqual(
    set.map(({ key, value, directory }) => [key, value, directory]),
    [
      ['ignore', ['*.tmp'], 'drafts'],
      ['conflicts.strategy', 'last-writer-wins', 'photos'],
      ['history.days', 7, 'drafts'],
    ],
  )
})

test('a nearer folder takes back what a higher one set', () => {
  assert.equal(decideValue('conflicts.strategy', [BOTH, LAST]), 'copies')
  const unlimited = '{"limits":{"file_size":"unlimited"}}'
  const limited = '{"limits":{"file_size":1000}}'
  assert.equal(decideValue('limits.file_size', [limited]), 1000)
  assert.equal(decideValue('limits.file_size', [unlimited, limited]), 'unlimited')
})

test('a table of devices decides by label; where none fits, the folder above does', () => {
  const near = '{"local":{"keep":{"device=nas":"always","tier=ssd":"streamed"}}}'
  const above = '{"local":{"keep":{"default":"cached","device=old":"streamed"}}}'
  const keep = (labels: Record<string, string>): unknown => {
    const decision = decidePolicy(
      [
        { directory: 'near', policy: near },
        { directory: 'above', policy: above },
      ],
      labels,
    )
    const { value, directory, label } = decision.values.find(({ key }) => key === 'local.keep')!
    assert.equal(decideValue('local.keep', [near, above], labels), value)
    return [value, directory, label]
  }
  assert.deepEqual(keep({ device: 'nas' }), ['always', 'near', 'device=nas'])
  // Of several labels that fit, the one that keeps most.
  assert.deepEqual(keep({ device: 'nas', tier: 'ssd' }), ['always', 'near', 'device=nas'])
  assert.deepEqual(keep({ device: 'old', tier: 'ssd' }), ['streamed', 'near', 'tier=ssd'])
  assert.deepEqual(keep({ device: 'old' }), ['streamed', 'above', 'device=old'])
  assert.deepEqual(keep({ device: 'x=y', default: 'always' }), ['cached', 'above', 'default'])
  assert.equal(decideValue('local.keep', [near], { device: 'laptop' }), 'always', 'the default')
})

test('what is not enforced yet is said, of words only where they are set', () => {
  const pendingOf = (policy: string): string[] => {
    const { values } = decidePolicy([{ directory: 'd', policy }])
    return values.filter(({ pending }) => pending !== undefined).map(({ key }) => key)
  }
  const always = [
    'ignore',
    'replication.copies',
    'placement.require',
    'placement.prefer',
    'placement.avoid',
    'limits.quota',
  ]
  assert.deepEqual(pendingOf(CACHED), always)
  assert.ok(pendingOf('{"local":{"keep":"streamed"}}').includes('local.keep'))
})

test('a text that no version writes is reported, and the safest values hold below it', () => {
  const decision = decidePolicy([
    { directory: 'near', policy: CACHED },
    { directory: 'broken', policy: '{"local": {}}' },
    { directory: 'root', policy: LAST },
  ])
  const values = valuesOf(decision)
  assert.equal(values['conflicts.strategy'], 'copies')
  assert.equal(values['local.keep'], 'cached')
  assert.equal(values['history.days'], 36_500)
  assert.equal(values['limits.file_size'], 'unlimited')
  assert.equal(values['access.readonly'], false)
  assert.deepEqual(
    decision.values.find(({ key }) => key === 'conflicts.strategy'),
    { key: 'conflicts.strategy', value: 'copies', reason: 'unreadable', directory: 'broken' },
  )
  assert.deepEqual(
    decision.unreadable.map(({ directory }) => directory),
    ['broken'],
  )
})

test('keys and values of a newer version take nothing from the others, and are reported', () => {
  const newer =
    '{"conflicts":{"strategy":"last-writer-wins"},"future":{"x":[1,{"y":null}]},' +
    '"local":{"keep":{"device=a":"mirrored"},"warm":true}}'
  const decision = decidePolicy([
    { directory: 'newer', policy: newer },
    { directory: 'root', policy: '{"history":{"days":7},"local":{"keep":"cached"}}' },
  ])
  const values = valuesOf(decision)
  assert.equal(values['conflicts.strategy'], 'last-writer-wins')
  assert.equal(values['history.days'], 7)
  // A word that is not known could mean to keep more than cached.
  assert.equal(values['local.keep'], 'always')
  assert.deepEqual(
    decision.unreadable.map(({ message }) => message),
    [
      'local.keep has a value that this version does not know',
      'future is a key that this version does not know',
      'local.warm is a key that this version does not know',
    ],
  )
})

test('an unknown key of the history keeps most, because it may ask for that', () => {
  const newer = '{"history":{"days":1,"forever":true}}'
  assert.equal(decideValue('history.days', [newer]), 36_500)
  assert.equal(decideValue('history.days', ['{"history":{"days":2}}', newer]), 2)
})

test('many different policies decide the same again', () => {
  const texts = Array.from({ length: 200 }, (_, index) => (index % 2 ? LAST : `{"x${index}":1}`))
  for (const round of [1, 2]) {
    for (const [index, policy] of texts.entries()) {
      const expected = index % 2 ? 'last-writer-wins' : 'copies'
      const value = decideValue('conflicts.strategy', [policy])
      assert.equal(value, expected, `round ${round}, ${policy}`)
    }
  }
})
