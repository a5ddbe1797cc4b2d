/**
 * Proves that put, get and cat carry files and trees both ways unchanged, and what they refuse or
 * skip. Command lines run in this process against a fake home behind a real control socket.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { TransferReport } from '../../../src/cli/interface.ts'
import { WormholeError } from '../../../src/errors.ts'
import { serveFakeHome, temporaryDirectory } from '../../helpers/cli.ts'

const LARGE = Buffer.alloc(3_000_000, 'wormhole')

test('transfer: cat prints bytes, versions and several files', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  home.list[0]!.add('/a', 'one\n')
  home.list[0]!.add('/b', LARGE)
  assert.equal((await wormhole(['cat', '/a', '/a'])).stdout, 'one\none\n')
  assert.equal((await wormhole(['cat', '/b'])).stdout, LARGE.toString())
  assert.equal((await wormhole(['cat', '/a', '--version', 'v1'])).stdout, 'version v1')
  const missing = await wormhole(['cat', '/none'])
  assert.deepEqual([missing.code, missing.stdout], [1, ''])
})

test('transfer: one file there and back, with mode and time', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const cwd = temporaryDirectory(t)
  fs.writeFileSync(path.join(cwd, 'large'), LARGE, { mode: 0o640 })
  const put = await wormhole(['put', 'large', '/x', '--json'], { cwd })
  assert.deepEqual(JSON.parse(put.stdout) as TransferReport, {
    files: 1,
    directories: 0,
    bytes: LARGE.length,
    skipped: [],
  })
  assert.equal(home.list[0]!.nodes.get('/x')?.mode, 0o640)
  assert.equal((await wormhole(['get', '/x', 'back'], { cwd })).code, 0)
  const back = fs.statSync(path.join(cwd, 'back'))
  assert.equal(back.mode & 0o777, 0o640)
  assert.equal(back.mtime.toISOString(), '2026-11-20T14:03:22.000Z')
  assert.ok(fs.readFileSync(path.join(cwd, 'back')).equals(LARGE))
  assert.equal((await wormhole(['get', '/x'], { cwd })).code, 0)
  assert.ok(fs.existsSync(path.join(cwd, 'x')))
  assert.equal((await wormhole(['get', '/x', '-'], { cwd })).stdout, LARGE.toString())
})

test('transfer: a directory as target takes the file under its own name', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const cwd = temporaryDirectory(t)
  fs.writeFileSync(path.join(cwd, 'f'), 'abc')
  fs.mkdirSync(path.join(cwd, 'd'))
  home.list[0]!.add('/in/other', '')
  assert.equal((await wormhole(['put', 'f', '/in'], { cwd })).code, 0)
  assert.equal((await wormhole(['put', 'f', '/'], { cwd })).code, 0)
  assert.ok(home.list[0]!.nodes.has('/in/f') && home.list[0]!.nodes.has('/f'))
  assert.equal((await wormhole(['get', '/in/f', 'd'], { cwd })).code, 0)
  assert.equal(fs.readFileSync(path.join(cwd, 'd', 'f'), 'utf8'), 'abc')
})

test('transfer: standard input', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  assert.equal((await wormhole(['put', '-', '/in'], { input: 'piped' })).code, 0)
  assert.equal(home.list[0]!.nodes.get('/in')?.bytes.toString(), 'piped')
  assert.equal((await wormhole(['put', '-', '/in'])).code, 0)
  assert.equal(home.list[0]!.nodes.get('/in')?.bytes.length, 0)
  assert.equal((await wormhole(['put', '-', '/dir/'], { input: '' })).code, 1)
})

test('transfer: trees', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const cwd = temporaryDirectory(t)
  const tree = path.join(cwd, 'tree')
  fs.mkdirSync(path.join(tree, 'sub', 'empty'), { recursive: true })
  for (let index = 0; index < 30; index++)
    fs.writeFileSync(path.join(tree, `f${index}`), `${index}`)
  fs.writeFileSync(path.join(tree, 'sub', 'large'), LARGE)
  fs.symlinkSync('f1', path.join(tree, 'link'))
  fs.writeFileSync(Buffer.concat([Buffer.from(`${tree}/bad`), Buffer.of(0xff)]), '')

  assert.equal((await wormhole(['put', 'tree', '/t'], { cwd })).code, 1)
  const put = await wormhole(['put', '-r', 'tree', '/t', '--json'], { cwd })
  assert.equal(put.code, 1, 'something was skipped')
  const report = JSON.parse(put.stdout) as TransferReport
  assert.deepEqual([report.files, report.directories, report.skipped.length], [31, 3, 2])
  assert.ok(home.list[0]!.nodes.has('/t/sub/empty'))
  // A target that exists takes the tree into it.
  const again = await wormhole(['put', '-r', 'tree', '/t'], { cwd })
  assert.match(again.stderr, /skipped .*link: a symbolic link/)
  assert.ok(home.list[0]!.nodes.get('/t/tree/sub/large')?.bytes.equals(LARGE))

  home.list[0]!.nodes.set('/t/ln', {
    type: 'symlink',
    bytes: Buffer.alloc(0),
    mode: 0o777,
    target: 'f1',
  })
  assert.equal((await wormhole(['get', '/t', 'out'], { cwd })).code, 1)
  assert.equal((await wormhole(['get', '-r', '/t', 'out'], { cwd })).code, 0)
  assert.equal(fs.readFileSync(path.join(cwd, 'out', 'ln'), 'utf8'), '1')
  assert.ok(fs.readFileSync(path.join(cwd, 'out', 'tree', 'sub', 'large')).equals(LARGE))
  assert.deepEqual(fs.readdirSync(path.join(cwd, 'out', 'sub', 'empty')), [])
})

test('transfer: names from other devices cannot leave the target', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const cwd = temporaryDirectory(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.add('/t/good', 'x')
  const list = volume.list.bind(volume)
  volume.list = async (where) => {
    const [first, ...rest] = await list(where)
    assert.ok(first)
    return [{ ...first, name: '../evil' }, { ...first, name: '..' }, first, ...rest]
  }
  assert.equal((await wormhole(['get', '-r', '/t', 'out'], { cwd })).code, 1)
  assert.deepEqual(fs.readdirSync(path.join(cwd, 'out')), ['good'])
  assert.deepEqual(fs.readdirSync(cwd), ['out'])
})

test('transfer: a copy that fails leaves nothing, and devices are written directly', async (t) => {
  const { home, wormhole } = await serveFakeHome(t)
  const cwd = temporaryDirectory(t)
  const [volume] = home.list
  assert.ok(volume)
  volume.add('/f', 'new')
  fs.writeFileSync(path.join(cwd, 'f'), 'old')
  assert.equal((await wormhole(['get', '/f', '/dev/null'], { cwd })).code, 0)
  assert.ok(fs.statSync('/dev/null').isCharacterDevice())
  volume.read = async function* () {
    yield Buffer.from('half')
    throw new WormholeError('CHUNK_UNAVAILABLE', 'the rest is away')
  }
  const outcome = await wormhole(['get', '/f', 'f'], { cwd })
  assert.equal(outcome.code, 1)
  assert.match(outcome.stderr, /CHUNK_UNAVAILABLE: the rest is away\. No connected device/)
  assert.deepEqual(fs.readdirSync(cwd), ['f'])
  assert.equal(fs.readFileSync(path.join(cwd, 'f'), 'utf8'), 'old')
  assert.equal((await wormhole(['put', 'none', '/x'], { cwd })).code, 1)
  const nowhere = await wormhole(['get', '/f', 'no/such/place'], { cwd })
  assert.equal(nowhere.code, 1)
  assert.match(nowhere.stderr, /^wormhole: IO_ERROR: .*ENOENT/)
})
