/**
 * Proves that real programs, unmodified, work on a mount of a real daemon, and that the second
 * device then holds the same bytes. Not part of `npm test`: `npm run programs`. What is not
 * installed is skipped by name.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { runProgram } from '../helpers/command.ts'
import { createDirectory, whyNoMount, type Device } from '../helpers/process.ts'
import { compareTrees } from '../helpers/tree.ts'
import { createVolumeOfDevices, syncAll } from '../helpers/volume-of-devices.ts'

const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
const PROGRAM_MS_MAX = 300_000
const POSTGRES = newestPostgres()

function newestPostgres(): string | undefined {
  const root = '/usr/lib/postgresql'
  const versions = fs.existsSync(root) ? fs.readdirSync(root) : []
  const [newest] = versions.map(Number).sort((a, b) => b - a)
  return newest === undefined ? undefined : path.join(root, String(newest), 'bin')
}

/** Why a test cannot run here: no mounts, or a program is missing. */
function lacking(...programs: string[]): string | false {
  const why = whyNoMount()
  if (why !== undefined) return why
  const missing = programs.find(
    (name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0,
  )
  return missing === undefined ? false : `optional: ${missing} is not installed`
}

/** Runs a script of the shell in the mount of a device; fails the test when it fails. */
async function run(device: Device, script: string, timeoutMs = PROGRAM_MS_MAX): Promise<string> {
  const words = ['sh', '-ec', `cd "$0"; ${script}`, device.mountpoint]
  const { code, stdout, stderr } = await runProgram(words, device.env, { timeoutMs })
  assert.equal(code, 0, `${script}\n${stdout.slice(-2000)}\n${stderr.slice(-2000)}`)
  return stdout.trim()
}

/** Two devices; at the end both mounts must show the same, without a conflict. */
async function onTwoDevices(t: TestContext, work: (alice: Device) => Promise<void>): Promise<void> {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  await work(alice)
  await syncAll([alice, bob], 240)
  assert.deepEqual(compareTrees(alice.mountpoint, bob.mountpoint), [])
  assert.deepEqual(await bob.json(['conflicts']), [])
}

test('git: clone, many branches, gc, a big checkout, fsck', { skip: lacking('git') }, (t) =>
  onTwoDevices(t, async (alice) => {
    const source = path.join(createDirectory(t, 'git'), 'source')
    const identity = '-c user.name=alice -c user.email=alice@localhost'
    const make = `git init -q "$0"; cd "$0"; cp -r "${PROJECT}/src" .; git add .
      git ${identity} commit -qm one; git checkout -qb many
      mkdir many; for i in $(seq 3000); do echo $i > many/$i; done; git add .
      git ${identity} commit -qm many; git checkout -q -`
    assert.equal(spawnSync('sh', ['-ec', make, source]).status, 0)
    await run(
      alice,
      `git clone -q "${source}" clone; cd clone
      git checkout -q many; test $(ls many | wc -l) = 3000
      git checkout -q -; test ! -e many; echo more >> src/README.md; git ${identity} commit -qam two
      git gc -q --prune=now; git fsck --strict; test -z "$(git status --porcelain)"
      git ${identity} rebase -q many; test $(ls many | wc -l) = 3000`,
    )
  }),
)

test('sqlite3 with a write-ahead log, killed in the middle', { skip: lacking('sqlite3') }, (t) =>
  onTwoDevices(t, async (alice) => {
    await run(alice, `sqlite3 db 'pragma journal_mode=wal; create table t(a integer primary key)'`)
    for (let round = 0; round < 5; round++) {
      const insert = `for i in $(seq 200); do echo "insert into t values(null);"; done`
      await run(alice, `(${insert}) | timeout -s KILL 0.3 sqlite3 db || true`)
      assert.equal(await run(alice, `sqlite3 db 'pragma integrity_check'`), 'ok')
    }
    await run(alice, `sqlite3 db 'insert into t values(null); pragma wal_checkpoint(truncate)'`)
  }),
)

const skipPostgres = POSTGRES ? lacking('su') : 'optional: PostgreSQL is not installed'
test('PostgreSQL: initdb, pgbench, a crash', { skip: skipPostgres }, (t) =>
  onTwoDevices(t, async (alice) => {
    const { uid, gid } = passwd('postgres')
    const place = alice.path('pg')
    fs.mkdirSync(place)
    fs.chownSync(place, uid, gid)
    fs.chmodSync(path.dirname(alice.mountpoint), 0o755)
    fs.chmodSync(path.dirname(path.dirname(alice.mountpoint)), 0o755)
    const as = (command: string): Promise<string> =>
      run(alice, `cd /; su postgres -c "cd /tmp && PATH=${POSTGRES}:$PATH && ${command}"`)
    const data = `${place}/data`
    await as(`initdb -D ${data} -A trust`)
    const start = `pg_ctl -D ${data} -l ${place}/log -o '-k ${place} -c listen_addresses=' -w`
    await as(`${start} start`)
    const ask = (sql: string): Promise<string> => as(`psql -h ${place} postgres -Atc '${sql}'`)
    await as(`pgbench -h ${place} -i -s 1 -q postgres 2>&1; pgbench -h ${place} -c 4 -T 5 postgres`)
    const before = await ask('select sum(tbalance) from pgbench_tellers')
    await as(`pg_ctl -D ${data} -m immediate -w stop`)
    await as(`${start} start`)
    assert.equal(await ask('select sum(tbalance) from pgbench_tellers'), before)
    assert.equal(await ask('select sum(bbalance) from pgbench_branches'), before)
    await as(`pg_ctl -D ${data} -m fast -w stop`)
  }),
)

function passwd(user: string): { uid: number; gid: number } {
  const line = fs
    .readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`${user}:`))
  const [, , uid, gid] = (line ?? '').split(':').map(Number)
  return { uid: uid as number, gid: gid as number }
}

