/**
 * Proves that long cache times with notifications are right: changes behind the kernel's back
 * become visible, versions of an open file do not mix, and no storm of notifications can hang the
 * mount.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import path from 'node:path'
import { createMount, skip } from './harness.ts'

test(
  'a changed file, a new name and a removed name are seen after their notification',
  { skip },
  async (t) => {
    const mount = await createMount(t)
    const file = path.join(mount.directory, 'file')
    fs.writeFileSync(file, 'old')
    assert.equal(fs.readFileSync(file, 'utf8'), 'old')
    const nodeId = await mount.ask<number>('overwrite', 'file', 'newer')
    assert.equal(fs.readFileSync(file, 'utf8'), 'old', 'the kernel answers from its cache')
    await mount.ask('invalidateInode', nodeId)
    assert.equal(fs.readFileSync(file, 'utf8'), 'newer')
    assert.equal(fs.statSync(file).size, 5)

    const other = path.join(mount.directory, 'other')
    assert.equal(fs.existsSync(other), false)
    await mount.ask('makeBehind', 'other')
    assert.equal(fs.existsSync(other), false, 'the kernel remembers that there was none')
    await mount.ask('invalidateEntry', 'other')
    assert.equal(fs.existsSync(other), true)

    await mount.ask('invalidateEntry', 'never-seen')
    await mount.ask('invalidateInode', 424242)
    assert.deepEqual(await mount.ask('bugs'), [])
  },
)

test(
  'a new version of an open file gets a new node: no page is mixed (X1, X2)',
  { skip },
  async (t) => {
    const mount = await createMount(t)
    const sizeBytes = 1 << 20
    const file = path.join(mount.directory, 'file')
    fs.writeFileSync(file, Buffer.alloc(sizeBytes, '1'))
    const old = fs.openSync(file, 'r')
    const letterAt = (descriptor: number, offset: number): string => {
      const bytes = Buffer.alloc(4096)
      fs.readSync(descriptor, bytes, 0, bytes.length, offset)
      assert.ok(bytes.every((byte) => byte === bytes[0]))
      return String.fromCharCode(bytes[0] as number)
    }
    try {
      assert.equal(letterAt(old, 0), '1')
      await mount.ask('replaceVersion', 'file', Buffer.alloc(sizeBytes, '2'))
      const fresh = fs.openSync(file, 'r')
      try {
        assert.equal(letterAt(fresh, 0), '2')
        for (const offset of [0, 4096, sizeBytes / 2, sizeBytes - 4096]) {
          assert.equal(letterAt(old, offset), '1')
          assert.equal(letterAt(fresh, offset), '2')
        }
        assert.equal(fs.fstatSync(old).ino, fs.fstatSync(fresh).ino)
        assert.equal(fs.statSync(file).ino, fs.fstatSync(old).ino)
      } finally {
        fs.closeSync(fresh)
      }
    } finally {
      fs.closeSync(old)
    }
  },
)

for (const transport of ['epoll', 'pool'] as const) {
  test(
    `${transport}: a storm of notifications during a slow create ends (X3)`,
    { skip },
    async (t) => {
      const mount = await createMount(t, { transport })
      await mount.ask('stormDuringCreate', 64)
      await mount.run(`
      for i in $(seq 0 63); do echo x > known$i; done; ls > /dev/null
      for i in 1 2 3; do timeout 20 sh -c "echo y > slow$i"; done; [ "$(cat slow3)" = y ]
    `)
      await mount.ask('settled')
      assert.equal(await mount.run('cat known* | wc -l'), '64\n')
      assert.deepEqual(await mount.ask('bugs'), [])
    },
  )
}
