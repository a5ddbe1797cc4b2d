/** Edits arrive on the other thread as they were: through columns, and a real message. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { Edit } from '../../../src/crdt/interface.ts'
import { newInodeId } from '../../../src/crdt/ids.ts'
import { packEdits, unpackEdits, type EditBatch } from '../../../src/daemon/edit-batch.ts'
import { systemRandom } from '../../../src/system.ts'
import type { Hlc } from '../../../src/types.ts'

function crossed(edits: readonly Edit[]): Edit[] {
  const { port1, port2 } = new MessageChannel()
  const { batch, transfer } = packEdits(edits)
  port1.postMessage(batch, transfer)
  const { message } = receiveMessageOnPort(port2) as { message: EditBatch }
  port1.close()
  return unpackEdits(message)
}

const id = () => newInodeId('file', 7, systemRandom)

test('edits arrive as they were', () => {
  const actor = 'ab'.repeat(16)
  const edits: Edit[] = [
    { number: 1, hlc: 1_790_000_000_123_456 as Hlc, puts: [] },
    {
      number: Number.MAX_SAFE_INTEGER,
      hlc: 0 as Hlc,
      puts: [
        { inode: id(), register: 'L', value: new Uint8Array([1, 2, 3]), base: [] },
        { inode: id(), register: 'C', value: new Uint8Array(0), base: ['#1'] },
        { inode: id(), register: 'A', value: Buffer.from('xyz').subarray(1), base: [`7@${actor}`] },
        { inode: id(), register: 'P', value: Buffer.alloc(9), base: ['#1', `9@${actor}`, '#2'] },
      ],
    },
    {
      number: 7,
      hlc: 9 as Hlc,
      puts: [{ inode: id(), register: 'L', value: Buffer.from([9]), base: [] }],
    },
  ]
  const plain = (all: readonly Edit[]) =>
    all.map(({ puts, ...edit }) => ({
      ...edit,
      puts: puts.map((put) => ({ ...put, value: [...put.value] })),
    }))
  assert.deepEqual(plain(crossed(edits)), plain(edits))
  assert.deepEqual(crossed([]), [])
})

test('nothing but the values themselves crosses', () => {
  const value = Buffer.from('cut from the pool')
  const put = { inode: id(), register: 'C' as const, value, base: [] }
  const [edit] = crossed([{ number: 1, hlc: 1 as Hlc, puts: [put] }])
  assert.equal(edit?.puts[0]?.value.buffer.byteLength, value.length)
  assert.equal(value.toString(), 'cut from the pool', 'what was sent is still here')
})
