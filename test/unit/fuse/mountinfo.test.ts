/**
 * Proves that the mount table is read with its escapes and optional fields, that the unmounter
 * writes the same escapes, and that every error code has an errno. Lines are as Linux 6.18 writes
 * them.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CODES, WormholeError } from '../../../src/errors.ts'
import { ERRNO, errnoOf } from '../../../src/vfs/errno.ts'
import { mountSource } from '../../../src/vfs/fuse/mount.ts'
import { decodeGroups, groupsOf } from '../../../src/vfs/fuse/groups.ts'
import { decodeMountInfo, findMount } from '../../../src/vfs/fuse/mountinfo.ts'
import { escapeMountPoint } from '../../../src/vfs/fuse/unmounter.ts'

test('mountinfo: escapes, optional fields, nonsense', () => {
  const table = decodeMountInfo(
    [
      '42 27 0:39 / /tmp/a\\040b#c\\134d rw,relatime - tmpfs we\\043ird@x rw',
      '43 27 0:40 / /m rw,nosuid shared:7 master:2 - fuse.wormhole notes@0a rw,user_id=0',
      'nonsense',
      '44 27 0:41 / /n rw -',
      '',
    ].join('\n'),
  )
  assert.deepEqual(table, [
    { mountId: 42, device: '0:39', mountPoint: '/tmp/a b#c\\d', type: 'tmpfs', source: 'we#ird@x' },
    { mountId: 43, device: '0:40', mountPoint: '/m', type: 'fuse.wormhole', source: 'notes@0a' },
  ])
  assert.equal(findMount('/proc')?.type, 'proc')
  assert.equal(findMount('/nowhere'), undefined)
})

test('escapes of a mount point are those that the table shows', () => {
  const place = '/a b\tc\nd\\e#f'
  const line = `1 1 0:1 / ${escapeMountPoint(place)} rw - t s rw`
  assert.equal(decodeMountInfo(line)[0]?.mountPoint, place)
  assert.equal(escapeMountPoint(place), '/a\\040b\\011c\\012d\\134e#f')
})

test('a source is readable, tagged and free of separators', () => {
  assert.equal(mountSource('my notes/ü', Buffer.from([0, 0xab])), 'my_notes__@00ab')
})

test('every code has an errno that the kernel accepts; bugs are EIO', () => {
  for (const code of Object.keys(CODES) as Array<keyof typeof CODES>) {
    assert.ok(ERRNO[code] > 0 && ERRNO[code] < 512, code)
  }
  assert.equal(errnoOf(new WormholeError('NOT_FOUND', 'x')), 2)
  assert.equal(errnoOf(new Error('x')), 5)
})

test('supplementary groups are those of the process; a process that is gone has none', () => {
  assert.deepEqual(decodeGroups('Name:\tsh\nGroups:\t4 1001 2000 \nNgid:\t0\n'), [4, 1001, 2000])
  assert.deepEqual(decodeGroups('Groups:\t\n'), [])
  assert.deepEqual(decodeGroups(''), [])
  const own = process.getgroups?.() ?? []
  assert.ok(groupsOf(process.pid).every((group) => own.includes(group)))
  assert.deepEqual(groupsOf(2 ** 30), [])
})
