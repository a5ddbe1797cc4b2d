/**
 * Proves that each check of tidy finds its fault and leaves sound text alone. Small texts only; the
 * offending words are put together here, so that tidy does not find them in this file.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  checkDocstrings,
  checkEffects,
  checkEverywhere,
  checkLayers,
  checkPackages,
  checkSize,
  checkWords,
  findFoldersWithoutReadme,
  findUntestedCodes,
  type Finding,
} from '../../../scripts/tidy/checks.ts'
import { findImports, scan } from '../../../scripts/tidy/source.ts'

const lines = (findings: readonly Finding[]): number[] => findings.map(({ line }) => line)
const importsOf = (text: string): ReturnType<typeof findImports> => findImports(scan(text))
const effects = (file: string, text: string): Finding[] =>
  checkEffects(file, scan(text), importsOf(text))

test('the scanner tells code from comments, strings, templates and regular expressions', () => {
  const text = [
    "const a = 'it // is' // a remark",
    'const b = /[/\'"`]/.test(a) /* and */ || 1 / 2 / 3',
    'const c = `one ${fn({ x: `two ${a}` })} three // ${1}`',
    "const d = 'x'",
  ].join('\n')
  const { code, bare } = scan(text)
  assert.equal(code.length, text.length)
  assert.equal(bare.length, text.length)
  assert.ok(!code.includes('remark') && code.includes('it // is') && !code.includes('and'))
  const [a, b, c, d] = bare.split('\n') as [string, string, string, string]
  assert.equal(a.trimEnd(), "const a = '        '")
  assert.match(b, /^const b = \/ {6,}\/\.test\(a\) +\|\| 1 \/ 2 \/ 3$/)
  assert.ok(c.includes('fn({ x: ') && c.includes('{a}') && !c.includes('three'))
  assert.equal(d, "const d = ' '")
})

test('imports are found in every form', () => {
  const found = importsOf(
    [
      "import fs from 'node:fs'",
      'import {',
      '  one,',
      '  type Two,',
      "} from './a.ts'",
      "import type { Three } from './b.ts'",
      "export { four } from './c.ts'",
      "import './d.ts'",
      "const e = await import('./e.ts')",
      "type F = typeof import('./f.ts')",
      "// import './g.ts'",
    ].join('\n'),
  )
  const byName = Object.fromEntries(found.map((item) => [item.specifier, item]))
  assert.deepEqual(Object.keys(byName).sort(), [
    './a.ts',
    './b.ts',
    './c.ts',
    './d.ts',
    './e.ts',
    './f.ts',
    'node:fs',
  ])
  assert.deepEqual(byName['./a.ts']?.names, ['one'])
  assert.equal(byName['./b.ts']?.isTypeOnly, true)
  assert.equal(byName['./e.ts']?.line, 9)
  assert.equal(byName['./f.ts']?.isTypeOnly, true)
})

test('imports go down only', () => {
  const refused: [string, string][] = [
    ['log/feeds.ts', '../crdt/overlay.ts'],
    ['crdt/overlay.ts', '../chunks/interface.ts'],
    ['swarm/swarm.ts', '../vfs/vfs.ts'],
    ['vfs/vfs.ts', '../log/interface.ts'],
    ['vfs/fuse/session.ts', '../vfs.ts'],
    ['cli/main.ts', '../swarm/swarm.ts'],
    ['errors.ts', './log/interface.ts'],
    ['volume.ts', './daemon/home.ts'],
    ['log/feeds.ts', '../../scripts/tidy.ts'],
    ['novel/x.ts', '../types.ts'],
  ]
  for (const [file, specifier] of refused) {
    assert.equal(checkLayers(file, importsOf(`import '${specifier}'`)).length, 1, file)
  }
  const allowed: [string, string][] = [
    ['log/feeds.ts', '../types.ts'],
    ['log/feeds.ts', './frame.ts'],
    ['swarm/swarm.ts', '../log/interface.ts'],
    ['vfs/fuse/session.ts', '../interface.ts'],
    ['vfs/vfs.ts', './nodes.ts'],
    ['errors.ts', './types.ts'],
    ['cli/main.ts', '../daemon/client.ts'],
    ['cli/main.ts', 'commander'],
  ]
  for (const [file, specifier] of allowed) {
    assert.deepEqual(checkLayers(file, importsOf(`import '${specifier}'`)), [], file)
  }
})

