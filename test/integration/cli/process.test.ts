/**
 * Proves the life of real daemon processes: starting, answering, failing with an explanation, being
 * killed, stopping. The program runs as child processes with a fake home behind the real socket.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import dgram from 'node:dgram'
import fs from 'node:fs'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { StatusReport } from '../../../src/daemon/interface.ts'
import { readHolder } from '../../../src/daemon/holder.ts'
import { isHomeLocked } from '../../../src/daemon/lock.ts'
import {
  finish,
  programWords,
  runChild,
  startChild,
  temporaryDirectory,
  type Outcome,
} from '../../helpers/cli.ts'

const WAIT_MS_MAX = 20_000

async function until(what: string, isMet: () => boolean): Promise<void> {
  const endMs = performance.now() + WAIT_MS_MAX
  while (!isMet()) {
    assert.ok(performance.now() < endMs, `${what} within ${WAIT_MS_MAX} ms`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** An environment with an own home, whose daemon is ended after the test. */
function environment(t: TestContext): Record<string, string> & { WORMHOLE_HOME: string } {
  const env = { WORMHOLE_HOME: '', WORMHOLE_RUNTIME: '' }
  // Hooks run in the order of their registration: the daemon ends before its home is removed.
  t.after(async () => {
    if (!isHomeLocked(env.WORMHOLE_HOME)) return
    const pid = readHolder(env.WORMHOLE_HOME)?.pid
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
    await until('the daemon is gone', () => !isHomeLocked(env.WORMHOLE_HOME))
  })
  env.WORMHOLE_RUNTIME = temporaryDirectory(t)
  env.WORMHOLE_HOME = path.join(env.WORMHOLE_RUNTIME, 'home')
  return env
}

interface RunningDaemon {
  readonly process: ChildProcess
  readonly ended: Promise<Outcome>
}

/** A daemon in the foreground that is ready. */
async function startDaemon(env: { WORMHOLE_HOME: string }): Promise<RunningDaemon> {
  const child = startChild(['up', '--foreground'], env)
  const ended = finish(child)
  await until('the daemon is ready', () => readHolder(env.WORMHOLE_HOME)?.socket !== undefined)
  return { process: child, ended }
}

test('process: up, status, up again, down', async (t) => {
  const env = environment(t)
  const up = await runChild(['up', '--json'], env)
  assert.deepEqual([up.code, up.stderr], [0, ''])
  const { daemonPid, home, volumes } = JSON.parse(up.stdout) as StatusReport
  assert.equal(home, env.WORMHOLE_HOME)
  assert.deepEqual(
    volumes.map(({ name }) => name),
    ['photos'],
  )
  assert.equal((await runChild(['cat', '/hello.txt'], env)).stdout, 'hello\n')
  const again = JSON.parse((await runChild(['up', '--json'], env)).stdout) as StatusReport
  assert.equal(again.daemonPid, daemonPid)
  const down = await runChild(['down', '--json'], env)
  assert.deepEqual(JSON.parse(down.stdout), { isStopped: true, pid: daemonPid })
  assert.equal(isHomeLocked(home), false)
  assert.equal((await runChild(['status'], env)).code, 1)
  const log = fs.readFileSync(path.join(home, 'daemon.log'), 'utf8')
  assert.match(log, /"msg":"ready"[^]*"reason":"a client asked"[^]*"msg":"stopped"/)
})

test('process: two ups at a time start one daemon', async (t) => {
  const env = environment(t)
  const outcomes = await Promise.all([
    runChild(['up', '--json'], env),
    runChild(['up', '--json'], env),
  ])
  assert.deepEqual(
    outcomes.map(({ code, stderr }) => [code, stderr]),
    [
      [0, ''],
      [0, ''],
    ],
  )
  const [first, second] = outcomes.map(
    ({ stdout }) => (JSON.parse(stdout) as StatusReport).daemonPid,
  )
  assert.equal(first, second)
})

