/**
 * Proves how reports are written for people and for scripts, and that names cannot steer the
 * terminal. Pure functions on small values.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  clean,
  count,
  formatBytes,
  formatJson,
  formatMode,
  formatTable,
  formatTime,
  painter,
} from '../../../src/cli/format.ts'
import type { Output } from '../../../src/cli/io.ts'
import { formatProgress, progressLine } from '../../../src/cli/progress.ts'

test('format: sizes', () => {
  const sizes = [0, 999, 1023, 1024, 1536, 100 * 1024, 1024 ** 2 - 1, 5 * 1024 ** 3, 2 ** 53]
  assert.deepEqual(sizes.map(formatBytes), [
    '0 B',
    '999 B',
    '1023 B',
    '1 KiB',
    '1.5 KiB',
    '100 KiB',
    '1 MiB',
    '5 GiB',
    '8 PiB',
  ])
})

test('format: times, modes and counts', () => {
  assert.match(formatTime('2026-11-20T14:03:22.000Z'), /^2026-11-2[01] \d\d:\d\d$/)
  assert.equal(formatTime(undefined), '-')
  assert.equal(formatTime('soon'), 'soon')
  assert.equal(formatMode('directory', 0o750), 'drwxr-x---')
  assert.equal(formatMode('symlink', 0o777), 'lrwxrwxrwx')
  assert.equal(formatMode('special', 0o604), '?rw----r--')
  assert.equal(count(1, 'file'), '1 file')
  assert.equal(count(0, 'file'), '0 files')
})

test('format: tables line up, also with wide characters', () => {
  const table = formatTable(
    [{ title: 'NAME' }, { title: 'SIZE', isNumber: true }, { title: 'X' }],
    [
      ['日本', '5 B', ''],
      ['a', '10 B', 'e\u0301'],
    ],
  )
  assert.equal(table, 'NAME  SIZE  X\n日本   5 B\na     10 B  e\u0301')
})

test('format: names cannot steer the terminal', () => {
  assert.equal(clean('a\u001b[31m\n\u009b\u202eb'), 'a\\x1b[31m\\x0a\\x9b\\u202eb')
  const json = formatJson({ name: 'a\u001b\u007f\u009b\u202e' })
  assert.equal(json, '{"name":"a\\u001b\\u007f\\u009b\\u202e"}')
  assert.deepEqual(JSON.parse(json), { name: 'a\u001b\u007f\u009b\u202e' })
  assert.ok(!formatTable([{ title: 'N' }], [['\u001b[2J']]).includes('\u001b'))
})

test('format: colours on a terminal only', () => {
  const terminal = { isTTY: true } as Output
  assert.equal(painter(terminal, {})('bad', 'x'), '\u001b[31mx\u001b[0m')
  assert.equal(painter(terminal, { NO_COLOR: '1' })('bad', 'x'), 'x')
  assert.equal(painter(terminal, { TERM: 'dumb' })('bad', 'x'), 'x')
  assert.equal(painter({ isTTY: false } as Output, {})('bad', 'x'), 'x')
})

test('format: progress is one line, drawn now and then, and cleared', () => {
  assert.equal(formatProgress({ text: 'go', done: 1, total: 2 }, 21), '[██  ]  50% go')
  assert.equal(formatProgress({ text: 'x'.repeat(50), done: 9, total: 2 }, 20).length, 19)
  assert.equal(formatProgress({ text: 'go', done: 1, total: 0 }, 20), 'go')
  const drawn: string[] = []
  const terminal = { isTTY: true, columns: 40, write: (text: string) => drawn.push(text) > 0 }
  let nowMs = 0
  const line = progressLine(terminal as unknown as Output, () => nowMs)
  for (; nowMs < 250; nowMs += 50) line.show({ text: `at ${nowMs}`, done: 0, total: 0 })
  line.clear()
  line.clear()
  assert.deepEqual(drawn, ['\r\u001b[Kat 0', '\r\u001b[Kat 100', '\r\u001b[Kat 200', '\r\u001b[K'])
})
