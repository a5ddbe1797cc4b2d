/**
 * Proves that two daemons never serve one home: of two that are started at once, twenty times, one
 * wins and both callers reach it; a lock file that a dead process or another home has left means
 * nothing.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { StatusReport } from '../../src/daemon/interface.ts'
import { createDevices, type Device } from '../helpers/process.ts'

const ROUNDS = 20

/** Starts daemons for a home at once; returns who serves it, as each caller was told. */
async function startAtOnce(device: Device, count: number): Promise<number[]> {
  const calls = Array.from({ length: count }, () => device.json<StatusReport>(['up']))
  return (await Promise.all(calls)).map(({ daemonPid }) => daemonPid)
}

test('two `up` at once, twenty times: one daemon', async (t) => {
  const { alice } = createDevices(t, ['alice'])
  await alice.run(['init', '--name', 'test'])
  for (let round = 0; round < ROUNDS; round++) {
    await alice.kill()
    const pids = new Set(await startAtOnce(alice, 2))
    assert.equal(pids.size, 1, `round ${round}: both were told of one daemon`)
    assert.deepEqual(new Set(alice.pids()), pids, `round ${round}: no other process is left`)
  }
})

test('a second daemon says who serves the home', async (t) => {
  const { alice } = createDevices(t, ['alice'])
  await alice.run(['init', '--name', 'test'])
  const { daemonPid } = await alice.status()
  const { code, stderr } = await alice.run(['up', '--foreground'], { codes: 'any' })
  assert.equal(code, 1)
  assert.match(stderr, new RegExp(`process ${daemonPid}`))
})

test('the lock file of a dead process, or copied from a living one, locks nothing', async (t) => {
  const { alice, bob } = createDevices(t, ['alice', 'bob'])
  for (const device of [alice, bob]) await device.run(['init', '--name', 'test'])
  await alice.kill()
  const lock = path.join(alice.home, 'daemon.lock')
  assert.match(fs.readFileSync(lock, 'utf8'), /"pid"/, 'the dead process left its name')
  const [pid] = await startAtOnce(alice, 1)
  await alice.kill()
  fs.copyFileSync(path.join(bob.home, 'daemon.lock'), lock)
  const [next] = await startAtOnce(alice, 1)
  const served = (await alice.status()).daemonPid
  assert.equal(served, next)
  assert.notEqual(next, pid)
  assert.notEqual(next, (await bob.status()).daemonPid)
})
