/**
 * Proves that the loops of Automerge calls which V8 aborted on (`src/crdt/automerge.ts`) run under
 * the flag: a short soak in a process of its own, since an abort takes its process along. `npm run
 * soak -- --minutes M` is the long one.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import { fileURLToPath } from 'node:url'

function run(script: string, nodeFlags: string[], args: string[]) {
  const file = fileURLToPath(new URL(`../../soak/${script}`, import.meta.url))
  const loader = new URL('../../../scripts/typescript.mjs', import.meta.url).href
  const flags = [...nodeFlags, '--import', loader]
  return spawnSync(process.execPath, [...flags, file, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  })
}

test('ten seconds of puts, commits and applied changes over 256 documents end well', () => {
  const { status, signal, stdout, stderr } = run('crdt-soak.ts', [], ['--minutes', `${1 / 6}`])
  assert.deepEqual([status, signal], [0, null], stderr)
  assert.match(stdout, /no abort/)
})

test('code that is thrown away inside a call into Automerge goes on', () => {
  const natives = ['--allow-natives-syntax']
  const { status, signal, stdout, stderr } = run('deoptimize.ts', natives, [])
  assert.deepEqual([status, signal], [0, null], stderr)
  assert.match(stdout, /no abort/)
  if (Number(process.versions.node.split('.')[0]) >= 24) return
  const without = run('deoptimize.ts', natives, ['--without-flag'])
  assert.match(without.stdout + without.stderr, /unreachable code/, 'the flag is what helps')
})
