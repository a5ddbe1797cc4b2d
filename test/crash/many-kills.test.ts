/**
 * Proves that a daemon may be killed at any moment, again and again: a program keeps a diary
 * outside the mount, and after each SIGKILL and `up` the mount is back and shows what the diary
 * says was acknowledged, with the right bytes. In the end a second device shows the same.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createDirectory, mountsBelow, waitFor, whyNoMount } from '../helpers/process.ts'
import { compareTrees } from '../helpers/tree.ts'
import { createVolumeOfDevices, syncAll } from '../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? false
const CYCLES = Number(process.env['CRASH_CYCLES'] ?? 50)
const SEED = Number(process.env['CRASH_SEED'] ?? 1)
/**
 * What is older than this survives the daemon without a close or fsync. The promise is 100 ms; a
 * busy machine may let the daemon wait for its processor much longer.
 */
const OLD_MS = 2000
const WRITING_MS_MAX = 400

const writerFile = fileURLToPath(new URL('./writer.mjs', import.meta.url))

/** A digest; null: no such file. */
type State = string | null

interface Will {
  readonly n: number
  readonly will: readonly (readonly [string, State])[]
}

interface Done {
  readonly n: number
  readonly isKept: boolean
  readonly atMs: number
}

function stateOf(file: string): State {
  if (!fs.existsSync(file)) return null
  return digestOf(fs.readFileSync(file))
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The states that each path may be in, given what was there before the diary began. */
function allowed(
  before: ReadonlyMap<string, State>,
  diary: string,
  killedMs: number,
): Map<string, Set<State>> {
  const lines = diary.split('\n').filter(Boolean)
  const entries = lines.map((line) => JSON.parse(line) as Will | Done)
  let kept = -1
  for (const entry of entries) {
    if ('atMs' in entry && (entry.isKept || killedMs - entry.atMs > OLD_MS)) kept = entry.n
  }
  const states = new Map([...before].map(([name, state]) => [name, new Set([state])]))
  for (const entry of entries) {
    if ('atMs' in entry) continue
    for (const [name, state] of entry.will) {
      if (entry.n <= kept) states.set(name, new Set([state]))
      else states.set(name, (states.get(name) ?? new Set<State>([null])).add(state))
    }
  }
  return states
}

/** Whether a file has a part of the text that was meant for it, at the least what was kept. */
function isPartOf(file: string, meant: string, may: ReadonlySet<State>): boolean {
  const bytes = fs.readFileSync(file)
  const text = fs.readFileSync(meant)
  if (!text.subarray(0, bytes.length).equals(bytes)) return false
  const hash = createHash('sha256')
  if (may.has(hash.copy().digest('hex'))) return true
  // Each write ends with a semicolon.
  for (let from = 0, to = 0; (to = bytes.indexOf(';', from) + 1) > 0; from = to) {
    if (may.has(hash.update(bytes.subarray(from, to)).copy().digest('hex'))) return true
  }
  return false
}

test('SIGKILL again and again: what was acknowledged is there', { skip }, async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  for (const name of ['d0', 'd1']) fs.mkdirSync(alice.path(name))
  await syncAll([alice, bob])
  const outside = createDirectory(t, 'diary')
  let states = new Map<string, State>()
  let operations = 0
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const seed = SEED * 1000 + cycle
    const diary = path.join(outside, String(cycle))
    const writer = spawn(process.execPath, [writerFile, alice.mountpoint, diary, String(seed)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const ended = once(writer, 'exit')
    await waitFor(() => fs.existsSync(diary) && fs.statSync(diary).size > 0, {
      what: 'the writer writes',
    })
    await new Promise((resolve) => setTimeout(resolve, (seed * 7919) % WRITING_MS_MAX))
    alice.pids()
    const { daemonPid } = await alice.status()
    const killedMs = Date.now()
    process.kill(daemonPid, 'SIGKILL')
    assert.deepEqual(await ended, [0, null], 'the writer ended because the mount was dead')
    await waitFor(() => !alice.pids().includes(daemonPid), { what: 'the daemon is gone' })

    await alice.run(['up'])
    assert.deepEqual(mountsBelow(path.dirname(alice.mountpoint)), [alice.mountpoint])
    const text = fs.readFileSync(diary, 'utf8')
    operations += text.split('\n').length / 2
    const found = new Map<string, State>()
    for (const [name, may] of allowed(states, text, killedMs)) {
      const file = alice.path(name)
      const state = stateOf(file)
      const isHeld = name === `held ${seed}` && state !== null
      const isRight = may.has(state) || (isHeld && isPartOf(file, `${diary}.held`, may))
      assert.ok(isRight, `seed ${SEED}, cycle ${cycle}: ${name} is ${state}: ${text}`)
      found.set(name, state)
    }
    states = found
  }
  t.diagnostic(`${CYCLES} kills, ${Math.floor(operations)} operations`)
  await syncAll([alice, bob])
  assert.deepEqual(compareTrees(alice.mountpoint, bob.mountpoint), [])
  for (const [name, state] of states) assert.equal(stateOf(bob.path(name)), state, name)
})
