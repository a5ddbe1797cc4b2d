/**
 * Proves on a mount what a pin promises, and what `user.wormhole.state` and reads say of what is
 * not here: folders that move into a pinned one are fetched, a pinned folder that moves stays, and
 * what nobody reachable has is EIO soon. The xattr is read by another program.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { test } from 'node:test'
import type { PinReport, PinRunReport } from '../../../src/daemon/offline-interface.ts'
import { runProgram } from '../../helpers/command.ts'
import { waitFor, whyNoMount, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? false
const GET = 'import os, sys; print(os.getxattr(sys.argv[1], "user.wormhole.state").decode())'
const BIG = randomBytes(24_000_000)

function stateOf(device: Device, name: string): string {
  const { stdout, stderr } = spawnSync('python3', ['-c', GET, device.path(name)], {
    encoding: 'utf8',
  })
  assert.equal(stderr, '')
  return stdout.trim()
}

/** Reads the first bytes in another program, so that a wait does not hold up this one. */
async function readFirst(
  device: Device,
  name: string,
): Promise<{ code: number | null; stderr: string }> {
  const read = `import os, sys; os.read(os.open(sys.argv[1], os.O_RDONLY), 10)`
  return runProgram(['python3', '-c', read, device.path(name)], process.env)
}

test('states and reads of pinned and other files', { skip }, async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  const policy = '[local.keep]\ndefault = "always"\n"device=bob" = "streamed"\n'
  fs.writeFileSync(alice.path('.wormhole.toml'), policy)
  await syncAll([alice, bob])
  fs.mkdirSync(alice.path('jobs'))
  fs.mkdirSync(alice.path('archive/2025'), { recursive: true })
  fs.writeFileSync(alice.path('jobs/plan'), 'plan')
  fs.writeFileSync(alice.path('archive/2025/a'), 'text a')
  fs.writeFileSync(alice.path('archive/loose'), 'loose')
  fs.writeFileSync(alice.path('archive/linked'), 'linked')
  fs.writeFileSync(alice.path('far'), 'far away')
  fs.writeFileSync(alice.path('big'), BIG)
  await syncAll([alice, bob])
  for (const name of ['jobs/plan', 'archive/2025/a', 'far', 'big']) {
    assert.equal(stateOf(bob, name), 'remote', name)
    assert.equal(stateOf(alice, name), 'local', name)
  }
  assert.equal((await readFirst(bob, 'big')).code, 0)
  assert.equal(stateOf(bob, 'big'), 'partial')

  const report = await bob.json<PinRunReport>(['pin', bob.path('jobs')])
  assert.deepEqual([report.path, report.isAvailable], ['/jobs', true])
  assert.equal(stateOf(bob, 'jobs/plan'), 'local')
  // A folder, a file, and a further name of a file come into it, from either device.
  fs.renameSync(alice.path('archive/2025'), alice.path('jobs/2025'))
  fs.renameSync(bob.path('archive/loose'), bob.path('jobs/loose'))
  fs.linkSync(alice.path('archive/linked'), alice.path('jobs/also'))
  const isLocal = (name: string): boolean =>
    fs.existsSync(bob.path(name)) && stateOf(bob, name) === 'local'
  for (const name of ['jobs/2025/a', 'jobs/loose', 'jobs/also']) {
    // Nobody asks for a walk of all that is missing, as `sync` does.
    await waitFor(() => isLocal(name), { what: `${name} is fetched`, timeoutMs: 60_000 })
  }
  // It moves, and what is new in it is still brought.
  fs.renameSync(alice.path('jobs'), alice.path('archive/job'))
  fs.writeFileSync(alice.path('archive/job/later'), 'later')
  await waitFor(() => isLocal('archive/job/later'), { what: 'later is fetched', timeoutMs: 60_000 })
  const pins = await bob.json<PinReport[]>(['pins'])
  assert.deepEqual(pins, [
    { path: '/archive/job', state: 'available', missing: { files: 0, bytes: 0 } },
  ])

  await alice.stop()
  for (const name of ['far', 'big']) {
    const gone = await readFirst(bob, name)
    // What is partly here is read as far as it is.
    if (name === 'big') assert.equal(gone.code, 0)
    else assert.match(gone.stderr, /Errno 5\b/, 'EIO')
  }
  assert.equal(stateOf(bob, 'far'), 'remote')
  assert.equal(fs.readFileSync(bob.path('archive/job/2025/a'), 'utf8'), 'text a')
  assert.equal(fs.readFileSync(bob.path('archive/job/also'), 'utf8'), 'linked')
  fs.writeFileSync(bob.path('archive/job/plan'), 'plan of bob')
  fs.writeFileSync(bob.path('archive/job/offline'), 'made offline')
  assert.equal(stateOf(bob, 'archive/job/plan'), 'local')
  await bob.run(['sync'])
  await bob.stop()

  // The same file on the other side: a conflict, and the copy says so.
  await alice.run(['up'])
  fs.writeFileSync(alice.path('archive/job/plan'), 'plan of alice')
  await bob.run(['up'])
  await syncAll([alice, bob])
  const copy = fs.readdirSync(bob.path('archive/job')).find((name) => name.includes('(conflict'))
  assert.ok(copy)
  assert.equal(stateOf(bob, `archive/job/${copy}`), 'conflict')
  const texts = ['plan', copy].map((name) => fs.readFileSync(bob.path('archive/job', name), 'utf8'))
  assert.deepEqual(texts.sort(), ['plan of alice', 'plan of bob'])
})
