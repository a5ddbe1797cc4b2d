/**
 * Proves that a version is whole for who has it open: a file open (and mapped) on one device keeps
 * its bytes on every page while another device replaces it, and the next open sees the new ones.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { test } from 'node:test'
import { waitFor, whyNoMount } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const skip = whyNoMount() ?? false
const SIZE = 3 * 1024 * 1024

/** Holds the file open and mapped; says "open", then on each line it reads says what it sees. */
const HOLDER = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
view = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
view[0]
print('open', os.fstat(fd).st_ino, flush=True)
for line in sys.stdin:
    seen = set(view[:]) | set(os.pread(fd, size, 0)) | set(os.pread(fd, 4096, size // 2))
    now = os.fstat(fd)
    print(','.join(chr(c) for c in sorted(seen)), now.st_size, now.st_ino, flush=True)
`

test('an open file and its mapping keep their version on every page', { skip }, async (t) => {
  const { alice, bob } = await createVolumeOfDevices(t, ['alice', 'bob'])
  fs.writeFileSync(alice.path('f'), Buffer.alloc(SIZE, 'a'))
  await syncAll([alice, bob])
  const holder = spawn('python3', ['-c', HOLDER, bob.path('f')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => holder.kill('SIGKILL'))
  let said = ''
  holder.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  await waitFor(() => said.startsWith('open'), { what: 'the holder has the file open' })
  const ino = said.trim().split(' ')[1]

  fs.writeFileSync(alice.path('f'), Buffer.alloc(SIZE + 4096, 'b'))
  await syncAll([alice, bob])
  await waitFor(() => fs.statSync(bob.path('f')).size === SIZE + 4096, {
    what: 'the new version is visible on bob',
  })
  assert.ok(fs.readFileSync(bob.path('f')).every((byte) => byte === 'b'.charCodeAt(0)))
  said = ''
  holder.stdin.write('look\n')
  await waitFor(() => said.includes('\n'), { what: 'the holder says what it sees' })
  assert.equal(said, `a ${SIZE} ${ino}\n`)
  assert.equal(String(fs.statSync(bob.path('f')).ino), ino)
  holder.stdin.end()
  await once(holder, 'exit')
})
