/**
 * Proves that the loops of Automerge calls which V8 aborted on (`src/crdt/automerge.ts`) run under
 * the flag: a short soak in a process of its own, since an abort takes its process along. `npm run
 * soak -- --minutes M` is the long one.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import { fileURLToPath } from 'node:url'

const SOAK = fileURLToPath(new URL('../../soak/crdt-soak.ts', import.meta.url))

test('ten seconds of puts, commits and applied changes over 256 documents end well', () => {
  const flags = ['--import', import.meta.resolve('tsx')]
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [...flags, SOAK, '--minutes', String(10 / 60)],
    { encoding: 'utf8', timeout: 60_000 },
  )
  assert.deepEqual([status, signal], [0, null], stderr)
  assert.match(stdout, /no abort/)
})
