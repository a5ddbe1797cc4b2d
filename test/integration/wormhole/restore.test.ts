/**
 * Proves that what was deleted or changed comes back by `restore`: one file, a version, a whole
 * tree as of before its removal, copies elsewhere; on both devices, and nothing newer is lost.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RestoreReport, VersionReport } from '../../../src/daemon/interface.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

test('files, versions and trees come back', async (t) => {
  const options = { isMounted: false }
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'], options)
  const put = (path: string, input: string): Promise<unknown> =>
    alice.run(['put', '-', path], { input })
  const cat = async (path: string): Promise<string> => (await bob.run(['cat', path])).stdout
  const restore = async (...words: string[]): Promise<Record<string, string>> => {
    const { items } = await bob.json<RestoreReport>(['restore', ...words])
    return Object.fromEntries(items.map(({ path, action }) => [path, action]))
  }
  await alice.run(['mkdir', '-p', '/photos/2026'])
  await put('/photos/2026/a', 'picture a')
  await put('/photos/b', 'first')
  await put('/photos/b', 'second')
  await put('/note', 'kept')
  await syncAll([alice, bob])

  const versions = await bob.json<VersionReport[]>(['history', '/photos/b'])
  const first = versions.find(({ size }) => size === 'first'.length)?.version as string
  const unsaid = await bob.run(['restore', '/photos/b'], { codes: [2] })
  assert.match(unsaid.stderr, /say as of when/)
  assert.deepEqual(await restore('/photos/b', '--at', first), { '/photos/b': 'replaced' })
  assert.equal(await cat('/photos/b'), 'first')
  await syncAll([alice, bob])

  await alice.run(['rm', '-r', '/photos'])
  await put('/note', 'newer')
  await syncAll([alice, bob])
  assert.equal((await bob.run(['cat', '/photos/b'], { codes: [1] })).stdout, '')
  const all = {
    '/photos': 'restored',
    '/photos/2026': 'restored',
    '/photos/2026/a': 'restored',
    '/photos/b': 'restored',
  }
  assert.deepEqual(await restore('/photos', '--dry-run'), all)
  assert.equal((await bob.run(['ls', '/'])).stdout, 'note\n', 'a preview does nothing')
  const orphan = await bob.run(['restore', '/photos/2026/a'], { codes: [1] })
  assert.match(orphan.stderr, /the directory of \/photos\/2026\/a is deleted, too/)
  assert.deepEqual(await restore('/photos/2026/a', '--to', '/'), { '/a': 'copied' })
  assert.deepEqual(await restore('/photos'), all)
  assert.deepEqual([await cat('/photos/2026/a'), await cat('/photos/b')], ['picture a', 'first'])
  assert.deepEqual([await cat('/a'), await cat('/note')], ['picture a', 'newer'])
  const history = await bob.json<VersionReport[]>(['history', '/photos/b'])
  assert.ok(history.length >= 3, 'the same inode: its history goes on')

  await syncAll([alice, bob])
  assert.equal((await alice.run(['cat', '/photos/2026/a'])).stdout, 'picture a')
  assert.equal((await alice.run(['restore', '/never'], { codes: [1] })).stdout, '')
  const nothing = await alice.run(['restore', '/photos', '--at', '0s'])
  assert.match(nothing.stdout, /^Nothing to do/)
})