test('a compiler: tsc of this project, twice the same', { skip: lacking() }, (t) =>
  onTwoDevices(t, async (alice) => {
    await run(alice, `cp -r "${PROJECT}/src" "${PROJECT}/package.json" .; mkdir one two`)
    const compile = (into: string): string =>
      `node "${PROJECT}/node_modules/typescript/bin/tsc" -p "${PROJECT}/tsconfig.build.json" \
        --outDir ${into} --incremental false`
    await run(alice, `${compile('one')}; ${compile('two')}; diff -r one two`)
  }),
)

test('gcc: a program built and run on the mount', { skip: lacking('gcc') }, (t) =>
  onTwoDevices(t, async (alice) => {
    const program = '#include <stdio.h>\\nint main(){printf("%%d",6*7);}'
    await run(alice, `printf '${program}' > a.c; gcc -O2 -g -o a a.c; test "$(./a)" = 42`)
  }),
)

test('rsync: the second run transfers nothing', { skip: lacking('rsync') }, (t) =>
  onTwoDevices(t, async (alice) => {
    const copy = `rsync -a --stats "${PROJECT}/src/" copy/`
    await run(alice, copy)
    assert.match(await run(alice, copy), /Number of regular files transferred: 0/)
  }),
)

test('tar: out and in again', { skip: lacking('tar') }, (t) =>
  onTwoDevices(t, async (alice) => {
    await run(
      alice,
      `tar -C "${PROJECT}" -cf src.tar src; tar -xf src.tar; tar -df src.tar
      diff -r src "${PROJECT}/src"`,
    )
  }),
)

test('fio: random writes, verified', { skip: lacking('fio') }, (t) =>
  onTwoDevices(t, async (alice) => {
    const job = `--name=v --directory=. --size=48m --verify=crc32c --do_verify=1 --ioengine=psync`
    await run(alice, `fio ${job} --rw=randwrite --bsrange=1k-96k`)
    await run(alice, `fio ${job} --rw=randrw --bs=4k --direct=1 --fsync=32`)
  }),
)

test('find and rm -rf side by side', { skip: lacking() }, (t) =>
  onTwoDevices(t, async (alice) => {
    const files = 'for f in $(seq 50); do echo $f > $0/$d/$f; done'
    const fill = `for d in $(seq 20); do mkdir -p $0/$d; ${files}; done`
    await run(
      alice,
      `for t in a b c; do sh -c '${fill}' $t & done; wait
      (while test -e a; do find . -type f > /dev/null 2>&1 || true; done) & rm -rf a b; wait
      test $(find . -type f | wc -l) = 1000`,
    )
  }),
)

test('20 processes append to one file: nothing is lost', { skip: lacking('python3') }, (t) =>
  onTwoDevices(t, async (alice) => {
    const append = `i=0; while test $i -lt 100; do echo "$0 $i" >> log; i=$((i+1)); done`
    await run(alice, `for p in $(seq 20); do sh -c '${append}' $p & done; wait`)
    assert.equal(await run(alice, 'sort -u log | wc -l; wc -l < log'), '2000\n2000')
  }),
)

test('npm ci of this project', { skip: lacking('npm') }, (t) =>
  onTwoDevices(t, async (alice) => {
    await run(
      alice,
      `cp "${PROJECT}/package.json" "${PROJECT}/package-lock.json" "${PROJECT}/.npmrc" .
      npm ci --ignore-scripts --prefer-offline --no-audit --no-fund
      node -e "require('lmdb'); require('sodium-native')"`,
    )
  }),
)
