/**
 * Proves how mounts begin and end: refusals with reasons, clean and forced ends that release
 * everything exactly once, interrupts, the shell that unmounts, and the repair after a server was
 * killed.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { test, type TestContext } from 'node:test'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../../src/system.ts'
import { isMounted, repairStale, unmount } from '../../../src/vfs/fuse/mount.ts'
import { findMount } from '../../../src/vfs/fuse/mountinfo.ts'
import { untilTrue } from '../../helpers/until.ts'
import { BOOT, createMount, createMountPoint, run, SERVER, skip } from './harness.ts'

/** Closes a file whose mount has been cut off. */
function closeCut(descriptor: number): void {
  assert.throws(() => fs.closeSync(descriptor), { code: 'ENOTCONN' })
}

const unreferenced = { handles: 0, directoryHandles: 0, lookups: 1 }

test('places that cannot be mount points are refused with the reason', { skip }, async (t) => {
  const directory = createMountPoint(t)
  const refused = async (place: string, text: RegExp): Promise<void> => {
    await assert.rejects(createMount(t, { directory: place }), (error: NodeJS.ErrnoException) => {
      assert.equal(error.code, 'MOUNT_FAILED')
      assert.match(error.message, text)
      return true
    })
  }
  await refused(path.join(directory, 'missing'), /does not exist; create it first/)
  await refused('/proc/version', /is not a directory/)
  await refused('/proc', /already a mount point of .* \(proc\)/)
  await refused('/usr', /is not empty/)
  await createMount(t, { directory })
  await refused(directory, /already a mount point of memory@[0-9a-f]{12} \(fuse\.wormhole\)/)
})

test('a name with spaces and backslashes is found, mounted and unmounted', { skip }, async (t) => {
  const directory = createMountPoint(t, 'a b\\c\td#ü')
  assert.equal(await isMounted(directory), false)
  const mount = await createMount(t, { directory })
  assert.equal(await isMounted(directory), true)
  assert.match(findMount(directory)?.source ?? '', /^memory@/)
  await mount.ask('close')
  assert.equal(await isMounted(directory), false)
})

test(
  'close releases every node and handle exactly once, and is idempotent',
  { skip },
  async (t) => {
    const mount = await createMount(t)
    await mount.run('mkdir a; for i in $(seq 50); do echo $i > a/$i; done; ls -lR > /dev/null')
    await mount.ask('close')
    await mount.ask('close')
    assert.equal(await mount.ask('ended'), 'closed')
    assert.deepEqual(await mount.ask('leftovers'), unreferenced)
    assert.equal(await mount.ask('released'), 50)
    assert.deepEqual(await mount.ask('bugs'), [])
    assert.equal(await isMounted(mount.directory), false)
  },
)

for (const transport of ['epoll', 'pool'] as const) {
  test(`${transport}: close cuts off files that stay open`, { skip }, async (t) => {
    const mount = await createMount(t, { transport })
    const descriptor = fs.openSync(path.join(mount.directory, 'file'), 'w+')
    try {
      await assert.rejects(unmount(mount.directory), { code: 'MOUNT_FAILED' })
      await mount.ask('close')
      assert.throws(() => fs.writeSync(descriptor, 'x'), { code: 'ENOTCONN' })
      assert.deepEqual(await mount.ask('leftovers'), unreferenced)
      assert.deepEqual(await mount.ask('bugs'), [])
    } finally {
      closeCut(descriptor)
    }
  })

  test(`${transport}: an unmount by somebody else ends the service`, { skip }, async (t) => {
    const mount = await createMount(t, { transport })
    await mount.run('echo x > file; ls -l > /dev/null')
    await run(`umount ${mount.directory}`)
    assert.equal(await mount.ask('ended'), 'unmounted')
    assert.deepEqual(await mount.ask('leftovers'), unreferenced)
  })
}

test('a lazily unmounted mount with open files is closed all the same', { skip }, async (t) => {
  const mount = await createMount(t)
  const descriptor = fs.openSync(path.join(mount.directory, 'file'), 'w+')
  try {
    await unmount(mount.directory, { isLazy: true })
    fs.writeSync(descriptor, 'still served')
    await mount.ask('close')
    assert.throws(() => fs.writeSync(descriptor, 'x'), { code: 'ENOTCONN' })
    assert.deepEqual(await mount.ask('leftovers'), unreferenced)
  } finally {
    closeCut(descriptor)
  }
})

