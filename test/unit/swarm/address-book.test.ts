/**
 * Proves what becomes of addresses of devices that are no members here, or not yet: they are
 * neither dialled nor told, and are there when the log says that the device is in.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AddressBook } from '../../../src/swarm/address-book.ts'
import { KNOWN_ADDRESSES_MAX, KNOWN_DEVICES_MAX } from '../../../src/swarm/wire.ts'
import type { DeviceId } from '../../../src/types.ts'

const [ALICE, BOB] = ['a', 'b'].map((digit) => digit.repeat(64)) as [DeviceId, DeviceId]
const AT = ['10.0.0.1:1']

test('what is told of a device before its admission arrives is there when that does', () => {
  let changes = 0
  const book = new AddressBook([], () => changes++)
  book.hear({ device: ALICE, addresses: AT }, true)
  book.hear({ device: BOB, addresses: AT }, false)
  assert.deepEqual(book.of(BOB), [])
  assert.deepEqual(book.all(), [{ device: ALICE, addresses: AT }])
  book.keepOnly((device) => device === ALICE)
  assert.deepEqual(book.of(BOB), [])
  assert.equal(changes, 1)
  book.keepOnly(() => true)
  assert.deepEqual(book.of(BOB), AT)
  assert.equal(changes, 2)
})

test('a joiner does not forget whom it was told of while the log arrives', () => {
  const book = new AddressBook(
    [ALICE, BOB].map((device) => ({ device, addresses: AT })),
    () => {},
  )
  book.keepOnly((device) => device === ALICE)
  assert.deepEqual(book.all(), [{ device: ALICE, addresses: AT }])
  book.keepOnly(() => true)
  assert.deepEqual(book.of(BOB), AT)
})

test('nobody fills the memory with devices that do not exist', () => {
  const book = new AddressBook([], () => {})
  const many = Array.from({ length: 9 }, (_, index) => `10.0.0.1:${index + 1}`)
  for (let index = 0; index < 2 * KNOWN_DEVICES_MAX; index++) {
    const device = index.toString(16).padStart(64, '0') as DeviceId
    book.hear({ device, addresses: many }, false)
  }
  book.keepOnly(() => true)
  assert.equal(book.all().length, KNOWN_DEVICES_MAX)
  assert.ok(book.all().every(({ addresses }) => addresses.length <= KNOWN_ADDRESSES_MAX))
})
