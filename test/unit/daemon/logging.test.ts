/**
 * Proves that log lines are JSON with readable levels, that secrets do not get in, and that the
 * file does not grow without end. A logger on a temporary file.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { RotatingFile, logLevel, openLogger } from '../../../src/daemon/logging.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'

test('logging: lines, levels and secrets', (t) => {
  const file = path.join(temporaryDirectory(t), 'log')
  const logger = openLogger(file, 'info')
  logger.debug({}, 'unseen')
  logger.child({ part: 'x' }).warn({ count: 2, invite: 'abc', keys: { secret: 'def' } }, 'seen')
  const lines = fs.readFileSync(file, 'utf8').trim().split('\n')
  assert.equal(lines.length, 1)
  const { time, ...line } = JSON.parse(lines[0] as string) as Record<string, unknown>
  assert.match(String(time), /^20\d\d-.*Z$/)
  assert.deepEqual(line, {
    level: 'warn',
    part: 'x',
    count: 2,
    invite: '[Redacted]',
    keys: { secret: '[Redacted]' },
    msg: 'seen',
  })
  assert.equal(fs.statSync(file).mode & 0o777, 0o600)
})

test('logging: the level of the environment', () => {
  assert.equal(logLevel({}), 'info')
  assert.equal(logLevel({ WORMHOLE_LOG: 'debug' }), 'debug')
  assert.throws(() => logLevel({ WORMHOLE_LOG: 'loud' }), { code: 'BAD_ARGUMENT' })
})

test('logging: a full file is set aside', (t) => {
  const file = path.join(temporaryDirectory(t), 'log')
  const log = new RotatingFile(file, 20)
  for (const line of ['one 567890\n', 'two 567890\n', 'three 7890\n']) log.write(line)
  assert.equal(fs.readFileSync(file, 'utf8'), 'three 7890\n')
  assert.equal(fs.readFileSync(`${file}.1`, 'utf8'), 'two 567890\n')
  new RotatingFile(file, 20).write('four\n')
  assert.equal(fs.readFileSync(file, 'utf8'), 'three 7890\nfour\n')
})
