/**
 * Proves which moments and versions `--at` understands. Times without a zone are of this machine.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeMoment } from '../../../src/cli/moment.ts'

const NOW = Date.UTC(2026, 10, 20, 14)

test('times, spans and versions', () => {
  const at = (text: string): number => (decodeMoment(text, NOW) as { atMs: number }).atMs
  assert.equal(at('2026-11-20T13:59:30Z'), NOW - 30_000)
  assert.equal(at('2026-11-20 13:59:30.5+00:00'), NOW - 29_500)
  assert.equal(at('2026-11-20 13:05'), new Date(2026, 10, 20, 13, 5).getTime())
  assert.equal(at('2026-11-20'), new Date(2026, 10, 20).getTime())
  assert.equal(at('90s'), NOW - 90_000)
  assert.equal(at('2h'), NOW - 7_200_000)
  assert.equal(at('1w'), NOW - 604_800_000)
  assert.deepEqual(decodeMoment('0a1b', NOW), { version: '0a1b' })
  for (const bad of ['', 'yesterday', '2026-13-40', '25:00', '2026-11-20 25:99', '3 h', 'xyz1']) {
    assert.throws(() => decodeMoment(bad, NOW), { code: 'BAD_ARGUMENT' }, bad)
  }
})