test('effects are for adapters', () => {
  const text = [
    "import fs from 'node:fs'",
    "import { isIP } from 'node:net'",
    "import type { Socket } from 'node:net'",
    'const a = Date.now()',
    'const b = Math.random()',
    'setTimeout(() => a, b)',
    "const c = 'Date.now()' // Math.random()",
    'clock.setTimer(1, fire)',
  ].join('\n')
  assert.deepEqual(lines(effects('log/feeds.ts', text)), [1, 4, 5, 6])
})

test('an adapter may do what its row says, no more, and must need it', () => {
  assert.deepEqual(effects('disk.ts', "import fs from 'node:fs'"), [])
  assert.deepEqual(lines(effects('disk.ts', "import fs from 'node:fs'\nconst a = Date.now()")), [2])
  assert.match(effects('disk.ts', 'const a = 1')[0]?.message ?? '', /no longer uses fs/)
})

test('native packages are imported where they are at home', () => {
  const imports = importsOf("import { open } from 'lmdb'")
  assert.equal(checkPackages('crdt/overlay.ts', imports).length, 1)
  assert.deepEqual(checkPackages('crdt/lmdb.ts', imports), [])
  assert.deepEqual(checkPackages('crdt/rows.ts', importsOf("import type { X } from 'lmdb'")), [])
})

test('long files and lines are found, addresses may be long', () => {
  assert.deepEqual(checkSize('x\n'.repeat(500)), [])
  assert.deepEqual(lines(checkSize('x\n'.repeat(501))), [501])
  const long = 'x'.repeat(101)
  assert.deepEqual(lines(checkSize(`a\n${long}\n// https://example.org/${long}\n`)), [2])
})

test('what is exported has a docstring', () => {
  const sound = [
    '/** One. */',
    'export interface One {}',
    '/** Sizes. */',
    'export const A = 1',
    'export const B = 2',
    '/** Over. */',
    'export function over(a: string): string',
    'export function over(a: number): number',
    'export function over(a: unknown): unknown { return a }',
    'const inner = `',
    'export function inText() {}`',
  ].join('\n')
  assert.deepEqual(checkDocstrings(scan(sound)), [])
  const bad = '/** One. */\n\nexport class A {}\nexport const B = 1\nexport async function c() {}'
  assert.deepEqual(lines(checkDocstrings(scan(bad))), [3, 4, 5])
})

test('open ends and sleeping tests are found', () => {
  const bad = [`// ${'TO'}DO later`, `test.${'skip'}('x')`, `t.${'todo'}('x')`, `// ${'FIX'}ME`]
  assert.deepEqual(lines(checkWords(bad.join('\n'))), [1, 2, 3, 4])
  // A skip with a reason, a method of that name, and a longer word are none of these.
  const sound = [`test('x', { ${'ski'}p: reason })`, `stream.${'ski'}p(2)`, `${'TO'}DOS`]
  assert.deepEqual(checkWords(sound.join('\n')), [])
})

test('what belongs to one machine is found', () => {
  const bad = [
    `see ${'/wo'}rk/main/src`,
    `https://registry.${'npm'}js.org/x`,
    `  "${'resol'}ved": "https://x"`,
    `${'sha'}red/design.md`,
  ]
  assert.deepEqual(lines(checkEverywhere(bad.join('\n'))), [1, 2, 3, 4])
  assert.deepEqual(checkEverywhere('src/work/item.ts\n/home/work\n"resolved": false'), [])
})

test('folders without a README are found', () => {
  const files = ['log/feeds.ts', 'log/README.md', 'crdt/view.ts', 'declarations/x.d.ts', 'types.ts']
  assert.deepEqual(findFoldersWithoutReadme(files), ['crdt'])
})

test('error codes that no test names are found', () => {
  const tests = ["{ code: 'DISK_FULL' }", 'the words IO_ERROR do not count']
  assert.deepEqual(findUntestedCodes(['DISK_FULL', 'IO_ERROR'], tests), ['IO_ERROR'])
})
