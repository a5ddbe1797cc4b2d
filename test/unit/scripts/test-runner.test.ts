/**
 * Proves that the test runner counts truly: passes, failures, skips, crashes, and files with
 * nothing in them. It runs the runner on small made-up projects in a temporary directory.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const runner = fileURLToPath(new URL('../../../scripts/test.mjs', import.meta.url))

function createProject(t: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(path.join(tmpdir(), 'wormhole-runner-'))
  t.after(() => rmSync(root, { recursive: true }))
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(root, 'test', name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
  return root
}

function runTests(root: string, ...args: string[]): { code: number | null; lines: string[] } {
  const result = spawnSync(process.execPath, [runner, '--root', root, ...args], {
    encoding: 'utf8',
    env: { ...process.env, CI: '' },
  })
  return { code: result.status, lines: result.stdout.trimEnd().split('\n') }
}

const PASSING = `import { test } from 'node:test'
test('one', async (t) => { await t.test('inner', () => {}) })
test('two', () => {})`
const FAILING = `import { test } from 'node:test'
test('bad', () => { console.log('a trace of it'); throw new Error('the reason') })
test('good', () => {})`
const SKIPPING = `import { test } from 'node:test'
test('later', { skip: 'no device' }, () => {})
test('now', () => {})`

test('passing tests, subtests included, are counted and the exit code is 0', (t) => {
  const root = createProject(t, { 'unit/a.test.ts': PASSING, 'contract/b.test.ts': PASSING })
  const { code, lines } = runTests(root, 'unit', 'contract')
  assert.equal(lines.at(-1), '6 passed, 0 failed, 0 skipped')
  assert.equal(code, 0)
})

test('a failure is shown with its reason and the output of its file', (t) => {
  const root = createProject(t, { 'unit/a.test.ts': FAILING, 'unit/b.test.ts': SKIPPING })
  const { code, lines } = runTests(root, 'unit')
  const text = lines.join('\n')
  assert.equal(lines.at(-1), '2 passed, 1 failed, 1 skipped')
  assert.match(text, /FAILED bad/)
  assert.match(text, /the reason/)
  assert.match(text, /\| a trace of it/)
  assert.match(text, /skipped later: no device/)
  assert.equal(code, 1)
})

test('a file without tests and a file that dies are failures', (t) => {
  const root = createProject(t, {
    'unit/empty.test.ts': 'export {}',
    'unit/dies.test.ts': "import 'node:test'\nprocess.kill(process.pid, 'SIGKILL')",
    'unit/broken.test.ts': "import './missing.ts'",
  })
  const { code, lines } = runTests(root, 'unit')
  assert.equal(lines.at(-1), '0 passed, 3 failed, 0 skipped')
  assert.match(lines.join('\n'), /there is no test in it/)
  assert.equal(code, 1)
})

test('a file that hangs is ended and counted as failed', (t) => {
  const hanging = `import { test } from 'node:test'
test('waits for ever', () => new Promise(() => setInterval(() => {}, 1000)))`
  const root = createProject(t, { 'unit/a.test.ts': hanging, 'unit/b.test.ts': PASSING })
  const { code, lines } = runTests(root, 'unit', '--timeout', '2')
  assert.equal(lines.at(-1), '3 passed, 1 failed, 0 skipped')
  assert.match(lines.join('\n'), /not done within 2 s/)
  assert.equal(code, 1)
})

test('nothing to run is a failure, an unknown tier is a usage error', (t) => {
  const root = createProject(t, {})
  const nothing = runTests(root, 'unit')
  assert.equal(nothing.lines.at(-1), '0 passed, 0 failed, 0 skipped')
  assert.equal(nothing.code, 1)
  assert.equal(runTests(root, 'units').code, 2)
})

test('a part of a path selects files', (t) => {
  const root = createProject(t, { 'unit/x/a.test.ts': PASSING, 'unit/y/b.test.ts': FAILING })
  const { code, lines } = runTests(root, 'unit', 'x/')
  assert.equal(lines.at(-1), '3 passed, 0 failed, 0 skipped')
  assert.equal(code, 0)
})

test('in CI a skipped mount test is a failure, unless what it lacks is optional', (t) => {
  const optional = SKIPPING.replace('no device', 'optional: fio is not installed')
  const cases = [
    [SKIPPING, '1 passed, 1 failed, 0 skipped'],
    [optional, '1 passed, 0 failed, 1 skipped'],
  ] as const
  for (const [text, last] of cases) {
    const root = createProject(t, { 'mount/a.test.ts': text })
    const { lines } = runTests(root, 'mount')
    const { stdout } = spawnSync(process.execPath, [runner, '--root', root, 'mount'], {
      encoding: 'utf8',
      env: { ...process.env, CI: 'true' },
    })
    const hasFuse = process.getuid?.() === 0 && existsSync('/dev/fuse')
    assert.equal(lines.at(-1), '1 passed, 0 failed, 1 skipped')
    if (hasFuse) assert.equal(stdout.trimEnd().split('\n').at(-1), last)
  }
})
