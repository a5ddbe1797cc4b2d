/**
 * Proves that the tree comparison sees every kind of difference and nothing else. Makes two equal
 * trees in a temporary directory and changes one thing at a time.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { createDirectory } from '../../helpers/process.ts'
import { compareTrees, hashTree } from '../../helpers/tree.ts'

const NAME_NOT_UTF8 = Buffer.from([0x66, 0xff, 0x6f])

function makeTree(root: string): void {
  fs.mkdirSync(path.join(root, 'sub'), { recursive: true, mode: 0o755 })
  fs.writeFileSync(path.join(root, 'a.txt'), 'alpha')
  fs.writeFileSync(path.join(root, 'sub', 'b.bin'), Buffer.alloc(300_000, 7))
  fs.writeFileSync(Buffer.concat([Buffer.from(`${root}/`), NAME_NOT_UTF8]), 'bytes')
  fs.symlinkSync('a.txt', path.join(root, 'link'))
  const time = new Date('2026-11-20T12:00:00.123Z')
  for (const name of ['a.txt', 'sub/b.bin']) fs.utimesSync(path.join(root, name), time, time)
  fs.utimesSync(Buffer.concat([Buffer.from(`${root}/`), NAME_NOT_UTF8]), time, time)
  fs.lutimesSync(path.join(root, 'link'), time, time)
}

const CHANGES: [what: string, change: (root: string) => void, expected: RegExp][] = [
  ['a name', (r) => fs.writeFileSync(`${r}/new`, ''), /^new: only in /],
  ['a missing file', (r) => fs.rmSync(`${r}/a.txt`), /^a\.txt: only in /],
  ['a mode', (r) => fs.chmodSync(`${r}/a.txt`, 0o600), /^a\.txt: mode 644 \/ 600$/],
  ['a time', (r) => fs.utimesSync(`${r}/a.txt`, 1, 1), /^a\.txt: mtimeNs /],
  ['a target', (r) => relink(r), /^link: target a\.txt \/ b\.txt$/],
  ['a byte', (r) => flip(`${r}/sub/b.bin`), /^sub\/b\.bin: sha256 /],
  ['a type', (r) => swapType(r), /^sub\/b\.bin: type file \/ directory$/],
]

function relink(root: string): void {
  const { mtime } = fs.lstatSync(`${root}/link`)
  fs.rmSync(`${root}/link`)
  fs.symlinkSync('b.txt', `${root}/link`)
  fs.lutimesSync(`${root}/link`, mtime, mtime)
}

function flip(file: string): void {
  const { mtime } = fs.statSync(file)
  const descriptor = fs.openSync(file, 'r+')
  fs.writeSync(descriptor, Buffer.from([8]), 0, 1, 299_999)
  fs.closeSync(descriptor)
  fs.utimesSync(file, mtime, mtime)
}

function swapType(root: string): void {
  fs.rmSync(`${root}/sub/b.bin`)
  fs.mkdirSync(`${root}/sub/b.bin`)
}

test('equal trees have no differences and one hash', (t) => {
  const directory = createDirectory(t)
  makeTree(`${directory}/left`)
  makeTree(`${directory}/right`)
  assert.deepEqual(compareTrees(`${directory}/left`, `${directory}/right`), [])
  assert.equal(hashTree(`${directory}/left`), hashTree(`${directory}/right`))
})

for (const [what, change, expected] of CHANGES) {
  test(`sees ${what}`, (t) => {
    const directory = createDirectory(t)
    makeTree(`${directory}/left`)
    makeTree(`${directory}/right`)
    change(`${directory}/right`)
    const options = { attributes: false }
    const differences = compareTrees(`${directory}/left`, `${directory}/right`, options)
    assert.match(differences[0] ?? 'none', expected)
    assert.notEqual(hashTree(`${directory}/left`, options), hashTree(`${directory}/right`, options))
  })
}

test('sees an attribute', (t) => {
  const directory = createDirectory(t)
  makeTree(`${directory}/left`)
  makeTree(`${directory}/right`)
  const script = 'import os, sys; os.setxattr(sys.argv[1], "user.mark", b"x")'
  const set = spawnSync('python3', ['-c', script, `${directory}/right/a.txt`], { encoding: 'utf8' })
  if (/not supported/i.test(set.stderr)) return t.diagnostic('no user attributes in this directory')
  assert.equal(set.status, 0, set.stderr)
  const differences = compareTrees(`${directory}/left`, `${directory}/right`)
  assert.deepEqual(differences, ['a.txt: user.mark absent / 78'])
})

test('leaves out what it is told to', (t) => {
  const directory = createDirectory(t)
  makeTree(`${directory}/left`)
  makeTree(`${directory}/right`)
  fs.writeFileSync(`${directory}/right/sub/.hidden`, '')
  fs.utimesSync(`${directory}/right/a.txt`, 1, 1)
  const options = { times: false, ignore: (name: string) => name.endsWith('.hidden') }
  assert.deepEqual(compareTrees(`${directory}/left`, `${directory}/right`, options), [])
})
