/**
 * Proves that what is gone before it is published never reaches the log: probes of editors,
 * temporary files of compilers, git's lock files. The calls are those of the programs, on simulated
 * time; the changes of the log are decoded and looked through.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeChange } from '../../../src/crdt/change.ts'
import { BUSY_MS_MAX } from '../../../src/vfs/pace.ts'
import { GROUP_MS } from '../../../src/vfs/publisher.ts'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

/** Register puts in the log of a device: `L` of a file is its name, `C` its content. */
function puts(device: VfsDevice): string[] {
  const ops = device.log.flat().flatMap(({ change }) => decodeChange(change).ops)
  return ops.map(({ key }) => key)
}

async function unlink(device: VfsDevice, entry: string): Promise<void> {
  await device.fs.unlink(CONTEXT, ROOT, name(entry))
}

async function rename(device: VfsDevice, from: string, to: string): Promise<void> {
  const [source, target] = [name(from), name(to)]
  await device.fs.rename(CONTEXT, { parent: ROOT, name: source }, { parent: ROOT, name: target }, 0)
}

test('a file created, written, closed and removed within the group leaves nothing', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  await device.put('old', 'stays')
  await device.drain()
  const before = puts(device).length
  for (let count = 0; count < 50; count++) {
    await device.put(`probe${count}`, 'x')
    await unlink(device, `probe${count}`)
    if (count % 10 === 9) await device.clock.run(GROUP_MS)
  }
  await device.drain()
  // The directory's time: at most one put in each group.
  const added = puts(device).slice(before)
  assert.deepEqual(new Set(added), new Set(added.length > 0 ? ['CAAEAAAAAAAAAAAAA'] : []))
  assert.ok(added.length <= 6, `${added.length} puts`)
  assert.equal(device.contents.buildCount, 1, 'no content was built')
})

test('a compiler: temporary files of a burst cost nothing, outputs one content each', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  const count = 30
  for (let unit = 0; unit < count; unit++) {
    await device.put(`cc${unit}.s`, 'assembly')
    await device.clock.run(1)
    await device.put(`unit${unit}.o.tmp`, `object ${unit}`)
    await rename(device, `unit${unit}.o.tmp`, `unit${unit}.o`)
    await unlink(device, `cc${unit}.s`)
  }
  await device.drain()
  const keys = puts(device)
  const kinds = (kind: string): number => keys.filter((key) => key.startsWith(kind)).length
  assert.equal(kinds('L'), count, 'a name each, none of temporary files')
  const contents = keys.filter((key) => key.startsWith('C') && key !== 'CAAEAAAAAAAAAAAAA')
  assert.equal(contents.length, count, 'a content each')
})

test('git: a lock file that replaces the file is one new content of it', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  await device.put('HEAD', 'ref: old')
  await device.drain()
  const earlier = puts(device)
  const before = earlier.length
  const { handle } = device.create(ROOT, 'HEAD.lock')
  await device.write(handle, 0, 'ref: new')
  device.close(handle)
  await rename(device, 'HEAD.lock', 'HEAD')
  await device.put('index.lock', 'refused')
  await unlink(device, 'index.lock')
  await device.drain()
  const added = puts(device)
    .slice(before)
    .filter((key) => key !== 'CAAEAAAAAAAAAAAAA')
  assert.equal(added.filter((key) => key.startsWith('L')).length, 0, 'no name has changed')
  const contents = added.filter((key) => key.startsWith('C'))
  assert.equal(contents.length, 1)
  assert.ok(earlier.includes(contents[0] ?? ''), 'the content is of the old inode')
  assert.equal(await device.cat('HEAD'), 'ref: new')
})

test('more short-lived files than a submission holds leave nothing either', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  await device.put('old', 'stays')
  await device.drain()
  const { submitCount } = device
  const before = puts(device).length
  const count = 1500
  for (let probe = 0; probe < count; probe++) await device.put(`probe${probe}`, 'x')
  await device.put('kept', 'is kept')
  await device.put('linked', 'has another name')
  const linked = await device.fs.lookup(CONTEXT, ROOT, name('linked'))
  await device.fs.link(CONTEXT, linked?.nodeId ?? 0, ROOT, name('other'))
  await unlink(device, 'linked')
  await rename(device, 'probe0', 'renamed')
  for (let probe = 1; probe < count; probe++) await unlink(device, `probe${probe}`)
  await device.vfs.submitPending()
  assert.equal(device.submitCount, submitCount + 1, 'one submission')
  await device.drain()
  const names = puts(device)
    .slice(before)
    .filter((key) => key.startsWith('L'))
  // Three files, the second name of one, and the end of its first one.
  assert.ok(names.length <= 5, `${names.length} names`)
  for (const [entry, text] of [
    ['kept', 'is kept'],
    ['other', 'has another name'],
    ['renamed', 'x'],
  ] as const) {
    assert.equal(await device.cat(entry), text)
  }
  await device.crash()
  assert.equal(await device.cat('other'), 'has another name')
  assert.deepEqual(
    device.vfs.paths.list('/').map((entry) => entry.name),
    ['kept', 'old', 'other', 'renamed'],
  )
})

test('a burst is published when programs pause, and not much later when they do not', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  const work = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at++) {
      device.requestCount += 5
      await device.clock.run(1)
    }
  }
  for (let file = 0; file < 100; file++) await device.put(`file${file}`, 'x')
  await work(BUSY_MS_MAX - 200)
  assert.equal(device.contents.buildCount, 0, 'nothing is built while programs are at work')
  await device.clock.run(200)
  assert.equal(device.contents.buildCount, 100, 'they paused')
  for (let file = 0; file < 100; file++) await device.put(`more${file}`, 'x')
  await work(BUSY_MS_MAX + 200)
  assert.equal(device.contents.buildCount, 200, 'nothing waits for ever')
  assert.equal(device.vfs.pendingEdits, 0)
})

test('a file that comes alone is published at once, whoever is at work', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  await device.put('alone', 'x')
  for (let at = 0; at < 20; at++) {
    device.requestCount += 5
    await device.clock.run(1)
  }
  assert.equal(device.vfs.pendingEdits, 0)
  assert.ok(puts(device).length > 0)
})

test('what waits for a pause survives the death of the process', async () => {
  const [device] = (await createWorld()) as [VfsDevice]
  for (let file = 0; file < 100; file++) {
    device.requestCount += 50
    await device.put(`file${file}`, `text ${file}`)
    await device.clock.run(1)
  }
  await unlink(device, 'file7')
  assert.ok(device.contents.buildCount < 20, 'most bytes are nowhere but in the journal')
  device.journal.flush()
  await device.crash()
  const names = device.vfs.paths.list('/').map((entry) => entry.name)
  assert.equal(names.length, 99)
  assert.ok(!names.includes('file7'))
  await device.drain()
  for (const entry of names) assert.equal(await device.cat(entry), `text ${entry.slice(4)}`)
})