test('an interrupted read that never answers ends with EINTR', { skip }, async (t) => {
  const mount = await createMount(t)
  await mount.run(`python3 -c "
import os; open('file', 'w').write('x'); os.setxattr('file', 'user.test', b'hanging')"`)
  const output = await mount.run(`timeout --preserve-status -s INT 1 python3 -c "
import os, signal
def raised(*_): raise InterruptedError('handled')
signal.signal(signal.SIGINT, raised)
try: os.pread(os.open('file', os.O_RDONLY | os.O_DIRECT), 4096, 0)
except InterruptedError as error: print('interrupted')"`)
  assert.equal(output, 'interrupted\n')
  await run(`timeout -s KILL 1 cat file`, mount.directory)
  assert.equal(await mount.run('echo alive'), 'alive\n')
  assert.deepEqual(await mount.ask('bugs'), [])
})

test(
  'a bug answers EIO, is reported with its place, and the mount goes on',
  { skip },
  async (t) => {
    const mount = await createMount(t)
    const { stderr } = await run('cat buggy', mount.directory)
    assert.match(stderr, /Input\/output error/)
    assert.equal(await mount.run('echo x > y; cat y'), 'x\n')
    assert.deepEqual(await mount.ask('bugs'), ['LOOKUP: a planted bug'])
  },
)

/** A server in a process of its own. */
async function startProcess(t: TestContext, directory: string): Promise<ReturnType<typeof spawn>> {
  const child = spawn(process.execPath, [fileURLToPath(BOOT), SERVER, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  assert.equal(String((await once(child.stdout, 'data'))[0]), 'mounted\n')
  return child
}

/** The unmounter of `directory` among the children of the process that serves it. */
function unmounterOf(directory: string, server: number): number {
  const children = fs
    .readdirSync(`/proc/${server}/task`)
    .flatMap((thread) =>
      fs.readFileSync(`/proc/${server}/task/${thread}/children`, 'utf8').split(' '),
    )
    .filter(Boolean)
  const unmounters = children.filter((pid) => {
    const words = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return words.includes('wormhole-unmounter') && words.includes(directory)
  })
  assert.equal(unmounters.length, 1)
  return Number(unmounters[0])
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ESRCH')
    return false
  }
}

test('a killed server leaves a dead mount, which the next one repairs', { skip }, async (t) => {
  const directory = createMountPoint(t)
  const child = await startProcess(t, directory)
  // The kernel keeps the attributes of the root: stat will go on to answer.
  fs.statSync(directory)
  const unmounter = unmounterOf(directory, child.pid as number)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await untilTrue(() => !isRunning(unmounter), 'the unmounter has ended')
  assert.throws(() => fs.statfsSync(directory), { code: 'ENOTCONN' })
  assert.throws(() => fs.readdirSync(directory), { code: 'ENOTCONN' }, 'never an empty directory')
  assert.throws(() => fs.writeFileSync(path.join(directory, 'file'), 'x'), { code: 'ENOTCONN' })
  const mount = await createMount(t, { directory })
  assert.equal(await mount.run('echo x > y; cat y'), 'x\n')
  assert.equal(await repairStale(directory, systemClock), false, 'a living mount stays')
  await mount.ask('close')
  assert.equal(await isMounted(directory), false)
})

test('the unmounter ends with a clean unmount', { skip }, async (t) => {
  const mount = await createMount(t)
  const unmounter = unmounterOf(mount.directory, process.pid)
  await mount.ask('close')
  await untilTrue(() => !isRunning(unmounter), 'the unmounter has ended')
})

test('closing leaves the newer mount of another server alone', { skip }, async (t) => {
  const directory = createMountPoint(t)
  const first = await createMount(t, { directory })
  const descriptor = fs.openSync(path.join(directory, 'file'), 'w+')
  try {
    await unmount(directory, { isLazy: true })
    await createMount(t, { directory })
    const before = findMount(directory)
    await first.ask('close')
    assert.deepEqual(findMount(directory), before)
  } finally {
    closeCut(descriptor)
  }
})