test('process: a start that fails shows why', async (t) => {
  const env = environment(t)
  fs.mkdirSync(env.WORMHOLE_HOME)
  fs.writeFileSync(path.join(env.WORMHOLE_HOME, 'fail-code'), 'the index is damaged')
  const failed = await runChild(['up'], env)
  assert.equal(failed.code, 1)
  assert.match(
    failed.stderr,
    /^wormhole: DAEMON_NOT_RUNNING: the daemon did not start \(exit code 1/,
  )
  assert.match(failed.stderr, /INDEX_CORRUPT: the index is damaged/)
  fs.renameSync(`${env.WORMHOLE_HOME}/fail-code`, `${env.WORMHOLE_HOME}/fail-bug`)
  const broken = await runChild(['up'], env)
  assert.match(broken.stderr, /\(exit code 70\)[^]*planted bug/)
  assert.ok(!broken.stderr.includes('INDEX_CORRUPT'), 'only what the last start said')
  const bad = await runChild(['up'], { ...env, WORMHOLE_BIND: 'here' })
  assert.equal(bad.code, 2)
  assert.match(bad.stderr, /WORMHOLE_BIND is "here"/)
})

test('process: one daemon per home, and signals end it well', async (t) => {
  const env = environment(t)
  const daemon = await startDaemon(env)
  const second = await runChild(['daemon'], env)
  assert.equal(second.code, 1)
  assert.match(
    second.stderr,
    new RegExp(`HOME_LOCKED: process ${daemon.process.pid} is using the home`),
  )
  assert.equal((await runChild(['ls', '/'], env)).code, 0)
  daemon.process.kill('SIGTERM')
  const { code, stderr } = await daemon.ended
  assert.equal(code, 0, stderr)
  assert.match(stderr, /^wormhole: serving .*\n$/)
  assert.deepEqual(
    fs.readdirSync(env.WORMHOLE_RUNTIME as string).filter((name) => name.endsWith('.sock')),
    [],
  )
})

test('process: after a kill the next start works', async (t) => {
  const env = environment(t)
  const daemon = await startDaemon(env)
  daemon.process.kill('SIGKILL')
  await daemon.ended
  assert.match((await runChild(['status'], env)).stderr, /DAEMON_NOT_RUNNING/)
  assert.equal((await runChild(['up'], env)).code, 0)
  assert.equal((await runChild(['down'], env)).code, 0)
})

test('process: a bug ends the daemon with 70, logged', async (t) => {
  const env = environment(t)
  const daemon = await startDaemon(env)
  const rm = await runChild(['rm', '/crash'], env)
  assert.match(rm.stderr, /DAEMON_NOT_RUNNING: the daemon ended before it answered/)
  assert.equal((await daemon.ended).code, 70)
  const log = fs.readFileSync(path.join(env.WORMHOLE_HOME, 'daemon.log'), 'utf8')
  assert.match(log, /"level":"fatal".*planted crash.*fake-home/)
})

test('process: Ctrl-C ends a command with 130 and the request with it', async (t) => {
  const env = environment(t)
  const daemon = await startDaemon(env)
  const sync = startChild(['sync', '--wait', '--timeout', '3600'], env)
  const ended = finish(sync)
  // The fake counts requests that run as pending edits.
  const runningCount = async (): Promise<number> => {
    const { stdout } = await runChild(['status', '--json'], env)
    return (JSON.parse(stdout) as StatusReport).volumes[0]?.pendingEdits ?? 0
  }
  while ((await runningCount()) === 0) assert.equal(sync.exitCode, null)
  sync.kill('SIGINT')
  const { code, stderr } = await ended
  assert.deepEqual([code, stderr], [130, 'wormhole: interrupted\n'])
  assert.equal(await runningCount(), 0)
  daemon.process.kill('SIGINT')
  assert.equal((await daemon.ended).code, 0)
})

test('process: a reader that leaves is not an error', async (t) => {
  const env = environment(t)
  await startDaemon(env)
  const cat = startChild(['cat', '/large'], env)
  await new Promise((resolve) => cat.stdout?.once('data', resolve))
  cat.stdout?.destroy()
  const [code, stderr] = await new Promise<[number | null, string]>((resolve) => {
    let text = ''
    cat.stderr?.on('data', (piece) => (text += String(piece)))
    cat.once('close', (exitCode) => resolve([exitCode, text]))
  })
  assert.deepEqual([code, stderr], [0, ''])
})

test('process: a terminal gets a progress line, a pipe does not', async (t) => {
  const env = environment(t)
  const [program, ...words] = programWords() as [string, ...string[]]
  const shown = (command: string): string => command.replaceAll("'", "'\\''")
  const line = [program, ...words, 'up'].map((word) => `'${shown(word)}'`).join(' ')
  const child = spawn('script', ['-qec', line, '/dev/null'], {
    env: { PATH: process.env.PATH, TERM: 'xterm', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { code, stdout } = await finish(child)
  assert.equal(code, 0, stdout)
  assert.ok(stdout.includes('\r\u001b[Kstarting the daemon'), JSON.stringify(stdout))
  assert.ok(stdout.includes('\u001b[1mphotos\u001b[0m'))
})

test('process: a bootstrap node tells its address and ends well', async () => {
  const taken = dgram.createSocket('udp4').bind(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  const { port } = taken.address()
  const words = ['bootstrap', '--host', '127.0.0.1', '--port', String(port), '--json']
  const refused = await runChild(words, {})
  assert.equal(refused.code, 1, refused.stderr)
  await new Promise<void>((resolve) => taken.close(resolve))
  const child = startChild(words, {})
  child.stdout?.once('data', () => child.kill('SIGTERM'))
  const { code, stdout, stderr } = await finish(child)
  assert.deepEqual([code, stderr], [0, ''])
  assert.deepEqual(JSON.parse(stdout), { host: '127.0.0.1', port })
})

test('process: an unbuilt checkout says what to run', (t) => {
  const directory = temporaryDirectory(t)
  fs.mkdirSync(path.join(directory, 'bin'))
  const bin = fileURLToPath(new URL('../../../bin/wormhole.js', import.meta.url))
  fs.copyFileSync(bin, path.join(directory, 'bin', 'wormhole.mjs'))
  assert.throws(
    () =>
      execFileSync(process.execPath, [path.join(directory, 'bin', 'wormhole.mjs')], {
        stdio: 'pipe',
      }),
    {
      status: 1,
      stderr: Buffer.from('wormhole: this checkout is not built yet. Run: npm run build\n'),
    },
  )
})
