/**
 * Proves that the bundle holds every module that is started by name, and that commands and a daemon
 * behave as from dist/cli. The real program as child processes, with the bundle and in a copy that
 * has none.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { temporaryDirectory } from '../../helpers/cli.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const program = path.join(root, 'bin', 'wormhole.js')
const bundle = path.join(root, 'dist', 'bundle', 'process.js')
const skip = fs.existsSync(bundle) ? false : 'esbuild is not installed, there is no bundle'

function run(file: string, words: string[], home: string) {
  const env = { PATH: process.env.PATH, WORMHOLE_HOME: home, WORMHOLE_RUNTIME: home }
  const { status, stdout, stderr } = spawnSync(process.execPath, [file, ...words], {
    env,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

test('bundle: answers, errors and exit codes are those of dist/cli', { skip }, (t) => {
  const directory = temporaryDirectory(t)
  const home = path.join(directory, 'home')
  for (const name of ['bin', 'package.json', 'node_modules']) {
    fs.symlinkSync(path.join(root, name), path.join(directory, name))
  }
  fs.mkdirSync(path.join(directory, 'dist'))
  for (const name of fs.readdirSync(path.join(root, 'dist'))) {
    if (name === 'bundle') continue
    fs.symlinkSync(path.join(root, 'dist', name), path.join(directory, 'dist', name))
  }
  fs.rmSync(path.join(directory, 'bin'))
  fs.cpSync(path.join(root, 'bin'), path.join(directory, 'bin'), { recursive: true })
  const plain = path.join(directory, 'bin', 'wormhole.js')
  const lines: [string[], number][] = [
    [['version'], 0],
    [['version', '--json'], 0],
    [['status', '--help'], 0],
    [['status'], 1],
    [['ls', '/', '--json'], 1],
    [['sync', '--timeout', 'soon'], 2],
  ]
  for (const [words, code] of lines) {
    const bundled = run(program, words, home)
    assert.equal(bundled.status, code, bundled.stderr)
    assert.deepEqual(bundled, run(plain, words, home), words.join(' '))
  }
})

test('bundle: modules that are started by name lie in it', { skip }, () => {
  const source = path.join(root, 'src')
  const names = new Set<string>(['gear.wasm'])
  for (const name of fs.readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue
    const text = fs.readFileSync(path.join(source, name), 'utf8')
    for (const [, module] of text.matchAll(/siblingModule\(import\.meta\.url, '\.\/([\w-]+)'/g)) {
      names.add(`${module}.js`)
    }
    for (const [, file] of text.matchAll(/new URL\('\.\/([\w.-]+)', import\.meta\.url\)/g)) {
      names.add(file as string)
    }
  }
  assert.ok(names.size >= 6, [...names].join(' '))
  for (const name of names) {
    assert.ok(fs.existsSync(path.join(path.dirname(bundle), name)), `${name} is not in the bundle`)
  }
})
