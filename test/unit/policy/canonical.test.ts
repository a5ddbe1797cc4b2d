/**
 * Proves that canonical policies are unique texts and that nothing else is accepted in their place.
 * Encodes and decodes tables of values; refusals are checked by their code.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CANONICAL_SIZE_BYTES_MAX,
  decodePolicy,
  encodePolicy,
} from '../../../src/policy/canonical.ts'
import type { FolderPolicy } from '../../../src/policy/interface.ts'

test('encoding sorts keys and decoding gives the policy back', () => {
  const policy: FolderPolicy = {
    local: { keep: 'cached' },
    conflicts: { strategy: 'last-writer-wins' },
  }
  const text = encodePolicy(policy)
  assert.equal(text, '{"conflicts":{"strategy":"last-writer-wins"},"local":{"keep":"cached"}}')
  assert.deepEqual(decodePolicy(text), policy)
})

test('nothing set is {}, a removed policy is the empty text', () => {
  assert.equal(encodePolicy({}), '{}')
  assert.deepEqual(decodePolicy('{}'), {})
  assert.deepEqual(decodePolicy(''), {})
})

test('anything that encoding would not have written is refused', () => {
  const refused = [
    '{"local":{"keep":"cached"},"conflicts":{"strategy":"copies"}}',
    '{"local": {"keep":"cached"}}',
    '{"local":{"keep":"cached","keep":"always"}}',
    '{"local":{"keep":"sometimes"}}',
    '{"future":{}}',
    '{"__proto__":{}}',
    '{"local":null}',
    '[]',
    'null',
    '{',
    ' ',
    `{"local":{"keep":"${'x'.repeat(CANONICAL_SIZE_BYTES_MAX)}"}}`,
  ]
  for (const text of refused) {
    assert.throws(() => decodePolicy(text), { code: 'POLICY_INVALID' }, text.slice(0, 80))
  }
})

test('a policy over the size of its register is refused when encoding', () => {
  const keep = 'x'.repeat(CANONICAL_SIZE_BYTES_MAX) as 'always'
  assert.throws(() => encodePolicy({ local: { keep } }), { code: 'LIMIT_EXCEEDED' })
})
