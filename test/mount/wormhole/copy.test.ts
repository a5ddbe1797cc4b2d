/**
 * Proves that real trees survive the trip: `cp -a` of this project's node_modules into one device's
 * mount is identical on another device's mount, and a git repository made in a mount is sound
 * there.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createDirectory, whyNoMount } from '../../helpers/process.ts'
import { compareTrees } from '../../helpers/tree.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? false
const project = fileURLToPath(new URL('../../..', import.meta.url))

/** Runs a program that must succeed; returns its output. */
function run(program: string, args: readonly string[], cwd?: string): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 180_000,
    env: {
      ...process.env,
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_AUTHOR_NAME: 'alice',
      GIT_AUTHOR_EMAIL: 'alice@localhost',
      GIT_COMMITTER_NAME: 'alice',
      GIT_COMMITTER_EMAIL: 'alice@localhost',
    },
  })
}

test('cp -a of node_modules is identical on the other device', { skip }, async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  const source = path.join(project, 'node_modules')
  run('cp', ['-a', source, alice.path('node_modules')])
  await syncAll([alice, bob], 150)
  const differences = compareTrees(source, bob.path('node_modules'), { directoryTimes: true })
  assert.deepEqual(differences.slice(0, 20), [])
  run('diff', ['-r', '--no-dereference', source, bob.path('node_modules')])
  assert.ok(fs.readdirSync(bob.path('node_modules')).length > 50)
})

test('git clone and commit in a mount; fsck is clean on the other device', { skip }, async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  const origin = path.join(createDirectory(t, 'git'), 'origin')
  run('git', ['init', '-q', '-b', 'main', origin])
  for (let index = 0; index < 200; index++) {
    const directory = path.join(origin, `d${index % 10}`)
    fs.mkdirSync(directory, { recursive: true })
    fs.writeFileSync(path.join(directory, `f${index}.txt`), `content ${index}\n`.repeat(50))
  }
  run('git', ['add', '.'], origin)
  run('git', ['commit', '-qm', 'first'], origin)
  run('git', ['clone', '-q', '--no-hardlinks', origin, alice.path('clone')])
  fs.writeFileSync(alice.path('clone', 'new.txt'), 'new\n')
  run('git', ['add', '.'], alice.path('clone'))
  run('git', ['commit', '-qm', 'second'], alice.path('clone'))
  await syncAll([alice, bob])
  run('git', ['-c', 'safe.directory=*', 'fsck', '--full', '--strict'], bob.path('clone'))
  const log = run('git', ['-c', 'safe.directory=*', 'log', '--format=%s'], bob.path('clone'))
  assert.equal(log, 'second\nfirst\n')
  const status = run('git', ['-c', 'safe.directory=*', 'status', '--short'], bob.path('clone'))
  assert.equal(status, '')
})
