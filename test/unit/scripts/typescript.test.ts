/**
 * Proves that `scripts/typescript.mjs` runs TypeScript, names lines of the source in a stack, and
 * never runs what a source was before, or a kept result that is damaged. Starts Node on files that
 * lie in this project, since only of these results are kept.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const cache = fileURLToPath(new URL('../../../.cache/', import.meta.url))
const loader = new URL('../../../scripts/typescript.mjs', import.meta.url).href

function run(file: string): { stdout: string; stderr: string } {
  return spawnSync(process.execPath, ['--import', loader, file], { encoding: 'utf8' })
}

test('a source that changes, and kept results that are cut short', (t) => {
  fs.mkdirSync(cache, { recursive: true })
  const directory = fs.mkdtempSync(path.join(cache, 'test-'))
  t.after(() => fs.rmSync(directory, { recursive: true }))
  const file = path.join(directory, 'main.ts')
  const token = path.basename(directory)
  const write = (text: string): void => {
    fs.writeFileSync(file, `interface Unused {\n  n: number\n}\n\n${text}\n`)
    fs.utimesSync(file, 1, 1)
  }
  write(`console.log('one ${token}' satisfies string)`)
  assert.equal(run(file).stdout, `one ${token}\n`)
  const isOurs = (name: string): boolean =>
    /^[0-9a-f]{64}$/.test(name) &&
    fs.readFileSync(path.join(cache, 'typescript', name), 'utf8').includes(`one ${token}`)
  const kept = fs.readdirSync(path.join(cache, 'typescript')).filter(isOurs)
  assert.equal(kept.length, 1)
  const result = path.join(cache, 'typescript', kept[0] as string)
  t.after(() => fs.rmSync(result))

  fs.writeFileSync(result, fs.readFileSync(result, 'utf8').replace('one', 'kept'))
  assert.equal(run(file).stdout, `kept ${token}\n`, 'it is used again')
  fs.truncateSync(result, fs.statSync(result).size - 5)
  assert.equal(run(file).stdout, `one ${token}\n`)
  write(`console.log('two' satisfies string)`)
  assert.equal(run(file).stdout, 'two\n')
  write(`throw new Error('three')`)
  assert.match(run(file).stderr, /main\.ts:5:7\)?\n/)
})
