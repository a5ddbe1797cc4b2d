/**
 * Proves that what a newcomer sees first works: the whole demonstration passes its own checks.
 * Runs `scripts/demo.mjs --once` in a child process, with mounts and networks where it can.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { runProgram } from '../../helpers/command.ts'

const demo = fileURLToPath(new URL('../../../scripts/demo.mjs', import.meta.url))

test('the demonstration holds all its checks', async () => {
  const words = [process.execPath, demo, '--once']
  const { code, stdout, stderr } = await runProgram(words, process.env, { timeoutMs: 150_000 })
  assert.equal(code, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /^All \d+ checks held\.$/m)
})
