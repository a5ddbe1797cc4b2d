/**
 * Proves that canonical policies are unique texts and that what a newer version writes takes
 * nothing away. Encodes and decodes tables of values; refusals are checked by their code.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CANONICAL_SIZE_BYTES_MAX,
  canonicalPolicy,
  decodePolicy,
  encodePolicy,
} from '../../../src/policy/canonical.ts'
import { decidePolicy } from '../../../src/policy/decide.ts'
import type { FolderPolicy } from '../../../src/policy/interface.ts'

test('encoding sorts keys and decoding gives the policy back', () => {
  const policy: FolderPolicy = {
    local: { keep: 'cached' },
    conflicts: { strategy: 'last-writer-wins' },
  }
  const text = encodePolicy(policy)
  assert.equal(text, '{"conflicts":{"strategy":"last-writer-wins"},"local":{"keep":"cached"}}')
  assert.deepEqual(
    [...decodePolicy(text).values],
    [
      ['conflicts.strategy', 'last-writer-wins'],
      ['local.keep', 'cached'],
    ],
  )
})

test('nothing set is {}, a removed policy is the empty text', () => {
  assert.equal(encodePolicy({}), '{}')
  for (const text of ['{}', '']) {
    const { values, unreadable, unknown } = decodePolicy(text)
    assert.deepEqual([values.size, unreadable.size, unknown.length], [0, 0, 0])
  }
})

test('a text that no version would have written is refused', () => {
  const refused = [
    '{"local":{"keep":"cached"},"conflicts":{"strategy":"copies"}}',
    '{"local": {"keep":"cached"}}',
    '{"local":{"keep":"cached","keep":"always"}}',
    '{"limits":{"quota":1e400}}',
    '[]',
    'null',
    '{',
    ' ',
    `{"local":{"keep":"${'x'.repeat(CANONICAL_SIZE_BYTES_MAX)}"}}`,
    `{"a":${'['.repeat(8_000)}${']'.repeat(8_000)}}`,
  ]
  for (const text of refused) {
    assert.throws(() => decodePolicy(text), { code: 'POLICY_INVALID' }, text.slice(0, 80))
  }
})

test('what only a newer version knows is named, and the rest is read', () => {
  const cases: [text: string, unreadable: string[], unknown: string[]][] = [
    ['{"future":{}}', [], ['future']],
    ['{"__proto__":{},"constructor":1}', [], ['__proto__', 'constructor']],
    ['{"local":{"keep":"sometimes","x/~y":1}}', ['local.keep'], ['local.x/~y']],
    ['{"local":null}', ['local.keep', 'local.prefetch'], []],
    ['{"local":{"keep":{"device=a":"cached","two words":"cached"}}}', ['local.keep'], []],
    ['{"placement":{"avoid":["region=eu","region!=us"]}}', ['placement.avoid'], []],
    // The writer makes bytes of every size.
    ['{"limits":{"file_size":"4 GB"}}', ['limits.file_size'], []],
    ['{"limits":{"file_size":-1,"quota":5}}', ['limits.file_size'], []],
  ]
  for (const [text, unreadable, unknown] of cases) {
    const stored = decodePolicy(text)
    assert.deepEqual([...stored.unreadable].sort(), unreadable, text)
    assert.deepEqual([...stored.unknown].sort(), unknown, text)
  }
  const { values } = decodePolicy('{"future":1,"history":{"days":3},"local":{"keep":"new"}}')
  assert.deepEqual([...values], [['history.days', 3]])
})

test('no text makes decoding throw anything else, nor deciding anything at all', () => {
  const whole =
    '{"conflicts":{"strategy":"copies"},"ignore":["*.tmp"],' +
    '"local":{"keep":{"device=a":"cached"}},"placement":{"avoid":["tier=ssd"],"require":[]}}'
  const pieces = ['{', '}', '[', ']', '"', ',', ':', 'null', '1', '-0', '{}', '"local"', '\\u0000']
  const seed = 0x5eed
  let state = seed
  const below = (bound: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % bound
  }
  for (let round = 0; round < 3_000; round++) {
    const at = below(whole.length)
    const piece = pieces[below(pieces.length)] as string
    const text = whole.slice(0, at) + piece + whole.slice(at + below(4))
    decidePolicy([{ directory: 'd', policy: text }], { device: 'a' })
    try {
      decodePolicy(text)
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'POLICY_INVALID', `seed ${seed}: ${text}`)
    }
  }
})

test('sizes are bytes, whatever their spelling', () => {
  const policy = {
    limits: { file_size: '1.5 GB', quota: 'unlimited' },
    local: { prefetch: '4 KiB' },
  }
  const text = encodePolicy(canonicalPolicy(policy))
  assert.equal(
    text,
    '{"limits":{"file_size":1500000000,"quota":"unlimited"},"local":{"prefetch":4096}}',
  )
  assert.equal(policy.limits.file_size, '1.5 GB', 'what was written is not changed')
})

test('a policy over the size of its register is refused when encoding', () => {
  const keep = 'x'.repeat(CANONICAL_SIZE_BYTES_MAX) as 'always'
  assert.throws(() => encodePolicy({ local: { keep } }), { code: 'LIMIT_EXCEEDED' })
})
