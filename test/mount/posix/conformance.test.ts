/**
 * Proves that programs cannot tell the mount from tmpfs: the same system calls, of several users,
 * on both, with the same answers and the same attributes and times afterwards. A table of scenes,
 * then random calls from a printed seed (`differ.py`). POSIX_SEED, POSIX_SEEDS and POSIX_SHARE
 * choose others and more.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createMount as createMemoryMount, run, skip as mountSkip } from '../fuse/harness.ts'
import { createMount } from '../vfs/harness.ts'

const PROMISES = fileURLToPath(new URL('./promises.py', import.meta.url))
const FSX = fileURLToPath(new URL('./fsx.py', import.meta.url))
const DIFFER = fileURLToPath(new URL('./differ.py', import.meta.url))
/** One scene of so many; `POSIX_SHARE=1` runs all of the 7,192. */
const SHARE = Number(process.env.POSIX_SHARE ?? 8)
const FIRST_SEED = Number(process.env.POSIX_SEED ?? Date.now() % 1_000_000)
const SEEDS = Number(process.env.POSIX_SEEDS ?? 6)

const skip =
  mountSkip ||
  (spawnSync('python3', ['-c', 'import ctypes, multiprocessing']).status === 0
    ? false
    : 'the differ needs python3 with ctypes')

/** A tmpfs with the mount options of a volume. */
async function createTruth(t: TestContext): Promise<string> {
  const parent = mkdtempSync(path.join(os.tmpdir(), 'wormhole-posix-'))
  const directory = path.join(parent, 'mount')
  mkdirSync(directory)
  const options = 'mode=755,nosuid,nodev,noatime'
  const { status, stderr } = await run(`mount -t tmpfs -o ${options} tmpfs ${directory}`)
  assert.equal(status, 0, stderr)
  t.after(async () => {
    await run(`umount -l ${directory}`)
    rmdirSync(directory)
    rmdirSync(parent)
  })
  return directory
}

test('scenes and random calls are as on tmpfs', { skip }, async (t) => {
  const mount = await createMount(t)
  const truth = await createTruth(t)
  const words = ['--tables', 'all', '--share', SHARE, '--first', FIRST_SEED, '--seeds', SEEDS]
  const child = spawn('python3', [DIFFER, truth, mount, ...words.map(String)])
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (piece: string) => (output += piece))
  }
  const [status] = (await once(child, 'close')) as [number | null]
  t.diagnostic(`first seed ${FIRST_SEED}: ${output.trimEnd().split('\n').at(-1)}`)
  assert.equal(status, 0, `first seed ${FIRST_SEED}\n${output.slice(0, 6000)}`)
})

test('what tmpfs cannot be asked for is as promised', { skip }, async (t) => {
  const directory = await createMount(t)
  const { status, stdout, stderr } = await run(`python3 ${PROMISES}`, directory)
  assert.equal(status, 0, `${stdout}\n${stderr.slice(-2000)}`)
})

test('each write to an O_SYNC or O_DSYNC handle is followed by its fsync', { skip }, async (t) => {
  const mount = await createMemoryMount(t)
  await mount.run(`python3 -c "
import os
for flag in (os.O_SYNC, os.O_DSYNC):
    fd = os.open('f', os.O_CREAT | os.O_WRONLY | flag)
    for _ in range(5): os.write(fd, b'text')
"`)
  const counts = await mount.ask<Record<string, number>>('requestCounts')
  assert.equal(counts.WRITE, 10)
  assert.equal(counts.FSYNC, 10)
})

test('random operations on one file leave the bytes they should', { skip }, async (t) => {
  const directory = await createMount(t)
  for (const seed of [FIRST_SEED, FIRST_SEED + 1]) {
    const { status, stderr } = await run(`python3 ${FSX} file ${seed} 1200`, directory)
    assert.equal(status, 0, stderr.slice(-2000))
  }
})
