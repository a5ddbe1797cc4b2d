/**
 * Proves the laws of the tree on random runs: the incremental view equals the derivation from
 * scratch after every step, devices converge in every order of delivery, nothing written is lost
 * unless somebody who had seen it replaced or deleted it. Replay: `SEED=n`; more: `SEEDS=count`,
 * `STEPS=n`.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StrategyOf } from '../../../src/crdt/overlay.ts'
import type { InodeId } from '../../../src/types.ts'
import { Ledger, RandomUser } from './random-user.ts'
import { listAll, registersOf } from './reference.ts'
import { textOf, World, type Device } from './world.ts'

const ENV = process.env
const FIRST = Number(ENV['SEED'] ?? 1)
const SEEDS = ENV['SEED'] ? Number(ENV['SEEDS'] ?? 1) : Number(ENV['SEEDS'] ?? 24)
const STEPS = Number(ENV['STEPS'] ?? 90)

/** Copies included. */
const DEVICES_MAX = 7

/** The texts that a device shows. */
function textsOf(device: Device): Set<string> {
  const texts = new Set<string>()
  const { overlay } = device
  const walk = (directory: InodeId): void => {
    for (const { id } of listAll(overlay, directory)) {
      const content = overlay.node(id)?.content
      if (content?.kind === 'file') texts.add(textOf(content.ref))
      if (content?.kind === 'directory') walk(id)
    }
  }
  walk(overlay.root)
  return texts
}

/** Every register of the rows holds what its Automerge document holds. */
function checkDocuments(device: Device): void {
  const { layer, shards } = device.writer.inspect()
  const wanted = new Map<number, string[]>()
  for (const { key } of device.rows.range('u')) {
    wanted.set((key.charCodeAt(1) << 8) | key.charCodeAt(2), [])
  }
  for (const shard of wanted.keys()) {
    if (shards.state(shard).isDoubled) continue
    const document = shards.document(shard)
    for (const key of document.keys('/')) {
      const row = layer.inode(key.slice(1) as InodeId)
      const values = row?.[key[0] as 'L'] ?? []
      const ours = values.map(({ op, bytes }) => `${op} ${Buffer.from(bytes).toString('hex')}`)
      const theirs = document
        .getAll('/', key)
        .map(([, bytes, op]) => `${op} ${Buffer.from(bytes).toString('hex')}`)
      assert.deepEqual([...ours].sort(), [...theirs].sort(), key)
    }
  }
}

function checkNothingLost(device: Device, ledger: Ledger, isLww: boolean): void {
  const texts = textsOf(device)
  for (const [text, inode] of ledger.written) {
    if (ledger.given.has(text) || texts.has(text)) continue
    if (isLww) {
      const past = device.overlay.history({ inode })
      if (past.some(({ content }) => content.kind === 'file' && textOf(content.ref) === text))
        continue
    }
    assert.fail(`${text} of ${inode} is lost; shown: ${[...texts].join(' ')}`)
  }
}

/** Of two equal contents either may name its device, and which one may change by publishing. */
function withoutDevice(line: string): string {
  return line.replaceAll(/device\d/g, 'device')
}

/** Names of operations are the same everywhere, those of doubles too. */
function opsOf(device: Device): string[] {
  const lines: string[] = []
  for (const row of registersOf(device, device.writer.inspect().layer).values()) {
    for (const register of ['L', 'C', 'A', 'P'] as const) {
      const ops = row[register].map(({ op }) => op).sort()
      if (ops.length > 0) lines.push(`${register}${row.id} ${ops.join(' ')}`)
    }
  }
  return lines.sort()
}

interface Kind {
  readonly title: string
  /** Whether devices are copied while they run. */
  readonly hasDoubles?: boolean
  readonly strategyOf: StrategyOf
  readonly off: readonly string[]
}

function run(seed: number, kind: Kind): void {
  const deviceCount = 2 + (seed % 4)
  const hashCharacters = seed % 5 === 0 ? 0 : 8
  const world = new World({ seed, deviceCount, strategyOf: kind.strategyOf, hashCharacters })
  const { dice } = world
  const ledger = new Ledger()
  // Each run switches some kinds of operation off entirely.
  const off = new Set([...kind.off, ...RandomUser.actions.filter(() => dice.chance(0.15))])
  if (off.has('createFile')) off.delete('createFile')
  const users = world.devices.map((device) => new RandomUser(device, ledger, off))
  for (let step = 0; step < STEPS; step++) {
    const user = dice.pick(users)
    const { device } = user
    user.act()
    device.check()
    if (dice.chance(0.3)) {
      // Publishing, and dying in the middle of it, change nothing that the user sees.
      const before = device.shown().map(withoutDevice)
      device.publish({ isCrash: dice.chance(0.1) })
      assert.deepEqual(device.shown().map(withoutDevice), before)
    }
    if (dice.chance(0.02)) device.restart()
    if (dice.chance(0.1)) device.fetch(() => dice.chance(0.7))
    if (kind.hasDoubles && dice.chance(0.05) && world.devices.length < DEVICES_MAX) {
      users.push(new RandomUser(world.double(device), ledger, off))
    }
    world.nowMs += dice.below(1500)
    if (dice.chance(0.25)) {
      const other = dice.pick(world.devices)
      // Usually what is pending is published first; without that, bases are stale.
      if (dice.chance(0.7)) other.publish()
      for (const author of world.shuffled()) {
        while (dice.chance(0.8) && other.receive(author, { isUncertain: dice.chance(0.1) })) {
          other.check()
        }
      }
    }
  }
  world.settle()
  const [first] = world.devices as [Device]
  const lines = first.lines()
  for (const device of [...world.devices, world.newcomer()]) {
    device.check()
    assert.deepEqual(device.lines(), lines, `device ${device.index} differs`)
    assert.deepEqual(opsOf(device), opsOf(first), `device ${device.index} differs in operations`)
  }
  checkDocuments(first)
  checkNothingLost(first, ledger, kind.title !== 'copies')
  for (const device of world.devices) device.writer.close()
}

const KINDS: readonly Kind[] = [
  { title: 'copies', strategyOf: () => 'copies', off: ['policy'] },
  {
    title: 'policies that change',
    strategyOf: (policies) => (policies[0] === 'lww' ? 'last-writer-wins' : 'copies'),
    off: [],
  },
  { title: 'copied processes', strategyOf: () => 'copies', off: ['policy'], hasDoubles: true },
]

for (const kind of KINDS) {
  test(`random devices converge and lose nothing: ${kind.title}`, () => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      try {
        run(seed, kind)
      } catch (error) {
        console.error(`failed with SEED=${seed} STEPS=${STEPS} (${kind.title})`)
        throw error
      }
    }
  })
}
