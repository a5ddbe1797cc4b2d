/**
 * Proves that no bytes from the device can crash a session, make it read outside the request, or
 * leave it without an answer: seeded random and mutated requests, each answered at most once.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OPCODE } from '../../../src/vfs/fuse/protocol.ts'
import { MemoryFileSystem } from '../../helpers/memory-filesystem.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { Kernel, text, words } from '../../unit/fuse/kernel.ts'

const SEED = Number(process.env['SEED'] ?? 20261120)
const COUNT = Number(process.env['FUZZ_COUNT'] ?? 20_000)

const OPCODES = Object.values(OPCODE)
const UNANSWERED: number[] = [
  OPCODE.FORGET,
  OPCODE.BATCH_FORGET,
  OPCODE.NOTIFY_REPLY,
  OPCODE.INTERRUPT,
]
const INTERESTING = [0, 1, 2, 3, 0x7fffffff, 0x80000000, 0xffffffff, 4096, 1 << 20]

test(`hostile requests (SEED=${SEED})`, () => {
  const random = new SeededRandom(SEED)
  const fileSystem = new MemoryFileSystem()
  const kernel = new Kernel(fileSystem)
  for (let index = 0; index < 4; index++) {
    kernel.ask(OPCODE.CREATE, 1, words(2, 0o100644, 0, 0), text(`file${index}`))
  }
  kernel.ask(OPCODE.OPENDIR, 1, words(0, 0))
  for (let step = 0; step < COUNT; step++) {
    const opcode =
      random.below(20) === 0
        ? random.below(5000)
        : (OPCODES[random.below(OPCODES.length)] as number)
    const size = random.below(3) === 0 ? random.below(400) : random.below(25) * 4
    const body = Buffer.alloc(size)
    for (let at = 0; at + 4 <= size; at += 4) {
      const kind = random.below(6)
      const value =
        kind < 3 ? 0 : kind < 5 ? random.below(8) : INTERESTING[random.below(INTERESTING.length)]
      body.writeUInt32LE(value ?? 0, at)
    }
    const before = kernel.replies.length
    const name = random.below(2) ? text(`file${random.below(6)}`) : Buffer.alloc(0)
    const place = `seed ${SEED}, step ${step}, opcode ${opcode}, ${size} bytes`
    assert.doesNotThrow(() => kernel.send(opcode, random.below(8), body, name), place)
    const count = kernel.replies.length - before
    if (UNANSWERED.includes(opcode)) assert.ok(count <= 1, place)
    else assert.equal(count, 1, place)
    if (kernel.replies.length > 100) kernel.replies.length = 0
  }
  assert.deepEqual(kernel.bugs, [])
})

test(`bytes that are no request (SEED=${SEED})`, () => {
  const random = new SeededRandom(SEED)
  const kernel = new Kernel(new MemoryFileSystem())
  for (let step = 0; step < 2_000; step++) {
    const bytes = Buffer.alloc(random.below(120))
    for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(256)
    assert.doesNotThrow(() => kernel.sendRaw(bytes), `seed ${SEED}, step ${step}`)
  }
  assert.deepEqual(kernel.replies, [], 'nothing to answer without a header')
  assert.ok(kernel.bugs.every((bug) => bug.startsWith('receive: ')))
})
