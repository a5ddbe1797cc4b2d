/**
 * Proves that a home has one holder, that its lock tells who, and that directories others could
 * have prepared are refused. Real files in a temporary directory.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import {
  claimRuntimeDirectory,
  makePrivateDirectory,
  readHolder,
} from '../../../src/daemon/holder.ts'
import { isHomeLocked, lockHome } from '../../../src/daemon/lock.ts'
import { homeFiles } from '../../../src/daemon/paths.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'

const uid = process.getuid?.() ?? 0

test('lock: one holder at a time, named to the others', (t) => {
  const home = temporaryDirectory(t)
  assert.equal(isHomeLocked(home), false)
  assert.equal(readHolder(home), undefined)
  const lock = lockHome(home)
  assert.throws(() => lockHome(home), { code: 'HOME_LOCKED', message: /another process/ })
  lock.describe({ pid: 4711, version: '1.0.0', socket: '/s' })
  assert.deepEqual(readHolder(home), { pid: 4711, version: '1.0.0', socket: '/s' })
  lock.describe({ pid: 4711, version: '1.0.0', socket: undefined })
  assert.equal(readHolder(home)?.socket, undefined)
  assert.throws(() => lockHome(home), { code: 'HOME_LOCKED', message: /process 4711/ })
  assert.equal(isHomeLocked(home), true)
  lock.release()
  lock.release()
  assert.equal(isHomeLocked(home), false)
  assert.equal(readHolder(home), undefined)
  lockHome(home).release()
})

test('lock: a half-written lock file says nothing', (t) => {
  const home = temporaryDirectory(t)
  for (const text of ['', '{"pid":', '[]', 'null', '{"pid":"x","version":"1"}']) {
    fs.writeFileSync(homeFiles(home).lock, text)
    assert.equal(readHolder(home), undefined)
  }
})

test('lock: a copy of a held lock file says nothing', (t) => {
  const [home, copy] = [temporaryDirectory(t), temporaryDirectory(t)]
  const lock = lockHome(home)
  lock.describe({ pid: 4711, version: '1.0.0', socket: '/s' })
  fs.copyFileSync(homeFiles(home).lock, homeFiles(copy).lock)
  assert.equal(readHolder(copy), undefined)
  assert.equal(isHomeLocked(copy), false)
  lock.release()
})

test('lock: private directories', (t) => {
  const base = temporaryDirectory(t)
  const home = path.join(base, 'a', 'home')
  makePrivateDirectory(home, uid)
  fs.chmodSync(home, 0o755)
  makePrivateDirectory(home, uid)
  assert.equal(fs.statSync(home).mode & 0o777, 0o700)

  const runtime = path.join(base, 'run')
  claimRuntimeDirectory(runtime, uid)
  assert.equal(fs.statSync(runtime).mode & 0o777, 0o700)
  fs.chmodSync(runtime, 0o770)
  assert.throws(() => claimRuntimeDirectory(runtime, uid), { code: 'NOT_PERMITTED' })
  fs.chmodSync(runtime, 0o700)
  assert.throws(() => claimRuntimeDirectory(runtime, uid + 1), { code: 'NOT_PERMITTED' })
  const link = path.join(base, 'link')
  fs.symlinkSync(runtime, link)
  assert.throws(() => claimRuntimeDirectory(link, uid), { code: 'NOT_PERMITTED' })
  const file = path.join(base, 'file')
  fs.writeFileSync(file, '')
  assert.throws(() => claimRuntimeDirectory(file, uid), { name: 'WormholeError' })
})
