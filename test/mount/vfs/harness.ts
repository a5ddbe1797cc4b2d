/** Mounts of the real file system for tests, each served by a process of its own (server.ts). */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createMountPoint } from '../fuse/harness.ts'

const BOOT = fileURLToPath(new URL('../fuse/boot.mjs', import.meta.url))
const SERVER = new URL('./server.ts', import.meta.url).href

/** Mounts the file system. At the end it is unmounted, and must have seen no bug. */
export async function createMount(t: TestContext): Promise<string> {
  // Hooks run in the order of their registration: the server ends before its directory goes.
  let end = (): Promise<void> => Promise.resolve()
  t.after(() => end())
  const directory = createMountPoint(t)
  const server = spawn(process.execPath, [BOOT, SERVER, directory], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  server.stderr.setEncoding('utf8').on('data', (piece: string) => (output += piece))
  end = async () => {
    const ended = once(server, 'exit')
    server.kill('SIGTERM')
    await ended
    assert.equal(output, '')
  }
  const [piece] = (await once(server.stdout, 'data')) as [Buffer]
  assert.equal(piece.toString().trim(), 'mounted', output)
  return directory
}
