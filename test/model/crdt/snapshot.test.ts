/**
 * Proves that a device which joined with a snapshot is like any other: in random runs with
 * conflicts, hard links, merged directories and displaced cycles it shows what the others show, at
 * once and after they and it have gone on with concurrent edits. Replay: `SEED=n`; more:
 * `SEEDS=count`, `STEPS=n`.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StrategyOf } from '../../../src/crdt/overlay.ts'
import { Ledger, RandomUser } from './random-user.ts'
import { World, type Device } from './world.ts'

const ENV = process.env
const FIRST = Number(ENV['SEED'] ?? 1)
const SEEDS = ENV['SEED'] ? Number(ENV['SEEDS'] ?? 1) : Number(ENV['SEEDS'] ?? 16)
const STEPS = Number(ENV['STEPS'] ?? 80)

const strategyOf: StrategyOf = (policies) => (policies[0] === 'lww' ? 'last-writer-wins' : 'copies')

/** Rows that do not depend on the order in which a device learnt things. */
function settledRows(device: Device, table: string): string[] {
  return device.rows.range(table).map(({ key }) => key)
}

function joinAndCompare(world: World): Device {
  const from = world.dice.pick(world.devices)
  from.publish()
  const device = world.join(from)
  device.check()
  assert.deepEqual(device.lines(), from.lines())
  for (const table of ['s', 'x', 'p', 'h', 'g']) {
    assert.deepEqual(settledRows(device, table), settledRows(from, table), `table ${table}`)
  }
  return device
}

function run(seed: number): void {
  const hashCharacters = seed % 5 === 0 ? 0 : 8
  const world = new World({ seed, deviceCount: 2 + (seed % 3), strategyOf, hashCharacters })
  const { dice } = world
  const ledger = new Ledger()
  const off = new Set(RandomUser.actions.filter(() => dice.chance(0.1)))
  off.delete('createFile')
  const users = world.devices.map((device) => new RandomUser(device, ledger, off))
  for (let step = 0; step < STEPS; step++) {
    const user = dice.pick(users)
    user.act()
    if (dice.chance(0.4)) user.device.publish({ isCrash: dice.chance(0.05) })
    world.nowMs += dice.below(1500)
    if (step === STEPS >> 1 || step === (STEPS * 3) >> 2) {
      users.push(new RandomUser(joinAndCompare(world), ledger, off))
    }
    if (!dice.chance(0.25)) continue
    const other = dice.pick(world.devices)
    if (dice.chance(0.7)) other.publish()
    for (const author of world.shuffled()) {
      while (dice.chance(0.8) && other.receive(author)) other.check()
    }
  }
  world.settle()
  const last = joinAndCompare(world)
  const lines = last.lines()
  for (const device of world.devices) {
    device.check()
    assert.deepEqual(device.lines(), lines, `device ${device.index} differs`)
  }
  for (const device of world.devices) device.writer.close()
}

test('a device that joined with a snapshot stays equal to the others', () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    try {
      run(seed)
    } catch (error) {
      console.error(`failed with SEED=${seed} STEPS=${STEPS}`)
      throw error
    }
  }
})
