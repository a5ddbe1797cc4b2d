/**
 * Proves that ordinary programs work on the real file system behind a real mount: copying, git, a
 * database, memory maps, editors. The file system runs in a process of its own (server.ts).
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { run, skip } from '../fuse/harness.ts'
import { createMount } from './harness.ts'

const SOURCES = fileURLToPath(new URL('../../../src', import.meta.url))

async function check(script: string, directory: string): Promise<string> {
  const { status, stdout, stderr } = await run(script, directory)
  assert.equal(status, 0, stderr)
  return stdout.trim()
}

test('a copied tree is equal, and goes away whole', { skip }, async (t) => {
  const directory = await createMount(t)
  await check(`cp -a ${SOURCES} copy && diff -r ${SOURCES} copy`, directory)
  await check('mkdir many && cd many && for i in $(seq 2000); do echo $i > f$i; done', directory)
  assert.equal(await check('ls many | wc -l && cat many/* | wc -l', directory), '2000\n2000')
  assert.equal(await check('rm -rf copy many && ls -A', directory), '')
})

test('git makes a sound repository', { skip }, async (t) => {
  const directory = await createMount(t)
  const identity = '-c user.name=alice -c user.email=alice@localhost'
  await check(
    `git init -q repository && cd repository && cp -a ${SOURCES} . && git add .
     git ${identity} commit -qm one && echo more >> src/README.md
     git ${identity} commit -qam two && git fsck --strict && git status --porcelain > ../status`,
    directory,
  )
  assert.equal(await check('cat status', directory), '')
})

test('a database, a memory map, attributes and unlinked files', { skip }, async (t) => {
  const directory = await createMount(t)
  const program = `
import mmap, os, sqlite3
db = sqlite3.connect('test.db')
db.execute('create table t(a)')
for i in range(50):
    db.execute('insert into t values(?)', (i,))
    db.commit()
assert db.execute('select sum(a) from t').fetchone() == (1225,)
assert db.execute('pragma integrity_check').fetchone() == ('ok',)
db.close()
with open('map', 'w+b') as f:
    f.truncate(100000)
    with mmap.mmap(f.fileno(), 100000) as m:
        m[5000:5005] = b'hello'
assert open('map', 'rb').read()[4998:5007] == b'\\0\\0hello\\0\\0'
os.setxattr('map', 'user.tag', b'value')
assert os.listxattr('map') == ['user.tag']
assert len(os.getxattr('map', 'user.wormhole.id')) == 16
fd = os.open('gone', os.O_CREAT | os.O_RDWR)
os.write(fd, b'abc')
os.unlink('gone')
os.write(fd, b'def')
assert os.pread(fd, 10, 0) == b'abcdef' and os.fstat(fd).st_nlink == 0
os.close(fd)
`
  await check(`python3 -c "${program}"`, directory)
})

test(
  'an editor that saves by rename: one file, old handles keep the old bytes',
  { skip },
  async (t) => {
    const directory = await createMount(t)
    const script = `
    id() { python3 -c "import os; print(os.getxattr('file', 'user.wormhole.id').decode())"; }
    echo one > file && sleep 0.2 && id
    exec 3< file && echo two > .file.swp && mv .file.swp file && stat -c %i file
    id && cat file && cat <&3 && sleep 0.2 && cat file && stat -c %i file && ls -A`
    const lines = (await check(script, directory)).split('\n')
    const [before, ino, after, text, old, later, published, ...names] = lines
    assert.deepEqual([text, old, later, names], ['two', 'one', 'two', ['file']])
    assert.equal(after, before)
    assert.equal(published, ino)
  },
)
