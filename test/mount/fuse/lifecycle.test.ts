/**
 * Proves how mounts begin and end: refusals with reasons, clean and forced ends that release
 * everything exactly once, interrupts, and the guard and the repair after a killed server.
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
import { BOOT, createMount, createMountPoint, run, SERVER, skip } from './harness.ts'

/** Waits until `check` holds, at most 10 s. */
async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  for (let left = 500; left > 0; left--) {
    if (await check()) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  assert.fail(`still not: ${what}`)
}

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

/** Process ids of the guards that watch over `directory`. */
function guards(directory: string): number[] {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const file = `/proc/${pid}/cmdline`
      const text = fs.existsSync(file) ? readIfThere(file) : ''
      return text.includes('wormhole-guard') && text.split('\0').includes(directory)
    })
    .map(Number)
}

function readIfThere(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    assert.match((error as NodeJS.ErrnoException).code ?? '', /ENOENT|ESRCH/)
    return ''
  }
}

test('the guard unmounts when the server is killed', { skip }, async (t) => {
  const directory = createMountPoint(t)
  const child = await startProcess(t, directory)
  fs.writeFileSync(path.join(directory, 'file'), 'x')
  const descriptor = fs.openSync(path.join(directory, 'file'), 'r')
  try {
    assert.equal(guards(directory).length, 1)
    child.kill('SIGKILL')
    await until('unmounted', () => findMount(directory) === undefined)
    await until('the guard is gone', () => guards(directory).length === 0)
    assert.deepEqual(fs.readdirSync(directory), [])
  } finally {
    closeCut(descriptor)
  }
})

test('the guard ends with a clean unmount', { skip }, async (t) => {
  const mount = await createMount(t)
  assert.equal(guards(mount.directory).length, 1)
  await mount.ask('close')
  await until('the guard is gone', () => guards(mount.directory).length === 0)
})

test('a guard leaves the newer mount of another server alone', { skip }, async (t) => {
  const directory = createMountPoint(t)
  const first = await startProcess(t, directory)
  const [guard] = guards(directory) as [number]
  process.kill(guard, 'SIGSTOP')
  first.kill('SIGKILL')
  await once(first, 'exit')
  await createMount(t, { directory })
  const before = findMount(directory)
  process.kill(guard, 'SIGCONT')
  await until('the old guard is gone', () => !guards(directory).includes(guard))
  assert.deepEqual(findMount(directory), before)
})

test('a dead mount is repaired by the next one', { skip }, async (t) => {
  const directory = createMountPoint(t)
  const child = await startProcess(t, directory)
  for (const pid of guards(directory)) process.kill(pid, 'SIGKILL')
  child.kill('SIGKILL')
  await once(child, 'exit')
  await until('dead', () => {
    try {
      fs.statSync(directory)
      return false
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOTCONN'
    }
  })
  const mount = await createMount(t, { directory })
  assert.equal(await mount.run('echo x > y; cat y'), 'x\n')
  assert.equal(await repairStale(directory, systemClock), false, 'a living mount stays')
  await mount.ask('close')
  assert.equal(await isMounted(directory), false)
})
