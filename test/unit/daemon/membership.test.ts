/**
 * Proves whom a device speaks with: members, and, while it does not know them all, those it was
 * told of. The port is asked as the swarm asks it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMemberPort, NO_MEMBERS, type Membership } from '../../../src/daemon/membership.ts'
import type { MembersData } from '../../../src/daemon/threads.ts'
import type { DeviceId } from '../../../src/types.ts'

const [ALICE, BOB, CAROL] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [
  DeviceId,
  DeviceId,
  DeviceId,
]
const ALONE = { device: ALICE, name: 'alice', role: 'admin', labels: {} } as const
const OUT = { device: CAROL, name: 'carol', by: 'alice', at: '', aside: 0, farewell: undefined }

/** Alice's port, whose log says this; she knows where bob and carol are. */
function portOf(data: Partial<MembersData>, isReadmitted = false) {
  const addresses = [ALICE, BOB, CAROL].map((device) => ({ device, addresses: ['10.0.0.1:1'] }))
  const members = { ...NO_MEMBERS, ...data }
  const now = (): Membership => ({ members, addresses, isReadmitted, crdt: {} as never })
  return createMemberPort(now, {} as never)
}

test('members only, once the log has said who they are', () => {
  const port = portOf({ role: 'admin', members: [ALONE] })
  assert.deepEqual(port.devices(), [{ device: ALICE, name: 'alice' }])
  assert.ok(!port.isMember(BOB))
})

test('a joiner takes those it was told of at their word', () => {
  const port = portOf({})
  assert.ok(port.isMember(BOB) && port.isMember(CAROL))
})

test('so does who has lost a part of its own log, but for those it knows to be out', () => {
  const port = portOf({ role: 'admin', isBehind: true, members: [ALONE], revoked: [OUT] })
  assert.ok(port.isMember(ALICE) && port.isMember(BOB) && !port.isMember(CAROL))
  assert.equal(port.devices().length, 2)
})

test('a device that was revoked has no peers, unless it was let in again', () => {
  const data = { revokedBy: { name: 'carol', at: '' }, revoked: [OUT] }
  assert.deepEqual(portOf(data).devices(), [])
  assert.ok(portOf(data, true).isMember(CAROL))
})
